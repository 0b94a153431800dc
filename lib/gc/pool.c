/* pool.c - pages for blocks: free ones kept at hand, all others the page heap's.
 *
 * Sweeping frees pages one by one, and threads want them one by one a moment later, for other bins
 * perhaps. So single pages wait in a list of our own, up to POOL_PAGES; the page heap, with its
 * best fit and its statistics, sees what is beyond that. What lies in the list untouched for as
 * long as idle memory may (option release_delay) goes on to the page heap, which gives it to the
 * kernel (heap/scavenger.c); so does all of it where memory lacks.
 *
 * POOL-1  A page in the pool is a whole span of one page, kind GY_BLOCK_NONE, covered by the
 *         records; it is linked by its record's `next`.
 * POOL-2  Page 0 of the heap is never a block: 0 means none in every list.
 */
#include "gc/bin.h"

#include "base/config.h"

#define POOL_PAGES 4096u /* 32 MiB */

static struct {
	struct gy_lock lock;
	uint32_t head;  /* [lock] */
	uint32_t count; /* [lock] read without */
	uint64_t moves; /* [lock] read without: pages that came and went */
	/* [background thread] */
	uint64_t moves_seen, since_ns;
} pool GY_ALIGNED(64) = {.lock = GY_LOCK_INIT(GY_RANK_pool)};

static uint32_t pool_take(void)
{
	uint32_t page;

	if (!READ_RELAXED(pool.head))
		return 0;
	gy_lock_acquire(&pool.lock);
	page = pool.head;
	if (page) {
		WRITE_RELAXED(pool.head, gy_gc_pages[page].next);
		WRITE_RELAXED(pool.count, pool.count - 1);
		WRITE_RELAXED(pool.moves, pool.moves + 1);
		__builtin_prefetch(&gy_gc_pages[pool.head], 1);
	}
	gy_lock_release(&pool.lock);
	return page;
}

static bool pool_give(uint32_t page)
{
	bool kept;

	gy_lock_acquire(&pool.lock);
	kept = pool.count < POOL_PAGES;
	if (kept) {
		gy_gc_pages[page].next = pool.head;
		WRITE_RELAXED(pool.head, page);
		WRITE_RELAXED(pool.count, pool.count + 1);
		WRITE_RELAXED(pool.moves, pool.moves + 1);
	}
	gy_lock_release(&pool.lock);
	return kept;
}

static struct gy_span *span_take(size_t pages, bool *zeroed)
{
	enum gy_oom_reason reason;
	struct gy_span *span =
		gy_page_heap_take(pages, 1, GY_CLASS_COLLECTED, false, zeroed, &reason);

	if (span || !READ_RELAXED(pool.count))
		return span;
	gy_pool_trim(0);
	return gy_page_heap_take(pages, 1, GY_CLASS_COLLECTED, false, zeroed, &reason);
}

uint32_t gy_pages_take(size_t pages, bool *zeroed)
{
	struct gy_span *span;
	uint32_t page = pages == 1 ? pool_take() : 0;

	*zeroed = false;
	if (page)
		return page;
	span = span_take(pages, zeroed);
	if (span && !span->first_page) { /* POOL-2: it stays taken, for ever */
		if (pages > 1)
			gy_page_heap_shrink(span, 1);
		span = span_take(pages, zeroed);
	}
	if (!span)
		return 0;
	if (!gy_records_cover(span->first_page + pages)) {
		gy_page_heap_give(span);
		return 0;
	}
	return span->first_page;
}

void gy_pages_give(uint32_t first_page, size_t pages)
{
	if (pages == 1 && pool_give(first_page))
		return;
	gy_page_heap_give(gy_span_of_page(first_page));
}

void gy_pool_trim(uint32_t keep)
{
	while (READ_RELAXED(pool.count) > keep) {
		uint32_t page = pool_take();

		if (!page)
			return;
		gy_page_heap_give(gy_span_of_page(page));
	}
}

void gy_space_trim(void)
{
	gy_pool_trim(0);
}

void gy_space_age(uint64_t now_ns)
{
	uint64_t moves = READ_RELAXED(pool.moves);

	if (moves != pool.moves_seen) {
		pool.moves_seen = moves;
		pool.since_ns = now_ns;
	} else if (READ_RELAXED(pool.count) &&
		   now_ns - pool.since_ns >= gy_option(GY_OPT_release_delay) * 1000000) {
		gy_pool_trim(0);
	}
}

uint32_t gy_pool_count(void)
{
	return READ_RELAXED(pool.count);
}

void gy_pool_lock(void)
{
	gy_lock_acquire(&pool.lock);
}

void gy_pool_unlock(void)
{
	gy_lock_release(&pool.lock);
}

void gy_pool_fork_child(void)
{
	gy_lock_init(&pool.lock, GY_RANK_pool);
}
