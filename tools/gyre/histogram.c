/* histogram.c - see histogram.h. */
#include "histogram.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "output.h"

#define COLUMNS_DEFAULT 100
#define BAR_MAX 100
#define BAR_MIN 10
#define TWO_BARS_FROM 40 /* columns left for bars */

struct widths {
	size_t label, bar;
	bool two;
};

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static struct widths widths_of(const char *label, const struct gy_histogram_row *rows,
			       size_t row_count)
{
	struct widths widths = {.label = strlen(label)};
	size_t columns = gy_out_columns(), taken;

	for (size_t i = 0; i < row_count; i++)
		if (rows[i].cell.count)
			widths.label = larger(widths.label, strlen(rows[i].label));
	/* label, two numbers, the blanks between, the two ends of a bar */
	taken = 2 + widths.label + 2 + 13 + 2 + 10 + 2 + 2;
	columns = columns ? columns : COLUMNS_DEFAULT;
	widths.bar = columns > taken + BAR_MIN ? columns - taken : BAR_MIN;
	widths.two = widths.bar >= 2 * TWO_BARS_FROM;
	if (widths.two)
		widths.bar = (widths.bar - 4) / 2;
	widths.bar = widths.bar < BAR_MAX ? widths.bar : BAR_MAX;
	return widths;
}

static void bar_make(char *bar, size_t width, uint64_t value, uint64_t most)
{
	size_t length = most ? (size_t)((double)value * (double)width / (double)most + 0.5) : 0;

	length = value && !length ? 1 : length < width ? length : width;
	memset(bar, ' ', width);
	memset(bar, '#', length);
	bar[width] = 0;
}

static void row_out(const struct gy_histogram_row *row, const struct widths *widths,
		    const struct gyre_cell *most)
{
	char count[GY_OUT_TEXT], bytes[GY_OUT_TEXT], bar[BAR_MAX + 1], second[BAR_MAX + 1];

	gy_out_count(count, row->cell.count);
	gy_out_bytes(bytes, row->cell.bytes);
	bar_make(bar, widths->bar, row->cell.count, most->count);
	bar_make(second, widths->bar, row->cell.bytes, most->bytes);
	if (widths->two)
		gy_out_line("  %*s  %13s  |%s|  %10s  |%s|", (int)widths->label, row->label, count,
			    bar, bytes, second);
	else
		gy_out_line("  %*s  %13s  %10s  |%s|", (int)widths->label, row->label, count, bytes,
			    bar);
}

void gy_histogram_out(const char *label, const char *count, const struct gy_histogram_row *rows,
		      size_t row_count, bool range)
{
	size_t first = row_count, last = 0;
	struct widths widths;
	struct gyre_cell most = {0};

	for (size_t i = 0; i < row_count; i++) {
		if (!rows[i].cell.count)
			continue;
		first = first < i ? first : i;
		last = i;
		most.count = larger(most.count, rows[i].cell.count);
		most.bytes = larger(most.bytes, rows[i].cell.bytes);
	}
	if (first == row_count)
		return;
	widths = widths_of(label, &rows[first], last - first + 1);
	if (widths.two)
		gy_out_line("  %*s  %13s   %*s    %10s", (int)widths.label, label, count,
			    (int)widths.bar, "", "BYTES");
	else
		gy_out_line("  %*s  %13s  %10s", (int)widths.label, label, count, "BYTES");
	for (size_t i = first; i <= last; i++)
		if (range || rows[i].cell.count)
			row_out(&rows[i], &widths, &most);
}
