/* fork.c - the heap across fork, in a process of many threads.
 *
 * fork copies the memory and one thread. Whatever another thread was in the middle of stays in the
 * middle for ever in the child; so before the fork every lock is taken, in rank order, and the
 * child finds every structure that they protect whole. Thread caches have no lock: the forking
 * thread's own is at rest; those of others are given up in the child (thread_cache.c).
 *
 * FORK-1  The order is that of base/lock_rank.h; the parent releases in reverse, the child sets the
 *         locks anew (a waiter asleep on one does not exist there).
 * FORK-2  The background thread is not in the child; it is started again when it is needed.
 * FORK-3  The control page belongs to the parent; the child makes its own at its next slow path.
 *
 * vfork and posix_spawn run none of this and need none: the child shares the memory and only execs.
 * A raw clone() without CLONE_VM does not either: its child may exec, but not allocate.
 */
#include "mutator/fork.h"

#include "heap/central.h"
#include "heap/large.h"
#include "heap/scavenger.h"
#include "heap/thread_cache.h"
#include "os/long_call.h"
#include "os/own_memory.h"
#include "trace/events.h"
#include "trace/sampler.h"

#include <pthread.h>

static const struct gy_fork_hooks *hooks;

static void prepare(void)
{
	hooks->prepare();
	gy_scavenger_fork_prepare();
	gy_events_fork_prepare();
	gy_lock_acquire(&gy_registry.lock);
	gy_central_fork_prepare();
	gy_large_lock();
	gy_page_heap_lock();
	gy_sampler_fork_prepare();
	gy_metadata_lock();
	gy_own_memory_fork_prepare();
}

static void parent(void)
{
	gy_own_memory_fork_parent();
	gy_metadata_unlock();
	gy_sampler_fork_parent();
	gy_page_heap_unlock();
	gy_large_unlock();
	gy_central_fork_parent();
	gy_lock_release(&gy_registry.lock);
	gy_events_fork_parent();
	gy_scavenger_fork_parent();
	hooks->parent();
}

static void child(void)
{
	gy_own_memory_fork_child();
	gy_metadata_unlock();
	gy_metadata_fork_child();
	gy_sampler_fork_child();
	gy_page_heap_unlock();
	gy_page_heap_fork_child();
	gy_large_unlock();
	gy_large_fork_child();
	gy_central_fork_parent();
	gy_central_fork_child();
	gy_lock_release(&gy_registry.lock);
	gy_thread_cache_fork_child();
	gy_events_fork_child();
	gy_scavenger_fork_parent();
	gy_scavenger_fork_child();
	hooks->child();
	gy_lock_fork_child();
	gy_long_fork_child();
}

void gy_fork_init(const struct gy_fork_hooks *above)
{
	hooks = above;
	pthread_atfork(prepare, parent, child);
}
