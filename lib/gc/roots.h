/* roots.h - where marking starts: stacks, registers, globals, thread-local storage, ranges, handles.
 *
 * ROOT-1  The list of loaded objects' writable segments, and of thread-local modules, is read before
 *         the stop (dl_iterate_phdr takes the loader's lock); dlopen's counters are compared in the
 *         pause: where they moved, the world is let go and the pause starts over.
 * ROOT-2  Our own library's data, and read-only-after-relocation parts, are left out.
 * ROOT-3  Roots are cut into pieces that markers take by an atomic counter: scanned in parallel.
 * ROOT-4  A range added, or a library loaded, while a cycle marks holds only what the snapshot reached
 *         or what is new: nothing need be done for it until the next.
 */
#ifndef GY_GC_ROOTS_H
#define GY_GC_ROOTS_H

#include "gc/mark.h"

#include <stdbool.h>

struct gy_root_stats {
	uint64_t stack_bytes, root_bytes;
};

int gy_roots_init(void);
int gy_root_range_add(void *start, size_t bytes); /* 0 or -errno */
int gy_root_range_remove(void *start);

/* Before the stop: reads loaded objects. 0 or -errno. */
int gy_roots_prepare(void);
/* In the pause: false: a library was loaded meanwhile, start over (ROOT-1). Takes the stopped threads
 * of gy_world, and the calling thread from `own_sp` up (with its registers spilt). */
bool gy_roots_freeze(uintptr_t own_sp);
/* In the pause, by each helper: scans pieces until none is left. Returns bytes scanned. */
size_t gy_roots_scan(struct gy_marker *marker);
/* For verify.c: in the pause, after gy_roots_freeze: each stretch of words that gy_roots_scan scans,
 * whether or not it has. */
void gy_roots_each(void (*visit)(const void *start, const void *end, void *argument),
		   void *argument);
void gy_roots_read_stats(struct gy_root_stats *stats);
void gy_roots_fork_child(void);

#endif
