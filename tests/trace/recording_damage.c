/* recording_damage.c - the reader of recordings against damage, built with AddressSanitizer and
 * UBSan: report and every export must end in a result or in one message, whatever the bytes are.
 *
 *      cut     the file ends at each of its bytes
 *      flip    one bit of each byte is another; then some at random
 *      forge   numbers inside of blocks are changed at random and the checksums made right again:
 *              what FILE-1 is about
 *
 * The recording is made here by the writer itself, with each type of block in it, so that it is
 * small enough to be tried at every byte. Prints ok and not ok lines (tests/run).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "output.h"
#include "pprof.h"
#include "record_sink.h"
#include "session.h"
#include "trace.h"

static FILE *results;
static int fails;
static int answer_fd, file_fd; /* what the command prints; the recording under test */
static char file_path[64];
static uint64_t rng = 88172645463325252u;

/* What the sources call of the parts that are not here. */
uint64_t gy_monotonic_ns(void)
{
	return 1;
}

int gy_pprof_make(const struct gy_profile *profile, uint8_t **bytes, size_t *length)
{
	*length = profile->stack_count;
	*bytes = calloc(1, *length + 1);
	return 0;
}

static uint64_t next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void result(bool good, const char *name, const char *why)
{
	fails += !good;
	if (good)
		fprintf(results, "ok - recording, %s\n", name);
	else
		fprintf(results, "not ok - recording, %s: %s\n", name, why);
	fflush(results);
}

/* ---------------------------------------------------------------- a recording of everything */

#define THREADS 3
#define BATCHES 6
#define RECORDS 5
#define EVENTS (BATCHES * RECORDS)

static void make(const char *path, enum gy_sink_way way)
{
	struct gy_file_header header = {.machine = 62,
					.flags = GY_FILE_STACKS_WANTED,
					.ticks_hz = 2000000000,
					.start_ticks = 1000,
					.start_ns = 5000000000,
					.start_wall_ns = 1700000000000000000};
	struct gy_file_process process = {.pid = 42, .comm = "demo", .version = "0.1.0"};
	uint32_t classes[] = {0, 16, 32, 48};
	struct gy_file_mapping mapping = {
		.start = 0x400000, .end = 0x500000, .build_id_bytes = 20, .path = "/nowhere/demo"};
	struct gy_file_thread threads[THREADS] = {{7, "main"}, {8, "worker"}, {9, ""}};
	struct gy_file_probe probe = {
		.ns = 5000100000, .argument_count = 5, .name = "gc_cycle_begin"};
	struct gy_file_heap heap = {.ns = 5000000000, .alloc_bytes = 1 << 20, .gc_goal_bytes = 9};
	struct gy_file_loss loss = {.ring_records = 3};
	struct {
		struct gy_file_stack head;
		uint64_t frames[2];
	} stacks[2] = {{{1, 2}, {0x400100, 0x400200}}, {{2, 2}, {0x400300, 0x400200}}};
	static const char strings[] = "make_small\0main\0demo.c\0demo";
	struct {
		struct gy_file_symbol head;
		struct gy_file_level levels[1];
	} symbol = {{0x400100, 4, 4, 1}, {{1, 0, 3, 17, 10, 0}}};
	struct gy_file_end end = {
		.reason = GY_FILE_ENDED_SIGNAL, .ns = 5001000000, .ticks = 2001000};
	struct gy_file_writer writer;
	int error;
	struct gy_sink *sink = gy_sink_open(path, way, &error);
	uint64_t bytes;

	if (!sink || gy_file_write_begin(&writer, sink, &header))
		abort();
#define PUT(type, what) gy_file_write(&writer, GY_FILE_##type, &(what), sizeof(what), NULL, 0)
	PUT(PROCESS, process);
	PUT(CLASSES, classes);
	PUT(MAPPINGS, mapping);
	PUT(THREADS, threads);
	for (uint64_t i = 0; i < BATCHES; i++) {
		struct gy_file_clock clock = {1000 + i * 2000, 5000000000 + i * 1000, 0};
		struct gy_file_batch batch = {.thread = 7 + (uint32_t)(i % THREADS),
					      .count = RECORDS,
					      .recorded = RECORDS,
					      .first = i / THREADS * RECORDS};
		struct gyre_record records[RECORDS];

		for (uint64_t j = 0; j < RECORDS; j++)
			records[j] =
				(struct gyre_record){.ticks = 1000 + i * 2000 + j * 100,
						     .where = (j % 2 ? 2ull : 1ull) << 56 |
							      1ull << 48 | (0x1000 + j / 2 * 16),
						     .bytes = 16,
						     .stack = (uint32_t)(j % 3)};
		PUT(CLOCK, clock);
		gy_file_write_batch(&writer, &batch, records);
	}
	PUT(STACKS, stacks);
	PUT(PROBE, probe);
	PUT(HEAP, heap);
	gy_file_write_index(&writer);
	PUT(LOSS, loss);
	PUT(STRINGS, strings);
	PUT(SYMBOLS, symbol);
	gy_file_write_end(&writer, &end);
	if (gy_sink_close(sink, &bytes) || bytes != writer.bytes)
		abort();
}

/* ---------------------------------------------------------------- one try */

static char answer[1 << 16];

/* Runs a command of `gyre trace` on the file under test; its JSON is then in `answer`. */
static int command(int (*run)(int argc, char **argv), char **words)
{
	int argc = 0, error;
	ssize_t got;

	while (words[argc])
		argc++;
	if (ftruncate(answer_fd, 0) || lseek(answer_fd, 0, SEEK_SET))
		abort();
	error = run(argc, words);
	gy_out_finish();
	got = pread(answer_fd, answer, sizeof(answer) - 1, 0);
	answer[got > 0 ? got : 0] = 0;
	return error;
}

static void put_file(const unsigned char *bytes, size_t length)
{
	if (ftruncate(file_fd, 0) || pwrite(file_fd, bytes, length, 0) != (ssize_t)length)
		abort();
}

static int report(const char *by)
{
	char *words[] = {file_path, (char *)(uintptr_t)(by ? "by" : NULL), (char *)(uintptr_t)by,
			 NULL};

	return command(gy_trace_report, words);
}

/* Every way to read it. False: an answer was neither a result nor one error. */
static bool read_all(int round)
{
	static const char *const views[] = {NULL, "class", "site", "thread", "time"};
	static const char *const formats[] = {"chrome", "pprof", "folded", "json", "csv"};
	bool good = true;
	size_t which = (size_t)round % 5;
	char format_word[] = "format", output_word[] = "output", nowhere[] = "/dev/null";
	char *words[] = {file_path, format_word, (char *)(uintptr_t)formats[which],
			 output_word, nowhere, NULL};

	good &= (report(views[which]) == 0) != (strstr(answer, "{\"error\":") == answer);
	good &= (command(gy_trace_export, words) == 0) != (strstr(answer, "{\"error\":") == answer);
	return good;
}

/* ---------------------------------------------------------------- damage */

static void cut_everywhere(const unsigned char *bytes, size_t length)
{
	bool ended = true, told = true, whole = true, header = true;
	uint64_t last = 0, seen = 0;

	for (size_t n = 0; n <= length; n++) {
		const char *total;

		put_file(bytes, n);
		ended &= read_all((int)n);
		if (report(NULL)) {
			header &= n < sizeof(struct gy_file_header);
			continue;
		}
		header &= n >= sizeof(struct gy_file_header);
		told &= (n < length) == !strstr(answer, "\"damage\":null");
		total = strstr(answer, "\"total\":");
		seen = total ? strtoull(total + 8, NULL, 10) : 0;
		whole &= seen >= last && seen % RECORDS == 0;
		last = seen;
	}
	result(ended, "cut at each byte: each command ends properly", "one did not");
	result(header, "cut in the header: an error, behind it: none", "not so");
	result(told, "cut: it is said, and where", "not so");
	result(whole && seen == EVENTS, "cut: every whole batch before it counts", "not so");
}

static void flip_everywhere(unsigned char *bytes, size_t length)
{
	bool ended = true, told = true;

	for (size_t i = 0; i < length; i++) {
		unsigned char bit = (unsigned char)(1u << next_random() % 8);

		bytes[i] ^= bit;
		put_file(bytes, length);
		ended &= read_all((int)i);
		/* Padding, and what no checksum covers, may differ without harm. */
		if (!report(NULL) && strstr(answer, "\"damage\":null"))
			told &= strstr(answer, "\"total\":30,") != NULL;
		bytes[i] ^= bit;
	}
	result(ended, "a bit of each byte: each command ends properly", "one did not");
	result(told, "a bit of each byte: told, or without effect", "a number changed in silence");
	for (int round = 0; round < 1000; round++) {
		unsigned char copy[1 << 14];

		memcpy(copy, bytes, length);
		for (uint64_t n = 1 + next_random() % 20; n--;)
			copy[next_random() % length] = (unsigned char)next_random();
		put_file(copy, length);
		ended &= read_all(round);
	}
	result(ended, "bytes at random: each command ends properly", "one did not");
}

/* The checksums of a chain of blocks, made right. */
static void checksums(unsigned char *bytes, size_t length)
{
	struct gy_file_block block;
	uint32_t crc = gy_file_crc(0, bytes, offsetof(struct gy_file_header, crc));

	memcpy(bytes + offsetof(struct gy_file_header, crc), &crc, sizeof(crc));
	for (size_t at = sizeof(struct gy_file_header); at + sizeof(block) <= length;) {
		memcpy(&block, bytes + at, sizeof(block));
		if (block.bytes > length - at - sizeof(block))
			return;
		block.crc = 0;
		crc = gy_file_crc(0, &block, sizeof(block));
		block.crc = gy_file_crc(crc, bytes + at + sizeof(block), block.bytes);
		memcpy(bytes + at, &block, sizeof(block));
		at += sizeof(block) + ((block.bytes + 7u) & ~7u);
	}
}

static void forge(const unsigned char *bytes, size_t length, int rounds)
{
	static const uint64_t nasty[] = {0,          1,          0x7f,
					 0xff,       0xffff,     0x7fffffff,
					 0xffffffff, 0x80000000, 0x7fffffffffffffff,
					 UINT64_MAX};
	bool ended = true;

	for (int round = 0; round < rounds; round++) {
		unsigned char copy[1 << 14];

		memcpy(copy, bytes, length);
		for (uint64_t n = 1 + next_random() % 6; n--;) {
			uint64_t value =
				next_random() % 3 ? nasty[next_random() % 10] : next_random();
			size_t width = 1ul << next_random() % 4;
			size_t at = 12 + next_random() % (length - 20);

			memcpy(copy + at / width * width, &value, width);
		}
		checksums(copy, length);
		put_file(copy, length);
		ended &= read_all(round);
	}
	result(ended, "forged numbers: each command ends properly", "one did not");
}

static void both_writers(const char *folder)
{
	static unsigned char one[1 << 14], other[1 << 14];
	char path[2][256];
	ssize_t bytes[2];

	for (int i = 0; i < 2; i++) {
		int fd;

		snprintf(path[i], sizeof(path[i]), "%s/made.%d", folder, i);
		make(path[i], i ? GY_SINK_PWRITE : GY_SINK_AUTO);
		fd = open(path[i], O_RDONLY | O_CLOEXEC);
		bytes[i] = read(fd, i ? other : one, sizeof(one));
		close(fd);
	}
	result(bytes[0] > 0 && bytes[0] == bytes[1] && !memcmp(one, other, (size_t)bytes[0]),
	       "both writers write the same", "they differ");
	put_file(one, (size_t)bytes[0]);
	result(!report(NULL) && strstr(answer, "\"total\":30,") &&
		       strstr(answer, "\"malloc\":18,") && strstr(answer, "\"complete\":true") &&
		       strstr(answer, "\"make_small\"") &&
		       strstr(answer, "\"ended_by\":\"signal\""),
	       "undamaged: all is there", answer);
	cut_everywhere(one, (size_t)bytes[0]);
	flip_everywhere(one, (size_t)bytes[0]);
	forge(one, (size_t)bytes[0], 3000);
}

int main(int argc, char **argv)
{
	int out = dup(STDOUT_FILENO);

	if (argc != 2)
		return 2;
	results = fdopen(out, "w");
	answer_fd = memfd_create("answer", MFD_CLOEXEC);
	file_fd = memfd_create("recording", MFD_CLOEXEC);
	if (!results || answer_fd < 0 || file_fd < 0 || dup2(answer_fd, STDOUT_FILENO) < 0)
		return 2;
	snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file_fd);
	gy_out_init(true, false, false);
	both_writers(argv[1]);
	return fails != 0;
}
