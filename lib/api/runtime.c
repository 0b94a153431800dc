/* runtime.c - the modules wired together, once, at link time and at start.
 *
 * The heap calls upwards only through gy_heap_hooks; this is its one definition. What must be done
 * once per process before a fork can happen (atfork handlers) is done by a constructor; what must
 * be done before the first block, by the heap's start.
 */
#include "control/background.h"
#include "control/page.h"
#include "gc/cycle.h"
#include "heap/heap.h"
#include "heap/hooks.h"
#include "leak/leak.h"
#include "mutator/fork.h"
#include "sync/pool.h"
#include "sync/wait.h"
#include "trace/events.h"
#include "trace/recorded.h"
#include "trace/sampler.h"

static void started(void)
{
	/* The control page waits for the first slow path outside of the loader (background.c). */
}

const struct gy_heap_hooks gy_heap_hooks = {
	.started = started,
	.sample_interval = gy_sample_interval,
	.sample_alloc = gy_sample_alloc,
	.sample_free = gy_sample_free,
	.record = gy_events_record,
	.alloc_recorded = gy_recorded_alloc,
	.free_recorded = gy_recorded_free,
	.slow_path = gy_background_slow_path,
};

const struct gy_cycle_hooks gy_cycle_hooks = {
	.paused = gy_sync_pool_cycle_paused,
	.roots = gy_sync_pool_scan_roots,
	.ended = gy_sync_pool_cycle_ended,
};

/* The cycle's lock is the outermost; and nothing where the collector never started. */
static bool collector_forks;

static void fork_prepare(void)
{
	collector_forks = gy_gc_started();
	if (collector_forks)
		gy_cycle_fork_prepare();
	gy_background_fork_prepare();
	gy_control_fork_prepare();
	if (collector_forks)
		gy_cycle_fork_prepare_rest();
	gy_leak_ignore_fork_prepare();
}

static void fork_parent(void)
{
	gy_leak_ignore_fork_parent();
	if (collector_forks)
		gy_cycle_fork_parent_rest();
	gy_control_fork_parent();
	gy_background_fork_parent();
	if (collector_forks)
		gy_cycle_fork_parent();
}

static void fork_child(void)
{
	gy_control_fork_child();
	gy_leak_fork_child();
	gy_background_fork_child();
	if (collector_forks)
		gy_cycle_fork_child();
	gy_wait_fork_child();
	gy_sync_pool_fork_child();
}

__attribute__((constructor(101))) static void runtime_init(void)
{
	static const struct gy_fork_hooks hooks = {fork_prepare, fork_parent, fork_child};

	gy_heap_start();
	gy_events_init();
	gy_fork_init(&hooks);
}
