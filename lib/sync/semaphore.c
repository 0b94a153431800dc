/* semaphore.c - a count to take from, in order of arrival.
 *
 *	state: bit 31  WAITERS: somebody waits in the queue of its address (wait.h)
 *	       else    the count
 *
 * Who finds enough, and nobody waiting, takes it with one compare-and-swap; who gives back where
 * nobody waits adds with one. Otherwise both take the queue's lock, and what is given back is
 * handed to those who wait, the first first: so who wants much is not starved by those who want
 * little (golang.org/x/sync/semaphore).
 *
 * SEM-1  WAITERS changes under the queue's lock only, and is set iff the queue is not empty.
 * SEM-2  While it is set the count is less than the first waiter wants, outside of the queue's
 *        lock, and changes under it only.
 * SEM-3  A waiter that is woken has what it wants: the count was lessened by whoever woke it.
 */
#include "sync/semaphore.h"

#include "sync/seal.h"

#include <errno.h>

#define WAITERS ((uint64_t)1 << 31)
#define COUNT (WAITERS - 1)
#define COPIED "use of a copied semaphore"

static bool change(struct gyre_semaphore *semaphore, uint64_t *old, uint64_t new)
{
	return __atomic_compare_exchange_n(&semaphore->word, old, new, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static bool try(struct gyre_semaphore *semaphore, uint32_t count)
{
	uint64_t old = gy_seal_word(&semaphore->word, semaphore, COPIED);

	while (!(old & WAITERS) && (old & COUNT) >= count)
		if (change(semaphore, &old, old - count))
			return true;
	return false;
}

/* Queues the waiter; false: it has what it wants. */
static bool park(struct gyre_semaphore *semaphore, struct gy_waiter *waiter)
{
	struct gy_wait_bucket *bucket = gy_wait_lock(semaphore);
	bool parked = false, taken = false;
	uint64_t old;

	if (!gy_wait_first(bucket, semaphore)) /* set in a forked child only: SEM-1 */
		__atomic_fetch_and(&semaphore->word, ~WAITERS, __ATOMIC_RELAXED);
	old = __atomic_load_n(&semaphore->word, __ATOMIC_RELAXED);
	while (!parked && !taken) {
		if (!(old & WAITERS) && (old & COUNT) >= waiter->want)
			taken = change(semaphore, &old, old - waiter->want);
		else
			parked = change(semaphore, &old, old | WAITERS);
	}
	if (parked)
		gy_wait_push(bucket, waiter, semaphore, false);
	gy_wait_unlock(bucket);
	return parked;
}

/* [queue's lock] Takes those off the queue who can have what they want, and chains them by `next`.
 * Adds `count` before. */
static struct gy_waiter *hand_out(struct gyre_semaphore *semaphore, struct gy_wait_bucket *bucket,
				  uint64_t count)
{
	uint64_t old = __atomic_load_n(&semaphore->word, __ATOMIC_RELAXED), sum, new;
	struct gy_waiter *chain = NULL, **end = &chain, *waiter;

	/* SEM-2: with WAITERS set the word changes under the lock only. */
	sum = (old & COUNT) + count;
	if (sum > COUNT)
		gy_sync_misuse("release beyond the limit of a semaphore", semaphore);
	while ((waiter = gy_wait_first(bucket, semaphore)) && waiter->want <= sum) {
		sum -= waiter->want;
		gy_wait_pop(bucket, waiter);
		waiter->next = NULL;
		*end = waiter;
		end = &waiter->next;
	}
	new = gyre_seal_(semaphore) | sum | (waiter ? WAITERS : 0);
	__atomic_store_n(&semaphore->word, new, __ATOMIC_RELEASE);
	return chain;
}

static void wake_chain(struct gy_waiter *waiter)
{
	while (waiter) {
		struct gy_waiter *next = waiter->next; /* WAIT-3 */

		gy_waiter_wake(waiter, 0);
		waiter = next;
	}
}

int gy_semaphore_acquire(struct gyre_semaphore *semaphore, uint32_t count, int64_t timeout_ns)
{
	struct gy_waiter waiter = {.want = count}, *chain;
	struct gy_wait_bucket *bucket;
	struct gy_look look;
	uint64_t deadline_ns;

	CHECK(count <= COUNT);
	if (likely(try(semaphore, count)))
		return 0;
	if (timeout_ns == 0)
		return -EAGAIN;
	deadline_ns = gy_deadline_ns(timeout_ns);
	gy_wait_prepare();
	look = gy_look_begin(2);
	while (gy_look_more(&look))
		if (try(semaphore, count))
			return 0;
	if (!park(semaphore, &waiter) || gy_waiter_wait(&waiter, deadline_ns) ||
	    !gy_wait_give_up(&waiter, semaphore))
		return 0; /* SEM-3 */
	/* Those behind may have been waiting for less. */
	bucket = gy_wait_lock(semaphore);
	chain = __atomic_load_n(&semaphore->word, __ATOMIC_RELAXED) & WAITERS
			? hand_out(semaphore, bucket, 0)
			: NULL;
	gy_wait_unlock(bucket);
	wake_chain(chain);
	return -ETIMEDOUT;
}

void gy_semaphore_release(struct gyre_semaphore *semaphore, uint32_t count)
{
	uint64_t old = gy_seal_word(&semaphore->word, semaphore, COPIED);
	struct gy_wait_bucket *bucket;
	struct gy_waiter *chain = NULL;

	for (;;) {
		while (!(old & WAITERS)) {
			if ((old & COUNT) + count > COUNT)
				gy_sync_misuse("release beyond the limit of a semaphore",
					       semaphore);
			if (change(semaphore, &old, old + count))
				return;
		}
		bucket = gy_wait_lock(semaphore);
		old = __atomic_load_n(&semaphore->word, __ATOMIC_RELAXED);
		if (old & WAITERS) {
			chain = hand_out(semaphore, bucket, count);
			gy_wait_unlock(bucket);
			wake_chain(chain);
			return;
		}
		gy_wait_unlock(bucket);
	}
}

/* ---- public ---- */

GY_EXPORT void gyre_semaphore_acquire(struct gyre_semaphore *semaphore, uint32_t count)
{
	gy_semaphore_acquire(semaphore, count, GYRE_FOREVER);
}

GY_EXPORT int gyre_semaphore_acquire_timed(struct gyre_semaphore *semaphore, uint32_t count,
					   int64_t timeout_ns)
{
	int status = gy_semaphore_acquire(semaphore, count, timeout_ns);

	if (!status)
		return 0;
	errno = -status;
	return -1;
}

GY_EXPORT void gyre_semaphore_release(struct gyre_semaphore *semaphore, uint32_t count)
{
	gy_semaphore_release(semaphore, count);
}
