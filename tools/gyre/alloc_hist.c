/* alloc_hist.c - `gyre alloc hist`: every event of a process, counted in the kernel, as bars.
 *
 *      by size       powers of two of the bytes: of a malloc as asked for, of a free the block's
 *      by class      the library's size classes, `large` above them
 *      by site       the stacks that did it
 *      by lifetime   from malloc to free, powers of two of the time
 *
 * Nothing is shipped: the eBPF program adds each batch up (bpf/events.bpf.c), exactly, and what is
 * read here are its tables. With `interval` what came since the last look is shown at each, and all
 * of it at the end.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc_trace.h"
#include "event_session.h"
#include "event_words.h"
#include "histogram.h"
#include "output.h"
#include "site_table.h"
#include "stack_names.h"
#include "words.h"

#define ROWS_DEFAULT 20

enum by { BY_SIZE, BY_CLASS, BY_SITE, BY_LIFETIME };

static const struct {
	const char *name, *heading;
	unsigned int count_by;
	size_t columns; /* of each operation's row of cells */
} kinds[] = {
	[BY_SIZE] = {"size", "SIZE", GY_EVENT_BY_SIZE, GYRE_CELL_SIZES},
	[BY_CLASS] = {"class", "CLASS", GY_EVENT_BY_CLASS, GYRE_CELL_CLASSES},
	[BY_SITE] = {"site", "STACK", GY_EVENT_BY_SITE, 0},
	[BY_LIFETIME] = {"lifetime", "LIFETIME", GY_EVENT_BY_LIFETIME, GYRE_CELL_SIZES},
};
#define CELLS_MAX (GYRE_CELL_OPERATIONS * GYRE_CELL_CLASSES)

struct hist {
	struct gy_target *target;
	struct gy_event_session *session;
	struct gy_stack_names *names;
	struct gy_event_words words;
	enum by by;
	uint64_t shown; /* intervals */
	uint64_t last_ns;
	uint32_t class_bytes[GYRE_CELL_CLASSES];
	struct gyre_cell before[CELLS_MAX], now[CELLS_MAX];
	struct gy_site_table *sites;
};

/* ---------------------------------------------------------------- labels */

static void size_label(const struct hist *hist, size_t index, char label[64])
{
	char from[GY_OUT_TEXT], to[GY_OUT_TEXT];

	if (hist->by == BY_CLASS) {
		if (!index)
			snprintf(label, 64, "large");
		else
			snprintf(label, 64, "%u", hist->class_bytes[index]);
	} else if (hist->by == BY_LIFETIME) {
		snprintf(label, 64, "%s - %s", gy_out_ns(from, index ? 1ull << index : 0),
			 gy_out_ns(to, 2ull << index));
	} else if (index < 10) {
		snprintf(label, 64, "%llu - %llu", index ? 1ull << index : 0, (2ull << index) - 1);
	} else {
		snprintf(label, 64, "%s - %s", gy_out_bytes(from, 1ull << index),
			 gy_out_bytes(to, index < 63 ? 2ull << index : UINT64_MAX));
	}
}

static bool is_shown(const struct hist *hist, uint32_t operation)
{
	uint32_t wanted = hist->words.filter.operations;

	/* Frees by size look as mallocs do, half a second later. */
	return wanted ? wanted >> operation & 1
		      : operation == GYRE_RECORD_MALLOC || operation == GYRE_RECORD_NEW ||
				operation == GYRE_RECORD_BARRIER;
}

static struct gyre_cell cells_sum(const struct gyre_cell *cells, size_t count)
{
	struct gyre_cell sum = {0};

	for (size_t i = 0; i < count; i++) {
		sum.count += cells[i].count;
		sum.bytes += cells[i].bytes;
	}
	return sum;
}

/* ---------------------------------------------------------------- cells: size, class, lifetime */

static void cells_read(struct hist *hist, struct gyre_cell *cells)
{
	struct gyre_cell *barrier = &cells[GYRE_RECORD_BARRIER * GYRE_CELL_CLASSES];

	if (hist->by == BY_SIZE) {
		gy_event_sizes(hist->session, cells);
	} else if (hist->by == BY_CLASS) {
		gy_event_classes(hist->session, cells);
		/* There a hit has its slot's type (type_table.c); of classes it has none. */
		barrier[0] = cells_sum(barrier, GYRE_CELL_CLASSES);
		memset(barrier + 1, 0, (GYRE_CELL_CLASSES - 1) * sizeof(*barrier));
	} else {
		gy_event_lifetimes(hist->session, cells);
	}
}

static void row_text(const struct hist *hist, const char *title, const char *heading,
		     const struct gyre_cell *cells, double seconds)
{
	static struct gy_histogram_row rows[GYRE_CELL_CLASSES];
	size_t columns = kinds[hist->by].columns;
	struct gyre_cell sum = cells_sum(cells, columns);
	char count[GY_OUT_TEXT], bytes[GY_OUT_TEXT], rate[GY_OUT_TEXT];

	if (!sum.count)
		return;
	gy_out_line("\n%s: %s, %s, %s/s", title, gy_out_count(count, sum.count),
		    gy_out_bytes(bytes, sum.bytes),
		    gy_out_count(rate, (uint64_t)((double)sum.count / seconds)));
	for (size_t i = 0; i < columns; i++) {
		size_label(hist, i, rows[i].label);
		rows[i].cell = cells[i];
	}
	gy_histogram_out(kinds[hist->by].heading, heading, rows, columns, hist->by != BY_CLASS);
}

static json_t *row_json(const struct hist *hist, const struct gyre_cell *cells)
{
	json_t *array = json_array();

	for (size_t i = 0; i < kinds[hist->by].columns; i++) {
		json_t *row;

		if (!cells[i].count)
			continue;
		row = json_object();
		if (hist->by == BY_CLASS) {
			json_object_set_new(row, "class_bytes",
					    json_integer(hist->class_bytes[i]));
		} else {
			const char *unit = hist->by == BY_SIZE ? "bytes" : "ns";
			char key[32];

			snprintf(key, sizeof(key), "from_%s", unit);
			json_object_set_new(row, key, gy_out_json_u64(i ? 1ull << i : 0));
			snprintf(key, sizeof(key), "below_%s", unit);
			json_object_set_new(row, key,
					    gy_out_json_u64(i < 63 ? 2ull << i : UINT64_MAX));
		}
		json_object_set_new(row, "count", gy_out_json_u64(cells[i].count));
		json_object_set_new(row, "bytes", gy_out_json_u64(cells[i].bytes));
		json_array_append_new(array, row);
	}
	return array;
}

static void cells_text(const struct hist *hist, const struct gyre_cell *cells, double seconds)
{
	static const char *const headings[] = {"", "MALLOCS", "FREES", "OBJECTS", "HITS"};

	if (hist->by == BY_LIFETIME) {
		row_text(hist, "blocks that lived and ended", "BLOCKS", cells, seconds);
		return;
	}
	for (uint32_t i = GYRE_RECORD_MALLOC; i < GYRE_RECORD_OPERATIONS; i++)
		if (is_shown(hist, i))
			row_text(hist, gy_event_operation_name(i), headings[i],
				 &cells[i * kinds[hist->by].columns], seconds);
}

static json_t *cells_json(const struct hist *hist, const struct gyre_cell *cells)
{
	json_t *object = json_object();

	if (hist->by == BY_LIFETIME) {
		json_object_set_new(object, "blocks", row_json(hist, cells));
		return object;
	}
	for (uint32_t i = GYRE_RECORD_MALLOC; i < GYRE_RECORD_OPERATIONS; i++)
		json_object_set_new(object, gy_event_operation_name(i),
				    row_json(hist, &cells[i * kinds[hist->by].columns]));
	return object;
}

/* ---------------------------------------------------------------- one look */

static void look_text(struct hist *hist, const struct gyre_cell *cells, bool all, double seconds)
{
	if (hist->by == BY_SITE)
		gy_site_table_text(hist->sites, hist->names, all, seconds);
	else
		cells_text(hist, cells, seconds);
}

static json_t *look_json(struct hist *hist, const struct gyre_cell *cells, bool all, double seconds)
{
	return hist->by == BY_SITE ? gy_site_table_json(hist->sites, hist->names, all, seconds)
				   : cells_json(hist, cells);
}

static void look(struct hist *hist)
{
	size_t count = kinds[hist->by].columns *
		       (hist->by == BY_LIFETIME ? 1 : GYRE_CELL_OPERATIONS);

	if (hist->by == BY_SITE) {
		gy_site_table_look(hist->sites, hist->session);
		return;
	}
	cells_read(hist, hist->now);
	for (size_t i = 0; i < count; i++) {
		struct gyre_cell now = hist->now[i];

		hist->now[i].count -= hist->before[i].count;
		hist->now[i].bytes -= hist->before[i].bytes;
		hist->before[i] = now;
	}
}

static int on_tick(void *context)
{
	struct hist *hist = context;
	uint64_t now_ns = gy_monotonic_ns();
	double seconds = (double)(now_ns - hist->last_ns) / 1e9;

	hist->last_ns = now_ns;
	look(hist);
	if (gy_out_is_json()) {
		json_t *event = json_object();

		json_object_set_new(event, "time_ns", gy_out_json_u64(now_ns));
		json_object_set_new(event, "seconds", json_real(seconds));
		json_object_set_new(event, "by", json_string(kinds[hist->by].name));
		json_object_set_new(event, kinds[hist->by].name,
				    look_json(hist, hist->now, false, seconds));
		gy_out_stream_event(event);
	} else {
		time_t wall = time(NULL);
		struct tm local;

		localtime_r(&wall, &local);
		gy_out_line("\n%02d:%02d:%02d, the last %.3g s", local.tm_hour, local.tm_min,
			    local.tm_sec, seconds);
		look_text(hist, hist->now, false, seconds);
	}
	return hist->words.count && ++hist->shown >= hist->words.count;
}

static int on_begin(void *context)
{
	struct hist *hist = context;

	hist->last_ns = gy_monotonic_ns();
	if (hist->names)
		gy_stack_names_look(hist->names);
	gy_out_begin(NULL, NULL);
	gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)hist->target->pid);
	gy_out_text("comm", NULL, hist->target->comm);
	gy_out_text("by", NULL, kinds[hist->by].name);
	gy_out_stream("events");
	gy_out_info("Tracing every event of process %d (%s), Ctrl-C ends it", hist->target->pid,
		    hist->target->comm);
	return 0;
}

static void lifetime_notes(const struct gy_event_books *books)
{
	char text[GY_OUT_TEXT];

	if (books->orphans)
		gy_out_line("%s frees are of blocks that were there before",
			    gy_out_count(text, books->orphans));
	if (books->births_lost)
		gy_out_line("%s blocks found no room in the kernel's table",
			    gy_out_count(text, books->births_lost));
}

static void sum_up(struct hist *hist)
{
	uint64_t duration_ns = gy_event_end_ns(hist->session) - gy_event_start_ns(hist->session);
	char duration[GY_OUT_TEXT], events[GY_OUT_TEXT], lost[GY_OUT_TEXT];
	double seconds = (double)duration_ns / 1e9;
	struct gy_event_books books;
	uint64_t counted;

	gy_event_books(hist->session, &books);
	counted = books.announced - books.filtered - books.unread - books.crowded;
	look(hist);
	gy_out_stream_end();
	gy_out_json(kinds[hist->by].name, look_json(hist, hist->before, true, seconds));
	gy_out_u64("event_count", NULL, OUT_COUNT, counted);
	gy_out_u64("duration_ns", NULL, OUT_NS, duration_ns);
	gy_out_text("ended_by", NULL, gy_event_stop_name(hist->session));
	if (hist->by == BY_LIFETIME) {
		gy_out_u64("births_before", NULL, OUT_COUNT, books.orphans);
		gy_out_u64("births_lost", NULL, OUT_COUNT, books.births_lost);
	}
	if (hist->words.interval_ns)
		gy_out_line("\nin all %s", gy_out_ns(duration, duration_ns));
	look_text(hist, hist->before, true, seconds);
	gy_out_line("\n%s event%s counted in %s, %s lost", gy_out_count(events, counted),
		    counted == 1 ? "" : "s", gy_out_ns(duration, duration_ns),
		    gy_out_count(lost, gy_event_lost(&books)));
	if (hist->by == BY_LIFETIME)
		lifetime_notes(&books);
	gy_event_books_out(hist->session);
	if (gy_event_stop(hist->session) == STOP_TARGET)
		gy_out_line("The process has ended.");
	gy_out_end();
}

/* ---------------------------------------------------------------- the command line */

static int parse_by(struct hist *hist, int *argc, char ***argv)
{
	const char *word = *argc > 1 ? (*argv)[1] : "";

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (gy_word_is(word, kinds[i].name)) {
			hist->by = (enum by)i;
			*argc -= 2;
			*argv += 2;
			return 0;
		}
	return gy_out_error("'by' needs 'size', 'class', 'site' or 'lifetime' behind it");
}

static int parse_words(struct hist *hist, int argc, char **argv)
{
	const unsigned int which = EVENT_WORD_FILTER | EVENT_WORD_OPERATION |
				   EVENT_WORD_DURATION | EVENT_WORD_INTERVAL | EVENT_WORD_COUNT |
				   EVENT_WORD_ROWS;
	int taken = 1;

	while (argc && taken > 0) {
		if (gy_word_is(*argv, "by"))
			taken = parse_by(hist, &argc, &argv) ? -1 : 1;
		else
			taken = gy_event_words_take(&hist->words, which, &argc, &argv);
		if (!taken)
			return gy_out_error("expected 'by', 'operation', 'size', 'class', "
					    "'thread', 'interval', 'duration', 'count' or 'rows', "
					    "got: '%s'?",
					    *argv);
	}
	if (taken < 0)
		return -1;
	if (hist->by == BY_LIFETIME && hist->words.filter.operations)
		return gy_out_error("'by lifetime' is of mallocs and frees: it goes without "
				    "'operation'");
	if (hist->words.count && !hist->words.interval_ns)
		hist->words.interval_ns = 1000000000;
	return 0;
}

static int hist_run(struct hist *hist)
{
	struct gy_event_plan plan = {.context = hist, .begin = on_begin, .tick = on_tick};
	int error = gy_event_words_target(hist->target);

	if (!error)
		error = gy_event_words_end(&hist->words, hist->target);
	if (!error)
		error = gy_event_class_bytes(hist->target, hist->class_bytes);
	if (error)
		return error;
	gy_event_words_plan(&hist->words, &plan);
	plan.count_by = kinds[hist->by].count_by;
	plan.shared_clock = hist->by != BY_LIFETIME;
	if (hist->by == BY_SITE) {
		plan.stacks = true;
		hist->names = gy_stack_names_open(hist->target->pid);
		hist->sites = gy_site_table_open(hist->words.rows ? hist->words.rows : ROWS_DEFAULT,
						 hist->words.filter.operations, SITES_BY_BYTES);
		if (!hist->names || !hist->sites)
			return -1;
	}
	hist->session = gy_event_session_open(hist->target, 1, &plan);
	error = hist->session ? gy_event_session_run(hist->session) : -1;
	if (!error)
		sum_up(hist);
	return error;
}

int gy_alloc_hist(int argc, char **argv)
{
	struct hist *hist = calloc(1, sizeof(*hist));
	struct gy_target target;
	int error;

	if (!hist)
		return gy_out_error("no memory");
	gy_event_words_begin(&hist->words);
	error = gy_target_arguments(&argc, &argv, &target, TARGET_GYRE);
	if (!error) {
		hist->target = &target;
		error = parse_words(hist, argc, argv);
		if (!error)
			error = hist_run(hist);
		gy_event_session_close(hist->session);
		gy_target_close(&target);
	}
	gy_site_table_close(hist->sites);
	gy_stack_names_close(hist->names);
	free(hist);
	return error;
}
