/* seeds.c - inputs to begin with, one of each kind: seeds DIR makes DIR/KIND/NAME.
 *
 * They are made here, out of the structures themselves, so that they are never of an older layout.
 */
#include <stddef.h>
#include <sys/stat.h>

#include "control/control_page.h"
#include "events.h"
#include "fuzz.h"
#include "leak/leak_report.h"
#include "record_file.h"
#include "record_sink.h"
#include "trace/event_record.h"

static char place[4096];

static void put(const char *folder, const char *kind, const char *name, const void *bytes,
		size_t length)
{
	FILE *file;

	snprintf(place, sizeof(place), "%s/%s", folder, kind);
	mkdir(place, 0777);
	snprintf(place, sizeof(place), "%s/%s/%s", folder, kind, name);
	file = fopen(place, "w");
	fuzz_must(file && fwrite(bytes, 1, length, file) == length && !fclose(file));
}

/* ---------------------------------------------------------------- the control page */

static void pages(const char *folder)
{
	enum { CLASSES = 3, OPTIONS = 2, BUCKETS = 6 };
	static struct {
		struct gyre_control header;
		struct gyre_control_class classes[CLASSES];
		struct gyre_control_option options[OPTIONS];
		struct gyre_control_bucket buckets[BUCKETS];
	} page;
	struct gyre_control *header = &page.header;

	memcpy(header->magic, GYRE_CONTROL_MAGIC, sizeof(header->magic));
	header->abi = GYRE_CONTROL_ABI;
	header->header_bytes = sizeof(*header);
	header->total_bytes = sizeof(page);
	strcpy(header->version, "0.0.0");
	header->class_count = CLASSES;
	header->class_bytes = sizeof(page.classes[0]);
	header->class_offset = offsetof(__typeof__(page), classes);
	header->option_count = OPTIONS;
	header->option_bytes = sizeof(page.options[0]);
	header->option_offset = offsetof(__typeof__(page), options);
	header->bucket_count = BUCKETS;
	header->bucket_bytes = sizeof(page.buckets[0]);
	header->bucket_offset = offsetof(__typeof__(page), buckets);
	header->sample_bytes = 524288;
	strcpy(page.options[0].name, "sample");
	for (uint32_t i = 0; i < BUCKETS; i++) {
		struct gyre_control_bucket *bucket = &page.buckets[i];

		bucket->depth = i + 1;
		bucket->alloc_objects = i + 1;
		bucket->alloc_weight = (uint64_t)(i + 1) << 20;
		bucket->alloc_weight_objects = 16 * (i + 1);
		for (uint32_t j = 0; j <= i; j++)
			bucket->frames[j] = 0x1000 * (i + 1 - j);
	}
	put(folder, "page", "today", &page, sizeof(page));
	header->abi = 1;
	header->header_bytes = GYRE_CONTROL_HEADER_1;
	put(folder, "page", "abi1", &page, sizeof(page));
	header->abi = 2;
	header->header_bytes = GYRE_CONTROL_HEADER_2;
	put(folder, "page", "abi2", &page, sizeof(page));
	header->abi = 3;
	header->header_bytes = GYRE_CONTROL_HEADER_3;
	put(folder, "page", "abi3", &page, sizeof(page));
}

/* ---------------------------------------------------------------- stacks, batches, texts */

static void leak(const char *folder)
{
	static struct {
		struct gyre_leak_header header;
		struct gyre_leak_class classes[2];
		struct gyre_leak_group groups[2];
		struct gyre_leak_block blocks[3];
		struct gyre_leak_step steps[2];
	} all;
	struct gyre_leak_header *header = &all.header;

	memcpy(header->magic, GYRE_LEAK_MAGIC, sizeof(header->magic));
	header->abi = GYRE_LEAK_ABI;
	header->header_bytes = sizeof(*header);
	header->total_bytes = sizeof(all);
	header->class_offset = offsetof(__typeof__(all), classes);
	header->group_offset = offsetof(__typeof__(all), groups);
	header->block_offset = offsetof(__typeof__(all), blocks);
	header->step_offset = offsetof(__typeof__(all), steps);
	header->class_bytes = sizeof(all.classes[0]);
	header->group_bytes = sizeof(all.groups[0]);
	header->block_bytes = sizeof(all.blocks[0]);
	header->step_bytes = sizeof(all.steps[0]);
	header->class_room = header->class_count = 2;
	header->group_room = header->group_count = 2;
	header->block_room = header->block_count = 3;
	header->step_room = header->step_count = 2;
	header->state = GYRE_LEAK_DONE;
	header->scan = 1;
	header->rounds_done = 3;
	header->lost_blocks = header->lost_samples = 3;
	for (uint32_t i = 0; i < 2; i++) {
		all.classes[i] = (struct gyre_leak_class){.object_bytes = 64, .lost_blocks = 3};
		all.groups[i].depth = GYRE_LEAK_FRAMES - i;
		all.groups[i].lost_samples = i + 1;
		for (uint32_t frame = 0; frame < all.groups[i].depth; frame++)
			all.groups[i].frames[frame] = 0x400000 + 16 * frame;
		all.steps[i].group = i + 1;
	}
	for (uint32_t i = 0; i < 3; i++) {
		all.blocks[i].group = i;
		all.blocks[i].flags = i;
	}
	put(folder, "leak", "three", &all, sizeof(all));
}

static void stacks(const char *folder)
{
	struct {
		struct gyre_stacks_header header;
		char rest[32 - sizeof(struct gyre_stacks_header) % 32];
		struct gyre_stack_entry entries[4];
	} table = {.header = {.entry_bytes = sizeof(struct gyre_stack_entry), .entry_count = 4}};
	char bytes[32 + sizeof(table.entries)] = {0};

	memcpy(table.header.magic, GYRE_STACKS_MAGIC, sizeof(table.header.magic));
	for (uint32_t i = 1; i < 4; i++)
		table.entries[i] = (struct gyre_stack_entry){.hash = i, .depth = 10 * i};
	memcpy(bytes, &table.header, sizeof(table.header) < 32 ? sizeof(table.header) : 32);
	memcpy(bytes + 32, table.entries, sizeof(table.entries));
	put(folder, "stacks", "four", bytes, sizeof(bytes));
}

static void batches(const char *folder)
{
	enum { RECORDS = 5 };
	struct {
		struct gyre_batch head;
		struct gyre_record records[RECORDS];
	} batch = {.head = {.kind = GYRE_EVENT_BATCH, .thread = 7, .count = RECORDS,
			    .recorded = RECORDS}};
	char bytes[2 * (2 + sizeof(batch))];

	for (uint64_t i = 0; i < RECORDS; i++)
		batch.records[i] = (struct gyre_record){
			.ticks = 1000 * i, .where = i << 56 | 3ull << 48 | 0x1000, .bytes = 48};
	for (size_t i = 0; i < 2; i++) {
		char *at = bytes + i * (2 + sizeof(batch));

		at[0] = (char)(sizeof(batch) & 0xff);
		at[1] = (char)(sizeof(batch) >> 8);
		memcpy(at + 2, &batch, sizeof(batch));
		batch.head.first += RECORDS;
	}
	put(folder, "events", "two", bytes, sizeof(bytes));
}

static void names(const char *folder)
{
	static const char *const texts[] = {
		"7f00-7f10 r-xp 00001000 08:01 123 /usr/lib/libgyre.so (deleted)\n",
		"7fffb000-7fffd000 rw-p 00000000 00:00 0  [stack]\n",
		"_ZNSt6vectorIiSaIiEE9push_backERKi.isra.0",
		"_RNvNtCs1234_7mycrate3foo3bar",
		"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE",
		"_RNvNtCs_0Ro3r3pa", /* once: a piece without an address */
		"\x1b[31mred\xff\xc3\xa9 na\xefve",
	};
	char name[16];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(name, sizeof(name), "text%zu", i);
		put(folder, "names", name, texts[i], strlen(texts[i]));
	}
}

/* ---------------------------------------------------------------- a recording */

static void blocks(struct gy_file_writer *writer)
{
	struct gy_file_process process = {.pid = 42, .comm = "demo", .version = "0.1.0"};
	uint32_t classes[] = {0, 16, 32, 48};
	struct gy_file_mapping mapping = {.start = 0x400000, .end = 0x500000, .path = "/no/demo"};
	struct gy_file_thread threads[] = {{7, "main"}, {8, "worker"}};
	struct gy_file_probe probe = {.ns = 100, .argument_count = 5, .name = "gc_cycle_begin"};
	struct gy_file_heap heap = {.ns = 50, .alloc_bytes = 1 << 20};
	struct gy_file_loss loss = {.ring_records = 3};
	struct gy_file_clock clock = {1000, 5000, 0};
	struct gy_file_end end = {.reason = GY_FILE_ENDED_SIGNAL, .ns = 900, .ticks = 9000};
	/* As long as they may be, and more behind them: one more is one too many. */
	struct {
		struct gy_file_stack head;
		uint64_t frames[GYRE_STACK_FRAMES];
	} stack[2] = {{{1, GYRE_STACK_FRAMES}, {0x400100, 0x400200}}, {{2, 30}, {0x400300}}};
	static const char strings[] = "make_small\0main\0demo.c";
	struct {
		struct gy_file_symbol head;
		struct gy_file_level levels[GY_FILE_LEVELS];
	} symbol[2] = {{{0x400100, 4, 1, GY_FILE_LEVELS}, {{1, 0, 3, 17, 10, 0}}},
		       {{0x400200, 4, 1, GY_FILE_LEVELS}, {{2, 0, 3, 18, 10, 0}}}};
	struct gyre_record records[4] = {0};

#define PUT(type, what) gy_file_write(writer, GY_FILE_##type, &(what), sizeof(what), NULL, 0)
	PUT(PROCESS, process);
	PUT(CLASSES, classes);
	PUT(MAPPINGS, mapping);
	PUT(THREADS, threads);
	PUT(CLOCK, clock);
	for (uint32_t i = 0; i < 3; i++) {
		struct gy_file_batch batch = {7 + i % 2, 4, i / 2 * 4, 0, 0, 4};

		for (uint64_t j = 0; j < 4; j++)
			records[j] = (struct gyre_record){
				.ticks = 1000 + 100 * i + 10 * j,
				.where = (j % 2 + 1) << 56 | 1ull << 48 | (0x1000 + j / 2 * 16),
				.bytes = 16,
				.stack = (uint32_t)(j % 2)};
		gy_file_write_batch(writer, &batch, records);
	}
	PUT(STACKS, stack);
	PUT(PROBE, probe);
	PUT(HEAP, heap);
	gy_file_write_index(writer);
	PUT(LOSS, loss);
	PUT(STRINGS, strings);
	PUT(SYMBOLS, symbol);
	gy_file_write_end(writer, &end);
}

static void recording(const char *folder)
{
	struct gy_file_header header = {.machine = 62, .ticks_hz = 2000000000, .start_ns = 10};
	static struct gy_file_writer writer;
	struct gy_sink *sink;
	uint64_t bytes;
	int error;

	snprintf(place, sizeof(place), "%s/recording", folder);
	mkdir(place, 0777);
	snprintf(place, sizeof(place), "%s/recording/all", folder);
	sink = gy_sink_open(place, GY_SINK_PWRITE, &error);
	fuzz_must(sink && !gy_file_write_begin(&writer, sink, &header));
	blocks(&writer);
	fuzz_must(!gy_sink_close(sink, &bytes) && bytes == writer.bytes);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	pages(argv[1]);
	stacks(argv[1]);
	leak(argv[1]);
	batches(argv[1]);
	names(argv[1]);
	recording(argv[1]);
	return 0;
}
