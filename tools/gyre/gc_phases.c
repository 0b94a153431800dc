/* gc_phases.c - `gyre gc phases`: the next cycles of a process's collector, each as a timeline.
 *
 *      cycle 12, heap: marked in 39.3 ms, swept in 45.1 ms; 512.0 MiB -> 210.3 MiB live
 *        prepare        0 ns    120 us  |#                                             |
 *        pause        120 us    180 us  |#                                             |
 *        marking      300 us   38.0 ms  |#######################################       |
 *        ending      38.3 ms    1.0 ms  |                                       #      |
 *        sweeping    39.3 ms    5.8 ms  |                                        ######|
 *
 * `prepare` is from the cycle's begin to its pause: what was left to sweep of the last one, the
 * list of loaded objects. A pause is drawn beside the phase in which it falls. What is too short
 * for a character still gets one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gc_watch.h"
#include "output.h"

#define WIDTH_DEFAULT 100
#define WIDTH_MAX 200
#define BAR_BEFORE 36 /* columns to the left of a bar, its two ends included */

/* The end of what there is to draw. */
static uint64_t last_ns(const struct gy_gc_cycle *cycle)
{
	uint64_t last = cycle->end_ns;

	for (unsigned int i = 0; i < cycle->part_count; i++)
		if (cycle->parts[i].end_ns > last)
			last = cycle->parts[i].end_ns;
	return last > cycle->begin_ns ? last : cycle->begin_ns + 1;
}

static uint64_t since(uint64_t now_ns, uint64_t begin_ns)
{
	return now_ns > begin_ns ? now_ns - begin_ns : 0;
}

static void bar_fill(char *bar, size_t width, uint64_t from_ns, uint64_t to_ns, uint64_t whole_ns)
{
	size_t from = (size_t)((double)from_ns * (double)width / (double)whole_ns);
	size_t to = (size_t)((double)to_ns * (double)width / (double)whole_ns + 0.5);

	from = from < width ? from : width - 1;
	to = to > from ? to : from + 1;
	to = to < width ? to : width;
	memset(bar, ' ', width);
	memset(bar + from, '#', to - from);
	bar[width] = 0;
}

static void cycle_text(const struct gy_gc_cycle *cycle)
{
	uint64_t last = last_ns(cycle), whole_ns = last - cycle->begin_ns;
	size_t columns = gy_out_columns(), width;
	char took[GY_OUT_TEXT], over[GY_OUT_TEXT], before[GY_OUT_TEXT], live[GY_OUT_TEXT];
	char bar[WIDTH_MAX + 1];

	columns = columns ? columns : WIDTH_DEFAULT;
	width = columns > BAR_BEFORE + 10 ? columns - BAR_BEFORE : 10;
	width = width < WIDTH_MAX ? width : WIDTH_MAX;
	gy_out_ns(took, cycle->duration_ns);
	if (cycle->error)
		gy_out_line("cycle %" PRIu64 ", %s: given up after %s: %s", cycle->number,
			    gy_gc_reason_name(cycle->reason), took, gy_gc_error_name(cycle->error));
	else
		gy_out_line("cycle %" PRIu64 ", %s: marked in %s, over in %s; %s -> %s live",
			    cycle->number, gy_gc_reason_name(cycle->reason), took,
			    gy_out_ns(over, whole_ns),
			    gy_out_bytes(before, cycle->begin_inuse_bytes),
			    gy_out_bytes(live, cycle->live_bytes));
	for (unsigned int i = 0; i < cycle->part_count; i++) {
		const struct gy_gc_part *part = &cycle->parts[i];
		uint64_t from_ns = since(part->begin_ns, cycle->begin_ns);
		uint64_t to_ns = since(part->end_ns ? part->end_ns : last, cycle->begin_ns);
		char at[GY_OUT_TEXT], length[GY_OUT_TEXT];

		bar_fill(bar, width, from_ns, to_ns, whole_ns);
		gy_out_line("  %-9s  %8s  %8s  |%s|", gy_gc_part_name(part), gy_out_ns(at, from_ns),
			    gy_out_ns(length, since(to_ns, from_ns)), bar);
	}
}

static void cycle_json(const struct gy_gc_watch *watch, const struct gy_gc_cycle *cycle)
{
	json_t *object = json_object(), *parts = json_array();
	uint64_t last = last_ns(cycle);

	json_object_set_new(object, "event", json_string("gc_cycle"));
	json_object_set_new(object, "time_ns", gy_out_json_u64(cycle->begin_ns));
	json_object_set_new(object, "wall_ns",
			    json_integer((json_int_t)cycle->begin_ns + watch->wall_offset_ns));
	json_object_set_new(object, "cycle", gy_out_json_u64(cycle->number));
	json_object_set_new(object, "reason", json_string(gy_gc_reason_name(cycle->reason)));
	json_object_set_new(object, "duration_ns", gy_out_json_u64(last - cycle->begin_ns));
	json_object_set_new(object, "heap_begin_bytes", gy_out_json_u64(cycle->begin_inuse_bytes));
	json_object_set_new(object, "heap_live_bytes", gy_out_json_u64(cycle->live_bytes));
	json_object_set_new(object, "errno", gy_out_json_u64(cycle->error));
	for (unsigned int i = 0; i < cycle->part_count; i++) {
		const struct gy_gc_part *part = &cycle->parts[i];
		uint64_t end_ns = part->end_ns ? part->end_ns : last;
		json_t *row = json_object();

		json_object_set_new(row, "phase", json_string(gy_gc_part_name(part)));
		json_object_set_new(row, "begin_ns",
				    gy_out_json_u64(since(part->begin_ns, cycle->begin_ns)));
		json_object_set_new(row, "duration_ns",
				    gy_out_json_u64(since(end_ns, part->begin_ns)));
		json_array_append_new(parts, row);
	}
	json_object_set_new(object, "phases", parts);
	gy_out_stream_event(object);
}

static void show(struct gy_gc_watch *watch, const struct gy_gc_cycle *cycle)
{
	if (gy_out_is_json())
		cycle_json(watch, cycle);
	else
		cycle_text(cycle);
}

static void begin(struct gy_gc_watch *watch)
{
	gy_out_begin(NULL, NULL);
	gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)watch->target.pid);
	gy_out_text("comm", NULL, watch->target.comm);
	gy_out_stream("events");
	gy_out_info("Tracing process %d (%s), Ctrl-C ends it", watch->target.pid,
		    watch->target.comm);
}

static void sum_up(struct gy_gc_watch *watch)
{
	uint64_t duration_ns = watch->session.end_ns - watch->session.start_ns;
	uint64_t lost = gy_gc_watch_lost(watch);
	char duration[GY_OUT_TEXT];

	gy_out_stream_end();
	gy_out_u64("event_count", NULL, OUT_COUNT, watch->shown);
	gy_out_u64("lost", NULL, OUT_COUNT, lost);
	gy_out_u64("duration_ns", NULL, OUT_NS, duration_ns);
	gy_out_text("ended_by", NULL, gy_session_stop_name(&watch->session));
	gy_out_line("\n%" PRIu64 " cycle%s in %s, %" PRIu64 " event%s lost", watch->shown,
		    watch->shown == 1 ? "" : "s", gy_out_ns(duration, duration_ns), lost,
		    lost == 1 ? "" : "s");
	if (watch->session.stop == STOP_TARGET)
		gy_out_line("The process has ended.");
	gy_out_end();
}

int gy_gc_phases(int argc, char **argv)
{
	struct gy_gc_watch *watch = calloc(1, sizeof(*watch));
	int error;

	if (!watch)
		return gy_out_error("no memory");
	watch->show = show;
	watch->until_swept = true;
	error = gy_gc_watch_run(watch, argc, argv, begin);
	if (!error)
		sum_up(watch);
	gy_gc_watch_close(watch);
	return error;
}
