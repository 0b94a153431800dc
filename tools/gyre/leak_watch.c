/* leak_watch.c - `gyre leak watch`: what grows in a process, reachable or not, and whether it grows
 * as a leak does.
 *
 *      on a terminal       a table, drawn anew at each look (leak_screen.c)
 *      elsewhere           the same as lines, look after look
 *      under -j            an array of looks
 *      stacks TIME         then, every block of the size classes that grow (leak_every.h)
 *      picture FILE        at the end, an SVG of the curves and of survival by age
 *
 * The process is asked for no more than its numbers; where we may, one probe is attached that fires
 * about once for every half MiB freed (leak_deaths.h).
 */
#include "leak_watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "leak.h"
#include "leak_every.h"
#include "output.h"
#include "output_file.h"
#include "session.h"
#include "words.h"

#define INTERVAL_NS 2000000000ull
#define INTERVAL_LEAST_NS 100000000ull
#define SITES_SHOWN 10

int gy_leak_watch_look(struct gy_leak_watch *watch)
{
	int error = gy_leak_growth_look(&watch->growth);

	/* After the look: a death's cohort is then among the points, or just before the next. */
	gy_leak_deaths_take(watch->deaths);
	if (!error)
		gy_leak_growth_rank(&watch->growth);
	return error;
}

static int look_error(const struct gy_leak_watch *watch, int error)
{
	if (!error || error == -ESRCH || gy_target_ended(&watch->target))
		return 0; /* that it ends is no failure of ours */
	return gy_out_error("process %d %s", watch->target.pid, gy_control_error(error));
}

/* ---------------------------------------------------------------- as lines, as JSON */

static void row_out(const struct gy_leak_watch *watch, const struct gy_leak_row *row,
		    size_t columns)
{
	char line[GY_LEAK_ROW];

	gy_leak_row(watch, row, true, line, sizeof(line));
	if (columns)
		line[gy_out_cut(line, strlen(line), columns)] = 0;
	gy_out_line("%s", line);
}

static void text_out(const struct gy_leak_watch *watch)
{
	const struct gy_leak_growth *growth = &watch->growth;
	size_t classes = gy_leak_growth_count(growth->classes, growth->class_count);
	size_t columns = gy_out_columns();
	char line[GY_LEAK_LINE];
	uint64_t shown = 0;

	gy_leak_title(watch, line);
	gy_out_line("%s", line);
	gy_leak_summary(watch, line);
	gy_out_line("%s", line);
	gy_out_line("%s", gy_leak_heading());
	for (size_t i = 0; i < classes && i < GY_LEAK_CLASSES; i++)
		row_out(watch, growth->classes[i], columns);
	for (size_t i = 0; i < growth->stack_count && shown < watch->sites; i++)
		if (gy_leak_row_shown(growth->stacks[i])) {
			row_out(watch, growth->stacks[i], columns);
			shown++;
		}
	gy_out_line("%s", "");
}

static int run_lines(struct gy_leak_watch *watch)
{
	uint64_t next_ns = gy_monotonic_ns(), shown = 0;
	uint64_t end_ns = watch->duration_ns ? next_ns + watch->duration_ns : UINT64_MAX;
	int error = 0;

	gy_out_begin(NULL, NULL);
	if (gy_out_is_json())
		gy_out_stream("looks");
	while (!gy_top_stopped() && next_ns <= end_ns && (!watch->count || shown < watch->count)) {
		gy_top_wait_until(next_ns);
		if (gy_top_stopped())
			break;
		error = gy_leak_watch_look(watch);
		if (error)
			break;
		if (gy_out_is_json())
			gy_out_stream_event(gy_leak_look_json(watch));
		else
			text_out(watch);
		shown++;
		if (gy_out_flush())
			break;
		next_ns += watch->view.interval_ns;
	}
	if (gy_out_is_json())
		gy_out_stream_end();
	return error;
}

/* ---------------------------------------------------------------- every block, for a while */

static int stacks_run(struct gy_leak_watch *watch)
{
	const struct gy_leak_growth *growth = &watch->growth;
	size_t count = gy_leak_growth_count(growth->classes, growth->class_count);
	uint64_t *sizes = calloc(growth->class_count + 1, sizeof(*sizes));
	struct gy_leak_every *every;

	for (size_t i = 0; sizes && i < count; i++)
		sizes[i] = growth->classes[i]->class_bytes;
	if (!count) {
		free(sizes);
		gy_out_line("No size class grows: no block is followed.");
		gy_out_json("every", json_null());
		return 0;
	}
	every = sizes ? gy_leak_every_run(&watch->target, sizes, count, watch->stacks_ns) : NULL;
	free(sizes);
	if (!every)
		return -1;
	if (gy_out_is_json())
		gy_out_json("every", gy_leak_every_json(every, watch->sites));
	else
		gy_leak_every_text(every, watch->sites);
	gy_leak_every_close(every);
	return 0;
}

/* ---------------------------------------------------------------- the command */

static int picture_write(const struct gy_leak_watch *watch)
{
	char *picture = gy_leak_picture(watch);
	int error;

	if (!picture)
		return gy_out_error("no memory for the picture");
	error = gy_output_file(watch->picture, picture, strlen(picture));
	free(picture);
	if (!error)
		gy_out_info("Wrote %s", watch->picture);
	return error;
}

static int words_read(struct gy_leak_watch *watch, int argc, char **argv)
{
	int error = 0;

	while (argc && !error) {
		if (gy_leak_word(*argv, "interval")) {
			error = gy_words_seconds(&argc, &argv, &watch->view.interval_ns);
		} else if (gy_leak_word(*argv, "duration")) {
			error = gy_words_seconds(&argc, &argv, &watch->duration_ns);
		} else if (gy_leak_word(*argv, "count")) {
			error = gy_words_u64(&argc, &argv, false, 1, UINT32_MAX, &watch->count);
		} else if (gy_leak_word(*argv, "sites")) {
			error = gy_words_u64(&argc, &argv, false, 0, UINT32_MAX, &watch->sites);
		} else if (gy_leak_word(*argv, "stacks")) {
			error = gy_words_seconds(&argc, &argv, &watch->stacks_ns);
		} else if (gy_leak_word(*argv, "picture")) {
			if (argc < 2 || !*argv[1])
				return gy_out_error("'picture' needs a path behind it");
			watch->picture = argv[1];
			argc -= 2;
			argv += 2;
		} else {
			return gy_out_error("expected 'interval', 'duration', 'count', 'sites', "
					    "'stacks' or 'picture', got: '%s'?",
					    *argv);
		}
	}
	if (!error && watch->view.interval_ns < INTERVAL_LEAST_NS)
		return gy_out_error("an interval is at least 100ms");
	return error;
}

static int watch_run(struct gy_leak_watch *watch)
{
	int error = gy_leak_growth_init(&watch->growth, &watch->target, watch->view.interval_ns);

	watch->symbols = gy_symbols_open(watch->target.pid);
	if (error || !watch->symbols)
		return gy_out_error("no memory for the table of stacks");
	watch->deaths = gy_leak_deaths_open(&watch->growth);
	watch->growth.deaths_known = watch->deaths;
	gy_top_signals_catch();
	if (!gy_out_is_json() && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) &&
	    gy_top_screen_open())
		error = gy_leak_screen_run(watch);
	else
		error = run_lines(watch);
	error = look_error(watch, error);
	if (!error && watch->stacks_ns && !gy_target_ended(&watch->target))
		error = stacks_run(watch);
	if (!error && watch->picture && watch->growth.looked)
		error = picture_write(watch);
	return error;
}

int gy_leak_watch(int argc, char **argv)
{
	struct gy_leak_watch *watch = calloc(1, sizeof(*watch));
	int error;

	if (!watch)
		return gy_out_error("no memory");
	watch->view.interval_ns = INTERVAL_NS;
	watch->sites = SITES_SHOWN;
	error = gy_target_arguments(&argc, &argv, &watch->target, TARGET_CONTROL);
	if (!error) {
		error = words_read(watch, argc, argv);
		if (!error)
			error = watch_run(watch);
		gy_leak_deaths_close(watch->deaths);
		gy_symbols_close(watch->symbols);
		gy_leak_growth_fini(&watch->growth);
		gy_target_close(&watch->target);
	}
	free(watch);
	return error;
}
