# Fuzzing of what the command reads and does not trust: libFuzzer and the address and undefined-behaviour
# sanitizers, by clang. The sources of the command are built once more for it, all but main.c.
FUZZ_SRC := $(sort $(wildcard tests/fuzz/*_fuzz.c))
FUZZ_BIN := $(FUZZ_SRC:%.c=$(O)/%)
FUZZ_FLAGS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_OBJ := $(filter-out %/main.o,$(TOOL_SRC:%.c=$(O)/fuzz/%.o))
.PHONY: fuzz-build
fuzz-build: $(FUZZ_BIN) $(O)/tests/fuzz/seeds
$(FUZZ_OBJ): $(SKEL) $(PROTO_HDR)
$(O)/fuzz/%.o: %.c $(COMMON)
	@mkdir -p $(@D)
	$(call say,FUZZCC,$<)$(CLANG) $(TOOL_CFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -Ilib -Ilib/include \
	-isystem $(O)/gen $(TOOL_PKG_CFLAGS) $(DEPGEN) -c -o $@ $<
$(O)/fuzz/tools.a: $(FUZZ_OBJ)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $(FUZZ_OBJ)
$(FUZZ_BIN): $(O)/tests/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(O)/fuzz/tools.a $(PROTO_OBJ) $(COMMON)
	@mkdir -p $(@D)
	$(call say,FUZZ,$<)$(CLANG) $(TOOL_CFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer -Ilib -Ilib/include -Itools/gyre \
	-isystem $(O)/gen $(TOOL_PKG_CFLAGS) -MMD -MP -MF $@.d -o $@ $< $(O)/fuzz/tools.a $(PROTO_OBJ) $(TOOL_LIBS) -pthread
$(O)/tests/fuzz/seeds: tests/fuzz/seeds.c $(O)/fuzz/tools.a
	@mkdir -p $(@D)
	$(call say,FUZZ,$<)$(CLANG) $(TOOL_CFLAGS) $(FUZZ_FLAGS) -Ilib -Ilib/include -Itools/gyre -isystem $(O)/gen \
	$(TOOL_PKG_CFLAGS) -MMD -MP -MF $@.d -o $@ $< $(O)/fuzz/tools.a $(TOOL_LIBS) -pthread
-include $(FUZZ_OBJ:.o=.d) $(addsuffix .d,$(FUZZ_BIN) $(O)/tests/fuzz/seeds)
