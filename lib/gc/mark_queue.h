/* mark_queue.h - what a marker has in hand, and what markers share. See mark_queue.c.
 *
 *	entry: a block's first page | piece << 32; first in, first out
 *	pieces: what is left of large objects that are being scanned; last in, first out
 *
 * Pieces go before blocks of which little is grey. A hash's table, or a vector of pointers, leads
 * into many blocks, and to each of them many times: were a block scanned whenever a piece has led
 * there, it would be scanned once for every few of its objects, on lines that have left the cache
 * meanwhile. After some pieces the blocks are full of grey objects, and each is scanned once.
 *
 * Each marker has two chunks of its own, `in` that it pushes to and `out` that it pops
 * from; full ones go to the shared list, from which a marker takes whose own are empty. In all that
 * is one queue, nearly in order, with the lock taken once in GY_MARK_CHUNK_ENTRIES.
 */
#ifndef GY_GC_MARK_QUEUE_H
#define GY_GC_MARK_QUEUE_H

#include "gc/mark.h"
#include "os/lock.h"

#define GY_MARK_CHUNK_ENTRIES 126u
#define GY_MARK_TARGETS 16u	/* pointers found, on the way to their mark */

struct gy_mark_chunk { /* 1 KiB */
	struct gy_mark_chunk *next;
	uint32_t first, end; /* entries[first .. end) */
	uint64_t entries[GY_MARK_CHUNK_ENTRIES];
};

_Static_assert(sizeof(struct gy_mark_chunk) == 1024, "a block of gy_metadata");

struct gy_mark_queue {
	struct gy_mark_chunk *in, *out;
};

#define GY_MARK_PIECES 64u

struct gy_mark_shared { /* [lock: mark] */
	struct gy_mark_chunk *head, *tail;
	uint32_t chunks; /* [atomic: relaxed to read] */
	uint32_t pieces; /* [atomic: relaxed to read] on the stack */
	uint64_t stack[GY_MARK_PIECES];
};

struct gy_marker {
	struct gy_marker *next, *next_free; /* [lock: mark] of all; of those that nobody has */
	bool taken;			    /* [lock: mark] */
	bool busy;			    /* [self; changed under lock: mark] MARK-3 */
	struct gy_mark_queue queue;		    /* [self] */
	uintptr_t targets[GY_MARK_TARGETS];	    /* [self] a ring; 0: empty */
	uint32_t target_at;			    /* [self] */
	struct gy_mark_stats stats;		    /* [self] read by anybody */
};

extern struct gy_mark_shared gy_mark_shared GY_HIDDEN;
extern uint32_t gy_mark_hungry GY_HIDDEN; /* [atomic: relaxed] markers taken and not busy */
extern uint32_t gy_mark_overflowed GY_HIDDEN; /* [atomic] MARK-4 */
extern uint32_t gy_mark_chunks_most GY_HIDDEN; /* chunks that may exist; tests lower it */

/* The slow halves. False: memory lacks, the entry is not queued. */
bool gy_mark_push_slow(struct gy_marker *marker, uint64_t entry);
/* False: nothing, neither own nor shared. */
bool gy_mark_pop_slow(struct gy_marker *marker, uint64_t *entry);
/* Another piece of a large object, for whoever comes next. False: no room; scan it now, or push it.
 * The marker is busy. */
bool gy_mark_piece_give(uint64_t entry);
/* False: there is none. The marker becomes busy with it. */
bool gy_mark_piece_take(struct gy_marker *marker, uint64_t *entry);
void gy_mark_become_busy(struct gy_marker *marker);
void gy_mark_become_idle(struct gy_marker *marker);
/* Others have nothing to do: gives them some of what is in hand. */
void gy_mark_share(struct gy_marker *marker);

GY_INLINE bool gy_mark_push(struct gy_marker *marker, uint64_t entry)
{
	struct gy_mark_chunk *in = marker->queue.in;

	if (unlikely(in->end == GY_MARK_CHUNK_ENTRIES || !marker->busy))
		return gy_mark_push_slow(marker, entry);
	in->entries[in->end++] = entry;
	return true;
}

GY_INLINE bool gy_mark_has_pieces(void)
{
	return READ_RELAXED(gy_mark_shared.pieces) != 0;
}

GY_INLINE bool gy_mark_pop(struct gy_marker *marker, uint64_t *entry)
{
	struct gy_mark_chunk *out = marker->queue.out;

	if (unlikely(out->first == out->end))
		return gy_mark_pop_slow(marker, entry);
	*entry = out->entries[out->first++];
	return true;
}

/* Was anything pushed that was not popped yet? (What is popped comes from `out`.) */
GY_INLINE bool gy_mark_has_own(const struct gy_marker *marker)
{
	return marker->queue.in->first != marker->queue.in->end;
}

/* Somebody is idle, and finds nothing shared. */
GY_INLINE bool gy_mark_should_share(void)
{
	return READ_RELAXED(gy_mark_hungry) &&
	       !(READ_RELAXED(gy_mark_shared.chunks) | READ_RELAXED(gy_mark_shared.pieces));
}

#endif
