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
 * POOL-3  The first write into a huge page makes the kernel clear 2 MiB: no stop should have to
 *         wait for that, and no two threads should come to it at once, for both would clear. So
 *         the first who takes pages of a bare huge page (HUGE-5) fills it by a write, in a blocking
 *         region and not while a stop is about to begin (os/long_call.h); the others wait for
 *         that, in blocking regions too; then only they use the pages. How long it took tells
 *         whether to go on so (HUGE-6).
 *         Callers hold nothing: they may be stopped.
 */
#include "gc/bin.h"

#include "base/config.h"
#include "mutator/world.h"
#include "os/long_call.h"
#include "os/sys.h"

#include <time.h>

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

static uint64_t thread_cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void touch_records(size_t page)
{
	__atomic_fetch_or(&gy_gc_bits[page].allocated[0], 0, __ATOMIC_RELAXED);
	__atomic_fetch_or(&gy_gc_pages[page].marks[0], 0, __ATOMIC_RELAXED);
}

/* POOL-3; the records' huge pages along with it, if they are bare too. */
static void fill(const struct gy_span *span)
{
	size_t last = span->first_page | (GY_HUGEPAGE_PAGES - 1);

	*(volatile char *)gy_span_start(span) = 0;
	touch_records(span->first_page);
	if (last < READ_RELAXED(gy_gc_covered))
		touch_records(last);
}

static GY_NOINLINE void fill_or_wait(const struct gy_span *span, uint32_t *bare)
{
	struct gy_mutator *self = gy_mutator_self;
	uint32_t state = GY_HUGEPAGE_BARE;

	if (self)
		gy_blocking_begin(self);
	if (__atomic_compare_exchange_n(bare, &state, GY_HUGEPAGE_FILLING, false, __ATOMIC_ACQUIRE,
					__ATOMIC_ACQUIRE)) {
		uint64_t cpu_ns;

		gy_long_begin();
		cpu_ns = thread_cpu_ns();
		fill(span);
		cpu_ns = thread_cpu_ns() - cpu_ns;
		gy_long_end();
		gy_page_heap_filled(span->first_page / GY_HUGEPAGE_PAGES, cpu_ns);
		__atomic_store_n(bare, 0, __ATOMIC_RELEASE);
		gy_sys_futex_wake(bare, INT32_MAX, false);
	}
	while (__atomic_load_n(bare, __ATOMIC_ACQUIRE) == GY_HUGEPAGE_FILLING)
		gy_sys_futex_wait(bare, GY_HUGEPAGE_FILLING, NULL, false);
	if (self)
		gy_blocking_end(self);
}

uint32_t gy_pages_take(size_t pages, bool *zeroed)
{
	struct gy_span *span;
	uint32_t page = pages == 1 ? pool_take() : 0, *bare;

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
	bare = &gy_map.hugepages[span->first_page / GY_HUGEPAGE_PAGES].bare;
	if (unlikely(READ_RELAXED(*bare)))
		fill_or_wait(span, bare);
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
	for (size_t i = 0; i < gy_map.hugepage_count; i++)
		if (gy_map.hugepages[i].bare) /* who was filling it is not here */
			gy_map.hugepages[i].bare = GY_HUGEPAGE_BARE;
}
