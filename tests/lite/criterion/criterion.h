/* criterion.h - the part of Criterion that the unit tests use, for ThreadSanitizer builds.
 *
 * Criterion starts each test in a process that it assembles by hand (boxfort), and the thread
 * sanitizer, which moves itself about at start, does not survive that. This header gives the same
 * test files the same macros over plain fork; lite/runner.c has the main function and prints the
 * same TAP lines. Nothing here is used in other builds: there the real <criterion/criterion.h> is.
 *
 * Source: Criterion 2.4's manual, "Assertion reference", "Test parameters".
 */
#ifndef GYRE_TESTS_LITE_CRITERION_H
#define GYRE_TESTS_LITE_CRITERION_H

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lite_options {
	void (*init)(void);
	void (*fini)(void);
	int signal, exit_code;
	bool disabled;
	const char *description;
	double timeout;
};

struct criterion_test_params { /* what a parameterised test's generator returns */
	size_t size;
	void *params;
	size_t length;
	void (*cleanup)(struct criterion_test_params *);
};

struct lite_test {
	const char *suite, *name;
	void (*function)(void);
	void (*parameterised)(void *);
	struct criterion_test_params (*parameters)(void);
	struct lite_options options;
};

struct lite_suite {
	const char *name;
	struct lite_options options;
};

/* lite_fail - say what was asserted; ends the test where `fatal`, else marks it as failed. */
__attribute__((format(printf, 5, 6))) void lite_fail(const char *file, int line, bool fatal,
						     const char *what, const char *format, ...);
__attribute__((format(printf, 1, 2), noreturn)) void lite_skip(const char *format, ...);

#define LITE_REGISTER(kind, suite, name)                                                           \
	__attribute__((used, section("lite_" #kind "s"))) static struct lite_##kind                \
		*lite_##kind##_at_##suite##_##name = &lite_##kind##_##suite##_##name

#define Test(suite_, name_, ...)                                                                   \
	static void lite_run_##suite_##_##name_(void);                                             \
	static struct lite_test lite_test_##suite_##_##name_ = {                                   \
		.suite = #suite_,                                                                  \
		.name = #name_,                                                                    \
		.function = lite_run_##suite_##_##name_,                                           \
		.options = {__VA_ARGS__},                                                          \
	};                                                                                         \
	LITE_REGISTER(test, suite_, name_);                                                        \
	static void lite_run_##suite_##_##name_(void)

#define TestSuite(name_, ...)                                                                      \
	static struct lite_suite lite_suite_suite_##name_ = {                                      \
		.name = #name_,                                                                    \
		.options = {__VA_ARGS__},                                                          \
	};                                                                                         \
	LITE_REGISTER(suite, suite, name_)

#define ParameterizedTestParameters(suite_, name_)                                                 \
	static struct criterion_test_params lite_parameters_##suite_##_##name_(void)
#define cr_make_param_array(type, array, count, ...)                                               \
	((struct criterion_test_params){sizeof(type), (void *)(array), (count), __VA_ARGS__})
#define ParameterizedTest(parameter, suite_, name_, ...)                                           \
	static void lite_run_##suite_##_##name_(parameter);                                        \
	static struct lite_test lite_test_##suite_##_##name_ = {                                   \
		.suite = #suite_,                                                                  \
		.name = #name_,                                                                    \
		.parameterised = (void (*)(void *))lite_run_##suite_##_##name_,                    \
		.parameters = lite_parameters_##suite_##_##name_,                                  \
		.options = {__VA_ARGS__},                                                          \
	};                                                                                         \
	LITE_REGISTER(test, suite_, name_);                                                        \
	static void lite_run_##suite_##_##name_(parameter)

#define LITE_CHECK(fatal, what, condition, ...)                                                    \
	do {                                                                                       \
		if (!(condition))                                                                  \
			lite_fail(__FILE__, __LINE__, fatal, what, " " __VA_ARGS__);               \
	} while (0)

#define cr_assert(c, ...) LITE_CHECK(true, #c, c, __VA_ARGS__)
#define cr_assert_not(c, ...) LITE_CHECK(true, "!(" #c ")", !(c), __VA_ARGS__)
#define cr_assert_fail(...) LITE_CHECK(true, "reached", false, __VA_ARGS__)
#define cr_fail(...) LITE_CHECK(false, "reached", false, __VA_ARGS__)
#define cr_fatal(...) LITE_CHECK(true, "reached", false, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) LITE_CHECK(true, #a " == " #b, (a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...) LITE_CHECK(true, #a " != " #b, (a) != (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...) LITE_CHECK(true, #a " < " #b, (a) < (b), __VA_ARGS__)
#define cr_assert_leq(a, b, ...) LITE_CHECK(true, #a " <= " #b, (a) <= (b), __VA_ARGS__)
#define cr_assert_gt(a, b, ...) LITE_CHECK(true, #a " > " #b, (a) > (b), __VA_ARGS__)
#define cr_assert_geq(a, b, ...) LITE_CHECK(true, #a " >= " #b, (a) >= (b), __VA_ARGS__)
#define cr_assert_null(a, ...) LITE_CHECK(true, #a " == NULL", (a) == NULL, __VA_ARGS__)
#define cr_assert_not_null(a, ...) LITE_CHECK(true, #a " != NULL", (a) != NULL, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)                                                                \
	LITE_CHECK(true, #a " is the string " #b, strcmp((a), (b)) == 0, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)                                                               \
	LITE_CHECK(true, #a " is not the string " #b, strcmp((a), (b)) != 0, __VA_ARGS__)
#define cr_assert_str_empty(a, ...) LITE_CHECK(true, #a " is empty", !*(a), __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...)                                                             \
	LITE_CHECK(true, #a " equals " #b, memcmp((a), (b), (n)) == 0, __VA_ARGS__)
#define cr_assert_arr_neq(a, b, n, ...)                                                            \
	LITE_CHECK(true, #a " differs from " #b, memcmp((a), (b), (n)) != 0, __VA_ARGS__)
#define cr_assert_float_eq(a, b, e, ...)                                                           \
	LITE_CHECK(true, #a " is about " #b, fabs((double)((a) - (b))) <= (double)(e), __VA_ARGS__)

#define cr_expect(c, ...) LITE_CHECK(false, #c, c, __VA_ARGS__)
#define cr_expect_not(c, ...) LITE_CHECK(false, "!(" #c ")", !(c), __VA_ARGS__)
#define cr_expect_eq(a, b, ...) LITE_CHECK(false, #a " == " #b, (a) == (b), __VA_ARGS__)
#define cr_expect_neq(a, b, ...) LITE_CHECK(false, #a " != " #b, (a) != (b), __VA_ARGS__)
#define cr_expect_lt(a, b, ...) LITE_CHECK(false, #a " < " #b, (a) < (b), __VA_ARGS__)
#define cr_expect_leq(a, b, ...) LITE_CHECK(false, #a " <= " #b, (a) <= (b), __VA_ARGS__)
#define cr_expect_gt(a, b, ...) LITE_CHECK(false, #a " > " #b, (a) > (b), __VA_ARGS__)
#define cr_expect_geq(a, b, ...) LITE_CHECK(false, #a " >= " #b, (a) >= (b), __VA_ARGS__)
#define cr_expect_null(a, ...) LITE_CHECK(false, #a " == NULL", (a) == NULL, __VA_ARGS__)
#define cr_expect_not_null(a, ...) LITE_CHECK(false, #a " != NULL", (a) != NULL, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)                                                                \
	LITE_CHECK(false, #a " is the string " #b, strcmp((a), (b)) == 0, __VA_ARGS__)
#define cr_expect_arr_eq(a, b, n, ...)                                                             \
	LITE_CHECK(false, #a " equals " #b, memcmp((a), (b), (n)) == 0, __VA_ARGS__)

#define cr_skip_test(...) lite_skip(" " __VA_ARGS__)
#define cr_skip(...) lite_skip(" " __VA_ARGS__)
#define cr_log_info(...) fprintf(stderr, __VA_ARGS__)
#define cr_log_warn(...) fprintf(stderr, __VA_ARGS__)
#define cr_log_error(...) fprintf(stderr, __VA_ARGS__)

#endif
