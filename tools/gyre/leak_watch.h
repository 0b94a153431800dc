/* leak_watch.h - `gyre leak watch`: what its lines, its screen and its picture share. */
#ifndef GYRE_TOOLS_LEAK_WATCH_H
#define GYRE_TOOLS_LEAK_WATCH_H

#include "leak_deaths.h"
#include "leak_growth.h"
#include "symbols.h"
#include "top_screen.h"

#define GY_LEAK_LINE 512
#define GY_LEAK_ROW 2048
#define GY_LEAK_CLASSES 4 /* shown: of the size classes that grow */

struct gy_leak_watch {
	struct gy_target target;
	struct gy_leak_growth growth;
	struct gy_leak_deaths *deaths; /* NULL: not known */
	struct gy_symbols *symbols;
	struct gy_top_view view; /* interval, first row, held, ended, help */
	uint64_t duration_ns, count, sites; /* 0: no bound */
	uint64_t stacks_ns; /* then follow every block of what grows for so long; 0: do not */
	const char *picture;
};

/* leak_lines.c: the same facts as lines and as JSON. */
void gy_leak_title(const struct gy_leak_watch *watch, char line[GY_LEAK_LINE]);
void gy_leak_summary(const struct gy_leak_watch *watch, char line[GY_LEAK_LINE]);
const char *gy_leak_heading(void);
void gy_leak_row(const struct gy_leak_watch *watch, const struct gy_leak_row *row, bool unicode,
		 char *line, size_t bytes);
/* gy_leak_row_shown - a stack that holds nothing and never did is not worth a line. */
bool gy_leak_row_shown(const struct gy_leak_row *row);
json_t *gy_leak_look_json(const struct gy_leak_watch *watch);

/* leak_screen.c */
int gy_leak_screen_run(struct gy_leak_watch *watch);
/* leak_watch.c: a look, with the deaths before it. 0 or -errno. */
int gy_leak_watch_look(struct gy_leak_watch *watch);

/* leak_picture.c: an SVG, to be freed; NULL where memory lacks. */
char *gy_leak_picture(const struct gy_leak_watch *watch);

#endif
