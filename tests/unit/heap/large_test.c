/* large_test.c - blocks of whole pages: what is kept for the next, counted, aged and let go. */
#include "heap/large.h"

#include "base/config.h"
#include "heap/heap.h"
#include "heap/misuse.h"
#include "heap/thread_cache.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <pthread.h>

static void started(void)
{
	cr_assert(gy_heap_start());
}

TestSuite(large, .init = started);

static struct gy_span *take(size_t pages)
{
	enum gy_oom_reason reason = GY_OOM_NONE;
	bool zeroed;
	struct gy_span *span = gy_large_take(pages, 1, false, &zeroed, &reason);

	cr_assert_not_null(span);
	cr_assert_eq(span->kind, GY_SPAN_LARGE);
	cr_assert_geq(span->pages, pages);
	if (zeroed)
		for (size_t at = 0; at < gy_span_bytes(span); at += 512)
			cr_assert_eq(gy_span_start(span)[at], 0);
	memset(gy_span_start(span), 0x11, gy_span_bytes(span));
	return span;
}

static struct gy_large_stats stats(void)
{
	struct gy_large_stats now;

	gy_large_read_stats(&now);
	return now;
}

/* The thread's own first: it is in the common lists then. */
static void give_all(void)
{
	gy_heap_flush();
	gy_large_drain(0);
}

static uint64_t used_pages(void)
{
	struct gy_page_heap_stats now;

	gy_page_heap_read_stats(&now);
	return now.used_pages;
}

Test(large, LARGE_3_counters_are_of_what_the_program_has)
{
	struct gy_span *spans[100];
	uint64_t pages = 0;

	for (unsigned i = 0; i < 100; i++) {
		spans[i] = take(5 + i * 3);
		pages += spans[i]->pages;
	}
	cr_assert_eq(stats().blocks, 100u);
	cr_assert_eq(stats().mallocs, 100u);
	cr_assert_eq(stats().pages, pages);
	for (unsigned i = 0; i < 100; i++) {
		pages -= spans[i]->pages;
		gy_large_give(spans[i]);
		cr_assert_eq(stats().pages, pages);
	}
	cr_assert_eq(stats().blocks, 0u);
	cr_assert_eq(stats().mallocs, 100u);
	cr_assert_eq(used_pages(), stats().kept_pages);
	give_all();
	cr_assert_eq(stats().kept_pages, 0u);
	cr_assert_eq(used_pages(), 0u);
	gy_page_heap_check();
}

Test(large, LARGE_1_what_is_kept_is_no_block)
{
	struct gy_span *span = take(13);
	char *start = gy_span_start(span);

	gy_large_give(span);
	if (stats().kept_pages) {
		cr_assert_eq(gy_span_of_page(gy_page_of(start))->kind, GY_SPAN_NONE);
		cr_assert_eq(gy_span_start(take(13)), start,
			     "the last one given is the next taken");
	}
}

Test(large, LARGE_2_a_short_kept_span_serves_its_own_length_only)
{
	struct gy_span *a = take(10), *b = take(11);
	char *a_start = gy_span_start(a), *b_start = gy_span_start(b);

	gy_large_give(a);
	gy_large_give(b);
	for (unsigned pages = 5; pages < 40; pages++) {
		struct gy_span *span = take(pages);

		if (pages != 10)
			cr_assert_neq(gy_span_start(span), a_start);
		if (pages != 11)
			cr_assert_neq(gy_span_start(span), b_start);
	}
	gy_page_heap_check();
}

Test(large, LARGE_2_a_long_kept_span_serves_what_is_up_to_a_quarter_shorter)
{
	struct gy_span *a = take(40);

	for (unsigned common = 0; common < 2; common++) {
		gy_large_give(a);
		if (common) {
			gy_heap_flush();
		} else {
			cr_assert_neq(take(24), a);
			cr_assert_neq(take(44), a);
		}
		cr_assert_eq(take(32), a);
		cr_assert_eq(a->pages, 40u);
	}
	gy_page_heap_check();
}

Test(large, LARGE_6_each_length_has_an_index)
{
	unsigned last = 0;

	cr_assert_eq(gy_large_index(1), 0u);
	for (size_t pages = 1; pages <= GY_LARGE_KEEP_PAGES; pages++) {
		unsigned index = gy_large_index(pages);

		cr_assert_lt(index, GY_LARGE_LENGTHS);
		cr_assert(index == last || index == last + 1);
		cr_assert_geq(gy_large_length(index), pages);
		if (index)
			cr_assert_lt(gy_large_length(index - 1), pages);
		last = index;
	}
	cr_assert_eq(last, GY_LARGE_LENGTHS - 1);
}

Test(large, LARGE_7_a_thread_keeps_what_it_had_at_once)
{
	static struct gy_span *spans[200];
	uint64_t peak;

	for (unsigned i = 0; i < 200; i++)
		spans[i] = take(8);
	peak = used_pages();
	for (unsigned i = 0; i < 200; i++)
		gy_large_give(spans[i]);
	/* All of them serve again, and the page heap is not asked. */
	for (unsigned i = 0; i < 200; i++)
		spans[i] = take(8);
	cr_assert_eq(used_pages(), peak);
	for (unsigned i = 0; i < 200; i++)
		gy_large_give(spans[i]);
	/* Of another length as much: what was kept of the first makes room. */
	for (unsigned i = 0; i < 100; i++)
		spans[i] = take(16);
	cr_assert_leq(used_pages(), peak + GY_LARGE_KEEP_PAGES);
	for (unsigned i = 0; i < 100; i++)
		gy_large_give(spans[i]);
	give_all();
	cr_assert_eq(used_pages(), 0u);
	gy_page_heap_check();
}

Test(large, what_a_thread_no_longer_uses_goes)
{
	struct gy_thread_cache *cache;

	gy_heap_tick = 1000;
	gy_large_give(take(20));
	cache = gy_thread_cache_begin();
	cr_assert_neq(cache, GY_NO_CACHE);
	gy_large_look_own(&cache->large); /* remembers */
	gy_heap_tick = 1010;
	gy_large_look_own(&cache->large);
	cr_assert_eq(cache->large.kept_pages, 20u);
	gy_heap_tick = 1100;
	gy_large_look_own(&cache->large);
	cr_assert_eq(cache->large.kept_pages, 0u);
	gy_thread_cache_end(cache);
	gy_large_drain(0);
	cr_assert_eq(used_pages(), 0u);
}

Test(large, LARGE_1_kept_twice_is_found_when_taken_twice)
{
	struct gy_span *span = take(20), *first, *second;

	gy_option_values[GY_OPT_on_misuse] = 1; /* continue */
	gy_large_give(span);
	cr_assert_not(gy_large_give(span), "freed twice, one after the other");
	cr_assert_eq(gy_misuse_count(), 0u); /* that is for the caller to report */
	span->kind = GY_SPAN_LARGE;          /* as two threads at the same instant might see it */
	gy_large_give(span);
	first = take(20);
	second = take(20);
	cr_assert_eq(first, span);
	cr_assert_neq(second, span);
	cr_assert_eq(gy_misuse_count(), 1u);
}

Test(large, LARGE_4_what_is_kept_was_in_use_at_once)
{
	struct gy_span *spans[60];
	uint64_t peak = 0;

	/* In turn 60 blocks of one length, then of others: what one leaves is not kept beside what
	 * the next one needs. */
	for (size_t pages = 65; pages < 125; pages += 12) {
		for (unsigned i = 0; i < 15; i++)
			spans[i] = take(pages);
		peak = MAX(peak, stats().pages);
		cr_assert_leq(used_pages(), peak);
		for (unsigned i = 0; i < 15; i++)
			gy_large_give(spans[i]);
		cr_assert_gt(stats().kept_pages, 0u);
		cr_assert_leq(stats().kept_pages, peak);
	}
	give_all();
	cr_assert_eq(used_pages(), 0u);
	gy_page_heap_check();
}

Test(large, LARGE_5_lengths_that_do_not_come_again_are_not_kept)
{
	struct gy_span *spans[100];

	for (unsigned i = 0; i < 100; i++)
		spans[i] = take(20 + i);
	for (unsigned i = 0; i < 100; i++)
		gy_large_give(spans[i]);
	/* The last few lengths that were asked for, in common and the thread's own; of 54 MiB. */
	cr_assert_gt(stats().kept_pages, 0u);
	cr_assert_leq(stats().kept_pages * GY_PAGE_BYTES, (size_t)20 << 20);
	give_all();
	gy_page_heap_check();
}

Test(large, LARGE_6_lengths_in_eight_steps_a_doubling)
{
	for (size_t pages = 1; pages < 1000; pages++) {
		size_t rounded = gy_large_round_up(pages);

		cr_assert_geq(rounded, pages);
		cr_assert_leq((rounded - pages) * 8, pages);
		cr_assert_eq(gy_large_round_up(rounded), rounded);
	}
	cr_assert_eq(gy_large_round_up(17), 18u);
	cr_assert_eq(gy_large_round_up(64), 64u);
	cr_assert_eq(gy_large_round_up(65), 72u);
	cr_assert_eq(gy_large_round_up(128), 128u);
	cr_assert_eq(gy_large_round_up(129), 129u);
}

static void *keep_and_end(void *argument)
{
	struct gy_span *span = take(13);

	(void)argument;
	gy_large_give(span);
	return span;
}

Test(large, what_a_thread_kept_serves_others_after_its_end)
{
	pthread_t thread;
	void *span;

	cr_assert_eq(pthread_create(&thread, NULL, keep_and_end, NULL), 0);
	pthread_join(thread, &span);
	cr_assert_eq(stats().blocks, 0u);
	cr_assert_eq(stats().kept_pages, 13u);
	cr_assert_eq((void *)take(13), span);
	cr_assert_eq(stats().blocks, 1u);
	cr_assert_eq(stats().mallocs, 2u);
}

Test(large, what_is_kept_is_bounded)
{
	enum { COUNT = 3000 };
	static struct gy_span *spans[COUNT];

	for (unsigned i = 0; i < COUNT; i++)
		spans[i] = take(5 + i % 20);
	for (unsigned i = 0; i < COUNT; i++)
		gy_large_give(spans[i]);
	cr_assert_leq(stats().kept_pages * GY_PAGE_BYTES, (size_t)81 << 20);
	cr_assert_eq(used_pages(), stats().kept_pages);
	gy_page_heap_check();
}

Test(large, what_is_old_goes_and_what_is_young_stays)
{
	struct gy_span *a, *b;

	gy_heap_tick = 1000;
	a = take(10);
	b = take(12);
	gy_large_give(a);
	gy_heap_flush();
	gy_heap_tick = 1010;
	gy_large_give(b);
	gy_heap_flush();
	if (!stats().kept_pages)
		cr_skip("nothing is kept");
	gy_large_drain(1000);
	cr_assert_eq(stats().kept_pages, 22u);
	gy_large_drain(1001);
	cr_assert_eq(stats().kept_pages, 12u);
	gy_large_drain(1011);
	cr_assert_eq(stats().kept_pages, 0u);
	cr_assert_eq(used_pages(), 0u);
}

Test(large, kept_spans_go_before_memory_is_said_to_lack)
{
	struct gy_span *spans[40];
	void *block;

	for (unsigned i = 0; i < 40; i++)
		spans[i] = take(20);
	for (unsigned i = 0; i < 40; i++)
		gy_large_give(spans[i]);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mprotect; /* the heap cannot grow */
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	block = gy_heap_alloc(200 * GY_PAGE_BYTES, 0);
	cr_assert_not_null(block);
	gy_heap_free(block, 0);
	gy_page_heap_check();
}

Test(large, resizing_keeps_the_books)
{
	struct gy_span *span = take(100);
	uint64_t rng = 5;

	for (unsigned i = 0; i < 300; i++) {
		size_t pages = 1 + unit_random(&rng) % 900, before = span->pages;

		if (gy_large_resize(span, pages))
			cr_assert_eq(span->pages, pages);
		else
			cr_assert(pages > before && span->pages == before);
		cr_assert_eq(stats().pages, span->pages);
		cr_assert_eq(stats().blocks, 1u);
		memset(gy_span_start(span), 1, gy_span_bytes(span));
		gy_page_heap_check();
	}
	gy_large_give(span);
	give_all();
	cr_assert_eq(used_pages(), 0u);
}

static void *churn(void *argument)
{
	uint64_t rng = (uintptr_t)argument;
	struct gy_span *held[16] = {NULL};

	for (unsigned n = 0; n < (UNIT_SLOW ? 2000u : 10000u); n++) {
		struct gy_span **slot = &held[unit_random(&rng) % 16];

		if (*slot) {
			if (*(uintptr_t *)(void *)gy_span_start(*slot) != (uintptr_t)argument)
				return argument;
			gy_large_give(*slot);
			*slot = NULL;
		} else {
			enum gy_oom_reason reason;
			bool zeroed;

			*slot = gy_large_take(5 + unit_random(&rng) % 36, 1, false, &zeroed,
					      &reason);
			if (!*slot)
				return argument;
			*(uintptr_t *)(void *)gy_span_start(*slot) = (uintptr_t)argument;
		}
		if (n % 500 == 0)
			gy_large_drain(0);
	}
	for (unsigned i = 0; i < 16; i++)
		if (held[i])
			gy_large_give(held[i]);
	return NULL;
}

Test(large, threads_never_share_a_block)
{
	unit_four_threads(churn);
	give_all();
	cr_assert_eq(used_pages(), 0u);
	cr_assert_eq(stats().blocks, 0u);
	gy_page_heap_check();
}
