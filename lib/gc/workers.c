/* workers.c - helpers of the coordinator: more threads that mark.
 *
 * The collector's share of the machine is a quarter of the CPUs, the coordinator included (option
 * gc_workers). Beyond that there is one helper for every other CPU, up to HELPERS_MOST, which works
 * only where it is not in anybody's way: it marks in slices, and when the slice took much more time
 * than CPU time, somebody else wanted that CPU: it leaves its work to the others and sleeps a
 * while. (A lower priority would serve worse: a starved helper with a block in hand holds up the
 * whole cycle, and an unprivileged thread may not raise its priority again.)
 *
 * Where the coordinator has one processor, the program's threads have no other, and the scheduler
 * would let them wait for whole slices of it: 4 ms and more at 250 Hz. So there it works in turns
 * of TURN_NS, and lies down for REST_NS after each: woken amid somebody's slice it mostly waits for
 * that slice's end, and its share comes to about the quarter that is its due. What that leaves
 * undone in time, threads that allocate do bit by bit (assists), and the naps of pacer.c see to it
 * that memory does not run away. A rest that nobody used was one too many, and the next ones are
 * left out: a thread that waits for its cycle waits for nothing else.
 *
 * WORK-1  A helper that sleeps, or waits, has given its marker back: it holds no grey object.
 * WORK-2  job counts up with every change of `kind`; a helper acts on the kind it reads after job.
 * WORK-3  gy_workers_roots(false) returns after every helper that took a root piece has scanned it:
 *         `scanning` is raised before the kind is read again.
 * WORK-4  With one processor there is nobody to help: helpers are not called, whether they were
 *         made (the affinity may change) or not. Before a rest the coordinator gives its marker
 *         back, so that assists find what it had in hand.
 */
#include "gc/workers.h"

#include "base/config.h"
#include "gc/cycle.h"
#include "gc/mark.h"
#include "gc/pacer.h"
#include "gc/roots.h"
#include "heap/thread_cache.h"
#include "os/native_thread.h"
#include "os/sys.h"

#include <sched.h>
#include <time.h>

#define HELPERS_MOST 16u
#define SLICE_BYTES ((size_t)256 << 10)
#define BACK_OFF_NS 4000000L
#define ROOTS_WORTH_BYTES (2u << 20) /* a helper is awake after what the scan of 1 MiB takes */
#define IDLE_SPINS 200u
#define IDLE_WAIT_NS 100000L
#define TURN_NS 700000u /* WORK-4 */
#define REST_NS 1000000L
#define REST_LATE_NS 300000L
#define RESTS_LEFT_OUT_MOST 31u

enum { JOB_NONE, JOB_ROOTS, JOB_MARK, JOB_END };

static struct {
	uint32_t job;	   /* [atomic] futex; WORK-2 */
	uint32_t kind;	   /* [atomic] JOB_* */
	uint32_t scanning; /* [atomic] helpers inside gy_roots_scan; WORK-3 */
	uint32_t alive;    /* [atomic] helpers that have not ended; futex: gy_workers_end */
	uint32_t helpers, dedicated; /* [coordinator] made; of these, to work whatever else runs */
	bool tried;
	bool alone;      /* [coordinator] WORK-4 */
	uint64_t cpu_ns; /* [atomic] */
} workers;

/* [coordinator] WORK-4 */
static struct {
	uint64_t since_ns; /* the turn's begin */
	uint32_t leave_out, vain;
} turn;

static __thread uint64_t cpu_seen_ns;

static uint64_t cpu_ns(clockid_t whose)
{
	struct timespec time;

	clock_gettime(whose, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t thread_cpu_ns(void)
{
	return cpu_ns(CLOCK_THREAD_CPUTIME_ID);
}

void gy_workers_account(void)
{
	uint64_t now = thread_cpu_ns();

	ADD_RELAXED(workers.cpu_ns, now - cpu_seen_ns);
	cpu_seen_ns = now;
}

unsigned gy_workers_count(void)
{
	return 1 + READ_RELAXED(workers.helpers);
}

uint64_t gy_workers_cpu_ns(void)
{
	return READ_RELAXED(workers.cpu_ns);
}

static void sleep_ns(long ns)
{
	struct timespec time = {0, ns};
	uint32_t never = 0;

	gy_sys_futex_wait(&never, 0, &time, false);
}

static void announce(uint32_t kind)
{
	__atomic_store_n(&workers.kind, kind, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&workers.job, 1, __ATOMIC_SEQ_CST);
	gy_sys_futex_wake(&workers.job, INT32_MAX, false);
}

static void help_scan(void)
{
	struct gy_marker *marker;

	__atomic_fetch_add(&workers.scanning, 1, __ATOMIC_SEQ_CST); /* WORK-3 */
	if (__atomic_load_n(&workers.kind, __ATOMIC_SEQ_CST) == JOB_ROOTS) {
		marker = gy_marker_take();
		if (marker) {
			gy_roots_scan(marker);
			gy_marker_give(marker);
		}
	}
	__atomic_fetch_sub(&workers.scanning, 1, __ATOMIC_SEQ_CST);
}

/* One slice; false: no work was there. */
static bool help_mark_once(bool dedicated)
{
	uint64_t wall_ns = gy_now_ns(), cpu_ns = thread_cpu_ns();
	struct gy_marker *marker = gy_marker_take();
	size_t scanned;

	if (!marker)
		return false;
	scanned = gy_mark_drain(marker, SLICE_BYTES);
	gy_marker_give(marker); /* WORK-1 */
	gy_pacer_worked(scanned);
	if (!scanned)
		return false;
	wall_ns = gy_now_ns() - wall_ns;
	cpu_ns = thread_cpu_ns() - cpu_ns;
	if (!dedicated && wall_ns > cpu_ns + cpu_ns / 4 + 50000)
		sleep_ns(BACK_OFF_NS);
	return true;
}

static void help_mark(bool dedicated)
{
	unsigned idle = 0;

	while (__atomic_load_n(&workers.kind, __ATOMIC_SEQ_CST) == JOB_MARK) {
		if (gy_mark_has_work() && help_mark_once(dedicated)) {
			idle = 0;
			continue;
		}
		if (++idle < IDLE_SPINS)
			__builtin_ia32_pause();
		else
			sleep_ns(IDLE_WAIT_NS);
	}
}

static void helper(void *argument)
{
	bool dedicated = argument != NULL;
	uint32_t seen = 0;

	gy_workers_join();
	for (;;) {
		uint32_t job = __atomic_load_n(&workers.job, __ATOMIC_SEQ_CST);
		uint32_t kind = __atomic_load_n(&workers.kind, __ATOMIC_SEQ_CST);

		if (kind == JOB_ROOTS && job != seen)
			help_scan();
		else if (kind == JOB_MARK)
			help_mark(dedicated);
		seen = job;
		gy_workers_account();
		if (kind == JOB_END)
			break;
		gy_sys_futex_wait(&workers.job, job, NULL, false);
	}
	__atomic_fetch_sub(&workers.alive, 1, __ATOMIC_SEQ_CST);
	gy_sys_futex_wake(&workers.alive, 1, false);
}

void gy_workers_end(void)
{
	uint32_t alive;

	announce(JOB_END);
	while ((alive = __atomic_load_n(&workers.alive, __ATOMIC_SEQ_CST)))
		gy_sys_futex_wait(&workers.alive, alive, NULL, false);
	__atomic_store_n(&workers.kind, JOB_NONE, __ATOMIC_SEQ_CST);
	WRITE_RELAXED(workers.helpers, 0);
	workers.tried = false;
}

void gy_workers_join(void)
{
	gy_thread_cache_forbid();
	cpu_seen_ns = thread_cpu_ns();
}

/* That this thread may run on, and those that it starts. */
static long allowed_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set)) /* more than the set has room for */
		return CPU_SETSIZE;
	return CPU_COUNT(&set);
}

static void start_helpers(long cpus)
{
	uint64_t share = gy_option(GY_OPT_gc_workers), most;

	workers.tried = true;
	if (!share)
		share = (uint64_t)MAX(cpus / 4, 1);
	most = MAX(share, (uint64_t)MAX(cpus, 1));
	if (gy_option(GY_OPT_gc_workers))
		most = share; /* asked for: so many, and no more */
	for (uint64_t i = 1; i < MIN(most, (uint64_t)HELPERS_MOST); i++) {
		__atomic_fetch_add(&workers.alive, 1, __ATOMIC_SEQ_CST);
		if (!gy_native_thread_start_arg(helper, i < share ? &workers : NULL))
			ADD_RELAXED(workers.helpers, 1);
		else
			__atomic_fetch_sub(&workers.alive, 1, __ATOMIC_SEQ_CST);
	}
}

void gy_workers_expect(void)
{
	long cpus = allowed_cpus();

	workers.alone = cpus == 1 && gy_option(GY_OPT_gc_workers) <= 1;
	if (!workers.tried && !workers.alone)
		start_helpers(cpus);
}

bool gy_workers_alone(void)
{
	return workers.alone;
}

bool gy_workers_turn_is_over(void)
{
	uint64_t now_ns;

	if (likely(!workers.alone))
		return false;
	now_ns = gy_now_ns();
	if (now_ns - turn.since_ns < TURN_NS)
		return false;
	if (!turn.leave_out)
		return true;
	turn.leave_out--;
	turn.since_ns = now_ns;
	return false;
}

void gy_workers_rest(void)
{
	uint64_t used_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID), begin_ns = gy_now_ns();
	bool waited; /* for a processor: others run, and ours may be waiting behind them */

	sleep_ns(REST_NS);
	turn.since_ns = gy_now_ns();
	waited = turn.since_ns - begin_ns > REST_NS + REST_LATE_NS;
	used_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - used_ns;
	if (waited || used_ns >= REST_NS / 2)
		turn.vain = 0;
	else
		turn.vain = MIN(turn.vain * 2 + 1, RESTS_LEFT_OUT_MOST);
	turn.leave_out = turn.vain;
}

void gy_workers_roots(bool on)
{
	struct gy_root_stats roots;

	if (!workers.helpers || workers.alone)
		return;
	if (on) {
		gy_roots_read_stats(&roots); /* of the pause before this */
		if (roots.stack_bytes + roots.root_bytes >= ROOTS_WORTH_BYTES)
			announce(JOB_ROOTS);
		return;
	}
	__atomic_store_n(&workers.kind, JOB_NONE, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&workers.scanning, __ATOMIC_SEQ_CST))
		__builtin_ia32_pause();
}

void gy_workers_mark(bool on)
{
	uint32_t kind = on && !workers.alone ? JOB_MARK : JOB_NONE;

	if (READ_RELAXED(workers.kind) != kind && workers.helpers)
		announce(kind);
	gy_workers_account();
}

void gy_workers_fork_child(void)
{
	workers.helpers = 0;
	workers.alive = 0;
	workers.tried = false;
	workers.kind = JOB_NONE;
	workers.scanning = 0;
}
