/* page_heap_test.c - pages against a model that has an owner for each of them, and the policy.
 *
 * The model is an array: who has page p. Whatever the page heap hands out must be free there,
 * aligned as asked, and zero where it says so; gy_page_heap_check() runs after every step.
 */
#include "heap/page_heap.h"

#include "base/config.h"
#include "heap/heap.h"
#include "heap/hugepage.h"
#include "os/release.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <pthread.h>

#define MODEL_PAGES (256u * 256) /* half a GiB of address space; the memory touched is less */
#define SPANS 400

static uint16_t owner_of[MODEL_PAGES]; /* 0: free, else index of the span + 1 */
static struct gy_span *spans[SPANS];
static size_t most_pages; /* of one span */

static void started(void)
{
	cr_assert(gy_heap_start());
}

TestSuite(page_heap, .init = started);

static struct gy_page_heap_stats stats(void)
{
	struct gy_page_heap_stats now;

	gy_page_heap_read_stats(&now);
	return now;
}

/* A few words of every kernel page: enough to find any page that was used before. */
static void dirty(size_t first, size_t count)
{
	for (size_t page = first; page < first + count; page++)
		for (size_t at = 0; at < GY_PAGE_BYTES; at += 4096)
			gy_page_start(page)[at + 8 * (page % 511)] = 1;
}

static bool is_zero(size_t first, size_t count)
{
	for (size_t page = first; page < first + count; page++)
		for (size_t at = 0; at < GY_PAGE_BYTES; at += 4096)
			if (gy_page_start(page)[at + 8 * (page % 511)])
				return false;
	return true;
}

static void model_own(unsigned which, size_t first, size_t count, unsigned from)
{
	for (size_t page = first; page < first + count; page++) {
		cr_assert_lt(page, (size_t)MODEL_PAGES);
		cr_assert_eq(owner_of[page], from, "page %zu is span %u's", page, owner_of[page]);
		owner_of[page] = (uint16_t)which;
	}
}

static void model_take(unsigned which, uint64_t *rng)
{
	size_t pages = 1 + unit_random(rng) % (unit_random(rng) % 4 ? 12 : most_pages),
	       alignment = 1;
	enum gy_oom_reason reason = GY_OOM_NONE;
	unsigned class_index = 0;
	bool zeroed;

	if (unit_random(rng) % 8 == 0)
		alignment = (size_t)1 << unit_random(rng) % 10;
	if (unit_random(rng) % 2 && pages < 16)
		class_index = 1 + (unsigned)(unit_random(rng) % (GY_CLASS_COUNT - 1));
	spans[which] = gy_page_heap_take(pages, alignment, class_index, false, &zeroed, &reason);
	cr_assert_not_null(spans[which], "reason %d", (int)reason);
	cr_assert_eq(spans[which]->pages, pages);
	cr_assert_eq((uintptr_t)gy_span_start(spans[which]) % (alignment * GY_PAGE_BYTES), 0u,
		     "%zu pages aligned to %zu", pages, alignment);
	model_own(which + 1, spans[which]->first_page, pages, 0);
	if (zeroed)
		cr_assert(is_zero(spans[which]->first_page, pages), "%zu pages", pages);
	dirty(spans[which]->first_page, pages);
}

static void model_give(unsigned which)
{
	model_own(0, spans[which]->first_page, spans[which]->pages, which + 1);
	gy_page_heap_give(spans[which]);
	spans[which] = NULL;
}

static void model_resize(unsigned which, uint64_t *rng)
{
	struct gy_span *span = spans[which];
	size_t before = span->pages, pages = before;

	if (span->kind != GY_SPAN_LARGE)
		return;
	if (unit_random(rng) % 2) {
		pages = before + 1 + unit_random(rng) % 300;
		if (!gy_page_heap_extend(span, pages)) {
			cr_assert_eq(span->pages, before);
			return;
		}
		model_own(which + 1, span->first_page + before, pages - before, 0);
		dirty(span->first_page + before, pages - before);
	} else if (before > 1) {
		pages = 1 + unit_random(rng) % (before - 1);
		gy_page_heap_shrink(span, pages);
		model_own(0, span->first_page + pages, before - pages, which + 1);
	}
	cr_assert_eq(span->pages, pages);
	cr_assert_eq(gy_span_of_page(span->first_page), span);
	cr_assert_eq(gy_span_of_page(span->first_page + span->pages - 1), span);
}

/* What the scavenger does to one huge page; `done`: the kernel took them. */
static void model_release(size_t index, uint64_t *rng)
{
	struct gy_page_range ranges[GY_HUGEPAGE_PAGES / 2];
	bool done = unit_random(rng) % 4 != 0;
	unsigned count = gy_page_heap_release_begin(index, unit_random(rng) % 2, ranges);

	gy_page_heap_check();
	for (unsigned i = 0; i < count; i++) {
		struct iovec range = {gy_page_start(ranges[i].first_page),
				      ranges[i].pages * GY_PAGE_BYTES};

		model_own(UINT16_MAX, ranges[i].first_page, ranges[i].pages, 0);
		if (done) {
			struct gy_release_result result = {0, 0, 0};

			cr_assert_eq(gy_release(&range, 1, ranges[i].part, &result), 0);
		}
	}
	/* What is in hand is nobody else's meanwhile (SCAV-1). */
	for (unsigned i = 0; i < 3; i++) {
		unsigned which = (unsigned)(unit_random(rng) % SPANS);

		if (!spans[which])
			model_take(which, rng);
	}
	for (unsigned i = 0; i < count; i++)
		model_own(0, ranges[i].first_page, ranges[i].pages, UINT16_MAX);
	gy_page_heap_release_end(ranges, count, done);
}

static void model_run(uint64_t seed, unsigned steps, bool with_release)
{
	uint64_t rng = seed, used = 0;

	for (unsigned n = 0; n < steps; n++) {
		unsigned which = (unsigned)(unit_random(&rng) % SPANS);
		/* phases of growth and of decay */
		bool grow = unit_random(&rng) % 100 < (n / 500 % 2 ? 35 : 65);

		if (with_release && n % 16 == 0)
			model_release(unit_random(&rng) % gy_page_heap_hugepage_count(), &rng);
		else if (!spans[which] && grow)
			model_take(which, &rng);
		else if (spans[which] && unit_random(&rng) % 8 == 0)
			model_resize(which, &rng);
		else if (spans[which] && !grow)
			model_give(which);
		gy_page_heap_check();
	}
	for (unsigned i = 0; i < MODEL_PAGES; i++)
		used += owner_of[i] != 0;
	cr_assert_eq(stats().used_pages, used);
	for (unsigned i = 0; i < SPANS; i++)
		if (spans[i])
			model_give(i);
	gy_page_heap_check();
	cr_assert_eq(stats().used_pages, 0u);
	cr_assert_eq(stats().hugepages_free + stats().hugepages_released, stats().hugepages);
}

Test(page_heap, PAGE_1_small_spans_against_a_model)
{
	most_pages = 64;
	model_run(1, UNIT_SLOW ? 1500 : 6000, false);
}

Test(page_heap, PAGE_1_spans_of_all_lengths_against_a_model)
{
	most_pages = 700;
	model_run(2, UNIT_SLOW ? 1000 : 3000, false);
}

Test(page_heap, HUGE_3_released_pages_read_as_zero_and_the_rest_is_told_apart)
{
	enum gy_oom_reason reason;
	bool zeroed;

	most_pages = 300;
	spans[0] = gy_page_heap_take(1, 1, 0, false, &zeroed,
				     &reason); /* so that there is a huge page */
	cr_assert(zeroed);
	model_own(1, spans[0]->first_page, 1, 0);
	dirty(spans[0]->first_page, 1);
	model_run(3, UNIT_SLOW ? 1200 : 4000, true);
}

Test(page_heap, extending_stops_at_a_neighbour_and_shrinking_makes_room)
{
	enum gy_oom_reason reason;
	bool zeroed;
	struct gy_span *a = gy_page_heap_take(600, 1, 0, false, &zeroed, &reason), *b;
	size_t end = (size_t)a->first_page + 600;

	cr_assert_neq(gy_page_heap_extend(a, 700), false);
	cr_assert_eq(a->pages, 700u);
	gy_page_heap_shrink(a, 600);
	b = gy_page_heap_take(1, 1, 0, false, &zeroed, &reason);
	if (b->first_page == end) {
		cr_assert_not(gy_page_heap_extend(a, 601));
		cr_assert_eq(a->pages, 600u);
	}
	cr_assert_not(gy_page_heap_extend(a, (size_t)1 << 34)); /* the range ends before */
	/* SPAN-4: cut inside of a huge page that was owned whole */
	gy_page_heap_shrink(a, 256 + 17);
	cr_assert_eq(gy_span_of_page(a->first_page + 256 + 16), a);
	cr_assert_neq(gy_span_of_page(a->first_page + 256 + 17), a);
	gy_page_heap_check();
	gy_page_heap_give(a);
	gy_page_heap_give(b);
	gy_page_heap_check();
}

/* ---- policy ---- */
#define ROOMS 4
static const size_t room[ROOMS] = {10, 40, 100, 200};

/* Huge pages with that much room each, at their ends. */
static void make_rooms(struct gy_span *whole[ROOMS])
{
	enum gy_oom_reason reason;
	bool zeroed;

	for (unsigned i = 0; i < ROOMS; i++)
		whole[i] = gy_page_heap_take(GY_HUGEPAGE_PAGES, GY_HUGEPAGE_PAGES, 0, false,
					     &zeroed, &reason);
	for (unsigned i = 0; i < ROOMS; i++)
		gy_page_heap_shrink(whole[i], GY_HUGEPAGE_PAGES - room[i]);
}

static size_t hugepage_of(const struct gy_span *span)
{
	return span->first_page / GY_HUGEPAGE_PAGES;
}

Test(page_heap, PAGE_2_the_fullest_that_fits_is_filled_first)
{
	static const struct {
		size_t pages;
		unsigned expected;
	} cases[] = {{11, 1}, {101, 3}, {41, 3}, {10, 0}, {29, 1}, {1, 3}, {60, 2}};
	struct gy_span *whole[ROOMS], *span;
	enum gy_oom_reason reason;
	bool zeroed;

	make_rooms(whole);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		span = gy_page_heap_take(cases[i].pages, 1, 0, false, &zeroed, &reason);
		cr_assert_eq(hugepage_of(span), hugepage_of(whole[cases[i].expected]), "case %u",
			     i);
		gy_page_heap_check();
	}
}

Test(page_heap, PAGE_2_broken_huge_pages_come_last)
{
	struct gy_span *whole[ROOMS], *span;
	enum gy_oom_reason reason;
	bool zeroed;

	make_rooms(whole);
	gy_page_heap_mark_broken(whole[0]->first_page);
	gy_page_heap_mark_broken(whole[1]->first_page);
	cr_assert_eq(stats().hugepages_broken, 2u);
	gy_page_heap_check();
	span = gy_page_heap_take(5, 1, 0, false, &zeroed, &reason);
	cr_assert_eq(hugepage_of(span), hugepage_of(whole[2]));
	/* before a free huge page is begun, a broken one serves */
	for (unsigned i = 2; i < ROOMS; i++)
		cr_assert(gy_page_heap_extend(whole[i], whole[i]->pages + (i == 2 ? 0 : room[i])));
	span = gy_page_heap_take(95, 1, 0, false, &zeroed, &reason);
	cr_assert_eq(hugepage_of(span), hugepage_of(whole[2]));
	span = gy_page_heap_take(5, 1, 0, false, &zeroed, &reason);
	cr_assert_eq(hugepage_of(span), hugepage_of(whole[0]));
	gy_page_heap_check();
}

Test(page_heap, PAGE_3_whole_huge_pages_come_back_and_serve_large_blocks)
{
	enum { COUNT = 2000 };
	static struct gy_span *small[COUNT];
	enum gy_oom_reason reason;
	struct gy_span *large;
	uint64_t hugepages;
	bool zeroed;

	for (unsigned i = 0; i < COUNT; i++)
		small[i] = gy_page_heap_take(2, 1, 1, false, &zeroed, &reason);
	hugepages = stats().hugepages;
	for (unsigned i = 0; i < COUNT; i++)
		gy_page_heap_give(small[(i * 7) % COUNT]);
	gy_page_heap_check();
	cr_assert_eq(stats().hugepages_free + stats().hugepages_released, hugepages);
	cr_assert_eq(stats().used_pages, 0u);
	/* all of it in one piece */
	large = gy_page_heap_take(hugepages * GY_HUGEPAGE_PAGES, 1, 0, false, &zeroed, &reason);
	cr_assert_not_null(large);
	cr_assert_eq(stats().hugepages, hugepages, "the heap grew although it was empty");
	cr_assert_not(zeroed && hugepages > 20 && stats().released_pages);
	gy_page_heap_give(large);
	gy_page_heap_check();
}

/* Backed huge pages are used before ones that would have to be faulted in. */
Test(page_heap, backed_before_released)
{
	struct gy_page_range ranges[GY_HUGEPAGE_PAGES / 2];
	enum gy_oom_reason reason;
	struct gy_span *three = NULL, *span;
	unsigned count;
	size_t first;
	bool zeroed;

	three = gy_page_heap_take(3 * GY_HUGEPAGE_PAGES, 1, 0, false, &zeroed, &reason);
	first = hugepage_of(three);
	gy_page_heap_give(three);
	for (size_t i = first; i < first + 3; i += 2) {
		count = gy_page_heap_release_begin(i, true, ranges);
		cr_assert_eq(count, 1u);
		cr_assert_eq(ranges[0].pages, GY_HUGEPAGE_PAGES);
		cr_assert_not(ranges[0].part);
		gy_page_heap_release_end(ranges, count, true);
	}
	cr_assert_eq(stats().hugepages_free, 1u);
	span = gy_page_heap_take(4, 1, 1, false, &zeroed, &reason);
	cr_assert_eq(hugepage_of(span), first + 1);
	cr_assert_not(zeroed);
	gy_page_heap_check();
}

/* Worth it: dense, whole, not huge already, in a heap that is large; and asked once. */
Test(page_heap, what_is_worth_a_collapse)
{
	enum gy_oom_reason reason;
	struct gy_span *dense, *thin, *broken, *ballast;
	bool zeroed;

	dense = gy_page_heap_take(GY_HUGEPAGE_PAGES, GY_HUGEPAGE_PAGES, 0, false, &zeroed, &reason);
	thin = gy_page_heap_take(GY_HUGEPAGE_PAGES, GY_HUGEPAGE_PAGES, 0, false, &zeroed, &reason);
	broken =
		gy_page_heap_take(GY_HUGEPAGE_PAGES, GY_HUGEPAGE_PAGES, 0, false, &zeroed, &reason);
	cr_assert_not(gy_page_heap_worth_collapse(hugepage_of(dense)), "one large block's");
	gy_page_heap_shrink(dense, GY_HUGEPAGE_PAGES - 2);
	gy_page_heap_shrink(thin, GY_HUGEPAGE_PAGES / 2);
	gy_page_heap_shrink(broken, GY_HUGEPAGE_PAGES - 2);
	gy_page_heap_mark_broken(broken->first_page);
	cr_assert_not(gy_page_heap_worth_collapse(hugepage_of(dense)), "in a small heap");
	ballast = gy_page_heap_take(200 * GY_HUGEPAGE_PAGES, 1, 0, false, &zeroed, &reason);
	cr_assert_not_null(ballast);
	cr_assert_not(gy_page_heap_worth_collapse(hugepage_of(thin)));
	cr_assert_not(gy_page_heap_worth_collapse(hugepage_of(broken)));
	cr_assert(gy_page_heap_worth_collapse(hugepage_of(dense)));
	cr_assert_not(gy_page_heap_worth_collapse(hugepage_of(dense)), "once");
	gy_page_heap_collapsed(hugepage_of(dense));
	gy_page_heap_check();
	cr_assert_eq(gy_map.hugepages[hugepage_of(dense)].advised, 1);
	cr_assert_eq(gy_map.hugepages[hugepage_of(dense)].released_count, 0); /* HUGE-4 */
}

/* Takes all but one page of a fresh huge page for the collector: was it asked to be huge? */
static bool begins_huge(size_t *index)
{
	enum gy_oom_reason reason;
	bool zeroed;
	struct gy_span *span = gy_page_heap_take(GY_HUGEPAGE_PAGES - 1, 1, GY_CLASS_COLLECTED,
						 false, &zeroed, &reason);

	cr_assert_not_null(span);
	*index = hugepage_of(span);
	return gy_map.hugepages[*index].advised;
}

/* HUGE-6 */
Test(page_heap, after_a_slow_first_touch_small_pages_for_a_while)
{
	enum gy_oom_reason reason;
	size_t index;
	bool zeroed;

	WRITE_RELAXED(gy_option_values[GY_OPT_hugepage], 1);
	/* Past those that begin on small pages anyway. */
	cr_assert_not_null(
		gy_page_heap_take(64 * GY_HUGEPAGE_PAGES, 1, 0, false, &zeroed, &reason));
	for (unsigned i = 0; i < 3; i++) {
		cr_assert(begins_huge(&index));
		gy_page_heap_filled(index, GY_SLOW_FILL_NS - 1);
	}
	gy_page_heap_filled(0, GY_SLOW_FILL_NS); /* which was not asked to be huge */
	cr_assert(begins_huge(&index));
	gy_page_heap_filled(index, GY_SLOW_FILL_NS);
	for (unsigned i = 0; i < GY_PLAIN_AFTER_SLOW; i++)
		cr_assert_not(begins_huge(&index));
	gy_page_heap_filled(index, GY_SLOW_FILL_NS); /* nor was this */
	cr_assert(begins_huge(&index));
	cr_assert(begins_huge(&index));
	gy_page_heap_check();
}

Test(page_heap, alignment_up_to_many_huge_pages)
{
	enum gy_oom_reason reason = GY_OOM_NONE;
	bool zeroed;

	for (size_t alignment = 1; alignment <= 16 * GY_HUGEPAGE_PAGES; alignment *= 2) {
		for (size_t pages = 1; pages <= 4 * GY_HUGEPAGE_PAGES; pages = pages * 3 + 1) {
			struct gy_span *span =
				gy_page_heap_take(pages, alignment, 0, false, &zeroed, &reason);

			cr_assert_not_null(span, "%zu pages aligned to %zu: %d", pages, alignment,
					   (int)reason);
			cr_assert_eq((uintptr_t)gy_span_start(span) % (alignment * GY_PAGE_BYTES),
				     0u, "%zu pages aligned to %zu", pages, alignment);
			gy_page_heap_check();
			gy_page_heap_give(span);
		}
	}
}

/* ---- what cannot be had ---- */
Test(page_heap, refusals_name_their_reason_and_leave_the_heap_whole)
{
	enum gy_oom_reason reason = GY_OOM_NONE;
	struct gy_span *span;
	bool zeroed;

	cr_assert_null(gy_page_heap_take((size_t)1 << 40, 1, 0, false, &zeroed, &reason));
	cr_assert_eq(reason, GY_OOM_RANGE);
	cr_assert_null(gy_page_heap_take(1, (size_t)1 << 40, 0, false, &zeroed, &reason));
	cr_assert_eq(reason, GY_OOM_RANGE);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mprotect;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	cr_assert_null(gy_page_heap_take(600, 1, 0, false, &zeroed, &reason));
	cr_assert_eq(reason, GY_OOM_REFUSED);
	gy_page_heap_check();
	gy_option_values[GY_OPT_fault_call] = 0;
	span = gy_page_heap_take(600, 1, 0, false, &zeroed, &reason);
	cr_assert_not_null(span);
	gy_page_heap_check();
	/* the limit is asked for pages without memory only */
	gy_option_values[GY_OPT_memory_limit] = 8 << 20;
	cr_assert_null(gy_page_heap_take(2000, 1, 0, false, &zeroed, &reason));
	cr_assert_eq(reason, GY_OOM_LIMIT);
	cr_assert_eq(stats().limit_bytes, 8u << 20);
	gy_page_heap_check();
	gy_page_heap_give(span);
	span = gy_page_heap_take(600, 1, 0, false, &zeroed, &reason);
	cr_assert_not_null(span, "600 pages that have their memory already");
	cr_assert_not(zeroed);
	gy_option_values[GY_OPT_memory_limit] = 1;
	cr_assert_not_null(gy_page_heap_take(2000, 1, 0, false, &zeroed, &reason));
	gy_page_heap_check();
}

/* Many small takes must not slip below a limit that is asked only now and then. */
Test(page_heap, a_limit_holds_for_small_spans_too)
{
	enum gy_oom_reason reason = GY_OOM_NONE;
	size_t pages = 0;
	bool zeroed;

	gy_option_values[GY_OPT_memory_limit] = 64 << 20;
	while (gy_page_heap_take(2, 1, 1, false, &zeroed, &reason) && pages < 100000)
		pages += 2;
	cr_assert_eq(reason, GY_OOM_LIMIT);
	cr_assert_geq(pages * GY_PAGE_BYTES, (size_t)60 << 20);
	cr_assert_leq(pages * GY_PAGE_BYTES, (size_t)66 << 20);
}

/* ---- threads ---- */
static void *churn(void *argument)
{
	uint64_t rng = (uintptr_t)argument;
	struct gy_span *held[24] = {NULL};

	for (unsigned n = 0; n < (UNIT_SLOW ? 3000u : 20000u); n++) {
		unsigned at = (unsigned)(unit_random(&rng) % ARRAY_SIZE(held));
		uintptr_t *word = held[at] ? (uintptr_t *)(void *)gy_span_start(held[at]) : NULL;
		enum gy_oom_reason reason;
		bool zeroed;

		if (word) {
			if (word[0] != (uintptr_t)argument ||
			    word[gy_span_bytes(held[at]) / 8 - 1] != (uintptr_t)argument)
				return argument;
			gy_page_heap_give(held[at]);
			held[at] = NULL;
			continue;
		}
		held[at] = gy_page_heap_take(1 + unit_random(&rng) % (n % 50 ? 20 : 400), 1, n % 2,
					     false, &zeroed, &reason);
		if (!held[at])
			return argument;
		word = (uintptr_t *)(void *)gy_span_start(held[at]);
		word[0] = word[gy_span_bytes(held[at]) / 8 - 1] = (uintptr_t)argument;
	}
	for (unsigned at = 0; at < ARRAY_SIZE(held); at++)
		if (held[at])
			gy_page_heap_give(held[at]);
	return NULL;
}

Test(page_heap, threads_never_share_a_page)
{
	unit_four_threads(churn);
	gy_page_heap_check();
	cr_assert_eq(stats().used_pages, 0u);
}
