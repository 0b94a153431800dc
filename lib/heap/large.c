/* large.c - blocks of whole pages.
 *
 * Programs that allocate buffers do so again and again in the same few sizes. So freed spans are
 * kept, by exact length, last in first out, and serve the next request of that length:
 *
 *   a thread's own   1 MiB, or as much as LARGE-7 says: no lock, no atomic. (A locked instruction
 *                    waits for all writes before it, and what a program does with a fresh buffer
 *                    is to write to it.)
 *   common           up to KEEP_MOST pages; spans of one length move between a thread and here
 *                    several at a time
 *   page heap        the rest. Its lists, bitmaps and side arrays are touched only here.
 *
 * Kept are spans of up to GY_LARGE_KEEP_PAGES. The common end of all this, a length that the thread
 * has kept itself, stands in large.h and heap.c (large_kept, large_free_kept).
 *
 * LARGE-1  A kept span has kind GY_SPAN_NONE, so a second free finds no block there. Two threads
 *          that free one block at the same instant may both pass, as with small blocks (HEAP-1);
 *          then the span is kept twice, and found out when it is taken for the second time.
 * LARGE-2  kept[i] holds spans of length i exactly; kept_pages is their sum. A request of more than
 *          16 pages is also served by one of the next two lengths, at most a quarter longer.
 * LARGE-3  The counters are of blocks that the program has; what is kept is counted apart. A thread
 *          counts for itself and adds up whenever it comes here anyway.
 * LARGE-4  out + kept <= peak: what is kept in common never takes more memory than the program and
 *          its threads had at once a while ago. So keeping does not raise a program's peak: a
 *          request that nothing kept serves first sends others home, whose pages then serve it.
 * LARGE-5  A span is kept only if its length was asked for lately: less than SOON pages were taken
 *          since, in all lengths. A program whose lengths are all different gains nothing from
 *          keeping; its spans go where they can be cut and joined.
 * LARGE-6  Lengths are rounded up to eight steps a doubling (gy_large_round_up), so that requests
 *          of nearly one length share what is kept. Nobody touches the pages behind a request.
 *          Spans of other lengths (aligned ones, resized ones) are not kept.
 * LARGE-7  The same as LARGE-4 for one thread: past OWN_LEAST it keeps no more than what it has
 *          given back of what it had at once lately, and no more than its share of what all threads
 *          may cache. `out` is what it took less what it gave, never below 0: one that frees what
 *          others took has OWN_LEAST.
 *
 * LARGE-8  What a thread keeps is within its room_pages, which are part of what all caches together
 *          may hold (CACHE-7); where that has no room, it keeps nothing.
 *
 * What is kept here ages (gy_large_drain); a sleeping thread's own is taken back with its cache
 * (mutator/idle.c), and one that has turned to other things gives its own back (gy_large_look_own).
 * All goes home when memory is short.
 *
 * One lock, large, outside of the page heap's.
 */
#include "heap/large.h"

#include "base/config.h"
#include "heap/misuse.h"
#include "heap/thread_cache.h"
#include "os/lock.h"

#define KEEP_MOST (((size_t)64 << 20) / GY_PAGE_BYTES)
#define OWN_LEAST (((size_t)1 << 20) / GY_PAGE_BYTES)
#define SOON (((size_t)8 << 20) / GY_PAGE_BYTES) /* LARGE-5 */
#define PEAK_DECAY 8 /* an eighth of what peak exceeds `out` by, at each look */
#define LOOK_TICKS (1000 / GY_TICK_MS)
#define NO_LENGTH GY_LARGE_LENGTHS

static struct {
	struct gy_lock lock;
	struct gy_span *kept[GY_LARGE_LENGTHS]; /* LARGE-2 */
	uint64_t kept_map;                      /* which lengths are kept */
	unsigned evict_at;                      /* which length goes next */
	uint64_t out_pages;                     /* in large spans that are not kept here */
	uint64_t peak_pages;                    /* LARGE-4 */
	struct gy_large_demand demand;
	struct gy_large_stats stats;
} large = {.lock = GY_LOCK_INIT(GY_RANK_large)};

static bool is_wanted(const struct gy_large_demand *demand, unsigned index)
{
	return demand->taken_pages - demand->last[index] <= SOON;
}

/* The length among those of `map` that serves a request of length `index`, or NO_LENGTH: its own,
 * or one that is at most two steps longer (LARGE-2). */
static unsigned length_for(uint64_t map, unsigned index)
{
	uint64_t fitting = map >> index;
	unsigned steps;

	if (!fitting)
		return NO_LENGTH;
	steps = (unsigned)__builtin_ctzll(fitting);
	return steps <= (index < 16 ? 0 : 2) ? index + steps : NO_LENGTH;
}

/* Which length a span has; NO_LENGTH: none that is kept. */
static unsigned index_of(const struct gy_span *span)
{
	unsigned index;

	if (span->pages > GY_LARGE_KEEP_PAGES)
		return NO_LENGTH;
	index = gy_large_index(span->pages);
	return gy_large_length(index) == span->pages ? index : NO_LENGTH;
}

/* ------------------------------------------------------------------ kept in common */

/* All here: [lock: large] */

static struct gy_span *pop_kept(unsigned index)
{
	struct gy_span *span = large.kept[index];

	if (span) {
		large.kept[index] = span->next;
		if (!span->next)
			WRITE_RELAXED(large.kept_map, large.kept_map & ~(1ull << index));
		large.stats.kept_pages -= span->pages;
	}
	return span;
}

/* LARGE-4, before `pages` more leave the page heap: lengths take turns to go there. */
static void make_room(size_t pages)
{
	large.out_pages += pages;
	while (large.stats.kept_pages &&
	       large.out_pages + large.stats.kept_pages > large.peak_pages) {
		uint64_t above = large.kept_map >> large.evict_at >> 1;

		large.evict_at = above ? large.evict_at + 1 + (unsigned)__builtin_ctzll(above)
				       : (unsigned)__builtin_ctzll(large.kept_map);
		gy_page_heap_give(pop_kept(large.evict_at));
	}
	large.peak_pages = MAX(large.peak_pages, large.out_pages);
}

/* A span that is no block any more. */
static void give_common(struct gy_span *span)
{
	size_t pages = span->pages;
	unsigned index = index_of(span);

	large.out_pages -= pages;
	if (index == NO_LENGTH || !is_wanted(&large.demand, index) ||
	    large.stats.kept_pages + pages > MIN(KEEP_MOST, large.peak_pages - large.out_pages)) {
		gy_page_heap_give(span);
		return;
	}
	span->tick = READ_RELAXED(gy_heap_tick);
	span->next = large.kept[index];
	large.kept[index] = span;
	WRITE_RELAXED(large.kept_map, large.kept_map | 1ull << index);
	large.stats.kept_pages += pages;
}

static void count(int64_t pages, uint64_t mallocs, uint64_t frees)
{
	large.stats.pages += (uint64_t)pages;
	large.stats.blocks += mallocs - frees;
	large.stats.mallocs += mallocs;
}

/* A thread's counts; and what it had at once (LARGE-7). */
static void add_up(struct gy_large_own *own)
{
	uint32_t tick = READ_RELAXED(gy_heap_tick);

	count(own->pages, own->mallocs, own->frees);
	WRITE_RELAXED(own->pages, 0);
	WRITE_RELAXED(own->mallocs, 0);
	WRITE_RELAXED(own->frees, 0);
	own->out_pages = MAX(own->out_pages, 0);
	if (own->peak_tick != tick && own->peak_pages > own->out_pages)
		own->peak_pages -= (own->peak_pages - own->out_pages) / PEAK_DECAY;
	own->peak_tick = tick;
	own->peak_pages = MAX(own->peak_pages, own->out_pages);
}

/* ------------------------------------------------------------------ a thread's own */

static void own_count_take(struct gy_large_own *own, size_t pages)
{
	WRITE_RELAXED(own->pages, own->pages + (int64_t)pages);
	WRITE_RELAXED(own->mallocs, own->mallocs + 1);
	own->out_pages += (int64_t)pages;
}

static void own_count_give(struct gy_large_own *own, size_t pages)
{
	WRITE_RELAXED(own->pages, own->pages - (int64_t)pages);
	WRITE_RELAXED(own->frees, own->frees + 1);
	own->out_pages -= (int64_t)pages;
}

static void own_push(struct gy_large_own *own, struct gy_span *span, unsigned index)
{
	span->next = own->kept[index];
	own->kept[index] = span;
	own->kept_map |= 1ull << index;
	WRITE_RELAXED(own->kept_pages, own->kept_pages + span->pages);
}

/* LARGE-1: it is taken for the second time. The rest of the list cannot be trusted. */
GY_COLD static void own_doubled(struct gy_large_own *own, unsigned index, struct gy_span *span)
{
	own->kept[index] = NULL;
	own->kept_map &= ~(1ull << index);
	gy_misuse(GY_MISUSE_DOUBLE_FREE, gy_span_start(span), 0, 0, "free", 0);
}

static struct gy_span *own_pop(struct gy_large_own *own, unsigned index)
{
	struct gy_span *span = own->kept[index];
	size_t pages = gy_large_length(index);

	if (!span)
		return NULL;
	WRITE_RELAXED(own->kept_pages, own->kept_pages - (uint32_t)pages);
	if (unlikely(READ_RELAXED(span->kind) != GY_SPAN_NONE || span->pages != pages)) {
		own_doubled(own, index, span);
		return NULL;
	}
	own->kept[index] = span->next;
	if (!span->next)
		own->kept_map &= ~(1ull << index);
	return span;
}

/* LARGE-7, when the thread has given `given` pages more than it has counted. */
static size_t own_room(const struct gy_large_own *own, size_t given)
{
	uint64_t threads = MAX(READ_RELAXED(gy_registry.count), 1);
	uint64_t most = MIN(4 * gy_option(GY_OPT_thread_cache),
			    gy_option(GY_OPT_thread_caches) / 2 / threads);
	int64_t lately = own->peak_pages - MAX(own->out_pages - (int64_t)given, 0);

	return lately <= (int64_t)OWN_LEAST
		       ? OWN_LEAST
		       : MAX(OWN_LEAST, MIN((uint64_t)lately, most >> GY_PAGE_SHIFT));
}

/* LARGE-8. It grows by doubling: a thread takes no more of the sum than it has a use for. */
static void own_widen(struct gy_large_own *own, size_t pages, size_t most)
{
	size_t needed = own->kept_pages + pages, room = own->room_pages;

	if (needed > most || needed <= room)
		return;
	room = MIN(most, MAX(needed, 2 * room));
	if (gy_cache_room_take((uint64_t)(room - own->room_pages) << GY_PAGE_SHIFT))
		WRITE_RELAXED(own->room_pages, (uint32_t)room);
}

/* Nothing of this length: some from the common list, in their order: what was in use last may
 * still be in the processor's cache. */
static void own_refill(struct gy_large_own *own, unsigned index)
{
	struct gy_span *taken = NULL;
	size_t pages = gy_large_length(index), most;

	most = own_room(own, 0);
	own_widen(own, MAX(OWN_LEAST / 8, pages), most);
	gy_lock_acquire(&large.lock);
	add_up(own);
	gy_large_note_demand(&large.demand, index);
	most = MAX(most / 4, MAX(OWN_LEAST / 2, pages));
	most = MIN(most, own->room_pages - MIN(own->room_pages, own->kept_pages));
	most = MAX(most, pages); /* which does not stay */
	for (size_t sum = pages; sum <= most; sum += pages) {
		struct gy_span *span = pop_kept(index);

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
		own_push(own, span, index);
	}
}

/* Takes the older part of a list, behind the first `keep`, away; the oldest comes first. */
static struct gy_span *own_cut(struct gy_large_own *own, unsigned index, unsigned keep)
{
	struct gy_span **link = &own->kept[index], *span, *cut = NULL;

	while (*link && keep--)
		link = &(*link)->next;
	span = *link;
	*link = NULL;
	if (!own->kept[index])
		own->kept_map &= ~(1ull << index);
	while (span) {
		struct gy_span *next = span->next;

		WRITE_RELAXED(own->kept_pages, own->kept_pages - span->pages);
		span->next = cut;
		cut = span;
		span = next;
	}
	return cut;
}

/* Keeps at most `most` pages: half of what it has of this length, then none of others in turn. */
static void own_shrink(struct gy_large_own *own, size_t most, unsigned index)
{
	unsigned keep = (unsigned)(most / 2 / gy_large_length(index));

	gy_lock_acquire(&large.lock);
	add_up(own);
	for (;;) {
		struct gy_span *span = own_cut(own, index, keep);
		uint64_t above;

		while (span) {
			struct gy_span *next = span->next;

			give_common(span);
			span = next;
		}
		if (own->kept_pages <= most || !own->kept_map)
			break;
		/* The next length that it has. */
		above = own->kept_map >> index >> 1;
		index = above ? index + 1 + (unsigned)__builtin_ctzll(above)
			      : (unsigned)__builtin_ctzll(own->kept_map);
		keep = 0;
	}
	gy_lock_release(&large.lock);
}

static void own_narrow(struct gy_large_own *own, size_t room)
{
	if (room >= own->room_pages)
		return;
	gy_cache_room_give((uint64_t)(own->room_pages - room) << GY_PAGE_SHIFT);
	WRITE_RELAXED(own->room_pages, (uint32_t)room);
}

/* It is full: may it keep more (LARGE-7)? Else half goes. false: not even this one may stay. */
static bool own_overflow(struct gy_large_own *own, size_t pages, unsigned index)
{
	size_t most = own_room(own, pages);

	own_widen(own, pages, most);
	if (own->kept_pages + pages > own->room_pages) {
		most = MIN(most, own->room_pages);
		own_shrink(own, most / 2, index);
		own_narrow(own, most);
	}
	return own->kept_pages + pages <= own->room_pages;
}

void gy_large_give_own(struct gy_large_own *own)
{
	if (own->kept_pages || own->pages || own->mallocs || own->frees)
		own_shrink(own, 0, 0);
	own_narrow(own, 0);
}

void gy_large_look_own(struct gy_large_own *own)
{
	uint32_t tick = READ_RELAXED(gy_heap_tick);

	if (tick - own->seen_tick < LOOK_TICKS)
		return;
	if (own->kept_pages && own->seen_taken == own->demand.taken_pages)
		gy_large_give_own(own);
	own->seen_tick = tick;
	own->seen_taken = own->demand.taken_pages;
}

void gy_large_count_lost(const struct gy_large_own *own)
{
	count(own->pages, own->mallocs, own->frees);
}

/* ------------------------------------------------------------------ take, give */

/* What the thread has itself, or gets from the common lists. */
static struct gy_span *take_kept(struct gy_large_own *own, unsigned index)
{
	unsigned length = length_for(own->kept_map, index);
	struct gy_span *span;

	gy_large_note_demand(&own->demand, index);
	if (length == NO_LENGTH) {
		/* LARGE-7: what it keeps of other lengths is not to stand beside this. */
		if (own->kept_pages > OWN_LEAST && own->kept_pages > own_room(own, 0))
			own_shrink(own, OWN_LEAST / 2, index);
		length = length_for(READ_RELAXED(large.kept_map), index);
		if (length == NO_LENGTH)
			return NULL;
		own_refill(own, length);
	}
	span = own_pop(own, length);
	if (span)
		own_count_take(own, span->pages);
	return span;
}

static struct gy_span *take_home(struct gy_large_own *own, size_t pages, size_t alignment_pages,
				 bool sampled, bool *zeroed, enum gy_oom_reason *reason)
{
	struct gy_span *span;

	gy_lock_acquire(&large.lock);
	if (pages <= GY_LARGE_KEEP_PAGES && alignment_pages == 1)
		gy_large_note_demand(&large.demand, gy_large_index(pages));
	make_room(pages);
	if (own) {
		own->out_pages += (int64_t)pages;
		add_up(own);
	}
	count((int64_t)pages, 1, 0);
	gy_lock_release(&large.lock);
	span = gy_page_heap_take(pages, alignment_pages, 0, sampled, zeroed, reason);
	if (!span) {
		gy_lock_acquire(&large.lock);
		large.out_pages -= pages;
		count(-(int64_t)pages, 0, 1);
		large.stats.mallocs--;
		gy_lock_release(&large.lock);
		/* The caller will try again once the common lists have gone home. */
		if (own) {
			own->out_pages -= (int64_t)pages;
			gy_large_give_own(own);
		}
	}
	return span;
}

struct gy_span *gy_large_take(size_t pages, size_t alignment_pages, bool sampled, bool *zeroed,
			      enum gy_oom_reason *reason)
{
	struct gy_thread_cache *cache = gy_thread_cache_begin();
	struct gy_large_own *own = cache == GY_NO_CACHE ? NULL : &cache->large;
	struct gy_span *span = NULL;

	*zeroed = false;
	if (own && pages <= GY_LARGE_KEEP_PAGES && alignment_pages == 1)
		span = take_kept(own, gy_large_index(pages));
	if (span) {
		WRITE_RELAXED(span->sampled, sampled);
		__atomic_store_n(&span->kind, GY_SPAN_LARGE, __ATOMIC_RELEASE);
	} else {
		if (alignment_pages == 1)
			pages = gy_large_round_up(pages);
		span = take_home(own, pages, alignment_pages, sampled, zeroed, reason);
	}
	gy_thread_cache_end(cache);
	return span;
}

bool gy_large_keep(struct gy_large_own *own, struct gy_span *span)
{
	unsigned index = index_of(span);

	if (index == NO_LENGTH || !is_wanted(&own->demand, index))
		return false;
	if (unlikely(own->kept_pages + span->pages > own->room_pages) &&
	    !own_overflow(own, span->pages, index))
		return false;
	WRITE_RELAXED(span->kind, GY_SPAN_NONE); /* LARGE-1 */
	own_count_give(own, span->pages);
	own_push(own, span, index);
	return true;
}

bool gy_large_give(struct gy_span *span)
{
	struct gy_thread_cache *cache;
	bool kept = false;

	if (READ_RELAXED(span->kind) != GY_SPAN_LARGE)
		return false;
	cache = gy_thread_cache_begin();
	if (cache != GY_NO_CACHE) {
		kept = gy_large_keep(&cache->large, span);
		if (!kept)
			cache->large.out_pages -= span->pages;
	}
	gy_thread_cache_end(cache);
	if (kept)
		return true;
	WRITE_RELAXED(span->kind, GY_SPAN_NONE); /* LARGE-1 */
	gy_lock_acquire(&large.lock);
	count(-(int64_t)span->pages, 0, 1);
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
	for (unsigned i = 0; i < GY_LARGE_LENGTHS && large.stats.kept_pages; i++) {
		struct gy_span **link = &large.kept[i];

		while (*link) {
			struct gy_span *span = *link;

			if (before && (int32_t)(span->tick - before) >= 0) {
				link = &span->next;
				continue;
			}
			*link = span->next;
			if (!large.kept[i])
				WRITE_RELAXED(large.kept_map, large.kept_map & ~(1ull << i));
			large.stats.kept_pages -= span->pages;
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
		stats->blocks += READ_RELAXED(own->mallocs) - READ_RELAXED(own->frees);
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
