/* fast.h - the inline halves of malloc and free: what runs when nothing special happens.
 *
 * Every function that a program allocates or frees through is a copy of one of these, in the
 * section gyre_fast_text: 15 instructions to allocate and 24 to free, no lock, no atomic, no call.
 *
 * allocate  size -> bin (one table load), bin not empty, countdown to the next sample not over,
 *           pop, clear the block's first word (HEAP-1)
 * free      page -> page_info; in our range, a block's start (one multiplication, CLASS-4), not
 *           marked as freed, bin not full; mark it, push
 *
 * FAST-1  These functions call nothing: their slow halves are jumped to. So while one is under way
 *         its address is in the thread's registers or, if a signal interrupted it, in a signal
 *         frame on the stack; the idle taker (mutator/idle.c) looks for exactly that.
 * FAST-2  Each instruction boundary leaves the cache consistent (CACHE-3): the slot is written
 *         before top moves up, and read before it moves down matters to nobody but us.
 * FAST-3  A function reads gy_tls once; a slow half reads it anew.
 * FAST-4  Sizes and pages are compared with the gate's limits (heap/gate.h), plain reads that
 *         become memory operands: while every event is recorded they are 0, and all fall through.
 */
#ifndef GY_INTERPOSE_FAST_H
#define GY_INTERPOSE_FAST_H

#include "heap/heap.h"

/* gate: the few places where the compiler needs a hand to use a memory operand. Each is an
 * instruction or two of the count that tests/bench/instr.test asserts. */
#if defined(__x86_64__) && !GY_TSAN
#define GY_FAST_ASM 1
#else
#define GY_FAST_ASM 0
#endif

/* META-2, GATE-1: an atomic read would not become a memory operand. */
#if GY_TSAN
#define GY_GATE(limit) READ_RELAXED(gy_map.gate.limit)
#else
#define GY_GATE(limit) gy_map.gate.limit
#endif

GY_INLINE void bin_move_top(struct gy_bin *bin, ptrdiff_t slots)
{
#if GY_FAST_ASM
	__asm__("addq %1, %0" : "+m"(bin->top) : "i"(slots * (ptrdiff_t)sizeof(void *)) : "cc");
#else
	bin->top += slots;
#endif
}

/* Is `block` a block's start, by its page's record? (metadata.h) */
GY_INLINE bool is_block_start(const void *block, const struct gy_page_info *pages, size_t page,
			      const struct gy_bin *bin)
{
	uint32_t product = (uint32_t)(uintptr_t)block;

#if GY_FAST_ASM
	__asm__("imull %1, %0" : "+r"(product) : "m"(bin->magic) : "cc");
	__asm__ volatile("addl (%1,%2,8), %0" : "+r"(product) : "r"(pages), "r"(page) : "cc");
	_Static_assert(offsetof(struct gy_page_info, bias) == 0, "the operand above");
#else
	product = product * bin->magic + pages[page].bias;
#endif
	return product < bin->magic;
}

GY_INLINE struct gy_bin *bin_of_page(struct gy_thread_cache *cache,
				     const struct gy_page_info *pages, size_t page)
{
	size_t offset;

#if GY_FAST_ASM
	/* volatile: not to be moved above the check of `page`. */
	__asm__ volatile("movzwl 4(%1,%2,8), %k0" : "=r"(offset) : "r"(pages), "r"(page));
	_Static_assert(offsetof(struct gy_page_info, bin) == 4, "the operand above");
#else
	offset = pages[page].bin;
#endif
	return gy_bin_at(cache, offset);
}

GY_INLINE void *bin_pop(struct gy_bin *bin)
{
	void **top = bin->top, *block;

	if (unlikely(top == bin->floor) || unlikely(--bin->countdown < 0))
		return NULL;
	bin_move_top(bin, -1);
	block = top[-1];
	*(uintptr_t *)block = 0;
	return block;
}

/* A block, or NULL: take the slow half. */
GY_INLINE void *gy_fast_alloc(size_t bytes)
{
	struct gy_bin *bin;

	if (likely(bytes < GY_GATE(small_end)))
		bin = gy_tls.small_bin[(bytes + 7) >> 3];
	else if (bytes < GY_GATE(class_end))
		bin = &gy_tls.cache->bins[gy_class_of_medium[(bytes + 127) >> 7]];
	else
		return NULL;
	return bin_pop(bin);
}

/* The same, aligned: of the class that gy_class_of_aligned() gives, where that is the first that
 * holds so many bytes, as it nearly always is. NULL also for an alignment that is none. */
GY_INLINE void *gy_fast_alloc_aligned(size_t alignment, size_t bytes)
{
	size_t mask = alignment - 1;
	unsigned class_index;

	if (unlikely(alignment & mask) || unlikely(alignment > GY_PAGE_BYTES) ||
	    unlikely(bytes >= GY_GATE(class_end)))
		return NULL;
	bytes = (bytes + mask) & ~mask;
	if (unlikely(bytes > GY_CLASS_MAX_BYTES))
		return NULL;
	class_index = gy_class_of_request(bytes);
	/* 15: as malloc; alignment 0: every bit of the mask is set */
	if (unlikely(gy_size_classes[class_index].bytes & (mask | 15)))
		return NULL;
	return bin_pop(&gy_tls.cache->bins[class_index]);
}

/* false: take the slow half. */
GY_INLINE bool gy_fast_free(void *block)
{
	struct gy_thread_cache *cache = gy_tls.cache;
	size_t page = gy_page_of(block);
	const struct gy_page_info *pages = gy_map.page_info;
	struct gy_bin *bin;
	void **top;

	if (unlikely(page >= GY_GATE(page_count)))
		return false;
	bin = bin_of_page(cache, pages, page);
	if (unlikely(!is_block_start(block, pages, page, bin)))
		return false;
	top = bin->top;
	if (unlikely(top == bin->limit) || unlikely(*(uintptr_t *)block == (uintptr_t)pages))
		return false;
	*(uintptr_t *)block = (uintptr_t)pages; /* gy_freed_mark() */
	*top = block;
	__atomic_signal_fence(__ATOMIC_RELEASE);
	bin_move_top(bin, 1);
	return true;
}

/* The class of an allocated small block that is no sample, else 0: take the slow half. */
GY_INLINE unsigned gy_fast_class(const void *block)
{
	size_t page = gy_page_of(block);
	const struct gy_page_info *pages = gy_map.page_info;
	unsigned class_index;

	if (unlikely(page >= GY_GATE(page_count)))
		return 0;
	class_index = pages[page].bin / (unsigned)sizeof(struct gy_bin);
	/* In class 0 nothing is a block's start: its magic is 0. */
	if (unlikely((uint32_t)(uintptr_t)block * gy_size_classes[class_index].magic +
			     pages[page].bias >=
		     gy_size_classes[class_index].magic) ||
	    unlikely(*(const uintptr_t *)block == (uintptr_t)pages))
		return 0;
	return class_index;
}

#endif
