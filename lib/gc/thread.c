/* thread.c - how a thread comes to the collector, and how it leaves.
 *
 * Nobody registers: the first gyre_* call that needs it attaches its thread, and with the first
 * thread of all the collector starts. A thread that never calls has no record; it is stopped and
 * scanned all the same (mutator/world.h).
 *
 * ATTACH-1  While its record is put on, or taken off, the list of mutators, a thread has every
 *           signal blocked: the stopper, who walks that list, finds it whole.
 * ATTACH-2  A record is reused, never unmapped: one that the stopper still looks at stays readable.
 * ATTACH-3  The end is told by a pthread key. Destructors that run later may allocate again: the
 *           thread then attaches anew, and the C library runs ours once more (up to four rounds;
 *           what is left in hand after these is lost to the thread, and found by the fourth's
 *           sweep).
 * ATTACH-4  A thread may end in a blocking region, cancelled in its wait perhaps. It leaves the
 *           region first: there it counts as stopped, and its stack would be scanned after it has
 *           gone.
 */
#include "gc/thread.h"

#include "gc/cycle.h"
#include "gc/finalise.h"
#include "gc/roots.h"
#include "heap/heap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

__thread struct gy_gc_thread *gy_gc_self;

static struct {
	struct gy_lock lock;
	uint32_t up; /* [atomic: release] */
	unsigned steps_done;
	bool end_key_made;
	pthread_key_t end_key;
	struct gy_gc_thread *unused; /* [lock] records of ended threads, by mutator.next */
} collector = {.lock = GY_LOCK_INIT(GY_RANK_init)};

static void thread_end(void *argument);

static int end_key_init(void)
{
	collector.end_key_made = !pthread_key_create(&collector.end_key, thread_end);
	return collector.end_key_made ? 0 : -EAGAIN;
}

bool gy_gc_started(void)
{
	return __atomic_load_n(&collector.up, __ATOMIC_ACQUIRE);
}

/* Everything of the collector, in the order of the layers; what failed is tried again by the next
 * thread. */
static bool collector_start(void)
{
	static int (*const steps[])(void) = {
		end_key_init,	 gy_records_init, gy_layout_init,   gy_space_init, gy_world_init,
		gy_barrier_init, gy_roots_init,	  gy_finalise_init, gy_cycle_init,
	};

	if (likely(gy_gc_started()))
		return true;
	if (!gy_heap_start())
		return false;
	gy_lock_acquire(&collector.lock);
	while (collector.steps_done < ARRAY_SIZE(steps) && !steps[collector.steps_done]())
		collector.steps_done++;
	if (collector.steps_done == ARRAY_SIZE(steps))
		__atomic_store_n(&collector.up, 1, __ATOMIC_RELEASE);
	gy_lock_release(&collector.lock);
	return gy_gc_started();
}

static struct gy_gc_thread *record_take(void)
{
	struct gy_gc_thread *thread;

	gy_lock_acquire(&collector.lock);
	thread = collector.unused;
	if (thread)
		collector.unused = (struct gy_gc_thread *)(void *)thread->mutator.next;
	gy_lock_release(&collector.lock);
	if (!thread)
		return gy_metadata_take(sizeof(*thread));
	memset(thread, 0, sizeof(*thread));
	return thread;
}

static void record_give(struct gy_gc_thread *thread)
{
	gy_lock_acquire(&collector.lock);
	thread->mutator.next = (struct gy_mutator *)(void *)collector.unused;
	collector.unused = thread;
	gy_lock_release(&collector.lock);
}

struct gy_gc_thread *gy_gc_thread_attach(void)
{
	struct gy_gc_thread *thread = NULL;
	sigset_t all, before;

	if (gy_gc_self)
		return gy_gc_self;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* ATTACH-1 */
	if (collector_start())
		thread = record_take();
	if (thread) {
		gy_barrier_thread_init(&thread->barrier);
		gy_mutator_add(&thread->mutator);
		gy_gc_self = thread;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* May allocate. Refused, nobody would tell us of the thread's end. */
	if (thread && pthread_setspecific(collector.end_key, thread)) {
		thread_end(thread);
		thread = NULL;
	}
	return thread;
}

static void thread_end(void *argument)
{
	struct gy_gc_thread *thread = argument;
	sigset_t all, before;

	if (thread != gy_gc_self)
		return;
	if (thread->mutator.depth) { /* ATTACH-4 */
		thread->mutator.depth = 1;
		gy_blocking_end(&thread->mutator);
	}
	gy_mutator_enter(&thread->mutator);
	gy_space_thread_end(thread);
	gy_barrier_thread_end(&thread->barrier);
	gy_mutator_leave(&thread->mutator);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	gy_gc_self = NULL;
	gy_mutator_remove(&thread->mutator);
	record_give(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void gy_gc_thread_fork_child(void)
{
	gy_lock_init(&collector.lock, GY_RANK_init);
}
