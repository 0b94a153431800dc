/* sample_math.c - see sample_math.h. */
#include "trace/sample_math.h"

#include <stdint.h>
#include <string.h>

#define LN2 0.69314718055994530942
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcd /* those of 1/sqrt 2 as a double */
#define EXPONENT_SHIFT 52
#define EXPONENT_BIAS 1023
#define MANTISSA_MASK (((uint64_t)1 << EXPONENT_SHIFT) - 1)

static double with_exponent(uint64_t mantissa, int exponent)
{
	uint64_t bits = mantissa | (uint64_t)(exponent + EXPONENT_BIAS) << EXPONENT_SHIFT;
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* x = 2^e * m with m in [1/sqrt 2, sqrt 2); ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.172.
 * The first term left out is 2 s^9 / 9 < 3e-8. No branch: where x lies is a coin's toss. */
double gy_neg_log(double x)
{
	int64_t bits, exponent;
	double m, s, square;

	memcpy(&bits, &x, sizeof(bits));
	exponent = (bits - SQRT_HALF_BITS) >> EXPONENT_SHIFT;
	bits -= exponent * ((int64_t)1 << EXPONENT_SHIFT);
	memcpy(&m, &bits, sizeof(m));
	s = (m - 1) / (m + 1);
	square = s * s;
	return -(2 * s + 2 * s * square * (1.0 / 3 + square * (1.0 / 5 + square * (1.0 / 7))) +
		 (double)exponent * LN2);
}

/* 1 - exp(-r) = r - r^2/2! + r^3/3! - ... for 0 <= r < 0.7, nested; there is no cancellation. Of 14
 * terms the first left out is r^15/15! < 4e-15; of 6, for r < 1/64, r^7/7! < 5e-17. */
static double series_near_zero(double r)
{
	static const double reciprocal[] = {0,        1,        1.0 / 2,  1.0 / 3,  1.0 / 4,
					    1.0 / 5,  1.0 / 6,  1.0 / 7,  1.0 / 8,  1.0 / 9,
					    1.0 / 10, 1.0 / 11, 1.0 / 12, 1.0 / 13, 1.0 / 14};
	double nested = 1;

	for (int k = r < 1.0 / 64 ? 6 : 14; k >= 2; k--)
		nested = 1 - r * reciprocal[k] * nested;
	return r * nested;
}

double gy_one_minus_exp_neg(double x)
{
	int halvings;

	if (x > 40) /* exp(-40) is below half a unit in the last place of 1 */
		return 1;
	if (x < LN2)
		return series_near_zero(x);
	/* exp(-x) = 2^-k exp(-(x - k ln 2)), with 0 <= x - k ln 2 < ln 2 */
	halvings = (int)(x / LN2);
	return 1 - with_exponent(0, -halvings) * (1 - series_near_zero(x - halvings * LN2));
}
