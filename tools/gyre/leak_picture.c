/* leak_picture.c - `gyre leak watch ... picture FILE`: an SVG that needs nothing else.
 *
 *      ┌──────────── held, over time ───────────┐   a line for each stack: what grows first
 *      └────────────────────────────────────────┘
 *      ■ growing +1.2 MiB/s  f <- g <- main          the legend
 *      ┌──────── still there, by age ───────────┐   a leak's line stays at the top, a cache's falls
 *      └────────────────────────────────────────┘   once its blocks are older than their use
 *
 * Names come from the process: only ever text (FLAME-1).
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flame.h"
#include "leak_watch.h"
#include "output.h"
#include "session.h"

#define LINES 8
#define WIDTH 1000
#define LEFT 90
#define RIGHT 40
#define PLOT_WIDTH (WIDTH - LEFT - RIGHT)
#define HELD_TOP 70
#define HELD_HEIGHT 300
#define LEGEND_ROW 20
#define AGE_HEIGHT 180
#define NAME_SHOWN 110

/* Told apart also by those who do not see red and green apart (Okabe and Ito). */
static const char *const colours[LINES] = {"#d55e00", "#0072b2", "#009e73", "#cc79a7",
					   "#e69f00", "#56b4e9", "#7f7f7f", "#000000"};

struct picture {
	const struct gy_leak_watch *watch;
	const struct gy_leak_row *rows[LINES];
	size_t count;
	FILE *out;
	double span_s;
};

/* A round number at or above: 1, 2 or 5 times a power of two's thousands, or of ten. */
static double round_up(double value, double base)
{
	double unit = 1;

	while (unit * base <= value)
		unit *= base;
	for (double step = 1; step <= base; step *= 2)
		if (unit * step >= value)
			return unit * step;
	return unit * base;
}

static double x_of(const struct picture *picture, double part)
{
	(void)picture;
	return LEFT + PLOT_WIDTH * part;
}

static void frame_put(const struct picture *picture, int top, int height, const char *title)
{
	fprintf(picture->out,
		"<text class=\"h\" x=\"%d\" y=\"%d\">%s</text>\n"
		"<rect class=\"p\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n",
		LEFT, top - 8, title, LEFT, top, PLOT_WIDTH, height);
}

static void mark_y(const struct picture *picture, double y, const char *text)
{
	fprintf(picture->out,
		"<line class=\"g\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>"
		"<text class=\"y\" x=\"%d\" y=\"%.1f\">%s</text>\n",
		LEFT, y, LEFT + PLOT_WIDTH, y, LEFT - 6, y + 4, text);
}

static void marks_x(const struct picture *picture, int bottom, const char *after)
{
	for (int i = 0; i <= 4; i++) {
		char text[GY_OUT_TEXT];

		if (i)
			gy_out_ns(text, (uint64_t)(picture->span_s * i / 4 * 1e9));
		else
			strcpy(text, *after ? "now" : "0");
		fprintf(picture->out, "<text class=\"x\" x=\"%.1f\" y=\"%d\">%s%s</text>\n",
			x_of(picture, i / 4.0), bottom + 16, text, i == 4 ? after : "");
	}
}

static void held_put(const struct picture *picture)
{
	const struct gy_leak_growth *growth = &picture->watch->growth;
	double most = 1, top;

	for (size_t row = 0; row < picture->count; row++)
		for (size_t i = 0; i < growth->points; i++)
			most = fmax(most, picture->rows[row]->held[i]);
	top = round_up(most, 1024);
	if (top > most * 1.5)
		top = most * 1.1;
	frame_put(picture, HELD_TOP, HELD_HEIGHT, "Held, by allocation stack");
	for (int i = 0; i <= 4; i++) {
		char text[GY_OUT_TEXT];

		mark_y(picture, HELD_TOP + HELD_HEIGHT * (4 - i) / 4.0,
		       gy_out_bytes(text, (uint64_t)(top * i / 4)));
	}
	marks_x(picture, HELD_TOP + HELD_HEIGHT, "");
	for (size_t row = picture->count; row-- > 0;) {
		fprintf(picture->out, "<polyline stroke=\"%s\" points=\"", colours[row]);
		for (size_t i = 0; i < growth->points; i++)
			fprintf(picture->out, "%.1f,%.1f ",
				x_of(picture, (growth->seconds[i] - growth->seconds[0]) /
						      picture->span_s),
				HELD_TOP + HELD_HEIGHT -
					HELD_HEIGHT * picture->rows[row]->held[i] / top);
		fprintf(picture->out, "\"/>\n");
	}
}

static void legend_put(const struct picture *picture, int top)
{
	for (size_t row = 0; row < picture->count; row++) {
		const struct gy_leak_row *here = picture->rows[row];
		int y = top + (int)row * LEGEND_ROW;
		char name[GY_LEAK_ROW], size[GY_OUT_TEXT], kept[16] = "";
		double per_s = here->trend.per_s;
		size_t length, cut;

		gy_symbols_line(picture->watch->symbols, here->frames, here->depth, name,
				sizeof(name));
		length = strlen(name);
		cut = gy_out_cut(name, length, NAME_SHOWN);
		name[cut] = 0;
		if (here->kept >= 0)
			snprintf(kept, sizeof(kept), "%s%.0f %%", here->kept_at_least ? ">" : "",
				 100 * here->kept);
		fprintf(picture->out,
			"<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/>"
			"<text x=\"%d\" y=\"%d\">%s</text>"
			"<text class=\"y\" x=\"%d\" y=\"%d\">%s%s/s</text>"
			"<text class=\"y\" x=\"%d\" y=\"%d\">%s</text>"
			"<text x=\"%d\" y=\"%d\">",
			20, y - 10, colours[row], 38, y, gy_trend_names[here->trend.verdict], 205,
			y, per_s < 0 ? "-" : "+", gy_out_bytes(size, (uint64_t)fabs(per_s)), 265, y,
			kept, 280, y);
		gy_svg_text(picture->out, name);
		fprintf(picture->out, "%s</text>\n", cut < length ? "..." : "");
	}
}

/* Cohorts are averaged over a few neighbours: one has few samples. */
static void survival_line(const struct picture *picture, size_t row, int top)
{
	const struct gy_leak_growth *growth = &picture->watch->growth;
	const struct gy_leak_cohort *cohorts = picture->rows[row]->cohorts;
	size_t near = growth->points / 12 + 1;

	fprintf(picture->out, "<polyline stroke=\"%s\" points=\"", colours[row]);
	for (size_t i = growth->points; i-- > 1;) {
		double born = 0, dead = 0, age = growth->seconds[growth->points - 1] -
						 growth->seconds[i];

		for (size_t j = i > near ? i - near : 0; j <= i + near && j < growth->points; j++) {
			born += cohorts[j].born;
			dead += cohorts[j].dead;
		}
		if (born > 0)
			fprintf(picture->out, "%.1f,%.1f ", x_of(picture, age / picture->span_s),
				top + AGE_HEIGHT * fmin(1, dead / born));
	}
	fprintf(picture->out, "\"/>\n");
}

static void survival_put(const struct picture *picture, int top)
{
	static const char *const marks[] = {"100 %", "50 %", "0 %"};

	frame_put(picture, top, AGE_HEIGHT, "Still there, of what was allocated so long ago");
	for (int i = 0; i < 3; i++)
		mark_y(picture, top + AGE_HEIGHT * i / 2.0, marks[i]);
	marks_x(picture, top + AGE_HEIGHT, " ago");
	if (!picture->watch->growth.deaths_known) {
		fprintf(picture->out,
			"<text x=\"%d\" y=\"%d\">not known: the probe free_sample could not be "
			"attached</text>\n",
			LEFT + 20, top + AGE_HEIGHT / 2);
		return;
	}
	for (size_t row = picture->count; row-- > 0;)
		survival_line(picture, row, top);
}

static void title_put(const struct picture *picture)
{
	const struct gy_leak_watch *watch = picture->watch;
	char title[GY_LEAK_LINE], up[GY_OUT_TEXT], heap[GY_OUT_TEXT];

	gy_out_ns(up, watch->growth.now_ns - watch->growth.start_ns);
	snprintf(title, sizeof(title), "%s (pid %d): what grows, watched for %s; heap %s",
		 watch->target.comm, watch->target.pid, up,
		 gy_out_bytes(heap, watch->growth.snapshot.header.totals.heap_alloc));
	fprintf(picture->out, "<text class=\"t\" x=\"20\" y=\"28\">");
	gy_svg_text(picture->out, title);
	fprintf(picture->out, "</text>\n");
}

static void svg_put(const struct picture *picture)
{
	int legend = HELD_TOP + HELD_HEIGHT + 50;
	int survival = legend + (int)picture->count * LEGEND_ROW + 30;

	fprintf(picture->out,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
		"height=\"%d\">\n<style>text{font:12px \"DejaVu Sans\",Helvetica,Arial,sans-serif;"
		"fill:#111}.t{font-size:16px;font-weight:bold}.h{font-weight:bold}"
		".y{text-anchor:end}.x{text-anchor:middle}.p{fill:#fff;stroke:#999}"
		".g{stroke:#ddd}polyline{fill:none;stroke-width:2}</style>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fafafa\"/>\n",
		WIDTH, survival + AGE_HEIGHT + 40, WIDTH, survival + AGE_HEIGHT + 40);
	title_put(picture);
	held_put(picture);
	legend_put(picture, legend);
	survival_put(picture, survival);
	fprintf(picture->out, "</svg>\n");
}

char *gy_leak_picture(const struct gy_leak_watch *watch)
{
	const struct gy_leak_growth *growth = &watch->growth;
	struct picture picture = {.watch = watch, .span_s = 1};
	char *text = NULL;
	size_t length;

	if (growth->points > 1)
		picture.span_s = growth->seconds[growth->points - 1] - growth->seconds[0];
	for (size_t i = 0; i < growth->stack_count && picture.count < LINES; i++)
		if (gy_leak_row_shown(growth->stacks[i]))
			picture.rows[picture.count++] = growth->stacks[i];
	picture.out = open_memstream(&text, &length);
	if (!picture.out)
		return NULL;
	svg_put(&picture);
	if (fclose(picture.out)) {
		free(text);
		return NULL;
	}
	return text;
}
