/* profile_page.h - the sampled profile of a live process as a profile model.
 *
 * The process keeps it in its control page at all times, so it holds what was allocated before
 * anybody looked, and reading it stops nobody. Values are scaled in the process: a sample stands
 * for s / p(s) bytes (trace/sampler.h), so sums are estimates of all that was allocated.
 */
#ifndef GYRE_TOOLS_PROFILE_PAGE_H
#define GYRE_TOOLS_PROFILE_PAGE_H

#include "control.h"
#include "profile_model.h"

/* The order of the values, as Go's heap profiles have it. */
enum gy_heap_type { HEAP_ALLOC_OBJECTS, HEAP_ALLOC_SPACE, HEAP_INUSE_OBJECTS, HEAP_INUSE_SPACE };
extern const struct gy_profile_type gy_heap_types[4];

/* gy_profile_from_page - 0 with *profile to be freed, or -errno: as gy_control_read, or -ENODATA
 * where the process does not sample. Mappings are read, symbols are not. */
int gy_profile_from_page(const struct gy_target *target, const struct gy_snapshot *snapshot,
			 struct gy_profile **profile);

#endif
