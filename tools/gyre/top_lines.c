/* top_lines.c - see top_lines.h. */
#include "top_lines.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gc_watch.h"
#include "output.h"
#include "snapshot.h"

#define CURVE_LABEL 24

/* ---------------------------------------------------------------- values */

static const char *bytes_text(char text[GY_OUT_TEXT], double bytes)
{
	return gy_out_bytes(text, bytes > 0 ? (uint64_t)(bytes + 0.5) : 0);
}

static const char *rate_text(char text[GY_OUT_TEXT], double bytes_per_s)
{
	size_t length;

	bytes_text(text, bytes_per_s);
	length = strlen(text);
	snprintf(text + length, GY_OUT_TEXT - length, "/s");
	return text;
}

/* With its sign; "0" where it is nothing that could be seen. */
static const char *change_text(char text[GY_OUT_TEXT], double bytes_per_s)
{
	char size[GY_OUT_TEXT];

	if (fabs(bytes_per_s) < 0.5)
		return strcpy(text, "0");
	snprintf(text, GY_OUT_TEXT, "%c%.40s/s", bytes_per_s < 0 ? '-' : '+',
		 bytes_text(size, fabs(bytes_per_s)));
	return text;
}

static const char *count_text(char text[GY_OUT_TEXT], double per_s)
{
	size_t length;

	gy_out_count(text, per_s > 0 ? (uint64_t)(per_s + 0.5) : 0);
	length = strlen(text);
	snprintf(text + length, GY_OUT_TEXT - length, "/s");
	return text;
}

static unsigned int percent(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned int)((double)part * 100 / (double)whole + 0.5) : 0;
}

/* ---------------------------------------------------------------- the lines above */

static void title_line(const struct gy_top *top, uint64_t interval_ns, char *line)
{
	char up[GY_OUT_TEXT], every[GY_OUT_TEXT], age[128], wall[16];
	time_t now = time(NULL);
	struct tm broken;

	localtime_r(&now, &broken);
	strftime(wall, sizeof(wall), "%H:%M:%S", &broken);
	gy_out_ns(up, gy_snapshot_uptime_ns(&top->snapshot));
	gy_out_ns(every, interval_ns);
	snprintf(line, GY_TOP_LINE, "gyre top - %s (%d)  up %s  %s  every %s", top->target->comm,
		 top->target->pid, up, wall, every);
	if (!top->snapshot.fresh || top->snapshot.torn) {
		size_t length = strlen(line);

		gy_snapshot_age_text(&top->snapshot, top->target->control, age, sizeof(age));
		snprintf(line + length, GY_TOP_LINE - length, "  (%s)", age);
	}
}

static void heap_line(const struct gy_top *top, char *line)
{
	const struct gyre_control_totals *totals = &top->snapshot.header.totals;
	uint64_t used = totals->heap_alloc + top->snapshot.header.gc.heap_inuse_bytes;
	char a[GY_OUT_TEXT], b[GY_OUT_TEXT], c[GY_OUT_TEXT], d[GY_OUT_TEXT];

	snprintf(line, GY_TOP_LINE,
		 "Memory   RSS %s  in use %s (%u %%)  idle %s  returned %s",
		 gy_out_bytes(a, top->rss_bytes), gy_out_bytes(b, used),
		 percent(used, totals->heap_inuse),
		 gy_out_bytes(c, totals->heap_idle - (totals->heap_released < totals->heap_idle
							      ? totals->heap_released
							      : totals->heap_idle)),
		 gy_out_bytes(d, totals->heap_released));
}

static void rate_line(const struct gy_top *top, char *line)
{
	const struct gy_top_rates *rates = &top->rates;
	char a[GY_OUT_TEXT], b[GY_OUT_TEXT], c[GY_OUT_TEXT], d[GY_OUT_TEXT];

	if (top->seconds <= 0) {
		snprintf(line, GY_TOP_LINE, "Rates    from the next look on");
		return;
	}
	snprintf(line, GY_TOP_LINE, "Rates    %s  allocated %s  mallocs %s  frees %s",
		 change_text(a, rates->heap_bytes), rate_text(b, rates->allocated_bytes),
		 count_text(c, rates->mallocs), count_text(d, rates->frees));
}

static void process_line(const struct gy_top *top, char *line)
{
	const struct gyre_control_totals *totals = &top->snapshot.header.totals;
	char a[GY_OUT_TEXT], b[GY_OUT_TEXT], c[GY_OUT_TEXT];

	snprintf(line, GY_TOP_LINE,
		 "Process  %" PRIu64 " thread%s  CPU %.2f  caches %s  central %s  samples %s",
		 top->threads, top->threads == 1 ? "" : "s", top->rates.cpu,
		 gy_out_bytes(a, totals->thread_cache_bytes),
		 gy_out_bytes(b, totals->central_bytes), gy_out_count(c, totals->samples_live));
}

static void gc_line(const struct gy_top *top, char *line)
{
	const struct gyre_control_gc *gc = &top->snapshot.header.gc;
	char live[GY_OUT_TEXT], goal[GY_OUT_TEXT], last[GY_OUT_TEXT], most[GY_OUT_TEXT];

	gy_out_bytes(goal, gc->heap_goal_bytes);
	snprintf(line, GY_TOP_LINE,
		 "GC       cycle %" PRIu64 " %s  live %s  goal %s  pause %s, most %s  CPU %.2f",
		 gc->cycles, gy_gc_phase_name(gc->phase), gy_out_bytes(live, gc->heap_live_bytes),
		 gy_gc_goal_is_set(gc->heap_goal_bytes) ? goal : "none",
		 gy_out_ns(last, gc->pause_last_ns), gy_out_ns(most, gc->pause_max_ns),
		 top->rates.gc_cpu);
}

size_t gy_top_lines(const struct gy_top *top, uint64_t interval_ns,
		    char lines[GY_TOP_LINES][GY_TOP_LINE])
{
	size_t count = 0;

	title_line(top, interval_ns, lines[count++]);
	heap_line(top, lines[count++]);
	rate_line(top, lines[count++]);
	process_line(top, lines[count++]);
	if (top->snapshot.header.gc.used)
		gc_line(top, lines[count++]);
	return count;
}

/* ---------------------------------------------------------------- the curve */

void gy_top_curve(const struct gy_top *top, size_t columns, bool unicode, char *line, size_t bytes)
{
	static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const ascii[] = {" ", "_", ".", "-", "~", "=", "+", "*", "#"};
	size_t shown = columns > CURVE_LABEL ? columns - CURVE_LABEL : 0, used;
	uint64_t least = UINT64_MAX, most = 0;
	char a[GY_OUT_TEXT], b[GY_OUT_TEXT];

	line[0] = 0;
	if (shown > top->history_count)
		shown = top->history_count;
	if (shown > GY_TOP_HISTORY)
		shown = GY_TOP_HISTORY;
	for (size_t i = 0; i < shown; i++) {
		uint64_t value = top->history[(top->history_count - 1 - i) % GY_TOP_HISTORY];

		least = value < least ? value : least;
		most = value > most ? value : most;
	}
	if (!shown)
		return;
	/* From the least to the most seen: what moves is what matters. A heap that moves by less
	 * than a hundredth is a level line. */
	if (most - least < most / 100)
		least = most > most / 50 ? most - most / 50 : 0;
	snprintf(line, bytes, "%9s-%-9s ", gy_out_bytes(a, least), gy_out_bytes(b, most));
	used = strlen(line);
	for (size_t i = shown; i-- > 0 && used + 4 < bytes;) {
		uint64_t value = top->history[(top->history_count - 1 - i) % GY_TOP_HISTORY];
		double part = most > least ? (double)(value - (value > least ? least : value)) /
						     (double)(most - least)
					   : 0;
		const char *step = (unicode ? blocks : ascii)[1 + (unsigned int)(part * 7 + 0.5)];

		memcpy(line + used, step, strlen(step) + 1);
		used += strlen(step);
	}
}

/* ---------------------------------------------------------------- the table */

const char *gy_top_heading(void)
{
	return "        RATE        HELD      %       GROWTH  WHERE (allocated in <- called by)";
}

void gy_top_row(const struct gy_top *top, const struct gy_top_site *site, char *line, size_t bytes)
{
	char rate[GY_OUT_TEXT], held[GY_OUT_TEXT], growth[GY_OUT_TEXT];
	int length = snprintf(line, bytes, "%12s  %10s  %3u %%  %11s  ",
			      site->bytes_per_s > 0 ? rate_text(rate, site->bytes_per_s) : "-",
			      gy_out_bytes(held, site->held_bytes),
			      percent(site->held_bytes, top->sampled_bytes),
			      change_text(growth, site->growth_per_s));

	if (length > 0 && (size_t)length < bytes)
		gy_top_site_line(top, site, line + length, bytes - (size_t)length);
}

/* ---------------------------------------------------------------- JSON */

static json_t *rounded(double value)
{
	return json_real((double)(int64_t)(value * 100 + (value < 0 ? -0.5 : 0.5)) / 100);
}

static json_t *site_json(const struct gy_top *top, const struct gy_top_site *site)
{
	json_t *object = json_object(), *stack = json_array();

	json_object_set_new(object, "bytes_per_second", rounded(site->bytes_per_s));
	json_object_set_new(object, "held_bytes", gy_out_json_u64(site->held_bytes));
	json_object_set_new(object, "held_blocks", gy_out_json_u64(site->held_objects));
	json_object_set_new(object, "growth_per_second", rounded(site->growth_per_s));
	for (uint32_t i = 0; i < site->depth && site->frames[i]; i++)
		json_array_append_new(stack, gy_symbols_json(gy_symbols_find(top->symbols,
									     site->frames[i])));
	json_object_set_new(object, "stack", stack);
	return object;
}

json_t *gy_top_json(const struct gy_top *top, size_t sites)
{
	const struct gyre_control_totals *totals = &top->snapshot.header.totals;
	const struct gyre_control_gc *gc = &top->snapshot.header.gc;
	const struct gy_top_rates *rates = &top->rates;
	json_t *object = json_object(), *list = json_array(), *collector;

	json_object_set_new(object, "time_ns", gy_out_json_u64(top->time_ns));
	json_object_set_new(object, "fresh", json_boolean(top->snapshot.fresh));
	json_object_set_new(object, "seconds", rounded(top->seconds));
	json_object_set_new(object, "rss_bytes", gy_out_json_u64(top->rss_bytes));
	json_object_set_new(object, "threads", gy_out_json_u64(top->threads));
	json_object_set_new(object, "cpu", rounded(rates->cpu));
	json_object_set_new(object, "heap_alloc", gy_out_json_u64(totals->heap_alloc));
	json_object_set_new(object, "heap_inuse", gy_out_json_u64(totals->heap_inuse));
	json_object_set_new(object, "heap_idle", gy_out_json_u64(totals->heap_idle));
	json_object_set_new(object, "heap_released", gy_out_json_u64(totals->heap_released));
	json_object_set_new(object, "mallocs", gy_out_json_u64(totals->mallocs));
	json_object_set_new(object, "frees", gy_out_json_u64(totals->frees));
	json_object_set_new(object, "mallocs_per_second", rounded(rates->mallocs));
	json_object_set_new(object, "frees_per_second", rounded(rates->frees));
	json_object_set_new(object, "allocated_bytes_per_second", rounded(rates->allocated_bytes));
	json_object_set_new(object, "growth_per_second", rounded(rates->heap_bytes));
	collector = gc->used ? json_object() : json_null();
	if (gc->used) {
		json_object_set_new(collector, "cycles", gy_out_json_u64(gc->cycles));
		json_object_set_new(collector, "phase", json_string(gy_gc_phase_name(gc->phase)));
		json_object_set_new(collector, "heap_live_bytes",
				    gy_out_json_u64(gc->heap_live_bytes));
		json_object_set_new(collector, "heap_goal_bytes",
				    gy_gc_goal_is_set(gc->heap_goal_bytes)
					    ? gy_out_json_u64(gc->heap_goal_bytes)
					    : json_null());
		json_object_set_new(collector, "pause_last_ns", gy_out_json_u64(gc->pause_last_ns));
		json_object_set_new(collector, "pause_max_ns", gy_out_json_u64(gc->pause_max_ns));
		json_object_set_new(collector, "cpu", rounded(rates->gc_cpu));
	}
	json_object_set_new(object, "gc", collector);
	for (size_t i = 0; i < top->site_count && i < sites; i++)
		json_array_append_new(list, site_json(top, &top->sites[i]));
	json_object_set_new(object, "sites", list);
	return object;
}
