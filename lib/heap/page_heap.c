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
 *   huge pages            are asked for when a free one begins to serve small blocks, which will
 *   touch
 *                         all of it; not among the first GY_FIRST_PLAIN (a small process does not
 *                         fault in 2 MiB to hold a few blocks), and not for large blocks, which
 *                         programs often leave mostly untouched.
 *
 * PAGE-1  Every page below gy_map.page_count is used by one span, in a release's hands (counted as
 *         used, no span), or free.
 * PAGE-2, PAGE-3: the lists and the map of free huge pages, hugepage.h.
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
#include "heap/hugepage.h"

#include "base/config.h"
#include "base/probe.h"
#include "heap/gate.h"
#include "os/limits.h"

#include <errno.h>
#include <string.h>

#define GROW_MAX 16      /* huge pages made usable at a time, at most */
#define MUCH 512         /* huge pages at once for which the machine is asked whether it has them */
#define SPAN_RECORDS 32u /* made at a time */
#define CHARGE_PAGES (GY_HUGEPAGE_PAGES / 2) /* the limit is asked once for so many */

/* ------------------------------------------------------- runs across huge pages */

/* Two entries at once: the halves of such a store are written whole, too. */
typedef uintptr_t entry_pair __attribute__((vector_size(16), aligned(8), may_alias));

/* Read without the lock by whoever frees (span.h): whole words either way, but atomic stores would
 * keep the compiler from writing several at once. */
static void fill_span_of(size_t first, size_t count, struct gy_span *span)
{
	struct gy_span **entry = &gy_map.span_of[first];
	const entry_pair pair = {(uintptr_t)span, (uintptr_t)span};

	for (size_t i = 0; GY_TSAN && i < count; i++)
		WRITE_RELAXED(entry[i], span);
	if (GY_TSAN)
		return;
	for (; count >= 8; count -= 8, entry += 8) {
		entry_pair *at = (void *)entry;

		at[0] = at[1] = at[2] = at[3] = pair;
	}
	for (; count >= 2; count -= 2, entry += 2)
		*(entry_pair *)(void *)entry = pair;
	if (count)
		*entry = span;
}

/* Gives pages [first, first + count) to `span`; returns how many were bare. */
static size_t run_use(struct gy_span *span, size_t first, size_t count)
{
	size_t bare = 0;

	while (count) {
		struct gy_hugepage *hugepage = &gy_map.hugepages[first / GY_HUGEPAGE_PAGES];
		unsigned at = (unsigned)(first % GY_HUGEPAGE_PAGES);
		unsigned piece = (unsigned)MIN(count, GY_HUGEPAGE_PAGES - at);

		bare += gy_hugepage_use(hugepage, at, piece);
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
		gy_hugepage_give(hugepage, at, piece, false);
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
	size_t left = gy_map.hugepage_reserved - gy_map.hugepage_carved - first;
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

		WRITE_RELAXED(hugepage->state, GY_HUGEPAGE_FREE);
		gy_range_set(hugepage->released, 0, GY_HUGEPAGE_PAGES);
		WRITE_RELAXED(hugepage->released_count, GY_HUGEPAGE_PAGES);
		hugepage->longest_free = GY_HUGEPAGE_PAGES;
		gy_hugepage_list(hugepage);
	}
	gy_pages.stats.hugepages += count;
	gy_pages.stats.hugepages_released += count;
	gy_pages.stats.released_pages += count * GY_HUGEPAGE_PAGES;
	gy_pages.stats.growths++;
	gy_map.hugepage_count = first + count;
	/* META-2: pairs with nothing stronger; a pointer into these pages carries the order. */
	WRITE_RELAXED(gy_map.page_count, (first + count) * GY_HUGEPAGE_PAGES);
	gy_gate_follow_locked();
	GY_PROBE3(heap_grow, (uintptr_t)start, bytes, (first + count) * GY_HUGEPAGE_BYTES);
	return GY_OOM_NONE;
}

/* First run of `count` free huge pages, or hugepage_count. */
static size_t find_free_run(size_t count)
{
	size_t limit = gy_map.hugepage_count, at = 0;

	while (at < limit) {
		size_t begin = gy_bit_next(gy_pages.free_map, (unsigned)limit, (unsigned)at, true);

		at = gy_bit_next(gy_pages.free_map, (unsigned)limit, (unsigned)begin, false);
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
	       gy_bit_get(gy_pages.free_map, (unsigned)(gy_map.hugepage_count - 1 - count)))
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

		begin = (unsigned)gy_round_up(begin, alignment);
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
		unsigned length = gy_bit_next(gy_pages.partial_map[broken], GY_RUN_LENGTHS,
					      MIN(sure, GY_HUGEPAGE_PAGES), true);

		if (length < GY_RUN_LENGTHS) {
			struct gy_hugepage *hugepage =
				&gy_map.hugepages[gy_pages.partial[broken][length] - 1];

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
	size_t index = gy_hugepage_index(hugepage);

	if (hugepage->advised || index < GY_FIRST_PLAIN || !gy_option(GY_OPT_hugepage))
		return;
	if (gy_pages.plain_left) { /* HUGE-6 */
		gy_pages.plain_left--;
		return;
	}
	hugepage->advised = 1;
	/* Refused: the heap works on small pages. */
	gy_vm_want_hugepages(gy_page_start(index * GY_HUGEPAGE_PAGES), GY_HUGEPAGE_BYTES);
}

static enum gy_oom_reason find_small(unsigned pages, unsigned alignment, bool dense, size_t *first)
{
	unsigned at = 0;
	struct gy_hugepage *hugepage = find_partial(pages, alignment, &at);

	if (!hugepage) {
		uint32_t head = gy_pages.free[0] ? gy_pages.free[0] : gy_pages.free[1];

		if (!head) {
			enum gy_oom_reason reason = grow(1);

			if (reason)
				return reason;
			head = gy_pages.free[1];
		}
		hugepage = &gy_map.hugepages[head - 1];
		at = 0;
		if (dense)
			want_hugepage(hugepage);
	}
	*first = gy_hugepage_index(hugepage) * GY_HUGEPAGE_PAGES + at;
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
		enum gy_oom_reason reason;

		if (sure >= MUCH && !gy_limit_single_request(sure * GY_HUGEPAGE_BYTES))
			return GY_OOM_OVERFLOW;
		reason = grow(sure - MIN(have, sure - 1));
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

/* A record with bits for `objects` blocks; made a few at a time. */
static struct gy_span *span_record_take(unsigned objects)
{
	unsigned many = objects > GY_SPAN_BIT_WORDS_FEW * 64;
	unsigned words = many ? GY_SPAN_BIT_WORDS_MANY : GY_SPAN_BIT_WORDS_FEW;
	size_t bytes = sizeof(struct gy_span) + words * sizeof(uint64_t);
	struct gy_span **pool = &gy_pages.span_pool[many], *span;

	if (!*pool) {
		char *batch = gy_metadata_take(SPAN_RECORDS * bytes);

		if (!batch)
			return NULL;
		for (unsigned i = 0; i < SPAN_RECORDS; i++) {
			span = (void *)(batch + i * bytes);
			span->bit_words = (uint8_t)words;
			span->next = *pool;
			*pool = span;
		}
	}
	span = *pool;
	*pool = span->next;
	return span;
}

static void span_record_give(struct gy_span *span)
{
	struct gy_span **pool = &gy_pages.span_pool[span->bit_words == GY_SPAN_BIT_WORDS_MANY];

	WRITE_RELAXED(span->kind, GY_SPAN_NONE);
	span->next = *pool;
	*pool = span;
}

/* May `pages` more pages get memory? Asked once a huge page's worth, or at once for much. */
static bool limit_allows(size_t pages)
{
	uint64_t resident;

	gy_pages.unchecked_pages += pages;
	if (gy_pages.unchecked_pages < CHARGE_PAGES)
		return true;
	resident = (gy_pages.stats.hugepages * GY_HUGEPAGE_PAGES - gy_pages.stats.released_pages) *
		   GY_PAGE_BYTES;
	if (!gy_limit_memory(pages * GY_PAGE_BYTES,
			     (gy_pages.unchecked_pages - pages) * GY_PAGE_BYTES, resident,
			     &gy_pages.stats.limit_bytes)) {
		gy_pages.unchecked_pages -= pages;
		return false;
	}
	gy_pages.unchecked_pages = 0;
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
	bool collected;

	if (pages < GY_HUGEPAGE_PAGES && alignment_pages <= GY_HUGEPAGE_PAGES)
		*reason = find_small((unsigned)pages, (unsigned)alignment_pages, class_index != 0,
				     &first);
	else
		*reason = find_large(pages, alignment_pages, &first);
	if (*reason)
		return NULL;
	bare = bare_pages(first, pages);
	if (bare && !limit_allows(bare)) {
		*reason = GY_OOM_LIMIT;
		return NULL;
	}
	collected = class_index == GY_CLASS_COLLECTED;
	if (collected)
		class_index = 0;
	span = span_record_take(gy_size_classes[class_index].objects);
	if (!span) {
		*reason = GY_OOM_REFUSED;
		return NULL;
	}
	/* Whole writes: gy_central_borrow may look at the record through a stale reference. */
	WRITE_RELAXED(span->first_page, (uint32_t)first);
	span->pages = (uint32_t)pages;
	WRITE_RELAXED(span->class_index, (uint8_t)class_index);
	WRITE_RELAXED(span->sampled, sampled);
	span->list = GY_SPAN_NO_LIST;
	span->borrowed = 0;
	span->gone_bits = 0;
	span->tick = READ_RELAXED(gy_heap_tick);
	/* Pairs with the acquire in gy_central_borrow: kind is the last field to change. */
	__atomic_store_n(&span->kind,
			 collected	 ? GY_SPAN_COLLECTED
			 : class_index ? GY_SPAN_SMALL
				       : GY_SPAN_LARGE,
			 __ATOMIC_RELEASE);
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
	gy_lock_acquire(&gy_pages.lock);
	span = take_locked(pages, alignment_pages, class_index, sampled, zeroed, reason);
	gy_lock_release(&gy_pages.lock);
	if (span)
		GY_PROBE3(span_take, (uintptr_t)gy_span_start(span), gy_span_bytes(span),
			  gy_size_classes[span->class_index].bytes);
	return span;
}

void gy_page_heap_give(struct gy_span *span)
{
	GY_PROBE3(span_give, (uintptr_t)gy_span_start(span), gy_span_bytes(span),
		  gy_size_classes[span->class_index].bytes);
	gy_lock_acquire(&gy_pages.lock);
	run_free(span->first_page, span->pages);
	span_record_give(span);
	gy_lock_release(&gy_pages.lock);
}

bool gy_page_heap_extend(struct gy_span *span, size_t pages)
{
	size_t end = (size_t)span->first_page + span->pages, more = pages - span->pages;
	bool extended = false;

	gy_lock_acquire(&gy_pages.lock);
	if (run_is_free(end, more)) {
		size_t bare = bare_pages(end, more);

		if (!bare || limit_allows(bare)) {
			run_use(span, end, more);
			span->pages = (uint32_t)pages;
			extended = true;
		}
	}
	gy_lock_release(&gy_pages.lock);
	return extended;
}

void gy_page_heap_shrink(struct gy_span *span, size_t pages)
{
	size_t end = (size_t)span->first_page + pages, less = span->pages - pages;

	gy_lock_acquire(&gy_pages.lock);
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
	gy_lock_release(&gy_pages.lock);
}

/* ------------------------------------------------------------------ the rest */

int gy_page_heap_init(void)
{
	size_t words = gy_div_round_up(gy_map.hugepage_reserved, 64);

	gy_pages.free_map = gy_metadata_take(words * sizeof(uint64_t));
	return gy_pages.free_map ? 0 : -ENOMEM;
}

void *gy_page_heap_carve(size_t bytes)
{
	size_t hugepages = gy_div_round_up(bytes, GY_HUGEPAGE_BYTES), end;
	char *start = NULL;

	gy_lock_acquire(&gy_pages.lock);
	end = gy_map.hugepage_reserved - gy_map.hugepage_carved;
	if (end - gy_map.hugepage_count >= hugepages) {
		gy_map.hugepage_carved += hugepages;
		start = gy_page_start((end - hugepages) * GY_HUGEPAGE_PAGES);
	}
	gy_lock_release(&gy_pages.lock);
	return start;
}

void gy_page_heap_read_stats(struct gy_page_heap_stats *stats)
{
	size_t broken = 0;

	gy_lock_acquire(&gy_pages.lock);
	*stats = gy_pages.stats;
	stats->used_pages -= gy_pages.in_hand_pages;
	for (size_t i = 0; i < gy_map.hugepage_count; i++)
		broken += gy_map.hugepages[i].broken;
	gy_lock_release(&gy_pages.lock);
	stats->hugepages_broken = broken;
}

void gy_page_heap_count_oom(void)
{
	gy_lock_acquire(&gy_pages.lock);
	gy_pages.stats.ooms++;
	gy_lock_release(&gy_pages.lock);
}

void gy_page_heap_lock(void)
{
	gy_lock_acquire(&gy_pages.lock);
}

bool gy_page_heap_try_lock(void)
{
	return gy_lock_try(&gy_pages.lock);
}

void gy_page_heap_unlock(void)
{
	gy_lock_release(&gy_pages.lock);
}

void gy_page_heap_fork_child(void)
{
	gy_lock_init(&gy_pages.lock, GY_RANK_page_heap);
}
