/* cmd_barrier.c - `gyre barrier`: what the collector's write barrier meets, while it marks.
 *
 *      stat    hits per second: stores into slots that held a pointer, or none; where the slots lie
 *      top     the call sites that hit it most        site_top.c
 *
 * Outside of marking the barrier is one test of a flag, and nothing is recorded: a process that is
 * not collecting shows zeros. A hit's record names the slot and the overwritten object's size; what
 * kind of memory the slot lies in is found from its address. All is counted in the kernel.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control.h"
#include "event_session.h"
#include "event_words.h"
#include "histogram.h"
#include "output.h"
#include "site_top.h"
#include "words.h"

#define PLACES 32
#define PLACE_BYTES 64

struct hits {
	struct gy_target target;
	struct gy_event_session *session;
	struct gy_event_words words;
	uint64_t heap_base, heap_bytes;
	uint64_t looks, last_ns;
	struct gyre_cell before[GYRE_CELL_SIZES];
	struct gy_histogram_row places[PLACES];
	size_t place_count, slots;
};

/* ---------------------------------------------------------------- hits by time */

/* The barrier's row by size. Cell 0 holds sizes 0 and 1, and no object has 1: empty slots. */
static void sizes_read(const struct hits *stat, struct gyre_cell sizes[GYRE_CELL_SIZES])
{
	static struct gyre_cell cells[GYRE_CELL_OPERATIONS * GYRE_CELL_SIZES];

	gy_event_sizes(stat->session, cells);
	memcpy(sizes, &cells[GYRE_RECORD_BARRIER * GYRE_CELL_SIZES],
	       GYRE_CELL_SIZES * sizeof(*sizes));
}

static struct gyre_cell held_sum(const struct gyre_cell sizes[GYRE_CELL_SIZES])
{
	struct gyre_cell sum = {0};

	for (size_t i = 1; i < GYRE_CELL_SIZES; i++) {
		sum.count += sizes[i].count;
		sum.bytes += sizes[i].bytes;
	}
	return sum;
}

static const char *phase_name(const struct hits *stat)
{
	static const char *const names[] = {"idle", "marking", "ending", "sweeping"};
	const char *name = "?";
	struct gy_snapshot snapshot;

	if (gy_control_read(stat->target.control, 50, &snapshot))
		return name;
	if (snapshot.header.gc.phase < sizeof(names) / sizeof(names[0]))
		name = names[snapshot.header.gc.phase];
	gy_snapshot_free(&snapshot);
	return name;
}

static int on_tick(void *context)
{
	struct hits *stat = context;
	struct gyre_cell sizes[GYRE_CELL_SIZES], held, old;
	uint64_t now_ns = gy_monotonic_ns(), hits, empty;
	double seconds = (double)(now_ns - stat->last_ns) / 1e9;

	sizes_read(stat, sizes);
	held = held_sum(sizes);
	old = held_sum(stat->before);
	held.count -= old.count;
	held.bytes -= old.bytes;
	empty = sizes[0].count - stat->before[0].count;
	hits = held.count + empty;
	memcpy(stat->before, sizes, sizeof(sizes));
	stat->last_ns = now_ns;
	if (gy_out_is_json()) {
		json_t *event = json_object();

		json_object_set_new(event, "time_ns", gy_out_json_u64(now_ns));
		json_object_set_new(event, "seconds", json_real(seconds));
		json_object_set_new(event, "hits", gy_out_json_u64(hits));
		json_object_set_new(event, "overwritten", gy_out_json_u64(held.count));
		json_object_set_new(event, "overwritten_bytes", gy_out_json_u64(held.bytes));
		json_object_set_new(event, "empty", gy_out_json_u64(empty));
		json_object_set_new(event, "phase", json_string(phase_name(stat)));
		gy_out_stream_event(event);
	} else {
		char rate[GY_OUT_TEXT], over[GY_OUT_TEXT], none[GY_OUT_TEXT], mean[GY_OUT_TEXT];
		time_t wall = time(NULL);
		struct tm local;

		localtime_r(&wall, &local);
		gy_out_count(rate, (uint64_t)((double)hits / seconds + 0.5));
		gy_out_count(over, (uint64_t)((double)held.count / seconds + 0.5));
		gy_out_count(none, (uint64_t)((double)empty / seconds + 0.5));
		gy_out_bytes(mean, held.count ? held.bytes / held.count : 0);
		gy_out_line("%02d:%02d:%02d  %13s  %13s  %13s  %10s  %s", local.tm_hour,
			    local.tm_min, local.tm_sec, rate, over, none,
			    held.count ? mean : "-", phase_name(stat));
	}
	stat->looks++;
	return stat->words.count && stat->looks >= stat->words.count;
}

/* ---------------------------------------------------------------- where the slots are */

struct place_search {
	uint64_t address;
	char name[PLACE_BYTES];
};

static int place_visit(const struct gy_mapping *mapping, void *context)
{
	struct place_search *search = context;
	const char *base = strrchr(mapping->path, '/');

	if (search->address < mapping->start || search->address >= mapping->end)
		return 0;
	if (!strncmp(mapping->path, "[stack", 6))
		snprintf(search->name, PLACE_BYTES, "stack");
	else if (mapping->path[0] == '[')
		snprintf(search->name, PLACE_BYTES, "%.60s", mapping->path);
	else if (base)
		snprintf(search->name, PLACE_BYTES, "global of %.50s", base + 1);
	else
		snprintf(search->name, PLACE_BYTES, "other memory");
	gy_out_clean(search->name);
	return 1;
}

static void slot_visit(void *context, uint64_t address, const struct gyre_cell *cell)
{
	struct place_search search = {.address = address};
	struct hits *stat = context;
	size_t i;

	if (address - stat->heap_base < stat->heap_bytes)
		snprintf(search.name, PLACE_BYTES, "object of the heap");
	else if (gy_maps_each(stat->target.pid, place_visit, &search) <= 0)
		snprintf(search.name, PLACE_BYTES, "unmapped since");
	for (i = 0; i < stat->place_count; i++)
		if (!strcmp(stat->places[i].label, search.name))
			break;
	if (i == PLACES)
		i = PLACES - 1;
	if (i == stat->place_count) {
		snprintf(stat->places[i].label, sizeof(stat->places[i].label), "%s", search.name);
		stat->place_count++;
	}
	stat->places[i].cell.count += cell->count;
	stat->places[i].cell.bytes += cell->bytes;
}

/* ---------------------------------------------------------------- begin, sum up */

static int on_begin(void *context)
{
	struct hits *stat = context;

	stat->last_ns = gy_monotonic_ns();
	gy_out_begin(NULL, NULL);
	gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)stat->target.pid);
	gy_out_text("comm", NULL, stat->target.comm);
	gy_out_stream("events");
	gy_out_info("Tracing the barrier of process %d (%s), Ctrl-C ends it", stat->target.pid,
		    stat->target.comm);
	gy_out_line("%-8s  %13s  %13s  %13s  %10s  %s", "TIME", "HITS/S", "OVERWRITTEN/S",
		    "EMPTY/S", "MEAN", "COLLECTOR");
	return 0;
}

static void places_out(struct hits *stat)
{
	json_t *array;

	stat->slots = gy_event_slots(stat->session, slot_visit, stat);
	if (!gy_out_is_json()) {
		char slots[GY_OUT_TEXT];

		if (!stat->place_count)
			return;
		gy_out_line("\n%s slots", gy_out_count(slots, stat->slots));
		gy_histogram_out("SLOT IN", "HITS", stat->places, stat->place_count, false);
		return;
	}
	array = json_array();
	for (size_t i = 0; i < stat->place_count; i++) {
		json_t *row = json_object();

		json_object_set_new(row, "place", gy_out_json_text(stat->places[i].label));
		json_object_set_new(row, "hits", gy_out_json_u64(stat->places[i].cell.count));
		json_object_set_new(row, "overwritten_bytes",
				    gy_out_json_u64(stat->places[i].cell.bytes));
		json_array_append_new(array, row);
	}
	gy_out_json("places", array);
	gy_out_u64("slots", NULL, OUT_COUNT, stat->slots);
}

static void sizes_out(const struct gyre_cell sizes[GYRE_CELL_SIZES])
{
	static struct gy_histogram_row rows[GYRE_CELL_SIZES];

	for (size_t i = 1; i < GYRE_CELL_SIZES; i++) {
		char from[GY_OUT_TEXT], to[GY_OUT_TEXT];

		if (i < 10)
			snprintf(rows[i].label, sizeof(rows[i].label), "%llu - %llu", 1ull << i,
				 (2ull << i) - 1);
		else
			snprintf(rows[i].label, sizeof(rows[i].label), "%s - %s",
				 gy_out_bytes(from, 1ull << i),
				 gy_out_bytes(to, i < 63 ? 2ull << i : UINT64_MAX));
		rows[i].cell = sizes[i];
	}
	if (!held_sum(sizes).count)
		return;
	gy_out_line("\noverwritten pointers, by the size of what they pointed to");
	gy_histogram_out("SIZE", "HITS", rows + 1, GYRE_CELL_SIZES - 1, true);
}

static void sum_up(struct hits *stat)
{
	uint64_t duration_ns = gy_event_end_ns(stat->session) - gy_event_start_ns(stat->session);
	char duration[GY_OUT_TEXT], hits[GY_OUT_TEXT], over[GY_OUT_TEXT], lost[GY_OUT_TEXT];
	struct gyre_cell sizes[GYRE_CELL_SIZES], held;
	struct gy_event_books books;

	gy_event_books(stat->session, &books);
	sizes_read(stat, sizes);
	held = held_sum(sizes);
	gy_out_stream_end();
	gy_out_u64("hits", NULL, OUT_COUNT, held.count + sizes[0].count);
	gy_out_u64("overwritten", NULL, OUT_COUNT, held.count);
	gy_out_u64("overwritten_bytes", NULL, OUT_BYTES, held.bytes);
	gy_out_u64("empty", NULL, OUT_COUNT, sizes[0].count);
	gy_out_u64("duration_ns", NULL, OUT_NS, duration_ns);
	gy_out_text("ended_by", NULL, gy_event_stop_name(stat->session));
	gy_out_line("\n%s hit%s in %s, %s of them overwrote a pointer, %s lost",
		    gy_out_count(hits, held.count + sizes[0].count),
		    held.count + sizes[0].count == 1 ? "" : "s", gy_out_ns(duration, duration_ns),
		    gy_out_count(over, held.count), gy_out_count(lost, gy_event_lost(&books)));
	places_out(stat);
	if (!gy_out_is_json())
		sizes_out(sizes);
	gy_event_books_out(stat->session);
	if (gy_event_stop(stat->session) == STOP_TARGET)
		gy_out_line("The process has ended.");
	gy_out_end();
}

/* ---------------------------------------------------------------- the command line */

static int stat_run(struct hits *stat)
{
	struct gy_event_plan plan = {.context = stat, .begin = on_begin, .tick = on_tick};
	struct gy_snapshot snapshot;
	int error = gy_event_words_target(&stat->target);

	if (error)
		return error;
	error = gy_control_read(stat->target.control, 0, &snapshot);
	if (error)
		return gy_out_error("process %d (%s): %s", stat->target.pid, stat->target.comm,
				    gy_control_error(error));
	stat->heap_base = snapshot.header.heap_base;
	stat->heap_bytes = snapshot.header.heap_reserved_bytes;
	gy_snapshot_free(&snapshot);
	gy_event_words_plan(&stat->words, &plan);
	plan.count_by = GY_EVENT_BY_SIZE | GY_EVENT_BY_SLOT;
	plan.shared_clock = true;
	stat->session = gy_event_session_open(&stat->target, 1, &plan);
	error = stat->session ? gy_event_session_run(stat->session) : -1;
	if (!error)
		sum_up(stat);
	return error;
}

static int cmd_stat(int argc, char **argv)
{
	struct hits *stat = calloc(1, sizeof(*stat));
	int error, taken = 1;

	if (!stat)
		return gy_out_error("no memory");
	gy_event_words_begin(&stat->words);
	error = gy_target_arguments(&argc, &argv, &stat->target, TARGET_GYRE);
	if (!error) {
		while (argc && taken > 0) {
			taken = gy_event_words_take(&stat->words,
						    EVENT_WORD_DURATION | EVENT_WORD_INTERVAL |
							    EVENT_WORD_COUNT,
						    &argc, &argv);
			if (!taken)
				taken = gy_out_error("expected 'interval', 'duration' or 'count', "
						     "got: '%s'?",
						     *argv);
		}
		stat->words.filter.operations = 1u << GYRE_RECORD_BARRIER;
		if (!stat->words.interval_ns)
			stat->words.interval_ns = 1000000000;
		error = taken < 0 ? -1 : stat_run(stat);
		gy_event_session_close(stat->session);
		gy_target_close(&stat->target);
	}
	free(stat);
	return error;
}

static int cmd_top(int argc, char **argv)
{
	return gy_site_top(argc, argv, 1u << GYRE_RECORD_BARRIER, false);
}

static int cmd_barrier_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr,
		"Usage: gyre barrier stat PROC [interval TIME] [duration TIME] [count N]\n"
		"       gyre barrier top PROC [by { bytes | count }] [interval TIME] \\\n"
		"                             [duration TIME] [count N] [rows N]\n"
		"       gyre barrier help\n"
		"\n"
		"       " GY_HELP_PROC "\n"
		"       TIME := seconds, or 250ms, 10s, 5m, 1h\n"
		"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static const struct gy_command commands[] = {
	{"stat", cmd_stat},
	{"top", cmd_top},
	{"help", cmd_barrier_help},
	{NULL, NULL},
};

int gy_cmd_barrier(int argc, char **argv)
{
	return gy_words_run(commands, "barrier", argc, argv, cmd_barrier_help);
}
