/* flame.c - see flame.h.
 *
 * The stacks, root first and as numbers of functions, are sorted; then equal beginnings stand next
 * to each other, and the tree is one pass over them: a frame begins where a stack differs from the
 * one before, and ends where the next differs.
 *
 * Frames below MIN_SHARE of the whole are left out: they would be a hundredth of a pixel wide.
 */
#include "flame.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

#define WIDTH 1200.0 /* of the plain picture; a browser uses what it has */
#define ROW 18
#define ABOVE 84
#define BELOW 30
#define CHAR 7.3 /* a character's width, a little more than any common monospace font's */
#define MIN_SHARE 1e-5
#define FRAMES_MAX 30000u
#define LEGEND_MAX 6

struct path {
	uint32_t *ids; /* root first */
	size_t depth;
	uint64_t value;
	double variance;
};

struct node {
	uint32_t id, depth;
	uint64_t start, value, self;
	double variance;
};

struct tree {
	const struct gy_profile *profile;
	const struct gy_profile_functions *functions;
	size_t type;
	struct path *paths;
	size_t path_count;
	struct node *nodes;
	size_t node_count, node_capacity;
	uint32_t depth; /* of the deepest frame, + 1 */
	uint64_t total;
};

/* ---------------------------------------------------------------- the tree */

static int path_order(const void *a, const void *b)
{
	const struct path *left = a, *right = b;

	for (size_t i = 0; i < left->depth && i < right->depth; i++)
		if (left->ids[i] != right->ids[i])
			return left->ids[i] < right->ids[i] ? -1 : 1;
	return left->depth < right->depth ? -1 : left->depth > right->depth;
}

static bool paths_make(struct tree *tree)
{
	struct gy_profile_frame *frames = calloc(GY_PROFILE_DEPTH, sizeof(*frames));
	const struct gy_profile *profile = tree->profile;
	bool good = frames;

	tree->paths = calloc(profile->stack_count + 1, sizeof(*tree->paths));
	for (size_t i = 0; tree->paths && good && i < profile->stack_count; i++) {
		const struct gy_profile_stack *stack = &profile->stacks[i];
		struct path *path = &tree->paths[tree->path_count];

		if (!stack->values[tree->type])
			continue;
		path->depth = gy_profile_unroll(profile, stack, frames);
		path->value = stack->values[tree->type];
		path->variance = gy_profile_variance(profile, stack, tree->type);
		path->ids = calloc(path->depth + 1, sizeof(*path->ids));
		good = path->ids;
		for (size_t at = 0; good && at < path->depth; at++)
			path->ids[path->depth - 1 - at] =
				gy_profile_function_of(tree->functions, &frames[at]);
		tree->path_count += good;
	}
	free(frames);
	if (!tree->paths || !good)
		return false;
	qsort(tree->paths, tree->path_count, sizeof(*tree->paths), path_order);
	return true;
}

static struct node *node_add(struct tree *tree, uint32_t id, size_t depth, uint64_t start)
{
	if (tree->node_count == tree->node_capacity) {
		size_t capacity = tree->node_capacity ? tree->node_capacity * 2 : 256;
		struct node *nodes = reallocarray(tree->nodes, capacity, sizeof(*nodes));

		if (!nodes)
			return NULL;
		tree->nodes = nodes;
		tree->node_capacity = capacity;
	}
	tree->nodes[tree->node_count] =
		(struct node){.id = id, .depth = (uint32_t)depth, .start = start};
	return &tree->nodes[tree->node_count++];
}

static size_t common_depth(const struct path *a, const struct path *b)
{
	size_t depth = 0;

	while (depth < a->depth && depth < b->depth && a->ids[depth] == b->ids[depth])
		depth++;
	return depth;
}

static bool nodes_make(struct tree *tree)
{
	size_t open[GY_PROFILE_DEPTH]; /* the node that is open at each depth */

	for (size_t i = 0; i < tree->path_count; i++) {
		const struct path *path = &tree->paths[i];
		size_t shared = i ? common_depth(path - 1, path) : 0;

		for (size_t depth = shared; depth < path->depth; depth++) {
			if (!node_add(tree, path->ids[depth], depth, tree->total))
				return false;
			open[depth] = tree->node_count - 1;
		}
		for (size_t depth = 0; depth < path->depth; depth++) {
			struct node *node = &tree->nodes[open[depth]];

			node->value = gy_profile_plus(node->value, path->value);
			node->variance += path->variance;
			if (depth + 1 == path->depth)
				node->self = gy_profile_plus(node->self, path->value);
		}
		if (path->depth > tree->depth)
			tree->depth = (uint32_t)path->depth;
		tree->total = gy_profile_plus(tree->total, path->value);
	}
	return true;
}

/* ---------------------------------------------------------------- text */

/* FLAME-1. Control characters are gone already (OUT-3). */
void gy_svg_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (!strncmp(text, "\xef\xbf\xbe", 3) || !strncmp(text, "\xef\xbf\xbf", 3)) {
			fputc('?', out); /* U+FFFE, U+FFFF: not XML */
			text += 2;
			continue;
		}
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			fputc(*text, out);
		}
	}
}

static void value_text(const struct tree *tree, uint64_t value, char text[GY_OUT_TEXT])
{
	if (!strcmp(tree->profile->types[tree->type].unit, "bytes"))
		gy_out_bytes(text, value);
	else
		gy_out_count(text, value);
}

static void put_numbers(FILE *out, const struct tree *tree, const struct node *node)
{
	char value[GY_OUT_TEXT], self[GY_OUT_TEXT];

	value_text(tree, node->value, value);
	fprintf(out, "%s, %.2f %%", value, 100 * (double)node->value / (double)tree->total);
	if (node->variance > 0)
		fprintf(out, " (&#xb1; %.0f %% of it)",
			ceil(100 * sqrt(node->variance) / (double)node->value));
	if (node->self) {
		value_text(tree, node->self, self);
		fprintf(out, "; itself %s", self);
	}
}

/* ---------------------------------------------------------------- colours */

static uint32_t hash_text(const char *text)
{
	uint32_t hash = 0x811c9dc5u;

	while (*text)
		hash = (hash ^ (unsigned char)*text++) * 0x01000193u;
	return hash ^ hash >> 15;
}

static unsigned int channel(double hue, double saturation, double light, double shift)
{
	double k = fmod(shift + hue / 30, 12);
	double low = fmin(fmin(k - 3, 9 - k), 1);
	double value = light - saturation * fmin(light, 1 - light) * fmax(low, -1);

	return (unsigned int)(255 * value + 0.5);
}

static bool is_program(const struct tree *tree, const char *module)
{
	const char *path = tree->profile->mapping_count ? tree->profile->mappings[0].path : "";
	const char *base = strrchr(path, '/');

	return !strcmp(module, base ? base + 1 : path) || !strcmp(module, tree->profile->comm);
}

/* The program is warm, each library has a cool hue of its own, what is unknown is grey; light
 * enough for black text. Neighbours differ a little in lightness. */
static void colour(const struct tree *tree, const struct gy_profile_function *function,
		   char text[8])
{
	uint32_t hash = hash_text(function->name), module = hash_text(function->module);
	double hue = 90 + module % 190, saturation = 0.45, light = 0.70 + hash % 13 / 100.0;

	if (!*function->module || *function->module == '[') {
		saturation = 0;
		light += 0.05;
	} else if (is_program(tree, function->module)) {
		hue = 22 + hash / 16 % 26;
		saturation = 0.85;
		light -= 0.03;
	}
	snprintf(text, 8, "#%02x%02x%02x", channel(hue, saturation, light, 0),
		 channel(hue, saturation, light, 8), channel(hue, saturation, light, 4));
}

/* ---------------------------------------------------------------- the file */

static void put_label(FILE *out, const char *name, double width)
{
	size_t room = width > 3 * CHAR + 6 ? (size_t)((width - 6) / CHAR) : 0;
	size_t length = strlen(name), shown = gy_out_cut(name, length, room);
	char *cut = room ? strndup(name, shown) : NULL;

	if (cut)
		gy_svg_text(out, cut);
	if (cut && shown < length)
		fputs("..", out);
	free(cut);
}

static void put_node(FILE *out, const struct tree *tree, const struct node *node)
{
	const struct gy_profile_function *function = &tree->functions->list[node->id];
	const char *file = function->file ? strrchr(function->file, '/') : NULL;
	double scale = WIDTH / (double)tree->total;
	double x = (double)node->start * scale, width = (double)node->value * scale;
	unsigned int y = ABOVE + (tree->depth - 1 - node->depth) * ROW;
	char fill[8];

	colour(tree, function, fill);
	fprintf(out, "<g class=\"f\" data-s=\"%llu\" data-v=\"%llu\" data-d=\"%u\"><title>",
		(unsigned long long)node->start, (unsigned long long)node->value, node->depth);
	gy_svg_text(out, function->name);
	if (*function->module) {
		fputs("&#10;(", out);
		gy_svg_text(out, function->module);
		if (function->file) {
			fputs(", ", out);
			gy_svg_text(out, file ? file + 1 : function->file);
			fprintf(out, ":%d", function->line);
		}
		fputc(')', out);
	}
	fputs("&#10;", out);
	put_numbers(out, tree, node);
	fprintf(out,
		"</title><rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"%d\" fill=\"%s\"/>"
		"<text x=\"%.2f\" y=\"%u\">",
		x, y, width, ROW - 1, fill, x + 3, y + 13);
	put_label(out, function->name, width);
	fputs("</text></g>\n", out);
}

/* The modules that allocate most, each beside its colour. */
static void put_legend(FILE *out, const struct tree *tree)
{
	const char *shown[LEGEND_MAX];
	size_t count = 0;
	double x = 10;

	for (uint32_t i = 0; i < tree->functions->count && count < LEGEND_MAX; i++) {
		const struct gy_profile_function *function =
			&tree->functions->list[tree->functions->rank[i]];
		bool seen = !function->cum;
		char fill[8];

		for (size_t at = 0; at < count; at++)
			seen |= !strcmp(shown[at], function->module);
		if (seen)
			continue;
		shown[count++] = function->module;
		colour(tree, function, fill);
		fprintf(out,
			"<rect class=\"l\" x=\"%.1f\" y=\"54\" width=\"12\" height=\"12\" "
			"fill=\"%s\"/><text class=\"l\" x=\"%.1f\" y=\"64\">",
			x, fill, x + 17);
		gy_svg_text(out, *function->module ? function->module : "unknown");
		fputs("</text>\n", out);
		x += 40 + CHAR * (double)strlen(*function->module ? function->module : "unknown");
	}
}

static void put_head(FILE *out, const struct tree *tree, unsigned int height, const char *title)
{
	char total[GY_OUT_TEXT];

	value_text(tree, tree->total, total);
	fprintf(out,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%.0f\" "
		"height=\"%u\" viewBox=\"0 0 %.0f %u\" data-total=\"%llu\" data-depth=\"%u\">\n"
		"<style>%s</style>\n"
		"<rect id=\"paper\" x=\"0\" y=\"0\" width=\"100%%\" height=\"100%%\"/>\n"
		"<text id=\"title\" x=\"10\" y=\"24\">",
		WIDTH, height, WIDTH, height, (unsigned long long)tree->total, tree->depth,
		gy_flame_style);
	gy_svg_text(out, title);
	fprintf(out, "</text>\n<text id=\"about\" x=\"10\" y=\"43\">%s, %s</text>\n",
		tree->profile->types[tree->type].type, tree->total ? total : "no samples");
	put_legend(out, tree);
	fprintf(out,
		"<g id=\"bar\"><text id=\"all\" x=\"%.0f\" y=\"24\">all</text>"
		"<text id=\"found\" x=\"%.0f\" y=\"43\"></text>"
		"<foreignObject id=\"box\" x=\"%.0f\" y=\"8\" width=\"230\" height=\"26\">"
		"<input xmlns=\"http://www.w3.org/1999/xhtml\" id=\"search\" type=\"search\" "
		"placeholder=\"search (Ctrl-F)\"/></foreignObject></g>\n"
		"<text id=\"status\" x=\"10\" y=\"%u\">%s</text>\n<g id=\"frames\">\n",
		WIDTH - 280, WIDTH - 240, WIDTH - 240, height - 10,
		tree->total ? "" : "Nothing was sampled.");
}

static char *svg_make(const struct tree *tree, const char *title)
{
	unsigned int height = ABOVE + tree->depth * ROW + BELOW;
	char *text = NULL;
	size_t length, written = 0;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		return NULL;
	put_head(out, tree, height, title);
	for (size_t i = 0; i < tree->node_count && written < FRAMES_MAX; i++) {
		if ((double)tree->nodes[i].value < MIN_SHARE * (double)tree->total)
			continue;
		put_node(out, tree, &tree->nodes[i]);
		written++;
	}
	fprintf(out, "</g>\n<script><![CDATA[%s]]></script>\n</svg>\n", gy_flame_script);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

char *gy_flame_make(const struct gy_profile *profile, const struct gy_profile_functions *functions,
		    size_t type, const char *title)
{
	struct tree tree = {.profile = profile, .functions = functions, .type = type};
	char *svg = NULL;

	if (paths_make(&tree) && nodes_make(&tree))
		svg = svg_make(&tree, title);
	for (size_t i = 0; i < tree.path_count; i++)
		free(tree.paths[i].ids);
	free(tree.paths);
	free(tree.nodes);
	return svg;
}
