/* leak_trend.c - see leak_trend.h.
 *
 * All pairs of at most PAIR_POINTS points: a longer series is thinned to every k-th point, and its
 * last. So a look at some thousand series costs milliseconds.
 */
#include "leak_trend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAIR_POINTS 48
#define PAIRS (PAIR_POINTS * (PAIR_POINTS - 1) / 2)
#define LOWS 64

const char *const gy_trend_names[TREND_VERDICTS] = {
	[TREND_NEW] = "new",         [TREND_STEADY] = "steady", [TREND_GROWING] = "growing",
	[TREND_FILLING] = "filling", [TREND_FULL] = "full",     [TREND_SWINGING] = "swinging",
	[TREND_SHRINKING] = "shrinking",
};

struct slope {
	double per_s, low, high, z;
};

static int double_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Every k-th point, counted from the last backwards. */
static size_t thin(const double *seconds, const double *values, size_t count,
		   double x[PAIR_POINTS], double y[PAIR_POINTS])
{
	size_t step = (count + PAIR_POINTS - 1) / PAIR_POINTS, used = 0;

	for (size_t i = (count - 1) % step; i < count; i += step, used++) {
		x[used] = seconds[i];
		y[used] = values[i];
	}
	return used;
}

/* Of Kendall's sum, without a trend; `y` is sorted here for its ties. */
static double kendall_variance(double *y, size_t count)
{
	double n = (double)count, variance = n * (n - 1) * (2 * n + 5);

	qsort(y, count, sizeof(*y), double_order);
	for (size_t i = 0, run; i < count; i += run) {
		double t;

		for (run = 1; i + run < count && y[i + run] <= y[i]; run++)
			;
		t = (double)run;
		variance -= t * (t - 1) * (2 * t + 5);
	}
	return variance / 18;
}

static double at_rank(const double *sorted, size_t count, double rank)
{
	if (rank < 0)
		return sorted[0];
	return rank > (double)(count - 1) ? sorted[count - 1] : sorted[(size_t)rank];
}

static struct slope slope_of(const double *seconds, const double *values, size_t count)
{
	double x[PAIR_POINTS], y[PAIR_POINTS], slopes[PAIRS], variance, sum = 0;
	struct slope slope = {0};
	size_t points, pairs = 0;

	if (count < 3)
		return slope;
	points = thin(seconds, values, count, x, y);
	for (size_t i = 0; i < points; i++)
		for (size_t j = i + 1; j < points; j++) {
			if (x[j] <= x[i])
				continue;
			slopes[pairs++] = (y[j] - y[i]) / (x[j] - x[i]);
			sum += (y[j] > y[i]) - (y[j] < y[i]);
		}
	if (!pairs)
		return slope;
	qsort(slopes, pairs, sizeof(slopes[0]), double_order);
	variance = kendall_variance(y, points);
	slope.per_s = pairs % 2 ? slopes[pairs / 2]
				: (slopes[pairs / 2 - 1] + slopes[pairs / 2]) / 2;
	if (variance > 0) {
		double half = 1.96 * sqrt(variance) / 2;

		slope.z = (sum - (sum > 0) + (sum < 0)) / sqrt(variance);
		slope.low = at_rank(slopes, pairs, (double)pairs / 2 - half);
		slope.high = at_rank(slopes, pairs, (double)pairs / 2 + half);
	}
	return slope;
}

static double largest_fall(const struct gy_trend_series *series)
{
	double high = series->values[0], fall = 0;

	for (size_t i = 1; i < series->count; i++) {
		high = fmax(high, series->values[i]);
		fall = fmax(fall, high - series->values[i]);
	}
	return fall;
}

/* The lows between swings of at least `swing`, in order; the start is one if it rises from there.
 */
static size_t lows_find(const struct gy_trend_series *series, double swing, double lows[LOWS])
{
	double high = series->values[0], low = series->values[0];
	bool falling = true; /* looking for the low */
	size_t count = 0;

	for (size_t i = 1; i < series->count && count < LOWS; i++) {
		double value = series->values[i];

		if (falling) {
			low = fmin(low, value);
			if (value - low >= swing) {
				lows[count++] = low;
				falling = false;
				high = value;
			}
		} else {
			high = fmax(high, value);
			if (high - value >= swing) {
				falling = true;
				low = value;
			}
		}
	}
	return count;
}

static bool lows_rise(const double *lows, size_t count, double noise)
{
	if (count < 3)
		return false;
	for (size_t i = 1; i < count; i++)
		if (lows[i] <= lows[i - 1])
			return false;
	return lows[count - 1] - lows[0] > noise;
}

static double mean(const double *values, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += values[i];
	return count ? sum / (double)count : 0;
}

/* TREND-5 */
static bool turns_over(const struct gy_trend_series *series)
{
	size_t half = series->count / 2;
	double gained = series->values[half] - series->values[0];

	return series->kept_of_first_half >= 0 && gained > 0 &&
	       series->kept_of_first_half < gained / 4;
}

/* TREND-3 */
static bool slows(const struct gy_trend_series *series)
{
	const double *x = series->seconds, *y = series->values;
	size_t n = series->count;
	double first = slope_of(x, y, n / 2 + 1).per_s;
	double second = slope_of(x + n / 2, y + n / 2, n - n / 2).per_s;
	double middle = slope_of(x + n / 3, y + n / 3, n / 3 + 1).per_s;
	double last = slope_of(x + n - n / 3 - 1, y + n - n / 3 - 1, n / 3 + 1).per_s;

	return second < first * 3 / 5 && last < middle * 6 / 7;
}

/* From that point on: births and deaths, and by how many standard deviations of their difference
 * there are more births. */
static double surplus(const struct gy_trend_series *series, size_t first, double *deaths)
{
	size_t last = series->count - 1;
	double born = (double)(series->births[last] - series->births[first]);

	*deaths = (double)(series->deaths[last] - series->deaths[first]);
	return born + *deaths > 0 ? (born - *deaths) / sqrt(born + *deaths) : 0;
}

/* TREND-1. Blocks come and go as often, as far as can be told. */
static bool chance(const struct gy_trend_series *series)
{
	double deaths;

	return series->births && fabs(surplus(series, 0, &deaths)) < 3;
}

static bool swings(const struct gy_trend_series *series, double fall)
{
	double level = mean(series->values, series->count), deaths = 9;

	if (series->births)
		surplus(series, 0, &deaths);
	return fall > level / 4 && deaths >= 9; /* a few samples' end is no swing */
}

/* TREND-2 */
static bool stands(const struct gy_trend_series *series, const struct gy_trend *trend,
		   const struct slope *recent)
{
	double deaths;

	if (recent->z < 1.64 || recent->per_s < trend->per_s / 5)
		return true;
	return series->births &&
	       surplus(series, series->count - 1 - series->count * 2 / 5, &deaths) < 1.64;
}

static enum gy_trend_verdict verdict_of(const struct gy_trend_series *series,
					struct gy_trend *trend, const struct slope *recent)
{
	double rise = series->values[series->count - 1] - series->values[0], lows[LOWS];

	trend->lows = lows_find(series, trend->fall / 2, lows);
	if (trend->z < -1.96)
		return swings(series, trend->fall) && trend->lows >= 2 ? TREND_SWINGING
								       : TREND_SHRINKING;
	if (trend->z < 1.96)
		return swings(series, trend->fall) ? TREND_SWINGING : TREND_STEADY;
	if (trend->fall * 1.5 > rise) /* TREND-4 */
		return lows_rise(lows, trend->lows, trend->fall / 8) ? TREND_GROWING
								     : TREND_SWINGING;
	if (stands(series, trend, recent))
		return TREND_FULL;
	if (turns_over(series))
		return TREND_SWINGING;
	return slows(series) ? TREND_FILLING : TREND_GROWING;
}

void gy_trend_of(const struct gy_trend_series *series, struct gy_trend *trend)
{
	size_t n = series->count, tail = n * 2 / 5;
	struct slope all, recent;

	memset(trend, 0, sizeof(*trend));
	if (n < 3)
		return;
	trend->fall = largest_fall(series);
	if (n >= GY_TREND_LEAST && chance(series)) { /* the rest would be work for nothing */
		trend->verdict = swings(series, trend->fall) ? TREND_SWINGING : TREND_STEADY;
		trend->per_s = (series->values[n - 1] - series->values[0]) /
			       (series->seconds[n - 1] - series->seconds[0]);
		return;
	}
	tail = tail < 3 ? 3 : tail;
	all = slope_of(series->seconds, series->values, n);
	recent = slope_of(series->seconds + n - tail, series->values + n - tail, tail);
	trend->per_s = all.per_s;
	trend->low_per_s = all.low;
	trend->high_per_s = all.high;
	trend->z = all.z;
	trend->recent_per_s = recent.per_s;
	if (n >= GY_TREND_LEAST)
		trend->verdict = verdict_of(series, trend, &recent);
}
