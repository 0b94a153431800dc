/* page_heap.h - pages: who has which, taken and given in spans. See page_heap.c's essay. */
#ifndef GY_HEAP_PAGE_HEAP_H
#define GY_HEAP_PAGE_HEAP_H

#include "heap/span.h"

enum gy_oom_reason {
	GY_OOM_NONE,
	GY_OOM_RANGE,    /* the reserved range is used up */
	GY_OOM_REFUSED,  /* the kernel refused */
	GY_OOM_LIMIT,    /* the memory limit */
	GY_OOM_OVERFLOW, /* no object can be that large, here or anywhere */
};

struct gy_page_heap_stats {
	uint64_t used_pages;     /* in spans */
	uint64_t released_pages; /* free, and not backed by memory */
	uint64_t hugepages, hugepages_free, hugepages_released, hugepages_broken;
	uint64_t growths, released_total_bytes, release_calls;
	uint64_t ooms;
	uint64_t limit_bytes;
};

int gy_page_heap_init(void);

/* A span of `pages` pages whose start is a multiple of `alignment_pages` pages, for class
 * `class_index` (0: a large block; GY_CLASS_COLLECTED: the collector's). *zeroed: every byte is
 * known to be 0. NULL: memory lacks (*reason says why). Any thread; the caller holds no lock, or
 * its class's central lock. */
struct gy_span *gy_page_heap_take(size_t pages, size_t alignment_pages, unsigned class_index,
				  bool sampled, bool *zeroed, enum gy_oom_reason *reason);
/* Gives a span back; its record may be reused at once. */
void gy_page_heap_give(struct gy_span *span);
/* Grows a large span in place to `pages`; false where its neighbours are taken. */
bool gy_page_heap_extend(struct gy_span *span, size_t pages);
/* Gives back a large span's pages behind the first `pages` (above 0). */
void gy_page_heap_shrink(struct gy_span *span, size_t pages);

/* Whole huge pages of the range's unused end, for arrays of a module above: reserved, not usable,
 * out of the heap for ever. Needs no new address space, of which a limit may leave none. NULL: too
 * late. */
void *gy_page_heap_carve(size_t bytes);

void gy_page_heap_read_stats(struct gy_page_heap_stats *stats);
void gy_page_heap_count_oom(void);
void gy_page_heap_lock(void);
bool gy_page_heap_try_lock(void);
void gy_page_heap_unlock(void);
void gy_page_heap_fork_child(void);

/* Coarse time for idleness: steps of GY_TICK_MS, moved on by the background thread. */
#define GY_TICK_MS 50u
extern uint32_t gy_heap_tick; /* [atomic: relaxed] */

/* ---- for the scavenger: pages in hand cannot be taken while the kernel gets them back ---- */
struct gy_page_range {
	size_t first_page;
	unsigned pages;
	bool part; /* part of a huge page: broken up by the release */
};
/* Takes in hand free, backed pages of huge page `index`, all of them as ranges. Returns the number
 * of ranges (capacity must be 128). whole_only: only if no page of it is used. */
unsigned gy_page_heap_release_begin(size_t index, bool whole_only, struct gy_page_range *ranges);
/* Puts them back; `done`: the kernel has them. */
void gy_page_heap_release_end(const struct gy_page_range *ranges, unsigned count, bool done);
void gy_page_heap_count_release(uint64_t bytes, uint64_t calls);
/* The huge page is partly with the kernel now, through blocks of its spans. */
void gy_page_heap_mark_broken(size_t page);
/* Is huge page `index` densely used, on small pages, in a heap so large that it matters? true once.
 * Then gy_page_heap_collapsed, if the kernel did it. */
bool gy_page_heap_worth_collapse(size_t index);
void gy_page_heap_collapsed(size_t index);
/* The first touch of an advised huge page took its thread so much processor time (HUGE-6). */
void gy_page_heap_filled(size_t index, uint64_t cpu_ns);
size_t gy_page_heap_hugepage_count(void);
/* Small spans in huge page `index`; at most 256. [snapshot: check again under the central lock] */
struct gy_span_ref {
	struct gy_span *span;
	uint32_t first_page;
	uint8_t class_index, sampled;
};
unsigned gy_page_heap_spans_in(size_t index, struct gy_span_ref *refs);
/* Spans of every kind that begin in huge page `index`, by address; at most 256. */
struct gy_span_look {
	struct gy_span *span;
	uint32_t first_page, pages;
	uint8_t kind, class_index, sampled; /* kind: enum gy_span_kind */
};
unsigned gy_page_heap_look(size_t index, struct gy_span_look *looks);
/* CHECK=full: HUGE-1, HUGE-2 and the lists. */
void gy_page_heap_check(void);

#endif
