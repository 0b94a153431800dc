/* roots.h - where marking starts: stacks, registers, globals, thread-local storage, ranges.
 *
 * (Handles and what finalisers need are roots too; finalise.c has them.)
 *
 * ROOT-1  Loaded objects are found in the pause, by the list that the loader keeps for debuggers:
 *         no lock is needed, and r_state tells whether a thread was stopped in the middle of
 *         changing it. Then gy_roots_freeze fails, the world is let go, and the pause starts over.
 * ROOT-2  Our own library's data, and parts read-only after relocation, are left out. (Of a program
 *         that has us linked in, our variables are scanned with its own: they hold no object.)
 * ROOT-3  Roots are cut into pieces that markers take by an atomic counter: scanned in parallel.
 * ROOT-4  A range added, or a library loaded, while a cycle marks holds only what the snapshot
 *         reached or what is new: nothing need be done for it until the next.
 * ROOT-5  What is scanned can be read: it is the C library's or the loader's own record of a live
 *         thread or object, or the kernel was asked. No guess is followed by a load.
 * ROOT-6  Every interrupted PC is set back where it stands inside a store barrier (BAR-2), also in
 *         the signal frames of the program's own handlers, found on the stacks by their shape.
 */
#ifndef GY_GC_ROOTS_H
#define GY_GC_ROOTS_H

#include "gc/mark.h"

#include <stdbool.h>

struct gy_root_stats { /* of the last pause */
	uint64_t stack_bytes, root_bytes;
};

/* On a thread of the C library's. */
int gy_roots_init(void);
/* 0 or -errno: -EINVAL: not aligned, empty, overlaps another range. The range is readable. */
int gy_root_range_add(void *start, size_t bytes);
int gy_root_range_remove(void *start);

/* Before the stop: waits a little while a library is being loaded. 0 or -errno. */
int gy_roots_prepare(void);
/* In the pause: finds the roots of the stopped threads of gy_world, and of the calling thread from
 * `own_sp` up, its registers spilt; 0: the calling thread has none. False: start over (ROOT-1), or
 * memory lacks. */
bool gy_roots_freeze(uintptr_t own_sp);
/* In the pause, by each helper: scans pieces until none is left. Returns bytes scanned. */
size_t gy_roots_scan(struct gy_marker *marker);
/* For verify.c: in the pause, after gy_roots_freeze: each stretch of words that gy_roots_scan
 * scans, whether or not it has. */
void gy_roots_each(void (*visit)(const void *start, const void *end, void *argument),
		   void *argument);
void gy_roots_read_stats(struct gy_root_stats *stats);
void gy_roots_fork_prepare(void);
void gy_roots_fork_parent(void);
void gy_roots_fork_child(void);

#endif
