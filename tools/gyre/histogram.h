/* histogram.h - counted cells as rows of numbers and bars.
 *
 *	      SIZE      MALLOCS           BYTES
 *	  16 - 31    12,345,678    301.2 MiB  |##################################              |
 *	  32 - 63     1,234,567     61.0 MiB  |####                                            |
 *
 * A bar is as long as its row's share of the longest row; what is there at all has one character.
 * Where the terminal is wide, bytes have a bar of their own. Rows without events inside the range
 * are shown, before and behind it not, unless the rows are names rather than a range.
 */
#ifndef GYRE_TOOLS_HISTOGRAM_H
#define GYRE_TOOLS_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

#include "events.h"

struct gy_histogram_row {
	char label[64];
	struct gyre_cell cell;
};

/* gy_histogram_out - text only.
 * @label, @count  headings of the first two columns
 * @range          rows are steps of one scale: gaps are shown */
void gy_histogram_out(const char *label, const char *count, const struct gy_histogram_row *rows,
		      size_t row_count, bool range);

#endif
