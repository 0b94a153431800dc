/* mark.h - the marker: greys in, blacks out. See mark.c.
 *
 * What is queued are blocks, not objects: a block with grey objects is queued once (REC-3), first
 * in first out, so that more of its objects turn grey meanwhile; then they are scanned together, in
 * address order. Pointers found go through a short ring: prefetch the target's records, mark it a
 * few pointers later. Large objects are scanned in pieces of GY_MARK_PIECE_BYTES.
 *
 * MARK-1  Every grey object is in a queued block, in a marker's hands, in a queue of pieces, or (an
 *         overwritten pointer) in a thread's barrier buffer.
 * MARK-2  gy_mark_drain returns only when its queues and the shared ones are empty, or the budget
 *         is used up; the count of busy markers and the shared queues tell together whether all are
 *         done (gy_mark_idle).
 * MARK-3  A marker is busy from before it has grey objects in hand until it has none. Both changes,
 *         and all of the shared queues, are under one lock.
 * MARK-4  Where memory for queues lacks, nothing is lost: the block's grey objects stay as they
 *         are, and when the queues are empty all blocks are looked through for such (mark_queue.c).
 */
#ifndef GY_GC_MARK_H
#define GY_GC_MARK_H

#include "gc/record.h"

#define GY_MARK_PIECE_BYTES ((size_t)16 << 10)

struct gy_marker; /* one per worker, and one for each thread that assists; mark_queue.h */

struct gy_mark_stats {
	uint64_t scanned_bytes, scanned_objects, marked_objects, marked_bytes;
};

/* Before a cycle's pause: empties what is left, sets counters to 0. */
void gy_mark_begin(void);
struct gy_marker *gy_marker_take(void); /* NULL where memory lacks: then work stays shared */
void gy_marker_give(struct gy_marker *marker); /* publishes what it holds */
/* A word that may be a pointer (roots, conservative): marks the object around it, if allocated. One
 * that points just behind an object's end is covered by the slack byte of arrays. */
void gy_mark_word(struct gy_marker *marker, uintptr_t word);
/* Every aligned word of [start, end). */
void gy_mark_range(struct gy_marker *marker, const void *start, const void *end);
/* The same for one short range of many: what it leads to is marked with the next, or by
 * gy_mark_flush, when it has come in from memory. */
void gy_mark_words(struct gy_marker *marker, const void *start, const void *end);
void gy_mark_flush(struct gy_marker *marker);
/* Shades what a barrier buffer holds (NULL and foreign addresses are skipped). */
void gy_mark_buffer(struct gy_marker *marker, void *const *pointers, size_t count);
/* Marks until nothing is left to take, or about `budget` bytes were scanned; bytes scanned. */
size_t gy_mark_drain(struct gy_marker *marker, size_t budget);
/* Scans the fields of an object without marking itself (finalisers). */
void gy_mark_fields(struct gy_marker *marker, void *object);

/* No work shared, and no marker busy. Racy unless the caller knows that none can come. */
bool gy_mark_idle(void);
/* Wakes nobody: is there shared work a helper could take? */
bool gy_mark_has_work(void);
/* Sleeps until there is shared work (true), or all are idle, or the time is up, or gy_mark_wake. */
bool gy_mark_wait(uint64_t timeout_ns);
void gy_mark_wake(void); /* all who sleep there */

/* ---- for barrier.c ---- */
/* Idle? Then *activity numbers the changes from idle to busy so far. */
bool gy_mark_quiet(uint64_t *activity);
/* Still idle, and never busy since? Then closes the marker to mutators (BAR-5), and true. */
bool gy_mark_close(uint64_t activity);
void gy_mark_open(void);
/* A busy marker for a mutator's own pointers; NULL: closed, drop them. Waits where memory lacks. */
struct gy_marker *gy_marker_take_open(void);

void gy_marker_read_stats(const struct gy_marker *marker, struct gy_mark_stats *stats);
void gy_mark_read_stats(struct gy_mark_stats *stats); /* all markers', since gy_mark_begin */
void gy_mark_fork_prepare(void);
void gy_mark_fork_parent(void);
void gy_mark_fork_child(void); /* a cycle under way is given up: queues are emptied */

#endif
