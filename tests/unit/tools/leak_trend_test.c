/* leak_trend_test.c - series made by rule, with noise from a fixed seed: which are called growing?
 *
 * Sampled series are made as the sampler makes them: blocks come one by one, one in so many is
 * seen and stands for so many. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>

#include "../../../tools/gyre/leak_trend.c"

#define POINTS 96
#define SEEDS 40

static uint64_t state;

static double uniform(void)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(state >> 11) / 9007199254740992.0;
}

static unsigned poisson(double mean)
{
	double limit = exp(-mean), product = uniform();
	unsigned n = 0;

	for (; product > limit; n++)
		product *= uniform();
	return n;
}

struct made {
	double seconds[POINTS], values[POINTS];
	uint64_t births[POINTS], deaths[POINTS];
	struct gy_trend_series series;
};

static struct gy_trend trend_of(struct made *made, size_t count)
{
	struct gy_trend trend;

	for (size_t i = 0; i < count; i++)
		made->seconds[i] = (double)i;
	made->series.seconds = made->seconds;
	made->series.values = made->values;
	made->series.count = count;
	gy_trend_of(&made->series, &trend);
	return trend;
}

/* `form(i)` with even noise of that amplitude; how many of SEEDS runs get that verdict. */
static unsigned verdicts(double (*form)(double), double noise, enum gy_trend_verdict verdict)
{
	unsigned found = 0;

	for (state = 1; state <= SEEDS; state++) {
		struct made made = {.series.kept_of_first_half = -1};
		uint64_t seed = state;

		for (size_t i = 0; i < POINTS; i++)
			made.values[i] = form((double)i) + noise * (2 * uniform() - 1);
		found += trend_of(&made, POINTS).verdict == verdict;
		state = seed;
	}
	return found;
}

static double level(double t)
{
	(void)t;
	return 1000;
}

static double line(double t)
{
	return 1000 + 10 * t;
}

static double filling(double t)
{
	return 2000 * (1 - exp(-t / 50));
}

static double filled(double t)
{
	return t < 40 ? 50 * t : 2000;
}

static double sawtooth(double t)
{
	return 500 + 40 * fmod(t, 24);
}

static double one_tooth(double t)
{
	return 500 + 40 * fmod(t + 20, 70);
}

static double day(double t)
{
	return 1000 + 500 * sin(t / 8);
}

static double leak_below_teeth(double t)
{
	return sawtooth(t) + 8 * t;
}

static double warm_up_then_leak(double t)
{
	return 3000 * (1 - exp(-t / 3)) + 5 * t;
}

static double shrinking(double t)
{
	return 2000 - 10 * t;
}

Test(leak_trend, level_is_steady)
{
	cr_assert_eq(verdicts(level, 100, TREND_GROWING), 0);
	cr_assert_geq(verdicts(level, 100, TREND_STEADY), SEEDS * 9 / 10);
}

Test(leak_trend, line_with_noise_grows)
{
	cr_assert_eq(verdicts(line, 100, TREND_GROWING), SEEDS);
}

Test(leak_trend, cache_that_fills_is_no_leak)
{
	cr_assert_leq(verdicts(filling, 20, TREND_GROWING), 1);
	cr_assert_eq(verdicts(filled, 50, TREND_FULL), SEEDS);
}

Test(leak_trend, load_is_no_leak)
{
	cr_assert_eq(verdicts(sawtooth, 20, TREND_GROWING), 0);
	cr_assert_eq(verdicts(one_tooth, 20, TREND_GROWING), 0);
	cr_assert_eq(verdicts(day, 20, TREND_GROWING), 0);
}

Test(leak_trend, lows_that_rise_are_a_leak)
{
	cr_assert_eq(verdicts(leak_below_teeth, 5, TREND_GROWING), SEEDS);
}

Test(leak_trend, leak_behind_a_warm_up)
{
	cr_assert_geq(verdicts(warm_up_then_leak, 10, TREND_GROWING), SEEDS * 9 / 10);
}

Test(leak_trend, shrinking)
{
	cr_assert_eq(verdicts(shrinking, 50, TREND_SHRINKING), SEEDS);
}

/* Blocks come at a rate of `births` samples a step, each lives on average `life` steps (0: for
 * ever); it begins in balance. */
static unsigned sampled_growing(double births, double life)
{
	unsigned found = 0;

	for (unsigned seed = 1; seed <= SEEDS; seed++) {
		struct made made = {.series.kept_of_first_half = -1};
		double live = life > 0 ? births * life : 0;

		state = seed;
		for (size_t i = 0; i < POINTS; i++) {
			unsigned born = poisson(births), died = 0;

			for (unsigned block = 0; life > 0 && block < (unsigned)live; block++)
				died += uniform() < 1 / life;
			live += born;
			live -= died;
			made.values[i] = live * 524288;
			made.births[i] = born + (i ? made.births[i - 1] : 0);
			made.deaths[i] = died + (i ? made.deaths[i - 1] : 0);
		}
		made.series.births = made.births;
		made.series.deaths = made.deaths;
		found += trend_of(&made, POINTS).verdict == TREND_GROWING;
	}
	return found;
}

Test(leak_trend, chance_is_no_leak)
{
	/* the longer blocks live, the longer the level wanders: what the pairs alone would believe
	 */
	cr_assert_leq(sampled_growing(2, 5), 0);
	cr_assert_leq(sampled_growing(2, 50), 1);
	cr_assert_leq(sampled_growing(0.5, 400), 1);
}

Test(leak_trend, sampled_leak_grows)
{
	cr_assert_geq(sampled_growing(1, 0), SEEDS - 4);
	cr_assert_geq(sampled_growing(0.3, 0), SEEDS * 6 / 10);
}

Test(leak_trend, turnover_is_no_leak)
{
	struct made made = {.series = {.births = NULL}};

	for (size_t i = 0; i < POINTS; i++) {
		made.values[i] = 1000 + 10 * (double)i;
		made.births[i] = 10 * i;
		made.deaths[i] = i;
	}
	made.series.births = made.births;
	made.series.deaths = made.deaths;
	made.series.kept_of_first_half = 50; /* of 480 gained */
	cr_assert_eq(trend_of(&made, POINTS).verdict, TREND_SWINGING);
	made.series.kept_of_first_half = 470;
	cr_assert_eq(trend_of(&made, POINTS).verdict, TREND_GROWING);
}

Test(leak_trend, few_points)
{
	struct made made = {.series.kept_of_first_half = -1};

	for (size_t count = 0; count < GY_TREND_LEAST; count++) {
		made.values[count] = (double)count;
		cr_assert_eq(trend_of(&made, count).verdict, TREND_NEW, "%zu points", count);
	}
}
