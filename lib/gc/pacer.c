/* pacer.c - when a cycle starts, and who does its work.
 *
 * After Go's pacer (Clements, Knyszek: "GC pacer redesign", 2021), with fewer terms:
 *
 *	live      goal-runway  goal
 *	 |------------|----------|---->  bytes in objects
 *	              trigger    marking should be done
 *
 *	goal    = live * (1 + percent / 100), not below the minimum, not above what the memory limit
 *	          leaves for objects (then it comes sooner, but see PACE-3)
 *	runway  = what was allocated while the last cycles marked, and a quarter more
 *	trigger = goal - runway, but not before 4 tenths of the way from live to goal
 *
 * Percent is 75 where nobody says otherwise (Go: 100). Of a cache service of 350 MiB, 4 million
 * replacements, median of interleaved rounds: percent 100 1.8 s and 790 MiB, 75 1.5 s and 710 MiB,
 * 60 1.7 s and 690 MiB: what fewer cycles save goes into pages that are new.
 *
 * While a cycle marks, memory that a thread takes costs it work, but not before half of what is
 * left until the goal was taken: most cycles are over by then, and an assist is what the slowest of
 * a thousand requests would be waiting for. From there on: twice the scan work / the memory that
 * was left at the start, per byte. Workers pay first: what they scan, from the start on, is a
 * common credit from which threads draw; only when it is used up does a thread mark by itself (an
 * assist), in slices of at most ASSIST_MOST_BYTES, so that no allocation waits long.
 *
 * Where that is not enough, because the markers wait for a processor that allocating threads use,
 * or hold all the work there is, these take short naps in their slow paths once the heap is past
 * its goal (gy_pacer_is_overrun): so the markers get on, and memory stays near the goal.
 *
 * PACE-1  Memory in use = live + what was taken from the bins since the flip. Taken is counted by
 *         blocks: a relaxed add per block.
 * PACE-2  Fields are written by the collector's thread alone, but the goal and what is derived with
 *         it: these by whoever sets it, under the lock. Others read them relaxed. A stale value
 *         moves a trigger by a block or two.
 * PACE-3  No death spiral: with the goal set by the memory limit, the next cycle waits until as
 *         much time has passed as the last one took. So at most half of the time goes into cycles,
 *         and the limit is soft (Go's cap is the same half).
 * PACE-4  A pause that was given up has held up the program for nothing: the heap asks for the next
 *         one only when FAILED_REST times as long has passed.
 */
#include "gc/pacer.h"

#include "base/bits.h"
#include "base/config.h"
#include "gc/space.h"
#include "os/lock.h"
#include "os/sys.h"

#define ASSIST_MOST_BYTES ((int64_t)32 << 10)
#define CREDIT_DRAW_BYTES ((int64_t)64 << 10) /* drawn at once, so that few draws are made */
#define RATIO_ONE 4096
#define FAILED_REST 4

static struct {
	struct gy_lock lock; /* PACE-2 */
	int64_t percent;       /* [atomic: relaxed] */
	uint64_t limit_option; /* [atomic: relaxed] 0: the heap's own */
	struct gy_pace now;    /* PACE-2 */
	uint64_t taken_at_flip;
	uint64_t taken_free; /* [atomic: relaxed] taken up to here costs no work */
	uint64_t taken_at_start;
	uint64_t runway_bytes, scan_bytes; /* of the last cycles */
	uint64_t ended_ns, duration_ns;	   /* of the last cycle; PACE-3 */
	uint64_t not_before_ns;		   /* PACE-4; 0: no pause has failed since the last cycle */
	uint64_t ratio;			   /* scan bytes per byte taken, in 1/4096 */
	int64_t credit;			   /* [atomic] */
	bool ready;			   /* [atomic] */
} pacer = {.lock = GY_LOCK_INIT(GY_RANK_pacer)};

static uint64_t taken(void)
{
	return READ_RELAXED(gy_space_taken_bytes);
}

static uint64_t inuse(void)
{
	return READ_RELAXED(pacer.now.live_bytes) + taken() - READ_RELAXED(pacer.taken_at_flip);
}

/* What the memory limit leaves for objects; 0: there is no limit. */
static uint64_t limit_for_objects(uint64_t live)
{
	struct gy_page_heap_stats pages;
	struct gy_space_stats space;
	uint64_t limit = READ_RELAXED(pacer.limit_option), held, others;

	gy_page_heap_read_stats(&pages);
	if (!limit)
		limit = pages.limit_bytes / 10 * 9;
	if (limit == 1)
		limit = 0;
	WRITE_RELAXED(pacer.now.limit_bytes, limit);
	if (!limit)
		return 0;
	gy_space_read_stats(&space);
	held = pages.used_pages * GY_PAGE_BYTES;
	others = held > space.span_bytes ? held - space.span_bytes : 0;
	if (limit < others + live + live / 16)
		return live + live / 16 + 1; /* as soon as it can be; PACE-3 */
	return limit - others;
}

static void set_goal(void)
{
	uint64_t live, goal, trigger, least, room, runway;
	int64_t percent;

	gy_lock_acquire(&pacer.lock);
	live = READ_RELAXED(pacer.now.live_bytes);
	percent = READ_RELAXED(pacer.percent);
	runway = READ_RELAXED(pacer.runway_bytes);
	goal = percent < 0 ? UINT64_MAX / 4 : live + live / 100 * (uint64_t)percent;
	goal = MAX(goal, gy_option(GY_OPT_gc_minimum));
	room = limit_for_objects(live);
	WRITE_RELAXED(pacer.now.limited, room && room < goal);
	if (room && room < goal)
		goal = room;
	least = live + (goal - MIN(live, goal)) / 10 * 4;
	trigger = goal > runway ? goal - runway : 0;
	WRITE_RELAXED(pacer.now.goal_bytes, goal);
	WRITE_RELAXED(pacer.now.trigger_bytes, MAX(trigger, least));
	gy_lock_release(&pacer.lock);
}

void gy_pacer_init(void)
{
	uint64_t percent = gy_option(GY_OPT_gc_percent);

	pacer.percent = percent ? (int64_t)percent : -1;
	pacer.limit_option = gy_option(GY_OPT_gc_memory_limit);
	set_goal();
	__atomic_store_n(&pacer.ready, true, __ATOMIC_RELEASE);
}

bool gy_pacer_is_ready(void)
{
	return __atomic_load_n(&pacer.ready, __ATOMIC_ACQUIRE);
}

void gy_pacer_refresh(void)
{
	set_goal();
}

int gy_pacer_set_percent(int percent)
{
	int64_t before = READ_RELAXED(pacer.percent);

	WRITE_RELAXED(pacer.percent, percent);
	set_goal();
	return (int)before;
}

uint64_t gy_pacer_set_limit(uint64_t bytes)
{
	uint64_t before = READ_RELAXED(pacer.limit_option);

	WRITE_RELAXED(pacer.limit_option, bytes);
	set_goal();
	return before;
}

bool gy_pacer_is_due(bool *limited)
{
	if (likely(inuse() < READ_RELAXED(pacer.now.trigger_bytes)))
		return false;
	if (unlikely(READ_RELAXED(pacer.not_before_ns)) &&
	    gy_now_ns() < READ_RELAXED(pacer.not_before_ns))
		return false; /* PACE-4 */
	*limited = READ_RELAXED(pacer.now.limited);
	return !*limited || gy_now_ns() - READ_RELAXED(pacer.ended_ns) >=
				    READ_RELAXED(pacer.duration_ns); /* PACE-3 */
}

void gy_pacer_began(void)
{
	uint64_t now = inuse(), goal = READ_RELAXED(pacer.now.goal_bytes);
	/* The first cycle knows nothing: all of the heap may be work. */
	uint64_t work = pacer.scan_bytes ? pacer.scan_bytes + pacer.scan_bytes / 8 : now;
	uint64_t room = MAX(goal > now ? goal - now : 0, now / 16 + (256 << 10));

	pacer.taken_at_start = taken();
	__atomic_store_n(&pacer.credit, 0, __ATOMIC_RELAXED);
	WRITE_RELAXED(pacer.taken_free, pacer.taken_at_start + room / 2);
	WRITE_RELAXED(pacer.ratio, MIN(work * RATIO_ONE / (room / 2), (uint64_t)RATIO_ONE * 256));
}

void gy_pacer_ended(uint64_t marked_bytes, uint64_t scanned_bytes, uint64_t duration_ns)
{
	uint64_t end = taken(), during = end - pacer.taken_at_start;

	/* What was taken while marking is black, and stays. */
	WRITE_RELAXED(pacer.now.live_bytes, marked_bytes + during);
	WRITE_RELAXED(pacer.taken_at_flip, end);
	during += during / 4;
	if (during < pacer.runway_bytes)
		during = pacer.runway_bytes - (pacer.runway_bytes - during) / 4;
	WRITE_RELAXED(pacer.runway_bytes, during);
	pacer.scan_bytes = scanned_bytes;
	WRITE_RELAXED(pacer.duration_ns, duration_ns);
	WRITE_RELAXED(pacer.ended_ns, gy_now_ns());
	WRITE_RELAXED(pacer.not_before_ns, 0);
	set_goal();
}

void gy_pacer_failed(uint64_t duration_ns)
{
	WRITE_RELAXED(pacer.not_before_ns, gy_now_ns() + duration_ns * FAILED_REST);
}

void gy_pacer_worked(size_t scanned_bytes)
{
	__atomic_fetch_add(&pacer.credit, (int64_t)scanned_bytes, __ATOMIC_RELAXED);
}

/* From the common credit, for a debt; what was got. */
static int64_t draw(int64_t debt)
{
	int64_t have = __atomic_load_n(&pacer.credit, __ATOMIC_RELAXED), got;

	do {
		if (have <= 0)
			return 0;
		got = MIN(have, debt + CREDIT_DRAW_BYTES);
	} while (!__atomic_compare_exchange_n(&pacer.credit, &have, have - got, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return got;
}

size_t gy_pacer_owes(int64_t *credit, size_t bytes)
{
	if ((int64_t)(taken() - READ_RELAXED(pacer.taken_free)) < 0)
		return 0;
	*credit -= (int64_t)(bytes * READ_RELAXED(pacer.ratio) / RATIO_ONE);
	if (*credit >= 0)
		return 0;
	*credit += draw(-*credit);
	if (*credit >= 0)
		return 0;
	return (size_t)MIN(-*credit, ASSIST_MOST_BYTES);
}

bool gy_pacer_is_overrun(void)
{
	uint64_t goal = READ_RELAXED(pacer.now.goal_bytes);

	return inuse() > goal + goal / 8 + (4 << 20);
}

void gy_pacer_read(struct gy_pace *pace)
{
	pace->live_bytes = READ_RELAXED(pacer.now.live_bytes);
	pace->goal_bytes = READ_RELAXED(pacer.now.goal_bytes);
	pace->trigger_bytes = READ_RELAXED(pacer.now.trigger_bytes);
	pace->limit_bytes = READ_RELAXED(pacer.now.limit_bytes);
	pace->percent = READ_RELAXED(pacer.percent);
	pace->limited = READ_RELAXED(pacer.now.limited);
	pace->inuse_bytes = inuse();
}

/* ------------------------------------------------------------------ fork */

void gy_pacer_fork_prepare(void)
{
	gy_lock_acquire(&pacer.lock);
}

void gy_pacer_fork_parent(void)
{
	gy_lock_release(&pacer.lock);
}

void gy_pacer_fork_child(void)
{
	gy_lock_init(&pacer.lock, GY_RANK_pacer);
}
