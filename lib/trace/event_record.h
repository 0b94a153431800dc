/* event_record.h - every allocation, free and barrier hit, as bytes: batches that a tracer gets.
 *
 * A uprobe costs about a microsecond. So a thread writes its events into a buffer of its own, and
 * when half of it is full one probe, `events`, carries some hundreds of them at once. This file is
 * the contract between the library, the eBPF programs and the CLI: layout only, no header but the
 * fixed-width types, which whoever includes it must have.
 *
 *	probe `events`          carries a batch (its arguments are in base/probes.def); a tracer
 *	                        attaches it first and detaches it last
 *	probe `events_on`       never fires; threads record while its semaphore is up
 *	probe `events_stacks`   never fires: while its semaphore is up, records carry stack ids
 *	probe `events_clock`    never fires: while it is up, ticks are each record's own
 *
 * EVENT-1  Attach `events`, then the switches, then ask for a snapshot of the control page: once
 *          it is answered with `events_recording` = 1, every thread records. Detach the switches,
 *          ask for a snapshot: once it is answered with `events_recording` = 0, every buffer has
 *          been shipped; then detach `events`. A tracer that is killed leaves the semaphores at 0:
 *          the next thread that would record notices, and recording stops by itself. Killed amid
 *          its detaching it may leave one up (kernel-notes/uprobes.md): what is recorded without a
 *          carrier is counted as dropped, and whoever next looks after recording ends it.
 * EVENT-2  Of one thread's events none is lost or told twice, and they come in order, by the
 *          `first` of its batches (the number of the batch's first record among all that the
 *          thread has recorded or dropped): a gap is what was lost. What could not be delivered is
 *          counted (`dropped`), by the library where it had no room, by the eBPF program where the
 *          ring had none.
 * EVENT-3  Ticks are the processor's counter (trace/ticks.h) if the control page's `ticks_hz` is
 *          not 0, else CLOCK_MONOTONIC in ns. They never run backwards within a batch of a thread.
 *          With events_clock raised they are of the event itself, so that births and ends of one
 *          address alternate by them across threads too. Without it a thread that records
 *          GYRE_RECORD_SHARED times within 4 us reads the counter for one record in so many, the
 *          first of a batch among them; the others have the ticks of the one before: the event was
 *          then or later, and not later than the thread's next record with other ticks.
 * EVENT-4  While recording, the library's own counts (mallocs and frees of each class, barrier
 *          hits) move by exactly one for each record of that kind.
 * EVENT-5  A stack id is an index into the stack table; 0 is "none": not asked for, or no room in
 *          the table. An entry never changes once its `depth` is not 0, for the life of the
 *          process: one read at any time later, also from outside, is good.
 */
#ifndef GYRE_EVENT_RECORD_H
#define GYRE_EVENT_RECORD_H

enum gyre_record_operation {
	GYRE_RECORD_NONE,
	GYRE_RECORD_MALLOC, /* a block; bytes: as asked for */
	GYRE_RECORD_FREE,   /* a block; bytes: of the block, as its class or its pages have them */
	GYRE_RECORD_NEW,    /* an object of the collector's; bytes: of the object */
	GYRE_RECORD_BARRIER, /* the collector's barrier, marking; address: the slot; bytes: the
			      * overwritten pointer's object, 0 if there was none */
	GYRE_RECORD_OPERATIONS
};

/* where: bits 63..56 operation, 55..48 size class (0: a large block, or not malloc's) or, of a
 *        barrier hit, the slot's type; 47..0 address.
 * bytes: below 2^31 as it is; above, bit 31 is set and the rest counts pages of 8 KiB, rounded
 *        up. */
struct gyre_record {
	uint64_t ticks; /* EVENT-3 */
	uint64_t where;
	uint32_t bytes;
	uint32_t stack; /* EVENT-5 */
};

#define GYRE_RECORD_OPERATION(where) ((unsigned int)((where) >> 56))
#define GYRE_RECORD_CLASS(where) ((unsigned int)((where) >> 48) & 0xffu)
#define GYRE_RECORD_ADDRESS(where) ((where) & 0xffffffffffffull)
#define GYRE_RECORD_PAGES 0x80000000u /* bytes: in pages */
#define GYRE_RECORD_BYTES(bytes)                                                                   \
	((bytes) & GYRE_RECORD_PAGES ? (uint64_t)((bytes) & ~GYRE_RECORD_PAGES) << 13 : (bytes))

/* The type of the object that a slot lies in, as the collector numbers its first types. Their names
 * are an array in the process's memory, which the control page gives; a name never changes. */
#define GYRE_TYPE_NONE 0u     /* in no object of the collector's: a global, a stack, malloc's */
#define GYRE_TYPE_OTHERS 255u /* any behind these */

struct gyre_type_name {
	char text[64]; /* terminated; cut where it is longer */
};

/* A batch holds at most so many: half a buffer. */
#define GYRE_BATCH_RECORDS 1024u
#define GYRE_RECORD_SHARED 8u /* records to a reading of the counter, at most: EVENT-3 */

/* The stack table: a sealed memfd named GYRE_STACKS_NAME, mapped and kept as the control page is,
 * and made when stacks are first asked for. A header of GYRE_STACKS_HEADER bytes, then entries. */
#define GYRE_STACKS_NAME "gyre-stacks"
#define GYRE_STACKS_MAGIC "GYREstk\1"
#define GYRE_STACKS_HEADER 4096u
#define GYRE_STACK_FRAMES 30

struct gyre_stacks_header {
	char magic[8];
	uint32_t entry_bytes, entry_count; /* entry 0 is never used */
	uint32_t used;			   /* entries with a stack */
	uint32_t full;			   /* stacks that found no room, since start */
};

struct gyre_stack_entry {
	uint64_t hash;
	uint32_t depth; /* EVENT-5; written last */
	uint32_t spare;
	uint64_t frames[GYRE_STACK_FRAMES]; /* return addresses, the operation's caller first */
};

#endif
