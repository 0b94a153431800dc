# Makefile - the whole of Gyre, one non-recursive file.
#
#   make                    build/libgyre.so, build/libgyre.a, build/gyre
#   make help               every target and variable
#
# How it is put together
#
#   sources by wildcard     A new lib/<layer>/x.c, bpf/x.bpf.c, tools/gyre/x.c or test needs no line
#                           here. A folder that is empty is left out in silence, so that a part of
#                           the tree builds by itself.
#   all output below $(O)   Out-of-tree with an absolute path works: make O=/somewhere/else.
#   flags are a dependency  $(O)/.flags changes with the command line; then everything is rebuilt.
#   three archives          libgyre.so (exported: malloc family, operators, gyre_*), libgyre.a (the same
#                           as one object whose internals are local), libgyre-internal.a (all but
#                           lib/interpose, every symbol linkable: what the unit tests link).
#   tests/<dir>/*.c         one program each, in $(O)/tests/<dir>/; how it is linked is told by its
#                           name: see "Test programs" below. tests/<dir>/build.mk may add to it.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

# ---------------------------------------------------------------- variables
SAN     ?=
ifeq ($(origin O),undefined)
O       := build$(if $(SAN),/san-$(SAN))
endif
PREFIX  ?= /usr/local
DESTDIR ?=
LIBDIR  ?= $(PREFIX)/lib
CHECK   ?=
PROBES  ?= 1
WERROR  ?=
V       ?=
ifeq ($(origin CC),default)
CC      := gcc
endif
ifeq ($(origin CXX),default)
CXX     := g++
endif
CLANG   ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool /usr/bin/bpftool) bpftool)
PKG_CONFIG ?= pkg-config
CFLAGS  ?= -O2 -g
VMLINUX_BTF ?= /sys/kernel/btf/vmlinux

VERSION := $(shell sed -n 's/^\#define GYRE_VERSION "\(.*\)"/\1/p' lib/include/gyre/gyre.h)
SOMAJOR := 0

override SRC := $(CURDIR)
override ABS_O := $(abspath $(O))
Q       := $(if $(V),,@)
# say: one short line for each thing done, unless V=1 shows the commands themselves.
say     = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2)';)

ifneq ($(filter-out address undefined thread,$(SAN)),)
$(error SAN is "$(SAN)"; it may be address, undefined or thread)
endif
ifneq ($(filter-out full,$(CHECK)),)
$(error CHECK is "$(CHECK)"; it may be full)
endif

WARN    := -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes \
	   -Wundef -Wvla -Wcast-qual -Wwrite-strings -Wformat=2 -Wswitch-enum $(if $(WERROR),-Werror)
WARN_CXX := $(filter-out -Wstrict-prototypes -Wmissing-prototypes,$(WARN))
INCLUDE := -Ilib -Ilib/include -I$(O)/gen
DEFS    := -D_GNU_SOURCE -DGYRE_CHECK_FULL=$(if $(CHECK),1,0) -DGYRE_PROBES=$(if $(filter 0,$(PROBES)),0,1)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer $(if $(filter undefined,$(SAN)),-fno-sanitize-recover=all))
NO_BUILTIN := $(addprefix -fno-builtin-,malloc calloc realloc reallocarray free cfree memalign aligned_alloc \
	   posix_memalign valloc pvalloc malloc_usable_size strdup strndup)
# No link-time optimisation, though a packager's CFLAGS ask for it: symbols that only assembly names would go, and the fast
# paths are to stay what was counted.
LIB_CFLAGS := -std=gnu11 $(CFLAGS) -fno-lto $(WARN) $(DEFS) -fPIC -fvisibility=hidden $(NO_BUILTIN) -fno-plt \
	   -ftls-model=initial-exec -fno-semantic-interposition -fno-stack-protector -fno-math-errno \
	   $(if $(filter x86_64,$(shell uname -m)),-fcf-protection=none) $(SANFLAGS)
# The files of malloc, new and delete keep the register; elsewhere a frame pointer costs nothing that is hot.
FP_CFLAGS = $(if $(filter lib/interpose/malloc.c lib/interpose/aligned.c lib/interpose/cxx_%.c,$<),,-fno-omit-frame-pointer)
LIB_LDFLAGS := -shared -Wl,-soname,libgyre.so.$(SOMAJOR) -Wl,--version-script=lib/libgyre.map -Wl,-z,now \
	   -Wl,-z,relro -Wl,-z,defs -Wl,-z,noexecstack -Wl,--as-needed
TOOL_CFLAGS := -std=gnu11 $(CFLAGS) $(WARN) $(DEFS) -fstack-protector-strong -Ibpf
TEST_CFLAGS := $(if $(filter thread,$(SAN)),-Itests/lite) -std=gnu11 $(CFLAGS) $(WARN) $(DEFS) $(SANFLAGS) -fno-builtin -Wno-missing-prototypes -pthread
DEPGEN  = -MMD -MP -MF $(@:.o=.d)

# ---------------------------------------------------------------- what there is
# First the modules that run in every program: the kernel maps code 64 KiB at a time around a fault, so what stands
# apart is not mapped where nobody uses it.
LIB_SRC  := $(foreach m,interpose heap base os mutator control trace api,$(sort $(wildcard lib/$m/*.c)))
LIB_SRC  := $(LIB_SRC) $(filter-out $(LIB_SRC),$(sort $(wildcard lib/*/*.c)))
LIB_OBJ  := $(LIB_SRC:%.c=$(O)/%.o)
# The archive leaves operator new to the C++ library of the program (lib/interpose/cxx_new.c), and the
# dynamic loader alone (lib/os/loader.h, lib/interpose/signal_*.c and waits.c).
ARCHIVE_OBJ := $(filter-out $(addprefix $(O)/lib/,interpose/cxx_new.o interpose/signal_action.o interpose/signal_mask.o interpose/waits.o \
	os/loader.o),$(LIB_OBJ))
CORE_OBJ := $(filter-out $(O)/lib/interpose/%,$(LIB_OBJ))
BPF_SRC  := $(sort $(wildcard bpf/*.bpf.c))
BPF_OBJ  := $(BPF_SRC:bpf/%.bpf.c=$(O)/bpf/%.bpf.o)
SKEL     := $(BPF_SRC:bpf/%.bpf.c=$(O)/gen/%.skel.h)
TOOL_SRC := $(sort $(wildcard tools/gyre/*.c))
TOOL_OBJ := $(TOOL_SRC:%.c=$(O)/%.o)
GEN_SIZE := $(wildcard tools/dev/gen_size_classes.c)
GEN_HDR  := $(if $(GEN_SIZE),$(O)/gen/size_class_table.h)
MAN_SRC  := $(sort $(wildcard lib/man/*.[1-9] tools/man/*.[1-9]))

UNIT_SRC := $(sort $(wildcard tests/unit/*/*_test.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(O)/%)
TEST_SRC := $(sort $(filter-out tests/unit/% tests/lite/% tests/bench/% tests/examples/% tests/fuzz/%,$(wildcard tests/*/*.c tests/*/*.cc)))
TEST_BIN := $(patsubst %.cc,$(O)/%,$(patsubst %.c,$(O)/%,$(TEST_SRC)))
BENCH_SRC := $(sort $(wildcard tests/bench/*.c tests/bench/*.cc))
BENCH_BIN := $(patsubst %.cc,$(O)/%,$(patsubst %.c,$(O)/%,$(BENCH_SRC)))
EXAMPLE_SRC := $(sort $(wildcard tests/examples/*.c))
KV_SRC := $(sort $(wildcard tests/examples/kv/*.c))
KV_BIN := $(if $(KV_SRC),$(O)/tests/examples/kv/kv)
EXAMPLE_BIN := $(EXAMPLE_SRC:%.c=$(O)/%) $(KV_BIN)
MEASURE_SRC := $(sort $(wildcard kernel-notes/measure/*.c))
MEASURE_BIN := $(MEASURE_SRC:%.c=$(O)/%)

LIBS := $(if $(LIB_OBJ),$(O)/libgyre.so $(O)/libgyre.so.$(SOMAJOR) $(O)/libgyre.a $(O)/libgyre-internal.a)
CLI  := $(if $(TOOL_SRC),$(O)/gyre)

# ---------------------------------------------------------------- targets
.PHONY: all lib bpf tools tests-build test check bench bench-alloc bench-instr bench-trace bench-gc bench-sync bench-kv bench-leak bench-build demo man install \
	uninstall clean format tidy soak kernel-notes help deps-test deps-bench deps-demo
ifeq ($(SAN),)
all: lib bpf tools man
	@printf '%s\n' $(patsubst %,'  ready    %',$(filter %.so %libgyre.a %/gyre,$(LIBS) $(CLI)))
else
# A sanitizer build is for the unit tests: nothing that replaces malloc is built with one.
all: lib
endif
ifeq ($(SAN),)
lib: $(LIBS)
else
lib: $(if $(LIB_OBJ),$(O)/libgyre-internal.a)
endif
bpf: $(SKEL)
tools: $(CLI)
UNIT ?= $(UNIT_BIN)
unit-build: $(UNIT)
tests-build: unit-build $(if $(LIB_OBJ),$(TEST_BIN)) $(if $(LIB_OBJ),$(EXAMPLE_BIN))
bench-build: $(if $(LIB_OBJ),$(BENCH_BIN))
.PHONY: unit-build

help:
	@printf '%s\n' \
	'make [target] [VARIABLE=value ...]' '' \
	'  all           libgyre.so, libgyre.a and the gyre command, in build/ (the default)' \
	'  lib bpf tools man   its parts' \
	'  test          build everything, run every test; the last line is the sum' \
	'  check         static checks only: layers, tables against manuals, exports, headers, clang-tidy' \
	'  demo          a small service on Gyre, watched live: start here' \
	'  bench         bench-alloc and bench-instr: against glibc, jemalloc, tcmalloc, mimalloc' \
	'  bench-gc      the collector against bdwgc, Go and malloc/free' \
	'  bench-sync    channels, mutexes and pools against Go, pthread and malloc/free' \
	'  bench-kv      the cache server of tests/examples/kv beside redis-server' \
	'  bench-leak    what scanning a redis-server for leaks costs it' \
	'  bench-trace   what tracing costs the traced: every event, and the ways of today (as root)' \
	'  soak          the stress tests and the fuzzers for SOAK_SECONDS (default 600) each; ten million meetings' \
	'  kernel-notes  build and run the measurements that kernel-notes/ quotes' \
	'  install uninstall   below DESTDIR, in PREFIX (/usr/local)' \
	'  clean format tidy   as they say' '' \
	'  O=DIR  output folder (build)         V=1     show the commands' \
	'  CC=gcc|clang  CFLAGS="-O2 -g"        WERROR=1  warnings are errors' \
	'  SAN=address|undefined|thread         build the unit tests with a sanitizer' \
	'  CHECK=full  expensive invariants on  PROBES=0  without probes, to measure them' \
	'  T=NAME ...  of make test: a folder of tests/, one file of it, quick, sanitizers' \
	'  PREFIX=/usr/local  LIBDIR=$$PREFIX/lib  DESTDIR=  where make install puts things'

# ---------------------------------------------------------------- what every object depends on
# Written while the Makefile is read, so that `make -n` tells the truth; not by targets that build nothing.
FLAGS_NOW := $(strip $(CC) $(CXX) $(LIB_CFLAGS) $(TOOL_CFLAGS) $(CLANG))
ifneq ($(filter-out clean help format uninstall,$(or $(MAKECMDGOALS),all)),)
ifneq ($(FLAGS_NOW),$(strip $(file <$(O)/.flags)))
$(shell mkdir -p $(O))
$(file >$(O)/.flags,$(FLAGS_NOW))
endif
endif
$(O)/.flags: ;

# Packages that the build itself needs; once per output folder.
$(O)/.deps-build: tools/dev/deps.sh
	@mkdir -p $(@D); sh tools/dev/deps.sh build && touch $@
deps-test deps-bench deps-demo: deps-%:
	@sh tools/dev/deps.sh $*

COMMON := $(O)/.flags | $(O)/.deps-build

# ---------------------------------------------------------------- the library
$(O)/gen/size_class_table.h: $(GEN_SIZE) $(COMMON)
	@mkdir -p $(@D)
	$(call say,GEN,$@)$(CC) -std=gnu11 -O1 $(WARN) -Ilib -Ilib/include -o $(O)/gen/gen_size_classes $(GEN_SIZE) && \
	$(O)/gen/gen_size_classes >$@.new && mv $@.new $@

$(O)/lib/%.o: lib/%.c $(COMMON) $(GEN_HDR)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(LIB_CFLAGS) $(FP_CFLAGS) $(INCLUDE) $(DEPGEN) -c -o $@ $<
$(LIB_OBJ): $(GEN_HDR)

$(O)/libgyre.so: $(LIB_OBJ) lib/libgyre.map
	$(call say,LINK,$@)$(CC) $(LIB_CFLAGS) $(LIB_LDFLAGS) -o $@ $(LIB_OBJ)
$(O)/libgyre.so.$(SOMAJOR): $(O)/libgyre.so
	$(Q)ln -sf libgyre.so $@

# One object, its internals made local: linking one of ours into a program brings all, and none of
# the gy_* names can clash with the program's own.
$(O)/libgyre.a: $(ARCHIVE_OBJ)
	$(call say,AR,$@)rm -f $@ && ld -r -o $(O)/libgyre.o $(ARCHIVE_OBJ) && objcopy --localize-hidden $(O)/libgyre.o && \
	ar rcs $@ $(O)/libgyre.o
$(O)/libgyre-internal.a: $(CORE_OBJ)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $(CORE_OBJ)

# ---------------------------------------------------------------- eBPF
BPF_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(shell uname -m)))
$(O)/gen/vmlinux.h: $(COMMON)
	@mkdir -p $(@D)
	@test -r $(VMLINUX_BTF) || { echo "gyre: $(VMLINUX_BTF) is missing: the eBPF programs need a kernel with" \
	"CONFIG_DEBUG_INFO_BTF=y (or VMLINUX_BTF=file). 'make lib' builds without." >&2; exit 1; }
	$(call say,GEN,$@)$(BPFTOOL) btf dump file $(VMLINUX_BTF) format c >$@.new && mv $@.new $@
$(O)/bpf/%.bpf.o: bpf/%.bpf.c $(O)/gen/vmlinux.h $(COMMON)
	@mkdir -p $(@D)
	$(call say,BPF,$<)$(CLANG) -target bpf -O2 -g -mcpu=v3 -Wall -Wno-missing-declarations -D__TARGET_ARCH_$(BPF_ARCH) \
	-Ibpf -I$(O)/gen -I/usr/include/$(shell uname -m)-linux-gnu -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
$(O)/gen/%.skel.h: $(O)/bpf/%.bpf.o
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< name $*_bpf >$@.new && mv $@.new $@

# ---------------------------------------------------------------- the command
TOOL_PKGS := libbpf libdw libelf jansson smartcols ncursesw libprotobuf-c zlib liburing
TOOL_LIBS = $(shell $(PKG_CONFIG) --libs $(TOOL_PKGS)) -liberty -lm
TOOL_PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(TOOL_PKGS))
# pprof's format: C out of the schema.
PROTO_SRC := $(wildcard tools/gyre/*.proto)
PROTO_HDR := $(PROTO_SRC:tools/gyre/%.proto=$(O)/gen/%.pb-c.h)
PROTO_OBJ := $(PROTO_HDR:.h=.o)
$(O)/gen/%.pb-c.h: tools/gyre/%.proto $(COMMON)
	@mkdir -p $(@D)
	$(call say,PROTO,$<)protoc-c --proto_path=tools/gyre --c_out=$(O)/gen $<
$(O)/gen/%.pb-c.o: $(O)/gen/%.pb-c.h
	$(call say,CC,$(<:.h=.c))$(CC) -std=gnu11 $(CFLAGS) -I$(O)/gen -c -o $@ $(<:.h=.c)
$(TOOL_OBJ): $(SKEL) $(PROTO_HDR)
$(O)/tools/%.o: tools/%.c $(COMMON)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(TOOL_CFLAGS) -Ilib -Ilib/include -isystem $(O)/gen $(TOOL_PKG_CFLAGS) $(DEPGEN) -c -o $@ $<
$(O)/gyre: $(TOOL_OBJ) $(PROTO_OBJ)
	$(call say,LINK,$@)$(CC) $(CFLAGS) -o $@ $(TOOL_OBJ) $(PROTO_OBJ) $(TOOL_LIBS) -pthread

# ---------------------------------------------------------------- test programs
# tests/unit/<layer>/x_test.c   Criterion, on libgyre-internal.a; malloc stays libc's
# tests/<dir>/x_linked.c        linked with libgyre.so (found by rpath)
# tests/<dir>/x_static.c        linked with libgyre.a
# tests/<dir>/x_internal.c      linked with libgyre-internal.a
# tests/<dir>/x_lib.c           a shared object x_lib.so, to be preloaded or dlopened
# tests/<dir>/x.c, x.cc         plain: for LD_PRELOAD, or a tool
# tests/examples/x.c, tests/bench/x.c   as x_linked.c, and plain
# Extra flags: TEST_FLAGS_<name without suffix> and TEST_LIBS_<name>, set in tests/<dir>/build.mk.
-include $(sort $(wildcard tests/*/build.mk))

test_name = $(notdir $(basename $<))
link_kind = $(lastword $(subst _, ,$(test_name)))
# Criterion does not run under the thread sanitizer: tests/lite has the same macros over fork.
CRITERION := $(if $(filter thread,$(SAN)),tests/lite/runner.c,-lcriterion)
link_with = $(strip $(if $(filter tests/unit/%,$<),$(CRITERION) $(O)/libgyre-internal.a,\
	$(if $(filter tests/examples/%,$<),-L$(O) -lgyre -Wl$(comma)-rpath$(comma)$(ABS_O),\
	$(if $(filter linked,$(link_kind)),-L$(O) -Wl$(comma)--no-as-needed -lgyre -Wl$(comma)-rpath$(comma)$(ABS_O),\
	$(if $(filter static,$(link_kind)),$(O)/libgyre.a,\
	$(if $(filter internal,$(link_kind)),$(O)/libgyre-internal.a,\
	$(if $(filter lib,$(link_kind)),-shared -fPIC)))))))
comma := ,

TEST_DEPS = $(if $(SAN),$(O)/libgyre-internal.a,$(LIBS))
$(UNIT_BIN): $(O)/libgyre-internal.a $(if $(filter thread,$(SAN)),$(wildcard tests/lite/*.c tests/lite/*/*.h))
$(TEST_BIN) $(EXAMPLE_BIN) $(BENCH_BIN): $(TEST_DEPS)
$(O)/tests/%: tests/%.c $(COMMON)
	@mkdir -p $(@D)
	$(call say,TESTCC,$<)$(CC) $(TEST_CFLAGS) $(TEST_FLAGS_$(test_name)) $(INCLUDE) -Itests -MMD -MP -MF $@.d -o $@ $< \
	$(link_with) $(TEST_LIBS_$(test_name)) -lm -ldl
$(O)/tests/%: tests/%.cc $(COMMON)
	@mkdir -p $(@D)
	$(call say,TESTCXX,$<)$(CXX) -std=gnu++17 $(CFLAGS) $(WARN_CXX) $(DEFS) -pthread -fno-builtin $(TEST_FLAGS_$(test_name)) \
	$(INCLUDE) -Itests -MMD -MP -MF $@.d -o $@ $< $(link_with) $(TEST_LIBS_$(test_name)) -ldl
# tests/examples/kv/*.c   one program of several files
$(KV_BIN): $(KV_SRC) $(wildcard tests/examples/kv/*.h) $(COMMON)
	@mkdir -p $(@D)
	$(call say,TESTCC,tests/examples/kv)$(CC) $(TEST_CFLAGS) $(INCLUDE) -o $@ $(KV_SRC) -L$(O) -lgyre \
	-Wl,-rpath,$(ABS_O) -luring
$(O)/kernel-notes/%: kernel-notes/%.c $(COMMON)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) -std=gnu11 -O2 -g $(WARN) -D_GNU_SOURCE -MMD -MP -MF $@.d -o $@ $< -pthread

# ---------------------------------------------------------------- running
test: deps-test
	+@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' MAKE='$(MAKE)' CC='$(CC)' sh tests/run $(T)
check: deps-test
	+@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' MAKE='$(MAKE)' CC='$(CC)' sh tests/run static
bench: bench-alloc bench-instr
bench-alloc bench-instr: bench-%: deps-bench all bench-build
	@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' sh tests/bench/run-$*.sh
bench-trace: deps-bench all bench-build
	@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' sh tests/bench/run-trace.sh
bench-gc: deps-bench all
	@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' sh tests/bench/gc/run.sh
bench-sync: deps-bench all
	@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' sh tests/bench/run-sync.sh
bench-kv: deps-bench all $(KV_BIN)
	@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' sh tests/bench/run-kv.sh
bench-leak: deps-bench all
	@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' sh tests/bench/run-leak.sh
bench-instr: | bench-alloc-first
.PHONY: bench-alloc-first
bench-alloc-first: $(if $(filter bench,$(MAKECMDGOALS)),bench-alloc)
demo: deps-demo all $(if $(LIB_OBJ),$(EXAMPLE_BIN))
	@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' sh tests/examples/demo.sh
SOAK_SECONDS ?= 600
soak: deps-test all tests-build
	@GYRE_SRC='$(SRC)' GYRE_BUILD='$(ABS_O)' GYRE_SOAK_SECONDS='$(SOAK_SECONDS)' GYRE_ROUNDS=100 GYRE_KILLS=200 \
	GYRE_PIPELINE_BYTES=1073741824 sh tests/run stress faults/inject.sh fuzz leak sync model/sync.test trace/events_rounds.test \
	examples/pipeline.test
kernel-notes: $(MEASURE_BIN)
	@for program in $(MEASURE_BIN); do echo "== $$(basename $$program)"; $$program || exit 1; done

# ---------------------------------------------------------------- manuals, install
# tools/man/x.8 as they stand; lib/man/x.7.in with tables filled in from the source; x.3 out of gyre.h.
PUBLIC_HDR := $(wildcard lib/include/gyre/*.h)
man_page = $(O)/man/man$(patsubst .%,%,$(suffix $(1)))/$(1)
MAN_PLAIN := $(foreach source,$(MAN_SRC),$(call man_page,$(notdir $(source))))
MAN_FILLED := $(foreach source,$(wildcard lib/man/*.[1-9].in),$(call man_page,$(notdir $(source:.in=))))
MAN_MADE := $(foreach name,$(shell awk -v page=LIST -f tools/dev/gen_man3.awk $(PUBLIC_HDR)),$(call man_page,$(name).3))
MAN_OUT := $(MAN_PLAIN) $(MAN_FILLED) $(MAN_MADE)
man: $(MAN_OUT)
define man_plain_rule
$(call man_page,$(notdir $(1))): $(1) $(COMMON)
	@mkdir -p $$(@D)
	$$(call say,MAN,$$<)sed 's/@VERSION@/$(VERSION)/g' $$< >$$@
endef
define man_filled_rule
$(call man_page,$(notdir $(1:.in=))): $(1) $(O)/gen/gen_man
	@mkdir -p $$(@D)
	$$(call say,MAN,$$<)$(O)/gen/gen_man $$< >$$@.new && mv $$@.new $$@
endef
$(foreach source,$(MAN_SRC),$(eval $(call man_plain_rule,$(source))))
$(foreach source,$(wildcard lib/man/*.[1-9].in),$(eval $(call man_filled_rule,$(source))))
$(MAN_MADE): $(PUBLIC_HDR) tools/dev/gen_man3.awk $(COMMON)
	@mkdir -p $(@D)
	$(call say,MAN,$@)for header in $(PUBLIC_HDR); do awk -v page=$(basename $(@F)) -v header=gyre/$${header##*/} \
	-v version=$(VERSION) -f tools/dev/gen_man3.awk $$header; done >$@.new && test -s $@.new && mv $@.new $@
$(O)/gen/gen_man: tools/dev/gen_man.c $(wildcard lib/*/*.def) lib/include/gyre/gyre.h $(COMMON)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) -std=gnu11 -O1 $(WARN) -Ilib -Ilib/include -o $@ $<

INSTALLED = $(DESTDIR)$(LIBDIR)/libgyre.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libgyre.so.$(SOMAJOR) \
	$(DESTDIR)$(LIBDIR)/libgyre.so $(DESTDIR)$(LIBDIR)/libgyre.a $(DESTDIR)$(LIBDIR)/pkgconfig/gyre.pc \
	$(addprefix $(DESTDIR)$(PREFIX)/include/gyre/,$(notdir $(wildcard lib/include/gyre/*.h))) \
	$(if $(CLI),$(DESTDIR)$(PREFIX)/bin/gyre) \
	$(if $(wildcard tools/completion/gyre.bash),$(DESTDIR)$(PREFIX)/share/bash-completion/completions/gyre) \
	$(patsubst $(O)/man/%,$(DESTDIR)$(PREFIX)/share/man/%,$(MAN_OUT))
install: all
	@echo '  INSTALL  $(DESTDIR)$(PREFIX)'
	$(Q)install -d $(sort $(dir $(INSTALLED)))
	$(Q)install -m 755 $(O)/libgyre.so $(DESTDIR)$(LIBDIR)/libgyre.so.$(VERSION)
	$(Q)ln -sf libgyre.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libgyre.so.$(SOMAJOR)
	$(Q)ln -sf libgyre.so.$(SOMAJOR) $(DESTDIR)$(LIBDIR)/libgyre.so
	$(Q)install -m 644 $(O)/libgyre.a $(DESTDIR)$(LIBDIR)/libgyre.a
	$(Q)install -m 644 lib/include/gyre/*.h $(DESTDIR)$(PREFIX)/include/gyre/
	$(Q)sed 's|@PREFIX@|$(PREFIX)|;s|@LIBDIR@|$(LIBDIR)|;s|@VERSION@|$(VERSION)|' tools/packaging/gyre.pc.in \
		>$(DESTDIR)$(LIBDIR)/pkgconfig/gyre.pc
	$(if $(CLI),$(Q)install -m 755 $(O)/gyre $(DESTDIR)$(PREFIX)/bin/gyre)
	$(if $(wildcard tools/completion/gyre.bash),$(Q)install -m 644 tools/completion/gyre.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/gyre)
	$(Q)$(foreach page,$(MAN_OUT),install -m 644 $(page) $(patsubst $(O)/man/%,$(DESTDIR)$(PREFIX)/share/man/%,$(page)) &&) :
uninstall:
	@echo '  REMOVE   $(DESTDIR)$(PREFIX)'
	$(Q)rm -f $(INSTALLED)
	$(Q)rmdir -p --ignore-fail-on-non-empty $(sort $(dir $(INSTALLED))) 2>/dev/null || :

C_FILES = $(wildcard lib/*/*.[ch] lib/include/gyre/*.h bpf/*.[ch] tools/*/*.[ch] tests/*/*.[ch] tests/unit/*/*.[ch] \
	kernel-notes/measure/*.c)
format:
	clang-format -i $(C_FILES)
tidy: $(GEN_HDR) $(SKEL) $(PROTO_HDR)
	clang-tidy --quiet $(LIB_SRC) -- -std=gnu11 $(DEFS) $(INCLUDE)
	$(if $(TOOL_SRC),clang-tidy --quiet $(TOOL_SRC) -- -std=gnu11 $(DEFS) $(INCLUDE) -Ibpf)
clean:
	@echo '  CLEAN    $(O)'
	$(Q)rm -rf $(O)/lib $(O)/bpf $(O)/gen $(O)/tools $(O)/fuzz $(O)/tests $(O)/kernel-notes $(O)/man $(O)/san-* $(O)/check-* \
		$(O)/libgyre.* $(O)/libgyre-internal.a $(O)/gyre $(O)/demo.svg $(O)/demo.pb.gz $(O)/.flags $(O)/.deps-build
	$(Q)rmdir $(O) 2>/dev/null || :

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(BPF_OBJ:.o=.d) $(addsuffix .d,$(UNIT_BIN) $(TEST_BIN) $(BENCH_BIN) \
	$(EXAMPLE_BIN) $(MEASURE_BIN))
