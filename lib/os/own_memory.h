/* own_memory.h - which addresses of the process are the library's own.
 *
 * Whoever looks through the process's memory for pointers (leak/) must not take what we remember
 * for what the program remembers: the addresses in a thread cache, in a sample's record, in a
 * buffer of events. The kernel's list of mappings does not tell: neighbours are merged into one
 * line, whoever made them. So what os/vm.c, os/memory_file.c and the C library's stack for our
 * threads map is noted here.
 *
 * OWN-1  A range is noted before anything is written there, and until it is unmapped. Neighbours
 *        are joined; a heap of many GiB has some dozens of ranges.
 * OWN-2  Where there is no room for a note, the range is as any other: it may hide a lost block,
 *        never make one.
 * OWN-3  The lock is the last of all: held across fork, taken under any other, and free while the
 *        world is stopped (LOCK-3).
 */
#ifndef GY_OS_OWN_MEMORY_H
#define GY_OS_OWN_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct gy_own_range {
	uintptr_t start, end;
};

void gy_own_memory_add(const void *start, size_t bytes);
void gy_own_memory_remove(const void *start, size_t bytes);
/* Copies up to `capacity` of them, in no order; how many there are. */
size_t gy_own_memory_copy(struct gy_own_range *ranges, size_t capacity);
void gy_own_memory_fork_prepare(void);
void gy_own_memory_fork_parent(void);
void gy_own_memory_fork_child(void);

#endif
