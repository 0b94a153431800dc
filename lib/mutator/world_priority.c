/* world_priority.c - processors for the stopper, and for those whom it awaits.
 *
 * STOP-10 The stopper must not lose its processor while it sends the signals: those not yet
 *         signalled would run for whole slices of the scheduler's, and the others stand meanwhile.
 *         So it takes a real-time priority for that time, if it may; and keeps clear of the
 *         timer's next tick, which is where the scheduler ends slices, whether it may or not. Nor
 *         while it waits for the last: back at its own priority it would have to queue behind
 *         whatever else the machine has to do, for milliseconds, with everybody standing. It keeps
 *         the priority until all have come, and in a stop that is known to be brief until it ends;
 *         waiting it sleeps, since it would keep a processor from those it waits for.
 * STOP-11 A thread that could come but for a processor may wait for one behind other programs, for
 *         their whole slices, and even while another processor has nothing to do: the scheduler
 *         moves a thread there when it balances next, milliseconds later. (Seen: 3.4 ms, one
 *         processor idle, two threads that were awaited queued behind somebody else's on the
 *         other.) So those that have not come within the time that so many take where nothing is
 *         in their way get the stopper's priority until they have: a real-time thread takes the
 *         place of any other, and is moved to where it can run at once. They do no more with it
 *         than come to the handler, at most by way of the end of a slow path of ours (BUSY-1),
 *         which waits for locks asleep; and it is taken from all of them when the try is over.
 *         Only threads of the ordinary policies; their nice value stays. What one starts meanwhile
 *         is an ordinary one (SCHED_RESET_ON_FORK). That flag only the privileged may take back:
 *         whether we may, the stopper finds out about itself first.
 *
 * Option gc_priority=off leaves all priorities alone.
 */
#include "mutator/world_stop.h"

#include "base/config.h"
#include "os/sys.h"

#include <sched.h>
#include <time.h>

#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif

#define TICK_ROOM_NS 1000000u /* what sending may take */
#define TICK_PAST_NS 30000u
#define TICK_TRIES 3u
#define PREFERRED (SCHED_FIFO | SCHED_RESET_ON_FORK)

static struct {
	int policy;     /* of the stopper: what to go back to */
	bool preferred; /* for the time being */
	bool tried, may_hurry; /* STOP-11: the flag could be taken back */
} priority;

static bool is_ordinary(int policy)
{
	return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

void gy_stopper_prefer(void)
{
	if (priority.preferred || !gy_option(GY_OPT_gc_priority))
		return;
	priority.policy = gy_sys_policy();
	if (!is_ordinary(priority.policy & ~SCHED_RESET_ON_FORK))
		return;
	priority.preferred = !gy_sys_policy_set(PREFERRED, 1);
	if (priority.preferred && !priority.tried) { /* STOP-11: known before the first stop */
		gy_stopper_prefer_no_more();
		priority.tried = true;
		priority.preferred = !gy_sys_policy_set(PREFERRED, 1);
	}
}

void gy_stopper_prefer_no_more(void)
{
	if (!priority.preferred)
		return;
	priority.may_hurry = !gy_sys_policy_set(priority.policy, 0);
	if (!priority.may_hurry) /* nothing but the flag stays */
		gy_sys_policy_set(priority.policy | SCHED_RESET_ON_FORK, 0);
	priority.preferred = false;
}

bool gy_stopper_is_preferred(void)
{
	return priority.preferred;
}

/* The coarse clock tells when the last tick was; its resolution is the time between two. */
void gy_stopper_keep_clear_of_tick(void)
{
	struct timespec tick, last;
	uint32_t nobody = 0;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) || tick.tv_sec)
		return;
	for (unsigned i = 0; i < TICK_TRIES; i++) {
		uint64_t since_ns, tick_ns = (uint64_t)tick.tv_nsec;
		struct timespec rest = {0, 0};

		clock_gettime(CLOCK_MONOTONIC_COARSE, &last);
		since_ns = gy_now_ns() -
			   ((uint64_t)last.tv_sec * 1000000000 + (uint64_t)last.tv_nsec);
		if (since_ns + MIN((uint64_t)TICK_ROOM_NS, tick_ns / 2) < tick_ns ||
		    since_ns > tick_ns)
			return;
		rest.tv_nsec = (long)(tick_ns - since_ns + TICK_PAST_NS);
		gy_sys_futex_wait(&nobody, 0, &rest, false);
	}
}

bool gy_stopper_may_hurry(void)
{
	return priority.preferred && priority.may_hurry;
}

bool gy_task_hurry(struct gy_task_entry *entry)
{
	entry->policy = gy_sys_policy_of(entry->tid);
	entry->hurried = is_ordinary(entry->policy & ~SCHED_RESET_ON_FORK) &&
			 !gy_sys_policy_set_of(entry->tid, PREFERRED, 1);
	return entry->hurried;
}

void gy_task_hurry_no_more(struct gy_task_entry *entry)
{
	if (gy_sys_policy_set_of(entry->tid, entry->policy, 0)) /* privileges went meanwhile */
		gy_sys_policy_set_of(entry->tid, entry->policy | SCHED_RESET_ON_FORK, 0);
	entry->hurried = false;
}
