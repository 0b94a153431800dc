/* event_words.c - see event_words.h. */
#include "event_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "output.h"
#include "snapshot.h"
#include "words.h"

static const char *const operations[GYRE_RECORD_OPERATIONS] = {
	[GYRE_RECORD_NONE] = "none", [GYRE_RECORD_MALLOC] = "malloc",
	[GYRE_RECORD_FREE] = "free", [GYRE_RECORD_NEW] = "new",
	[GYRE_RECORD_BARRIER] = "barrier",
};

const char *gy_event_operation_name(uint32_t operation)
{
	return operation < GYRE_RECORD_OPERATIONS ? operations[operation] : "other";
}

void gy_event_words_begin(struct gy_event_words *words)
{
	memset(words, 0, sizeof(*words));
	words->filter.class_number = GY_EVENT_ALL;
}

static void step(int *argc, char ***argv, int words)
{
	*argc -= words;
	*argv += words;
}

/* A number by the rules of gy_words_u64, from a part of a word. */
static int bytes_parse(const char *text, size_t length, uint64_t *value)
{
	char keyword[] = "size", number[64];
	char *words[] = {keyword, number}, **at = words;
	int count = 2;

	if (length >= sizeof(number))
		return gy_out_error("'%s' is no range for 'size'", text);
	memcpy(number, text, length);
	number[length] = 0;
	return gy_words_u64(&count, &at, true, 0, UINT64_MAX - 1, value);
}

static int range_parse(struct gy_event_filter *filter, int *argc, char ***argv)
{
	const char *text = *argc > 1 ? (*argv)[1] : NULL, *dash;

	if (!text)
		return gy_out_error("'size' needs a range behind it: 64, 64-1K, 1K-, -64");
	dash = strchr(text, '-');
	filter->bytes_min = filter->bytes_max = 0;
	if (!dash) {
		if (bytes_parse(text, strlen(text), &filter->bytes_min))
			return -1;
		filter->bytes_max = filter->bytes_min;
	} else {
		if (dash != text &&
		    bytes_parse(text, (size_t)(dash - text), &filter->bytes_min))
			return -1;
		if (dash[1] && bytes_parse(dash + 1, strlen(dash + 1), &filter->bytes_max))
			return -1;
		if (dash[1] && !filter->bytes_max) /* 0 would be no bound */
			return gy_out_error("'%s' is no range for 'size': 64, 64-1K, 1K-, -64",
					    text);
	}
	if (filter->bytes_max ? filter->bytes_min > filter->bytes_max : !filter->bytes_min)
		return gy_out_error("'%s' is no range for 'size': 64, 64-1K, 1K-, -64", text);
	step(argc, argv, 2);
	return 0;
}

static int operation_parse(struct gy_event_filter *filter, int *argc, char ***argv)
{
	const char *text = *argc > 1 ? (*argv)[1] : "";

	for (uint32_t i = GYRE_RECORD_MALLOC; i < GYRE_RECORD_OPERATIONS; i++)
		if (gy_word_is(text, operations[i])) {
			filter->operations |= 1u << i;
			step(argc, argv, 2);
			return 0;
		}
	return gy_out_error(
		"'operation' needs 'malloc', 'free', 'new' or 'barrier' behind it");
}

static int filter_take(struct gy_event_words *words, int *argc, char ***argv)
{
	uint64_t value;

	if (gy_word_is(**argv, "size"))
		return range_parse(&words->filter, argc, argv) ? -1 : 1;
	if (gy_word_is(**argv, "class")) {
		if (*argc < 2)
			return gy_out_error("'class' needs a size in bytes, or 'large', behind it");
		words->class_text = (*argv)[1];
		step(argc, argv, 2);
		return 1;
	}
	if (gy_word_is(**argv, "thread")) {
		if (gy_words_u64(argc, argv, false, 1, INT32_MAX, &value))
			return -1;
		words->filter.thread = (uint32_t)value;
		return 1;
	}
	return 0;
}

static int ring_parse(struct gy_event_words *words, int *argc, char ***argv)
{
	uint64_t bytes, ring = 65536; /* a batch takes up to 12 KiB */

	if (gy_words_u64(argc, argv, true, 65536, 1ull << 30, &bytes))
		return -1;
	while (ring < bytes)
		ring *= 2;
	words->ring_bytes = ring;
	return 1;
}

int gy_event_words_take(struct gy_event_words *words, unsigned int which, int *argc, char ***argv)
{
	const char *word = **argv;
	int taken = 0;

	if (which & EVENT_WORD_FILTER)
		taken = filter_take(words, argc, argv);
	if (taken)
		return taken;
	if (which & EVENT_WORD_OPERATION && gy_word_is(word, "operation"))
		return operation_parse(&words->filter, argc, argv) ? -1 : 1;
	if (which & EVENT_WORD_DURATION && gy_word_is(word, "duration"))
		return gy_words_seconds(argc, argv, &words->duration_ns) ? -1 : 1;
	if (which & EVENT_WORD_INTERVAL && gy_word_is(word, "interval"))
		return gy_words_seconds(argc, argv, &words->interval_ns) ? -1 : 1;
	if (which & EVENT_WORD_COUNT && gy_word_is(word, "count"))
		return gy_words_u64(argc, argv, false, 1, UINT64_MAX, &words->count) ? -1 : 1;
	if (which & EVENT_WORD_ROWS && gy_word_is(word, "rows"))
		return gy_words_u64(argc, argv, false, 1, 10000, &words->rows) ? -1 : 1;
	if (which & EVENT_WORD_RING && gy_word_is(word, "ring"))
		return ring_parse(words, argc, argv);
	return 0;
}

int gy_event_class_bytes(struct gy_target *target, uint32_t *bytes)
{
	struct gy_snapshot snapshot;
	int error = gy_control_read(target->control, 0, &snapshot);

	/* The table is filled with the first snapshot that anybody asks for. */
	if (!error && (!snapshot.class_count || !snapshot.classes[0].object_bytes)) {
		gy_snapshot_free(&snapshot);
		error = gy_control_read(target->control, GY_SNAPSHOT_WAIT_MS, &snapshot);
	}
	memset(bytes, 0, GYRE_CELL_CLASSES * sizeof(*bytes));
	if (error)
		return gy_out_error("process %d (%s): %s", target->pid, target->comm,
				    gy_control_error(error));
	/* Class 0 is no class: the table begins with 1. */
	for (size_t i = 0; i < snapshot.class_count && i + 1 < GYRE_CELL_CLASSES; i++)
		bytes[i + 1] = snapshot.classes[i].object_bytes;
	gy_snapshot_free(&snapshot);
	return 0;
}

int gy_event_words_target(const struct gy_target *target)
{
	if (!target->control)
		return gy_out_error("process %d (%s) runs on Gyre, but %s", target->pid,
				    target->comm, gy_control_error(target->control_error));
	if (!target->image_count)
		return gy_out_error("process %d (%s) runs on Gyre, but no file with its probes "
				    "can be read",
				    target->pid, target->comm);
	return 0;
}

int gy_event_words_end(struct gy_event_words *words, struct gy_target *target)
{
	uint32_t bytes[GYRE_CELL_CLASSES];
	uint64_t wanted;

	if (!words->class_text)
		return 0;
	if (gy_word_is(words->class_text, "large")) {
		words->filter.class_number = 0;
		/* The collector's have no class either. */
		if (!words->filter.operations)
			words->filter.operations =
				1u << GYRE_RECORD_MALLOC | 1u << GYRE_RECORD_FREE;
		return 0;
	}
	if (bytes_parse(words->class_text, strlen(words->class_text), &wanted) ||
	    gy_event_class_bytes(target, bytes))
		return -1;
	for (uint32_t i = 1; i < GYRE_CELL_CLASSES; i++)
		if (bytes[i] && bytes[i] >= wanted) {
			words->filter.class_number = i;
			return 0;
		}
	return gy_out_error("no size class has blocks of %s bytes; above them all is 'class large'",
			    words->class_text);
}

void gy_event_words_plan(const struct gy_event_words *words, struct gy_event_plan *plan)
{
	plan->filter = words->filter;
	plan->duration_ns = words->duration_ns;
	plan->interval_ns = words->interval_ns;
	plan->ring_bytes = words->ring_bytes;
}
