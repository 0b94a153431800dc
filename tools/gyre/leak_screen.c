/* leak_screen.c - `gyre leak watch` on a terminal: the table, drawn anew at each look.
 *
 *      gyre leak watch - kv (1234)  up 2h03m ...     inverse
 *      Heap ..., growing: ...
 *      GROWTH  HELD  KEPT  CURVE  VERDICT  WHERE     inverse
 *      a row for each size class that grows, then for each stack
 *      keys                                          the last row
 */
#include <errno.h>
#include <stdio.h>

#include <ncurses.h>

#include "leak_watch.h"
#include "output.h"
#include "session.h"

static void help_put(int row)
{
	static const char *const lines[] = {
		"  GROWTH   bytes a second that HELD rises by: the median of all pairs of looks",
		"  HELD     bytes that were allocated there and are not freed, at present",
		"  KEPT     of what was allocated there in the first half of the watch, how much",
		"           is still there; > where only a lower bound is known",
		"  VERDICT  growing    as a leak does, more than chance explains",
		"           filling    ever more slowly, as a cache does; full: no longer",
		"           swinging   it gives back what it takes, as load does",
		"           steady     no trend; new: looked at for too short a time",
		"",
		"  up, down, page up, page down   other rows",
		"  +, -   look more often, less often    space   hold    enter   look now",
		"  q      leave; the process notices nothing",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		gy_top_screen_line(row + (int)i, lines[i], false);
}

static void rows_put(struct gy_leak_watch *watch, int row, int end)
{
	struct gy_leak_growth *growth = &watch->growth;
	size_t classes = gy_leak_growth_count(growth->classes, growth->class_count);
	bool unicode = gy_top_screen_is_unicode();
	char line[GY_LEAK_ROW];

	for (size_t i = 0; i < classes && i < GY_LEAK_CLASSES && row < end; i++) {
		gy_leak_row(watch, growth->classes[i], unicode, line, sizeof(line));
		gy_top_screen_line(row++, line, false);
	}
	for (size_t i = watch->view.first; i < growth->stack_count && row < end; i++) {
		if (!gy_leak_row_shown(growth->stacks[i]))
			continue;
		gy_leak_row(watch, growth->stacks[i], unicode, line, sizeof(line));
		gy_top_screen_line(row++, line, false);
	}
}

static void draw(struct gy_leak_watch *watch)
{
	struct gy_top_view *view = &watch->view;
	char line[GY_LEAK_LINE];
	int row = 0;

	if (view->first >= watch->growth.stack_count)
		view->first = watch->growth.stack_count ? watch->growth.stack_count - 1 : 0;
	erase();
	gy_leak_title(watch, line);
	gy_top_screen_line(row++, line, true);
	gy_leak_summary(watch, line);
	gy_top_screen_line(row++, line, false);
	gy_top_screen_line(row++, gy_leak_heading(), true);
	if (view->help)
		help_put(row);
	else
		rows_put(watch, row, getmaxy(stdscr) - 1);
	snprintf(line, sizeof(line),
		 view->ended ? " the process has ended; q leaves"
			     : " %sstacks from %zu of %zu   +- interval  space hold  h help  q "
			       "quit",
		 view->held ? "held, " : "", watch->growth.stack_count ? view->first + 1 : 0,
		 watch->growth.stack_count);
	gy_top_screen_line(getmaxy(stdscr) - 1, line, true);
	refresh();
}

int gy_leak_screen_run(struct gy_leak_watch *watch)
{
	struct gy_top_view *view = &watch->view;
	uint64_t next_ns = gy_monotonic_ns(), shown = 0;
	uint64_t end_ns = watch->duration_ns ? next_ns + watch->duration_ns : UINT64_MAX;
	enum gy_top_key key = TOP_KEY_LOOK;
	int error = 0;

	while (key != TOP_KEY_QUIT && !gy_top_stopped() && gy_monotonic_ns() < end_ns) {
		if (key == TOP_KEY_LOOK && !view->ended) {
			if (watch->count && shown++ == watch->count)
				break;
			error = gy_leak_watch_look(watch);
			view->ended = error && (error == -ESRCH || gy_target_ended(&watch->target));
			if (error && (!view->ended || !watch->growth.looked))
				break;
			next_ns = gy_monotonic_ns() + view->interval_ns;
		}
		draw(watch);
		key = gy_top_screen_key(view, view->held || view->ended ? end_ns
						: next_ns < end_ns	? next_ns
									: end_ns);
		if (key == TOP_KEY_DRAW && next_ns > gy_monotonic_ns() + view->interval_ns)
			next_ns = gy_monotonic_ns() + view->interval_ns;
	}
	gy_top_screen_close();
	return view->ended ? 0 : error;
}
