/* malloc.c - malloc, free, calloc, realloc.
 *
 * The four that every program uses; the rest of the family stands in aligned.c, extra.c and
 * cxx_*.c. See fast.h for the fast paths and heap/heap.c for the slow ones.
 *
 * As glibc: malloc(0) returns a block of its own; realloc(p, 0) frees p and returns NULL; free
 * keeps errno (POSIX.1-2024); a size above PTRDIFF_MAX is refused with ENOMEM.
 */
#include "interpose/fast.h"
#include "interpose/interpose.h"

#include <errno.h>
#include <string.h>

GY_EXPORT GY_FAST void *malloc(size_t bytes)
{
	void *block = gy_fast_alloc(bytes);

	if (likely(block != NULL))
		return block;
	return gy_heap_alloc(bytes, GY_CALLER());
}

GY_EXPORT GY_FAST void free(void *block)
{
	if (likely(gy_fast_free(block)))
		return;
	gy_heap_free(block, GY_CALLER());
}

GY_EXPORT GY_FAST void *calloc(size_t count, size_t bytes)
{
	void *block;

	if (unlikely(__builtin_mul_overflow(count, bytes, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	block = gy_fast_alloc(bytes);
	if (likely(block != NULL))
		return memset(block, 0, bytes);
	return gy_heap_alloc_zeroed(bytes, GY_CALLER());
}

/* A small block to another small size; NULL: take the slow half. */
GY_INLINE void *fast_realloc(void *block, size_t bytes)
{
	unsigned class_index = gy_fast_class(block);
	size_t held = gy_size_classes[class_index].bytes, wanted;
	void *fresh;

	if (!class_index)
		return NULL;
	if (bytes <= held && bytes > held / 2)
		return block; /* HEAP-2 */
	/* A block that grows a little will grow again: a quarter more saves the next copies. */
	wanted = bytes > held ? MAX(bytes, held + held / 4) : bytes;
	if (wanted > GY_CLASS_MAX_BYTES)
		return NULL;
	fresh = gy_fast_alloc(wanted);
	if (!fresh)
		return NULL;
	memcpy(fresh, block, MIN(held, bytes));
	if (unlikely(!gy_fast_free(block)))
		gy_heap_free(block, GY_CALLER());
	return fresh;
}

GY_EXPORT GY_FAST void *realloc(void *block, size_t bytes)
{
	void *fresh;

	if (unlikely(!block)) {
		fresh = gy_fast_alloc(bytes);
		return fresh ? fresh : gy_heap_alloc(bytes, GY_CALLER());
	}
	if (unlikely(!bytes)) {
		gy_heap_free(block, GY_CALLER());
		return NULL;
	}
	fresh = fast_realloc(block, bytes);
	return likely(fresh != NULL) ? fresh : gy_heap_realloc(block, bytes, GY_CALLER());
}
