/* cycle.c - the phases of a collection, in the order in which they happen.
 *
 * One thread of the library's own, the coordinator, runs every cycle from its start to the end of
 * its sweeping; it is made with the first request. Marking is done by it, by helpers (workers.c),
 * and by threads that allocate (assists). All others only ask, and wait if they want to.
 *
 *	sweep	what the last cycle left unswept (SPACE-6)
 *	pause	stop every thread (mutator/world.c); blacken what cursors have in hand (SPACE-3);
 *		raise gyre_gc_marking; scan the roots; let go. This is the snapshot.
 *	mark	until the markers run dry
 *	end	take the barriers' buffers, mark what was white in them; again, until a round brings
 *		nothing (BAR-3). No pause, and no thread is asked for anything.
 *	dispose	clear weak references; mark what finalisers need, and all that leads to; queue them
 *	flip	gy_gc_epoch, then gyre_gc_marking = 0, then blocks become unswept (SPACE-4, SPACE-7)
 *	sweep	in the background, behind the threads that allocate
 *
 * Why nothing reachable is lost: what was reachable at the snapshot is marked, for every store that
 * takes a pointer away shades it first (BAR-1) and roots need no barrier, having been read whole in
 * the pause; what is made after the snapshot is born black; nothing else can be reached. Yuasa,
 * "Real-time garbage collection on general-purpose machines" (1990).
 *
 * CYCLE-1  Phases change in the order of the header, by the coordinator alone, each change once a
 *          cycle.
 * CYCLE-2  `started` counts cycles that began, `finished` those that are swept or were given up; a
 *          caller of gy_cycle_run waits until `finished` reaches the number that `started` had,
 *          plus 1.
 * CYCLE-3  The cycle lock is held around the pause and around the flip: fork waits for these, and
 *          for nothing else. A child of a fork in the midst of marking drops the marks and is idle.
 * CYCLE-4  While the world is stopped nothing here takes a lock of the heap (BUSY-1).
 * CYCLE-5  A stop that fails gives the cycle up: nothing was marked. The next request tries again;
 *          the heap's own come after a while only (PACE-4).
 * CYCLE-6  `reason` outlives a coordinator that could not be made: each later request tries anew to
 *          make one, and it finds the reason. Who waits for a cycle waits for an outcome first.
 * CYCLE-7  The C library's setuid does not reach our threads (NATIVE-3). Before each cycle the
 *          coordinator looks whether it still has the process's user and group; if not, it ends,
 *          and its helpers with it, and a thread of the program's makes a new one.
 */
#include "gc/cycle.h"

#include "base/config.h"
#include "base/probe.h"
#include "gc/finalise.h"
#include "gc/mark.h"
#include "gc/pacer.h"
#include "gc/roots.h"
#include "gc/verify.h"
#include "gc/workers.h"
#include "heap/hooks.h"
#include "heap/thread_cache.h"
#include "os/native_thread.h"
#include "os/sys.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#define MARK_SLICE_BYTES ((size_t)1 << 20)
#define MARK_TURN_BYTES ((size_t)32 << 10) /* WORK-4: between two looks at the clock */
#define ALONE_WAIT_NS 200000u
#define SWEEP_SLICE_BLOCKS 64u
#define SWEEP_DELAY_NS 5000000ull /* let threads sweep what they need, hot in their caches */
#define ROOTS_RETRIES 8
#define NAP_NS 500000L

enum { NONE, STARTING, RUNNING };

uint32_t gyre_gc_marking GY_EXPORT;
uint32_t gy_gc_phase, gy_gc_epoch;

static struct {
	struct gy_lock lock; /* CYCLE-3 */
	uint32_t state;	     /* [atomic] futex: of the coordinator: NONE, STARTING, RUNNING */
	uint32_t requested;  /* [atomic] futex: somebody asks; counts up */
	uint32_t reason;     /* [atomic] enum gy_gc_reason of the request */
	uint32_t started;    /* [atomic] CYCLE-2 */
	uint32_t finished;   /* [atomic] futex; CYCLE-2 */
	uint32_t verify;     /* [atomic] verifications asked for */
	uint32_t verified;   /* [atomic] futex: done */
	uint32_t paused;     /* [atomic] depth of gy_cycle_pause */
	int error;	     /* [atomic] of the last finished cycle */
	long lost;	     /* [atomic] by the last verification */
	uint64_t slow_allocations;	  /* option gc_stress */
	uint64_t phase_ns;		  /* [coordinator] when this phase began */
	uint64_t sweep_from_ns;		  /* [coordinator] */
	uint32_t nappers;		  /* [atomic] asleep on gy_gc_phase */
	uint64_t assist_ns, assists;	  /* [atomic] since start */
	uint64_t assist_ns_at, shades_at; /* [coordinator] at the cycle's start */
	uint64_t assists_at, cpu_at;
	struct gyre_gc_stats stats; /* [atomic: relaxed, written by the coordinator] */
} cycle = {.lock = GY_LOCK_INIT(GY_RANK_cycle)};

static void wake_all(uint32_t *word)
{
	__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
	gy_sys_futex_wake(word, INT32_MAX, false);
}

static void enter(enum gy_gc_phase phase)
{
	uint64_t now = gy_now_ns();

	GY_PROBE_FIRE(gc_phase, READ_RELAXED(cycle.started), phase, now - cycle.phase_ns);
	cycle.phase_ns = now;
	__atomic_store_n(&gy_gc_phase, phase, __ATOMIC_SEQ_CST);
	if (READ_RELAXED(cycle.nappers))
		gy_sys_futex_wake(&gy_gc_phase, INT32_MAX, false);
}

GY_COLD void gy_gc_step_slow(void)
{
	static uint64_t state = 88172645463325252ull;
	uint64_t x = READ_RELAXED(state);
	struct timespec time = {0, 0};
	uint32_t never = 0;

	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	WRITE_RELAXED(state, x);
	time.tv_nsec = (long)(x % (gy_option(GY_OPT_gc_delay) * 1000 + 1));
	gy_sys_futex_wait(&never, 0, &time, false);
}

/* ------------------------------------------------------------------ the pause */

static void stop_stats(const struct gy_world_report *report, uint64_t pause_ns)
{
	struct gyre_gc_stats *stats = &cycle.stats;
	struct gy_root_stats roots;

	gy_roots_read_stats(&roots);
	WRITE_RELAXED(stats->pause_last_ns, pause_ns);
	WRITE_RELAXED(stats->pause_total_ns, stats->pause_total_ns + pause_ns);
	WRITE_RELAXED(stats->pause_max_ns, MAX(stats->pause_max_ns, pause_ns));
	WRITE_RELAXED(stats->stack_bytes, roots.stack_bytes);
	WRITE_RELAXED(stats->root_bytes, roots.root_bytes);
	WRITE_RELAXED(stats->threads_stopped, report->stopped);
	WRITE_RELAXED(stats->threads_blocked, report->blocked);
	GY_PROBE_FIRE(gc_pause_end, READ_RELAXED(cycle.started), 0, pause_ns, report->stopped,
		      report->blocked, roots.root_bytes + roots.stack_bytes, report->stop_ns);
}

/* The world is stopped. */
static void snapshot(struct gy_marker *marker)
{
	for (struct gy_mutator *at = gy_mutators; at; at = at->next)
		gy_space_thread_begin_cycle(container_of(at, struct gy_gc_thread, mutator));
	gy_barrier_begin_cycle();
	gy_pacer_began();
	gy_cycle_hooks.paused();
	enter(GY_GC_MARKING);
	__atomic_store_n(&gyre_gc_marking, gy_gc_epoch + 1, __ATOMIC_SEQ_CST);
	gy_workers_roots(true);
	gy_roots_scan(marker);
	gy_workers_roots(false); /* all pieces are scanned */
}

/* One try: 0, -EAGAIN (a library was loaded meanwhile), or why the world did not stop. */
static int try_pause(struct gy_marker *marker)
{
	struct gy_world_report report = {0};
	uint64_t end_ns;
	int error = gy_roots_prepare();

	if (error)
		return error;
	gy_lock_acquire(&cycle.lock); /* CYCLE-3 */
	gy_workers_expect();
	GY_PROBE2(gc_pause_begin, READ_RELAXED(cycle.started), 0);
	error = gy_world_stop_briefly(&report);
	if (!error) {
		gy_gc_step();
		if (gy_roots_freeze(0))
			snapshot(marker);
		else
			error = -EAGAIN;
		end_ns = gy_now_ns(); /* once let go, they may take this thread's processor */
		gy_world_start();
		stop_stats(&report, end_ns - report.begin_ns);
	}
	gy_lock_release(&cycle.lock);
	return error;
}

static int pause_world(struct gy_marker *marker)
{
	int error = -EAGAIN;

	for (unsigned i = 0; error == -EAGAIN && i < ROOTS_RETRIES; i++)
		error = try_pause(marker);
	return error;
}

/* ------------------------------------------------------------------ marking */

/* Those that were given back are kept: there is one. */
static struct gy_marker *take_marker(void)
{
	struct gy_marker *marker;

	while (!(marker = gy_marker_take()))
		sched_yield();
	return marker;
}

/* WORK-4. Who naps has lain down for the markers' sake. */
static void make_way(struct gy_marker **marker)
{
	if (likely(!gy_workers_turn_is_over()) || READ_RELAXED(cycle.nappers))
		return;
	gy_marker_give(*marker);
	gy_workers_rest();
	*marker = take_marker();
}

static void sweep_all(void)
{
	while (gy_space_sweep_some(SWEEP_SLICE_BLOCKS))
		if (gy_workers_turn_is_over())
			gy_workers_rest();
	gy_space_sweep_all();
}

/* Marks until no marker has work; *marker is given and taken anew on the way. */
static void mark_until_dry(struct gy_marker **marker)
{
	size_t slice = gy_workers_alone() ? MARK_TURN_BYTES : MARK_SLICE_BYTES;
	unsigned idle = 0;

	gy_workers_mark(true);
	for (;;) {
		size_t scanned = gy_mark_drain(*marker, slice);
		bool dry = false;

		gy_pacer_worked(scanned);
		gy_gc_step();
		if (scanned) {
			idle = 0;
			make_way(marker);
			continue;
		}
		gy_marker_give(*marker);
		dry = gy_mark_idle();
		*marker = take_marker();
		if (dry)
			return;
		/* Others are busy, and may share soon. */
		if (gy_workers_alone())
			gy_mark_wait(ALONE_WAIT_NS);
		else if (++idle < 64)
			__builtin_ia32_pause();
		else
			sched_yield();
	}
}

/* BAR-3 */
static void end_marking(struct gy_marker **marker)
{
	enter(GY_GC_ENDING);
	gy_gc_step();
	gy_weak_close(); /* what weak references have yielded is in the buffers now */
	while (!gy_barrier_terminate(*marker)) {
		gy_weak_open();
		mark_until_dry(marker);
		gy_gc_step();
		gy_weak_close();
	}
}

static void dispose(struct gy_marker **marker)
{
	gy_gc_step();
	if (gy_finalise_process(*marker))
		mark_until_dry(marker);
	gy_workers_mark(false);
}

/* ------------------------------------------------------------------ flip, sweep */

static void flip(uint64_t begin_ns)
{
	struct gyre_gc_stats *stats = &cycle.stats;
	struct gy_mark_stats marked;
	struct gy_pace pace;
	uint64_t inuse, now;

	gy_lock_acquire(&cycle.lock); /* CYCLE-3 */
	gy_mark_read_stats(&marked);
	gy_pacer_read(&pace);
	inuse = pace.inuse_bytes;
	gy_gc_step();
	/* SPACE-7: in this order. */
	__atomic_store_n(&gy_gc_epoch, gy_gc_epoch + 1, __ATOMIC_SEQ_CST);
	gy_gc_step();
	__atomic_store_n(&gyre_gc_marking, 0, __ATOMIC_SEQ_CST);
	gy_gc_step();
	gy_space_flip(gy_gc_epoch);
	enter(GY_GC_SWEEPING);
	gy_lock_release(&cycle.lock);

	now = gy_now_ns();
	gy_pacer_ended(marked.marked_bytes, marked.scanned_bytes, now - begin_ns);
	gy_pacer_read(&pace);
	WRITE_RELAXED(stats->cycles, stats->cycles + 1);
	WRITE_RELAXED(stats->heap_live_bytes, pace.live_bytes);
	WRITE_RELAXED(stats->mark_bytes, marked.scanned_bytes);
	WRITE_RELAXED(stats->mark_total_ns, stats->mark_total_ns + (now - begin_ns));
	WRITE_RELAXED(stats->mark_cpu_ns, gy_workers_cpu_ns());
	GY_PROBE_FIRE(gc_pace, READ_RELAXED(cycle.started), pace.goal_bytes, pace.trigger_bytes,
		      pace.live_bytes, pace.inuse_bytes,
		      pace.goal_bytes * 1000 / MAX(pace.inuse_bytes, 1ull), pace.limit_bytes);
	GY_PROBE_FIRE(gc_cycle_end, READ_RELAXED(cycle.started), now - begin_ns, pace.live_bytes,
		      marked.scanned_bytes, stats->pause_last_ns,
		      READ_RELAXED(cycle.assist_ns) - cycle.assist_ns_at,
		      gy_workers_cpu_ns() - cycle.cpu_at, inuse,
		      READ_RELAXED(cycle.assists) - cycle.assists_at,
		      gy_barrier_shades() - cycle.shades_at, 0);
}

static bool is_asked(void)
{
	uint32_t reason = __atomic_load_n(&cycle.reason, __ATOMIC_SEQ_CST);

	/* gy_cycle_pause does not hold up those that were asked for. */
	return reason == GY_GC_FORCED ||
	       (reason != UINT32_MAX && !__atomic_load_n(&cycle.paused, __ATOMIC_SEQ_CST));
}

static bool sweep_step(void)
{
	if (gy_now_ns() < cycle.sweep_from_ns && !is_asked())
		return true;
	return gy_space_sweep_some(SWEEP_SLICE_BLOCKS);
}

/* ------------------------------------------------------------------ a cycle */

static int run_cycle(enum gy_gc_reason reason)
{
	struct gy_pace pace;
	struct gy_marker *marker = gy_marker_take();
	uint64_t begin_ns;
	int error;

	if (!marker)
		return -ENOMEM;
	gy_gc_threads_reap();
	sweep_all(); /* SPACE-6 */
	gy_mark_begin();
	begin_ns = gy_now_ns();
	gy_pacer_read(&pace);
	cycle.assist_ns_at = READ_RELAXED(cycle.assist_ns);
	cycle.assists_at = READ_RELAXED(cycle.assists);
	cycle.shades_at = gy_barrier_shades();
	cycle.cpu_at = gy_workers_cpu_ns();
	GY_PROBE_FIRE(gc_cycle_begin, READ_RELAXED(cycle.started), reason, pace.inuse_bytes,
		      pace.goal_bytes, pace.live_bytes);
	gy_gc_step();
	error = pause_world(marker);
	if (error) {
		WRITE_RELAXED(cycle.stats.failed_stops, cycle.stats.failed_stops + 1);
		GY_PROBE_FIRE(gc_cycle_end, READ_RELAXED(cycle.started), 0, pace.live_bytes, 0, 0,
			      0, 0, pace.inuse_bytes, 0, 0, (uint32_t)-error);
		gy_workers_mark(false);
		gy_marker_give(marker);
		gy_pacer_failed(gy_now_ns() - begin_ns);
		return error;
	}
	gy_finalise_scan_roots(marker); /* FIN-5: after the pause */
	gy_cycle_hooks.roots(marker);
	mark_until_dry(&marker);
	end_marking(&marker);
	dispose(&marker);
	gy_marker_give(marker);
	if (reason == GY_GC_FORCED)
		WRITE_RELAXED(cycle.stats.cycles_forced, cycle.stats.cycles_forced + 1);
	flip(begin_ns);
	gy_cycle_hooks.ended();
	gy_finalise_queue_run();
	return 0;
}

static long verify_world(void)
{
	uint64_t begin_ns = gy_now_ns();
	long lost;

	GY_PROBE2(gc_pause_begin, READ_RELAXED(cycle.started), 1);
	lost = gy_verify();
	GY_PROBE_FIRE(gc_pause_end, READ_RELAXED(cycle.started), 1, gy_now_ns() - begin_ns, 0, 0, 0,
		      0);
	return lost;
}

static void serve(enum gy_gc_reason reason)
{
	int error;

	__atomic_fetch_add(&cycle.started, 1, __ATOMIC_SEQ_CST);
	error = run_cycle(reason);
	cycle.sweep_from_ns = gy_now_ns() + SWEEP_DELAY_NS;
	/* Before the sweep: what is lost is still as it was (gc/verify.c). */
	if (gy_option(GY_OPT_gc_verify) ||
	    READ_RELAXED(cycle.verify) != READ_RELAXED(cycle.verified)) {
		uint32_t asked = READ_RELAXED(cycle.verify);
		long lost = error ? -1 : verify_world();

		CHECK(lost <= 0 || !gy_option(GY_OPT_gc_verify));
		WRITE_RELAXED(cycle.lost, lost);
		__atomic_store_n(&cycle.verified, asked, __ATOMIC_SEQ_CST);
		gy_sys_futex_wake(&cycle.verified, INT32_MAX, false);
	}
	if (reason == GY_GC_FORCED)
		sweep_all();
	__atomic_store_n(&cycle.error, error, __ATOMIC_SEQ_CST);
	wake_all(&cycle.finished);
}

/* Who asked for the heap's sake may have looked at it just before the last flip. */
static bool is_still_due(enum gy_gc_reason reason)
{
	bool limited;

	return (reason != GY_GC_HEAP && reason != GY_GC_LIMIT) || gy_pacer_is_due(&limited);
}

/* CYCLE-7. The reason stays: the next coordinator finds it. */
static void leave(void)
{
	gy_workers_end();
	__atomic_store_n(&cycle.error, -ESTALE, __ATOMIC_SEQ_CST);
	__atomic_store_n(&cycle.state, NONE, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&cycle.started, 1, __ATOMIC_SEQ_CST);
	wake_all(&cycle.finished);
}

static void coordinator(void *unused)
{
	(void)unused;
	gy_thread_cache_forbid();
	gy_workers_join();
	cycle.phase_ns = gy_now_ns();
	for (;;) {
		uint32_t requested = __atomic_load_n(&cycle.requested, __ATOMIC_SEQ_CST);

		gy_workers_account();
		if (is_asked() && !gy_native_thread_has_process_ids()) {
			leave();
			return;
		}
		if (is_asked()) {
			enum gy_gc_reason reason = (enum gy_gc_reason)__atomic_exchange_n(
				&cycle.reason, UINT32_MAX, __ATOMIC_SEQ_CST);

			if (is_still_due(reason))
				serve(reason);
			continue;
		}
		if (READ_RELAXED(gy_gc_phase) == GY_GC_SWEEPING) {
			struct timespec brief = {0, (long)SWEEP_DELAY_NS};

			if (!sweep_step())
				enter(GY_GC_IDLE);
			else if (gy_workers_turn_is_over())
				gy_workers_rest();
			else if (gy_now_ns() < cycle.sweep_from_ns)
				gy_sys_futex_wait(&cycle.requested, requested, &brief, false);
			continue;
		}
		gy_sys_futex_wait(&cycle.requested, requested, NULL, false);
	}
}

static bool is_running(void)
{
	return likely(__atomic_load_n(&cycle.state, __ATOMIC_ACQUIRE) == RUNNING);
}

/* The first request makes the coordinator; 0, -errno, or -EINPROGRESS: another thread is about to,
 * and may fail. */
static int start_coordinator(void)
{
	uint32_t none = NONE;
	int error;

	if (is_running())
		return 0;
	if (!__atomic_compare_exchange_n(&cycle.state, &none, STARTING, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return none == RUNNING ? 0 : -EINPROGRESS;
	error = gy_native_thread_start_arg(coordinator, NULL);
	__atomic_store_n(&cycle.state, error ? NONE : RUNNING, __ATOMIC_SEQ_CST);
	gy_sys_futex_wake(&cycle.state, INT32_MAX, false);
	return error;
}

/* For who will wait for a cycle: CYCLE-6. */
static int ensure_coordinator(void)
{
	int error;

	while ((error = start_coordinator()) == -EINPROGRESS)
		gy_sys_futex_wait(&cycle.state, STARTING, NULL, false);
	return error;
}

void gy_cycle_request(enum gy_gc_reason reason)
{
	uint32_t none = UINT32_MAX;
	int error;

	if (!gy_gc_started())
		return;
	if (reason == GY_GC_FORCED) /* also while another reason waits for gy_cycle_pause's end */
		__atomic_store_n(&cycle.reason, reason, __ATOMIC_SEQ_CST);
	else if (READ_RELAXED(cycle.reason) != none ||
		 !__atomic_compare_exchange_n(&cycle.reason, &none, reason, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST)) {
		if (is_running())
			return; /* asked for already */
	}
	error = start_coordinator(); /* CYCLE-6 */
	if (!error || error == -EINPROGRESS)
		wake_all(&cycle.requested);
}

/* Waits until *word, which counts up, is at least `value`. */
static void wait_for(uint32_t *word, uint32_t value)
{
	struct gy_gc_thread *thread = gy_gc_self;

	if (thread)
		gy_blocking_begin(&thread->mutator);
	for (;;) {
		uint32_t now = __atomic_load_n(word, __ATOMIC_SEQ_CST);

		if ((int32_t)(now - value) >= 0)
			break;
		gy_sys_futex_wait(word, now, NULL, false);
	}
	if (thread)
		gy_blocking_end(&thread->mutator);
}

int gy_cycle_run(void)
{
	int error;

	do {
		uint32_t number;

		error = ensure_coordinator();
		if (error)
			return error;
		number = __atomic_load_n(&cycle.started, __ATOMIC_SEQ_CST) + 1; /* CYCLE-2 */
		__atomic_store_n(&cycle.reason, GY_GC_FORCED, __ATOMIC_SEQ_CST);
		wake_all(&cycle.requested);
		wait_for(&cycle.finished, number);
		error = __atomic_load_n(&cycle.error, __ATOMIC_SEQ_CST);
	} while (error == -ESTALE); /* CYCLE-7 */
	return error;
}

long gy_cycle_verify(void)
{
	uint32_t asked = __atomic_add_fetch(&cycle.verify, 1, __ATOMIC_SEQ_CST);
	int error = gy_cycle_run();

	if (error)
		return -1;
	wait_for(&cycle.verified, asked);
	return READ_RELAXED(cycle.lost);
}

void gy_cycle_pause(bool more)
{
	if (more)
		__atomic_fetch_add(&cycle.paused, 1, __ATOMIC_SEQ_CST);
	else if (__atomic_sub_fetch(&cycle.paused, 1, __ATOMIC_SEQ_CST) == 0)
		wake_all(&cycle.requested);
}

int gy_cycle_set_percent(int percent)
{
	return gy_pacer_set_percent(percent);
}

uint64_t gy_cycle_set_memory_limit(uint64_t bytes)
{
	return gy_pacer_set_limit(bytes);
}

/* ------------------------------------------------------------------ threads that allocate */

static void assist(struct gy_gc_thread *thread, size_t owed)
{
	struct gy_marker *marker = gy_marker_take();
	uint64_t begin_ns = gy_now_ns(), ns;
	size_t scanned;

	if (!marker)
		return;
	scanned = gy_mark_drain(marker, owed);
	gy_marker_give(marker);
	ns = gy_now_ns() - begin_ns;
	/* No work to be had: others have it all, and bring it to its end. */
	thread->assist_credit += scanned ? (int64_t)scanned : (int64_t)owed;
	if (!scanned)
		return;
	ADD_RELAXED(cycle.assist_ns, ns);
	ADD_RELAXED(cycle.assists, 1);
	GY_PROBE2(gc_assist, scanned, ns);
}

/* Lets the markers have the processor, until the phase changes or for NAP_NS. */
static GY_NOINLINE void nap(struct gy_gc_thread *thread, uint32_t phase)
{
	struct timespec time = {0, NAP_NS};

	ADD_RELAXED(cycle.nappers, 1);
	gy_blocking_begin(&thread->mutator);
	gy_sys_futex_wait(&gy_gc_phase, phase, &time, false);
	gy_blocking_end(&thread->mutator);
	SUB_RELAXED(cycle.nappers, 1);
}

void gy_cycle_allocated(struct gy_gc_thread *thread, size_t bytes)
{
	uint64_t every = gy_option(GY_OPT_gc_stress);
	uint32_t phase = READ_RELAXED(gy_gc_phase);
	bool limited;

	/* As any slow path of the heap's: the control page, the background thread. */
	gy_heap_hooks.slow_path((uintptr_t)__builtin_return_address(0));
	if (unlikely(every) &&
	    __atomic_add_fetch(&cycle.slow_allocations, 1, __ATOMIC_RELAXED) % every == 0)
		gy_cycle_request(GY_GC_STRESS);
	if (phase == GY_GC_MARKING || phase == GY_GC_ENDING) {
		size_t owed = gy_option(GY_OPT_gc_assist)
				      ? gy_pacer_owes(&thread->assist_credit, bytes)
				      : 0;

		if (owed && phase == GY_GC_MARKING)
			assist(thread, owed);
		if (unlikely(gy_pacer_is_overrun()))
			nap(thread, phase);
		return;
	}
	if (unlikely(gy_pacer_is_due(&limited))) {
		gy_cycle_request(limited ? GY_GC_LIMIT : GY_GC_HEAP);
		if (unlikely(gy_pacer_is_overrun()) && !limited && !READ_RELAXED(cycle.paused))
			nap(thread, phase);
	}
}

/* ------------------------------------------------------------------ numbers, fork */

void gy_cycle_read_stats(struct gyre_gc_stats *stats)
{
	const uint64_t *from = (const uint64_t *)(const void *)&cycle.stats;
	uint64_t *to = (uint64_t *)(void *)stats;
	struct gy_space_stats space;
	struct gy_pace pace;

	for (size_t i = 0; i < sizeof(*stats) / sizeof(*to); i++)
		to[i] = READ_RELAXED(from[i]);
	if (!gy_gc_started())
		return;
	gy_pacer_read(&pace);
	gy_space_read_stats(&space);
	stats->heap_inuse_bytes = pace.inuse_bytes;
	stats->heap_goal_bytes = pace.goal_bytes;
	stats->heap_trigger_bytes = pace.trigger_bytes;
	stats->percent = pace.percent;
	stats->workers = gy_workers_count();
	stats->heap_growth_rate =
		pace.inuse_bytes ? (double)pace.goal_bytes / (double)pace.inuse_bytes : 0;
	stats->memory_limit_bytes = pace.limit_bytes;
	stats->heap_span_bytes = space.span_bytes;
	stats->objects_allocated = space.objects_allocated;
	stats->bytes_allocated = space.bytes_allocated;
	stats->bytes_freed = space.bytes_freed;
	stats->assist_ns = READ_RELAXED(cycle.assist_ns);
	stats->assists = READ_RELAXED(cycle.assists);
	stats->barrier_shades = gy_barrier_shades();
	stats->weak_cleared = gy_weak_cleared_count();
	stats->finalisers_run = gy_finalise_count();
	stats->phase = READ_RELAXED(gy_gc_phase);
}

int gy_cycle_init(void)
{
	cycle.reason = UINT32_MAX;
	gy_pacer_init();
	return 0;
}

void gy_cycle_hold(void)
{
	gy_lock_acquire(&cycle.lock);
}

void gy_cycle_let_go(void)
{
	gy_lock_release(&cycle.lock);
}

void gy_cycle_fork_prepare(void)
{
	gy_cycle_hold();
}

void gy_cycle_fork_prepare_rest(void)
{
	gy_finalise_fork_prepare();
	gy_world_fork_prepare();
	gy_roots_fork_prepare();
	gy_space_fork_prepare_table();
	gy_pacer_fork_prepare();
	gy_mark_fork_prepare();
	gy_space_fork_prepare();
}

void gy_cycle_fork_parent_rest(void)
{
	gy_space_fork_parent();
	gy_mark_fork_parent();
	gy_pacer_fork_parent();
	gy_space_fork_parent_table();
	gy_roots_fork_parent();
	gy_world_fork_parent();
	gy_finalise_fork_parent();
}

void gy_cycle_fork_parent(void)
{
	gy_cycle_let_go();
}

static void drop_marks(size_t block, void *unused)
{
	(void)unused;
	gy_marks_clear(block, gy_gc_pages[block].bit_words);
	gy_gc_pages[block].queued = 0;
}

/* The forking thread is alone: no coordinator, no helpers; CYCLE-3. What other threads had in hand
 * goes back, as at their end. */
void gy_cycle_fork_child(void)
{
	bool marking = gy_gc_phase == GY_GC_MARKING || gy_gc_phase == GY_GC_ENDING;

	gyre_gc_marking = 0;
	if (marking)
		gy_gc_phase = GY_GC_IDLE;
	cycle.state = NONE;
	cycle.reason = UINT32_MAX;
	cycle.finished = cycle.started;
	gy_workers_fork_child();
	gy_mark_fork_child();
	gy_barrier_fork_child();
	gy_roots_fork_child();
	gy_layout_fork_child();
	gy_pacer_fork_child();
	gy_space_fork_child();
	for (struct gy_mutator *at = gy_mutators; at; at = at->next) {
		struct gy_gc_thread *thread = container_of(at, struct gy_gc_thread, mutator);

		gy_lock_init(&thread->barrier.lock, GY_RANK_barrier);
		if (thread != gy_gc_self)
			gy_space_thread_end(thread);
	}
	if (marking)
		gy_space_each_block(drop_marks, NULL);
	gy_world_fork_child();
	gy_gc_thread_fork_child();
	gy_finalise_fork_child();
	gy_lock_init(&cycle.lock, GY_RANK_cycle);
}
