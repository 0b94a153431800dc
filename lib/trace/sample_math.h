/* sample_math.h - the two functions that sampling needs, without libm.
 *
 * Both work on doubles with add, multiply and divide alone. The errors stated are the largest found
 * against libm over the whole range (tests/unit/trace/sampler_test.c); the sampler needs 1e-6.
 */
#ifndef GY_TRACE_SAMPLE_MATH_H
#define GY_TRACE_SAMPLE_MATH_H

/* -ln(x) for a normal x in (0, 1]; absolute error below 5e-8 (relative where above 1). */
double gy_neg_log(double x);
/* 1 - exp(-x) for x >= 0; relative error below 1e-12. */
double gy_one_minus_exp_neg(double x);

#endif
