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
 *           thread then attaches anew, and the C library runs ours once more, up to four rounds.
 * ATTACH-4  A thread may end in a blocking region, cancelled in its wait perhaps. It leaves the
 *           region first: there it counts as stopped, and its stack would be scanned after it has
 *           gone.
 * ATTACH-5  A thread that attaches in the last of those rounds leaves a record behind. So does one
 *           that ends by a system call of its own. Each cycle begins by asking the kernel for the
 *           thread of each record, and takes back those whose thread does not exist.
 * ATTACH-6  A thread that uses the collector takes its signal: if it was blocked before, it is not
 *           from the first use on.
 * ATTACH-7  A thread that only waits is attached by its first wait, so that the wait can be a
 *           blocking region (interpose/waits.c). That may happen in a signal handler, over anything
 *           but a lock of ours: nothing on the way allocates from the heap. A thread that shares
 *           its parent's thread-local storage (vfork, a raw clone) would take the parent's record
 *           for its own: it gets none, its tid tells.
 */
#include "gc/thread.h"

#include "gc/cycle.h"
#include "gc/finalise.h"
#include "gc/roots.h"
#include "heap/heap.h"
#include "os/sys.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define KEYS_IN_THREAD 32u /* glibc's PTHREAD_KEY_2NDLEVEL_SIZE */

__thread struct gy_gc_thread *gy_gc_self;
uint32_t gy_gc_is_up;

static struct {
	struct gy_lock lock;
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
		__atomic_store_n(&gy_gc_is_up, 1, __ATOMIC_RELEASE);
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

static struct gy_gc_thread *attach(bool brief)
{
	struct gy_gc_thread *thread = NULL;
	uint64_t before;

	before = gy_sys_signals_block(0); /* ATTACH-1 */
	if (collector_start())
		thread = record_take();
	if (thread) {
		gy_barrier_thread_init(&thread->barrier);
		if (brief)
			gy_mutator_add_brief(&thread->mutator);
		else
			gy_mutator_add(&thread->mutator);
		gy_gc_self = thread;
		before &= ~(1ull << (gy_option(GY_OPT_gc_signal) - 1)); /* ATTACH-6 */
	}
	gy_sys_signals_restore(before);
	/* May allocate. Refused, nobody would tell us of the thread's end. */
	if (thread && pthread_setspecific(collector.end_key, thread)) {
		thread_end(thread);
		thread = NULL;
	}
	return thread;
}

struct gy_gc_thread *gy_gc_thread_attach(void)
{
	return gy_gc_self ? gy_gc_self : attach(false);
}

/* The C library's idea of the calling thread's tid, out of its clock's number (clock_getcpuclockid
 * in the kernel's encoding); 0: it has none. */
static pid_t tid_of_storage(void)
{
	clockid_t clock;

	return pthread_getcpuclockid(pthread_self(), &clock) ? 0 : ~(clock >> 3);
}

/* ATTACH-7 */
struct gy_mutator *gy_gc_waiter(void)
{
	struct gy_gc_thread *thread = gy_gc_self;

	if (READ_RELAXED(gy_hold.depth)) /* a handler over a lock of ours: no region (BUSY-1) */
		return NULL;
	if (unlikely(!thread)) {
		/* Keys from the 32nd on are kept in memory of their own. */
		if (collector.end_key >= KEYS_IN_THREAD || tid_of_storage() != gy_sys_gettid())
			return NULL;
		thread = attach(true);
		return thread ? &thread->mutator : NULL;
	}
	return thread->mutator.tid == gy_sys_gettid() ? &thread->mutator : NULL;
}

static void thread_end(void *argument)
{
	struct gy_gc_thread *thread = argument;
	uint64_t before;

	if (thread != gy_gc_self)
		return;
	if (thread->mutator.depth || thread->mutator.blocked) /* ATTACH-4 */
		gy_blocking_abandon(&thread->mutator);
	gy_mutator_enter(&thread->mutator);
	gy_space_thread_end(thread);
	gy_barrier_thread_end(&thread->barrier);
	gy_mutator_leave(&thread->mutator);
	before = gy_sys_signals_block(0);
	gy_gc_self = NULL;
	gy_mutator_remove(&thread->mutator);
	record_give(thread);
	gy_sys_signals_restore(before);
}

/* One whose thread is gone, off the list; NULL: there is none (more). */
static struct gy_gc_thread *orphan_take(void)
{
	struct gy_mutator *at;

	gy_lock_acquire(&gy_mutators_lock);
	for (at = gy_mutators; at; at = at->next)
		if (gy_sys_tgkill(getpid(), at->tid, 0) == -ESRCH)
			break;
	gy_lock_release(&gy_mutators_lock);
	return at ? container_of(at, struct gy_gc_thread, mutator) : NULL;
}

void gy_gc_threads_reap(void)
{
	struct gy_gc_thread *thread;

	while ((thread = orphan_take())) {
		gy_space_thread_end(thread);
		gy_barrier_thread_end(&thread->barrier);
		gy_mutator_remove_other(&thread->mutator);
		record_give(thread);
	}
}

void gy_gc_thread_fork_child(void)
{
	gy_lock_init(&collector.lock, GY_RANK_init);
}
