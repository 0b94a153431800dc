/* gate.h - sending every malloc and free to its slow half, at no cost while that is not wanted.
 *
 * The fast paths (interpose/fast.h) compare the size asked for with two limits, and a page's number
 * with how many there are, in any case. They read these three numbers from the gate, in the address
 * map's first cache line: a compare with memory is one instruction, like one with a constant.
 *
 *   open     the limits are what they are
 *   closed   they are 0: no size is small, no page is ours. Each operation ends up in heap.c, which
 *            tells gy_heap_hooks.record of it, and takes or gives the block by gy_gate_take and
 *            gy_gate_give: copies of the fast paths
 *
 * GATE-1  page_count is gy_map.page_count or 0; the two ends are the classes' or 0; all change
 *         together under the page heap's lock. Whoever reads them amid a change takes one fast or
 *         one slow path, and each is right at any time.
 * GATE-2  Nothing but the record depends on the gate: counts, samples and blocks are the same.
 *
 * Not here: who closes it, and what a record is (trace/events.h).
 */
#ifndef GY_HEAP_GATE_H
#define GY_HEAP_GATE_H

#include "heap/thread_cache.h"

#pragma GCC visibility push(hidden)

GY_INLINE bool gy_gate_is_closed(void)
{
	return !READ_RELAXED(gy_map.gate.small_end);
}

void gy_gate_close(void);
void gy_gate_open(void);
/* From anywhere, a signal handler too; false: not now. */
bool gy_gate_try_open(void);
/* The heap has grown. [lock: page_heap] */
void gy_gate_follow_locked(void);

/* What the fast paths do, under the same rule (FAST-1). A block of this class, if that is simple:
 * it is counted, and none is a sample. NULL: the slow way, which finds everything as the fast path
 * would have left it. */
void *gy_gate_take(unsigned class_index);
/* Frees such a block; false: the slow way. */
bool gy_gate_give(unsigned class_index, void *block);
/* The class of a small block that is allocated and no sample; 0: none that can be told at once. */
GY_INLINE unsigned gy_gate_class(const void *block)
{
	size_t page = gy_page_of(block);
	const struct gy_page_info *info = &gy_map.page_info[page];
	unsigned class_index;

	if (unlikely(page >= READ_RELAXED(gy_map.page_count)))
		return 0;
	class_index = READ_RELAXED(info->bin) / (unsigned)sizeof(struct gy_bin);
	/* In class 0 nothing is a block's start: its magic is 0. */
	if (unlikely((uint32_t)(uintptr_t)block * gy_size_classes[class_index].magic +
			     READ_RELAXED(info->bias) >=
		     gy_size_classes[class_index].magic) ||
	    unlikely(*(const uintptr_t *)block == gy_freed_mark()))
		return 0;
	return class_index;
}

#pragma GCC visibility pop

#endif
