/* leak_trend.h - does a series grow, and is that a leak's way of growing?
 *
 * A leak adds and never takes away. What looks alike for a while, and is not:
 *
 *      warm-up     grows fast, then hardly or not at all
 *      a cache     grows until it is full, then stands still
 *      load        comes and goes: a sawtooth, a day's curve; what it took it gives back
 *      chance      a sample stands for many blocks, so a level series jumps up and down
 *
 * Slopes are Theil and Sen's (the median of the slopes of all pairs), which a third of the points
 * can mislead, and whether there is a trend at all is Mann and Kendall's question (how many pairs
 * rise, how many fall); neither cares for the form of the noise. Then:
 *
 *      TREND-1  Chance: of sampled blocks, births less deaths are at least three times the square
 *               root of births plus deaths (both are Poisson); else it may be chance alone. A
 *               series of its own level in time is what the pairs cannot tell from a trend.
 *      TREND-2  Standing still: the last two fifths rise by less than a fifth of the whole's
 *               slope, or not for sure (by the pairs, and by births and deaths): the cache is
 *               full, the warm-up over.
 *      TREND-3  Slowing: the second half rises at less than three fifths of the first half's rate,
 *               and the last third at less than six sevenths of the one before it. (Warm-up before
 *               a leak has the first, not the second.)
 *      TREND-4  Give and take: it has fallen, at some time, by more than two thirds of all that it
 *               has risen by. Then only its lows count: three or more, each above the last.
 *      TREND-5  Turnover: where deaths are known by the age of what died, less than a quarter of
 *               what the first half of the time gained is still there of what was born in it: the
 *               blocks change, the level follows the load.
 *
 * What nothing can tell: a cache that fills at a constant rate for all the time that one looks.
 *
 * Sources: P. K. Sen 1968; H. B. Mann 1945, M. G. Kendall 1975; J. G. Skellam 1946.
 */
#ifndef GYRE_TOOLS_LEAK_TREND_H
#define GYRE_TOOLS_LEAK_TREND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GY_TREND_LEAST 8 /* points, fewer say nothing */

enum gy_trend_verdict {
	TREND_NEW,      /* not looked at for long enough */
	TREND_STEADY,   /* no trend that chance would not explain */
	TREND_GROWING,  /* as a leak does */
	TREND_FILLING,  /* TREND-3 */
	TREND_FULL,     /* TREND-2 */
	TREND_SWINGING, /* TREND-4, TREND-5 */
	TREND_SHRINKING,
	TREND_VERDICTS
};

extern const char *const gy_trend_names[TREND_VERDICTS];

struct gy_trend_series {
	const double *seconds; /* rising */
	const double *values;
	size_t count;
	/* TREND-1: at each point, events behind the values, since some start; NULL: values are
	 * exact */
	const uint64_t *births, *deaths;
	/* TREND-5: of the bytes born in the first half of the time, those not dead; below 0: not
	 * known */
	double kept_of_first_half;
};

struct gy_trend {
	enum gy_trend_verdict verdict;
	double per_s, low_per_s, high_per_s; /* slope, and where it lies by 95 % */
	double recent_per_s;                 /* of the last two fifths */
	double z;                            /* Mann and Kendall's; above 2: it rises */
	double fall;                         /* the largest, from any high to a later low */
	size_t lows;
};

void gy_trend_of(const struct gy_trend_series *series, struct gy_trend *trend);

#endif
