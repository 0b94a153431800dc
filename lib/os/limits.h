/* limits.h - how much memory this process may have.
 *
 * The heap asks before it grows: a cgroup answers too much memory with SIGKILL, not with ENOMEM,
 * so the limit must be known before. Sources, in this order: the option memory_limit, the cgroup's
 * (v2 memory.max of every level, else v1 memory.limit_in_bytes), RLIMIT_AS.
 */
#ifndef GY_OS_LIMITS_H
#define GY_OS_LIMITS_H

#include "base/compiler.h"

#include <stdbool.h>

/* May the heap have `more` bytes of memory, having `resident` now, of which `unasked` were taken
 * since it asked last? *limit gets the limit in force, 0 for none. Reads cgroup files only when the
 * answer is near, or a second old. */
bool gy_limit_memory(uint64_t more, uint64_t unasked, uint64_t resident, uint64_t *limit);
/* May `more` bytes of a reservation of `reserved` bytes, of which `usable` are in use, be made
 * usable under RLIMIT_AS? */
bool gy_limit_address_space(uint64_t more, uint64_t reserved, uint64_t usable);

/* May one request grow the heap by this much? What the kernel would say without MAP_NORESERVE. */
bool gy_limit_single_request(uint64_t bytes);

/* The cgroup part, with the file tree's root given, for tests: limit and current use in bytes
 * (page cache taken off); 0 where there is no limit. `self` is the text of /proc/self/cgroup. */
struct gy_cgroup_memory {
	uint64_t limit, usage;
};
void gy_cgroup_read(const char *root, const char *self, struct gy_cgroup_memory *memory);

#endif
