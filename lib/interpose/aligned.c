/* aligned.c - the functions that take an alignment.
 *
 * Five historical interfaces over one heap call. They differ only in which alignments they accept
 * and how they say no:
 *
 *   function        alignment accepted           refused with             written in
 *   posix_memalign  power of 2, multiple of 8    returns EINVAL; errno    POSIX
 *                                                and *block untouched
 *   aligned_alloc   power of 2                   NULL, EINVAL             C23, glibc 2.38
 *   memalign        any: raised to a power of 2  NULL, EINVAL above 2^63  glibc's manual
 *   valloc          (the page)                                            BSD, SUSv2
 *   pvalloc         (the page); the size too is raised to whole pages     glibc
 *
 * Choices, where the texts leave one:
 *
 *   size not a multiple of the alignment   accepted by aligned_alloc. C11 made it undefined; DR 460
 *       took that out and every libc accepts it.
 *   memalign(24, n)    32-aligned, as glibc does; its manual page says EINVAL, but programs that
 *       run on glibc today must not break. memalign(0, n) is malloc(n), likewise.
 *   aligned_alloc(0, n), aligned_alloc(24, n)   EINVAL. glibc before 2.38 behaved as memalign; C23
 *       says that an alignment which is not supported fails.
 *   size 0             a unique block that can be freed, for all five, as malloc(0).
 *   pvalloc(0)         one whole page, so that the caller may always use a page.
 *   sizes above PTRDIFF_MAX   ENOMEM: pointer differences inside a block must be defined. The heap
 *       checks it; here only sums that could wrap are checked.
 *
 * A block from here may be given to realloc (which need not keep the alignment), free, free_sized's
 * aligned form, malloc_usable_size. "The page" is the kernel's, not the heap's own 8 KiB.
 */
#include "interpose/fast.h"
#include "interpose/interpose.h"

#include "base/bits.h"
#include "heap/heap.h"
#include "os/vm.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_ALIGNMENT ((size_t)1 << 63)

static GY_NOINLINE void *memalign_missed(size_t alignment, size_t bytes, uintptr_t caller)
{
	if (unlikely(!gy_is_power_of_2(alignment))) {
		if (alignment > MAX_ALIGNMENT) {
			errno = EINVAL;
			return NULL;
		}
		alignment = alignment ? (size_t)1 << (gy_log2(alignment) + 1) : 1;
	}
	return gy_heap_alloc_aligned(alignment, bytes, caller);
}

static GY_NOINLINE void *aligned_alloc_missed(size_t alignment, size_t bytes, uintptr_t caller)
{
	if (unlikely(!gy_is_power_of_2(alignment))) {
		errno = EINVAL;
		return NULL;
	}
	return gy_heap_alloc_aligned(alignment, bytes, caller);
}

static void *pvalloc_at(size_t bytes, uintptr_t caller)
{
	if (unlikely(bytes > PTRDIFF_MAX)) {
		errno = ENOMEM;
		return NULL;
	}
	bytes = bytes ? gy_round_up(bytes, GY_KERNEL_PAGE_BYTES) : GY_KERNEL_PAGE_BYTES;
	return gy_heap_alloc_aligned(GY_KERNEL_PAGE_BYTES, bytes, caller);
}

static GY_NOINLINE int posix_memalign_missed(void **block, size_t alignment, size_t bytes,
					      uintptr_t caller)
{
	int saved = errno;
	void *fresh;

	if (unlikely(!gy_is_power_of_2(alignment) || alignment % sizeof(void *)))
		return EINVAL;
	fresh = gy_heap_alloc_aligned(alignment, bytes, caller);
	if (unlikely(!fresh)) {
		errno = saved;
		return ENOMEM;
	}
	*block = fresh;
	return 0;
}

GY_INLINE int posix_memalign_at(void **block, size_t alignment, size_t bytes, uintptr_t caller)
{
	void *fresh = gy_fast_alloc_aligned(alignment, bytes);

	if (unlikely(!fresh || alignment % sizeof(void *)))
		return posix_memalign_missed(block, alignment, bytes, caller);
	*block = fresh;
	return 0;
}

GY_EXPORT GY_FAST int posix_memalign(void **block, size_t alignment, size_t bytes)
{
	return posix_memalign_at(block, alignment, bytes, GY_CALLER());
}

GY_EXPORT GY_FAST int __posix_memalign(void **block, size_t alignment, size_t bytes)
{
	return posix_memalign_at(block, alignment, bytes, GY_CALLER());
}

GY_EXPORT GY_FAST void *aligned_alloc(size_t alignment, size_t bytes)
{
	void *block = gy_fast_alloc_aligned(alignment, bytes);

	return likely(block) ? block : aligned_alloc_missed(alignment, bytes, GY_CALLER());
}

GY_EXPORT GY_FAST void *memalign(size_t alignment, size_t bytes)
{
	void *block = gy_fast_alloc_aligned(alignment, bytes);

	return likely(block) ? block : memalign_missed(alignment, bytes, GY_CALLER());
}

GY_EXPORT GY_FAST void *__libc_memalign(size_t alignment, size_t bytes)
{
	void *block = gy_fast_alloc_aligned(alignment, bytes);

	return likely(block) ? block : memalign_missed(alignment, bytes, GY_CALLER());
}

GY_EXPORT void *valloc(size_t bytes)
{
	return gy_heap_alloc_aligned(GY_KERNEL_PAGE_BYTES, bytes, GY_CALLER());
}

GY_EXPORT void *__libc_valloc(size_t bytes)
{
	return gy_heap_alloc_aligned(GY_KERNEL_PAGE_BYTES, bytes, GY_CALLER());
}

GY_EXPORT void *pvalloc(size_t bytes)
{
	return pvalloc_at(bytes, GY_CALLER());
}

GY_EXPORT void *__libc_pvalloc(size_t bytes)
{
	return pvalloc_at(bytes, GY_CALLER());
}
