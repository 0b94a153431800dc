/* record_file.h - a recording, as bytes; writing and reading it. The manual is gyre-recording(5).
 *
 *      header | block | block | ... | INDEX | END
 *
 *      block    struct gyre_file_block, then `bytes` of payload, then zeros up to a multiple of 8
 *      BATCH    what `gyre trace record` is about: a thread's events (lib/trace/event_record.h)
 *      CLOCK    pairs of ticks and time; a time between two pairs lies on the line between them
 *      INDEX    where the blocks since the last INDEX are, and when; each names the one before it
 *      END      the last block of a recording that was ended in order; leads to the last INDEX
 *
 * Everything is little-endian and of fixed size; texts are zero-padded. A reader skips a block
 * whose type it does not know, and takes of a longer structure the part that it knows: so new types
 * and new fields at the end of structures do not need a new version.
 *
 * FILE-1  A recording is untrusted: it may come from another machine, another user, or a broken
 *         disk. No length, count or offset is used before it is compared with what there is.
 * FILE-2  A block is good if its mark is there, its number follows the last one's, and its CRC-32
 *         fits. Reading ends at the first that is not; what came before counts, and the reader
 *         tells at which byte it stopped, and why. Nothing behind damage is guessed at.
 * FILE-3  The writer puts a block down whole, at the end; nothing written is changed later. So a
 *         recording that is cut anywhere, by a full disk or a killed recorder, is good up to its
 *         last whole block.
 * FILE-4  At least once a second what has been gathered is on its way to the disk (record_sink.h),
 *         with an INDEX behind it about every GY_FILE_INDEX_ENTRIES blocks.
 * FILE-5  What a batch refers to stands before it or behind it: a stack by its id, a thread by its
 *         number, an address by its mapping. References that lead nowhere are shown as unknown.
 * FILE-6  What is missing is in the file: LOSS blocks hold the counts so far, of what the ring had
 *         no room for and of what the library dropped; and a gap in a thread's `first` shows where.
 */
#ifndef GYRE_TOOLS_RECORD_FILE_H
#define GYRE_TOOLS_RECORD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/event_record.h"

#define GY_FILE_MAGIC "GYRErec\1"
#define GY_FILE_VERSION 1u
#define GY_FILE_MARK 0x4b4c4259u         /* how each block begins: "YBLK" */
#define GY_FILE_PAYLOAD_MAX (256u << 10) /* bytes; a longer block is damage */
#define GY_FILE_INDEX_ENTRIES 1024u
#define GY_FILE_COMM 64

enum gy_file_type {
	GY_FILE_PROCESS = 1, /* struct gy_file_process; a later one replaces it */
	GY_FILE_CLASSES,     /* uint32_t each: block bytes of size class 0, 1, ... */
	GY_FILE_MAPPINGS,    /* struct gy_file_mapping each */
	GY_FILE_THREADS,     /* struct gy_file_thread each; a later one renames */
	GY_FILE_CLOCK,       /* struct gy_file_clock */
	GY_FILE_BATCH,       /* struct gy_file_batch, then struct gyre_record each */
	GY_FILE_STACKS,      /* struct gy_file_stack each, its frames behind it */
	GY_FILE_PROBE,       /* struct gy_file_probe each: the collector's steps, in order */
	GY_FILE_HEAP,        /* struct gy_file_heap: the heap's numbers, about once a second */
	GY_FILE_LOSS,        /* struct gy_file_loss: so far */
	GY_FILE_STRINGS,     /* texts, each ended by a zero, numbered from 1 through the file */
	GY_FILE_SYMBOLS,     /* struct gy_file_symbol each, its levels behind it */
	GY_FILE_INDEX,       /* struct gy_file_index, then struct gy_file_place each */
	GY_FILE_END,         /* struct gy_file_end */
	GY_FILE_TYPES
};

struct gy_file_header {
	char magic[8];
	uint32_t version, header_bytes;
	uint32_t machine;  /* ELF's e_machine: 62 is x86-64, 183 aarch64 */
	uint32_t flags;    /* GY_FILE_STACKS_WANTED */
	uint64_t ticks_hz; /* 0: a tick is a nanosecond of CLOCK_MONOTONIC */
	uint64_t start_ticks, start_ns, start_wall_ns; /* one moment by three clocks */
	uint32_t spare, crc;                           /* CRC-32 of all that is before it */
};

#define GY_FILE_STACKS_WANTED 1u

struct gy_file_block {
	uint32_t mark;
	uint16_t type, spare;
	uint32_t bytes;  /* of payload */
	uint32_t crc;    /* CRC-32 of this structure with 0 here, then of the payload */
	uint64_t number; /* 0, 1, 2 ... */
	uint64_t ns;     /* CLOCK_MONOTONIC when it was put down */
};

struct gy_file_process {
	uint32_t pid, pid_inside; /* the latter: in its own pid namespace */
	uint64_t start_ns;        /* CLOCK_MONOTONIC at which Gyre started in it */
	uint64_t sample_bytes;
	char comm[GY_FILE_COMM], version[32], exe[256];
};

struct gy_file_mapping {
	uint64_t start, end, offset;
	uint64_t bias; /* address in the process minus address in the file */
	uint8_t build_id[32];
	uint32_t build_id_bytes, path_bytes; /* the latter: its whole length, if it was cut */
	char path[256];
};

struct gy_file_thread {
	uint32_t thread; /* as batches name it */
	char name[28];
};

struct gy_file_clock {
	uint64_t ticks, ns, wall_ns;
};

struct gy_file_batch {
	uint32_t thread, count;
	uint64_t first, dropped;   /* EVENT-2 */
	uint32_t reason, recorded; /* recorded: at least count; the rest was filtered out */
};

struct gy_file_stack {
	uint32_t id, depth; /* at most GYRE_STACK_FRAMES; then depth x uint64_t */
};

#define GY_FILE_ARGUMENTS 12

struct gy_file_probe {
	uint64_t ns; /* CLOCK_MONOTONIC */
	uint32_t thread, argument_count;
	char name[32];
	uint64_t arguments[GY_FILE_ARGUMENTS];
};

struct gy_file_heap {
	uint64_t ns;
	uint64_t alloc_bytes, inuse_bytes, idle_bytes, released_bytes;
	uint64_t mallocs, frees, threads;
	uint64_t gc_live_bytes, gc_inuse_bytes, gc_goal_bytes, gc_cycles; /* 0: not used */
};

struct gy_file_loss {
	uint64_t ring_records;    /* the ring had no room; their threads' `first` shows gaps */
	uint64_t unread_records;  /* the process's memory could not be read */
	uint64_t dropped_records; /* the library had no room */
	uint64_t probes;          /* hits of the collector's probes */
	uint64_t stacks;          /* found no room in the stack table */
};

struct gy_file_symbol {
	uint64_t address, offset;     /* return address; offset in the outermost function */
	uint32_t module, level_count; /* levels follow, innermost function first */
};

#define GY_FILE_LEVELS 16

/* Texts are numbers of strings; 0: none. */
struct gy_file_level {
	uint32_t function, linkage, file;
	int32_t line, start_line;
	uint32_t inlined;
};

struct gy_file_index {
	uint64_t previous; /* offset of the INDEX before it; 0: none */
	uint32_t count, spare;
};

struct gy_file_place {
	uint64_t offset;
	uint32_t type, records;
	uint64_t first_ticks, last_ticks; /* of a BATCH */
};

struct gy_file_end {
	uint64_t index; /* offset of the last INDEX; 0: none */
	uint64_t batches, records;
	uint64_t ticks, ns, wall_ns;
	uint32_t reason, spare; /* enum gy_file_reason */
};

enum gy_file_reason {
	GY_FILE_ENDED_NOT, /* no END: the recorder was killed */
	GY_FILE_ENDED_SIGNAL,
	GY_FILE_ENDED_TARGET,
	GY_FILE_ENDED_TIME,
	GY_FILE_ENDED_SIZE,
	GY_FILE_ENDED_DISK,
	GY_FILE_ENDED_ERROR,
	GY_FILE_ENDED_REASONS
};

/* ---------------------------------------------------------------- writing (record_write.c) */

struct gy_sink;

struct gy_file_writer {
	struct gy_sink *sink;
	uint64_t bytes, number;    /* of the file, and the next block's */
	uint64_t batches, records; /* so far */
	uint64_t index_offset;
	struct gy_file_place places[GY_FILE_INDEX_ENTRIES];
	uint32_t place_count;
	uint64_t now_ns; /* set by the recorder, for `ns` of blocks */
};

/* All return 0 or -errno; after an error every further call returns it, and the file is good up to
 * the last whole block (FILE-3). */
int gy_file_write_begin(struct gy_file_writer *writer, struct gy_sink *sink,
			struct gy_file_header *header);
/* The payload in up to two parts. */
int gy_file_write(struct gy_file_writer *writer, enum gy_file_type type, const void *head,
		  size_t head_bytes, const void *rest, size_t rest_bytes);
int gy_file_write_batch(struct gy_file_writer *writer, const struct gy_file_batch *batch,
			const struct gyre_record *records);
int gy_file_write_index(struct gy_file_writer *writer);
int gy_file_write_end(struct gy_file_writer *writer, struct gy_file_end *end);
uint32_t gy_file_crc(uint32_t crc, const void *bytes, size_t length);

/* ---------------------------------------------------------------- reading (record_read.c) */

struct gy_file_reader {
	int fd;
	uint64_t file_bytes, offset; /* offset: of the next block */
	uint64_t number;
	struct gy_file_header header;
	struct gy_file_block block; /* the one in hand */
	unsigned char *payload;     /* its payload, GY_FILE_PAYLOAD_MAX and some zeros */
	bool ended;                 /* an END was met */
	char damage[160];           /* "": none so far */
};

/* gy_file_open - 0; or -1 with the error told: it is no recording, or not one that can be read. */
int gy_file_open(struct gy_file_reader *reader, const char *path);
/* gy_file_next - the next block into `block` and `payload`. Returns 1, or 0 at the end: then
 * `damage` says whether it was the proper one. */
int gy_file_next(struct gy_file_reader *reader);
void gy_file_rewind(struct gy_file_reader *reader);
void gy_file_close(struct gy_file_reader *reader);
/* gy_file_entry - entry `i` of a payload that is an array (from byte `from` on) of structures that
 * are `entry_bytes` long. NULL behind the last. */
const void *gy_file_entry(const struct gy_file_reader *reader, size_t from, size_t entry_bytes,
			  size_t i);
/* gy_file_take - copy the payload's head into a structure; what it lacks is 0. False if empty. */
bool gy_file_take(const struct gy_file_reader *reader, void *to, size_t bytes);

#endif
