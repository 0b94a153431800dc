/* cxx_delete.c - operator delete in every form, in the shared library and in the archive.
 *
 * The plain forms are free. The sized ones hand the size to the heap, which checks that a block of this
 * size class could have come from a new of so many bytes: deleting through a base class without a
 * virtual destructor, or an array with plain delete, shows here as one line that names both sizes.
 *
 * What counts as "could have come from": the request is rounded as new and libstdc++ round it. 0 bytes
 * is 1 byte, and with an alignment the size is raised to a multiple of it (libstdc++'s aligned new
 * does so before it calls aligned_alloc; in a static link that is what runs, see cxx_new.c).
 *
 * delete keeps errno, as free does. Deleting NULL does nothing, in every form ([new.delete.single]).
 *
 * See operators.h for OP-1 to OP-3: what happens when a program replaces some of these.
 */
#include "interpose/operators.h"

#include "base/bits.h"
#include "heap/heap.h"

GY_OWN_NAME(_ZdlPv);
GY_OWN_NAME(_ZdaPv);
GY_OWN_NAME(_ZdlPvSt11align_val_t);
GY_OWN_NAME(_ZdaPvSt11align_val_t);

/* delete[] leads to delete, delete to the heap, unless either was replaced. */
#define DELETE_ARRAY_REPLACED (GY_REPLACED(_ZdaPv) || GY_REPLACED(_ZdlPv))
#define ALIGNED_ARRAY_REPLACED                                                                     \
	(GY_REPLACED(_ZdaPvSt11align_val_t) || GY_REPLACED(_ZdlPvSt11align_val_t))

static void delete_at(void *block, uintptr_t caller)
{
	if (block)
		gy_heap_free(block, caller);
}

static void delete_sized_at(void *block, size_t bytes, size_t alignment, uintptr_t caller)
{
	if (!block)
		return;
	if (!bytes)
		bytes = 1;
	if (alignment && bytes <= PTRDIFF_MAX)
		bytes = gy_round_up(bytes, alignment);
	gy_heap_free_sized(block, bytes, alignment, caller);
}

GY_OPERATOR void _ZdlPv(void *block)
{
	delete_at(block, GY_CALLER());
}

GY_OPERATOR void _ZdaPv(void *block)
{
	if (GY_REPLACED(_ZdlPv))
		_ZdlPv(block);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR void _ZdlPvm(void *block, size_t bytes)
{
	if (GY_REPLACED(_ZdlPv))
		_ZdlPv(block);
	else
		delete_sized_at(block, bytes, 0, GY_CALLER());
}

GY_OPERATOR void _ZdaPvm(void *block, size_t bytes)
{
	if (DELETE_ARRAY_REPLACED)
		_ZdaPv(block);
	else
		delete_sized_at(block, bytes, 0, GY_CALLER());
}

GY_OPERATOR void _ZdlPvRKSt9nothrow_t(void *block, const void *nothrow)
{
	(void)nothrow;
	if (GY_REPLACED(_ZdlPv))
		_ZdlPv(block);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR void _ZdaPvRKSt9nothrow_t(void *block, const void *nothrow)
{
	(void)nothrow;
	if (DELETE_ARRAY_REPLACED)
		_ZdaPv(block);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR void _ZdlPvSt11align_val_t(void *block, size_t alignment)
{
	(void)alignment;
	delete_at(block, GY_CALLER());
}

GY_OPERATOR void _ZdaPvSt11align_val_t(void *block, size_t alignment)
{
	if (GY_REPLACED(_ZdlPvSt11align_val_t))
		_ZdlPvSt11align_val_t(block, alignment);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR void _ZdlPvmSt11align_val_t(void *block, size_t bytes, size_t alignment)
{
	if (GY_REPLACED(_ZdlPvSt11align_val_t))
		_ZdlPvSt11align_val_t(block, alignment);
	else
		delete_sized_at(block, bytes, alignment, GY_CALLER());
}

GY_OPERATOR void _ZdaPvmSt11align_val_t(void *block, size_t bytes, size_t alignment)
{
	if (ALIGNED_ARRAY_REPLACED)
		_ZdaPvSt11align_val_t(block, alignment);
	else
		delete_sized_at(block, bytes, alignment, GY_CALLER());
}

GY_OPERATOR void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment,
						     const void *nothrow)
{
	(void)nothrow;
	if (GY_REPLACED(_ZdlPvSt11align_val_t))
		_ZdlPvSt11align_val_t(block, alignment);
	else
		delete_at(block, GY_CALLER());
}

GY_OPERATOR void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment,
						     const void *nothrow)
{
	(void)nothrow;
	if (ALIGNED_ARRAY_REPLACED)
		_ZdaPvSt11align_val_t(block, alignment);
	else
		delete_at(block, GY_CALLER());
}
