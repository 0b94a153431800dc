/* mutex.c - a lock that starves nobody, in eight bytes.
 *
 *	state: LOCKED   a thread holds it
 *	       PARKED   somebody waits in the queue of its address (wait.h)
 *	       WOKEN    one of them was woken, and is on its way to take it
 *
 * As in Go's, a thread that is woken competes with those that are just coming: they have the
 * processor, and where a lock is held briefly it goes round ten times before the woken one runs.
 * One that comes to nothing goes back to the queue's front. But once it has waited for a
 * millisecond, the next unlock hands the lock over: LOCKED never goes down, so nobody gets in
 * between.
 *
 * MUTEX-1  LOCKED is cleared by the unlock alone; handed over, it stays.
 * MUTEX-2  PARKED is set and cleared under the queue's lock. While it is clear the queue is empty,
 *          or LOCKED is held by one that is about to set it: so an unlock that finds it clear need
 *          not look.
 * MUTEX-3  WOKEN is set by an unlock that wakes without handing over, and cleared by the one that
 *          was woken, when it takes the lock or parks again; while it is set no unlock wakes
 *          another. (One that parks in an empty queue clears it as well: in a forked child nobody
 *          is on his way. At worst one more is woken.)
 * MUTEX-4  A waiter that was woken parks at the front, so order of arrival is kept; and its time to
 *          wait counts from its first parking.
 *
 * The protocol is modelled in tests/model/mutex.pml. Sources: Go's sync/mutex.go; parking_lot.
 */
#include "base/probe.h"
#include "os/sys.h"
#include "sync/seal.h"
#include "sync/wait.h"

#define LOCKED 1u
#define PARKED 2u
#define WOKEN 4u

#define STARVES_NS 1000000ull
#define LOOK_SHIFT 4 /* a sixteenth of what is looked elsewhere: some 2 us */
#define LOOK_SHIFT_MOST 31 /* nothing any more */
#define COPIED "use of a copied mutex"
#define UNLOCKED "unlock of an unlocked mutex"

enum { RETRY, HANDED };

static bool change(struct gyre_mutex *mutex, uint64_t *old, uint64_t new, int order)
{
	return __atomic_compare_exchange_n(&mutex->word, old, new, false, order, __ATOMIC_RELAXED);
}

/* Queues the waiter, unless the lock is free by now. */
static bool park(struct gyre_mutex *mutex, struct gy_waiter *waiter, bool woken)
{
	struct gy_wait_bucket *bucket = gy_wait_lock(mutex);
	uint64_t old = __atomic_load_n(&mutex->word, __ATOMIC_RELAXED), new;
	bool parked = false;

	while (old & LOCKED && !parked) {
		new = old | PARKED;
		if (woken || !gy_wait_first(bucket, mutex))
			new &= ~(uint64_t)WOKEN; /* MUTEX-3 */
		parked = change(mutex, &old, new, __ATOMIC_RELAXED);
	}
	if (parked)
		gy_wait_push(bucket, waiter, mutex, woken); /* MUTEX-4 */
	gy_wait_unlock(bucket);
	return parked;
}

/* Looks for the lock to become free; false: it would be vain, or long. */
static bool look(const struct gyre_mutex *mutex, unsigned shift)
{
	struct gy_look look = gy_look_begin(shift);

	while (gy_look_more(&look))
		if (!(__atomic_load_n(&mutex->word, __ATOMIC_RELAXED) & LOCKED))
			return true;
	return false;
}

GY_EXPORT void gyre_mutex_lock_slow(struct gyre_mutex *mutex)
{
	uint64_t old = gy_seal_word(&mutex->word, mutex, COPIED), since_ns = 0;
	unsigned shift = LOOK_SHIFT;
	bool woken = false;

	for (;;) {
		struct gy_waiter waiter = {.since_ns = since_ns};

		while (!(old & LOCKED)) {
			uint64_t new = old | LOCKED;

			if (woken)
				new &= ~(uint64_t)WOKEN; /* MUTEX-3 */
			gy_sync_step();
			if (change(mutex, &old, new, __ATOMIC_ACQUIRE))
				goto locked;
		}
		if (!since_ns) {
			gy_wait_prepare();
			waiter.since_ns = since_ns = gy_now_ns();
		}
		if (!look(mutex, shift) && park(mutex, &waiter, woken)) {
			gy_waiter_wait(&waiter, GY_NEVER_NS);
			if (waiter.token == HANDED) {
				ASSERT(READ_RELAXED(mutex->word) & LOCKED); /* MUTEX-1 */
				goto locked; /* WAIT-4: acquired */
			}
			woken = true;
		}
		if (shift < LOOK_SHIFT_MOST)
			shift++;
		old = __atomic_load_n(&mutex->word, __ATOMIC_RELAXED);
	}
locked:
	if (since_ns)
		GY_PROBE2(mutex_contended, (uintptr_t)mutex, gy_now_ns() - since_ns);
}

GY_EXPORT bool gyre_mutex_try_lock_slow(struct gyre_mutex *mutex)
{
	uint64_t old = gy_seal_word(&mutex->word, mutex, COPIED);

	while (!(old & LOCKED))
		if (change(mutex, &old, old | LOCKED, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

/* PARKED, and nobody on his way: wakes the first in the queue. */
static void unlock_wake(struct gyre_mutex *mutex)
{
	struct gy_wait_bucket *bucket = gy_wait_lock(mutex);
	struct gy_waiter *waiter = gy_wait_first(bucket, mutex);
	uint64_t word = gyre_seal_(mutex), before;
	bool hand = false;

	if (waiter) {
		gy_wait_pop(bucket, waiter);
		hand = gy_now_ns() - waiter->since_ns >= STARVES_NS;
		word |= hand ? LOCKED : WOKEN;
		if (gy_wait_first(bucket, mutex))
			word |= PARKED;
	}
	/* LOCKED is ours, PARKED the queue's lock's, and WOKEN is clear: nobody else changes it. */
	before = __atomic_exchange_n(&mutex->word, word, __ATOMIC_RELEASE);
	ASSERT((before & LOCKED) && !(before & WOKEN)); /* MUTEX-1, MUTEX-3 */
	(void)before;
	gy_wait_unlock(bucket);
	if (waiter)
		gy_waiter_wake(waiter, hand ? HANDED : RETRY);
}

GY_EXPORT void gyre_mutex_unlock_slow(struct gyre_mutex *mutex)
{
	uint64_t old = __atomic_load_n(&mutex->word, __ATOMIC_RELAXED);

	for (;;) {
		if (!gy_seal_fits(old, mutex))
			gy_sync_misuse(old >> 32 ? COPIED : UNLOCKED, mutex);
		if (!(old & LOCKED))
			gy_sync_misuse(UNLOCKED, mutex);
		if (old & PARKED && !(old & WOKEN)) {
			unlock_wake(mutex);
			return;
		}
		gy_sync_step();
		if (change(mutex, &old, old & ~(uint64_t)LOCKED, __ATOMIC_RELEASE)) /* MUTEX-2 */
			return;
	}
}
