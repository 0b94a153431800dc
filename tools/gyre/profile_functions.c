/* profile_functions.c - see profile_functions.h.
 *
 * The error of an estimate: of a stack's blocks each was a sample with probability p, and n samples
 * of weight w stand for W = n w. The sum of weights then has the variance (1 - p) n w^2, estimated
 * by what was seen: (1 - p) W^2 / n. The weight tells p: w = s / p(s), p(s) = 1 - exp(-s / P).
 * Where few samples lie behind a number, its error says so. Sums of stacks add their variances.
 */
#include "profile_functions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- errors */

/* 1 - p for samples of mean weight w: with x = s / P, w / P = x / (1 - exp(-x)). */
static double unsampled_share(double weight, double period)
{
	double ratio = weight / period, x = ratio;

	if (ratio <= 1)
		return 1;
	for (int i = 0; i < 60; i++)
		x = ratio * (1 - exp(-x));
	return exp(-x);
}

double gy_profile_variance(const struct gy_profile *profile, const struct gy_profile_stack *stack,
			   size_t type)
{
	double samples = (double)stack->samples[type], value = (double)stack->values[type];
	double share = 1;

	if (samples < 1 || !profile->period)
		return 0;
	if (!strcmp(profile->types[type].unit, "bytes"))
		share = unsampled_share(value / samples, (double)profile->period);
	else if (type + 1 < profile->type_count) /* blocks: their bytes stand behind them */
		share = unsampled_share((double)stack->values[type + 1] / samples,
					(double)profile->period);
	return share * value * value / samples;
}

/* ---------------------------------------------------------------- numbering */

struct entry {
	char *name;
	const char *module;
	uint32_t slot; /* of ids */
};

static int entry_order(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;
	int order = strcmp(left->name, right->name);

	if (!order)
		order = strcmp(left->module, right->module);
	return order ? order : left->slot < right->slot ? -1 : left->slot > right->slot;
}

static size_t levels_of(const struct gy_profile_location *location)
{
	return location->symbol ? location->symbol->level_count : 1;
}

static char *frame_name(const struct gy_profile_location *location, size_t level)
{
	struct gy_profile_frame frame = {location, level};
	char name[4096];

	gy_profile_frame_name(&frame, name, sizeof(name));
	return strdup(name);
}

/* One entry for each level of each location, and one more for the frames that were cut. */
static struct entry *entries_make(struct gy_profile_functions *functions, uint32_t *count)
{
	const struct gy_profile *profile = functions->profile;
	struct entry *entries;
	uint32_t used = 0;

	for (size_t i = 0; i < profile->location_count; i++) {
		functions->first[i] = used;
		used += (uint32_t)levels_of(&profile->locations[i]);
	}
	*count = used + 1;
	entries = calloc(*count, sizeof(*entries));
	functions->ids = calloc(*count, sizeof(*functions->ids));
	if (!entries || !functions->ids)
		return entries;
	for (size_t i = 0; i < profile->location_count; i++) {
		const struct gy_profile_location *location = &profile->locations[i];
		const char *module = location->symbol ? location->symbol->module : NULL;

		for (uint32_t level = 0; level < levels_of(location); level++)
			entries[functions->first[i] + level] =
				(struct entry){frame_name(location, level), module ? module : "",
					       functions->first[i] + level};
	}
	entries[used] = (struct entry){frame_name(NULL, 0), "", used};
	return entries;
}

/* Sort the entries and give each group of equals a number; names move into the list. */
static bool number(struct gy_profile_functions *functions)
{
	uint32_t count = 0;
	struct entry *entries = entries_make(functions, &count);
	bool good = entries && functions->ids;

	for (uint32_t i = 0; i < count && good; i++)
		good = entries[i].name;
	functions->list = good ? calloc(count, sizeof(*functions->list)) : NULL;
	good = functions->list;
	if (good)
		qsort(entries, count, sizeof(*entries), entry_order);
	for (uint32_t i = 0; i < count && good; i++) {
		struct gy_profile_function *last =
			functions->count ? &functions->list[functions->count - 1] : NULL;

		if (!last || strcmp(last->name, entries[i].name) ||
		    strcmp(last->module, entries[i].module)) {
			functions->list[functions->count++] = (struct gy_profile_function){
				.name = entries[i].name, .module = entries[i].module};
			entries[i].name = NULL;
		}
		functions->ids[entries[i].slot] = functions->count - 1;
		if (entries[i].slot == count - 1)
			functions->deeper = functions->count - 1;
	}
	for (uint32_t i = 0; entries && i < count; i++)
		free(entries[i].name);
	free(entries);
	return good;
}

uint32_t gy_profile_function_of(const struct gy_profile_functions *functions,
				const struct gy_profile_frame *frame)
{
	if (!frame->location)
		return functions->deeper;
	return functions->ids[functions->first[frame->location - functions->profile->locations] +
			      frame->level];
}

/* ---------------------------------------------------------------- sums */

struct sums {
	struct gy_profile_functions *functions;
	struct gy_profile_frame frames[GY_PROFILE_DEPTH];
	size_t *last_stack; /* by function: index + 1 of the stack that it was counted for */
	uint64_t *weight;   /* by location and level: what runs through it */
};

static void sum_stack(struct sums *sums, size_t index, size_t type)
{
	struct gy_profile_functions *functions = sums->functions;
	const struct gy_profile *profile = functions->profile;
	const struct gy_profile_stack *stack = &profile->stacks[index];
	uint64_t value = stack->values[type], samples = stack->samples[type];
	double variance = gy_profile_variance(profile, stack, type);
	size_t count = gy_profile_unroll(profile, stack, sums->frames);

	functions->total = gy_profile_plus(functions->total, value);
	functions->total_error += variance;
	for (size_t i = 0; i < count; i++) {
		const struct gy_profile_frame *frame = &sums->frames[i];
		uint32_t id = gy_profile_function_of(functions, frame);
		struct gy_profile_function *function = &functions->list[id];

		if (frame->location) {
			uint64_t *weight =
				&sums->weight[functions->first[frame->location -
							       profile->locations] +
					      frame->level];

			*weight = gy_profile_plus(*weight, value);
		}
		if (!i) {
			function->flat = gy_profile_plus(function->flat, value);
			function->flat_samples += samples;
			function->flat_error += variance;
		}
		if (sums->last_stack[id] == index + 1)
			continue;
		sums->last_stack[id] = index + 1;
		function->cum = gy_profile_plus(function->cum, value);
		function->cum_samples += samples;
		function->cum_error += variance;
	}
}

/* The line that stands for most of a function. */
static void lines_choose(struct sums *sums)
{
	struct gy_profile_functions *functions = sums->functions;
	const struct gy_profile *profile = functions->profile;
	uint64_t *best = calloc(functions->count, sizeof(*best));

	for (size_t i = 0; best && i < profile->location_count; i++) {
		const struct gy_symbol *symbol = profile->locations[i].symbol;

		for (size_t level = 0; symbol && level < symbol->level_count; level++) {
			uint32_t slot = functions->first[i] + (uint32_t)level;
			uint32_t id = functions->ids[slot];

			if (!symbol->levels[level].file ||
			    (functions->list[id].file && sums->weight[slot] <= best[id]))
				continue;
			best[id] = sums->weight[slot];
			functions->list[id].file = symbol->levels[level].file;
			functions->list[id].line = symbol->levels[level].line;
		}
	}
	free(best);
}

/* For rank_order; qsort has no argument. */
static const struct gy_profile_function *ranked;

static int rank_order(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	if (ranked[left].flat != ranked[right].flat)
		return ranked[left].flat > ranked[right].flat ? -1 : 1;
	if (ranked[left].cum != ranked[right].cum)
		return ranked[left].cum > ranked[right].cum ? -1 : 1;
	return left < right ? -1 : left > right;
}

static bool sum_up(struct gy_profile_functions *functions, size_t type)
{
	struct sums *sums = calloc(1, sizeof(*sums));
	bool good = false;

	if (!sums)
		return false;
	sums->functions = functions;
	sums->last_stack = calloc(functions->count, sizeof(*sums->last_stack));
	sums->weight = calloc(functions->profile->location_count * GY_SYMBOL_LEVELS + 1,
			      sizeof(*sums->weight));
	functions->rank = calloc(functions->count, sizeof(*functions->rank));
	if (sums->last_stack && sums->weight && functions->rank) {
		for (size_t i = 0; i < functions->profile->stack_count; i++)
			if (functions->profile->stacks[i].values[type])
				sum_stack(sums, i, type);
		lines_choose(sums);
		good = true;
	}
	free(sums->last_stack);
	free(sums->weight);
	free(sums);
	return good;
}

struct gy_profile_functions *gy_profile_functions_make(const struct gy_profile *profile,
						       size_t type)
{
	struct gy_profile_functions *functions = calloc(1, sizeof(*functions));

	if (!functions)
		return NULL;
	functions->profile = profile;
	functions->first = calloc(profile->location_count + 1, sizeof(*functions->first));
	if (!functions->first || !number(functions) || !sum_up(functions, type)) {
		gy_profile_functions_free(functions);
		return NULL;
	}
	functions->total_error = sqrt(functions->total_error);
	for (uint32_t i = 0; i < functions->count; i++) {
		functions->list[i].flat_error = sqrt(functions->list[i].flat_error);
		functions->list[i].cum_error = sqrt(functions->list[i].cum_error);
		functions->rank[i] = i;
	}
	ranked = functions->list;
	qsort(functions->rank, functions->count, sizeof(*functions->rank), rank_order);
	return functions;
}

void gy_profile_functions_free(struct gy_profile_functions *functions)
{
	if (!functions)
		return;
	for (uint32_t i = 0; i < functions->count; i++)
		free(functions->list[i].name);
	free(functions->list);
	free(functions->rank);
	free(functions->first);
	free(functions->ids);
	free(functions);
}
