/* profile_model.h - a profile as numbers: call stacks, and what each of them stands for.
 *
 * One form for all that ends in a flame graph, a pprof file or a table: the sampled profile of a
 * live process (profile_page.h), a recording, a report of leaks.
 *
 *      add, add ...   stacks with the same addresses become one; their values add up
 *      mapping ...    the files that were mapped executable, for pprof
 *      resolve        each address, once, to functions and lines (a callback: live process or file)
 *      read           table (profile_top.h), pprof.h, folded.h, flame.h, profile_json.h
 *
 *      stacks     { values[types], samples, first, depth, cut }
 *                       │
 *      frames     [ 3 0 7 | 3 1 7 | ... ]      indexes of locations, the leaf first
 *                   │
 *      locations  { return address, symbol, mapping }
 *
 * PM-1  Addresses are return addresses; what they name is the call before them. 0 stands for
 *       "not known": a stack that found no room, or was not walked.
 * PM-2  A sum never wraps: values stop at INT64_MAX, which is what pprof can hold.
 * PM-3  Nothing here depends on the order of a hash table or on the clock: the same stacks in the
 *       same order make the same files, byte for byte.
 */
#ifndef GYRE_TOOLS_PROFILE_MODEL_H
#define GYRE_TOOLS_PROFILE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbols.h"
#include "target.h"

#define GY_PROFILE_TYPES 6
/* Frames of one stack that are written out, inlined ones included. */
#define GY_PROFILE_DEPTH 512

/* As pprof names them: "inuse_space" in "bytes". The strings are not copied: literals. */
struct gy_profile_type {
	const char *type, *unit;
};

struct gy_profile_location {
	uint64_t address; /* PM-1 */
	const struct gy_symbol *symbol; /* NULL until gy_profile_resolve */
	uint32_t mapping; /* index + 1; 0: in none */
};

struct gy_profile_stack {
	uint64_t values[GY_PROFILE_TYPES];
	/* Observations behind values[type] where these are estimates; 0: the values are exact. */
	uint64_t samples[GY_PROFILE_TYPES];
	size_t first;
	uint32_t depth;
	bool cut; /* deeper than what was kept: the outermost frame is not the program's start */
};

struct gy_profile_mapping {
	uint64_t start, limit, offset;
	char *path; /* as the process sees it */
	char *build_id; /* hexadecimal, or "" */
};

struct gy_profile {
	struct gy_profile_type types[GY_PROFILE_TYPES];
	size_t type_count, default_type;
	uint64_t period; /* mean bytes between samples; 0: every event */
	int64_t time_ns; /* CLOCK_REALTIME at which it was taken; 0: not known */
	int64_t duration_ns; /* that it covers; 0: not known */
	int pid;
	char comm[GY_COMM_BYTES];
	uint64_t torn; /* entries that were being written and may be off by one event */

	struct gy_profile_stack *stacks;
	size_t stack_count, stack_capacity;
	uint32_t *frames;
	size_t frame_count, frame_capacity;
	struct gy_profile_location *locations;
	size_t location_count, location_capacity;
	struct gy_profile_mapping *mappings;
	size_t mapping_count, mapping_capacity;
	uint32_t *stack_index, *location_index; /* open addressing; index + 1 */
	size_t stack_index_size, location_index_size;
};

/* gy_profile_new - NULL where memory lacks. The first type is the default until it is changed. */
struct gy_profile *gy_profile_new(const struct gy_profile_type *types, size_t count);
void gy_profile_free(struct gy_profile *profile);

/* gy_profile_add - `values` (and `samples`, or NULL) more at this stack.
 * @frames  return addresses, the leaf first
 * Returns  0, or -ENOMEM */
int gy_profile_add(struct gy_profile *profile, const uint64_t *frames, size_t depth, bool cut,
		   const uint64_t *values, const uint64_t *samples);

/* gy_profile_mapping_add - in any order; strings are copied. 0 or -ENOMEM. */
int gy_profile_mapping_add(struct gy_profile *profile, uint64_t start, uint64_t limit,
			   uint64_t offset, const char *path, const char *build_id);
/* gy_profile_mappings_read - those of a live process, with build ids. 0 or -errno. */
int gy_profile_mappings_read(struct gy_profile *profile, int pid);
/* gy_profile_program_first - the mappings of this file go before all others; before resolving. */
void gy_profile_program_first(struct gy_profile *profile, const char *path);
/* gy_profile_build_id - of an ELF file, in hexadecimal; "" if it has none. */
void gy_profile_build_id(const char *path, char text[65]);

/* gy_profile_resolve - when all stacks are there: find a symbol for each location; the symbols must
 * outlive the profile's readers.
 * gy_symbols_find is such a callback. Locations find their mappings, too. */
void gy_profile_resolve(struct gy_profile *profile,
			const struct gy_symbol *(*find)(void *context, uint64_t return_address),
			void *context);
const struct gy_symbol *gy_profile_find_live(void *symbols, uint64_t return_address);

/* gy_profile_total - the sum over all stacks of values[type] (PM-2). */
uint64_t gy_profile_total(const struct gy_profile *profile, size_t type);
uint64_t gy_profile_samples(const struct gy_profile *profile, size_t type);
uint64_t gy_profile_plus(uint64_t a, uint64_t b);

/* One frame as it is shown: a location's level (inlined functions have their own). */
struct gy_profile_frame {
	const struct gy_profile_location *location; /* NULL: stands for the frames that were cut */
	size_t level;
};

/* gy_profile_unroll - the frames of a stack, inlined ones included, the leaf first.
 * Returns their number, at most GY_PROFILE_DEPTH. */
size_t gy_profile_unroll(const struct gy_profile *profile, const struct gy_profile_stack *stack,
			 struct gy_profile_frame frames[GY_PROFILE_DEPTH]);
/* gy_profile_frame_name - a name for it, never empty; clean (OUT-3). */
void gy_profile_frame_name(const struct gy_profile_frame *frame, char *name, size_t bytes);

#endif
