/* space.h - where collected objects come from, and go: cursors, blocks, sweeping. See space.c.
 *
 *	thread: cursor   one per (layout, object size) the thread has used: a run of zeroed free
 *	   |             slots, next .. limit, in a block that is in this thread's hand, and perhaps
 *	   |             more that it has claimed there; to allocate is to move next
 *	bin              per (layout, object size), a lock: lists of blocks: unswept, partial
 *	   |             (swept, with room), full (swept, without)
 *	pool             free pages, for blocks of one page (pool.c)
 *	page heap        spans of kind GY_SPAN_COLLECTED
 *
 * A cursor claims its way through a block by the allocated bits, then moves to another block: one
 * that it sweeps itself from the bin's unswept list, a partial one, or a new one.
 *
 * SPACE-1  A block is on exactly one list of its bin, or in one thread's hand.
 * SPACE-2  To claim free slots, a thread zeroes them (unless known to be zero, or bytes of
 *          gyre_new_leaf), then, while marking, sets their scanned and their marks bits: born
 *          black; and then their allocated bits.
 * SPACE-3  At the start of a cycle, in the pause, every block is swept or in hand, and each
 *          cursor's rest, claimed and not handed out, is made black; blocks in hand whose epoch is
 *          old are swept in place before: allocated = marks, marks = scanned = 0.
 * SPACE-4  At the flip every block on the lists full and partial becomes unswept at once (lists are
 *          joined, no block is touched). A thread that finds its block's epoch old, on its way to
 *          the next claim, sweeps it in place, and goes on with it; what it had was all black.
 * SPACE-5  Sweeping a block: allocated = marks, marks = scanned = 0, epoch = now. No object left:
 *          its pages go back to the pool or the page heap, or stay as the block in hand. Nothing is
 *          called: what a finaliser or weak reference needs was marked or cleared before the flip.
 * SPACE-6  gy_space_sweep_all has returned before the next cycle's pause.
 * SPACE-7  gyre_gc_marking holds the number of the cycle that marks, N (0: none); gy_gc_epoch the
 *          number of the last flip. The flip writes gy_gc_epoch = N first, gyre_gc_marking = 0
 *          after it. To claim, a thread reads gyre_gc_marking first (acquire), gy_gc_epoch after
 *          it; where the block's epoch is not gy_gc_epoch it sweeps the block first (SPACE-4); else
 *          it blackens the slots iff gyre_gc_marking == epoch of the block + 1. So none is claimed
 *          white in a block that is still to be swept, and none black in one of the next cycle.
 * SPACE-8  A thread takes, sweeps and claims between gy_mutator_enter and _leave: the pause finds
 *          each block whole, each free slot either not claimed or in the cursor.
 */
#ifndef GY_GC_SPACE_H
#define GY_GC_SPACE_H

#include "gc/layout.h"
#include "gc/record.h"
#include "os/lock.h"

struct gy_gc_thread;
struct gy_gc_bin;

struct gy_cursor {             /* [self], and whoever has stopped the world */
	char *next, *limit;    /* next == limit: empty. Both NULL at first */
	uint32_t object_bytes; /* [const] */
	uint32_t block;        /* first page of the block in hand; 0: none */
	uint16_t next_slot;    /* where in the block to look for free slots */
	uint8_t zeroed;        /* free slots from next_slot on read as zero: new from the kernel */
	uint8_t claimed_word;
	uint32_t taken_bytes;  /* free, when the block was last taken */
	uint64_t claimed;      /* slots of that word, claimed, outside of the run */
	struct gy_gc_bin *bin; /* [const] */
	struct gy_cursor *following, *next_in_chain; /* the thread's (thread.h) */
};

/* Cursor lookup by type, direct-mapped: gyre_new's fast path (thread.h). */
#define GY_TYPE_SLOTS 64u
struct gy_type_slot {
	const struct gyre_type *type;
	uint64_t fingerprint;
	struct gy_cursor *cursor;
};

/* By layout and request, for what is not of its type's own size. Requests of equally many whole
 * words get the same slot size: with the byte behind, they need one word more. */
#define GY_SIZED_SLOTS 128u
struct gy_sized_slot {
	const struct gy_layout *layout;
	size_t words;
	struct gy_cursor *cursor;
};

#define GY_CURSOR_CHAINS 64u

GY_INLINE size_t gy_sized_hash(const struct gy_layout *layout, size_t bytes)
{
	return ((uintptr_t)layout >> 7 ^ bytes / 8) % GY_SIZED_SLOTS;
}

GY_INLINE size_t gy_type_hash(const struct gyre_type *type)
{
	return (uintptr_t)type >> 4 ^ (uintptr_t)type >> 10;
}

struct gy_space_stats {
	uint64_t span_bytes;  /* in blocks, large objects, and the pool */
	uint64_t inuse_bytes; /* in objects, swept or not; blocks in hand count as full */
	uint64_t objects_allocated, bytes_allocated, bytes_freed;
	uint64_t blocks; /* and large objects */
};

int gy_space_init(void);

/* Slow halves of allocation. NULL: memory lacks (errno is the caller's business). */
void *gy_space_new(struct gy_gc_thread *thread, const struct gyre_type *type);
/* `bytes` of objects of this layout; zeroed but for gyre_new_leaf's; adds the byte behind the end
 * that lets a pointer there hold the object. Small or large. */
void *gy_space_new_sized(struct gy_gc_thread *thread, const struct gy_layout *layout, size_t bytes);

/* In the pause, for each thread: SPACE-3. */
void gy_space_thread_begin_cycle(struct gy_gc_thread *thread);
/* After termination, and after gy_gc_epoch = `epoch`: SPACE-4. */
void gy_space_flip(uint32_t epoch);
/* Sweeps up to `blocks` blocks; false when none is left. Any thread. */
bool gy_space_sweep_some(unsigned blocks);
/* All of them; returns when no thread is in the midst of one. */
void gy_space_sweep_all(void);
/* Thread end: gives its blocks back to their bins. Also, in the child of a fork, for a thread that
 * is not there. */
void gy_space_thread_end(struct gy_gc_thread *thread);
/* Free pages that are kept for the next blocks go back to the page heap: all; those that nobody has
 * wanted for as long as the option release_delay. By the background thread. */
void gy_space_trim(void);
void gy_space_age(uint64_t now_ns);
/* No lock: counts may be of slightly different moments. */
void gy_space_read_stats(struct gy_space_stats *stats);
/* Is the object there, also in a block that is yet to be swept? Not while a cycle begins or ends.
 */
bool gy_space_object_is_live(struct gy_object object);
/* Calls visit for every block (first page). The world is stopped, or nothing allocates. */
void gy_space_each_block(void (*visit)(size_t block, void *argument), void *argument);
/* Bytes of free slots in blocks taken, and of large objects, since start, all threads: what the
 * pacer watches. [atomic: relaxed] */
extern uint64_t gy_space_taken_bytes GY_HIDDEN;
void gy_space_fork_prepare_table(void); /* in the order of ranks */
void gy_space_fork_prepare(void);
void gy_space_fork_parent(void);
void gy_space_fork_parent_table(void);
void gy_space_fork_child(void);
/* CHECK=full: SPACE-1, REC-1, REC-2. No cycle marks, nothing allocates. */
void gy_space_check(void);

#endif
