/* page_heap.c - pages: who has which.
 *
 * The range is a row of 2 MiB huge pages, each with a record of which of its 256 pages are used and
 * which the kernel has back. Small requests fill the fullest huge page that fits, so that others
 * become wholly free; whole free huge pages are what large blocks are made of and what goes back
 * to the kernel first.
 *
 *    |##.###..#|#########|.........|##.......|  #: used
 *     partial   full      free      partial
 *
 *   take(n < 256 pages)   the partial huge page with the shortest longest-free-run that is still n
 *                         (a good stand-in for "fullest", found by one bitmap search); among the
 *                         unbroken first; else a free huge page, backed before released; else grow.
 *   take(n >= 256)        the first run of free huge pages that holds n; what the last one has over
 *                         goes on being used for small requests.
 *   give                  clears the pages; a huge page with none used is free again.
 *   grow                  makes the next huge pages of the range usable, a few at a time.
 *   huge pages            are asked for when a free one begins to serve small blocks, which will touch
 *                         all of it; not among the first FIRST_PLAIN (a small process does not fault in
 *                         2 MiB to hold a few blocks), and not for large blocks, which programs
 *                         often leave mostly untouched.
 *
 * PAGE-1  Every page below gy_map.page_count is used by one span, in a release's hands (counted as
 *         used, no span), or free.
 * PAGE-2  partial[b][l] holds the partial huge pages with longest_free = l (l > 0) and broken = b;
 *         free[r] the free ones, r = 1 if wholly released. full ones are on no list.
 * PAGE-3  free_map has a bit for every free huge page, and no other.
 *
 * One lock, page_heap. It is held for some hundred nanoseconds, but for growing (mprotect). Large
 * blocks come here each time; small ones a span at a time.
 *
 * Memory limit: before pages that have no memory behind them are handed out, the limit (option
 * memory_limit, or the cgroup's) is asked; see limit_allows. RLIMIT_AS is honoured as if the heap
 * grew by mmap, although the range was reserved long before.
 *
 * Not here: when to give memory back (scavenger.c), blocks (central.c).
 * Sources: Hunter et al., Beyond malloc efficiency to fleet efficiency (OSDI 2021), for the filler;
 * Go's mpagealloc.go for the bitmaps.
 */
#include "heap/page_heap.h"

#include "base/config.h"
#include "base/probe.h"
#include "os/limits.h"
#include "os/lock.h"

#include <errno.h>
#include <string.h>

#define FIRST_PLAIN 64 /* huge pages at the heap's start that are not asked to be huge */
#define GROW_MAX 16   /* huge pages made usable at a time, at most */
#define DENSE_PAGES (GY_HUGEPAGE_PAGES / 16 * 15)
#define NONE 0u
#define LENGTHS (GY_HUGEPAGE_PAGES + 1)

static struct {
	struct gy_lock lock;
	uint32_t partial[2][LENGTHS];		      /* PAGE-2: index + 1 of the first */
	uint64_t partial_map[2][(LENGTHS + 63) / 64]; /* which lists hold one */
	uint32_t free[2];			      /* PAGE-2 */
	uint64_t *free_map;			      /* PAGE-3 */
	size_t free_map_words;
	struct gy_span *span_pool; /* unused records, by `next` */
	uint64_t in_hand_pages;	   /* PAGE-1 */
	uint64_t unchecked_pages;  /* handed out without memory since the limit was asked */
	struct gy_page_heap_stats stats;
} heap = { .lock = GY_LOCK_INIT(GY_RANK_page_heap) };

uint32_t gy_heap_tick;

/* ------------------------------------------------------------------ lists */

#define CHARGE_PAGES (GY_HUGEPAGE_PAGES / 2) /* the limit is asked once for so many */

static size_t index_of(const struct gy_hugepage *hugepage)
{
	return (size_t)(hugepage - gy_map.hugepages);
}

static uint32_t *list_of(const struct gy_hugepage *hugepage)
{
	if (hugepage->state == GY_HUGEPAGE_FREE)
		return &heap.free[hugepage->released_count == GY_HUGEPAGE_PAGES];
	return &heap.partial[hugepage->broken][hugepage->longest_free];
}

static void list_add(struct gy_hugepage *hugepage)
{
	uint32_t *head, self = (uint32_t)index_of(hugepage) + 1;

	if (hugepage->state == GY_HUGEPAGE_PARTIAL && !hugepage->longest_free)
		return;
	head = list_of(hugepage);
	hugepage->listed = 1;
	hugepage->prev = NONE;
	hugepage->next = *head;
	if (*head)
		gy_map.hugepages[*head - 1].prev = self;
	*head = self;
	if (hugepage->state == GY_HUGEPAGE_FREE)
		gy_bit_set(heap.free_map, self - 1);
	else
		gy_bit_set(heap.partial_map[hugepage->broken], hugepage->longest_free);
}

static void list_remove(struct gy_hugepage *hugepage)
{
	uint32_t *head;

	if (!hugepage->listed)
		return;
	head = list_of(hugepage);
	hugepage->listed = 0;
	if (hugepage->prev)
		gy_map.hugepages[hugepage->prev - 1].next = hugepage->next;
	else
		*head = hugepage->next;
	if (hugepage->next)
		gy_map.hugepages[hugepage->next - 1].prev = hugepage->prev;
	if (hugepage->state == GY_HUGEPAGE_FREE)
		gy_bit_clear(heap.free_map, (unsigned)index_of(hugepage));
	else if (!*head)
		gy_bit_clear(heap.partial_map[hugepage->broken], hugepage->longest_free);
}

static unsigned longest_run(const uint64_t *used)
{
	unsigned longest = 0, at = 0;

	for (;;) {
		unsigned begin = gy_bit_next(used, GY_HUGEPAGE_PAGES, at, false);

		if (begin + longest >= GY_HUGEPAGE_PAGES)
			return longest;
		at = gy_bit_next(used, GY_HUGEPAGE_PAGES, begin, true);
		longest = MAX(longest, at - begin);
	}
}

/* The free run that [first, first + count) lies in or, now free, has merged into. */
static unsigned run_around(const uint64_t *used, unsigned first, unsigned count)
{
	unsigned begin = first, end;

	while (begin && !gy_bit_get(used, begin - 1)) {
		uint64_t below = begin % 64 ? used[begin / 64] << (64 - begin % 64) :
					      used[begin / 64 - 1];

		begin -= below ? (unsigned)__builtin_clzll(below) :
				 (begin % 64 ? begin % 64 : 64);
	}
	end = gy_bit_next(used, GY_HUGEPAGE_PAGES, first + count, true);
	return end - begin;
}

/* ------------------------------------------------------- pages of one huge page */

static void forget_released(struct gy_hugepage *hugepage)
{
	if (!hugepage->released_count)
		return;
	heap.stats.released_pages -= hugepage->released_count;
	memset(hugepage->released, 0, sizeof(hugepage->released));
	hugepage->released_count = 0;
}

/* Marks [first, first + count) of a listed or unlisted huge page used; returns how many of them
 * had no memory behind them. */
static unsigned pages_use(struct gy_hugepage *hugepage, unsigned first, unsigned count)
{
	unsigned bare, run;

	INVARIANT(HUGE_1, gy_range_none(hugepage->used, first, count));
	list_remove(hugepage);
	bare = hugepage->released_count ? gy_range_count(hugepage->released, first, count) : 0;
	run = run_around(hugepage->used, first, count);
	gy_range_set(hugepage->used, first, count);
	if (bare)
		gy_range_clear(hugepage->released, first, count);
	if (hugepage->state == GY_HUGEPAGE_FREE) {
		hugepage->collapse_tried = 0;
		if (hugepage->released_count == GY_HUGEPAGE_PAGES) {
			hugepage->broken = 0;
			heap.stats.hugepages_released--;
		} else {
			heap.stats.hugepages_free--;
		}
	}
	hugepage->state = GY_HUGEPAGE_PARTIAL;
	hugepage->used_count = (uint16_t)(hugepage->used_count + count);
	hugepage->released_count = (uint16_t)(hugepage->released_count - bare);
	if (hugepage->advised)
		forget_released(hugepage); /* HUGE-4 */
	if (run == hugepage->longest_free) /* else the longest is another, and stays */
		hugepage->longest_free = (uint16_t)longest_run(hugepage->used);
	hugepage->tick = READ_RELAXED(gy_heap_tick);
	hugepage->scanned = 0;
	heap.stats.used_pages += count;
	heap.stats.released_pages -= bare;
	list_add(hugepage);
	return bare;
}

/* The converse; `released`: the kernel has them. */
static void pages_free(struct gy_hugepage *hugepage, unsigned first, unsigned count, bool released)
{
	INVARIANT(HUGE_1, gy_range_all(hugepage->used, first, count));
	list_remove(hugepage);
	gy_range_clear(hugepage->used, first, count);
	hugepage->used_count = (uint16_t)(hugepage->used_count - count);
	heap.stats.used_pages -= count;
	if (released) {
		gy_range_set(hugepage->released, first, count);
		hugepage->released_count = (uint16_t)(hugepage->released_count + count);
		heap.stats.released_pages += count;
	}
	hugepage->owner = NULL;
	hugepage->longest_free = (uint16_t)MAX(hugepage->longest_free,
					       run_around(hugepage->used, first, count));
	INVARIANT(HUGE_2, hugepage->longest_free == longest_run(hugepage->used));
	if (hugepage->used_count) {
		hugepage->state = GY_HUGEPAGE_PARTIAL;
	} else {
		hugepage->state = GY_HUGEPAGE_FREE;
		if (hugepage->released_count == GY_HUGEPAGE_PAGES)
			heap.stats.hugepages_released++;
		else
			heap.stats.hugepages_free++;
	}
	hugepage->tick = READ_RELAXED(gy_heap_tick);
	hugepage->scanned = 0;
	list_add(hugepage);
}

/* ------------------------------------------------------- runs across huge pages */

/* Read without the lock by whoever frees (span.h): whole words either way, but atomic stores would
 * keep the compiler from writing several at once. */
static void fill_span_of(size_t first, size_t count, struct gy_span *span)
{
	struct gy_span **entry = &gy_map.span_of[first];

	for (size_t i = 0; i < count; i++) {
		if (GY_TSAN)
			WRITE_RELAXED(entry[i], span);
		else
			entry[i] = span;
	}
}

/* Gives pages [first, first + count) to `span`; returns how many were bare. */
static size_t run_use(struct gy_span *span, size_t first, size_t count)
{
	size_t bare = 0;

	while (count) {
		struct gy_hugepage *hugepage = &gy_map.hugepages[first / GY_HUGEPAGE_PAGES];
		unsigned at = (unsigned)(first % GY_HUGEPAGE_PAGES);
		unsigned piece = (unsigned)MIN(count, GY_HUGEPAGE_PAGES - at);

		bare += pages_use(hugepage, at, piece);
		if (piece == GY_HUGEPAGE_PAGES) {
			WRITE_RELAXED(hugepage->owner, span);
			WRITE_RELAXED(hugepage->state, GY_HUGEPAGE_OWNED); /* SPAN-4 */
		} else {
			fill_span_of(first, piece, span);
		}
		first += piece;
		count -= piece;
	}
	return bare;
}

static void run_free(size_t first, size_t count)
{
	while (count) {
		struct gy_hugepage *hugepage = &gy_map.hugepages[first / GY_HUGEPAGE_PAGES];
		unsigned at = (unsigned)(first % GY_HUGEPAGE_PAGES);
		unsigned piece = (unsigned)MIN(count, GY_HUGEPAGE_PAGES - at);

		if (hugepage->state != GY_HUGEPAGE_OWNED)
			fill_span_of(first, piece, NULL);
		pages_free(hugepage, at, piece, false);
		first += piece;
		count -= piece;
	}
}

static bool run_is_free(size_t first, size_t count)
{
	if (first + count > gy_map.page_count)
		return false;
	while (count) {
		const struct gy_hugepage *hugepage = &gy_map.hugepages[first / GY_HUGEPAGE_PAGES];
		unsigned at = (unsigned)(first % GY_HUGEPAGE_PAGES);
		unsigned piece = (unsigned)MIN(count, GY_HUGEPAGE_PAGES - at);

		if (!gy_range_none(hugepage->used, at, piece))
			return false;
		first += piece;
		count -= piece;
	}
	return true;
}

/* ------------------------------------------------------------------ growing */

/* Makes `need` more huge pages usable (and more, if cheap). */
static enum gy_oom_reason grow(size_t need)
{
	size_t first = gy_map.hugepage_count;
	size_t left = gy_map.hugepage_reserved - first;
	size_t count = MAX(need, MIN(GROW_MAX, first / 4 + 1));
	char *start = gy_page_start(first * GY_HUGEPAGE_PAGES);
	size_t bytes;

	if (need > left)
		return GY_OOM_RANGE;
	count = MIN(count, left);
	if (!gy_limit_address_space(count * GY_HUGEPAGE_BYTES,
				    gy_map.hugepage_reserved * GY_HUGEPAGE_BYTES,
				    first * GY_HUGEPAGE_BYTES))
		count = need;
	if (count == need && !gy_limit_address_space(count * GY_HUGEPAGE_BYTES,
						     gy_map.hugepage_reserved * GY_HUGEPAGE_BYTES,
						     first * GY_HUGEPAGE_BYTES))
		return GY_OOM_REFUSED;
	if (gy_metadata_cover(first + count))
		return GY_OOM_REFUSED;
	bytes = count * GY_HUGEPAGE_BYTES;
	if (gy_vm_commit(start, bytes)) {
		count = need;
		bytes = count * GY_HUGEPAGE_BYTES;
		if (gy_vm_commit(start, bytes))
			return GY_OOM_REFUSED;
	}
	for (size_t i = count; i-- > 0;) {
		struct gy_hugepage *hugepage = &gy_map.hugepages[first + i];

		hugepage->state = GY_HUGEPAGE_FREE;
		gy_range_set(hugepage->released, 0, GY_HUGEPAGE_PAGES);
		hugepage->released_count = GY_HUGEPAGE_PAGES;
		hugepage->longest_free = GY_HUGEPAGE_PAGES;
		list_add(hugepage);
	}
	heap.stats.hugepages += count;
	heap.stats.hugepages_released += count;
	heap.stats.released_pages += count * GY_HUGEPAGE_PAGES;
	heap.stats.growths++;
	gy_map.hugepage_count = first + count;
	/* META-2: pairs with nothing stronger; a pointer into these pages carries the order. */
	WRITE_RELAXED(gy_map.page_count, (first + count) * GY_HUGEPAGE_PAGES);
	GY_PROBE3(heap_grow, (uintptr_t)start, bytes, (first + count) * GY_HUGEPAGE_BYTES);
	return GY_OOM_NONE;
}

/* First run of `count` free huge pages, or hugepage_count. */
static size_t find_free_run(size_t count)
{
	size_t limit = gy_map.hugepage_count, at = 0;

	while (at < limit) {
		size_t begin = gy_bit_next(heap.free_map, (unsigned)limit, (unsigned)at, true);

		at = gy_bit_next(heap.free_map, (unsigned)limit, (unsigned)begin, false);
		if (at - begin >= count)
			return begin;
	}
	return limit;
}

/* Free huge pages at the end of the usable range: growing extends that run. */
static size_t free_at_end(void)
{
	size_t count = 0;

	while (count < gy_map.hugepage_count &&
	       gy_bit_get(heap.free_map, (unsigned)(gy_map.hugepage_count - 1 - count)))
		count++;
	return count;
}

/* ------------------------------------------------------------------ finding */

static unsigned find_in_hugepage(const struct gy_hugepage *hugepage, unsigned pages,
				 unsigned alignment)
{
	unsigned at = 0;

	for (;;) {
		unsigned begin = gy_bit_next(hugepage->used, GY_HUGEPAGE_PAGES, at, false);

		begin = (begin + alignment - 1) / alignment * alignment;
		if (begin + pages > GY_HUGEPAGE_PAGES)
			return GY_HUGEPAGE_PAGES;
		at = gy_bit_next(hugepage->used, GY_HUGEPAGE_PAGES, begin, true);
		if (at >= begin + pages)
			return begin;
	}
}

static struct gy_hugepage *find_partial(unsigned pages, unsigned alignment, unsigned *at)
{
	/* A run this long holds an aligned one. */
	unsigned sure = pages + alignment - 1;

	for (unsigned broken = 0; broken < 2; broken++) {
		unsigned length = gy_bit_next(heap.partial_map[broken], LENGTHS,
					      MIN(sure, GY_HUGEPAGE_PAGES), true);

		if (length < LENGTHS) {
			struct gy_hugepage *hugepage =
				&gy_map.hugepages[heap.partial[broken][length] - 1];

			*at = find_in_hugepage(hugepage, pages, alignment);
			if (*at < GY_HUGEPAGE_PAGES)
				return hugepage;
		}
	}
	return NULL;
}

/* A free huge page begins to serve small blocks: all of it will be touched before long. */
static void want_hugepage(struct gy_hugepage *hugepage)
{
	size_t index = index_of(hugepage);

	if (hugepage->advised || index < FIRST_PLAIN || !gy_option(GY_OPT_hugepage))
		return;
	hugepage->advised = 1;
	/* Refused: the heap works on small pages. */
	gy_vm_want_hugepages(gy_page_start(index * GY_HUGEPAGE_PAGES), GY_HUGEPAGE_BYTES);
}

static enum gy_oom_reason find_small(unsigned pages, unsigned alignment, bool dense, size_t *first)
{
	unsigned at = 0;
	struct gy_hugepage *hugepage = find_partial(pages, alignment, &at);

	if (!hugepage) {
		uint32_t head = heap.free[0] ? heap.free[0] : heap.free[1];

		if (!head) {
			enum gy_oom_reason reason = grow(1);

			if (reason)
				return reason;
			head = heap.free[1];
		}
		hugepage = &gy_map.hugepages[head - 1];
		at = 0;
		if (dense)
			want_hugepage(hugepage);
	}
	*first = index_of(hugepage) * GY_HUGEPAGE_PAGES + at;
	return GY_OOM_NONE;
}

static enum gy_oom_reason find_large(size_t pages, size_t alignment_pages, size_t *first)
{
	size_t count = gy_div_round_up(pages, GY_HUGEPAGE_PAGES);
	size_t alignment = gy_div_round_up(alignment_pages, GY_HUGEPAGE_PAGES);
	size_t sure = count + alignment - 1;
	size_t begin = find_free_run(sure);

	if (begin == gy_map.hugepage_count) {
		size_t have = free_at_end();
		enum gy_oom_reason reason = grow(sure - MIN(have, sure - 1));

		if (reason)
			return reason;
		begin = gy_map.hugepage_count - free_at_end();
	}
	/* Alignment is of the address, not of the index. */
	begin += gy_map.base / GY_HUGEPAGE_BYTES;
	begin = (begin + alignment - 1) / alignment * alignment;
	begin -= gy_map.base / GY_HUGEPAGE_BYTES;
	*first = begin * GY_HUGEPAGE_PAGES;
	return GY_OOM_NONE;
}

/* ------------------------------------------------------------------ spans */

static struct gy_span *span_record_take(void)
{
	struct gy_span *span = heap.span_pool;
	const size_t batch = 32;

	if (span) {
		heap.span_pool = span->next;
		return span;
	}
	span = gy_metadata_take(batch * sizeof(*span));
	if (!span)
		return NULL;
	for (size_t i = 1; i < batch; i++) {
		span[i].next = heap.span_pool;
		heap.span_pool = &span[i];
	}
	return span;
}

static void span_record_give(struct gy_span *span)
{
	WRITE_RELAXED(span->kind, GY_SPAN_NONE);
	span->next = heap.span_pool;
	heap.span_pool = span;
}

/* May `pages` more pages get memory? Asked once a huge page's worth, or at once for much. */
static bool limit_allows(size_t pages)
{
	uint64_t resident;

	heap.unchecked_pages += pages;
	if (heap.unchecked_pages < CHARGE_PAGES)
		return true;
	resident = (heap.stats.hugepages * GY_HUGEPAGE_PAGES - heap.stats.released_pages) *
		   GY_PAGE_BYTES;
	if (!gy_limit_memory(pages * GY_PAGE_BYTES,
			     (heap.unchecked_pages - pages) * GY_PAGE_BYTES, resident,
			     &heap.stats.limit_bytes)) {
		heap.unchecked_pages -= pages;
		return false;
	}
	heap.unchecked_pages = 0;
	return true;
}

static size_t bare_pages(size_t first, size_t count)
{
	size_t bare = 0;

	while (count) {
		const struct gy_hugepage *hugepage = &gy_map.hugepages[first / GY_HUGEPAGE_PAGES];
		unsigned at = (unsigned)(first % GY_HUGEPAGE_PAGES);
		unsigned piece = (unsigned)MIN(count, GY_HUGEPAGE_PAGES - at);

		if (hugepage->advised)
			bare += hugepage->released_count; /* HUGE-4 */
		else if (hugepage->released_count)
			bare += gy_range_count(hugepage->released, at, piece);
		first += piece;
		count -= piece;
	}
	return bare;
}

static struct gy_span *take_locked(size_t pages, size_t alignment_pages, unsigned class_index,
				   bool sampled, bool *zeroed, enum gy_oom_reason *reason)
{
	struct gy_span *span;
	size_t first = 0, bare;

	if (pages < GY_HUGEPAGE_PAGES && alignment_pages <= GY_HUGEPAGE_PAGES)
		*reason = find_small((unsigned)pages, (unsigned)alignment_pages,
				     class_index != 0, &first);
	else
		*reason = find_large(pages, alignment_pages, &first);
	if (*reason)
		return NULL;
	bare = bare_pages(first, pages);
	if (bare && !limit_allows(bare)) {
		*reason = GY_OOM_LIMIT;
		return NULL;
	}
	span = span_record_take();
	if (!span) {
		*reason = GY_OOM_REFUSED;
		return NULL;
	}
	span->first_page = (uint32_t)first;
	span->pages = (uint32_t)pages;
	span->class_index = (uint8_t)class_index;
	span->sampled = sampled;
	span->list = GY_SPAN_NO_LIST;
	span->borrowed = 0;
	span->gone_bits = 0;
	span->tick = READ_RELAXED(gy_heap_tick);
	/* Pairs with the acquire in gy_central_borrow: kind is the last field to change. */
	__atomic_store_n(&span->kind, class_index ? GY_SPAN_SMALL : GY_SPAN_LARGE, __ATOMIC_RELEASE);
	*zeroed = run_use(span, first, pages) == pages;
	return span;
}

struct gy_span *gy_page_heap_take(size_t pages, size_t alignment_pages, unsigned class_index,
				  bool sampled, bool *zeroed, enum gy_oom_reason *reason)
{
	struct gy_span *span;

	if (pages > gy_map.hugepage_reserved * GY_HUGEPAGE_PAGES ||
	    alignment_pages > gy_map.hugepage_reserved * GY_HUGEPAGE_PAGES) {
		*reason = GY_OOM_RANGE;
		return NULL;
	}
	gy_lock_acquire(&heap.lock);
	span = take_locked(pages, alignment_pages, class_index, sampled, zeroed, reason);
	gy_lock_release(&heap.lock);
	if (span)
		GY_PROBE3(span_take, (uintptr_t)gy_span_start(span), gy_span_bytes(span),
			  gy_size_classes[class_index].bytes);
	return span;
}

void gy_page_heap_give(struct gy_span *span)
{
	GY_PROBE3(span_give, (uintptr_t)gy_span_start(span), gy_span_bytes(span),
		  gy_size_classes[span->class_index].bytes);
	gy_lock_acquire(&heap.lock);
	run_free(span->first_page, span->pages);
	span_record_give(span);
	gy_lock_release(&heap.lock);
}

bool gy_page_heap_extend(struct gy_span *span, size_t pages)
{
	size_t end = (size_t)span->first_page + span->pages, more = pages - span->pages;
	bool extended = false;

	gy_lock_acquire(&heap.lock);
	if (run_is_free(end, more)) {
		size_t bare = bare_pages(end, more);

		if (!bare || limit_allows(bare)) {
			run_use(span, end, more);
			span->pages = (uint32_t)pages;
			extended = true;
		}
	}
	gy_lock_release(&heap.lock);
	return extended;
}

void gy_page_heap_shrink(struct gy_span *span, size_t pages)
{
	size_t end = (size_t)span->first_page + pages, less = span->pages - pages;

	gy_lock_acquire(&heap.lock);
	/* A huge page that the span keeps only in part is no longer found by its owner (SPAN-4). */
	if (end % GY_HUGEPAGE_PAGES) {
		size_t index = end / GY_HUGEPAGE_PAGES;
		struct gy_hugepage *hugepage = &gy_map.hugepages[index];

		if (hugepage->state == GY_HUGEPAGE_OWNED) {
			fill_span_of(index * GY_HUGEPAGE_PAGES, end % GY_HUGEPAGE_PAGES, span);
			WRITE_RELAXED(hugepage->state, GY_HUGEPAGE_PARTIAL);
		}
	}
	run_free(end, less);
	span->pages = (uint32_t)pages;
	gy_lock_release(&heap.lock);
}

/* ------------------------------------------------------- for the scavenger */

unsigned gy_page_heap_release_begin(size_t index, bool whole_only, struct gy_page_range *ranges)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[index];
	unsigned count = 0, at = 0;

	gy_lock_acquire(&heap.lock);
	if (hugepage->state != GY_HUGEPAGE_FREE &&
	    (hugepage->state != GY_HUGEPAGE_PARTIAL || whole_only))
		goto out;
	while (at < GY_HUGEPAGE_PAGES && count < GY_HUGEPAGE_PAGES / 2) {
		uint64_t busy[4];
		unsigned begin;

		for (unsigned w = 0; w < 4; w++)
			busy[w] = hugepage->used[w] | hugepage->released[w];
		begin = gy_bit_next(busy, GY_HUGEPAGE_PAGES, at, false);
		if (begin == GY_HUGEPAGE_PAGES)
			break;
		at = gy_bit_next(busy, GY_HUGEPAGE_PAGES, begin, true);
		ranges[count].first_page = index * GY_HUGEPAGE_PAGES + begin;
		ranges[count].pages = at - begin;
		ranges[count].part = hugepage->used_count != 0;
		count++;
	}
	for (unsigned i = 0; i < count; i++) {
		pages_use(hugepage, (unsigned)(ranges[i].first_page % GY_HUGEPAGE_PAGES),
			  ranges[i].pages);
		heap.in_hand_pages += ranges[i].pages;
	}
out:
	gy_lock_release(&heap.lock);
	return count;
}

void gy_page_heap_release_end(const struct gy_page_range *ranges, unsigned count, bool done)
{
	gy_lock_acquire(&heap.lock);
	for (unsigned i = 0; i < count; i++) {
		size_t index = ranges[i].first_page / GY_HUGEPAGE_PAGES;
		struct gy_hugepage *hugepage = &gy_map.hugepages[index];

		pages_free(hugepage, (unsigned)(ranges[i].first_page % GY_HUGEPAGE_PAGES),
			   ranges[i].pages, done);
		heap.in_hand_pages -= ranges[i].pages;
		if (done && hugepage->state == GY_HUGEPAGE_PARTIAL && !hugepage->broken) {
			list_remove(hugepage);
			hugepage->broken = 1;
			list_add(hugepage);
		}
	}
	gy_lock_release(&heap.lock);
}

void gy_page_heap_count_release(uint64_t bytes, uint64_t calls)
{
	gy_lock_acquire(&heap.lock);
	heap.stats.released_total_bytes += bytes;
	heap.stats.release_calls += calls;
	gy_lock_release(&heap.lock);
}

void gy_page_heap_mark_broken(size_t page)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[page / GY_HUGEPAGE_PAGES];
	bool advised;

	gy_lock_acquire(&heap.lock);
	advised = hugepage->advised;
	hugepage->advised = 0;
	if (!hugepage->broken && hugepage->state == GY_HUGEPAGE_PARTIAL) {
		list_remove(hugepage);
		hugepage->broken = 1;
		list_add(hugepage);
	}
	gy_lock_release(&heap.lock);
	/* Or khugepaged would make it whole again, given-back parts included. */
	if (advised)
		gy_vm_no_hugepages(gy_page_start(page - page % GY_HUGEPAGE_PAGES), GY_HUGEPAGE_BYTES);
}

bool gy_page_heap_worth_collapse(size_t index)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[index];
	bool worth;

	if (READ_RELAXED(hugepage->used_count) < DENSE_PAGES || READ_RELAXED(hugepage->collapse_tried))
		return false;
	gy_lock_acquire(&heap.lock);
	worth = gy_map.hugepage_count > FIRST_PLAIN && hugepage->state == GY_HUGEPAGE_PARTIAL &&
		hugepage->used_count >= DENSE_PAGES && !hugepage->advised && !hugepage->broken;
	if (worth)
		WRITE_RELAXED(hugepage->collapse_tried, 1);
	gy_lock_release(&heap.lock);
	return worth;
}

void gy_page_heap_collapsed(size_t index)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[index];

	gy_lock_acquire(&heap.lock);
	hugepage->advised = 1;
	forget_released(hugepage); /* HUGE-4 */
	gy_lock_release(&heap.lock);
}

size_t gy_page_heap_hugepage_count(void)
{
	return READ_RELAXED(gy_map.page_count) / GY_HUGEPAGE_PAGES;
}

unsigned gy_page_heap_spans_in(size_t index, struct gy_span_ref *refs)
{
	const struct gy_hugepage *hugepage = &gy_map.hugepages[index];
	const struct gy_span *last = NULL;
	unsigned count = 0;

	gy_lock_acquire(&heap.lock);
	if (hugepage->state == GY_HUGEPAGE_PARTIAL) {
		for (unsigned i = 0; i < GY_HUGEPAGE_PAGES; i++) {
			struct gy_span *span = gy_map.span_of[index * GY_HUGEPAGE_PAGES + i];

			if (!span || span == last || span->kind != GY_SPAN_SMALL)
				continue;
			last = span;
			refs[count++] = (struct gy_span_ref){ span, span->first_page,
							      span->class_index, span->sampled };
		}
	}
	gy_lock_release(&heap.lock);
	return count;
}

/* ------------------------------------------------------------------ the rest */

int gy_page_heap_init(void)
{
	heap.free_map_words = gy_div_round_up(gy_map.hugepage_reserved, 64);
	heap.free_map = gy_metadata_take(heap.free_map_words * sizeof(uint64_t));
	return heap.free_map ? 0 : -ENOMEM;
}

void gy_page_heap_read_stats(struct gy_page_heap_stats *stats)
{
	size_t broken = 0;

	gy_lock_acquire(&heap.lock);
	*stats = heap.stats;
	stats->used_pages -= heap.in_hand_pages;
	for (size_t i = 0; i < gy_map.hugepage_count; i++)
		broken += gy_map.hugepages[i].broken;
	gy_lock_release(&heap.lock);
	stats->hugepages_broken = broken;
}

void gy_page_heap_count_oom(void)
{
	gy_lock_acquire(&heap.lock);
	heap.stats.ooms++;
	gy_lock_release(&heap.lock);
}

void gy_page_heap_lock(void)
{
	gy_lock_acquire(&heap.lock);
}

void gy_page_heap_unlock(void)
{
	gy_lock_release(&heap.lock);
}

void gy_page_heap_fork_child(void)
{
	gy_lock_init(&heap.lock, GY_RANK_page_heap);
}

void gy_page_heap_check(void)
{
	uint64_t used = 0, released = 0;

	gy_lock_acquire(&heap.lock);
	for (size_t i = 0; i < gy_map.hugepage_count; i++) {
		const struct gy_hugepage *hugepage = &gy_map.hugepages[i];
		unsigned set = gy_range_count(hugepage->used, 0, GY_HUGEPAGE_PAGES);
		unsigned gone = gy_range_count(hugepage->released, 0, GY_HUGEPAGE_PAGES);

		CHECK(set == hugepage->used_count);	   /* HUGE-1 */
		CHECK(gone == hugepage->released_count);
		for (unsigned w = 0; w < 4; w++)
			CHECK(!(hugepage->used[w] & hugepage->released[w]));
		CHECK(longest_run(hugepage->used) == hugepage->longest_free); /* HUGE-2 */
		CHECK(gy_bit_get(heap.free_map, (unsigned)i) ==
		      (hugepage->state == GY_HUGEPAGE_FREE)); /* PAGE-3 */
		used += set;
		released += gone;
	}
	CHECK(used == heap.stats.used_pages);
	CHECK(released == heap.stats.released_pages);
	gy_lock_release(&heap.lock);
}
