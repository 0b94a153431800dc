/* sampled_test.c - where samples lie, how free knows them, and their shelves. */
#include "heap/sampled.h"

#include "base/config.h"
#include "heap/hooks.h"
#include "heap/misuse.h"
#include "trace/sampler.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample] = 0;
	gy_option_values[GY_OPT_sample_stack] = 3;
}

TestSuite(sampled, .init = quiet);

static struct gy_thread_cache *own(void)
{
	struct gy_thread_cache *cache = gy_tls.cache;

	return cache == GY_NO_CACHE ? gy_thread_cache_attach() : cache;
}

/* A block that is a sample. */
static void *sample_of(size_t bytes)
{
	void *block;

	own(); /* its other classes are never sampled */
	gy_option_values[GY_OPT_sample] = 1;
	if (bytes <= GY_CLASS_MAX_BYTES) {
		own()->bins[gy_class_of_request(bytes)].countdown = 0;
		own()->cold[gy_class_of_request(bytes)].start = 0;
	}
	block = unit_malloc(bytes);
	gy_option_values[GY_OPT_sample] = 0;
	if (bytes <= GY_CLASS_MAX_BYTES)
		gy_thread_cache_rearm(own(), gy_class_of_request(bytes));
	return block;
}

static struct gyre_samples {
	uint64_t samples, live;
} counts(void)
{
	struct gy_sampler_counts now;

	gy_sampler_counts(&now);
	return (struct gyre_samples){now.samples, now.live};
}

/* ---- the page's record ---- */
Test(sampled, META_6_the_page_tells_class_and_start)
{
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		size_t bytes = gy_size_classes[c].bytes;
		const struct gy_page_info *info;
		char *block;

		if (gy_class_of_request(bytes) != c)
			continue;
		block = sample_of(bytes);
		info = &gy_map.page_info[gy_page_of(block)];
		cr_assert_eq(info->bin, 0);
		cr_assert_eq(info->sampled, (uint16_t)(c | GY_PAGE_SAMPLED));
		cr_assert_lt((uint32_t)(uintptr_t)block * gy_size_classes[c].magic + info->bias,
			     gy_size_classes[c].magic);
		cr_assert_eq(gy_span_of_page(gy_page_of(block))->sampled, !gy_sampled_in_place(c));
		cr_assert(gy_sampled_is(block));
		cr_assert_not(unit_fast_free(block));
		cr_assert_eq(gy_heap_usable_size(block, 0), bytes);
		cr_assert_eq(counts().live, 1u);
		gy_heap_free(block, 0);
		cr_assert_eq(counts().live, 0u);
	}
	gy_heap_check();
	gy_sampler_check();
}

/* SAMPLED-1: neighbours take the fast path, and so does the block when it is no sample any more. */
Test(sampled, SAMPLED_1_a_page_or_more_is_marked_in_place)
{
	static const size_t sizes[] = {8192, 10240, 12288, 16384, 20480, 32768};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *before = unit_malloc(sizes[i]), *sample = sample_of(sizes[i]);
		void *after = unit_malloc(sizes[i]), *again;

		cr_assert(gy_sampled_is(sample));
		cr_assert_not(gy_sampled_is(before) || gy_sampled_is(after));
		cr_assert(unit_fast_free(before));
		cr_assert(unit_fast_free(after));
		gy_heap_free(sample, 0);
		cr_assert_not(gy_sampled_is(sample));
		again = unit_malloc(sizes[i]);
		cr_assert_eq(again, sample, "freed last, it is the next of the bin");
		cr_assert(unit_fast_free(again));
	}
	gy_heap_check();
}

/* SAMPLE-4: a sample that was lost is a block like any other. */
Test(sampled, free_without_a_record)
{
	static const size_t sizes[] = {64, 5000, 8192, 32768, 100000};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *block = sample_of(sizes[i]);

		cr_assert_eq(gy_sample_free(block, 0), GY_SAMPLE_ENDED);
		gy_heap_free(block, 0);
		block = sample_of(sizes[i]);
		gy_sample_free(block, 0);
		gy_heap_free_sized(block, sizes[i], 0, 0);
	}
	gy_heap_check();
	gy_sampler_check();
	cr_assert_eq(counts().live, 0u);
}

Test(sampled, sized_free_and_realloc_end_a_sample)
{
	static const size_t sizes[] = {64, 5000, 8192, 32768, 100000};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *block = sample_of(sizes[i]);

		gy_heap_free_sized(block, sizes[i], 0, 0);
		cr_assert_eq(counts().live, 0u);
		block = sample_of(sizes[i]);
		block = gy_heap_realloc(block, sizes[i] * 3, 0);
		cr_assert_eq(counts().live, 0u);
		gy_heap_free(block, 0);
	}
	gy_sampler_check();
}

Test(sampled, HEAP_3_errno_stays)
{
	errno = 77;
	for (unsigned i = 0; i < 200; i++)
		gy_heap_free(sample_of(i % 2 ? 100 : 9000), 0);
	cr_assert_eq(errno, 77);
}

/* ---- shelves ---- */
static bool shelve(unsigned c, void *block)
{
	bool taken;

	gy_lock_acquire(&gy_sampler_lock);
	taken = gy_shelf_give_locked(c, block);
	gy_lock_release(&gy_sampler_lock);
	return taken;
}

static void *unshelve(unsigned c)
{
	void *block;

	gy_lock_acquire(&gy_sampler_lock);
	block = gy_shelf_take_locked(c);
	gy_lock_release(&gy_sampler_lock);
	return block;
}

Test(sampled, SAMPLED_2_what_waits_is_free_and_counted)
{
	unsigned c = gy_class_of_request(100), room = 0;
	struct gy_central *central = &gy_centrals[1][c];
	void *blocks[32];

	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
		cr_assert_not_null(blocks[i] = gy_sampled_take(c));
	cr_assert_null(unshelve(c));
	while (room < ARRAY_SIZE(blocks) && shelve(c, blocks[room]))
		room++;
	cr_assert(room > 1 && room < ARRAY_SIZE(blocks), "%u", room);
	cr_assert_eq(gy_sampled_waiting(c), room);
	cr_assert_eq(central->taken - central->given, ARRAY_SIZE(blocks));
	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++) {
		cr_assert_eq(gy_sampled_holds(c, blocks[i]), i < room);
		if (i < room)
			cr_assert_eq(*(uintptr_t *)blocks[i], gy_freed_mark());
	}
	cr_assert_eq(unshelve(c), blocks[room - 1]);
	cr_assert_not(gy_sampled_holds(c, blocks[room - 1]));
	cr_assert(shelve(c, blocks[room - 1]));

	gy_sampled_drain(c, true); /* somebody came by */
	cr_assert_eq(gy_sampled_waiting(c), room);
	gy_sampled_drain(c, true);
	cr_assert_eq(gy_sampled_waiting(c), 0u);
	cr_assert_eq(central->taken - central->given, ARRAY_SIZE(blocks) - room);
	cr_assert(gy_sampled_holds(c, blocks[0]));
	for (unsigned i = room; i < ARRAY_SIZE(blocks); i++)
		gy_sampled_give(c, blocks[i]);
	cr_assert_eq(central->taken, central->given);
	gy_heap_check();
}

Test(sampled, trim_empties_the_shelves)
{
	unsigned c = gy_class_of_request(3000);

	gy_heap_free(sample_of(3000), 0);
	cr_assert_eq(gy_sampled_waiting(c), 1u);
	gy_heap_trim(0);
	cr_assert_eq(gy_sampled_waiting(c), 0u);
	cr_assert_eq(gy_centrals[1][c].taken, gy_centrals[1][c].given);
}

/* ---- intervals longer than a countdown ---- */
Test(sampled, CACHE_4_a_countdown_that_was_too_short_is_no_sample)
{
	unsigned c = gy_class_of_request(64), sampled = 0, whole = 0;
	struct gy_thread_cache *cache = own();

	gy_option_values[GY_OPT_sample] = (uint64_t)1 << 29;
	gy_option_values[GY_OPT_sample_rate] = 0;
	cache->sample_bytes = gy_option(GY_OPT_sample);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t before = gy_cache_mallocs(cache, c);
		bool was_cut = cache->cold[c].start == GY_COUNTDOWN_MOST;

		cache->bins[c].countdown = -1; /* it is over */
		before += (uint64_t)cache->cold[c].start + 1;
		if (gy_thread_cache_rearm(cache, c)) {
			sampled++;
			cr_assert_not(was_cut);
		}
		whole += !was_cut;
		cr_assert_gt(cache->bins[c].countdown, -1);
		cr_assert_eq(cache->bins[c].countdown, cache->cold[c].start);
		cr_assert_geq(gy_cache_mallocs(cache, c), before - (uint64_t)GY_COUNTDOWN_MOST - 1);
	}
	/* mean 2^23 allocations: 7 in 8 intervals do not fit */
	cr_assert_eq(sampled, whole);
	cr_assert_lt(sampled, 250u);
	cr_assert_gt(sampled, 50u);

	gy_option_values[GY_OPT_sample] = cache->sample_bytes = 1; /* the rest of a cut interval may be one allocation */
	cache->cold[c].start = GY_COUNTDOWN_MOST;
	cache->bins[c].countdown = -1;
	cr_assert(gy_thread_cache_rearm(cache, c));
	cr_assert_eq(cache->bins[c].countdown, 0);
}
