/* large.c - blocks of whole pages.
 *
 * Programs that allocate buffers do so again and again in the same few sizes. So freed spans of up
 * to KEEP_PAGES pages are kept, by exact length, last in first out, and serve the next request of
 * that length without the page heap: its lists, bitmaps and side arrays are not touched. What is
 * kept is bounded (KEEP_BYTES), ages, and goes home when memory is short.
 *
 * LARGE-1  A freed span has kind GY_SPAN_NONE, set under the lock: of two frees of a block one
 *          finds no block there.
 * LARGE-2  kept[n] holds spans of n pages exactly; kept_pages is their sum.
 * LARGE-3  The counters are of blocks that the program has; what is kept is counted apart.
 *
 * One lock, large, outside of the page heap's.
 */
#include "heap/large.h"

#include "os/lock.h"

#define KEEP_PAGES 32u /* 256 KiB */
#define KEEP_BYTES ((size_t)8 << 20)

static struct {
	struct gy_lock lock;
	struct gy_span *kept[KEEP_PAGES + 1]; /* LARGE-2 */
	struct gy_large_stats stats;
} large = {.lock = GY_LOCK_INIT(GY_RANK_large)};

static struct gy_span *take_kept(size_t pages, bool sampled)
{
	struct gy_span *span = large.kept[pages];

	if (span) {
		large.kept[pages] = span->next;
		large.stats.kept_pages -= pages;
		WRITE_RELAXED(span->sampled, sampled);
		__atomic_store_n(&span->kind, GY_SPAN_LARGE, __ATOMIC_RELEASE);
	}
	return span;
}

static void count_taken(size_t pages)
{
	large.stats.pages += pages;
	large.stats.blocks++;
	large.stats.mallocs++;
}

struct gy_span *gy_large_take(size_t pages, size_t alignment_pages, bool sampled, bool *zeroed,
			      enum gy_oom_reason *reason)
{
	struct gy_span *span = NULL;

	*zeroed = false;
	if (pages <= KEEP_PAGES && alignment_pages == 1) {
		gy_lock_acquire(&large.lock);
		span = take_kept(pages, sampled);
		if (span)
			count_taken(pages);
		gy_lock_release(&large.lock);
	}
	if (span)
		return span;
	span = gy_page_heap_take(pages, alignment_pages, 0, sampled, zeroed, reason);
	if (span) {
		gy_lock_acquire(&large.lock);
		count_taken(pages);
		gy_lock_release(&large.lock);
	}
	return span;
}

bool gy_large_give(struct gy_span *span)
{
	bool keep;

	gy_lock_acquire(&large.lock);
	if (span->kind != GY_SPAN_LARGE) {
		gy_lock_release(&large.lock);
		return false;
	}
	WRITE_RELAXED(span->kind, GY_SPAN_NONE); /* LARGE-1 */
	large.stats.pages -= span->pages;
	large.stats.blocks--;
	keep = span->pages <= KEEP_PAGES &&
	       large.stats.kept_pages + span->pages <= KEEP_BYTES / GY_PAGE_BYTES;
	if (keep) {
		span->tick = READ_RELAXED(gy_heap_tick);
		span->next = large.kept[span->pages];
		large.kept[span->pages] = span;
		large.stats.kept_pages += span->pages;
	}
	gy_lock_release(&large.lock);
	if (!keep)
		gy_page_heap_give(span);
	return true;
}

bool gy_large_resize(struct gy_span *span, size_t pages)
{
	size_t before = span->pages;

	if (pages > before && !gy_page_heap_extend(span, pages))
		return false;
	if (pages < before)
		gy_page_heap_shrink(span, pages);
	gy_lock_acquire(&large.lock);
	large.stats.pages += pages - before;
	gy_lock_release(&large.lock);
	return true;
}

void gy_large_drain(uint32_t before)
{
	struct gy_span *list = NULL;

	gy_lock_acquire(&large.lock);
	for (unsigned pages = 1; pages <= KEEP_PAGES; pages++) {
		struct gy_span **link = &large.kept[pages];

		while (*link) {
			struct gy_span *span = *link;

			if (before && (int32_t)(span->tick - before) >= 0) {
				link = &span->next;
				continue;
			}
			*link = span->next;
			large.stats.kept_pages -= pages;
			span->next = list;
			list = span;
		}
	}
	gy_lock_release(&large.lock);
	while (list) {
		struct gy_span *span = list;

		list = span->next;
		gy_page_heap_give(span);
	}
}

void gy_large_read_stats(struct gy_large_stats *stats)
{
	gy_lock_acquire(&large.lock);
	*stats = large.stats;
	gy_lock_release(&large.lock);
}

void gy_large_lock(void)
{
	gy_lock_acquire(&large.lock);
}

void gy_large_unlock(void)
{
	gy_lock_release(&large.lock);
}

void gy_large_fork_child(void)
{
	gy_lock_init(&large.lock, GY_RANK_large);
}
