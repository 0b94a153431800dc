/* release.h - giving ranges of memory back to the kernel: one task, three back ends.
 *
 *   process_madvise   one call for up to 512 ranges (on the process itself: Linux 6.13)
 *   io_uring          MADVISE requests, submitted and reaped in one call (5.6); liburing is opened
 *                     by name only when this back end is chosen
 *   madvise           a call per range; always there
 *
 * Option release_backend picks one; auto takes the first that works, and a back end that fails
 * hands the batch to the next and is not asked again if it said it never will.
 */
#ifndef GY_OS_RELEASE_H
#define GY_OS_RELEASE_H

#include "base/compiler.h"

#include <stdbool.h>
#include <sys/uio.h>

#define GY_RELEASE_BATCH 512u

struct gy_release_result {
	uint64_t bytes;   /* given back */
	uint64_t calls;   /* system calls */
	unsigned backend; /* index in the table: what the probe heap_release says */
};

struct gy_release_backend {
	const char *name;
	/* Advises all ranges; 0, or -errno where nothing or not everything was done. */
	int (*advise)(const struct iovec *ranges, unsigned count, int advice, uint64_t *calls);
};

#define GY_RELEASE_BACKENDS 3u
extern const struct gy_release_backend gy_release_backends[GY_RELEASE_BACKENDS];

/* Drops the pages of up to GY_RELEASE_BATCH ranges: they read as zero afterwards. `part`: ranges
 * are
 * parts of transparent huge pages; they are split first (MADV_COLD), or the cgroup stays charged.
 * Returns 0, or -errno where some of it was not done (then none of it may be counted as released).
 * [lock: trim: one caller at a time] */
int gy_release(const struct iovec *ranges, unsigned count, bool part,
	       struct gy_release_result *result);
/* Opens what the chosen back end needs; may allocate. The caller holds no lock of ours. */
void gy_release_prepare(void);
/* Forgets what belongs to the parent (io_uring's ring). */
void gy_release_fork_child(void);

#endif
