/* leak_growth.c - see leak_growth.h. */
#include "leak_growth.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"
#include "snapshot.h"

#define INDEX_START 1024u
#define POINTS_AT_FIRST_NS 100000000ull

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t hash_of(const uint64_t *frames, uint32_t depth)
{
	uint64_t hash = 14695981039346656037ull ^ depth;

	for (uint32_t i = 0; i < depth; i++) {
		hash = (hash ^ frames[i]) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 29;
	}
	return hash;
}

int gy_leak_growth_init(struct gy_leak_growth *growth, struct gy_target *target,
			uint64_t interval_ns)
{
	memset(growth, 0, sizeof(*growth));
	growth->target = target;
	growth->step_ns = interval_ns < POINTS_AT_FIRST_NS ? POINTS_AT_FIRST_NS : interval_ns;
	growth->index_size = INDEX_START;
	growth->index = calloc(growth->index_size, sizeof(*growth->index));
	return growth->index ? 0 : -ENOMEM;
}

void gy_leak_growth_fini(struct gy_leak_growth *growth)
{
	for (size_t i = 0; i < growth->stack_count; i++)
		free(growth->all[i]);
	for (size_t i = 0; i < growth->class_count; i++)
		free(growth->classes[i]);
	free(growth->all);
	free(growth->stacks);
	free(growth->classes);
	free(growth->index);
	if (growth->looked)
		gy_snapshot_free(&growth->snapshot);
	memset(growth, 0, sizeof(*growth));
}

/* ---------------------------------------------------------------- rows */

static size_t stack_slot(const struct gy_leak_growth *growth, uint64_t hash)
{
	size_t mask = growth->index_size - 1, slot = hash & mask;

	while (growth->index[slot] && growth->all[growth->index[slot] - 1]->hash != hash)
		slot = (slot + 1) & mask;
	return slot;
}

static int index_grow(struct gy_leak_growth *growth)
{
	size_t size = growth->index_size * 2, *index = calloc(size, sizeof(*index));

	if (!index)
		return -ENOMEM;
	free(growth->index);
	growth->index = index;
	growth->index_size = size;
	for (size_t i = 0; i < growth->stack_count; i++)
		index[stack_slot(growth, growth->all[i]->hash)] = i + 1;
	return 0;
}

static int stack_room(struct gy_leak_growth *growth)
{
	size_t wanted = growth->stack_capacity ? growth->stack_capacity * 2 : 256;
	void *all, *stacks;

	if (growth->stack_count < growth->stack_capacity)
		return 0;
	all = reallocarray(growth->all, wanted, sizeof(*growth->all));
	if (all)
		growth->all = all;
	stacks = reallocarray(growth->stacks, wanted, sizeof(*growth->stacks));
	if (stacks)
		growth->stacks = stacks;
	if (!all || !stacks)
		return -ENOMEM;
	growth->stack_capacity = wanted;
	return 0;
}

/* The row of a stack; NULL where memory lacks. A new one held nothing at all points before. */
static struct gy_leak_row *stack_row(struct gy_leak_growth *growth, const uint64_t *frames,
				     uint32_t depth)
{
	uint64_t hash = hash_of(frames, depth);
	size_t slot = stack_slot(growth, hash);
	struct gy_leak_row *row;

	if (growth->index[slot])
		return growth->all[growth->index[slot] - 1];
	if (growth->stack_count * 2 >= growth->index_size && index_grow(growth))
		return NULL;
	row = stack_room(growth) ? NULL : calloc(1, sizeof(*row));
	if (!row)
		return NULL;
	row->hash = hash;
	row->depth = depth;
	memcpy(row->frames, frames, depth * sizeof(row->frames[0]));
	row->kept = -1;
	growth->all[growth->stack_count] = row;
	growth->stacks[growth->stack_count++] = row;
	growth->index[stack_slot(growth, hash)] = growth->stack_count;
	return row;
}

/* `births` and the like are since the process's start; the present is where the next point goes. */
static void row_take(struct gy_leak_growth *growth, struct gy_leak_row *row, double allocated,
		     double freed, uint64_t births, uint64_t deaths)
{
	size_t at = growth->points;

	if (!growth->looked) {
		row->allocated_at_point = row->allocated_first = allocated;
		row->freed_first = freed;
	}
	row->allocated = allocated;
	row->freed = freed;
	row->births[at] = births;
	row->deaths[at] = deaths;
	row->held[at] = (double)row->held_bytes;
}

static int stacks_take(struct gy_leak_growth *growth, const struct gy_snapshot *snapshot)
{
	struct gyre_control_bucket *buckets = NULL;
	size_t count = 0, torn = 0;
	int error;

	if (!snapshot->header.sample_bytes)
		return 0;
	error = gy_control_buckets(growth->target->control, snapshot, &buckets, &count, &torn);
	for (size_t i = 0; i < count && !error; i++) {
		const struct gyre_control_bucket *bucket = &buckets[i];
		struct gy_leak_row *row = stack_row(growth, bucket->frames, bucket->depth);

		if (!row) {
			error = -ENOMEM;
			break;
		}
		row->held_bytes = minus(bucket->alloc_weight, bucket->free_weight);
		row->held_blocks = (minus(bucket->alloc_weight_objects,
					  bucket->free_weight_objects) + 8) / 16;
		row_take(growth, row, (double)bucket->alloc_weight, (double)bucket->free_weight,
			 bucket->alloc_objects, bucket->free_objects);
	}
	free(buckets);
	return error;
}

static int classes_make(struct gy_leak_growth *growth, const struct gy_snapshot *snapshot)
{
	growth->classes = calloc(snapshot->class_count + 1, sizeof(*growth->classes));
	if (!growth->classes)
		return -ENOMEM;
	for (size_t i = 0; i <= snapshot->class_count; i++) {
		struct gy_leak_row *row = calloc(1, sizeof(*row));

		if (!row)
			return -ENOMEM;
		row->hash = i;
		row->kept = -1;
		if (i < snapshot->class_count)
			row->class_bytes = snapshot->classes[i].object_bytes;
		growth->classes[growth->class_count++] = row;
	}
	return 0;
}

/* The last row is of the large blocks. */
static int classes_take(struct gy_leak_growth *growth, const struct gy_snapshot *snapshot)
{
	const struct gyre_control_totals *totals = &snapshot->header.totals;
	int error = growth->classes ? 0 : classes_make(growth, snapshot);

	for (size_t i = 0; i < growth->class_count && !error; i++) {
		struct gy_leak_row *row = growth->classes[i];
		uint64_t born, died, size;

		if (row->hash < snapshot->class_count) {
			const struct gyre_control_class *class = &snapshot->classes[row->hash];

			born = class->mallocs;
			died = class->frees;
			size = class->object_bytes;
			row->held_blocks = class->live;
			row->held_bytes = class->live * size;
		} else {
			born = totals->large_mallocs;
			died = minus(born, totals->large_blocks);
			size = totals->large_blocks
				       ? totals->large_bytes / totals->large_blocks
				       : 0;
			row->held_blocks = totals->large_blocks;
			row->held_bytes = totals->large_bytes;
		}
		row_take(growth, row, (double)born * (double)size, (double)died * (double)size,
			 born, died);
	}
	return error;
}

/* ---------------------------------------------------------------- points */

static void row_halve(struct gy_leak_row *row)
{
	for (size_t i = 0; i < GY_LEAK_POINTS / 2; i++) {
		struct gy_leak_cohort *a = &row->cohorts[2 * i], *b = &row->cohorts[2 * i + 1];
		struct gy_leak_cohort both = {a->born + b->born, a->dead + b->dead};

		row->held[i] = row->held[2 * i + 1];
		row->births[i] = row->births[2 * i + 1];
		row->deaths[i] = row->deaths[2 * i + 1];
		row->cohorts[i] = both;
	}
	for (size_t i = GY_LEAK_POINTS / 2; i < GY_LEAK_POINTS; i++) {
		row->cohorts[i] = (struct gy_leak_cohort){0, 0};
		row->births[i] = row->births[GY_LEAK_POINTS / 2 - 1];
		row->deaths[i] = row->deaths[GY_LEAK_POINTS / 2 - 1];
	}
}

static void points_halve(struct gy_leak_growth *growth)
{
	for (size_t i = 0; i < growth->stack_count; i++)
		row_halve(growth->all[i]);
	for (size_t i = 0; i < growth->class_count; i++)
		row_halve(growth->classes[i]);
	for (size_t i = 0; i < GY_LEAK_POINTS / 2; i++) {
		growth->seconds[i] = growth->seconds[2 * i + 1];
		growth->heap[i] = growth->heap[2 * i + 1];
	}
	growth->points = GY_LEAK_POINTS / 2;
	growth->step_ns *= 2;
}

static void point_make(struct gy_leak_growth *growth, struct gy_leak_row *row)
{
	size_t at = growth->points;

	row->cohorts[at].born += row->allocated - row->allocated_at_point;
	row->allocated_at_point = row->allocated;
}

static void point_add(struct gy_leak_growth *growth)
{
	const struct gy_snapshot *snapshot = &growth->snapshot;

	for (size_t i = 0; i < growth->stack_count; i++)
		point_make(growth, growth->all[i]);
	for (size_t i = 0; i < growth->class_count; i++)
		point_make(growth, growth->classes[i]);
	growth->seconds[growth->points] = (double)(growth->now_ns - growth->start_ns) / 1e9;
	growth->heap[growth->points] = (double)(snapshot->header.totals.heap_alloc +
						snapshot->header.gc.heap_inuse_bytes);
	growth->points++;
	growth->judged = false;
	growth->next_point_ns = growth->now_ns + growth->step_ns - growth->step_ns / 16;
	if (growth->points == GY_LEAK_POINTS)
		points_halve(growth);
}

int gy_leak_growth_look(struct gy_leak_growth *growth)
{
	struct gy_snapshot snapshot;
	int error = -ESRCH;

	/* The page outlives its process while we have it open. */
	if (!gy_target_ended(growth->target))
		error = gy_control_read(growth->target->control, GY_SNAPSHOT_WAIT_MS, &snapshot);
	if (error)
		return error;
	growth->now_ns = gy_monotonic_ns();
	if (!growth->looked)
		growth->start_ns = growth->now_ns;
	error = stacks_take(growth, &snapshot);
	if (!error)
		error = classes_take(growth, &snapshot);
	if (growth->looked)
		gy_snapshot_free(&growth->snapshot);
	growth->snapshot = snapshot;
	growth->looked = true;
	if (!error && growth->now_ns >= growth->next_point_ns)
		point_add(growth);
	return error;
}

void gy_leak_growth_died(struct gy_leak_growth *growth, const uint64_t *frames, uint32_t depth,
			 uint64_t birth_ns, uint64_t weight_bytes)
{
	double born = ((double)birth_ns - (double)growth->start_ns) / 1e9;
	struct gy_leak_row *row;
	size_t at = 0;

	if (!growth->looked || born < 0 || depth > GYRE_CONTROL_FRAMES)
		return; /* it is older than the watch: in no cohort */
	row = stack_row(growth, frames, depth);
	while (at < growth->points && growth->seconds[at] < born)
		at++;
	if (row && at < GY_LEAK_POINTS)
		row->cohorts[at].dead += (double)weight_bytes;
}

/* ---------------------------------------------------------------- judging */

/* Of what was born up to the middle of the time. */
static void survival(const struct gy_leak_growth *growth, struct gy_leak_row *row, double *bytes)
{
	double born = 0, dead = 0;

	*bytes = -1;
	row->kept = -1;
	row->kept_at_least = !growth->deaths_known;
	if (growth->deaths_known) {
		for (size_t i = 0; i <= growth->points / 2 && i < growth->points; i++) {
			born += row->cohorts[i].born;
			dead += row->cohorts[i].dead;
		}
		*bytes = born > dead ? born - dead : 0;
	} else {
		born = row->allocated - row->allocated_first;
		dead = row->freed - row->freed_first;
	}
	if (born > 0)
		row->kept = born > dead ? (born - dead) / born : 0;
}

/* Points from `first` on. */
static struct gy_trend trend_from(const struct gy_leak_growth *growth,
				  const struct gy_leak_row *row, size_t first, double kept)
{
	struct gy_trend_series series = {
		.seconds = growth->seconds + first,
		.values = row->held + first,
		.count = growth->points - first,
		.births = row->births + first,
		.deaths = row->deaths + first,
		.kept_of_first_half = kept,
	};
	struct gy_trend trend;

	gy_trend_of(&series, &trend);
	return trend;
}

/* A leak that began late is in the second half alone; what the whole has ever given back counts
 * there, too (TREND-4). */
static void row_judge(const struct gy_leak_growth *growth, struct gy_leak_row *row, bool exact)
{
	size_t half = growth->points / 2;
	struct gy_trend late;
	double kept;

	survival(growth, row, &kept);
	if (exact)
		kept = row->kept = -1;
	row->trend = trend_from(growth, row, 0, kept);
	if (row->trend.verdict != TREND_STEADY || growth->points < 4 * GY_TREND_LEAST)
		return;
	late = trend_from(growth, row, half, -1);
	if (late.verdict == TREND_GROWING &&
	    row->held[growth->points - 1] - row->held[half] > row->trend.fall * 1.5)
		row->trend = late;
}

static int order_of(const struct gy_leak_row *row)
{
	static const int orders[TREND_VERDICTS] = {
		[TREND_GROWING] = 0,  [TREND_NEW] = 1,    [TREND_FILLING] = 2,  [TREND_FULL] = 3,
		[TREND_SWINGING] = 4, [TREND_STEADY] = 5, [TREND_SHRINKING] = 6};

	return orders[row->trend.verdict];
}

static int compare(const void *a, const void *b)
{
	const struct gy_leak_row *x = *(struct gy_leak_row *const *)a;
	const struct gy_leak_row *y = *(struct gy_leak_row *const *)b;
	int difference = order_of(x) - order_of(y);
	double left = x->trend.low_per_s, right = y->trend.low_per_s;

	if (difference)
		return difference;
	if (x->trend.verdict == TREND_GROWING && (left < right || left > right))
		return left < right ? 1 : -1;
	if (x->held_bytes != y->held_bytes)
		return x->held_bytes < y->held_bytes ? 1 : -1;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

void gy_leak_growth_rank(struct gy_leak_growth *growth)
{
	for (size_t i = 0; i < growth->stack_count && !growth->judged; i++)
		row_judge(growth, growth->stacks[i], false);
	for (size_t i = 0; i < growth->class_count && !growth->judged; i++)
		row_judge(growth, growth->classes[i], true);
	growth->judged = true;
	if (growth->stack_count)
		qsort(growth->stacks, growth->stack_count, sizeof(*growth->stacks), compare);
	if (growth->class_count)
		qsort(growth->classes, growth->class_count, sizeof(*growth->classes), compare);
}

size_t gy_leak_growth_count(struct gy_leak_row *const *rows, size_t count)
{
	size_t growing = 0;

	while (growing < count && rows[growing]->trend.verdict == TREND_GROWING)
		growing++;
	return growing;
}
