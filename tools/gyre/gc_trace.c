/* gc_trace.c - `gyre gc trace`: a line for each cycle of a process's collector as it ends.
 *
 *      BEFORE   in use when the cycle began         LIVE     what it found reachable
 *      GOAL     where the next one is to be done    GROWTH   heap goal / heap in use
 *      PAUSE    all stops of the world together     TOOK     from begin to flip
 *      MARKED   bytes scanned                       ASSISTS  time that allocating threads gave
 *      CPU      workers and assists, of the processors that the process may use, while it took
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gc_watch.h"
#include "output.h"

static double cpu_percent(const struct gy_gc_watch *watch, uint64_t cpu_ns, uint64_t wall_ns)
{
	double whole = (double)wall_ns * watch->cpus;

	return whole > 0 ? 100 * (double)cpu_ns / whole : 0;
}

/* Numbers that only the begin of a cycle, or the pacer, told: "-" where neither was seen. */
static const char *if_known(bool known, const char *text)
{
	return known ? text : "-";
}

static bool has_goal(const struct gy_gc_cycle *cycle)
{
	return cycle->paced && gy_gc_goal_is_set(cycle->goal_bytes);
}

#define WIDE 118 /* columns that a whole line takes */

/* A narrow terminal gets what a cycle cost; what the pacer makes of it stands in JSON, too. */
static bool is_narrow(void)
{
	size_t columns = gy_out_columns();

	return columns && columns < WIDE;
}

static void cycle_text(struct gy_gc_watch *watch, const struct gy_gc_cycle *cycle)
{
	char wall[32], before[GY_OUT_TEXT], live[GY_OUT_TEXT], goal[GY_OUT_TEXT], growth[16];
	char pause[GY_OUT_TEXT], took[GY_OUT_TEXT], marked[GY_OUT_TEXT], assists[GY_OUT_TEXT];
	double cpu = cpu_percent(watch, cycle->worker_cpu_ns + cycle->assist_ns,
				 cycle->duration_ns);

	gy_gc_watch_wall(watch, cycle->end_ns, wall);
	gy_out_bytes(before, cycle->begin_inuse_bytes);
	gy_out_ns(pause, cycle->pause_ns);
	gy_out_ns(took, cycle->duration_ns);
	if (cycle->error) {
		gy_out_line("%-12s  %6" PRIu64 "  %-6s  %10s  given up after %s: %s", wall,
			    cycle->number, if_known(cycle->begun, gy_gc_reason_name(cycle->reason)),
			    if_known(cycle->begun, before), took, gy_gc_error_name(cycle->error));
		return;
	}
	gy_out_bytes(live, cycle->live_bytes);
	gy_out_bytes(goal, cycle->goal_bytes);
	gy_out_bytes(marked, cycle->marked_bytes);
	gy_out_ns(assists, cycle->assist_ns);
	snprintf(growth, sizeof(growth), "%.2f", (double)cycle->growth_rate_permille / 1000);
	if (is_narrow()) {
		gy_out_line("%-12s  %6" PRIu64 "  %-6s  %9s  %9s  %7s  %7s  %5.1f %%", wall,
			    cycle->number, if_known(cycle->begun, gy_gc_reason_name(cycle->reason)),
			    if_known(cycle->begun, before), live, pause, took, cpu);
		return;
	}
	gy_out_line(
		"%-12s  %6" PRIu64 "  %-6s  %10s  %10s  %10s  %6s  %7s  %7s  %10s  %7s  %5.1f %%",
		wall, cycle->number, if_known(cycle->begun, gy_gc_reason_name(cycle->reason)),
		if_known(cycle->begun, before), live, if_known(has_goal(cycle), goal),
		if_known(has_goal(cycle), growth), pause, took, marked,
		cycle->assists ? assists : "0", cpu);
}

static void member_u64(json_t *object, const char *key, bool known, uint64_t value)
{
	json_object_set_new(object, key, known ? gy_out_json_u64(value) : json_null());
}

/* One decimal of a percentage, two of a rate: as in the text. */
static json_t *rounded(double value, double digits)
{
	return json_real((double)(int64_t)(value * digits + 0.5) / digits);
}

static void cycle_json(struct gy_gc_watch *watch, const struct gy_gc_cycle *cycle)
{
	json_t *o = json_object();

	json_object_set_new(o, "event", json_string("gc_cycle"));
	json_object_set_new(o, "time_ns", gy_out_json_u64(cycle->end_ns));
	json_object_set_new(o, "wall_ns",
			    json_integer((json_int_t)cycle->end_ns + watch->wall_offset_ns));
	member_u64(o, "cycle", true, cycle->number);
	json_object_set_new(o, "reason",
			    cycle->begun ? json_string(gy_gc_reason_name(cycle->reason))
					 : json_null());
	member_u64(o, "begin_ns", cycle->begun, cycle->begin_ns);
	member_u64(o, "duration_ns", true, cycle->duration_ns);
	member_u64(o, "heap_begin_bytes", cycle->begun, cycle->begin_inuse_bytes);
	member_u64(o, "heap_begin_goal_bytes",
		   cycle->begun && gy_gc_goal_is_set(cycle->begin_goal_bytes),
		   cycle->begin_goal_bytes);
	member_u64(o, "heap_end_bytes", true, cycle->inuse_bytes);
	member_u64(o, "heap_live_bytes", true, cycle->live_bytes);
	member_u64(o, "heap_goal_bytes", has_goal(cycle), cycle->goal_bytes);
	member_u64(o, "heap_trigger_bytes", has_goal(cycle), cycle->trigger_bytes);
	json_object_set_new(o, "heap_growth_rate",
			    has_goal(cycle)
				    ? rounded((double)cycle->growth_rate_permille / 1000, 1000)
				    : json_null());
	member_u64(o, "memory_limit_bytes", cycle->paced, cycle->memory_limit_bytes);
	member_u64(o, "pauses", true, cycle->pauses);
	member_u64(o, "pause_ns", true, cycle->pause_ns);
	member_u64(o, "pause_max_ns", true, cycle->pause_max_ns);
	member_u64(o, "stop_max_ns", true, cycle->stop_max_ns);
	member_u64(o, "threads_stopped", true, cycle->threads_stopped);
	member_u64(o, "threads_blocked", true, cycle->threads_blocked);
	member_u64(o, "root_bytes", true, cycle->root_bytes);
	member_u64(o, "marked_bytes", true, cycle->marked_bytes);
	member_u64(o, "assists", true, cycle->assists);
	member_u64(o, "assist_ns", true, cycle->assist_ns);
	member_u64(o, "worker_cpu_ns", true, cycle->worker_cpu_ns);
	json_object_set_new(o, "cpu_percent",
			    rounded(cpu_percent(watch, cycle->worker_cpu_ns + cycle->assist_ns,
						cycle->duration_ns),
				    10));
	member_u64(o, "barrier_shades", true, cycle->barrier_shades);
	member_u64(o, "errno", true, cycle->error);
	gy_out_stream_event(o);
}

static void show(struct gy_gc_watch *watch, const struct gy_gc_cycle *cycle)
{
	if (gy_out_is_json())
		cycle_json(watch, cycle);
	else
		cycle_text(watch, cycle);
}

static void begin(struct gy_gc_watch *watch)
{
	gy_out_begin(NULL, NULL);
	gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)watch->target.pid);
	gy_out_text("comm", NULL, watch->target.comm);
	gy_out_u64("cpus", NULL, OUT_COUNT, watch->cpus);
	gy_out_stream("events");
	gy_out_info("Tracing process %d (%s), Ctrl-C ends it", watch->target.pid,
		    watch->target.comm);
	if (is_narrow())
		gy_out_line("%-12s  %6s  %-6s  %9s  %9s  %7s  %7s  %7s", "TIME", "CYCLE", "REASON",
			    "BEFORE", "LIVE", "PAUSE", "TOOK", "CPU");
	else
		gy_out_line("%-12s  %6s  %-6s  %10s  %10s  %10s  %6s  %7s  %7s  %10s  %7s  %7s",
			    "TIME", "CYCLE", "REASON", "BEFORE", "LIVE", "GOAL", "GROWTH", "PAUSE",
			    "TOOK", "MARKED", "ASSISTS", "CPU");
}

static void sum_up(struct gy_gc_watch *watch)
{
	uint64_t duration_ns = watch->session.end_ns - watch->session.start_ns;
	uint64_t cpu_ns = watch->totals.worker_cpu_ns + watch->totals.assist_ns;
	uint64_t lost = gy_gc_watch_lost(watch);
	char duration[GY_OUT_TEXT], pause[GY_OUT_TEXT], all[GY_OUT_TEXT], marked[GY_OUT_TEXT];

	gy_out_stream_end();
	gy_out_u64("event_count", NULL, OUT_COUNT, watch->shown);
	gy_out_u64("lost", NULL, OUT_COUNT, lost);
	gy_out_u64("duration_ns", NULL, OUT_NS, duration_ns);
	gy_out_text("ended_by", NULL, gy_session_stop_name(&watch->session));
	if (gy_out_is_json()) {
		gy_out_begin("totals", NULL);
		gy_out_u64("cycles", NULL, OUT_COUNT, watch->totals.cycles);
		gy_out_u64("failed", NULL, OUT_COUNT, watch->totals.failed);
		gy_out_u64("pause_ns", NULL, OUT_NS, watch->totals.pause_ns);
		gy_out_u64("pause_max_ns", NULL, OUT_NS, watch->totals.pause_max_ns);
		gy_out_u64("marked_bytes", NULL, OUT_BYTES, watch->totals.marked_bytes);
		gy_out_u64("assist_ns", NULL, OUT_NS, watch->totals.assist_ns);
		gy_out_u64("worker_cpu_ns", NULL, OUT_NS, watch->totals.worker_cpu_ns);
		gy_out_json("cpu_percent", rounded(cpu_percent(watch, cpu_ns, duration_ns), 10));
		gy_out_end();
	}
	gy_out_line("\n%" PRIu64 " cycle%s in %s, %" PRIu64
		    " event%s lost; longest pause %s, %s in "
		    "all; %s marked by %.1f %% of the processors",
		    watch->shown, watch->shown == 1 ? "" : "s", gy_out_ns(duration, duration_ns),
		    lost, lost == 1 ? "" : "s", gy_out_ns(pause, watch->totals.pause_max_ns),
		    gy_out_ns(all, watch->totals.pause_ns),
		    gy_out_bytes(marked, watch->totals.marked_bytes),
		    cpu_percent(watch, cpu_ns, duration_ns));
	if (watch->session.stop == STOP_TARGET)
		gy_out_line("The process has ended.");
	gy_out_end();
}

int gy_gc_trace(int argc, char **argv)
{
	struct gy_gc_watch *watch = calloc(1, sizeof(*watch));
	int error;

	if (!watch)
		return gy_out_error("no memory");
	watch->show = show;
	error = gy_gc_watch_run(watch, argc, argv, begin);
	if (!error)
		sum_up(watch);
	gy_gc_watch_close(watch);
	return error;
}
