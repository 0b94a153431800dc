/* recording.h - a whole recording: what it says besides its events, and these in order of time.
 *
 *      open      one pass over the file: all but the events is kept; of batches, where they are
 *      each      the events of all threads, merged by time, each exactly once
 *      find      an address as a function: out of the recording, else out of the files on this
 *                machine whose build ids are those of the recording
 *
 * REC-1  Memory is bounded by a multiple of the file's size: no number in it sizes anything.
 * REC-2  Events of a thread come in the order of the file; threads are merged by ticks.
 */
#ifndef GYRE_TOOLS_RECORDING_H
#define GYRE_TOOLS_RECORDING_H

#include "record_file.h"
#include "symbols.h"

struct gy_recorded_stack {
	uint32_t depth;
	uint64_t frames[]; /* return addresses, the operation's caller first */
};

struct gy_recorded_batch {
	uint64_t offset;        /* of its first record in the file */
	uint32_t count, thread; /* thread: index into threads */
	uint64_t next;          /* of this thread: index + 1 */
};

struct gy_recorded_thread {
	uint32_t thread; /* as the process numbers it */
	char name[28];
	uint64_t batches, records, missing; /* missing: gaps in `first` */
	uint64_t expected, dropped;         /* first of the next batch; by the library */
	uint64_t first_batch, last_batch;   /* index + 1 */
	uint32_t batch_most;                /* records of its longest */
};

struct gy_recording {
	struct gy_file_reader file;
	const char *path;
	struct gy_file_process process;
	struct gy_file_loss loss;
	struct gy_file_end end; /* reason GY_FILE_ENDED_NOT: there is none */
	uint32_t classes[256];
	struct gy_file_mapping *mappings;
	struct gy_recorded_thread *threads;
	struct gy_file_clock *clocks;
	struct gy_file_probe *probes;
	struct gy_file_heap *heaps;
	struct gy_recorded_batch *batches;
	struct gy_recorded_stack **stacks; /* by id; NULL: unknown */
	char **strings;                    /* by number - 1 */
	struct gy_symbol **symbols;        /* sorted by address when read */
	size_t mapping_count, thread_count, clock_count, probe_count, heap_count, batch_count,
		stack_count, string_count, symbol_count;
	uint64_t records;
	uint64_t first_ticks, last_ticks; /* of all events */
	uint64_t *thread_index;           /* open addressing */
	size_t thread_index_size;
	struct gy_recording_files *files; /* for addresses that the recording does not name */
};

/* An event, in order. */
struct gy_recorded_event {
	uint64_t ns; /* CLOCK_MONOTONIC, of the machine that recorded */
	uint64_t address, bytes;
	uint32_t thread; /* index into threads */
	uint32_t operation, class_index, stack;
};

/* gy_recording_open - 0, or -1 with the error told. Damage behind the header is no error: see
 * file.damage. */
int gy_recording_open(struct gy_recording *recording, const char *path);
void gy_recording_close(struct gy_recording *recording);

/* gy_recording_each - until visit returns non-zero. 0, what visit returned, or -errno. */
int gy_recording_each(struct gy_recording *recording,
		      int (*visit)(void *context, const struct gy_recorded_event *event),
		      void *context);
/* gy_recording_batch - the records of batch `i`. Returns how many could be read. */
uint32_t gy_recording_batch(const struct gy_recording *recording, size_t i,
			    struct gyre_record records[GYRE_BATCH_RECORDS]);

uint64_t gy_recording_ns(const struct gy_recording *recording, uint64_t ticks);
int64_t gy_recording_wall_ns(const struct gy_recording *recording, uint64_t ns);
/* The span that was recorded: from the first thing that has a time to the last. */
uint64_t gy_recording_begin_ns(const struct gy_recording *recording);
uint64_t gy_recording_end_ns(const struct gy_recording *recording);

const struct gy_recorded_stack *gy_recording_stack(const struct gy_recording *recording,
						   uint32_t id);
/* gy_recording_find - never NULL; a callback for gy_profile_resolve. */
const struct gy_symbol *gy_recording_find(void *recording, uint64_t return_address);
const char *gy_recording_reason(const struct gy_recording *recording);

/* record_symbols.c */
struct gy_recording_files *gy_recording_files_open(const struct gy_recording *recording);
void gy_recording_files_close(struct gy_recording_files *files);
const struct gy_symbol *gy_recording_files_find(struct gy_recording_files *files,
						uint64_t return_address);

#endif
