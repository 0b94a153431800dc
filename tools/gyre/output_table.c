/* output_table.c - see output_table.h.
 *
 * A pipe gets everything. On a terminal lines do not wrap: first the columns go that their table
 * says can be missed, then a last column of text is cut.
 */
#include "output_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST_LEAST 20 /* what a last column of text should have */

struct libscols_table *gy_table_new(void)
{
	struct libscols_table *table = scols_new_table();

	if (!table)
		return NULL;
	scols_table_set_column_separator(table, "  ");
	/* It must not cut anything: pipes and logs want whole lines, terminals see line_print. */
	scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);
	return table;
}

/* No blanks at the end of a line: libsmartcols pads the last column. */
static size_t length_of(const char *line)
{
	size_t length = strcspn(line, "\n");

	while (length && line[length - 1] == ' ')
		length--;
	return length;
}

static void line_print(const char *line, bool may_cut, size_t columns, const char *indent)
{
	size_t length = length_of(line), room = strlen(indent), shown = length;

	if (may_cut && columns > room)
		shown = gy_out_cut(line, length, columns - room);
	if (shown < length && line[shown - 1] == ' ') {
		size_t next = shown + strspn(line + shown, " ");

		while (shown && line[shown - 1] == ' ')
			shown--;
		if (next - shown > 1) /* between two columns: the last one goes without a word */
			length = shown;
	}
	gy_out_line("%s%.*s%s", indent, (int)shown, line, shown < length ? "..." : "");
}

/* Would any line have to be cut, or wrap? Not where the last column is of text, and a good piece of
 * it has room: that is cut. */
static bool is_too_wide(const char *text, const struct gy_out_column *last, bool last_may_go,
			size_t columns)
{
	size_t longest = 0, heading = length_of(text), begin;

	begin = heading > strlen(last->heading) ? heading - strlen(last->heading) : 0;
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t length = length_of(line);

		longest = length > longest ? length : longest;
	}
	if (longest <= columns)
		return false;
	return last->kind != OUT_TEXT || last_may_go || begin + LAST_LEAST > columns;
}

static bool key_is(const struct gy_out_column *column, const char *key, size_t length)
{
	return !strncmp(column->key, key, length) && !column->key[length];
}

void gy_table_print(struct libscols_table *table, const struct gy_out_column *columns, size_t count,
		    const char *narrow, const char *indent)
{
	const struct gy_out_column *last = &columns[count - 1];
	size_t width = gy_out_columns();
	char *text = NULL;

	while (!scols_print_table_to_string(table, &text) && text && width && narrow && *narrow) {
		size_t length = strcspn(narrow, " ");

		if (!is_too_wide(text, last, key_is(last, narrow, length), width - strlen(indent)))
			break;
		for (size_t i = 0; i < count; i++)
			if (key_is(&columns[i], narrow, length))
				scols_column_set_flags(scols_table_get_column(table, i),
						       SCOLS_FL_HIDDEN);
		narrow += length + (narrow[length] == ' ');
		free(text);
		text = NULL;
	}
	for (const char *line = text; line && *line; line += *line == '\n') {
		line_print(line, last->kind == OUT_TEXT, width, indent);
		line += strcspn(line, "\n");
	}
	free(text);
}
