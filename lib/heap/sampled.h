/* sampled.h - where samples lie, and how free knows them.
 *
 * One allocation in some thousands is a sample, and its free must be noticed; all other frees must
 * pay nothing for that. So it is a page's record (metadata.h) that tells: its bin is 0, which sends
 * free to the slow path, and `sampled` names the class there, so that neither the page's span nor
 * its record is needed.
 *
 *   blocks of less than a page   come from spans in which every block is a sample (the second row
 *                                of central lists); freed, they wait on a shelf of their class
 *   of a page and more, small    are blocks like any other, out of the thread's bin: no other
 *                                block starts in the page where one starts, so its record alone
 *                                is changed while the sample lives
 *   large                        say so in their span
 *
 *   shelf of a class   [count | p p p p p p p]      one cache line
 *
 * The shelves are guarded by the sampler's lock, which whoever books a sample in or out holds
 * anyway: so a sample's life takes that lock twice and no other. An empty or a full shelf sends to
 * the central list.
 *
 * SAMPLED-1  A block of a page or more is marked by its owner alone, between its allocation and its
 *            free: nobody else has business with that record.
 * SAMPLED-2  Blocks on a shelf are free, hold the freed mark, and count as taken from the central
 *            list: whoever adds up subtracts gy_sampled_waiting.
 * Not here: which allocation is a sample (thread_cache.c counts down), what is remembered of it
 * (trace/sampler.h).
 */
#ifndef GY_HEAP_SAMPLED_H
#define GY_HEAP_SAMPLED_H

#include "heap/central.h"

#pragma GCC visibility push(hidden)

/* Is a sample of this class a block like any other, marked in its page's record? */
GY_INLINE bool gy_sampled_in_place(unsigned class_index)
{
	return gy_size_classes[class_index].bytes >= GY_PAGE_BYTES;
}

/* Of samples, live and profile (trace/), and of the shelves. */
extern struct gy_lock gy_sampler_lock;

/* A block off the shelf, or NULL: ask gy_sampled_take. */
void *gy_shelf_take_locked(unsigned class_index);
/* A freed block, which it marks (HEAP-1), onto the shelf; false: full, gy_sampled_give it. */
bool gy_shelf_give_locked(unsigned class_index, void *block);

/* The same from and to the central list; NULL where memory lacks. */
void *gy_sampled_take(unsigned class_index);
void gy_sampled_give(unsigned class_index, void *block);
/* Is this block free? */
bool gy_sampled_holds(unsigned class_index, const void *block);
/* Blocks on the shelf. */
uint32_t gy_sampled_waiting(unsigned class_index);
/* Empties the shelf; `idle_only`: if nobody has come by since the last such call. */
void gy_sampled_drain(unsigned class_index, bool idle_only);

/* Makes an allocated block of a page or more a sample, and a plain block again (SAMPLED-1). */
GY_INLINE void gy_sampled_mark(const void *block, unsigned class_index)
{
	struct gy_page_info *info = &gy_map.page_info[gy_page_of(block)];

	info->bin = 0;
	info->sampled = (uint16_t)(class_index | GY_PAGE_SAMPLED);
}

GY_INLINE void gy_sampled_unmark(struct gy_page_info *info, unsigned class_index)
{
	info->sampled = 0;
	info->bin = (uint16_t)(class_index * 32u); /* CACHE-1 */
}

/* Is this small block, allocated, a sample? */
GY_INLINE bool gy_sampled_is(const void *block)
{
	return gy_map.page_info[gy_page_of(block)].sampled != 0;
}

#pragma GCC visibility pop

#endif
