/* folded.c - see folded.h.
 *
 * The form that flamegraph.pl, speedscope and many others read. A name may hold blanks (the value
 * stands behind the last one) but no semicolon: those become colons.
 */
#include "folded.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
	char *stack;
	uint64_t value;
};

static char *stack_text(const struct gy_profile *profile, const struct gy_profile_stack *stack)
{
	struct gy_profile_frame *frames = calloc(GY_PROFILE_DEPTH, sizeof(*frames));
	size_t count = frames ? gy_profile_unroll(profile, stack, frames) : 0, length = 0;
	char *text = NULL, name[2048];
	FILE *out = frames ? open_memstream(&text, &length) : NULL;

	for (size_t i = count; out && i--;) {
		gy_profile_frame_name(&frames[i], name, sizeof(name));
		for (char *at = name; (at = strchr(at, ';'));)
			*at = ':';
		fprintf(out, "%s%s", name, i ? ";" : "");
	}
	free(frames);
	if (out && fclose(out)) {
		free(text);
		text = NULL;
	}
	return text;
}

static int line_order(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->stack, ((const struct line *)b)->stack);
}

static char *lines_join(struct line *lines, size_t count)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		uint64_t value = lines[i].value;

		while (i + 1 < count && !strcmp(lines[i].stack, lines[i + 1].stack))
			value = gy_profile_plus(value, lines[++i].value);
		fprintf(out, "%s %" PRIu64 "\n", lines[i].stack, value);
	}
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

char *gy_folded_make(const struct gy_profile *profile, size_t type)
{
	struct line *lines = calloc(profile->stack_count + 1, sizeof(*lines));
	size_t count = 0;
	char *text = NULL;

	for (size_t i = 0; lines && i < profile->stack_count; i++) {
		const struct gy_profile_stack *stack = &profile->stacks[i];

		if (!stack->values[type])
			continue;
		lines[count] = (struct line){stack_text(profile, stack), stack->values[type]};
		if (!lines[count].stack)
			goto out;
		count++;
	}
	if (lines) {
		qsort(lines, count, sizeof(*lines), line_order);
		text = lines_join(lines, count);
	}
out:
	for (size_t i = 0; i < count; i++)
		free(lines[i].stack);
	free(lines);
	return text;
}
