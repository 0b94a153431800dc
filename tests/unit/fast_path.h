/* fast_path.h - malloc and free as a program calls them, without replacing this program's own.
 *
 * The unit tests link the library without lib/interpose; these are copies of its fast paths, in the
 * section where the idle taker looks for them (FAST-1).
 *
 * ThreadSanitizer knows neither membarrier nor that a thread asleep does nothing, which is what
 * orders a thread's fast path before the taker (mutator/idle.c). So the fast paths are not
 * instrumented, and after each free the thread releases the variable that the taker acquires: the
 * edge that TSan cannot see.
 */
#ifndef GYRE_TESTS_FAST_PATH_H
#define GYRE_TESTS_FAST_PATH_H

#include "heap/heap.h"
#include "interpose/fast.h"

#define UNIT_CALLER() ((uintptr_t)__builtin_return_address(0))
#if GY_TSAN
#define UNIT_FAST GY_NOINLINE GY_FAST __attribute__((no_sanitize("thread")))
#else
#define UNIT_FAST GY_NOINLINE GY_FAST
#endif

/* These two call nothing, so that no return address into them is ever left on a stack. */
GY_UNUSED UNIT_FAST static void *unit_fast_alloc(size_t bytes)
{
	return gy_fast_alloc(bytes);
}

GY_UNUSED UNIT_FAST static bool unit_fast_free(void *block)
{
	return gy_fast_free(block);
}

GY_UNUSED GY_NOINLINE static void *unit_malloc(size_t bytes)
{
	void *block = unit_fast_alloc(bytes);

	return likely(block != NULL) ? block : gy_heap_alloc(bytes, UNIT_CALLER());
}

GY_UNUSED GY_NOINLINE static void unit_free(void *block)
{
	struct gy_thread_cache *cache;

	if (unlikely(!unit_fast_free(block))) {
		gy_heap_free(block, UNIT_CALLER());
		return;
	}
	cache = READ_RELAXED(gy_tls.cache);
	if (GY_TSAN && cache != GY_NO_CACHE) /* the edge described above */
		__atomic_fetch_add(&cache->busy, 0, __ATOMIC_RELEASE);
}

#endif
