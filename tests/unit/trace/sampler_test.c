/* sampler_test.c - is it the distribution that sampler.h promises? Fixed seeds: the same every run.
 */
#include "trace/sampler.h"

#include "base/config.h"
#include "base/probe.h"
#include "trace/live.h"
#include "trace/profile.h"
#include "trace/sample_math.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

static const uint64_t period = 512 << 10;
static const size_t sizes[] = {1, 8, 64, 1024, 32768, 65536, 262144, 1 << 20, 3 << 20};

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))
#define DRAWS 200000

static double probability(size_t bytes)
{
	return -expm1(-(double)bytes / (double)period);
}

/* ---- arithmetic ---- */
Test(sampler, neg_log_against_libm)
{
	double worst = 0;

	for (double x = 1; x > 1e-17; x *= 0.99937) {
		double right = -log(x),
		       error = fabs(gy_neg_log(x) - right) / (right > 1 ? right : 1);

		worst = error > worst ? error : worst;
	}
	fprintf(stderr, "# largest error %.3g\n", worst);
	cr_assert_lt(worst, 5e-8);
	cr_assert_lt(fabs(gy_neg_log(1)), 1e-10);
}

Test(sampler, one_minus_exp_against_libm)
{
	double worst = 0;

	for (double x = 1e-12; x < 100; x *= 1.0009) {
		double right = -expm1(-x), error = fabs(gy_one_minus_exp_neg(x) - right) / right;

		worst = error > worst ? error : worst;
	}
	fprintf(stderr, "# largest relative error %.3g\n", worst);
	cr_assert_lt(worst, 1e-12);
	cr_assert_eq(gy_one_minus_exp_neg(0), 0.0);
	cr_assert_eq(gy_one_minus_exp_neg(1e300), 1.0);
}

/* ---- the distribution ---- */
Test(sampler, interval_mean_and_variance)
{
	for (size_t i = 0; i < SIZES; i++) {
		double p = probability(sizes[i]), variance = (1 - p) / (p * p),
		       kurtosis = 9 + p * p / (1 - p);
		double mean = 0, squares = 0, got;
		uint64_t rng = 1000 + i;

		for (unsigned n = 0; n < DRAWS; n++) {
			double interval = (double)gy_sample_interval(sizes[i], 0, &rng),
			       delta = interval - mean;

			cr_assert_geq(interval, 1.0);
			mean += delta / (n + 1);
			squares += delta * (interval - mean);
		}
		cr_assert_lt(fabs(mean - 1 / p), 4 * sqrt(variance / DRAWS),
			     "%zu bytes: mean %g, not %g", sizes[i], mean, 1 / p);
		got = squares / (DRAWS - 1);
		cr_assert_lt(fabs(got - variance), 4 * variance * sqrt((kurtosis - 1) / DRAWS),
			     "%zu bytes: variance %g, not %g", sizes[i], got, variance);
	}
}

/* Pearson's test in cells of equal width, the last of which is the tail. */
Test(sampler, interval_chi_square)
{
	enum { CELLS = 40 };

	for (size_t i = 0; i < SIZES; i++) {
		double p = probability(sizes[i]), chi_square = 0, survived = 1;
		int64_t width = (int64_t)(1 / p / 10) + 1;
		uint64_t rng = 77 + i;
		unsigned counts[CELLS] = {0}, cells = 0;

		for (unsigned n = 0; n < DRAWS; n++) {
			int64_t cell = (gy_sample_interval(sizes[i], 0, &rng) - 1) / width;

			counts[cell < CELLS - 1 ? cell : CELLS - 1]++;
		}
		for (unsigned cell = 0; cell < CELLS; cell++) {
			double next = cell == CELLS - 1 ? 0
							: exp(-(double)(cell + 1) * (double)width *
							      (double)sizes[i] / (double)period);
			double expected = DRAWS * (survived - next),
			       delta = counts[cell] - expected;

			survived = next;
			if (expected < 5)
				continue;
			chi_square += delta * delta / expected;
			cells++;
		}
		/* mean k, variance 2k: four deviations */
		cr_assert_lt(chi_square, cells - 1 + 4 * sqrt(2.0 * cells),
			     "%zu bytes: %g in %u cells", sizes[i], chi_square, cells);
	}
}

Test(sampler, successive_intervals_are_independent)
{
	double mean = 1 / probability(64), product = 0, squares = 0, last = 0;
	uint64_t rng = 0; /* any seed, this one too */

	for (unsigned n = 0; n < DRAWS; n++) {
		double delta = (double)gy_sample_interval(64, 0, &rng) - mean;

		product += delta * last;
		squares += delta * delta;
		last = delta;
	}
	cr_assert_lt(fabs(product / squares), 4 / sqrt(DRAWS));
}

/* SAMPLE-1: classes counted down apart, large ones drawn one by one; the estimate is unbiased. */
Test(sampler, SAMPLE_1_weights_add_up_to_what_was_allocated)
{
	int64_t countdown[SIZES];
	uint64_t rng = 4711, choice = 99;
	double allocated = 0, estimated = 0, variance = 0;

	for (size_t i = 0; i < SIZES; i++)
		countdown[i] = gy_sample_interval(sizes[i], 0, &rng);
	for (unsigned n = 0; n < 3000000; n++) {
		size_t i = (choice = choice * 6364136223846793005u + 1442695040888963407u) >> 33;
		double p;

		i = i % 1000 < 990 ? i % 4 : i % SIZES; /* mostly small */
		p = probability(sizes[i]);
		allocated += (double)sizes[i];
		variance += (double)sizes[i] * (double)sizes[i] * (1 - p) / p;
		if (sizes[i] > 32768) {
			if (gy_sample_interval(sizes[i], 0, &rng) != 1)
				continue;
		} else if (--countdown[i]) {
			continue;
		} else {
			countdown[i] = gy_sample_interval(sizes[i], 0, &rng);
		}
		estimated += (double)gy_sample_weight(sizes[i], 0);
	}
	cr_assert_lt(fabs(estimated - allocated), 4 * sqrt(variance), "%g allocated, %g estimated",
		     allocated, estimated);
}

Test(sampler, weights)
{
	uint64_t last = 0;

	cr_assert_eq(gy_sample_weight(64, 0), 524320u); /* as in sampler.h */
	cr_assert_eq(gy_sample_weight(512 << 10, 0), 829411u);
	cr_assert_eq(gy_sample_weight(64 << 20, 0), 64u << 20);
	for (size_t bytes = 1; bytes < (size_t)1 << 40; bytes += bytes / 7 + 1) {
		uint64_t weight = gy_sample_weight(bytes, 0);
		double right = (double)bytes / probability(bytes);

		cr_assert_geq(weight, bytes);
		cr_assert_geq(weight, period);
		cr_assert_geq(weight, last);
		cr_assert_lt(fabs((double)weight - right), 0.5 + right * 1e-12);
		last = weight;
	}
}

Test(sampler, off_and_every_allocation)
{
	uint64_t rng = 3;

	gy_option_values[GY_OPT_sample] = 0;
	cr_assert_eq(gy_sample_interval(64, 0, &rng), INT64_MAX);
	cr_assert_eq(gy_sample_weight(64, 0), 64u);
	gy_option_values[GY_OPT_sample] = 1;
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_eq(gy_sample_interval(64, 0, &rng), 1);
	cr_assert_eq(gy_sample_weight(64, 0), 64u);
	cr_assert_eq(gy_sample_weight(0, 0), 0u);
	gy_option_values[GY_OPT_sample] = (uint64_t)1
					  << 40; /* the option's maximum: nothing overflows */
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_gt(gy_sample_interval(0, 0, &rng), 0);
	cr_assert_geq(gy_sample_weight(8, 0), (uint64_t)1 << 40);
}

/* ---- a sample's life ---- */
static struct gy_sampler_counts counts_now(void)
{
	struct gy_sampler_counts counts;

	gy_sampler_counts(&counts);
	gy_sampler_check();
	return counts;
}

static void expect_counts(uint64_t samples, uint64_t live, uint64_t lost)
{
	struct gy_sampler_counts counts = counts_now();

	cr_assert_eq(counts.samples, samples, "%lu", (unsigned long)counts.samples);
	cr_assert_eq(counts.live, live, "%lu", (unsigned long)counts.live);
	cr_assert_eq(counts.lost, lost, "%lu", (unsigned long)counts.lost);
}

static void *block_at(uintptr_t number)
{
	return (void *)(0x10000 + number * 64);
}

Test(sampler, SAMPLE_3_counts)
{
	for (uintptr_t i = 0; i < 100; i++)
		gy_sample_alloc(block_at(i), 0, 50, 64, 0, 0x4000);
	expect_counts(100, 100, 0);
	for (uintptr_t i = 0; i < 100; i += 2)
		gy_sample_free(block_at(i), 0);
	expect_counts(100, 50, 0);
	/* the same block again: realloc that moved, or reuse */
	for (uintptr_t i = 0; i < 100; i += 2)
		gy_sample_alloc(block_at(i), 0, 50, 64, 0, 0x4001);
	expect_counts(150, 100, 0);
	for (uintptr_t i = 0; i < 100; i++)
		gy_sample_free(block_at(i), 0);
	expect_counts(150, 0, 0);
}

Test(sampler, SAMPLE_4_unknown_blocks_are_ignored)
{
	gy_sample_free(block_at(1), 0);
	gy_sample_free(NULL, 0);
	expect_counts(0, 0, 0);
	gy_sample_alloc(block_at(1), 0, 1, 8, 0, 0x4000);
	gy_sample_free(block_at(2), 0);
	expect_counts(1, 1, 0);
	gy_sample_free(block_at(1), 0);
	gy_sample_free(block_at(1), 0);
	expect_counts(1, 0, 0);
}

/* A heap that carried on after a double free may hand out a block whose record is still there. */
Test(sampler, LIVE_1_a_block_sampled_twice_has_one_record)
{
	gy_sample_alloc(block_at(1), 0, 1, 8, 0, 0x4000);
	gy_sample_alloc(block_at(1), 0, 100, 112, 0, 0x5000);
	expect_counts(2, 1, 0);
	gy_sample_free(block_at(1), 0);
	expect_counts(2, 0, 0);
}

/* The semaphores are raised as a tracer would: the probes' side of the code runs. */
Test(sampler, with_probes_on)
{
	gyre_alloc_sample_semaphore = 1;
	gyre_free_sample_semaphore = 1;
	for (uintptr_t i = 0; i < 50; i++)
		gy_sample_alloc(block_at(i), 0, 50, 64, 0, 0x4000 + i);
	for (uintptr_t i = 0; i < 60; i++)
		gy_sample_free(block_at(i), 0);
	expect_counts(50, 0, 0);
}
