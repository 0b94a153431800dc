/* fast_path.h - malloc and free as a program calls them, without replacing this program's own.
 *
 * The unit tests link the library without lib/interpose; these are copies of its fast paths, in the
 * section where the idle taker looks for them (FAST-1).
 */
#ifndef GYRE_TESTS_FAST_PATH_H
#define GYRE_TESTS_FAST_PATH_H

#include "heap/heap.h"
#include "interpose/fast.h"

#define UNIT_CALLER() ((uintptr_t)__builtin_return_address(0))

GY_UNUSED GY_NOINLINE GY_FAST static void *unit_malloc(size_t bytes)
{
	void *block = gy_fast_alloc(bytes);

	return likely(block != NULL) ? block : gy_heap_alloc(bytes, UNIT_CALLER());
}

GY_UNUSED GY_NOINLINE GY_FAST static void unit_free(void *block)
{
	if (unlikely(!gy_fast_free(block)))
		gy_heap_free(block, UNIT_CALLER());
}

#endif
