/* background.c - the one background thread: release, idle caches, the control page.
 *
 * It starts when the heap first passes background_start bytes (so `ls` never has one), or when
 * events are first recorded, from a slow path of whichever thread comes by, and lives as long as
 * the process. All its signals are blocked.
 *
 *   each turn   move the heap's coarse clock on (GY_TICK_MS)
 *               take back idle thread caches        (mutator/idle.c)
 *               one paced release step              (heap/scavenger.c)
 *               begin or end the recording of events, ship what waited for long (trace/events.h)
 *               publish if asked, or once a second while something happens
 *   sleep       on the control page's request word: 50 ms while there is work, 250 ms while what
 *               was in use lately grows old, a second after that; a request wakes it at once
 *
 * BG-1  At most one per process. Its state moves none -> starting -> running under the background
 *       lock; a forked child goes back to none.
 * BG-2  It is never started from inside the dynamic loader, which may hold its locks and allocates
 *       (gy_called_from_loader); the next slow path does it.
 * BG-3  It allocates nothing from the heap that it serves, its start apart.
 * BG-5  It ends when the process changes its user or group: it would keep the old rights
 *       (NATIVE-3). The next slow path starts another, with those of its starter.
 * BG-4  A start that fails is tried again after a second, not at every slow path.
 */
#include "control/background.h"

#include "base/config.h"
#include "control/page.h"
#include "gc/space.h"
#include "heap/heap.h"
#include "heap/scavenger.h"
#include "mutator/idle.h"
#include "os/native_thread.h"
#include "os/release.h"
#include "os/sys.h"
#include "sync/pool.h"
#include "trace/events.h"

#include <pthread.h>
#include <time.h>

#define MS 1000000ull
#define SECOND 1000000000ull
#define SLEEP_LEAST_NS (GY_TICK_MS * MS)
#define SLEEP_AGING_NS (SECOND / 4) /* while what was just in use grows old enough to go */
#define SLEEP_MOST_NS SECOND
#define AGING_NS (10 * SECOND)
#define SMALL_PUBLISH_NS (SECOND / 10)
#define LOOK_EVERY                                                                                 \
	64 /* slow paths of a process without the thread between two looks at the clock */

enum { NONE, STARTING, RUNNING, LEFT };

static struct {
	struct gy_lock lock;
	uint32_t state; /* [atomic: relaxed; changed under lock] */
	uint64_t retry_ns;
	uint32_t unpaged; /* sleeps on this where there is no control page */
	uint32_t slow_paths;
} background = {.lock = GY_LOCK_INIT(GY_RANK_background)};

/* Something that changes whenever the heap is at work. */
GY_RACY_READER static uint64_t activity(void)
{
	uint64_t sum = 0;

	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		if (gy_central_is_used(false, c))
			sum += READ_RELAXED(gy_centrals[0][c].taken) +
			       READ_RELAXED(gy_centrals[0][c].given);
	}
	return sum;
}

static void sleep_ns(uint64_t ns, uint32_t seen)
{
	struct timespec timeout = {(time_t)(ns / SECOND), (long)(ns % SECOND)};
	uint32_t *word = gy_control_request_word();

	gy_sys_futex_wait(word ? word : &background.unpaged, word ? seen : 0, &timeout,
			  word != NULL);
}

static void run(void)
{
	uint64_t sleep = SLEEP_LEAST_NS, last_ns = gy_now_ns(), active_ns = last_ns;
	uint64_t runs = 0, seen = 0;
	uint32_t tid = (uint32_t)gy_sys_gettid();

	gy_thread_cache_forbid();                    /* BG-3 */
	while (gy_native_thread_has_process_ids()) { /* BG-5 */
		uint32_t *word = gy_control_request_word();
		uint32_t request = word ? READ_RELAXED(*word) : 0;
		uint64_t now_ns = gy_now_ns(), work;
		bool idle_waits, more, recording;

		gy_control_set_background(tid, ++runs);
		WRITE_RELAXED(gy_heap_tick, (uint32_t)(now_ns / (GY_TICK_MS * MS)));
		gy_idle_take(now_ns, &idle_waits);
		gy_space_age(now_ns);
		gy_sync_pool_age(now_ns);
		more = gy_scavenger_step(now_ns - last_ns);
		last_ns = now_ns;
		recording = gy_events_need_follow() && gy_events_follow(false);
		work = activity();
		if (gy_control_is_asked() ||
		    (work != seen && now_ns - gy_control_published_ns() >= SECOND))
			gy_control_publish();
		/* Idle memory ages by the clock: a quiet heap needs few looks. */
		if (work != seen)
			active_ns = now_ns;
		if (more || work != seen || recording)
			sleep = SLEEP_LEAST_NS;
		else
			sleep = MIN(sleep * 2, idle_waits || now_ns - active_ns < AGING_NS
						       ? SLEEP_AGING_NS
						       : SLEEP_MOST_NS);
		seen = work;
		sleep_ns(sleep, request);
	}
	gy_control_set_background(0, runs);
	gy_lock_acquire(&background.lock);
	background.retry_ns = gy_now_ns() + SECOND; /* by then this stack is free for the next */
	WRITE_RELAXED(background.state, LEFT);
	gy_lock_release(&background.lock);
}

static void start_thread(void)
{
	bool start;
	int error;

	gy_lock_acquire(&background.lock);
	start = (background.state == NONE || background.state == LEFT) &&
		gy_now_ns() >= background.retry_ns;
	if (start)
		WRITE_RELAXED(background.state, STARTING);
	gy_lock_release(&background.lock);
	if (!start)
		return;
	gy_release_prepare();
	error = gy_native_thread_start(run);
	gy_lock_acquire(&background.lock);
	if (background.state == STARTING)
		WRITE_RELAXED(background.state, error ? NONE : RUNNING);
	background.retry_ns = gy_now_ns() + SECOND; /* BG-4 */
	gy_lock_release(&background.lock);
}

void gy_background_slow_path(uintptr_t caller_pc)
{
	uint32_t state = READ_RELAXED(background.state);
	uint64_t usable;

	if (likely(state == STARTING || state == RUNNING))
		return;
	usable = gy_page_heap_hugepage_count() * GY_HUGEPAGE_BYTES;
	if (gy_called_from_loader(caller_pc)) /* BG-2 */
		return;
	if (!gy_control_exists())
		gy_control_init();
	if (gy_option(GY_OPT_background) &&
	    (usable > gy_option(GY_OPT_background_start) || gy_events_need_follow())) {
		start_thread();
		return;
	}
	if (gy_control_is_asked() ||
	    (__atomic_add_fetch(&background.slow_paths, 1, __ATOMIC_RELAXED) % LOOK_EVERY == 0 &&
	     gy_now_ns() - gy_control_published_ns() > SMALL_PUBLISH_NS))
		gy_control_publish();
}

void gy_background_fork_prepare(void)
{
	gy_lock_acquire(&background.lock);
}

void gy_background_fork_parent(void)
{
	gy_lock_release(&background.lock);
}

void gy_background_fork_child(void)
{
	gy_lock_release(&background.lock);
	gy_lock_init(&background.lock, GY_RANK_background);
	background.state = NONE;
	background.retry_ns = 0;
	gy_native_thread_fork_child();
}
