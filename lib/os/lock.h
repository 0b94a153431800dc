/* lock.h - the one kind of lock: a 32-bit futex word with a rank.
 *
 * Small, without allocation, usable before main, and set anew in a forked child. States: 0 free,
 * 1 held, 2 held and somebody sleeps. A short spin comes before the sleep: what is done under our
 * locks takes well under a microsecond, but for the few that make system calls.
 *
 * A lock that is held for some hundred nanoseconds, by few, and released much more often than
 * waited for, may be released by gy_lock_release_quick: a plain store, where the other is an atomic
 * exchange. A waiter that went to sleep just then is not woken, and wakes up by itself (LOCK-4).
 *
 * LOCK-1  A thread takes locks in rank order only (base/lock_rank.h); equal ranks are taken only
 *         by fork, in address order. CHECK=full builds panic on a breach, naming both locks.
 * LOCK-3  While a thread holds a lock it is not stopped by the collector (mutator/world.h): gy_hold
 *         counts, the stop's handler sees that and puts itself off until the count is 0. One that
 *         sleeps while it waits for a lock is stopped like any other: the stopper may be the
 *         holder. So whoever stops the world finds every lock of ours free, but for its own.
 * LOCK-2  acquire pairs with release: what was written under the lock is seen under it.
 * LOCK-4  Only locks of a rank of GY_LOCK_IS_QUICK are released quickly, and a waiter for one
 *          sleeps GY_LOCK_NAP_NS at most before it looks again. Others wait until they are woken:
 *          were they to nap, a crowd of threads on few processors would all get on bit by bit,
 *          and keep three times the memory in their caches meanwhile.
 */
#ifndef GY_OS_LOCK_H
#define GY_OS_LOCK_H

#include "base/compiler.h"
#include "base/lock_rank.h"

#include <stdbool.h>

struct gy_lock {
	uint32_t state; /* [atomic: acquire in acquire/try, release in release] */
	uint32_t rank;  /* [const] */
};

/* LOCK-3. [self], and the handler of a signal on this very thread. */
struct gy_hold {
	uint32_t depth;	  /* locks held, and critical paths of the collector */
	uint32_t pending; /* the handler came meanwhile */
};

extern __thread struct gy_hold gy_hold GY_TLS_INITIAL_EXEC GY_HIDDEN;
extern void (*gy_hold_late)(void) GY_HIDDEN; /* [const once set] has the signal sent again */

GY_INLINE void gy_hold_begin(void)
{
	WRITE_RELAXED(gy_hold.depth, gy_hold.depth + 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

GY_INLINE void gy_hold_end(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	WRITE_RELAXED(gy_hold.depth, gy_hold.depth - 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(READ_RELAXED(gy_hold.pending)) && !gy_hold.depth) {
		gy_hold.pending = 0;
		gy_hold_late();
	}
}

#define GY_LOCK_INIT(lock_rank)                                                                    \
	{                                                                                          \
		0, (lock_rank)                                                                     \
	}

#define GY_LOCK_NAP_NS 2000000
#define GY_LOCK_IS_QUICK(rank) ((rank) == GY_RANK_sampler || (rank) == GY_RANK_channel)

void gy_lock_acquire_slow(struct gy_lock *lock);
void gy_lock_release_slow(struct gy_lock *lock);
/* In a forked child, last: this thread holds none. Locks that were set anew were never released. */
void gy_lock_fork_child(void);
/* CHECK=full: the held-lock stack of this thread. */
void gy_lock_note_acquire(const struct gy_lock *lock);
void gy_lock_note_release(const struct gy_lock *lock);

GY_INLINE void gy_lock_init(struct gy_lock *lock, enum gy_lock_rank rank)
{
	lock->state = 0;
	lock->rank = rank;
}

GY_INLINE bool gy_lock_try(struct gy_lock *lock)
{
	uint32_t free_state = 0;

	gy_hold_begin();
	if (!__atomic_compare_exchange_n(&lock->state, &free_state, 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED)) {
		gy_hold_end();
		return false;
	}
	if (GYRE_CHECK_FULL)
		gy_lock_note_acquire(lock);
	return true;
}

GY_INLINE void gy_lock_acquire(struct gy_lock *lock)
{
	uint32_t free_state = 0;

	gy_hold_begin();
	if (unlikely(!__atomic_compare_exchange_n(&lock->state, &free_state, 1, false,
						  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
		gy_lock_acquire_slow(lock);
	if (GYRE_CHECK_FULL)
		gy_lock_note_acquire(lock);
}

GY_INLINE void gy_lock_release(struct gy_lock *lock)
{
	if (GYRE_CHECK_FULL)
		gy_lock_note_release(lock);
	if (unlikely(__atomic_exchange_n(&lock->state, 0, __ATOMIC_RELEASE) == 2))
		gy_lock_release_slow(lock);
	gy_hold_end();
}

GY_INLINE void gy_lock_release_quick(struct gy_lock *lock)
{
	ASSERT(GY_LOCK_IS_QUICK(lock->rank)); /* LOCK-4 */
	if (unlikely(READ_RELAXED(lock->state) != 1)) {
		gy_lock_release(lock);
		return;
	}
	if (GYRE_CHECK_FULL)
		gy_lock_note_release(lock);
	__atomic_store_n(&lock->state, 0, __ATOMIC_RELEASE);
	gy_hold_end();
}

GY_INLINE bool gy_lock_is_held(const struct gy_lock *lock)
{
	return READ_RELAXED(lock->state) != 0;
}

#endif
