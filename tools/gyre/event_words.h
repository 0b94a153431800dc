/* event_words.h - the words that commands over every event have in common.
 *
 *      size RANGE       bytes: of an allocation as asked for, of a free the block's
 *      class BYTES      the size class that blocks of so many bytes have; `large`: above them all
 *      thread TID       as ps numbers it
 *      operation OP     malloc, free, new, barrier; may be given several times
 *      duration, interval, count, rows, ring
 */
#ifndef GYRE_TOOLS_EVENT_WORDS_H
#define GYRE_TOOLS_EVENT_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "event_session.h"

#define GY_EVENT_HELP_RANGE                                                                        \
	"RANGE := BYTES | BYTES-BYTES | BYTES- | -BYTES"

/* Which of the words a command has. */
enum {
	EVENT_WORD_FILTER = 1, /* size, class, thread */
	EVENT_WORD_OPERATION = 2,
	EVENT_WORD_DURATION = 4,
	EVENT_WORD_INTERVAL = 8,
	EVENT_WORD_COUNT = 16,
	EVENT_WORD_ROWS = 32,
	EVENT_WORD_RING = 64,
};

struct gy_event_words {
	struct gy_event_filter filter;
	const char *class_text; /* NULL: not given */
	uint64_t duration_ns, interval_ns, count, rows, ring_bytes;
};

void gy_event_words_begin(struct gy_event_words *words);
/* gy_event_words_take - 1: the word was one of these, and argc and argv are behind it; 0: it is
 * not; -1: the error is told. */
int gy_event_words_take(struct gy_event_words *words, unsigned int which, int *argc, char ***argv);
/* gy_event_words_target - has it what recording every event takes? 0, or -1 with the error told. */
int gy_event_words_target(const struct gy_target *target);
/* gy_event_words_end - what only the process can tell: the number of a class. 0 or -1. */
int gy_event_words_end(struct gy_event_words *words, struct gy_target *target);
/* gy_event_words_plan - into a session's plan. */
void gy_event_words_plan(const struct gy_event_words *words, struct gy_event_plan *plan);

/* gy_event_operation_name - "malloc", "free", "new", "barrier". */
const char *gy_event_operation_name(uint32_t operation);

/* gy_event_class_bytes - fills bytes[GYRE_CELL_CLASSES], 0 for a class that there is not. */
int gy_event_class_bytes(struct gy_target *target, uint32_t *bytes);

#endif
