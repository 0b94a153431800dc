/* alloc_trace.h - `gyre alloc trace`: what its two kinds share (alloc_sampled.c, alloc_every.c). */
#ifndef GYRE_TOOLS_ALLOC_TRACE_H
#define GYRE_TOOLS_ALLOC_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "event_words.h"
#include "target.h"

enum gy_stack_form { GY_STACK_NONE, GY_STACK_LINE, GY_STACK_FULL };

enum gy_clock_form { GY_CLOCK_ANY, GY_CLOCK_EACH, GY_CLOCK_SHARED };

/* The words of the command line. */
struct gy_alloc_trace {
	bool is_every, sum;
	enum gy_stack_form stack;
	uint64_t depth;
	/* sampled */
	bool allocs, frees;
	uint64_t min_bytes;
	/* every; duration and count are both's */
	enum gy_clock_form clock; /* ANY: shared where no time is shown */
	struct gy_event_words every;
};

int gy_alloc_sampled(struct gy_target *target, const struct gy_alloc_trace *words);
int gy_alloc_every(struct gy_target *target, const struct gy_alloc_trace *words);

/* The other commands of the object. */
int gy_alloc_hist(int argc, char **argv);


#endif
