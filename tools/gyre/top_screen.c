/* top_screen.c - see top_screen.h.
 *
 *      gyre top - kv (1234)  up 2h03m ...         inverse
 *      Memory ..., Rates ..., Process ..., GC ...
 *      1.1 GiB-1.2 GiB ▁▂▃▅▆▇█                    where the terminal has 14 rows or more
 *      RATE  HELD  %  GROWTH  WHERE               inverse
 *      a row for each site
 *      keys                                       the last row
 *
 * Everything is cut to the terminal's width by characters, not by bytes. What comes from the
 * process is clean already (OUT-3).
 */
#include "top_screen.h"

#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ncurses.h>

#include "output.h"
#include "session.h"
#include "top_lines.h"

#define LINE_BYTES 2048
#define CURVE_ROWS 14 /* smaller terminals have no curve */

static SCREEN *screen;
static bool unicode;

bool gy_top_screen_open(void)
{
	setlocale(LC_ALL, "");
	unicode = !strcmp(nl_langinfo(CODESET), "UTF-8");
	screen = newterm(NULL, stdout, stdin);
	if (!screen)
		return false;
	set_term(screen);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	return true;
}

void gy_top_screen_close(void)
{
	if (!screen)
		return;
	endwin();
	delscreen(screen);
	screen = NULL;
	setlocale(LC_ALL, "C"); /* numbers in files and JSON have a point */
}

bool gy_top_screen_is_unicode(void)
{
	return unicode;
}

/* The screen's last cell stays empty:
 * to write it without scrolling takes tricks that not every terminal knows. */
void gy_top_screen_line(int row, const char *text, bool inverse)
{
	int width = getmaxx(stdscr) - (row == getmaxy(stdscr) - 1);
	size_t length = strlen(text), cut = gy_out_cut(text, length, (size_t)width);

	if (row >= getmaxy(stdscr))
		return;
	if (inverse)
		attron(A_REVERSE);
	mvaddnstr(row, 0, text, (int)cut);
	if (cut < length && width > 3)
		mvaddstr(row, width - 3, "...");
	else
		for (int x = getcurx(stdscr); inverse && getcury(stdscr) == row && x < width; x++)
			addch(' ');
	attroff(A_REVERSE);
}

static void help_put(int row)
{
	static const char *const lines[] = {
		"  s, r m g   order: by rate, by what is held, by growth",
		"  up, down, page up, page down   other sites",
		"  +, -       look more often, less often",
		"  space      hold the screen; enter: look now",
		"  q          leave; the process notices nothing",
		"",
		"  RATE    bytes a second that are allocated there, over 10 seconds",
		"  HELD    bytes that were allocated there and are not freed",
		"  GROWTH  how HELD has changed, a second",
		"  All three are estimates out of the samples that the process takes.",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		gy_top_screen_line(row + (int)i, lines[i], false);
}

static void keys_put(const struct gy_top *top, const struct gy_top_view *view)
{
	char line[256];

	if (view->ended)
		snprintf(line, sizeof(line), " the process has ended; q leaves");
	else
		snprintf(line, sizeof(line),
			 " by %s%s  sites %zu-%zu of %zu   s sort  +- interval  space hold  h help "
			 " q quit",
			 gy_top_sort_names[view->sort], view->held ? ", held" : "",
			 top->site_count ? view->first + 1 : 0,
			 top->site_count, top->site_count);
	gy_top_screen_line(getmaxy(stdscr) - 1, line, true);
}

void gy_top_screen_draw(const struct gy_top *top, const struct gy_top_view *view)
{
	char lines[GY_TOP_LINES][GY_TOP_LINE], line[LINE_BYTES];
	size_t count = gy_top_lines(top, view->interval_ns, lines), first = view->first;
	int row = 0, rows = getmaxy(stdscr);

	erase();
	for (size_t i = 0; i < count; i++)
		gy_top_screen_line(row++, lines[i], i == 0);
	if (rows >= CURVE_ROWS) {
		gy_top_curve(top, (size_t)getmaxx(stdscr), unicode, line, sizeof(line));
		gy_top_screen_line(row++, line, false);
	}
	gy_top_screen_line(row++, gy_top_heading(), true);
	if (view->help) {
		help_put(row);
	} else if (!top->site_count) {
		gy_top_screen_line(row, top->snapshot.header.sample_bytes
				      ? "  no sample yet"
				      : "  nothing is sampled: the option sample is off",
			 false);
	}
	if (first >= top->site_count)
		first = top->site_count ? top->site_count - 1 : 0;
	for (; !view->help && row < rows - 1 && first < top->site_count; row++, first++) {
		gy_top_row(top, &top->sites[first], line, sizeof(line));
		gy_top_screen_line(row, line, false);
	}
	keys_put(top, view);
	refresh();
}

static enum gy_top_key key_act(struct gy_top_view *view, int key)
{
	size_t page = getmaxy(stdscr) > 8 ? (size_t)getmaxy(stdscr) - 8 : 1;

	switch (key) {
	case 'q':
	case 'Q':
		return TOP_KEY_QUIT;
	case '\n':
	case KEY_ENTER:
		return TOP_KEY_LOOK;
	case 's':
		view->sort = (view->sort + 1) % TOP_SORTS;
		break;
	case 'r':
		view->sort = TOP_BY_RATE;
		break;
	case 'm':
		view->sort = TOP_BY_HELD;
		break;
	case 'g':
		view->sort = TOP_BY_GROWTH;
		break;
	case ' ':
		view->held = !view->held;
		break;
	case '+':
		if (view->interval_ns >= 200 * 1000000ull)
			view->interval_ns /= 2;
		break;
	case '-':
		if (view->interval_ns <= 300 * 1000000000ull)
			view->interval_ns *= 2;
		break;
	case KEY_UP:
		view->first -= view->first > 0;
		break;
	case KEY_DOWN:
		view->first++;
		break;
	case KEY_PPAGE:
		view->first -= view->first < page ? view->first : page;
		break;
	case KEY_NPAGE:
		view->first += page;
		break;
	case KEY_HOME:
		view->first = 0;
		break;
	case 'h':
	case '?':
		view->help = !view->help;
		break;
	case KEY_RESIZE:
		break;
	default:
		return TOP_KEY_NONE;
	}
	return TOP_KEY_DRAW;
}

enum gy_top_key gy_top_screen_key(struct gy_top_view *view, uint64_t until_ns)
{
	for (;;) {
		uint64_t now = gy_monotonic_ns();
		struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
		uint64_t left_ms = until_ns > now ? (until_ns - now + 999999) / 1000000 : 0;
		int key = getch();

		if (key != ERR) {
			enum gy_top_key what = key_act(view, key);

			if (what != TOP_KEY_NONE)
				return what;
			continue;
		}
		if (!left_ms)
			return TOP_KEY_LOOK;
		if (poll(&input, 1, left_ms > 1000 ? 1000 : (int)left_ms) > 0 &&
		    input.revents & (POLLHUP | POLLERR | POLLNVAL) && !(input.revents & POLLIN))
			return TOP_KEY_QUIT; /* the terminal is gone */
		if (gy_top_stopped())
			return TOP_KEY_QUIT;
	}
}
