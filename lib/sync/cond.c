/* cond.c - something to be told of.
 *
 *	state: WAITERS   somebody waits in the queue of its address (wait.h)
 *
 * COND-1  A waiter is in the queue before it lets go of the mutex: whoever changes what is waited
 *         for under the mutex, and tells after it, finds it there.
 * COND-2  WAITERS changes under the queue's lock only, and is set iff the queue is not empty. So a
 *         signal that finds it clear has nobody to tell.
 */
#include "sync/seal.h"
#include "sync/wait.h"

#include <errno.h>

#define WAITERS ((uint64_t)1)
#define COPIED "use of a copied condition"

/* [queue's lock] COND-2 */
static void settle(struct gyre_cond *cond, struct gy_wait_bucket *bucket)
{
	bool waiters = gy_wait_first(bucket, cond) != NULL;

	__atomic_store_n(&cond->word, gyre_seal_(cond) | (waiters ? WAITERS : 0),
			 __ATOMIC_RELEASE);
}

static int wait(struct gyre_cond *cond, struct gyre_mutex *mutex, uint64_t deadline_ns)
{
	struct gy_waiter waiter = {0};
	struct gy_wait_bucket *bucket;
	int status = 0;

	gy_wait_prepare();
	gy_seal_word(&cond->word, cond, COPIED);
	bucket = gy_wait_lock(cond);
	gy_wait_push(bucket, &waiter, cond, false); /* COND-1 */
	settle(cond, bucket);
	gy_wait_unlock(bucket);
	gyre_mutex_unlock(mutex);
	if (!gy_waiter_wait(&waiter, deadline_ns) && gy_wait_give_up(&waiter, cond)) {
		bucket = gy_wait_lock(cond);
		settle(cond, bucket);
		gy_wait_unlock(bucket);
		status = -ETIMEDOUT;
	}
	gyre_mutex_lock(mutex);
	return status;
}

static void tell(struct gyre_cond *cond, bool all)
{
	uint64_t word = __atomic_load_n(&cond->word, __ATOMIC_ACQUIRE);
	struct gy_waiter *chain = NULL, **end = &chain, *waiter;
	struct gy_wait_bucket *bucket;

	if (word >> 32 && !gy_seal_fits(word, cond))
		gy_sync_misuse(COPIED, cond);
	if (!(word & WAITERS))
		return;
	bucket = gy_wait_lock(cond);
	while ((waiter = gy_wait_first(bucket, cond))) {
		gy_wait_pop(bucket, waiter);
		waiter->next = NULL;
		*end = waiter;
		end = &waiter->next;
		if (!all)
			break;
	}
	settle(cond, bucket);
	gy_wait_unlock(bucket);
	while (chain) {
		waiter = chain;
		chain = chain->next; /* WAIT-3 */
		gy_waiter_wake(waiter, 0);
	}
}

GY_EXPORT void gyre_cond_wait(struct gyre_cond *cond, struct gyre_mutex *mutex)
{
	wait(cond, mutex, GY_NEVER_NS);
}

GY_EXPORT int gyre_cond_wait_timed(struct gyre_cond *cond, struct gyre_mutex *mutex,
				   int64_t timeout_ns)
{
	int status = wait(cond, mutex, gy_deadline_ns(timeout_ns));

	if (!status)
		return 0;
	errno = -status;
	return -1;
}

GY_EXPORT void gyre_cond_signal(struct gyre_cond *cond)
{
	tell(cond, false);
}

GY_EXPORT void gyre_cond_broadcast(struct gyre_cond *cond)
{
	tell(cond, true);
}
