/* top_screen.h - `gyre top` on a terminal, by ncurses. */
#ifndef GYRE_TOOLS_TOP_SCREEN_H
#define GYRE_TOOLS_TOP_SCREEN_H

#include "top_look.h"

struct gy_top_view {
	enum gy_top_sort sort;
	uint64_t interval_ns;
	size_t first; /* site shown in the first row of the table */
	bool held;    /* the screen stands still */
	bool ended;   /* the process is gone: its last look stays on the screen */
	bool help;
};

enum gy_top_key { TOP_KEY_NONE, TOP_KEY_QUIT, TOP_KEY_LOOK, TOP_KEY_DRAW };

/* gy_top_screen_open - false where the terminal is not understood (TERM). */
bool gy_top_screen_open(void);
void gy_top_screen_close(void);
void gy_top_screen_draw(const struct gy_top *top, const struct gy_top_view *view);
/* gy_top_screen_key - wait until `until_ns` (CLOCK_MONOTONIC) for a key; it may change the view. */
enum gy_top_key gy_top_screen_key(struct gy_top_view *view, uint64_t until_ns);
/* gy_top_screen_line - a line from the first column on, cut or filled to the width. */
void gy_top_screen_line(int row, const char *text, bool inverse);
/* gy_top_screen_is_unicode - does the terminal know more than ASCII? */
bool gy_top_screen_is_unicode(void);
/* cmd_top.c: gy_top_stopped - has a signal asked us to end? After gy_top_signals_catch. */
void gy_top_signals_catch(void);
bool gy_top_stopped(void);
/* gy_top_wait_until - a time (CLOCK_MONOTONIC), or a signal. */
void gy_top_wait_until(uint64_t until_ns);

#endif
