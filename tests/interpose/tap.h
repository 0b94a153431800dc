/* tap.h - how the test programs of the malloc family report: one line for each group of checks.
 *
 *   group("calloc zeroes what it returns");
 *   EXPECT(byte == 0, "byte %zu of %zu", i, size);     any number of times
 *   group_end();                                        ok - NAME, or not ok - NAME: WHY
 *
 * Everything goes out by write(2): stdio would allocate in the middle of what is tested, and a
 * child of fork would flush its parent's buffer a second time. Group names hold no colon
 * (tests/run).
 */
#ifndef TESTS_INTERPOSE_TAP_H
#define TESTS_INTERPOSE_TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *tap_name = "";
static unsigned tap_failures, tap_all_failures;
static char tap_why[400];

__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...)
{
	char line[1000];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (length > (int)sizeof(line) - 1)
		length = (int)sizeof(line) - 1;
	if (write(STDOUT_FILENO, line, (size_t)length) < 0)
		_exit(99);
}

__attribute__((unused)) static void group(const char *name)
{
	tap_name = name;
	tap_failures = 0;
}

__attribute__((unused)) static void group_end(void)
{
	if (!tap_failures)
		say("ok - %s\n", tap_name);
	else
		say("not ok - %s: %s (%u checks failed)\n", tap_name, tap_why, tap_failures);
	tap_all_failures += tap_failures;
}

__attribute__((format(printf, 3, 4), unused)) static void tap_fail(int line, const char *what,
								   const char *format, ...)
{
	va_list arguments;
	int length;

	if (tap_failures++)
		return;
	length = snprintf(tap_why, sizeof(tap_why), "line %d, %s: ", line, what);
	va_start(arguments, format);
	if (length > 0 && length < (int)sizeof(tap_why))
		vsnprintf(tap_why + length, sizeof(tap_why) - (size_t)length, format, arguments);
	va_end(arguments);
}

#define EXPECT(condition, ...)                                                                     \
	do {                                                                                       \
		if (!(condition))                                                                  \
			tap_fail(__LINE__, #condition, __VA_ARGS__);                               \
	} while (0)

/* A small generator of our own: same numbers everywhere, no lock, no allocation. */
struct rng {
	unsigned long long state;
};

__attribute__((unused)) static unsigned long long rng_next(struct rng *rng)
{
	unsigned long long x = rng->state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

__attribute__((unused)) static unsigned long long rng_below(struct rng *rng, unsigned long long n)
{
	return rng_next(rng) % n;
}

#endif
