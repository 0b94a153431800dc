/* recording_fuzz.c - recordings: report by each view, and each export.
 *
 * The input is a recording. If its last byte is even, the marks, numbers and checksums of its
 * blocks are made right first: a fuzzer does not guess a CRC.
 */
#include "fuzz.h"
#include "record_file.h"
#include "trace.h"

static int file = -1;
static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet(true);
	file = fuzz_file("recording");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return 0;
}

static void make_right(uint8_t *bytes, size_t length)
{
	struct gy_file_header header;
	struct gy_file_block block;
	uint64_t number = 0;

	memcpy(&header, bytes, sizeof(header));
	memcpy(header.magic, GY_FILE_MAGIC, sizeof(header.magic));
	header.version = GY_FILE_VERSION;
	header.header_bytes = sizeof(header);
	header.crc = gy_file_crc(0, &header, offsetof(struct gy_file_header, crc));
	memcpy(bytes, &header, sizeof(header));
	for (size_t at = sizeof(header); at + sizeof(block) <= length;) {
		memcpy(&block, bytes + at, sizeof(block));
		if (block.bytes > length - at - sizeof(block))
			block.bytes = (uint32_t)(length - at - sizeof(block));
		block.mark = GY_FILE_MARK;
		block.number = number++;
		block.crc = 0;
		block.crc = gy_file_crc(gy_file_crc(0, &block, sizeof(block)),
					bytes + at + sizeof(block), block.bytes);
		memcpy(bytes + at, &block, sizeof(block));
		at += sizeof(block) + (((size_t)block.bytes + 7) & ~(size_t)7);
	}
}

static void answer(int (*command)(int argc, char **argv), const char *a, const char *b)
{
	char output[] = "output", nowhere[] = "/dev/null", one[16], other[16];
	char *words[] = {path, one, other, output, nowhere, NULL};

	snprintf(one, sizeof(one), "%s", a);
	snprintf(other, sizeof(other), "%s", b);
	command(command == gy_trace_export ? 5 : 3, words);
	gy_out_finish();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const char *const views[] = {"class", "site", "thread", "time"};
	static const char *const formats[] = {"chrome", "pprof", "folded", "json", "csv"};
	uint8_t *copy;

	if (length < sizeof(struct gy_file_header) + 1)
		return 0;
	copy = malloc(length);
	fuzz_must(copy != NULL);
	memcpy(copy, bytes, length);
	if (!(bytes[length - 1] & 1))
		make_right(copy, length);
	fuzz_fill(file, copy, length);
	answer(gy_trace_report, "by", views[length % 4]);
	answer(gy_trace_export, "format", formats[length % 5]);
	free(copy);
	return 0;
}
