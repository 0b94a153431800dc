/* leak_suppress.c - see leak_suppress.h. The rules are those of LeakSanitizer's documentation. */
#include "leak_suppress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

#define LINES_MAX 65536u

struct gy_suppressions {
	char **patterns;
	size_t count;
};

/* `pattern` against the whole of `text`; a * gives back one character after the other. */
static bool fits_whole(const char *pattern, const char *text)
{
	const char *star = NULL, *from = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = ++pattern;
			from = text;
		} else if (*pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star;
			text = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

bool gy_suppression_fits(const char *pattern, const char *text)
{
	bool begin = *pattern == '^', end;
	size_t length = strlen(pattern += begin);
	char *whole;
	bool fits;

	if (!*text || !length)
		return false;
	end = pattern[length - 1] == '$';
	whole = malloc(length + 3);
	if (!whole)
		return false;
	snprintf(whole, length + 3, "%s%.*s%s", begin ? "" : "*", (int)(length - end), pattern,
		 end ? "" : "*");
	fits = fits_whole(whole, text);
	free(whole);
	return fits;
}

static int line_take(struct gy_suppressions *suppressions, char *line, const char *path,
		     size_t number)
{
	size_t length;
	void *grown;

	line += strspn(line, " \t\r\n");
	length = strlen(line);
	while (length && strchr(" \t\r\n", line[length - 1]))
		line[--length] = 0;
	if (!length || *line == '#')
		return 0;
	if (strncmp(line, "leak:", 5) || !line[5])
		return gy_out_error("%s, line %zu: expected 'leak:PATTERN', got: '%.80s'", path,
				    number, line);
	if (suppressions->count == LINES_MAX)
		return gy_out_error("%s has more than %u patterns", path, LINES_MAX);
	grown = reallocarray(suppressions->patterns, suppressions->count + 1,
			     sizeof(*suppressions->patterns));
	if (!grown)
		return gy_out_error("no memory for suppressions");
	suppressions->patterns = grown;
	suppressions->patterns[suppressions->count] = strdup(line + 5);
	return suppressions->patterns[suppressions->count++]
		       ? 0
		       : gy_out_error("no memory for suppressions");
}

struct gy_suppressions *gy_suppressions_read(const char *path)
{
	struct gy_suppressions *suppressions = calloc(1, sizeof(*suppressions));
	FILE *file = fopen(path, "re");
	size_t capacity = 0, number = 0;
	char *line = NULL;
	int error = 0;

	if (!file)
		error = gy_out_error("cannot open '%s': %s", path, strerror(errno));
	else if (!suppressions)
		error = gy_out_error("no memory for suppressions");
	while (!error && getline(&line, &capacity, file) > 0)
		error = line_take(suppressions, line, path, ++number);
	free(line);
	if (file)
		fclose(file);
	if (!error)
		return suppressions;
	gy_suppressions_free(suppressions);
	return NULL;
}

void gy_suppressions_free(struct gy_suppressions *suppressions)
{
	for (size_t i = 0; suppressions && i < suppressions->count; i++)
		free(suppressions->patterns[i]);
	if (suppressions)
		free(suppressions->patterns);
	free(suppressions);
}

static bool symbol_fits(const char *pattern, const struct gy_symbol *symbol)
{
	char name[512];

	if (symbol->module && gy_suppression_fits(pattern, symbol->module))
		return true;
	for (size_t level = 0; level < symbol->level_count; level++) {
		const struct gy_symbol_level *here = &symbol->levels[level];

		gy_symbol_text(symbol, level, name, sizeof(name));
		if (here->function && (gy_suppression_fits(pattern, name) ||
				       gy_suppression_fits(pattern, here->function)))
			return true;
		if (here->linkage && gy_suppression_fits(pattern, here->linkage))
			return true;
		if (here->file && gy_suppression_fits(pattern, here->file))
			return true;
	}
	return false;
}

size_t gy_suppressions_find(struct gy_suppressions *suppressions, struct gy_symbols *symbols,
			    const uint64_t *frames, uint32_t depth)
{
	for (size_t i = 0; suppressions && i < suppressions->count; i++)
		for (uint32_t frame = 0; frame < depth; frame++)
			if (frames[frame] &&
			    symbol_fits(suppressions->patterns[i],
					gy_symbols_find(symbols, frames[frame])))
				return i + 1;
	return 0;
}

const char *gy_suppression_text(const struct gy_suppressions *suppressions, size_t number)
{
	return suppressions->patterns[number - 1];
}
