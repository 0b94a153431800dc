/* large.c - blocks of whole pages.
 *
 * Programs that allocate buffers do so again and again in the same few sizes. So freed spans are
 * kept, by exact length, last in first out, and serve the next request of that length:
 *
 *   a thread's own   up to OWN_KEEP pages, spans of up to GY_LARGE_OWN_PAGES: no lock, no atomic.
 *                    (A locked instruction waits for all writes before it, and what a program
 *                    does with a fresh buffer is to write to it.)
 *   common           up to KEEP_MOST pages, spans of up to GY_LARGE_KEEP_PAGES; spans of one length
 *                    move between a thread and here several at a time
 *   page heap        the rest. Its lists, bitmaps and side arrays are touched only here.
 *
 * LARGE-1  A kept span has kind GY_SPAN_NONE, so a second free finds no block there. Two threads
 *          that free one block at the same instant may both pass, as with small blocks (HEAP-1);
 *          then the span is kept twice, and found out when it is taken for the second time.
 * LARGE-2  kept[n] holds spans of n pages exactly; kept_pages is their sum.
 * LARGE-3  The counters are of blocks that the program has; what is kept is counted apart. A thread
 *          counts for itself and adds up whenever it comes here anyway.
 * LARGE-4  out + kept <= peak: what is kept in common never takes more memory than the program and
 *          its threads had at once a while ago. So keeping does not raise a program's peak: a
 *          request that nothing kept serves first sends others home, whose pages then serve it.
 *
 * LARGE-5  A span is kept only if its length was asked for lately: less than SOON pages were taken
 *          since, in all lengths. A program whose lengths are all different gains nothing from
 *          keeping; its spans go where they can be cut and joined.
 * LARGE-6  Lengths are rounded up to eight steps a doubling (gy_large_round_up), so that requests
 *          of nearly one length share what is kept. Nobody touches the pages behind a request.
 *
 * What is kept here ages (gy_large_drain), a sleeping thread's own is taken back with its cache
 * (mutator/idle.c), and all goes home when memory is short.
 *
 * One lock, large, outside of the page heap's.
 */
#include "heap/large.h"

#include "heap/misuse.h"
#include "heap/thread_cache.h"
#include "os/lock.h"

#define KEEP_MOST (((size_t)16 << 20) / GY_PAGE_BYTES)
#define OWN_KEEP (((size_t)1 << 20) / GY_PAGE_BYTES)
#define SOON (((size_t)4 << 20) / GY_PAGE_BYTES) /* LARGE-5 */
#define PEAK_DECAY 8 /* an eighth of what peak exceeds `out` by, at each look */

static struct {
	struct gy_lock lock;
	struct gy_span *kept[GY_LARGE_KEEP_PAGES + 1];   /* LARGE-2 */
	uint64_t kept_map[GY_LARGE_KEEP_PAGES / 64 + 1]; /* which lengths are kept */
	unsigned evict_at;                               /* which length goes next */
	uint64_t out_pages;                              /* in large spans that are not kept here */
	uint64_t peak_pages;                             /* LARGE-4 */
	struct gy_large_demand demand;
	struct gy_large_stats stats;
} large = {.lock = GY_LOCK_INIT(GY_RANK_large)};

/* ------------------------------------------------------------------ kept in common */

/* All here: [lock: large] */

static void note_demand(struct gy_large_demand *demand, size_t pages)
{
	demand->taken_pages += (uint32_t)pages;
	demand->last[pages] = demand->taken_pages;
}

static bool is_wanted(const struct gy_large_demand *demand, size_t pages)
{
	return demand->taken_pages - demand->last[pages] <= SOON;
}

static struct gy_span *pop_kept(size_t pages)
{
	struct gy_span *span = large.kept[pages];

	if (span) {
		WRITE_RELAXED(large.kept[pages], span->next);
		if (!span->next)
			gy_bit_clear(large.kept_map, (unsigned)pages);
		large.stats.kept_pages -= pages;
	}
	return span;
}

/* LARGE-4, before `pages` more leave the page heap: lengths take turns to go there. */
static void make_room(size_t pages)
{
	const unsigned end = GY_LARGE_KEEP_PAGES + 1;

	large.out_pages += pages;
	while (large.stats.kept_pages &&
	       large.out_pages + large.stats.kept_pages > large.peak_pages) {
		large.evict_at = gy_bit_next(large.kept_map, end, large.evict_at + 1, true);
		if (large.evict_at == end)
			large.evict_at = gy_bit_next(large.kept_map, end, 0, true);
		gy_page_heap_give(pop_kept(large.evict_at));
	}
	large.peak_pages = MAX(large.peak_pages, large.out_pages);
}

/* A span that is no block any more. */
static void give_common(struct gy_span *span)
{
	size_t pages = span->pages;

	large.out_pages -= pages;
	if (pages > GY_LARGE_KEEP_PAGES || !is_wanted(&large.demand, pages) ||
	    large.stats.kept_pages + pages > MIN(KEEP_MOST, large.peak_pages - large.out_pages)) {
		gy_page_heap_give(span);
		return;
	}
	span->tick = READ_RELAXED(gy_heap_tick);
	span->next = large.kept[pages];
	WRITE_RELAXED(large.kept[pages], span);
	gy_bit_set(large.kept_map, (unsigned)pages);
	large.stats.kept_pages += pages;
}

static void count(int64_t pages, int64_t blocks, uint64_t mallocs)
{
	large.stats.pages += (uint64_t)pages;
	large.stats.blocks += (uint64_t)blocks;
	large.stats.mallocs += mallocs;
}

static void add_up(struct gy_large_own *own)
{
	count(own->pages, own->blocks, own->mallocs);
	WRITE_RELAXED(own->pages, 0);
	WRITE_RELAXED(own->blocks, 0);
	WRITE_RELAXED(own->mallocs, 0);
}

/* ------------------------------------------------------------------ a thread's own */

static void own_count(struct gy_large_own *own, int64_t pages)
{
	WRITE_RELAXED(own->pages, own->pages + pages);
	WRITE_RELAXED(own->blocks, own->blocks + (pages > 0 ? 1 : -1));
	WRITE_RELAXED(own->mallocs, own->mallocs + (pages > 0 ? 1 : 0));
}

static void own_push(struct gy_large_own *own, struct gy_span *span)
{
	span->next = own->kept[span->pages];
	own->kept[span->pages] = span;
	own->kept_map |= 1ull << (span->pages - 1);
	WRITE_RELAXED(own->kept_pages, own->kept_pages + span->pages);
}

static struct gy_span *own_pop(struct gy_large_own *own, size_t pages)
{
	struct gy_span *span = own->kept[pages];

	if (!span)
		return NULL;
	WRITE_RELAXED(own->kept_pages, own->kept_pages - (uint32_t)pages);
	if (unlikely(READ_RELAXED(span->kind) != GY_SPAN_NONE || span->pages != pages)) {
		/* LARGE-1; the rest of the list cannot be trusted. */
		own->kept[pages] = NULL;
		own->kept_map &= ~(1ull << (pages - 1));
		gy_misuse(GY_MISUSE_DOUBLE_FREE, gy_span_start(span), 0, 0, "free", 0);
		return NULL;
	}
	own->kept[pages] = span->next;
	if (!span->next)
		own->kept_map &= ~(1ull << (pages - 1));
	return span;
}

/* An empty list of this length: some from the common one, in their order: what was in use last may
 * still be in the processor's cache. */
static void own_refill(struct gy_large_own *own, size_t pages)
{
	struct gy_span *taken = NULL;
	size_t most = MAX(OWN_KEEP / 2, pages);

	gy_lock_acquire(&large.lock);
	add_up(own);
	note_demand(&large.demand, pages);
	for (size_t sum = pages; sum <= most; sum += pages) {
		struct gy_span *span = pop_kept(pages);

		if (!span)
			break;
		large.out_pages += pages;
		span->next = taken;
		taken = span;
	}
	gy_lock_release(&large.lock);
	while (taken) {
		struct gy_span *span = taken;

		taken = span->next;
		own_push(own, span);
	}
}

/* Takes the older part of a list, behind the first `keep`, away; the oldest comes first. */
static struct gy_span *own_cut(struct gy_large_own *own, size_t pages, unsigned keep)
{
	struct gy_span **link = &own->kept[pages], *span, *cut = NULL;

	while (*link && keep--)
		link = &(*link)->next;
	span = *link;
	*link = NULL;
	if (!own->kept[pages])
		own->kept_map &= ~(1ull << (pages - 1));
	while (span) {
		struct gy_span *next = span->next;

		WRITE_RELAXED(own->kept_pages, own->kept_pages - (uint32_t)pages);
		span->next = cut;
		cut = span;
		span = next;
	}
	return cut;
}

/* Keeps at most `most` pages: half of what it has of this length, then none of others in turn. */
static void own_shrink(struct gy_large_own *own, size_t most, size_t pages)
{
	unsigned keep = (unsigned)(most / 2 / pages);

	gy_lock_acquire(&large.lock);
	add_up(own);
	for (;;) {
		struct gy_span *span = own_cut(own, pages, keep);
		uint64_t above;

		while (span) {
			struct gy_span *next = span->next;

			give_common(span);
			span = next;
		}
		if (own->kept_pages <= most || !own->kept_map)
			break;
		/* The next length that it has; shifted twice, for `pages` may be all 64. */
		above = own->kept_map >> (pages - 1) >> 1;
		pages = above ? pages + 1 + (unsigned)__builtin_ctzll(above)
			      : 1 + (unsigned)__builtin_ctzll(own->kept_map);
		keep = 0;
	}
	gy_lock_release(&large.lock);
}

void gy_large_give_own(struct gy_large_own *own)
{
	if (own->kept_pages || own->pages || own->blocks || own->mallocs)
		own_shrink(own, 0, 1);
}

void gy_large_count_lost(const struct gy_large_own *own)
{
	count(own->pages, own->blocks, own->mallocs);
}

/* ------------------------------------------------------------------ take, give */

struct gy_span *gy_large_take_own(struct gy_large_own *own, size_t pages)
{
	struct gy_span *span = own_pop(own, pages);

	if (span) {
		note_demand(&own->demand, pages);
		own_count(own, (int64_t)pages);
	}
	return span;
}

static struct gy_span *take_own(size_t pages)
{
	struct gy_thread_cache *cache = gy_thread_cache_begin();
	struct gy_span *span;

	if (cache == GY_NO_CACHE)
		return NULL;
	note_demand(&cache->large.demand, pages);
	span = own_pop(&cache->large, pages);
	if (!span && READ_RELAXED(large.kept[pages])) {
		own_refill(&cache->large, pages);
		span = own_pop(&cache->large, pages);
	}
	if (span)
		own_count(&cache->large, (int64_t)pages);
	gy_thread_cache_end(cache);
	return span;
}

static struct gy_span *take_common(size_t pages, size_t alignment_pages, bool sampled, bool *zeroed,
				   enum gy_oom_reason *reason)
{
	struct gy_span *span = NULL;

	gy_lock_acquire(&large.lock);
	if (pages <= GY_LARGE_KEEP_PAGES && alignment_pages == 1) {
		note_demand(&large.demand, pages);
		span = pop_kept(pages);
	}
	if (span)
		large.out_pages += pages;
	else
		make_room(pages);
	count((int64_t)pages, 1, 1);
	gy_lock_release(&large.lock);
	if (span)
		return span;
	span = gy_page_heap_take(pages, alignment_pages, 0, sampled, zeroed, reason);
	if (!span) {
		gy_lock_acquire(&large.lock);
		large.out_pages -= pages;
		count(-(int64_t)pages, -1, 0);
		large.stats.mallocs--;
		gy_lock_release(&large.lock);
	}
	return span;
}

/* Memory lacks: the caller will try again once the common lists have gone home. */
GY_COLD static void give_all_own(void)
{
	struct gy_thread_cache *cache = gy_thread_cache_begin();

	if (cache != GY_NO_CACHE)
		gy_large_give_own(&cache->large);
	gy_thread_cache_end(cache);
}

struct gy_span *gy_large_take(size_t pages, size_t alignment_pages, bool sampled, bool *zeroed,
			      enum gy_oom_reason *reason)
{
	struct gy_span *span = NULL;

	*zeroed = false;
	if (pages <= GY_LARGE_OWN_PAGES && alignment_pages == 1)
		span = take_own(pages);
	if (!span)
		span = take_common(pages, alignment_pages, sampled, zeroed, reason);
	if (!span)
		give_all_own();
	if (span && READ_RELAXED(span->kind) == GY_SPAN_NONE) { /* it was kept */
		WRITE_RELAXED(span->sampled, sampled);
		__atomic_store_n(&span->kind, GY_SPAN_LARGE, __ATOMIC_RELEASE);
	}
	return span;
}

bool gy_large_keep(struct gy_large_own *own, struct gy_span *span)
{
	if (span->pages > GY_LARGE_OWN_PAGES || !is_wanted(&own->demand, span->pages))
		return false;
	WRITE_RELAXED(span->kind, GY_SPAN_NONE); /* LARGE-1 */
	if (own->kept_pages + span->pages > OWN_KEEP)
		own_shrink(own, OWN_KEEP / 2, span->pages);
	own_count(own, -(int64_t)span->pages);
	own_push(own, span);
	return true;
}

static bool give_own(struct gy_span *span)
{
	struct gy_thread_cache *cache = gy_thread_cache_begin();
	bool kept = cache != GY_NO_CACHE && gy_large_keep(&cache->large, span);

	gy_thread_cache_end(cache);
	return kept;
}

bool gy_large_give(struct gy_span *span)
{
	if (READ_RELAXED(span->kind) != GY_SPAN_LARGE)
		return false;
	if (give_own(span))
		return true;
	WRITE_RELAXED(span->kind, GY_SPAN_NONE); /* LARGE-1 */
	gy_lock_acquire(&large.lock);
	count(-(int64_t)span->pages, -1, 0);
	give_common(span);
	gy_lock_release(&large.lock);
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
	large.out_pages += pages - before;
	large.peak_pages = MAX(large.peak_pages, large.out_pages);
	count((int64_t)pages - (int64_t)before, 0, 0);
	gy_lock_release(&large.lock);
	return true;
}

void gy_large_drain(uint32_t before)
{
	struct gy_span *list = NULL;

	gy_lock_acquire(&large.lock);
	for (unsigned pages = 1; pages <= GY_LARGE_KEEP_PAGES && large.stats.kept_pages; pages++) {
		struct gy_span **link = &large.kept[pages];

		while (*link) {
			struct gy_span *span = *link;

			if (before && (int32_t)(span->tick - before) >= 0) {
				link = &span->next;
				continue;
			}
			WRITE_RELAXED(*link, span->next);
			if (!large.kept[pages])
				gy_bit_clear(large.kept_map, pages);
			large.stats.kept_pages -= pages;
			span->next = list;
			list = span;
		}
	}
	large.peak_pages -= (large.peak_pages - large.out_pages) / PEAK_DECAY;
	large.peak_pages = MAX(large.peak_pages, large.out_pages + large.stats.kept_pages);
	gy_lock_release(&large.lock);
	while (list) {
		struct gy_span *span = list;

		list = span->next;
		gy_page_heap_give(span);
	}
}

/* ------------------------------------------------------------------ the rest */

/* Threads count on meanwhile: at rest the sums are exact (STATS-1). [lock: registry] */
GY_RACY_READER static void add_own(struct gy_large_stats *stats)
{
	for (const struct gy_thread_cache *cache = gy_registry.first; cache; cache = cache->next) {
		const struct gy_large_own *own = &cache->large;

		stats->pages += (uint64_t)READ_RELAXED(own->pages);
		stats->blocks += (uint64_t)READ_RELAXED(own->blocks);
		stats->mallocs += READ_RELAXED(own->mallocs);
		stats->kept_pages += READ_RELAXED(own->kept_pages);
	}
}

void gy_large_read_stats(struct gy_large_stats *stats)
{
	gy_lock_acquire(&gy_registry.lock);
	gy_lock_acquire(&large.lock);
	*stats = large.stats;
	add_own(stats);
	gy_lock_release(&large.lock);
	gy_lock_release(&gy_registry.lock);
	if ((int64_t)stats->pages < 0)
		stats->pages = 0;
	stats->blocks = (int64_t)stats->blocks < 0 ? 0 : MIN(stats->blocks, stats->mallocs);
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
