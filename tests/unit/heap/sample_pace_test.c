/* sample_pace_test.c - the pace of a thread's samples: it stretches, comes back, stays honest. */
#include "heap/sample_pace.h"

#include "base/config.h"
#include "base/probe.h"
#include "heap/heap.h"
#include "os/clock.h"
#include "trace/sampler.h"

#include "unit/unit.h"

#include <math.h>

#define LOOK 64u

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample_stack] = 3;
}

TestSuite(sample_pace, .init = quiet);

/* `count` samples that took `elapsed_ns`; was there a fall? */
static bool samples_in(struct gy_sample_pace *pace, unsigned count, uint64_t elapsed_ns)
{
	bool fell = false;

	pace->look_ns = gy_now_ns() - elapsed_ns;
	for (unsigned i = 0; i < count; i++)
		fell |= gy_sample_pace_note(pace);
	return fell;
}

#define MS ((uint64_t)1000000)

Test(sample_pace, the_least_stretch_that_keeps_the_rate)
{
	static const struct {
		uint64_t elapsed_ns;
		unsigned stretch;
	} table[] = {
		{64 * MS, 0}, {7 * MS, 0}, {5 * MS, 1}, {2 * MS, 2},
		{MS, 3},      {1000, 6},   {1, 6},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		struct gy_sample_pace pace;

		gy_sample_pace_begin(&pace);
		cr_assert_not(samples_in(&pace, LOOK - 1, table[i].elapsed_ns));
		cr_assert_eq(pace.stretch, 0);
		cr_assert_not(samples_in(&pace, 1, table[i].elapsed_ns));
		cr_assert_eq(pace.stretch, table[i].stretch, "row %u: %u", i, pace.stretch);
		cr_assert_eq(pace.samples, 0);
	}
}

Test(sample_pace, it_comes_back)
{
	struct gy_sample_pace pace;

	gy_sample_pace_begin(&pace);
	samples_in(&pace, LOOK, 1);
	cr_assert_eq(pace.stretch, GY_STRETCH_MAX);
	/* without a coarse clock after a few samples */
	cr_assert(samples_in(&pace, 8, 10 * MS));
	cr_assert_eq(pace.stretch, 3);
	cr_assert(samples_in(&pace, 8, 8000 * MS));
	cr_assert_eq(pace.stretch, 0);
	/* with one, at the first sample two steps later */
	samples_in(&pace, LOOK, 1);
	cr_assert_eq(pace.stretch, GY_STRETCH_MAX);
	gy_heap_tick = 100;
	pace.look_tick = 99;
	cr_assert_not(samples_in(&pace, 1, 10000 * MS));
	pace.look_tick = 98;
	cr_assert(samples_in(&pace, 1, 10000 * MS));
	cr_assert_eq(pace.stretch, 0);
}

Test(sample_pace, a_rate_at_the_edge_does_not_swing)
{
	struct gy_sample_pace pace;

	gy_heap_tick = 5;
	gy_sample_pace_begin(&pace);
	samples_in(&pace, LOOK, 6 * MS); /* 10,667 a second */
	cr_assert_eq(pace.stretch, 1);
	cr_assert_not(samples_in(&pace, LOOK, 13 * MS)); /* 9,846 if it were not stretched */
	cr_assert_eq(pace.stretch, 1);
	cr_assert(samples_in(&pace, LOOK, 20 * MS));
	cr_assert_eq(pace.stretch, 0);
}

Test(sample_pace, PACE_3_who_asks_for_more_gets_it)
{
	static const struct {
		uint64_t period, rate;
		unsigned stretch;
	} table[] = {
		{512 << 10, 10000, GY_STRETCH_MAX},
		{256 << 10, 10000, GY_STRETCH_MAX},
		{128 << 10, 10000, 0},
		{1, 10000, 0},
		{512 << 10, 0, 0},
		{1ull << 40, 10000, GY_STRETCH_MAX},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		struct gy_sample_pace pace;

		gy_option_values[GY_OPT_sample] = table[i].period;
		gy_option_values[GY_OPT_sample_rate] = table[i].rate;
		gy_sample_pace_begin(&pace);
		samples_in(&pace, LOOK, 1);
		cr_assert_eq(pace.stretch, table[i].stretch, "row %u", i);
	}
}

/* 6,400 a second are few where nobody is told of them. */
Test(sample_pace, PACE_4_who_is_listened_to_takes_fewer)
{
	for (unsigned told = 0; told < 4; told++) {
		struct gy_sample_pace pace;

		gyre_alloc_sample_semaphore = told & 1;
		gyre_free_sample_semaphore = (unsigned short)(told >> 1);
		gy_sample_pace_begin(&pace);
		samples_in(&pace, LOOK, 10 * MS);
		cr_assert_eq(pace.stretch, GYRE_PROBES && told ? 2 : 0, "told %u", told);
	}
	gyre_alloc_sample_semaphore = gyre_free_sample_semaphore = 0;
}

static struct gy_thread_cache *own(void)
{
	struct gy_thread_cache *cache = gy_tls.cache;

	return cache == GY_NO_CACHE ? gy_thread_cache_attach() : cache;
}

/* PACE-2, and what the statistics count by goes on being right (CACHE-4). */
Test(sample_pace, PACE_2_intervals_begin_anew_when_the_stretch_falls)
{
	struct gy_thread_cache *cache = own();
	unsigned fine = 0;

	cache->pace.stretch = GY_STRETCH_MAX;
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		cache->bins[c].countdown = -1;
		cache->cold[c].start = 0;
		gy_thread_cache_rearm(cache, c);
		cache->pace.samples = 0;
		cr_assert_eq(cache->cold[c].stretch, GY_STRETCH_MAX);
		cache->bins[c].countdown -= MIN(cache->bins[c].countdown, 3);
	}
	cache->large_countdown = 1 << 30;
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		cache->cold[c].counted = 1000 - (uint64_t)((int64_t)cache->cold[c].start -
							     cache->bins[c].countdown);
	cache->pace.samples = LOOK - 1;
	cache->pace.look_ns = gy_now_ns() - 100000 * MS;
	gy_thread_cache_note_sample(cache);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		fine += cache->cold[c].stretch == 0;
		cr_assert_eq(gy_cache_mallocs(cache, c), 1000u);
		cr_assert_geq(cache->bins[c].countdown, 0);
	}
	cr_assert_eq(fine, GY_CLASS_COUNT - 1u);
	cr_assert_leq(cache->large_countdown, 0);
}

/* PACE-1: a stretch that changes by the past keeps the sums right. */
Test(sample_pace, PACE_1_weights_add_up_while_the_stretch_changes)
{
	static const size_t sizes[] = {64, 4096, 32768, 200000};
	double allocated = 0, estimated = 0, variance = 0;
	struct {
		int64_t countdown;
		unsigned stretch;
	} state[ARRAY_SIZE(sizes)];
	uint64_t rng = 5, choice = 1;
	unsigned samples = 0, stretch = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		state[i].stretch = 0;
		state[i].countdown = gy_sample_interval(sizes[i], 0, &rng);
	}
	for (unsigned n = 0; n < 4000000; n++) {
		unsigned i;
		double p;

		choice = choice * 6364136223846793005u + 1442695040888963407u;
		i = (unsigned)(choice >> 62);
		p = -expm1(-(double)sizes[i] / (double)((uint64_t)512 << (10 + state[i].stretch)));
		allocated += (double)sizes[i];
		variance += (double)sizes[i] * (double)sizes[i] * (1 - p) / p;
		if (--state[i].countdown)
			continue;
		estimated += (double)gy_sample_weight(sizes[i], state[i].stretch);
		if (++samples % 64 == 0) {
			unsigned before = stretch;

			stretch = samples / 64 % (GY_STRETCH_MAX + 1);
			for (unsigned k = 0; k < ARRAY_SIZE(sizes) && stretch < before; k++) {
				state[k].stretch = stretch;
				state[k].countdown = gy_sample_interval(sizes[k], stretch, &rng);
			}
		}
		state[i].stretch = stretch;
		state[i].countdown = gy_sample_interval(sizes[i], stretch, &rng);
	}
	cr_assert_gt(samples, 5000u);
	cr_assert_lt(fabs(estimated - allocated), 4 * sqrt(variance), "%g allocated, %g estimated",
		     allocated, estimated);
}
