/* events.h - every allocation, free and barrier hit, while somebody listens (event_record.h).
 *
 * A thread appends records to a buffer of its own, of two halves; a half that is full is one batch,
 * and the probe `events` carries it. What happens when:
 *
 *	off         the gate (heap/gate.h) is open; nothing here runs
 *	begin       whoever publishes a snapshot or, now and then, the background thread finds the
 *	            switch up: gy_events_follow empties the buffers, says `recording`, closes the
 *	            gate
 *	recording   every operation is told to gy_events_record
 *	switch down the next thread that records sees it, opens the gate; or gy_events_follow does
 *	end         gy_events_follow: waits for those who are appending, ships all that is left
 *
 *	buffer   [ r r r r r r r r . . . . . . . . | . . . . . . . . . . . . . . . . ]
 *	               ^ sent        ^ committed
 *	                             ^ claimed          counters that only grow, modulo 2048
 *
 * A signal handler may interrupt its thread between any two instructions here, and allocate:
 *
 * RING-1  A record's slot is claimed by one instruction (add and fetch, not locked: only this
 *         thread and its handlers do it). So each has a slot of its own.
 * RING-2  The outermost append of a thread alone publishes (`committed`), up to what is claimed:
 *         all below is written, because the appends inside it have returned. It looks again after
 *         it has said that it is out, so nothing claimed is left unpublished.
 * RING-3  sent <= committed <= claimed, claimed - sent <= 2048. Slots [sent, committed) are not
 *         written to, the others not read from outside.
 * RING-4  `sent` moves under the buffer's lock. Its thread takes that lock, and the registry's,
 *         only while it counts as inside an append: a handler that comes meanwhile never ships.
 * RING-5  Only an append inside another finds no room. From then on all are dropped, and counted,
 *         until the outermost has shipped the buffer empty: so what is lost lies between two
 *         batches, and `first` can tell it (EVENT-2).
 * RING-6  Ticks are read inside the append, before the slot is claimed; where a handler came
 *         between, the outermost append puts them in order before it publishes (EVENT-3).
 * RING-7  `recording` is looked at inside an append; whoever ends recording changes it, has all
 *         processors see that (membarrier), and then waits until no append is under way: nothing is
 *         appended after that.
 * RING-8  Whenever a thread is outside of all appends, there is room for one more record: the
 *         outermost append looks, when `claimed` has come to `due`, the end of a half, and ships.
 *
 * RING-9  A buffer that was shipped empty by its own thread begins anew at its first record: the
 *         three counters go on to the next multiple of 2048, `claimed` by one instruction and only
 *         if no handler has claimed meanwhile. So in the ordinary case one half is written to again
 *         and again, and stays in the cache; the other one is for handlers amid a flush.
 *
 * RING-10 Where nobody asked for more (EVENT-3), a record takes the ticks of the one before it,
 *         which is not sent yet: so not those of long ago, or of another tracer's. The counter is
 *         read for the first of SHARED slots; if the row before took longer than 4 us, for each of
 *         the row: who records rarely pays for exact times, and does not notice. A record whose
 *         predecessor is not written does not come here: it is inside that one's append.
 *
 * A thread's end ships its buffer and gives it to the next thread. What the thread records after
 * that (destructors of other keys) is shipped at once, one by one. So is all that comes after the
 * library's own destructor. _exit and signals that kill lose what waits in buffers.
 *
 * A forked child begins with empty buffers, and asks its own semaphore (gy_events_fork_child).
 */
#ifndef GY_TRACE_EVENTS_H
#define GY_TRACE_EVENTS_H

#include "base/compiler.h"
#include "trace/event_record.h"

#include <stdbool.h>

#define GY_EVENT_RECORDS (2 * GYRE_BATCH_RECORDS)

struct gy_events_stats {
	bool available, recording;
	uint64_t recorded, dropped, shipped, waiting, buffers;
};

/* Once, before there are threads. */
void gy_events_init(void);
/* Begins, ends, or ships what waits: `asked` all of it, else what has waited for long. Under no
 * lock whose rank is behind `events`. Any thread. true: recording. */
bool gy_events_follow(bool asked);
/* Is there something that gy_events_follow would do? Racy; cheap. */
bool gy_events_need_follow(void);
/* The gate is closed, and this happened. Async-signal-safe; keeps errno. */
void gy_events_record(unsigned operation, unsigned class_index, const void *address, size_t bytes,
		      uintptr_t caller_pc);
void gy_events_read_stats(struct gy_events_stats *stats);

void gy_events_fork_prepare(void);
void gy_events_fork_parent(void);
void gy_events_fork_child(void);

/* CHECK=full, tests: RING-3 of every buffer. */
void gy_events_check(void);

#endif
