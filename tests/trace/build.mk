# The reader of recordings, alone, under the address and the undefined-behaviour sanitizer.
RECORDING_READER := $(addprefix tools/gyre/,trace_report.c trace_export.c trace_chrome.c trace_live.c recording.c record_read.c \
	record_write.c record_sink.c record_symbols.c output.c output_table.c format.c words.c symbols.c symbols_file.c symbols_index.c \
	profile_model.c folded.c target.c file_read.c control.c notes.c)
TEST_FLAGS_recording_damage = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -Itools/gyre \
	-Ibpf $(TOOL_PKG_CFLAGS)
TEST_LIBS_recording_damage = $(RECORDING_READER) $(TOOL_LIBS)
$(O)/tests/trace/recording_damage: $(RECORDING_READER)
