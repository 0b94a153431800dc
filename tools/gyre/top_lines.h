/* top_lines.h - the words of `gyre top`, the same on a screen, as plain text and at any width. */
#ifndef GYRE_TOOLS_TOP_LINES_H
#define GYRE_TOOLS_TOP_LINES_H

#include <jansson.h>

#include "top_look.h"

#define GY_TOP_LINE 512
#define GY_TOP_LINES 6

/* gy_top_lines - the lines above the table; returns how many. */
size_t gy_top_lines(const struct gy_top *top, uint64_t interval_ns,
		    char lines[GY_TOP_LINES][GY_TOP_LINE]);
/* gy_top_curve - memory in use over the last looks, the newest at the right, as one line. */
void gy_top_curve(const struct gy_top *top, size_t columns, bool unicode, char *line, size_t bytes);
const char *gy_top_heading(void);
void gy_top_row(const struct gy_top *top, const struct gy_top_site *site, char *line, size_t bytes);
/* gy_top_json - a look as an object; a new reference. */
json_t *gy_top_json(const struct gy_top *top, size_t sites);

#endif
