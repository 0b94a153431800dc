/* cmd_top.c - `gyre top`: a live screen of one process's memory.
 *
 *      on a terminal       a screen, drawn anew at each look, with keys (top_screen.c)
 *      elsewhere           the same as lines of text, look after look
 *      under -j            an array of looks
 *
 * Nothing is attached and nobody is stopped: all that is shown is in the control page and in /proc
 * (top_look.h). Killed at any moment, it leaves the process as it was; the terminal is put back
 * on every signal that can be caught.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "session.h"
#include "top_lines.h"
#include "top_screen.h"
#include "words.h"

#define INTERVAL_NS 1000000000ull
#define INTERVAL_LEAST_NS 100000000ull
#define SITES_SHOWN 10
#define ROW_BYTES 2048

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

bool gy_top_stopped(void)
{
	return stopped;
}

void gy_top_signals_catch(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	stopped = 0;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static int help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr, "Usage: gyre top PROC [interval TIME] [sort { rate | held | growth }] \\\n"
			"                [count N] [sites N]\n"
			"       gyre top help\n"
			"\n"
			"       " GY_HELP_PROC "\n"
			"       TIME := seconds, or 250ms, 10s, 5m, 1h\n"
			"       " GY_HELP_OPTIONS "\n");
	return 0;
}

struct request {
	struct gy_top_view view;
	uint64_t count, sites; /* count: looks; 0: until it is ended */
	bool counted;
};

static int sort_read(int *argc, char ***argv, enum gy_top_sort *sort)
{
	if (*argc < 2)
		return gy_out_error("'sort' needs rate, held or growth behind it");
	for (unsigned int i = 0; i < TOP_SORTS; i++) {
		if (!gy_word_is((*argv)[1], gy_top_sort_names[i]))
			continue;
		*sort = (enum gy_top_sort)i;
		*argc -= 2;
		*argv += 2;
		return 0;
	}
	return gy_out_error("expected rate, held or growth behind 'sort', got: '%s'?", (*argv)[1]);
}

static int request_read(struct request *request, int argc, char **argv)
{
	while (argc) {
		int error;

		if (gy_word_is(argv[0], "interval"))
			error = gy_words_seconds(&argc, &argv, &request->view.interval_ns);
		else if (gy_word_is(argv[0], "sort"))
			error = sort_read(&argc, &argv, &request->view.sort);
		else if (gy_word_is(argv[0], "count"))
			error = gy_words_u64(&argc, &argv, false, 1, UINT32_MAX, &request->count);
		else if (gy_word_is(argv[0], "sites"))
			error = gy_words_u64(&argc, &argv, false, 0, GYRE_CONTROL_BUCKETS,
					     &request->sites);
		else
			error = gy_out_error("expected 'interval', 'sort', 'count' or 'sites', "
					     "got: '%s'?",
					     argv[0]);
		if (error)
			return error;
	}
	if (request->view.interval_ns < INTERVAL_LEAST_NS)
		return gy_out_error("an interval is at least 100ms");
	return 0;
}

/* ---------------------------------------------------------------- as text, as JSON */

static void text_out(const struct gy_top *top, const struct request *request)
{
	char lines[GY_TOP_LINES][GY_TOP_LINE], row[ROW_BYTES];
	size_t count = gy_top_lines(top, request->view.interval_ns, lines);
	size_t columns = gy_out_columns();

	for (size_t i = 0; i < count; i++)
		gy_out_line("%s", lines[i]);
	if (request->sites)
		gy_out_line("%s", gy_top_heading());
	for (size_t i = 0; i < top->site_count && i < request->sites; i++) {
		gy_top_row(top, &top->sites[i], row, sizeof(row));
		if (columns)
			row[gy_out_cut(row, strlen(row), columns)] = 0;
		gy_out_line("%s", row);
	}
	gy_out_line("%s", "");
}

/* Until the time, or a signal. */
void gy_top_wait_until(uint64_t until_ns)
{
	uint64_t now;

	while (!stopped && (now = gy_monotonic_ns()) < until_ns) {
		uint64_t left_ms = (until_ns - now + 999999) / 1000000;

		poll(NULL, 0, left_ms > 1000 ? 1000 : (int)left_ms);
	}
}

static int look_error(const struct gy_top *top, int error)
{
	if (error == -ESRCH || gy_target_ended(top->target))
		return 0; /* that it ends is no failure of ours */
	return gy_out_error("process %d %s", top->target->pid, gy_control_error(error));
}

/* The first look has no rates: it is not shown. */
static int run_lines(struct gy_top *top, struct request *request)
{
	uint64_t shown = 0, next_ns = gy_monotonic_ns();
	int error = gy_top_look(top);

	if (error)
		return look_error(top, error);
	if (gy_out_is_json())
		gy_out_stream("looks");
	while (!request->count || shown < request->count) {
		next_ns += request->view.interval_ns;
		gy_top_wait_until(next_ns);
		if (stopped)
			break;
		error = gy_top_look(top);
		if (error)
			break;
		gy_top_sort(top, request->view.sort);
		if (gy_out_is_json())
			gy_out_stream_event(gy_top_json(top, request->sites));
		else
			text_out(top, request);
		shown++;
		if (gy_out_flush())
			break;
	}
	if (gy_out_is_json())
		gy_out_stream_end();
	return error ? look_error(top, error) : 0;
}

/* ---------------------------------------------------------------- on a terminal */

static int run_screen(struct gy_top *top, struct request *request)
{
	struct gy_top_view *view = &request->view;
	uint64_t next_ns = gy_monotonic_ns(), shown = 0;
	enum gy_top_key key = TOP_KEY_LOOK;
	int error = 0;

	while (key != TOP_KEY_QUIT && !stopped) {
		if (key == TOP_KEY_LOOK && !view->ended) {
			if (request->count && shown++ == request->count)
				break;
			error = gy_top_look(top);
			view->ended = error && (error == -ESRCH || gy_target_ended(top->target));
			if (error && (!view->ended || !top->looked))
				break;
			next_ns = gy_monotonic_ns() + view->interval_ns;
		}
		gy_top_sort(top, view->sort);
		if (view->first >= top->site_count)
			view->first = top->site_count ? top->site_count - 1 : 0;
		gy_top_screen_draw(top, view);
		key = gy_top_screen_key(view, view->held || view->ended ? UINT64_MAX : next_ns);
		if (key == TOP_KEY_DRAW && next_ns > gy_monotonic_ns() + view->interval_ns)
			next_ns = gy_monotonic_ns() + view->interval_ns;
	}
	gy_top_screen_close();
	return error && !view->ended ? look_error(top, error) : 0;
}

int gy_cmd_top(int argc, char **argv)
{
	struct request request = {
		.view = {.interval_ns = INTERVAL_NS},
		.sites = SITES_SHOWN,
	};
	struct gy_target target;
	struct gy_top top;
	int error;

	if (argc && gy_word_is(argv[0], "help"))
		return help(argc, argv);
	if (gy_target_arguments(&argc, &argv, &target, TARGET_CONTROL))
		return -1;
	error = request_read(&request, argc, argv);
	if (!error)
		error = gy_top_open(&top, &target);
	if (!error) {
		gy_top_signals_catch();
		if (!gy_out_is_json() && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) &&
		    gy_top_screen_open())
			error = run_screen(&top, &request);
		else
			error = run_lines(&top, &request);
		gy_top_close(&top);
	}
	gy_target_close(&target);
	return error;
}
