/* profile_json.h - a profile as JSON; the schema stands in gyre-heap(8). */
#ifndef GYRE_TOOLS_PROFILE_JSON_H
#define GYRE_TOOLS_PROFILE_JSON_H

#include <jansson.h>

#include "profile_functions.h"

/* gy_profile_json - the members period, types, totals, functions, mappings, stacks as an object; a
 * new reference. @top  functions, the largest first; 0: all */
json_t *gy_profile_json(const struct gy_profile *profile,
			const struct gy_profile_functions *functions, size_t type, size_t top);

#endif
