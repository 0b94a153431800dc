/* maps.h - what is mapped where: /proc/self/maps read into our own memory, and single pages asked
 * for.
 *
 * Allocates by mmap alone and takes no lock: usable while all other threads are stopped. It costs
 * some 30 microseconds and more in a process of many mappings, so it is for the cases that nothing
 * else tells: the stack of a coroutine, a library whose header does not stand where it should.
 */
#ifndef GY_OS_MAPS_H
#define GY_OS_MAPS_H

#include "base/compiler.h"

#include <stdbool.h>

struct gy_mapping {
	uintptr_t start, end;
	uint64_t offset, inode; /* inode 0: no file */
	bool readable, writable, shared;
};

struct gy_maps {
	struct gy_mapping *mappings; /* by address */
	size_t count, capacity;
};

/* Reads them anew into *maps, which is all zeroes at first; 0 or -errno. */
int gy_maps_read(struct gy_maps *maps);
/* The mapping that holds `address`, or NULL. */
const struct gy_mapping *gy_maps_find(const struct gy_maps *maps, uintptr_t address);
/* End of the memory in which a stack at `address` may lie: of its mapping, and of anonymous ones
 * that follow without a gap. Nothing else: behind a file's end, and in the kernel's own [vvar],
 * reading is SIGBUS. `address` itself if it cannot be read. */
uintptr_t gy_maps_stack_end(const struct gy_maps *maps, uintptr_t address);

/* Can the eight bytes at `address` be read? Asks the kernel; no fault is injected, because who
 * believes a wrong no overlooks what is there. */
bool gy_page_is_readable(uintptr_t address);
/* First page of [low, high) that was ever touched; high: none was; low where that is not told. */
uintptr_t gy_pages_touched_from(uintptr_t low, uintptr_t high);

#endif
