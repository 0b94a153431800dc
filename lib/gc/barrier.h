/* barrier.h - the deletion barrier: what a store overwrites while a cycle marks is shaded.
 *
 * gyre/gc.h holds the inline half: test gyre_gc_marking and store, one step against the stop: the
 * stop's handler sets a thread that it finds between the two back to the test, also when it finds
 * such a place in a signal frame further up the stack (a handler of the program's own was running).
 * gy_barrier_fixup does the recognising.
 *
 * The slow half, while marking: load the old pointer, append it to the thread's buffer, store the
 * new one; these three are one step against the stop in the same way.
 *
 * BAR-1  The flag goes up in the pause, down after gy_barrier_terminate has returned true.
 * BAR-2  A pointer is in its thread's buffer before it leaves its slot, in the order in which
 *        memory is written; and the pause falls between two such steps, never into one.
 * BAR-3  Termination: markers idle; then every buffer is looked at once and holds nothing white;
 *        then still idle, and none was busy meanwhile. That is enough, without a handshake:
 *        barrier.c.
 * BAR-4  A buffer is appended to by its thread alone; its entries below `count` are read by whoever
 *        holds its lock.
 * BAR-5  From termination to the next cycle's pause no thread marks what it finds in its buffer:
 *        the bits are no longer a cycle's (gy_mark_close).
 */
#ifndef GY_GC_BARRIER_H
#define GY_GC_BARRIER_H

#include "gc/mark.h"
#include "os/lock.h"

#define GY_BARRIER_SLOTS 512u

struct gy_barrier {
	void **buffer;	  /* GY_BARRIER_SLOTS, from gy_metadata; NULL before the first use */
	uint32_t count;	  /* [self] entries appended */
	uint32_t drained; /* [lock] of these, already looked at */
	uint32_t limit;	  /* [self] GY_BARRIER_SLOTS; 0 without a buffer */
	struct gy_lock lock; /* flush and drain */
	uint64_t shades;     /* [self] of flushes gone by; statistics */
	uint64_t hits;	     /* [self] stores by the slow half */
};

int gy_barrier_init(void); /* tells the world's handler of the fix-up */
void gy_barrier_thread_init(struct gy_barrier *barrier);
/* Hands over what is left. Before gy_mutator_remove; the thread is held (BUSY-1). */
void gy_barrier_thread_end(struct gy_barrier *barrier);

/* In the pause: what the buffers hold is of before. Opens the marker to them (BAR-5). */
void gy_barrier_begin_cycle(void);
/* Hands all buffers' new entries to the marker; true if any object was white. */
bool gy_barrier_drain_all(struct gy_marker *marker);
/* One attempt at BAR-3, `marker` having been drained. True: marking is over, for good: what can be
 * reached is marked. False: drain (all markers), and try again. */
bool gy_barrier_terminate(struct gy_marker *marker);

/* Is pc inside a check-and-store of gyre_set, or in the slow half's sequence? Then where to go back
 * to; else 0. Reads code bytes around pc in [text_low, text_high) only. Async-signal-safe. */
uintptr_t gy_barrier_fixup(uintptr_t pc, uintptr_t text_low, uintptr_t text_high);

/* Marks one object that was not in a slot (a weak reference's), at once: after it, marking cannot
 * end without it. False: it has ended; then only a marked object may be handed out. Any address.
 * The caller's locks have ranks before `mark`. */
bool gy_barrier_shade(void *object);
/* What gyre_atomic_* and gyre_copy are made of. */
void *gy_barrier_exchange(void **slot, void *value);
bool gy_barrier_compare_exchange(void **slot, void **expected, void *value);
void gy_barrier_copy(void **to, void *const *from, size_t count);

uint64_t gy_barrier_shades(void); /* since start, all threads */
/* Stores that took the barrier's slow half, whatever they overwrote; each is recorded while events
 * are (trace/events.h). Since start, all threads. */
uint64_t gy_barrier_hits(void);
void gy_barrier_fork_child(void);

#endif
