/* leak_growth.h - what each allocation stack and each size class holds, look after look.
 *
 *      point       0     1     2           n-1        at most GY_LEAK_POINTS; then every other one
 *      held     ───┴─────┴─────┴─── ... ────┤         goes, and they come half as often
 *      born           ├─1─┤─2─┤     ┤─n-1─┤           what was allocated between two points: a
 *      dead                                           cohort, and what of it was freed since
 *
 * Stacks are the sampled profile's (profile_page.h): the process keeps it anyway, so that looking
 * costs it nothing, and what was allocated before anybody looked is in it. Classes are counted
 * exactly, and know no stacks.
 *
 * GROWTH-1  Sums are of samples scaled to all allocations; the numbers of samples behind them are
 *           kept beside them, because a trend must be told from chance (TREND-1).
 * GROWTH-2  Of what age a freed block was only the process's probe free_sample tells. Where it may
 *           be attached (leak_deaths.h) survival is exact for the samples; elsewhere it has a
 *           lower bound: what was freed since may all have been of the young.
 */
#ifndef GYRE_TOOLS_LEAK_GROWTH_H
#define GYRE_TOOLS_LEAK_GROWTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "leak_trend.h"
#include "target.h"

#define GY_LEAK_POINTS 96 /* even */

struct gy_leak_cohort {
	double born, dead; /* bytes */
};

struct gy_leak_row {
	uint64_t hash;        /* a stack's; a class: its index */
	uint64_t class_bytes; /* a class; 0: large blocks */
	uint32_t depth;       /* a stack's */
	uint64_t frames[GYRE_CONTROL_FRAMES];
	double held[GY_LEAK_POINTS];
	uint64_t births[GY_LEAK_POINTS], deaths[GY_LEAK_POINTS]; /* samples, blocks: since start */
	struct gy_leak_cohort cohorts[GY_LEAK_POINTS];
	/* at the last look */
	uint64_t held_bytes, held_blocks;
	double allocated, allocated_at_point; /* bytes since start */
	double freed_first, allocated_first;  /* at the first look */
	double freed;
	struct gy_trend trend;
	double kept; /* share of what was born in the first half of the time; below 0: not known */
	bool kept_at_least; /* it is a lower bound */
};

struct gy_leak_growth {
	struct gy_target *target;
	struct gy_snapshot snapshot; /* of the last look */
	bool looked, judged; /* judged: since the last point */
	uint64_t start_ns, now_ns, step_ns, next_point_ns;
	double seconds[GY_LEAK_POINTS]; /* since the first look */
	double heap[GY_LEAK_POINTS];    /* bytes allocated, of all */
	size_t points;
	bool deaths_known; /* GROWTH-2 */
	struct gy_leak_row **stacks, **classes; /* in the order found; sort at will */
	size_t stack_count, stack_capacity, class_count, class_capacity;
	size_t *index; /* open addressing by hash: stack's number + 1, in `all` */
	size_t index_size;
	struct gy_leak_row **all; /* the stacks again, never sorted */
};

int gy_leak_growth_init(struct gy_leak_growth *growth, struct gy_target *target,
			uint64_t interval_ns);
void gy_leak_growth_fini(struct gy_leak_growth *growth);
/* gy_leak_growth_look - a look, and a point if it is time for one. 0 or -errno as gy_control_read.
 */
int gy_leak_growth_look(struct gy_leak_growth *growth);
/* gy_leak_growth_died - a sampled block is freed: of that stack, born then. */
void gy_leak_growth_died(struct gy_leak_growth *growth, const uint64_t *frames, uint32_t depth,
			 uint64_t birth_ns, uint64_t weight_bytes);
/* gy_leak_growth_rank - judge all, then sort: what grows, by how much it grows for sure. */
void gy_leak_growth_rank(struct gy_leak_growth *growth);
/* gy_leak_growth_count - how many of these grow. */
size_t gy_leak_growth_count(struct gy_leak_row *const *rows, size_t count);

#endif
