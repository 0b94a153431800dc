/* leak_lines.c - a look of `gyre leak watch` as lines of text, and as JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "leak_watch.h"
#include "output.h"
#include "snapshot.h"

#define CURVE 8

/* ---------------------------------------------------------------- text */

/* With its sign; "0" where it is nothing that could be seen. */
static const char *change_text(char text[GY_OUT_TEXT], double bytes_per_s)
{
	char size[GY_OUT_TEXT];

	if (fabs(bytes_per_s) < 0.5)
		return strcpy(text, "0");
	snprintf(text, GY_OUT_TEXT, "%c%.40s/s", bytes_per_s < 0 ? '-' : '+',
		 gy_out_bytes(size, (uint64_t)(fabs(bytes_per_s) + 0.5)));
	return text;
}

/* From zero to the most, or from the least where all of it is high up. */
static void curve_text(const struct gy_leak_watch *watch, const struct gy_leak_row *row,
		       bool unicode, char *text, size_t bytes)
{
	static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const ascii[] = {"_", ".", "-", "~", "=", "+", "*", "#"};
	size_t points = watch->growth.points, used = 0;
	double least = 0, most = 0;

	for (size_t i = 0; i < points; i++) {
		least = !i || row->held[i] < least ? row->held[i] : least;
		most = row->held[i] > most ? row->held[i] : most;
	}
	if (least < most / 2 || most - least < most / 50)
		least = 0;
	text[0] = 0;
	for (size_t i = 0; i < CURVE && used + 4 < bytes; i++) {
		double value = points ? row->held[(points - 1) * i / (CURVE - 1)] : 0;
		double part = most > least ? (value - least) / (most - least) : 0;
		const char *step = points < 2 ? " "
					      : (unicode ? blocks : ascii)[(int)(part * 7 + 0.5)];

		memcpy(text + used, step, strlen(step) + 1);
		used += strlen(step);
	}
}

void gy_leak_title(const struct gy_leak_watch *watch, char line[GY_LEAK_LINE])
{
	const struct gy_leak_growth *growth = &watch->growth;
	char span[GY_OUT_TEXT], every[GY_OUT_TEXT], age[128], wall[16];
	time_t now = time(NULL);
	struct tm broken;
	size_t length;

	localtime_r(&now, &broken);
	strftime(wall, sizeof(wall), "%H:%M:%S", &broken);
	gy_out_ns(span, growth->now_ns - growth->start_ns);
	gy_out_ns(every, watch->view.interval_ns);
	snprintf(line, GY_LEAK_LINE, "gyre leak watch - %s (%d)  %s  watched %s, every %s",
		 watch->target.comm, watch->target.pid, wall, span, every);
	if (growth->snapshot.fresh && !growth->snapshot.torn)
		return;
	length = strlen(line);
	gy_snapshot_age_text(&growth->snapshot, watch->target.control, age, sizeof(age));
	snprintf(line + length, GY_LEAK_LINE - length, "  (%s)", age);
}

void gy_leak_summary(const struct gy_leak_watch *watch, char line[GY_LEAK_LINE])
{
	const struct gy_leak_growth *growth = &watch->growth;
	size_t stacks = gy_leak_growth_count(growth->stacks, growth->stack_count);
	size_t classes = gy_leak_growth_count(growth->classes, growth->class_count);
	size_t last = growth->points ? growth->points - 1 : 0;
	char heap[GY_OUT_TEXT], gained[GY_OUT_TEXT];
	double change = growth->heap[last] - growth->heap[0];

	gy_out_bytes(heap, growth->snapshot.header.totals.heap_alloc +
				   growth->snapshot.header.gc.heap_inuse_bytes);
	gy_out_bytes(gained, (uint64_t)fabs(change));
	if (growth->points < GY_TREND_LEAST)
		snprintf(line, GY_LEAK_LINE,
			 "Heap %s, %s%s since; verdicts after %zu more looks", heap,
			 change < 0 ? "-" : "+", gained, GY_TREND_LEAST - growth->points);
	else
		snprintf(line, GY_LEAK_LINE,
			 "Heap %s, %s%s since; growing: %zu stack%s, %zu size class%s; survival %s",
			 heap, change < 0 ? "-" : "+", gained, stacks, stacks == 1 ? "" : "s",
			 classes, classes == 1 ? "" : "es",
			 growth->deaths_known ? "exact" : "at least");
}

const char *gy_leak_heading(void)
{
	return "      GROWTH       HELD    KEPT  CURVE     VERDICT    "
	       "WHERE (allocated in <- called by)";
}

bool gy_leak_row_shown(const struct gy_leak_row *row)
{
	return row->held_bytes || row->trend.verdict == TREND_SWINGING;
}

void gy_leak_row(const struct gy_leak_watch *watch, const struct gy_leak_row *row, bool unicode,
		 char *line, size_t bytes)
{
	char growth[GY_OUT_TEXT], held[GY_OUT_TEXT], kept[16] = "-", curve[CURVE * 4 + 1];
	char size[GY_OUT_TEXT], blocks[GY_OUT_TEXT];
	int length;

	if (row->kept >= 0)
		snprintf(kept, sizeof(kept), "%s%.0f %%",
			 row->kept_at_least && row->kept < 0.995 ? ">" : "", 100 * row->kept);
	curve_text(watch, row, unicode, curve, sizeof(curve));
	length = snprintf(line, bytes, "%12s  %9s  %6s  %s  %-9s  ",
			  change_text(growth, row->trend.per_s),
			  gy_out_bytes(held, row->held_bytes), kept, curve,
			  gy_trend_names[row->trend.verdict]);
	if (length <= 0 || (size_t)length >= bytes)
		return;
	line += length;
	bytes -= (size_t)length;
	gy_out_count(blocks, row->held_blocks);
	if (row->depth)
		gy_symbols_line(watch->symbols, row->frames, row->depth, line, bytes);
	else if (row->class_bytes)
		snprintf(line, bytes, "all of %s (%s blocks)",
			 gy_out_bytes(size, row->class_bytes), blocks);
	else
		snprintf(line, bytes, "all large blocks (%s)", blocks);
}

/* ---------------------------------------------------------------- JSON */

static json_t *rounded(double value)
{
	return json_real((double)(int64_t)(value * 100 + (value < 0 ? -0.5 : 0.5)) / 100);
}

/* Cohorts, the oldest first: age, bytes born, bytes still there. */
static json_t *survival_json(const struct gy_leak_growth *growth, const struct gy_leak_row *row)
{
	json_t *list = json_array();

	for (size_t i = 0; i < growth->points; i++) {
		const struct gy_leak_cohort *cohort = &row->cohorts[i];
		double left = cohort->born > cohort->dead ? cohort->born - cohort->dead : 0;
		json_t *object;

		if (cohort->born <= 0)
			continue;
		object = json_object();
		json_object_set_new(object, "age_seconds",
				    rounded(growth->seconds[growth->points - 1] -
					    growth->seconds[i]));
		json_object_set_new(object, "born_bytes", gy_out_json_u64((uint64_t)cohort->born));
		json_object_set_new(object, "kept_bytes", gy_out_json_u64((uint64_t)left));
		json_array_append_new(list, object);
	}
	return list;
}

static json_t *row_json(const struct gy_leak_watch *watch, const struct gy_leak_row *row)
{
	const struct gy_leak_growth *growth = &watch->growth;
	size_t last = growth->points ? growth->points - 1 : 0;
	json_t *object = json_object(), *stack;

	json_object_set_new(object, "verdict", json_string(gy_trend_names[row->trend.verdict]));
	json_object_set_new(object, "growth_per_second", rounded(row->trend.per_s));
	json_object_set_new(object, "growth_least_per_second", rounded(row->trend.low_per_s));
	json_object_set_new(object, "growth_most_per_second", rounded(row->trend.high_per_s));
	json_object_set_new(object, "growth_recent_per_second", rounded(row->trend.recent_per_s));
	json_object_set_new(object, "significance", rounded(row->trend.z));
	json_object_set_new(object, "held_bytes", gy_out_json_u64(row->held_bytes));
	json_object_set_new(object, "held_blocks", gy_out_json_u64(row->held_blocks));
	json_object_set_new(object, "gained_bytes",
			    json_integer((json_int_t)(row->held[last] - row->held[0])));
	if (!row->depth) {
		json_object_set_new(object, "class_bytes",
				    row->class_bytes ? gy_out_json_u64(row->class_bytes)
						     : json_null());
		return object;
	}
	json_object_set_new(object, "kept_percent",
			    row->kept >= 0 ? rounded(100 * row->kept) : json_null());
	json_object_set_new(object, "kept_is_least", json_boolean(row->kept_at_least));
	json_object_set_new(object, "survival",
			    growth->deaths_known ? survival_json(growth, row) : json_null());
	stack = json_array();
	for (uint32_t i = 0; i < row->depth && row->frames[i]; i++)
		json_array_append_new(stack, gy_symbols_json(gy_symbols_find(watch->symbols,
									     row->frames[i])));
	json_object_set_new(object, "stack", stack);
	return object;
}

json_t *gy_leak_look_json(const struct gy_leak_watch *watch)
{
	const struct gy_leak_growth *growth = &watch->growth;
	const struct gyre_control_totals *totals = &growth->snapshot.header.totals;
	json_t *object = json_object(), *stacks = json_array(), *classes = json_array();
	size_t growing = gy_leak_growth_count(growth->classes, growth->class_count);
	uint64_t shown = 0;

	json_object_set_new(object, "time_ns", gy_out_json_u64(growth->now_ns));
	json_object_set_new(object, "fresh", json_boolean(growth->snapshot.fresh));
	json_object_set_new(object, "watched_seconds",
			    rounded((double)(growth->now_ns - growth->start_ns) / 1e9));
	json_object_set_new(object, "points", gy_out_json_u64(growth->points));
	json_object_set_new(object, "heap_alloc", gy_out_json_u64(totals->heap_alloc));
	json_object_set_new(object, "survival_known", json_boolean(growth->deaths_known));
	json_object_set_new(object, "growing_stacks",
			    gy_out_json_u64(gy_leak_growth_count(growth->stacks,
								 growth->stack_count)));
	json_object_set_new(object, "growing_classes", gy_out_json_u64(growing));
	for (size_t i = 0; i < growth->stack_count && shown < watch->sites; i++)
		if (gy_leak_row_shown(growth->stacks[i])) {
			json_array_append_new(stacks, row_json(watch, growth->stacks[i]));
			shown++;
		}
	for (size_t i = 0; i < growing; i++)
		json_array_append_new(classes, row_json(watch, growth->classes[i]));
	json_object_set_new(object, "stacks", stacks);
	json_object_set_new(object, "classes", classes);
	return object;
}
