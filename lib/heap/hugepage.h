/* hugepage.h - the page heap's shared state, and the one way to change a huge page's record.
 *
 * page_heap.c (who gets which pages) and page_release.c (what goes back to the kernel) both work on
 * these records; each change goes through gy_hugepage_use and gy_hugepage_give, which keep bitmap,
 * counts and lists together.
 *
 * PAGE-2  partial[b][l] holds the partial huge pages with longest_free = l (l > 0) and broken = b;
 *         free[r] the free ones, r = 1 if wholly released. Full ones are on no list.
 * PAGE-3  free_map has a bit for every free huge page, and no other.
 * HUGE-1 ... HUGE-4: span.h.
 *
 * Everything here: [lock: page_heap].
 */
#ifndef GY_HEAP_HUGEPAGE_H
#define GY_HEAP_HUGEPAGE_H

#include "heap/page_heap.h"
#include "os/lock.h"

#define GY_FIRST_PLAIN 64 /* huge pages at the start of the heap that begin on small pages */
#define GY_SLOW_FILL_NS 2000000 /* HUGE-6 */
#define GY_PLAIN_AFTER_SLOW 32u
#define GY_RUN_LENGTHS (GY_HUGEPAGE_PAGES + 1)

extern struct gy_pages {
	struct gy_lock lock;
	uint32_t partial[2][GY_RUN_LENGTHS]; /* PAGE-2: index + 1 of the first; 0: none */
	uint64_t partial_map[2][(GY_RUN_LENGTHS + 63) / 64]; /* which lists hold one */
	uint32_t free[2];                                    /* PAGE-2 */
	uint64_t *free_map;                                  /* PAGE-3 */
	struct gy_span *span_pool[2]; /* unused records, by `next`: of few and of many bits */
	uint64_t in_hand_pages;       /* PAGE-1 */
	uint32_t plain_left;          /* HUGE-6: not to be asked for */
	uint64_t unchecked_pages;     /* handed out without memory since the limit was asked */
	struct gy_page_heap_stats stats;
} gy_pages GY_HIDDEN;

GY_INLINE size_t gy_hugepage_index(const struct gy_hugepage *hugepage)
{
	return (size_t)(hugepage - gy_map.hugepages);
}

/* On to and off the list that state, longest_free and broken call for. */
void gy_hugepage_list(struct gy_hugepage *hugepage);
void gy_hugepage_unlist(struct gy_hugepage *hugepage);
/* Marks [first, first + count) used; returns how many of them had no memory behind them. */
unsigned gy_hugepage_use(struct gy_hugepage *hugepage, unsigned first, unsigned count);
/* The converse; `released`: the kernel has them. */
void gy_hugepage_give(struct gy_hugepage *hugepage, unsigned first, unsigned count, bool released);
/* Its free pages have memory behind them after all (HUGE-4). */
void gy_hugepage_forget_released(struct gy_hugepage *hugepage);
unsigned gy_hugepage_longest_run(const uint64_t *used);

#endif
