/* cxx_delete.c - operator delete in every form, in the shared library and in the archive.
 *
 * The plain forms are free. The sized ones check the size: if its class is that of the block, they
 * are free too, four instructions longer; if not, the heap decides whether a block of this size
 * could have come from a new of so many bytes (heap.c, HEAP-2), and reports it otherwise. Deleting
 * through a base class without a virtual destructor, or an array with plain delete, shows here as
 * one line that names both sizes.
 *
 * What counts as "could have come from": the request is rounded as new and libstdc++ round it. 0
 * bytes is 1 byte, and with an alignment the size is raised to a multiple of it (libstdc++'s
 * aligned new does so before it calls aligned_alloc; in a static link that is what runs, see
 * cxx_new.c).
 *
 * delete keeps errno, as free does. Deleting NULL does nothing, in every form
 * ([new.delete.single]).
 *
 * See operators.h for OP-1 to OP-3: what happens when a program replaces some of these.
 */
#include "interpose/fast.h"
#include "interpose/operators.h"

#include "base/bits.h"

GY_OWN_NAME(_ZdlPv);
GY_OWN_NAME(_ZdaPv);
GY_OWN_NAME(_ZdlPvSt11align_val_t);
GY_OWN_NAME(_ZdaPvSt11align_val_t);

/* delete[] leads to delete, delete to the heap, unless either was replaced. */
#define DELETE_ARRAY_REPLACED (GY_REPLACED(_ZdaPv) || GY_REPLACED(_ZdlPv))
#define ALIGNED_ARRAY_REPLACED                                                                     \
	(GY_REPLACED(_ZdaPvSt11align_val_t) || GY_REPLACED(_ZdlPvSt11align_val_t))

/* Does new(bytes) take its block from the bin that this block goes back to? */
GY_INLINE bool size_is_exact(const void *block, size_t bytes)
{
	struct gy_thread_cache *cache = gy_tls.cache;
	size_t page = gy_page_of(block);
	const struct gy_bin *bin;

	if (likely(bytes < GY_GATE(small_end)))
		bin = gy_tls.small_bin[(bytes + 7) >> 3];
	else if (bytes < GY_GATE(class_end))
		bin = &cache->bins[gy_class_of_medium[(bytes + 127) >> 7]];
	else
		return false;
	return page < GY_GATE(page_count) &&
	       gy_bin_at(cache, gy_map.page_info[page].bin) == bin;
}

/* The slow halves keep errno and take NULL. */
GY_INLINE void delete_at(void *block, uintptr_t caller)
{
	if (likely(gy_fast_free(block)))
		return;
	gy_heap_free(block, caller);
}

GY_INLINE void delete_sized_at(void *block, size_t bytes, uintptr_t caller)
{
	if (likely(size_is_exact(block, bytes)) && likely(gy_fast_free(block)))
		return;
	gy_heap_free_sized(block, bytes, 0, caller);
}

static void delete_aligned_at(void *block, size_t bytes, size_t alignment, uintptr_t caller)
{
	if (!bytes)
		bytes = 1;
	if (bytes <= PTRDIFF_MAX)
		bytes = gy_round_up(bytes, alignment);
	gy_heap_free_sized(block, bytes, alignment, caller);
}

GY_OPERATOR GY_FAST void _ZdlPv(void *block)
{
	delete_at(block, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdaPv(void *block)
{
	if (GY_REPLACED(_ZdlPv))
		_ZdlPv(block);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdlPvm(void *block, size_t bytes)
{
	if (GY_REPLACED(_ZdlPv))
		_ZdlPv(block);
	else
		delete_sized_at(block, bytes, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdaPvm(void *block, size_t bytes)
{
	if (DELETE_ARRAY_REPLACED)
		_ZdaPv(block);
	else
		delete_sized_at(block, bytes, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdlPvRKSt9nothrow_t(void *block, const void *nothrow)
{
	(void)nothrow;
	if (GY_REPLACED(_ZdlPv))
		_ZdlPv(block);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdaPvRKSt9nothrow_t(void *block, const void *nothrow)
{
	(void)nothrow;
	if (DELETE_ARRAY_REPLACED)
		_ZdaPv(block);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdlPvSt11align_val_t(void *block, size_t alignment)
{
	(void)alignment;
	delete_at(block, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdaPvSt11align_val_t(void *block, size_t alignment)
{
	if (GY_REPLACED(_ZdlPvSt11align_val_t))
		_ZdlPvSt11align_val_t(block, alignment);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdlPvmSt11align_val_t(void *block, size_t bytes, size_t alignment)
{
	if (GY_REPLACED(_ZdlPvSt11align_val_t))
		_ZdlPvSt11align_val_t(block, alignment);
	else
		delete_aligned_at(block, bytes, alignment, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdaPvmSt11align_val_t(void *block, size_t bytes, size_t alignment)
{
	if (ALIGNED_ARRAY_REPLACED)
		_ZdaPvSt11align_val_t(block, alignment);
	else
		delete_aligned_at(block, bytes, alignment, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment,
							     const void *nothrow)
{
	(void)nothrow;
	if (GY_REPLACED(_ZdlPvSt11align_val_t))
		_ZdlPvSt11align_val_t(block, alignment);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR GY_FAST void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment,
							     const void *nothrow)
{
	(void)nothrow;
	if (ALIGNED_ARRAY_REPLACED)
		_ZdaPvSt11align_val_t(block, alignment);
	else
		delete_at(block, GY_CALLER());
}
