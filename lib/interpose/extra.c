/* extra.c - the smaller half of the family: sized frees, reallocarray, usable size, trim, and the
 * entry points that glibc exports for programs that wrap malloc.
 *
 * What glibc's malloc tells about itself (mallinfo, malloc_info, mallopt) is in mallinfo.c.
 *
 * Choices, with their sources:
 *
 *   reallocarray(p, n, s)    NULL and ENOMEM where n * s overflows; p stays valid (POSIX.1-2024,
 *       OpenBSD). A product of 0 with a block frees it and returns NULL, as glibc's realloc(p, 0)
 *       does; C23 leaves realloc(p, 0) undefined, so nothing portable depends on it, and programs
 *       written on glibc do depend on this.
 *   free_sized(p, n), free_aligned_sized(p, a, n)   C23 7.24.3.4-5. The heap checks that a block of
 *       this size could have come from such a request, and reports misuse otherwise. NULL does
 *       nothing. errno is kept, as POSIX.1-2024 asks of free.
 *   cfree    a glibc compatibility symbol: binaries linked before 2.26 call it.
 *   malloc_usable_size(NULL)   0 (glibc). All of the bytes it tells may be used.
 *   malloc_trim(pad)   1 if memory went back to the kernel, else 0 (glibc); pad: idle bytes to
 * keep.
 *   __libc_malloc and its kin   glibc exports them; a program with a malloc wrapper of its own
 *       calls them where others use dlsym(RTLD_NEXT). Its wrapper then stands before ours, but a
 *       memalign that it did not wrap is ours: were __libc_free left to glibc, the wrapper's free
 *       would give our block to glibc's heap (MIX-1). They call the heap, never the public names,
 *       which may be the wrapper that called them.
 */
#include "interpose/interpose.h"

#include "heap/heap.h"

#include <errno.h>
#include <stdlib.h>

/* realloc with glibc's reading of NULL and 0. */
static void *realloc_at(void *block, size_t bytes, uintptr_t caller)
{
	if (!block)
		return gy_heap_alloc(bytes, caller);
	if (unlikely(!bytes)) {
		gy_heap_free(block, caller);
		return NULL;
	}
	return gy_heap_realloc(block, bytes, caller);
}

GY_EXPORT void *reallocarray(void *block, size_t count, size_t bytes)
{
	size_t product;

	if (unlikely(__builtin_mul_overflow(count, bytes, &product))) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc_at(block, product, GY_CALLER());
}

GY_EXPORT void free_sized(void *block, size_t bytes)
{
	if (block)
		gy_heap_free_sized(block, bytes, 0, GY_CALLER());
}

GY_EXPORT void free_aligned_sized(void *block, size_t alignment, size_t bytes)
{
	if (block)
		gy_heap_free_sized(block, bytes, alignment, GY_CALLER());
}

GY_EXPORT void cfree(void *block)
{
	if (block)
		gy_heap_free(block, GY_CALLER());
}

GY_EXPORT size_t malloc_usable_size(void *block)
{
	return block ? gy_heap_usable_size(block, GY_CALLER()) : 0;
}

GY_EXPORT int malloc_trim(size_t keep_bytes)
{
	return gy_heap_trim(keep_bytes) > 0;
}

GY_EXPORT void *__libc_malloc(size_t bytes)
{
	return gy_heap_alloc(bytes, GY_CALLER());
}

GY_EXPORT void *__libc_calloc(size_t count, size_t bytes)
{
	size_t product;

	if (unlikely(__builtin_mul_overflow(count, bytes, &product))) {
		errno = ENOMEM;
		return NULL;
	}
	return gy_heap_alloc_zeroed(product, GY_CALLER());
}

GY_EXPORT void *__libc_realloc(void *block, size_t bytes)
{
	return realloc_at(block, bytes, GY_CALLER());
}

GY_EXPORT void __libc_free(void *block)
{
	if (block)
		gy_heap_free(block, GY_CALLER());
}
