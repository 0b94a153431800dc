/* wait_group.c - a count of what is still to be done, and who waits for its end.
 *
 *	state: bit 31  WAITERS: somebody waits in the queue of its address (wait.h)
 *	       else    the count
 *
 * GROUP-1  WAITERS changes under the queue's lock only, and is set iff the queue is not empty. The
 *          step of the count to 0 is made under that lock if it is set: so whoever waits belongs to
 *          this end, however soon the group is used again.
 * GROUP-2  What was done before a count down is seen after the wait: each change releases and
 *          acquires, so the last one has seen them all; and who reads 0 acquires, by a change that
 *          failed as well.
 */
#include "sync/seal.h"
#include "sync/wait.h"

#include <errno.h>

#define WAITERS ((uint64_t)1 << 31)
#define COUNT (WAITERS - 1)
#define COPIED "use of a copied wait group"

static bool change(struct gyre_wait_group *group, uint64_t *old, uint64_t new)
{
	return __atomic_compare_exchange_n(&group->word, old, new, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE); /* park() may read the 0 here */
}

/* The last is done, and somebody waits. False: it is not as the caller saw it any more. */
static bool finish(struct gyre_wait_group *group, uint64_t old)
{
	struct gy_wait_bucket *bucket = gy_wait_lock(group);
	struct gy_waiter *chain = NULL, **end = &chain, *waiter;

	if (!change(group, &old, gyre_seal_(group))) {
		gy_wait_unlock(bucket);
		return false;
	}
	while ((waiter = gy_wait_first(bucket, group))) {
		gy_wait_pop(bucket, waiter);
		waiter->next = NULL;
		*end = waiter;
		end = &waiter->next;
	}
	gy_wait_unlock(bucket);
	while (chain) {
		waiter = chain;
		chain = chain->next; /* WAIT-3 */
		gy_waiter_wake(waiter, 0);
	}
	return true;
}

GY_EXPORT void gyre_wait_group_add(struct gyre_wait_group *group, int32_t delta)
{
	for (;;) {
		uint64_t old = gy_seal_word(&group->word, group, COPIED);
		int64_t count = (int64_t)(old & COUNT) + delta;

		if (count < 0)
			gy_sync_misuse("negative count of a wait group", group);
		if (count > (int64_t)COUNT)
			gy_sync_misuse("count beyond the limit of a wait group", group);
		gy_sync_step();
		if (count == 0 && old & WAITERS ? finish(group, old)
						: change(group, &old,
							 (old & ~COUNT) | (uint64_t)count))
			return;
	}
}

GY_EXPORT void gyre_wait_group_done(struct gyre_wait_group *group)
{
	gyre_wait_group_add(group, -1);
}

/* Queues the waiter; false: the count is 0. */
static bool park(struct gyre_wait_group *group, struct gy_waiter *waiter)
{
	struct gy_wait_bucket *bucket = gy_wait_lock(group);
	uint64_t old = __atomic_load_n(&group->word, __ATOMIC_ACQUIRE);
	bool parked = false;

	while (old & COUNT && !parked) {
		gy_sync_step();
		parked = change(group, &old, old | WAITERS);
	}
	if (parked)
		gy_wait_push(bucket, waiter, group, false);
	gy_wait_unlock(bucket);
	return parked;
}

static int give_up(struct gyre_wait_group *group, struct gy_waiter *waiter)
{
	struct gy_wait_bucket *bucket;

	if (!gy_wait_give_up(waiter, group))
		return 0; /* WAIT-6 */
	bucket = gy_wait_lock(group);
	if (!gy_wait_first(bucket, group)) /* GROUP-1 */
		__atomic_fetch_and(&group->word, ~WAITERS, __ATOMIC_RELAXED);
	gy_wait_unlock(bucket);
	return -ETIMEDOUT;
}

static int wait(struct gyre_wait_group *group, int64_t timeout_ns)
{
	uint64_t old = __atomic_load_n(&group->word, __ATOMIC_ACQUIRE);
	struct gy_waiter waiter = {0};
	struct gy_look look;
	uint64_t deadline_ns;

	if (old >> 32 && !gy_seal_fits(old, group))
		gy_sync_misuse(COPIED, group);
	if (!(old & COUNT))
		return 0;
	if (timeout_ns == 0)
		return -EAGAIN;
	deadline_ns = gy_deadline_ns(timeout_ns);
	gy_wait_prepare();
	look = gy_look_begin(3);
	while (gy_look_more(&look))
		if (!(__atomic_load_n(&group->word, __ATOMIC_ACQUIRE) & COUNT))
			return 0;
	gy_seal_word(&group->word, group, COPIED);
	if (!park(group, &waiter) || gy_waiter_wait(&waiter, deadline_ns))
		return 0;
	return give_up(group, &waiter);
}

GY_EXPORT void gyre_wait_group_wait(struct gyre_wait_group *group)
{
	wait(group, GYRE_FOREVER);
}

GY_EXPORT int gyre_wait_group_wait_timed(struct gyre_wait_group *group, int64_t timeout_ns)
{
	int status = wait(group, timeout_ns);

	if (!status)
		return 0;
	errno = -status;
	return -1;
}
