/* ticks_test.c - the processor's counter against the clock. */
#include "trace/ticks.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

static void sleep_ms(long milliseconds)
{
	struct timespec time = {0, milliseconds * 1000000};

	nanosleep(&time, NULL);
}

Test(ticks, TICKS_2_agree_with_the_clock)
{
	for (long ms = 1; ms <= 64; ms *= 4) {
		uint64_t before = gy_now_ns(), then = gy_ticks(), after = gy_now_ns(), got;
		uint64_t least, most;

		sleep_ms(ms);
		least = gy_now_ns() - after;
		got = gy_ticks_since_ns(then);
		most = gy_now_ns() - before;
		fprintf(stderr, "# %lu ns between %lu and %lu\n", (unsigned long)got,
			(unsigned long)least, (unsigned long)most);
		/* one part in a thousand for the moments between the readings */
		cr_assert_geq(got, least - least / 1000 - 1000);
		cr_assert_leq(got, most + most / 1000 + 1000);
	}
}

Test(ticks, TICKS_2_never_negative)
{
	cr_assert_eq(gy_ticks_since_ns(gy_ticks() + 1000000000u), 0u);
	cr_assert_eq(gy_ticks_since_ns(UINT64_MAX >> 1), 0u);
}

Test(ticks, TICKS_1_without_a_counter)
{
	uint64_t then;

	gy_ticks_kind = GY_TICKS_CLOCK;
	then = gy_ticks();
	sleep_ms(2);
	cr_assert_geq(gy_ticks_since_ns(then), 2000000u);
	cr_assert_lt(gy_ticks_since_ns(then), 2000000000u);
}

/* TICKS-3 */
Test(ticks, TICKS_3_coarse_births)
{
	uint64_t then;

	gy_heap_tick = 0; /* nobody moves it on */
	cr_assert_not(gy_ticks_of_birth(false) & GY_TICKS_COARSE);
	gy_heap_tick = (uint32_t)(gy_now_ns() / (GY_TICK_MS * 1000000ull));
	cr_assert_not(gy_ticks_of_birth(true) & GY_TICKS_COARSE);
	then = gy_ticks_of_birth(false);
	cr_assert(then & GY_TICKS_COARSE);
	sleep_ms(10);
	cr_assert_geq(gy_ticks_since_ns(then), 10000000u);
	cr_assert_lt(gy_ticks_since_ns(then), 10000000000u);
	gy_heap_tick += 1000; /* a birth to come */
	cr_assert_eq(gy_ticks_since_ns(gy_ticks_of_birth(false)), 0u);
}
