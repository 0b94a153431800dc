/* barrier.h - the deletion barrier: what a store overwrites while a cycle marks is shaded.
 *
 * gyre/gc.h holds the inline half: test gyre_gc_marking and store, one step against the stop: the
 * stop's handler sets a thread that it finds between the two back to the test, also when it finds
 * such a place in a signal frame further up the stack (a handler of the program's own was running).
 * gy_barrier_fixup does the recognising.
 *
 * The slow half, while marking: (1) load the old pointer and append it to the thread's buffer, as
 * one restartable sequence (rseq; without it, recognised by address as above), (2) store.
 *
 * BAR-1  The flag goes up in the pause, down after termination.
 * BAR-2  Load and append are one step against gy_barrier_handshake: when that returns, each thread is
 *        before its load or after its append. So when a handshake and then every buffer have shown
 *        nothing, nothing grey was hidden in a register (BAR-3).
 * BAR-3  Termination: markers idle; handshake; then all buffers and the shared list found empty, or
 *        holding marked objects only. Why one look is enough: barrier.c.
 * BAR-4  A buffer is appended to by its thread alone; read up to `count` by whoever holds its lock.
 */
#ifndef GY_GC_BARRIER_H
#define GY_GC_BARRIER_H

#include "gc/mark.h"
#include "os/lock.h"

#define GY_BARRIER_SLOTS 1024u

struct gy_barrier {
	void **buffer;	   /* GY_BARRIER_SLOTS, from gy_metadata; NULL before the first use */
	uint32_t count;	   /* [self] entries appended */
	uint32_t drained;  /* [lock] of these, already taken */
	struct gy_lock lock; /* flush and drain */
	uint64_t shades;   /* [self] statistics */
};

int gy_barrier_init(void);
/* Every running thread has, since the call, been outside load-and-append: membarrier(RSEQ), or a
 * signal to each. 0 or -errno. */
int gy_barrier_handshake(void);
/* Hands all buffers' new entries to the marker; true if any object was white. */
bool gy_barrier_drain_all(struct gy_marker *marker);
/* A cycle begins (in the pause): buffers are emptied. */
void gy_barrier_begin_cycle(void);
/* Is pc inside a check-and-store of gyre_set, or of load-and-append? Then where to go back to; else
 * 0. Reads code bytes around pc, which must lie in [text_low, text_high). Async-signal-safe. */
uintptr_t gy_barrier_fixup(uintptr_t pc, uintptr_t text_low, uintptr_t text_high);
/* Shades one object (weak references, atomics): into the calling thread's buffer. */
void gy_barrier_shade(void *object);
uint64_t gy_barrier_shades(void); /* since start, all threads */
void gy_barrier_thread_end(struct gy_barrier *barrier);

#endif
