/* gate.h - sending every malloc and free to its slow half, at no cost while that is not wanted.
 *
 * The fast paths (interpose/fast.h) compare the size asked for with two limits, and a page's number
 * with how many there are, in any case. They read these three numbers from the gate, in the address
 * map's first cache line: a compare with memory is one instruction, like one with a constant.
 *
 *   open     the limits are what they are
 *   closed   they are 0: no size is small, no page is ours. Each operation ends up in heap.c, which
 *            passes what is simple to gy_heap_hooks.alloc_recorded and free_recorded (the fast
 *            paths again, made of the pieces below, with a record in them) and tells
 *            gy_heap_hooks.record of the rest
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

/* The fast paths in pieces, for functions that are GY_FAST (FAST-1): between enter and leave the
 * thread's cache is in hand. ThreadSanitizer does not see what orders a fast path before the idle
 * taker: for it the cache is marked busy, as in a slow path. Without a cache its stand-in is asked,
 * which is empty and full (CACHE-5). */
GY_INLINE struct gy_thread_cache *gy_gate_enter(void)
{
	return GY_TSAN ? gy_thread_cache_begin() : gy_tls.cache;
}

GY_INLINE void gy_gate_leave(struct gy_thread_cache *cache)
{
	if (GY_TSAN)
		gy_thread_cache_end(cache);
}

/* A block of this class, if that is simple: it is counted, and none is a sample. NULL: the slow
 * way, which finds everything as the fast path would have left it. */
GY_INLINE void *gy_gate_take(struct gy_thread_cache *cache, unsigned class_index)
{
	struct gy_bin *bin = &cache->bins[class_index];
	void **top = bin->top, *block;

	if (unlikely(top == bin->floor) || unlikely(--bin->countdown < 0))
		return NULL;
	bin->top = top - 1;
	block = top[-1]; /* CACHE-3: the slot matters to nobody but us */
	*(uintptr_t *)block = 0; /* HEAP-1 */
	return block;
}

/* The bin of an allocated small block that is no sample, where it has room; NULL: the slow way. */
GY_INLINE struct gy_bin *gy_gate_bin(struct gy_thread_cache *cache, const void *block)
{
	size_t page = gy_page_of(block);
	const struct gy_page_info *info = &gy_map.page_info[page];
	struct gy_bin *bin;

	if (unlikely(page >= READ_RELAXED(gy_map.page_count)))
		return NULL;
	bin = gy_bin_at(cache, READ_RELAXED(info->bin));
	/* In bin 0 nothing is a block's start: its magic is 0. */
	if (unlikely((uint32_t)(uintptr_t)block * bin->magic + READ_RELAXED(info->bias) >=
		     bin->magic) ||
	    unlikely(bin->top == bin->limit) ||
	    unlikely(*(const uintptr_t *)block == gy_freed_mark()))
		return NULL;
	return bin;
}

/* Puts it there. */
GY_INLINE void gy_gate_give(struct gy_bin *bin, void *block)
{
	void **top = bin->top;

	*(uintptr_t *)block = gy_freed_mark();
	*top = block; /* CACHE-3 */
	__atomic_signal_fence(__ATOMIC_RELEASE);
	bin->top = top + 1;
}

/* Its class; 0: none that can be told at once. */
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
