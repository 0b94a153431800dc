/* output.c - the emitter of output.h.
 *
 * JSON is built as a jansson tree and written when the command ends, so that an error on the way
 * can still replace the whole document. A stream is the exception: gy_out_stream writes what the
 * tree holds so far, leaves the brace open, and from then on events go out as they come.
 *
 *      root ── object ── object ...        `stack[depth]` is where the next member goes
 *
 * Text sections are held back until their end, because labels are aligned on the longest; tables
 * are libsmartcols'. A table cell is found by its key, so a command calls the same gy_out_u64 for a
 * line of a section and for a cell.
 */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <libsmartcols.h>

#include "output_table.h"

#define DEPTH_MAX 8
#define LINES_MAX 96

struct text_line {
	char *label, *value, *note;
	bool number;
};

static struct {
	bool json, pretty, debug;
	json_t *root, *stack[DEPTH_MAX];
	int depth; /* open objects and rows */
	/* text */
	char *title;
	struct text_line lines[LINES_MAX];
	size_t line_count;
	bool wrote_section;
	/* the open table */
	const struct gy_out_column *columns;
	size_t column_count;
	const char *narrow; /* keys of columns to leave out, in this order */
	struct libscols_table *table;
	struct libscols_line *row;
	bool row_open;
	/* several documents in one: whose turn it is */
	bool many;
	int many_pid;
	/* the open stream */
	bool streaming, stream_closed, document_open;
	size_t stream_events, members_written;
	/* batch */
	json_t *batch, *batch_stream;
	int error; /* first failure of stdout */
} out;

void gy_out_init(bool json, bool pretty, bool debug)
{
	out.json = json;
	out.pretty = pretty;
	out.debug = debug;
	/* Whole blocks; a live stream is flushed at each poll (session.c). An error of write is
	 * then met by fflush, which tells which. */
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	scols_init_debug(0);
}

bool gy_out_is_json(void)
{
	return out.json;
}

bool gy_out_is_debug(void)
{
	return out.debug;
}

/* ---------------------------------------------------------------- JSON */

static json_t *json_here(void)
{
	if (!out.root) {
		out.root = json_object();
		out.stack[0] = out.root;
		out.depth = 0;
	}
	return out.stack[out.depth];
}

static void json_push(json_t *child)
{
	if (out.depth + 1 < DEPTH_MAX)
		out.stack[++out.depth] = child;
}

static void json_pop(void)
{
	if (out.depth > 0)
		out.depth--;
}

void gy_out_json(const char *key, json_t *value)
{
	json_t *here;

	if (!out.json) {
		json_decref(value);
		return;
	}
	here = json_here();
	if (json_is_array(here))
		json_array_append_new(here, value);
	else
		json_object_set_new(here, key ? key : "value", value);
}

/* ---------------------------------------------------------------- text */

static void write_failed(void)
{
	if (!out.error)
		out.error = errno ? -errno : -EIO;
}

size_t gy_out_columns(void)
{
	struct winsize window;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) ? 0 : window.ws_col;
}

/* A character is a column; its first byte is the one that does not continue another. */
size_t gy_out_cut(const char *text, size_t length, size_t columns)
{
	size_t characters = 0, cut = length;

	if (!columns || length <= columns || columns < 4)
		return length;
	for (size_t i = 0; i < length; i++) {
		if ((text[i] & 0xc0) == 0x80)
			continue;
		if (characters == columns - 3)
			cut = i;
		characters++;
	}
	return characters > columns ? cut : length;
}

static void print_title(const char *title)
{
	if (out.wrote_section)
		putchar('\n');
	out.wrote_section = true;
	if (title && *title)
		printf("%s\n", title);
}

/* Labels to the left; values that are numbers flush right, so that magnitudes compare by eye. */
static void section_flush(void)
{
	int label_width = 0, value_width = 0;

	for (size_t i = 0; i < out.line_count; i++) {
		struct text_line *line = &out.lines[i];
		int width = (int)strlen(line->label);

		if (width > label_width)
			label_width = width;
		width = (int)strlen(line->value);
		if (line->number && width > value_width)
			value_width = width;
	}
	if (out.line_count || out.title)
		print_title(out.title);
	for (size_t i = 0; i < out.line_count; i++) {
		struct text_line *line = &out.lines[i];

		printf("  %-*s  ", label_width, line->label);
		if (line->number)
			printf("%*s", value_width, line->value);
		else
			fputs(line->value, stdout);
		if (line->note)
			printf("  %s", line->note);
		if (putchar('\n') < 0 || ferror(stdout))
			write_failed();
		free(line->label);
		free(line->value);
		free(line->note);
	}
	out.line_count = 0;
	free(out.title);
	out.title = NULL;
}

static void text_value(const char *key, const char *label, const char *value, bool number)
{
	char *copy = strdup(value);

	if (!copy)
		return;
	gy_out_clean(copy);
	if (out.row_open) {
		for (size_t i = 0; i < out.column_count; i++)
			if (!strcmp(out.columns[i].key, key))
				scols_line_set_data(out.row, i, copy);
		free(copy);
		return;
	}
	if (!label || out.line_count == LINES_MAX) {
		free(copy);
		return;
	}
	out.lines[out.line_count] =
		(struct text_line){.label = strdup(label), .value = copy, .number = number};
	if (out.lines[out.line_count].label)
		out.line_count++;
	else
		free(copy);
}

void gy_out_note(const char *format, ...)
{
	struct text_line *line = out.line_count ? &out.lines[out.line_count - 1] : NULL;
	va_list arguments;

	if (out.json || out.row_open || !line || line->note)
		return;
	va_start(arguments, format);
	if (vasprintf(&line->note, format, arguments) < 0)
		line->note = NULL;
	va_end(arguments);
	if (line->note)
		gy_out_clean(line->note);
}

void gy_out_line(const char *format, ...)
{
	char *text = NULL;
	va_list arguments;
	int length;

	if (out.json)
		return;
	section_flush();
	va_start(arguments, format);
	length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0)
		return;
	while (length && text[length - 1] == ' ')
		text[--length] = 0;
	/* Tabs and newlines are the format's own; the rest of a line is cleaned by its maker. */
	if (puts(text) < 0)
		write_failed();
	free(text);
	out.wrote_section = true;
}

/* ---------------------------------------------------------------- sections, tables */

void gy_out_begin(const char *key, const char *title)
{
	if (out.json) {
		json_t *here = json_here(), *child;

		if (!key) { /* the document itself */
			json_push(here);
			return;
		}
		child = json_object();
		gy_out_json(key, child);
		json_push(child);
		return;
	}
	section_flush();
	out.title = title ? strdup(title) : NULL;
	if (out.title)
		gy_out_clean(out.title);
}

void gy_out_end(void)
{
	if (out.json)
		json_pop();
	else
		section_flush();
}

void gy_out_list(const char *key, const char *title, const struct gy_out_column *columns,
		 size_t count)
{
	out.columns = columns;
	out.column_count = count;
	if (out.json) {
		json_t *list = json_array();

		if (key) {
			gy_out_json(key, list);
		} else if (!out.root) { /* the document is the list */
			out.root = list;
			out.depth = 0;
			out.stack[0] = list;
		}
		json_push(list);
		return;
	}
	section_flush();
	out.title = title ? strdup(title) : NULL;
	out.table = gy_table_new();
	for (size_t i = 0; i < count && out.table; i++)
		scols_table_new_column(out.table, columns[i].heading, 0,
				       columns[i].kind == OUT_TEXT || columns[i].kind == OUT_BOOL
					       ? 0
					       : SCOLS_FL_RIGHT);
}

static void row_close(void)
{
	if (!out.row_open)
		return;
	out.row_open = false;
	if (out.json)
		json_pop();
}

void gy_out_row(void)
{
	row_close();
	if (out.json) {
		json_t *object = json_object();

		json_array_append_new(out.stack[out.depth], object);
		json_push(object);
	} else {
		out.row = out.table ? scols_table_new_line(out.table, NULL) : NULL;
		if (!out.row)
			return;
	}
	out.row_open = true;
}

void gy_out_list_narrow(const char *keys)
{
	out.narrow = keys;
}

void gy_out_list_end(void)
{
	row_close();
	if (out.json) {
		json_pop();
		out.narrow = NULL;
		return;
	}
	if (out.table) {
		print_title(out.title);
		gy_table_print(out.table, out.columns, out.column_count, out.narrow,
			       out.title ? "  " : "");
		scols_unref_table(out.table);
	}
	free(out.title);
	out.title = NULL;
	out.narrow = NULL;
	out.table = NULL;
	out.row = NULL;
	out.columns = NULL;
	out.column_count = 0;
}

/* ---------------------------------------------------------------- several documents */

void gy_out_many_begin(void)
{
	out.many = true;
	out.many_pid = 0;
	if (out.json)
		out.root = out.stack[0] = json_array();
}

void gy_out_many_next(int pid)
{
	json_t *object;

	out.many_pid = pid;
	if (!out.json) {
		section_flush();
		if (out.wrote_section)
			putchar('\n');
		out.wrote_section = false;
		return;
	}
	object = json_object();
	json_array_append_new(out.root, object);
	out.depth = 1;
	out.stack[1] = object;
}

void gy_out_many_end(void)
{
	out.many = false;
	out.depth = 0;
}

bool gy_out_is_many(void)
{
	return out.many;
}

/* ---------------------------------------------------------------- values */

void gy_out_u64(const char *key, const char *label, enum gy_out_kind kind, uint64_t value)
{
	char text[GY_OUT_TEXT];

	if (out.json) {
		gy_out_json(key, kind == OUT_ADDRESS ? gy_out_json_address(value)
						     : gy_out_json_u64(value));
		return;
	}
	switch (kind) {
	case OUT_BYTES:
		gy_out_bytes(text, value);
		break;
	case OUT_NS:
		gy_out_ns(text, value);
		break;
	case OUT_ADDRESS:
		snprintf(text, sizeof(text), "0x%" PRIx64, value);
		break;
	case OUT_COUNT:
	case OUT_TEXT:
	case OUT_BOOL:
	case OUT_PERCENT:
		gy_out_count(text, value);
		break;
	}
	text_value(key, label, text, true);
}

void gy_out_percent(const char *key, const char *label, double part, double whole)
{
	char text[GY_OUT_TEXT];
	double percent = whole > 0 ? 100 * part / whole : 0;

	if (out.json) {
		/* One decimal: more would claim a precision that a moving heap does not have. */
		gy_out_json(key, whole > 0 ? json_real((double)(int64_t)(percent * 10 + 0.5) / 10)
					   : json_null());
		return;
	}
	if (whole > 0)
		snprintf(text, sizeof(text), "%.1f %%", percent);
	else
		snprintf(text, sizeof(text), "-");
	text_value(key, label, text, true);
}

void gy_out_bool(const char *key, const char *label, bool value)
{
	if (out.json)
		gy_out_json(key, json_boolean(value));
	else
		text_value(key, label, value ? "yes" : "no", false);
}

void gy_out_text(const char *key, const char *label, const char *value)
{
	if (out.json)
		gy_out_json(key, gy_out_json_text(value));
	else
		text_value(key, label, value, false);
}

void gy_out_null(const char *key, const char *label, const char *why)
{
	if (out.json)
		gy_out_json(key, json_null());
	else
		text_value(key, label, why, false);
}

/* ---------------------------------------------------------------- writing JSON */

static size_t dump_flags(void)
{
	return JSON_ENCODE_ANY | JSON_REAL_PRECISION(6) |
	       (out.pretty ? JSON_INDENT(4) : JSON_COMPACT);
}

/* Write `value`, each line but the first indented by `level` steps. */
static void json_write(json_t *value, int level)
{
	char *text = json_dumps(value, dump_flags());

	if (!text) {
		errno = ENOMEM;
		write_failed();
		return;
	}
	for (const char *s = text; *s; s++) {
		if (putchar(*s) == EOF)
			write_failed();
		if (*s == '\n')
			printf("%*s", 4 * level, "");
	}
	free(text);
}

static void stream_separator(bool first, int level)
{
	if (!first)
		putchar(',');
	if (out.pretty)
		printf("\n%*s", 4 * level, "");
}

/* Write the members of the root that are not written yet; the brace stays open. */
static void members_write(void)
{
	const char *key;
	json_t *value;

	if (!out.document_open)
		putchar('{');
	out.document_open = true;
	json_object_foreach(out.root, key, value)
	{
		json_t *name = json_string(key);

		stream_separator(out.members_written++ == 0, 1);
		json_write(name, 1);
		fputs(out.pretty ? ": " : ":", stdout);
		json_write(value, 1);
		json_decref(name);
	}
	json_object_clear(out.root);
}

void gy_out_stream(const char *key)
{
	section_flush();
	if (!out.json)
		return;
	json_here();
	if (out.batch) { /* a batch writes at its end: collect */
		out.batch_stream = json_array();
		gy_out_json(key, out.batch_stream);
		return;
	}
	members_write();
	stream_separator(out.members_written++ == 0, 1);
	printf(out.pretty ? "\"%s\": [" : "\"%s\":[", key);
	out.streaming = true;
	out.stream_closed = false;
	out.stream_events = 0;
	gy_out_flush(); /* a reader sees by this that the stream has begun */
}

void gy_out_stream_event(json_t *event)
{
	if (out.batch_stream) {
		json_array_append_new(out.batch_stream, event);
		return;
	}
	if (out.streaming && !out.stream_closed) {
		stream_separator(out.stream_events++ == 0, 2);
		json_write(event, 2);
	}
	json_decref(event);
}

void gy_out_stream_end(void)
{
	out.batch_stream = NULL;
	if (!out.streaming || out.stream_closed)
		return;
	out.stream_closed = true;
	if (out.pretty && out.stream_events)
		printf("\n    ");
	putchar(']');
}

int gy_out_flush(void)
{
	errno = 0;
	if (fflush(stdout) || ferror(stdout))
		write_failed();
	return out.error;
}

static void document_reset(void)
{
	out.many = false;
	json_decref(out.root);
	out.root = NULL;
	out.depth = 0;
	out.streaming = out.stream_closed = out.document_open = false;
	out.members_written = 0;
	out.row_open = false;
	out.wrote_section = false;
}

int gy_out_finish(void)
{
	if (!out.json) {
		section_flush();
		return gy_out_flush();
	}
	if (out.batch) {
		json_write(out.batch, 0);
		json_decref(out.batch);
		out.batch = NULL;
	} else if (out.streaming) {
		gy_out_stream_end();
		members_write();
		fputs(out.pretty ? "\n}" : "}", stdout);
	} else if (out.root) {
		json_write(out.root, 0);
	} else {
		fputs("null", stdout); /* help, and commands that have nothing to say */
	}
	putchar('\n');
	document_reset();
	return gy_out_flush();
}

/* ---------------------------------------------------------------- errors, remarks, batch */

int gy_out_error(const char *format, ...)
{
	char *text = NULL;
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0)
		return -1;
	gy_out_clean(text);
	if (out.json) {
		json_t *message = gy_out_json_text(text);

		if (out.many && out.many_pid) {
			json_object_clear(out.stack[1]);
			json_object_set_new(out.stack[1], "pid", json_integer(out.many_pid));
			json_object_set_new(out.stack[1], "error", message);
			out.depth = 1;
			out.row_open = false;
		} else if (out.streaming) { /* OUT-1: what was written stays, the error joins it */
			gy_out_stream_end();
			json_object_set_new(out.root, "error", message);
		} else {
			document_reset();
			out.root = json_object();
			out.stack[0] = out.root;
			json_object_set_new(out.root, "error", message);
		}
	} else {
		section_flush();
		fflush(stdout);
		fprintf(stderr, "Error: %s\n", text);
	}
	free(text);
	return -1;
}

void gy_out_info(const char *format, ...)
{
	va_list arguments;

	if (out.json)
		return;
	fflush(stdout);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

void gy_out_batch_begin(void)
{
	if (out.json)
		out.batch = json_array();
}

void gy_out_batch_command(int argc, char **argv)
{
	json_t *command, *entry;

	if (!out.batch) {
		section_flush();
		out.wrote_section = false;
		return;
	}
	command = json_array();
	for (int i = 0; i < argc; i++)
		json_array_append_new(command, gy_out_json_text(argv[i]));
	entry = json_object();
	json_object_set_new(entry, "command", command);
	json_object_set_new(entry, "output", out.root ? json_incref(out.root) : json_null());
	json_array_append_new(out.batch, entry);
	document_reset();
}
