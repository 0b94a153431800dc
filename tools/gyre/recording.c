/* recording.c - see recording.h. */
#include "recording.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_read.h"
#include "output.h"

#define STACK_IDS (1u << 20) /* more than the library's table has */
#define NONE SIZE_MAX

/* ---------------------------------------------------------------- growing lists */

/* Room for one more entry of `bytes`; capacities are powers of 2. NULL where memory lacks. */
static void *grow(void *list, size_t count, size_t bytes)
{
	if (count & (count - 1))
		return list;
	return reallocarray(list, count ? count * 2 : 1, bytes);
}

#define ADD(list, count)                                                                           \
	__extension__({                                                                            \
		void *grown_ = grow(list, count, sizeof(*(list)));                                 \
		if (grown_) {                                                                      \
			(list) = grown_;                                                           \
			memset(&(list)[count], 0, sizeof(*(list)));                                \
			(count)++;                                                                 \
		}                                                                                  \
		grown_ ? &(list)[(count)-1] : NULL;                                                \
	})

static void text_take(char *to, size_t bytes, const char *from, size_t from_bytes)
{
	size_t length = strnlen(from, from_bytes < bytes ? from_bytes : bytes - 1);

	memcpy(to, from, length);
	to[length] = 0;
	gy_out_clean(to);
}

/* ---------------------------------------------------------------- threads */

static size_t thread_slot(const struct gy_recording *recording, uint32_t thread)
{
	size_t mask = recording->thread_index_size - 1, slot = thread * 0x9e3779b1u & mask;

	while (recording->thread_index[slot] &&
	       recording->threads[recording->thread_index[slot] - 1].thread != thread)
		slot = (slot + 1) & mask;
	return slot;
}

static bool thread_index_grow(struct gy_recording *recording)
{
	size_t size = recording->thread_index_size ? recording->thread_index_size * 2 : 64;
	uint64_t *index = calloc(size, sizeof(*index));

	if (!index)
		return false;
	free(recording->thread_index);
	recording->thread_index = index;
	recording->thread_index_size = size;
	for (size_t i = 0; i < recording->thread_count; i++)
		index[thread_slot(recording, recording->threads[i].thread)] = i + 1;
	return true;
}

/* The index of a thread, which is made if it is new; NONE where memory lacks. */
static size_t thread_of(struct gy_recording *recording, uint32_t thread)
{
	size_t slot;

	if (recording->thread_count * 2 >= recording->thread_index_size &&
	    !thread_index_grow(recording))
		return NONE;
	slot = thread_slot(recording, thread);
	if (!recording->thread_index[slot]) {
		struct gy_recorded_thread *fresh = ADD(recording->threads, recording->thread_count);

		if (!fresh)
			return NONE;
		fresh->thread = thread;
		recording->thread_index[slot] = recording->thread_count;
	}
	return recording->thread_index[slot] - 1;
}

/* ---------------------------------------------------------------- blocks */

static int take_threads(struct gy_recording *recording)
{
	const struct gy_file_thread *entry;

	for (size_t i = 0; (entry = gy_file_entry(&recording->file, 0, sizeof(*entry), i)); i++) {
		struct gy_file_thread copy;
		size_t index;

		memcpy(&copy, entry, sizeof(copy));
		index = thread_of(recording, copy.thread);
		if (index == NONE)
			return -ENOMEM;
		text_take(recording->threads[index].name, sizeof(copy.name), copy.name,
			  sizeof(copy.name));
	}
	return 0;
}

static int take_mappings(struct gy_recording *recording)
{
	const struct gy_file_mapping *entry;

	for (size_t i = 0; (entry = gy_file_entry(&recording->file, 0, sizeof(*entry), i)); i++) {
		struct gy_file_mapping *mapping =
			ADD(recording->mappings, recording->mapping_count);

		if (!mapping)
			return -ENOMEM;
		memcpy(mapping, entry, sizeof(*mapping));
		mapping->path[sizeof(mapping->path) - 1] = 0;
		if (mapping->build_id_bytes > sizeof(mapping->build_id) ||
		    mapping->start >= mapping->end) {
			recording->mapping_count--;
			continue;
		}
	}
	return 0;
}

/* Entries of different length, each a head that tells how much follows. */
static int take_stacks(struct gy_recording *recording)
{
	const unsigned char *at = recording->file.payload, *end = at + recording->file.block.bytes;
	struct gy_file_stack head;

	while ((size_t)(end - at) >= sizeof(head)) {
		struct gy_recorded_stack *stack;
		size_t bytes;

		memcpy(&head, at, sizeof(head));
		at += sizeof(head);
		bytes = head.depth * sizeof(uint64_t);
		if (head.depth > GYRE_STACK_FRAMES || bytes > (size_t)(end - at) ||
		    head.id >= STACK_IDS)
			return 0;
		if (head.id >= recording->stack_count) {
			size_t count = recording->stack_count ? recording->stack_count : 256;
			struct gy_recorded_stack **grown;

			while (count <= head.id)
				count *= 2;
			grown = reallocarray(recording->stacks, count, sizeof(*grown));
			if (!grown)
				return -ENOMEM;
			memset(grown + recording->stack_count, 0,
			       (count - recording->stack_count) * sizeof(*grown));
			recording->stacks = grown;
			recording->stack_count = count;
		}
		stack = malloc(sizeof(*stack) + bytes);
		if (!stack)
			return -ENOMEM;
		stack->depth = head.depth;
		memcpy(stack->frames, at, bytes);
		at += bytes;
		free(recording->stacks[head.id]);
		recording->stacks[head.id] = stack;
	}
	return 0;
}

static int take_strings(struct gy_recording *recording)
{
	const char *at = (const char *)recording->file.payload;
	const char *end = at + recording->file.block.bytes;

	while (at < end) {
		size_t length = strnlen(at, (size_t)(end - at));
		char **string = ADD(recording->strings, recording->string_count);

		if (!string)
			return -ENOMEM;
		*string = strndup(at, length);
		if (!*string)
			return -ENOMEM;
		gy_out_clean(*string);
		at += length + 1;
	}
	return 0;
}

static char *string_of(const struct gy_recording *recording, uint32_t number)
{
	return number && number <= recording->string_count ? recording->strings[number - 1] : NULL;
}

/* A symbol's texts are the recording's strings, shared. */
static int take_symbols(struct gy_recording *recording)
{
	const unsigned char *at = recording->file.payload, *end = at + recording->file.block.bytes;
	struct gy_file_symbol head;

	while ((size_t)(end - at) >= sizeof(head)) {
		struct gy_symbol **place, *symbol;
		struct gy_file_level level;

		memcpy(&head, at, sizeof(head));
		at += sizeof(head);
		if (!head.level_count || head.level_count > GY_FILE_LEVELS ||
		    head.level_count > GY_SYMBOL_LEVELS ||
		    head.level_count * sizeof(level) > (size_t)(end - at))
			return 0;
		place = ADD(recording->symbols, recording->symbol_count);
		symbol = place ? calloc(1, sizeof(*symbol)) : NULL;
		if (!symbol) {
			recording->symbol_count -= place != NULL;
			return -ENOMEM;
		}
		*place = symbol;
		symbol->address = head.address;
		symbol->offset = head.offset;
		symbol->module = string_of(recording, head.module);
		symbol->level_count = head.level_count;
		for (size_t i = 0; i < head.level_count; i++, at += sizeof(level)) {
			memcpy(&level, at, sizeof(level));
			symbol->levels[i].function = string_of(recording, level.function);
			symbol->levels[i].linkage = string_of(recording, level.linkage);
			symbol->levels[i].file = string_of(recording, level.file);
			symbol->levels[i].line = level.line;
			symbol->levels[i].start_line = level.start_line;
			symbol->levels[i].inlined = level.inlined && i + 1 < head.level_count;
		}
	}
	return 0;
}

static void span_widen(struct gy_recording *recording, uint64_t ticks)
{
	if (ticks < recording->first_ticks)
		recording->first_ticks = ticks;
	if (ticks > recording->last_ticks)
		recording->last_ticks = ticks;
}

static int take_batch(struct gy_recording *recording)
{
	const struct gy_file_reader *file = &recording->file;
	struct gy_file_batch head;
	struct gy_recorded_thread *thread;
	struct gy_recorded_batch *batch;
	struct gyre_record record;
	size_t index;

	gy_file_take(file, &head, sizeof(head));
	if (file->block.bytes < sizeof(head) || head.count > GYRE_BATCH_RECORDS ||
	    head.count * sizeof(record) > file->block.bytes - sizeof(head))
		return 0; /* FILE-1 */
	index = thread_of(recording, head.thread);
	batch = index == NONE ? NULL : ADD(recording->batches, recording->batch_count);
	if (!batch)
		return -ENOMEM;
	thread = &recording->threads[index];
	batch->offset = file->offset - ((file->block.bytes + 7u) & ~7ull) + sizeof(head);
	batch->count = head.count;
	batch->thread = (uint32_t)index;
	if (thread->last_batch)
		recording->batches[thread->last_batch - 1].next = recording->batch_count;
	else
		thread->first_batch = recording->batch_count;
	thread->last_batch = recording->batch_count;
	/* EVENT-2: a first batch may begin anywhere, the thread was there before us. */
	if (thread->batches && head.first > thread->expected)
		thread->missing += head.first - thread->expected;
	thread->expected = head.first + (head.recorded > head.count ? head.recorded : head.count);
	thread->dropped = head.dropped;
	thread->batches++;
	thread->records += head.count;
	if (head.count > thread->batch_most)
		thread->batch_most = head.count;
	recording->records += head.count;
	if (head.count) {
		memcpy(&record, file->payload + sizeof(head), sizeof(record));
		span_widen(recording, record.ticks);
		memcpy(&record, file->payload + sizeof(head) + (head.count - 1) * sizeof(record),
		       sizeof(record));
		span_widen(recording, record.ticks);
	}
	return 0;
}

static int take_clock(struct gy_recording *recording)
{
	struct gy_file_clock *clock, *before;

	clock = ADD(recording->clocks, recording->clock_count);
	if (!clock)
		return -ENOMEM;
	gy_file_take(&recording->file, clock, sizeof(*clock));
	before = recording->clock_count > 1 ? clock - 1 : NULL;
	/* A clock that stands or runs backwards is none: times are found by searching. */
	if (before && (clock->ticks <= before->ticks || clock->ns <= before->ns))
		recording->clock_count--;
	return 0;
}

static int take_probe(struct gy_recording *recording)
{
	struct gy_file_probe *probe = ADD(recording->probes, recording->probe_count);

	if (!probe)
		return -ENOMEM;
	gy_file_take(&recording->file, probe, sizeof(*probe));
	probe->name[sizeof(probe->name) - 1] = 0;
	gy_out_clean(probe->name);
	if (probe->argument_count > GY_FILE_ARGUMENTS)
		probe->argument_count = GY_FILE_ARGUMENTS;
	return 0;
}

static int take_heap(struct gy_recording *recording)
{
	struct gy_file_heap *heap = ADD(recording->heaps, recording->heap_count);

	if (!heap)
		return -ENOMEM;
	gy_file_take(&recording->file, heap, sizeof(*heap));
	return 0;
}

static void take_process(struct gy_recording *recording)
{
	struct gy_file_process *process = &recording->process;

	gy_file_take(&recording->file, process, sizeof(*process));
	process->comm[sizeof(process->comm) - 1] = 0;
	process->version[sizeof(process->version) - 1] = 0;
	process->exe[sizeof(process->exe) - 1] = 0;
	gy_out_clean(process->comm);
	gy_out_clean(process->version);
	gy_out_clean(process->exe);
}

static void take_classes(struct gy_recording *recording)
{
	const uint32_t *entry;

	for (size_t i = 0; i < 256 && (entry = gy_file_entry(&recording->file, 0, 4, i)); i++)
		memcpy(&recording->classes[i], entry, sizeof(*entry));
}

static int take_block(struct gy_recording *recording)
{
	switch (recording->file.block.type) {
	case GY_FILE_PROCESS:
		take_process(recording);
		return 0;
	case GY_FILE_CLASSES:
		take_classes(recording);
		return 0;
	case GY_FILE_MAPPINGS:
		return take_mappings(recording);
	case GY_FILE_THREADS:
		return take_threads(recording);
	case GY_FILE_CLOCK:
		return take_clock(recording);
	case GY_FILE_BATCH:
		return take_batch(recording);
	case GY_FILE_STACKS:
		return take_stacks(recording);
	case GY_FILE_PROBE:
		return take_probe(recording);
	case GY_FILE_HEAP:
		return take_heap(recording);
	case GY_FILE_LOSS:
		gy_file_take(&recording->file, &recording->loss, sizeof(recording->loss));
		return 0;
	case GY_FILE_STRINGS:
		return take_strings(recording);
	case GY_FILE_SYMBOLS:
		return take_symbols(recording);
	case GY_FILE_END:
		gy_file_take(&recording->file, &recording->end, sizeof(recording->end));
		return 0;
	default: /* an index, or of a later version */
		return 0;
	}
}

static int by_address(const void *left, const void *right)
{
	const struct gy_symbol *a = *(struct gy_symbol *const *)left;
	const struct gy_symbol *b = *(struct gy_symbol *const *)right;

	return a->address < b->address ? -1 : a->address > b->address;
}

int gy_recording_open(struct gy_recording *recording, const char *path)
{
	int error = 0;

	memset(recording, 0, sizeof(*recording));
	recording->path = path;
	recording->first_ticks = UINT64_MAX;
	if (gy_file_open(&recording->file, path))
		return -1;
	while (!error && gy_file_next(&recording->file))
		error = take_block(recording);
	if (error) {
		gy_recording_close(recording);
		return gy_out_error("cannot read '%s': %s", path, strerror(-error));
	}
	/* Each block was good, and yet they are not all: somebody has taken some out. */
	if (recording->end.reason && !recording->file.damage[0] &&
	    recording->end.records != recording->records)
		snprintf(recording->file.damage, sizeof(recording->file.damage),
			 "its end tells of %" PRIu64 " events, and it holds %" PRIu64,
			 recording->end.records, recording->records);
	if (recording->symbol_count)
		qsort(recording->symbols, recording->symbol_count, sizeof(*recording->symbols),
		      by_address);
	return 0;
}

void gy_recording_close(struct gy_recording *recording)
{
	for (size_t i = 0; i < recording->stack_count; i++)
		free(recording->stacks[i]);
	for (size_t i = 0; i < recording->string_count; i++)
		free(recording->strings[i]);
	for (size_t i = 0; i < recording->symbol_count; i++)
		free(recording->symbols[i]);
	free(recording->stacks);
	free(recording->strings);
	free(recording->symbols);
	free(recording->mappings);
	free(recording->threads);
	free(recording->thread_index);
	free(recording->clocks);
	free(recording->probes);
	free(recording->heaps);
	free(recording->batches);
	gy_recording_files_close(recording->files);
	gy_file_close(&recording->file);
}

/* ---------------------------------------------------------------- time */

/* On the line through two moments; before the first and behind the last, on the nearest line. */
static uint64_t on_line(const struct gy_file_clock *from, double ns_per_tick, uint64_t ticks)
{
	double ns = (double)(int64_t)(ticks - from->ticks) * ns_per_tick;

	if (ns < 0)
		return -ns > (double)from->ns ? 0 : from->ns - (uint64_t)-ns;
	return ns > 9e18 ? UINT64_MAX : from->ns + (uint64_t)ns;
}

uint64_t gy_recording_ns(const struct gy_recording *recording, uint64_t ticks)
{
	const struct gy_file_header *header = &recording->file.header;
	const struct gy_file_clock *clocks = recording->clocks;
	struct gy_file_clock start = {header->start_ticks, header->start_ns, 0};
	size_t low = 0, high = recording->clock_count;

	if (!header->ticks_hz)
		return ticks;
	if (high < 2)
		return on_line(high ? clocks : &start, 1e9 / (double)header->ticks_hz, ticks);
	while (high - low > 1) { /* clocks[low].ticks <= ticks < clocks[high].ticks */
		size_t middle = low + (high - low) / 2;

		if (clocks[middle].ticks <= ticks)
			low = middle;
		else
			high = middle;
	}
	if (low + 1 == recording->clock_count)
		low--;
	return on_line(&clocks[low],
		       (double)(clocks[low + 1].ns - clocks[low].ns) /
			       (double)(clocks[low + 1].ticks - clocks[low].ticks),
		       ticks);
}

int64_t gy_recording_wall_ns(const struct gy_recording *recording, uint64_t ns)
{
	const struct gy_file_header *header = &recording->file.header;

	return (int64_t)(header->start_wall_ns + (ns - header->start_ns));
}

uint64_t gy_recording_begin_ns(const struct gy_recording *recording)
{
	return recording->file.header.start_ns;
}

uint64_t gy_recording_end_ns(const struct gy_recording *recording)
{
	uint64_t end = recording->file.header.start_ns, ns;

	if (recording->end.reason)
		return recording->end.ns > end ? recording->end.ns : end;
	if (recording->records) {
		ns = gy_recording_ns(recording, recording->last_ticks);
		end = ns > end ? ns : end;
	}
	if (recording->clock_count) {
		ns = recording->clocks[recording->clock_count - 1].ns;
		end = ns > end ? ns : end;
	}
	return end;
}

/* ---------------------------------------------------------------- events in order */

uint32_t gy_recording_batch(const struct gy_recording *recording, size_t i,
			    struct gyre_record records[GYRE_BATCH_RECORDS])
{
	const struct gy_recorded_batch *batch = &recording->batches[i];
	ssize_t got = gy_file_read(recording->file.fd, records,
				   batch->count * sizeof(records[0]), batch->offset);

	/* less than all of it: it is being cut while we read */
	return got < 0 ? 0 : (uint32_t)((size_t)got / sizeof(records[0]));
}

/* A thread's place in the merge; a heap of them has the earliest at its top. */
struct cursor {
	uint64_t ticks; /* of the next record */
	uint32_t thread, at, count;
	uint64_t batch; /* index + 1 */
	struct gyre_record *records;
};

static bool cursor_load(const struct gy_recording *recording, struct cursor *cursor)
{
	while (cursor->batch) {
		cursor->count = gy_recording_batch(recording, cursor->batch - 1, cursor->records);
		cursor->at = 0;
		cursor->batch = recording->batches[cursor->batch - 1].next;
		if (cursor->count) {
			cursor->ticks = cursor->records[0].ticks;
			return true;
		}
	}
	return false;
}

static void sift_down(struct cursor *heap, size_t count, size_t at)
{
	for (;;) {
		size_t least = at, child = 2 * at + 1;
		struct cursor swap;

		for (size_t i = child; i < child + 2 && i < count; i++)
			if (heap[i].ticks < heap[least].ticks)
				least = i;
		if (least == at)
			return;
		swap = heap[at];
		heap[at] = heap[least];
		heap[least] = swap;
		at = least;
	}
}

static int merge(struct gy_recording *recording, struct cursor *heap, size_t count,
		 int (*visit)(void *context, const struct gy_recorded_event *event), void *context)
{
	int result = 0;

	for (size_t i = count; i-- > 0;)
		sift_down(heap, count, i);
	while (count && !result) {
		struct cursor *first = &heap[0];
		const struct gyre_record *record = &first->records[first->at++];
		struct gy_recorded_event event = {
			.ns = gy_recording_ns(recording, record->ticks),
			.address = GYRE_RECORD_ADDRESS(record->where),
			.bytes = GYRE_RECORD_BYTES(record->bytes),
			.thread = first->thread,
			.operation = GYRE_RECORD_OPERATION(record->where),
			.class_index = GYRE_RECORD_CLASS(record->where),
			.stack = record->stack,
		};

		result = visit(context, &event);
		if (first->at < first->count) {
			/* EVENT-3; a file that says otherwise must not upset the order */
			if (first->records[first->at].ticks > first->ticks)
				first->ticks = first->records[first->at].ticks;
		} else if (!cursor_load(recording, first)) {
			struct cursor ended = *first;

			*first = heap[--count];
			heap[count] = ended; /* its memory is freed with the others' */
		}
		sift_down(heap, count, 0);
	}
	return result;
}

int gy_recording_each(struct gy_recording *recording,
		      int (*visit)(void *context, const struct gy_recorded_event *event),
		      void *context)
{
	struct cursor *heap = calloc(recording->thread_count + 1, sizeof(*heap));
	size_t made = 0, count = 0;
	int result = heap ? 0 : -ENOMEM;

	for (; !result && made < recording->thread_count; made++) {
		struct cursor cursor = {.thread = (uint32_t)made,
					.batch = recording->threads[made].first_batch};

		if (!recording->threads[made].batch_most)
			continue;
		cursor.records = reallocarray(NULL, recording->threads[made].batch_most,
					      sizeof(*cursor.records));
		if (!cursor.records)
			result = -ENOMEM;
		else if (cursor_load(recording, &cursor))
			heap[count++] = cursor;
		else
			free(cursor.records);
	}
	made = count;
	if (!result)
		result = merge(recording, heap, count, visit, context);
	for (size_t i = 0; i < made; i++)
		free(heap[i].records);
	free(heap);
	return result;
}

/* ---------------------------------------------------------------- names */

const struct gy_recorded_stack *gy_recording_stack(const struct gy_recording *recording,
						   uint32_t id)
{
	return id && id < recording->stack_count ? recording->stacks[id] : NULL;
}

const struct gy_symbol *gy_recording_find(void *context, uint64_t return_address)
{
	struct gy_recording *recording = context;
	size_t low = 0, high = recording->symbol_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (recording->symbols[middle]->address < return_address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < recording->symbol_count && recording->symbols[low]->address == return_address)
		return recording->symbols[low];
	if (!recording->files)
		recording->files = gy_recording_files_open(recording);
	return gy_recording_files_find(recording->files, return_address);
}

const char *gy_recording_reason(const struct gy_recording *recording)
{
	static const char *const reasons[] = {
		[GY_FILE_ENDED_NOT] = "not ended",
		[GY_FILE_ENDED_SIGNAL] = "signal",
		[GY_FILE_ENDED_TARGET] = "process ended",
		[GY_FILE_ENDED_TIME] = "duration",
		[GY_FILE_ENDED_SIZE] = "size",
		[GY_FILE_ENDED_DISK] = "disk full",
		[GY_FILE_ENDED_ERROR] = "error",
	};
	uint32_t reason = recording->end.reason;

	return reason < GY_FILE_ENDED_REASONS ? reasons[reason] : "unknown";
}
