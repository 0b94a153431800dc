/* site_top.c - see site_top.h.
 *
 * The kernel counts by stack id (bpf/events.bpf.c), the process takes each event's stack: some tens
 * of nanoseconds. On a terminal the table is drawn anew in its place, at most as many rows as it
 * has lines; elsewhere one table follows the other.
 */
#include "site_top.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "event_session.h"
#include "event_words.h"
#include "output.h"
#include "site_table.h"
#include "stack_names.h"
#include "type_table.h"
#include "words.h"

#define ROWS_DEFAULT 20
#define LINES_BESIDE 5 /* heads and the cursor's line */
#define TYPE_ROWS 6    /* on a screen */
#define TYPE_LINES (TYPE_ROWS + 3) /* with head, "more" and an empty line */

struct top {
	struct gy_target target;
	struct gy_event_session *session;
	struct gy_stack_names *names;
	struct gy_site_table *sites;
	struct gy_type_table *types; /* NULL: of allocations there are none */
	struct gy_event_words words;
	enum gy_site_order order;
	uint64_t looks, last_ns;
	bool screen;
};

static size_t screen_lines(void)
{
	struct winsize window;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) ? 0 : window.ws_row;
}

static void tables_text(struct top *top, bool all, double seconds)
{
	if (top->types) {
		gy_type_table_text(top->types, top->screen ? TYPE_ROWS : top->words.rows, all,
				   seconds);
		gy_out_line("%s", "");
	}
	gy_site_table_text(top->sites, top->names, all, seconds);
}

/* Between two cycles the barrier is not hit at all: what was seen so far says more. */
static void quiet_text(struct top *top)
{
	uint64_t ns = gy_monotonic_ns() - gy_event_start_ns(top->session);
	char text[GY_OUT_TEXT];

	gy_out_line("None in this interval; in the %s since the beginning:", gy_out_ns(text, ns));
	tables_text(top, true, (double)ns / 1e9);
}

static void look_text(struct top *top, double seconds)
{
	struct gyre_cell sum = gy_site_table_sum(top->sites, false);
	char bytes[GY_OUT_TEXT], count[GY_OUT_TEXT], lost[GY_OUT_TEXT];
	struct gy_event_books books;
	time_t wall = time(NULL);
	struct tm local;

	gy_event_books(top->session, &books);
	localtime_r(&wall, &local);
	if (top->screen)
		fputs("\033[H\033[J", stdout);
	else if (top->looks)
		gy_out_line("%s", "");
	gy_out_line("%02d:%02d:%02d  %s (pid %d)  %s/s in %s events/s  %s lost", local.tm_hour,
		    local.tm_min, local.tm_sec, top->target.comm, top->target.pid,
		    gy_out_bytes(bytes, (uint64_t)((double)sum.bytes / seconds)),
		    gy_out_count(count, (uint64_t)((double)sum.count / seconds)),
		    gy_out_count(lost, gy_event_lost(&books)));
	if (sum.count)
		tables_text(top, false, seconds);
	else if (gy_site_table_sum(top->sites, true).count)
		quiet_text(top);
	else if (top->types)
		gy_out_line("No hits yet: the barrier is hit only while the collector marks.");
}

static void look_json(struct top *top, uint64_t now_ns, double seconds)
{
	struct gyre_cell sum = gy_site_table_sum(top->sites, false);
	json_t *event = json_object();

	json_object_set_new(event, "time_ns", gy_out_json_u64(now_ns));
	json_object_set_new(event, "seconds", json_real(seconds));
	json_object_set_new(event, "count", gy_out_json_u64(sum.count));
	json_object_set_new(event, "bytes", gy_out_json_u64(sum.bytes));
	if (top->types)
		json_object_set_new(event, "types", gy_type_table_json(top->types, top->words.rows,
								       false, seconds));
	json_object_set_new(event, "sites",
			    gy_site_table_json(top->sites, top->names, false, seconds));
	gy_out_stream_event(event);
}

static void tables_look(struct top *top)
{
	gy_site_table_look(top->sites, top->session);
	if (top->types)
		gy_type_table_look(top->types, top->session);
}

static int on_tick(void *context)
{
	struct top *top = context;
	uint64_t now_ns = gy_monotonic_ns();
	double seconds = (double)(now_ns - top->last_ns) / 1e9;

	top->last_ns = now_ns;
	tables_look(top);
	if (gy_out_is_json())
		look_json(top, now_ns, seconds);
	else
		look_text(top, seconds);
	top->looks++;
	return top->words.count && top->looks >= top->words.count;
}

static int on_begin(void *context)
{
	struct top *top = context;

	top->last_ns = gy_monotonic_ns();
	gy_stack_names_look(top->names);
	gy_out_begin(NULL, NULL);
	gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)top->target.pid);
	gy_out_text("comm", NULL, top->target.comm);
	gy_out_stream("events");
	if (!top->screen)
		gy_out_info("Tracing every event of process %d (%s), Ctrl-C ends it",
			    top->target.pid, top->target.comm);
	return 0;
}

static void sum_up(struct top *top)
{
	uint64_t duration_ns = gy_event_end_ns(top->session) - gy_event_start_ns(top->session);
	char duration[GY_OUT_TEXT], bytes[GY_OUT_TEXT], events[GY_OUT_TEXT], lost[GY_OUT_TEXT];
	struct gy_event_books books;
	struct gyre_cell sum;

	gy_event_books(top->session, &books);
	tables_look(top);
	sum = gy_site_table_sum(top->sites, true);
	gy_out_stream_end();
	if (top->types)
		gy_out_json("types", gy_type_table_json(top->types, top->words.rows, true,
							(double)duration_ns / 1e9));
	gy_out_json("sites", gy_site_table_json(top->sites, top->names, true,
						(double)duration_ns / 1e9));
	gy_out_u64("event_count", NULL, OUT_COUNT, sum.count);
	gy_out_u64("event_bytes", NULL, OUT_BYTES, sum.bytes);
	gy_out_u64("duration_ns", NULL, OUT_NS, duration_ns);
	gy_out_text("ended_by", NULL, gy_event_stop_name(top->session));
	gy_out_line("\n%s event%s of %s in %s, %s lost", gy_out_count(events, sum.count),
		    sum.count == 1 ? "" : "s", gy_out_bytes(bytes, sum.bytes),
		    gy_out_ns(duration, duration_ns), gy_out_count(lost, gy_event_lost(&books)));
	gy_event_books_out(top->session);
	if (gy_event_stop(top->session) == STOP_TARGET)
		gy_out_line("The process has ended.");
	gy_out_end();
}

static int parse_by(struct top *top, int *argc, char ***argv)
{
	const char *word = *argc > 1 ? (*argv)[1] : "";

	if (gy_word_is(word, "bytes"))
		top->order = SITES_BY_BYTES;
	else if (gy_word_is(word, "count"))
		top->order = SITES_BY_COUNT;
	else
		return gy_out_error("'by' needs 'bytes' or 'count' behind it");
	*argc -= 2;
	*argv += 2;
	return 1;
}

static int parse_words(struct top *top, int argc, char **argv, bool choose)
{
	const unsigned int which = EVENT_WORD_DURATION | EVENT_WORD_INTERVAL | EVENT_WORD_COUNT |
				   EVENT_WORD_ROWS |
				   (choose ? EVENT_WORD_FILTER | EVENT_WORD_OPERATION : 0u);
	const char *filters = choose ? "'operation', 'size', 'class', 'thread', " : "";
	int taken = 1;

	while (argc && taken > 0) {
		taken = gy_word_is(*argv, "by")
				? parse_by(top, &argc, &argv)
				: gy_event_words_take(&top->words, which, &argc, &argv);
		if (!taken)
			return gy_out_error("expected 'by', %s'interval', 'duration', 'count' or "
					    "'rows', got: '%s'?",
					    filters, *argv);
	}
	if (!top->words.interval_ns)
		top->words.interval_ns = 1000000000;
	return taken < 0 ? -1 : 0;
}

static int top_run(struct top *top)
{
	struct gy_event_plan plan = {.context = top, .begin = on_begin, .tick = on_tick};
	size_t lines = screen_lines(), beside = LINES_BESIDE;
	int error = gy_event_words_target(&top->target);

	if (!error)
		error = gy_event_words_end(&top->words, &top->target);
	if (error)
		return error;
	if (top->words.filter.operations == 1u << GYRE_RECORD_BARRIER) {
		top->types = gy_type_table_open(&top->target, top->order == SITES_BY_BYTES);
		if (!top->types)
			return -1;
		beside += TYPE_LINES;
		plan.count_by |= GY_EVENT_BY_CLASS;
	}
	top->screen = lines && !gy_out_is_json() && isatty(STDOUT_FILENO);
	if (!top->words.rows)
		top->words.rows = lines > beside + 1 ? lines - beside : ROWS_DEFAULT;
	gy_event_words_plan(&top->words, &plan);
	plan.stacks = plan.shared_clock = true;
	plan.count_by |= GY_EVENT_BY_SITE;
	top->names = gy_stack_names_open(top->target.pid);
	top->sites = gy_site_table_open(top->words.rows, top->words.filter.operations, top->order);
	if (!top->names || !top->sites)
		return -1;
	top->session = gy_event_session_open(&top->target, 1, &plan);
	error = top->session ? gy_event_session_run(top->session) : -1;
	if (!error)
		sum_up(top);
	return error;
}

int gy_site_top(int argc, char **argv, uint32_t operations, bool choose)
{
	struct top *top = calloc(1, sizeof(*top));
	int error;

	if (!top)
		return gy_out_error("no memory");
	top->order = choose ? SITES_BY_BYTES : SITES_BY_COUNT;
	gy_event_words_begin(&top->words);
	error = gy_target_arguments(&argc, &argv, &top->target, TARGET_GYRE);
	if (!error) {
		error = parse_words(top, argc, argv, choose);
		if (!error && !top->words.filter.operations)
			top->words.filter.operations = operations;
		if (!error)
			error = top_run(top);
		gy_event_session_close(top->session);
		gy_target_close(&top->target);
	}
	gy_type_table_close(top->types);
	gy_site_table_close(top->sites);
	gy_stack_names_close(top->names);
	free(top);
	return error;
}
