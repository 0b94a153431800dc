/* resp.c - Redis's protocol, version 2: bytes to words, replies to bytes.
 *
 *	*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n        a command of two words
 *	GET key\r\n                             the same, typed by hand (inline)
 *
 * A command comes in as many pieces as the network likes. The parser remembers how far it was, so
 * no byte is looked at twice, but for a line's end.
 *
 * Source: redis.io, "Redis serialization protocol specification".
 */
#include "kv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- replies ---- */

static char *reserve(struct output *out, size_t length)
{
	if (out->failed)
		return NULL;
	if (out->room - out->length < length) {
		size_t room = out->room ? out->room : 4096;
		char *data;

		while (room - out->length < length)
			room *= 2;
		data = realloc(out->data, room);
		if (!data) {
			out->failed = true;
			return NULL;
		}
		out->data = data;
		out->room = room;
	}
	return out->data + out->length;
}

void reply_raw(struct output *out, const char *data, size_t length)
{
	char *to = reserve(out, length);

	if (to) {
		memcpy(to, data, length);
		out->length += length;
	}
}

void reply_text(struct output *out, const char *text)
{
	reply_raw(out, text, strlen(text));
}

void reply_error(struct output *out, const char *format, ...)
{
	char line[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	for (char *at = line; *at; at++)
		if (*at == '\r' || *at == '\n')
			*at = ' ';
	reply_text(out, "-");
	reply_text(out, line);
	reply_text(out, "\r\n");
}

/* KIND, the number, \r\n. */
static void reply_number(struct output *out, char kind, int64_t number)
{
	char line[32], *at = line + sizeof(line);
	uint64_t left = number < 0 ? -(uint64_t)number : (uint64_t)number;

	*--at = '\n';
	*--at = '\r';
	do
		*--at = (char)('0' + left % 10);
	while (left /= 10);
	if (number < 0)
		*--at = '-';
	*--at = kind;
	reply_raw(out, at, (size_t)(line + sizeof(line) - at));
}

void reply_integer(struct output *out, int64_t number)
{
	reply_number(out, ':', number);
}

void reply_array(struct output *out, size_t count)
{
	reply_number(out, '*', (int64_t)count);
}

void reply_bulk(struct output *out, const char *data, size_t length)
{
	reply_number(out, '$', (int64_t)length);
	reply_raw(out, data, length);
	reply_raw(out, "\r\n", 2);
}

void reply_null(struct output *out)
{
	reply_raw(out, "$-1\r\n", 5);
}

/* ---- commands ---- */

static bool add_word(struct parser *parser, size_t offset, size_t length)
{
	if (parser->count == parser->room) {
		size_t room = parser->room ? parser->room * 2 : 8;
		struct word *words = realloc(parser->words, room * sizeof(*words));

		if (!words)
			return false;
		parser->words = words;
		parser->room = room;
	}
	parser->words[parser->count++] = (struct word){offset, length};
	return true;
}

/* The line at `at`: its length without its end, or -1: not all of it is there. *next: behind it. */
static ptrdiff_t line_at(const char *data, size_t at, size_t length, size_t *next)
{
	const char *end = memchr(data + at, '\n', length - at);

	if (!end)
		return -1;
	*next = (size_t)(end - data) + 1;
	if (end > data + at && end[-1] == '\r')
		end--;
	return end - (data + at);
}

static bool number_at(const char *data, ptrdiff_t length, size_t most, size_t *number)
{
	size_t sum = 0;

	if (length < 1 || length > 10)
		return false;
	for (ptrdiff_t i = 0; i < length; i++) {
		if (data[i] < '0' || data[i] > '9')
			return false;
		sum = sum * 10 + (size_t)(data[i] - '0');
	}
	*number = sum;
	return sum <= most;
}

/* Words between blanks; one may stand in quotes. */
static enum parsed parse_inline(struct parser *parser, const char *data, size_t length,
				const char **error)
{
	size_t next, at = parser->at, end;
	ptrdiff_t line = line_at(data, at, length, &next);

	if (line < 0) {
		*error = "too big inline request";
		return length - at > LINE_MOST ? PARSED_ERROR : PARSED_MORE;
	}
	for (end = at + (size_t)line; at < end;) {
		char quote = data[at];
		size_t begin;

		if (quote == ' ' || quote == '\t') {
			at++;
			continue;
		}
		if (quote == '"' || quote == '\'') {
			for (begin = ++at; at < end && data[at] != quote; at++)
				;
			if (at == end) {
				*error = "unbalanced quotes in request";
				return PARSED_ERROR;
			}
			if (!add_word(parser, begin, at++ - begin))
				return PARSED_NO_MEMORY;
			continue;
		}
		for (begin = at; at < end && data[at] != ' ' && data[at] != '\t'; at++)
			;
		if (!add_word(parser, begin, at - begin))
			return PARSED_NO_MEMORY;
	}
	parser->at = next;
	return PARSED;
}

enum parsed parse(struct parser *parser, const char *data, size_t length, const char **error)
{
	size_t next, bulk;
	ptrdiff_t line;

	if (parser->at == length)
		return PARSED_MORE;
	if (!parser->wanted) {
		if (data[parser->at] != '*')
			return parse_inline(parser, data, length, error);
		line = line_at(data, parser->at, length, &next);
		if (line < 0) {
			*error = "too big mbulk count string";
			return length - parser->at > 64 ? PARSED_ERROR : PARSED_MORE;
		}
		*error = "invalid multibulk length";
		if (!number_at(data + parser->at + 1, line - 1, WORDS_MOST, &parser->wanted))
			return PARSED_ERROR;
		parser->at = next;
		if (!parser->wanted)
			return PARSED; /* *0: nothing is asked, nothing answered */
	}
	while (parser->count < parser->wanted) {
		line = parser->at < length ? line_at(data, parser->at, length, &next) : -1;
		if (line < 0) {
			*error = "too big bulk count string";
			return length - parser->at > 64 ? PARSED_ERROR : PARSED_MORE;
		}
		*error = "expected '$'";
		if (data[parser->at] != '$')
			return PARSED_ERROR;
		*error = "invalid bulk length";
		if (!number_at(data + parser->at + 1, line - 1, BULK_MOST, &bulk))
			return PARSED_ERROR;
		if (length - next < bulk + 2)
			return PARSED_MORE;
		if (!add_word(parser, next, bulk))
			return PARSED_NO_MEMORY;
		parser->at = next + bulk + 2;
	}
	return PARSED;
}

void parser_next(struct parser *parser)
{
	parser->wanted = parser->count = 0;
	if (parser->room > 1024) {
		free(parser->words);
		parser->words = NULL;
		parser->room = 0;
	}
}
