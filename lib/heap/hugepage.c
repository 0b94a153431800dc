/* hugepage.c - the records of huge pages: bitmaps, lists, counts. See hugepage.h.
 *
 * What the scavenger reads without the lock, to see whether a visit is worth while, and what free
 * reads to find its span, is written whole (WRITE_RELAXED): state, owner, tick, scanned, broken and
 * the counts.
 */
#include "heap/hugepage.h"

#include <string.h>

struct gy_pages gy_pages = {.lock = GY_LOCK_INIT(GY_RANK_page_heap)};
uint32_t gy_heap_tick;

static uint32_t *list_of(const struct gy_hugepage *hugepage)
{
	if (hugepage->state == GY_HUGEPAGE_FREE)
		return &gy_pages.free[hugepage->released_count == GY_HUGEPAGE_PAGES];
	return &gy_pages.partial[hugepage->broken][hugepage->longest_free];
}

void gy_hugepage_list(struct gy_hugepage *hugepage)
{
	uint32_t *head, self = (uint32_t)gy_hugepage_index(hugepage) + 1;

	if (hugepage->state == GY_HUGEPAGE_PARTIAL && !hugepage->longest_free)
		return;
	head = list_of(hugepage);
	hugepage->listed = 1;
	hugepage->prev = 0;
	hugepage->next = *head;
	if (*head)
		gy_map.hugepages[*head - 1].prev = self;
	*head = self;
	if (hugepage->state == GY_HUGEPAGE_FREE)
		gy_bit_set(gy_pages.free_map, self - 1);
	else
		gy_bit_set(gy_pages.partial_map[hugepage->broken], hugepage->longest_free);
}

void gy_hugepage_unlist(struct gy_hugepage *hugepage)
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
		gy_bit_clear(gy_pages.free_map, (unsigned)gy_hugepage_index(hugepage));
	else if (!*head)
		gy_bit_clear(gy_pages.partial_map[hugepage->broken], hugepage->longest_free);
}

/* A word at a time; runs that end or begin at a word's edge join. */
unsigned gy_hugepage_longest_run(const uint64_t *used)
{
	unsigned longest = 0, run = 0;

	for (unsigned w = 0; w < GY_HUGEPAGE_PAGES / 64; w++) {
		uint64_t word = used[w];

		if (!word) {
			run += 64;
			continue;
		}
		run += (unsigned)__builtin_ctzll(word);
		longest = MAX(longest, run);
		run = (unsigned)__builtin_clzll(word);
		/* Between its first and its last set bit: each turn takes away a run of ones. */
		for (;;) {
			word >>= __builtin_ctzll(word);
			if (!(word & (word + 1)))
				break;
			word >>= __builtin_ctzll(~word);
			longest = MAX(longest, (unsigned)__builtin_ctzll(word));
		}
	}
	return MAX(longest, run);
}

/* The free run that [first, first + count) lies in or, now free, has merged into. */
static unsigned run_around(const uint64_t *used, unsigned first, unsigned count)
{
	unsigned begin = first, end;

	while (begin && !gy_bit_get(used, begin - 1)) {
		uint64_t below =
			begin % 64 ? used[begin / 64] << (64 - begin % 64) : used[begin / 64 - 1];

		begin -= below ? (unsigned)__builtin_clzll(below) : (begin % 64 ? begin % 64 : 64);
	}
	end = gy_bit_next(used, GY_HUGEPAGE_PAGES, first + count, true);
	return end - begin;
}

/* ------------------------------------------------------- pages of one huge page */

void gy_hugepage_forget_released(struct gy_hugepage *hugepage)
{
	if (!hugepage->released_count)
		return;
	gy_pages.stats.released_pages -= hugepage->released_count;
	memset(hugepage->released, 0, sizeof(hugepage->released));
	WRITE_RELAXED(hugepage->released_count, 0);
}

/* Marks [first, first + count) of a listed or unlisted huge page used; returns how many of them
 * had no memory behind them. */
unsigned gy_hugepage_use(struct gy_hugepage *hugepage, unsigned first, unsigned count)
{
	unsigned bare, run, longest = hugepage->longest_free;
	bool moves;

	INVARIANT(HUGE_1, gy_range_none(hugepage->used, first, count));
	bare = hugepage->released_count ? gy_range_count(hugepage->released, first, count) : 0;
	run = run_around(hugepage->used, first, count);
	gy_range_set(hugepage->used, first, count);
	if (run == longest) /* else the longest is another, and stays */
		longest = gy_hugepage_longest_run(hugepage->used);
	moves = longest != hugepage->longest_free || hugepage->state != GY_HUGEPAGE_PARTIAL;
	if (moves)
		gy_hugepage_unlist(hugepage);
	if (bare)
		gy_range_clear(hugepage->released, first, count);
	if (hugepage->state == GY_HUGEPAGE_FREE) {
		WRITE_RELAXED(hugepage->collapse_tried, 0);
		if (hugepage->released_count == GY_HUGEPAGE_PAGES) {
			WRITE_RELAXED(hugepage->broken, 0);
			WRITE_RELAXED(hugepage->bare, count < GY_HUGEPAGE_PAGES); /* HUGE-5 */
			gy_pages.stats.hugepages_released--;
		} else {
			gy_pages.stats.hugepages_free--;
		}
	}
	WRITE_RELAXED(hugepage->state, GY_HUGEPAGE_PARTIAL);
	WRITE_RELAXED(hugepage->used_count, (uint16_t)(hugepage->used_count + count));
	WRITE_RELAXED(hugepage->released_count, (uint16_t)(hugepage->released_count - bare));
	if (hugepage->advised)
		gy_hugepage_forget_released(hugepage); /* HUGE-4 */
	hugepage->longest_free = (uint16_t)longest;
	WRITE_RELAXED(hugepage->tick, READ_RELAXED(gy_heap_tick));
	WRITE_RELAXED(hugepage->scanned, 0);
	gy_pages.stats.used_pages += count;
	gy_pages.stats.released_pages -= bare;
	if (moves)
		gy_hugepage_list(hugepage);
	return bare;
}

/* The converse; `released`: the kernel has them. */
void gy_hugepage_give(struct gy_hugepage *hugepage, unsigned first, unsigned count, bool released)
{
	unsigned longest;
	bool moves;

	INVARIANT(HUGE_1, gy_range_all(hugepage->used, first, count));
	gy_range_clear(hugepage->used, first, count);
	longest = MAX(hugepage->longest_free, run_around(hugepage->used, first, count));
	INVARIANT(HUGE_2, longest == gy_hugepage_longest_run(hugepage->used));
	moves = longest != hugepage->longest_free || hugepage->state != GY_HUGEPAGE_PARTIAL ||
		hugepage->used_count == count;
	if (moves)
		gy_hugepage_unlist(hugepage);
	WRITE_RELAXED(hugepage->used_count, (uint16_t)(hugepage->used_count - count));
	gy_pages.stats.used_pages -= count;
	if (released) {
		gy_range_set(hugepage->released, first, count);
		WRITE_RELAXED(hugepage->released_count,
			      (uint16_t)(hugepage->released_count + count));
		gy_pages.stats.released_pages += count;
	}
	WRITE_RELAXED(hugepage->owner, NULL);
	hugepage->longest_free = (uint16_t)longest;
	if (hugepage->used_count) {
		WRITE_RELAXED(hugepage->state, GY_HUGEPAGE_PARTIAL);
	} else {
		WRITE_RELAXED(hugepage->state, GY_HUGEPAGE_FREE);
		if (hugepage->released_count == GY_HUGEPAGE_PAGES)
			gy_pages.stats.hugepages_released++;
		else
			gy_pages.stats.hugepages_free++;
	}
	WRITE_RELAXED(hugepage->tick, READ_RELAXED(gy_heap_tick));
	WRITE_RELAXED(hugepage->scanned, 0);
	if (moves)
		gy_hugepage_list(hugepage);
}
