/* profile_functions.h - a profile by function: who allocates (flat), and on whose behalf (cum).
 *
 * Frames at many addresses are one function: the same name in the same file of the program. Each
 * has a number, in the order of names, so that what is sorted by number is the same every time
 * (PM-3).
 */
#ifndef GYRE_TOOLS_PROFILE_FUNCTIONS_H
#define GYRE_TOOLS_PROFILE_FUNCTIONS_H

#include "profile_model.h"

struct gy_profile_function {
	char *name;
	const char *module; /* "" where unknown */
	const char *file;   /* of the line below; NULL: unknown */
	int line;           /* of its calls: the one that stands for most */
	uint64_t flat, cum; /* of the type that it was made for; recursion counts once */
	uint64_t flat_samples, cum_samples;
	double flat_error, cum_error; /* standard error of the two, in their unit; 0: exact */
};

struct gy_profile_functions {
	const struct gy_profile *profile;
	struct gy_profile_function *list;
	uint32_t count;
	uint32_t *rank; /* `count` numbers: by flat, then cum, the largest first */
	uint64_t total;
	double total_error;
	uint32_t *first, *ids; /* ids[first[location] + level] */
	uint32_t deeper;       /* the number of "[deeper]" */
};

/* gy_profile_functions_make - NULL where memory lacks. Symbols have been resolved. */
struct gy_profile_functions *gy_profile_functions_make(const struct gy_profile *profile,
						       size_t type);
void gy_profile_functions_free(struct gy_profile_functions *functions);
uint32_t gy_profile_function_of(const struct gy_profile_functions *functions,
				const struct gy_profile_frame *frame);

/* gy_profile_variance - of a stack's estimate: how far sampling may have led it astray, squared. */
double gy_profile_variance(const struct gy_profile *profile, const struct gy_profile_stack *stack,
			   size_t type);

#endif
