/* parser.c - a parser that builds trees and strings: JSON text of a known generator is parsed again
 * and again by each thread, summed by walking, and dropped; the last `keep` trees of a thread live.
 *
 *	parser [times=60] [mib=2] [keep=2] [threads=2]
 *
 * A value is 48 bytes with four pointers, keys and texts are objects without pointers of their own.
 * Operations: values parsed. The text lies in memory of the harness.
 */
#include "collector.h"

enum kind { NUMBER, TEXT, ARRAY, OBJECT };

struct value {
	struct value *first, *next; /* of an array or object: its parts, in order */
	char *key, *text;
	int64_t number;
	uint32_t kind, count;
};
TYPE(value, first, next, key, text);

#define KEEP_MOST 16u

static char *source;
static size_t source_bytes;
static uint64_t times;
static unsigned keep;

/* ---- the text ---- */

struct writer {
	char *at, *end;
	struct bench_rng rng;
};

static void put(struct writer *writer, char c)
{
	*writer->at++ = c;
}

static void put_text(struct writer *writer, unsigned least, unsigned most)
{
	unsigned length = least + (unsigned)bench_below(&writer->rng, most - least + 1);

	put(writer, '"');
	for (unsigned i = 0; i < length; i++)
		put(writer, (char)('a' + bench_below(&writer->rng, 26)));
	put(writer, '"');
}

static void put_number(struct writer *writer, uint64_t number)
{
	char digits[24];
	unsigned count = 0;

	do {
		digits[count++] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	while (count)
		put(writer, digits[--count]);
}

/* At depth 0 only leaves; so no value takes 1 MiB, and source_make has room for it. */
static void put_value(struct writer *writer, unsigned depth)
{
	unsigned kind = (unsigned)bench_below(&writer->rng, depth ? 4 : 2);
	unsigned parts;

	if (kind == NUMBER) {
		put_number(writer, bench_below(&writer->rng, 1000000));
	} else if (kind == TEXT) {
		put_text(writer, 4, 40);
	} else {
		parts = 1 + (unsigned)bench_below(&writer->rng, 6);
		put(writer, kind == ARRAY ? '[' : '{');
		for (unsigned i = 0; i < parts; i++) {
			if (i)
				put(writer, ',');
			if (kind == OBJECT) {
				put_text(writer, 3, 12);
				put(writer, ':');
			}
			put_value(writer, depth - 1);
		}
		put(writer, kind == ARRAY ? ']' : '}');
	}
}

static void source_make(size_t bytes)
{
	struct writer writer = {NULL, NULL, bench_rng_begin(5)};
	size_t room = bytes + (1 << 20);

	source = bench_map(room);
	writer.at = source;
	put(&writer, '[');
	while ((size_t)(writer.at - source) < bytes) {
		if (writer.at != source + 1)
			put(&writer, ',');
		put_value(&writer, 5);
	}
	put(&writer, ']');
	put(&writer, 0);
	source_bytes = (size_t)(writer.at - source) - 1;
}

/* ---- the parser ---- */

struct reader {
	const char *at;
	uint64_t values;
};

static char *read_text(struct reader *reader)
{
	const char *begin = ++reader->at;
	size_t length;
	char *text;

	while (*reader->at != '"')
		reader->at++;
	length = (size_t)(reader->at - begin);
	reader->at++;
	text = NEW_LEAF(length + 1);
	memcpy(text, begin, length);
	text[length] = 0;
	return text;
}

static struct value *read_value(struct reader *reader);

static void read_parts(struct reader *reader, struct value *value, char close)
{
	struct value *last = NULL;

	do {
		struct value *part;
		char *key = NULL;

		reader->at++; /* what opens, or a comma */
		if (value->kind == OBJECT) {
			key = read_text(reader);
			reader->at++;
		}
		part = read_value(reader);
		SET(&part->key, key);
		if (last)
			SET(&last->next, part);
		else
			SET(&value->first, part);
		last = part;
		value->count++;
	} while (*reader->at != close);
	reader->at++;
}

static struct value *read_value(struct reader *reader)
{
	struct value *value = NEW(value);

	reader->values++;
	switch (*reader->at) {
	case '"':
		value->kind = TEXT;
		SET(&value->text, read_text(reader));
		break;
	case '[':
		value->kind = ARRAY;
		read_parts(reader, value, ']');
		break;
	case '{':
		value->kind = OBJECT;
		read_parts(reader, value, '}');
		break;
	default:
		value->kind = NUMBER;
		while (*reader->at >= '0' && *reader->at <= '9')
			value->number = value->number * 10 + (*reader->at++ - '0');
		break;
	}
	return value;
}

static uint64_t value_sum(const struct value *value)
{
	uint64_t sum = (uint64_t)value->number + value->kind + value->count;

	if (value->key)
		sum += (unsigned char)value->key[0] + strlen(value->key);
	if (value->text)
		sum += (unsigned char)value->text[1] + strlen(value->text);
	for (const struct value *part = value->first; part; part = part->next)
		sum += value_sum(part);
	return sum;
}

static void value_free(struct value *value)
{
	while (value) {
		struct value *next = value->next;

		value_free(value->first);
		free(value->key);
		free(value->text);
		free(value);
		value = next;
	}
}

static uint64_t values_parsed;

static void *work(void *number)
{
	struct value *kept[KEEP_MOST] = {NULL};
	uint64_t sum = 0;

	(void)number;
	for (uint64_t i = 0; i < times; i++) {
		struct reader reader = {source, 0};
		struct value *value = read_value(&reader);

		if (reader.at != source + source_bytes)
			bench_die("the text was not parsed to its end");
		sum += value_sum(value);
		if (GC_MANUAL)
			value_free(kept[i % keep]);
		kept[i % keep] = value;
		__atomic_add_fetch(&values_parsed, reader.values, __ATOMIC_RELAXED);
	}
	for (unsigned i = 0; i < keep; i++) {
		sum += kept[i] ? kept[i]->count : 0;
		if (GC_MANUAL)
			value_free(kept[i]);
	}
	return (void *)(uintptr_t)sum;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_clock clock;
	uint64_t sum;
	unsigned thread_count;

	times = bench_arg_u64(&args, "times", 60);
	keep = (unsigned)bench_arg_u64(&args, "keep", 2);
	source_make(bench_arg_u64(&args, "mib", 2) << 20);
	thread_count = gc_arg_threads(&args, 2);
	bench_args_end(&args);
	if (keep < 1 || keep > KEEP_MOST) {
		fprintf(stderr, "bench: keep: 1 to %u\n", KEEP_MOST);
		return 2;
	}
	gc_begin();
	clock = bench_begin();
	sum = gc_threads(thread_count, work);
	gc_end(&clock, (double)values_parsed, sum);
	return 0;
}
