/* compiler_test.c - the small macros mean what they say. */
#include "base/compiler.h"

#include "unit/unit.h"

struct outer {
	int before;
	struct inner {
		int x;
	} inner;
};

Test(compiler, arithmetic_of_macros)
{
	int array[7];
	struct outer outer;

	cr_assert_eq(ARRAY_SIZE(array), (size_t)7);
	cr_assert_eq(MIN(3, 4) + MAX(3, 4), 7);
	cr_assert_eq(container_of(&outer.inner, struct outer, inner), &outer);
	cr_assert(likely(2) == 1 && unlikely(0) == 0);
}

Test(compiler, gates_are_zero_or_one)
{
	cr_assert(GYRE_CHECK_FULL == 0 || GYRE_CHECK_FULL == 1);
	cr_assert(GYRE_PROBES == 0 || GYRE_PROBES == 1);
	cr_assert(GY_TSAN == 0 || GY_TSAN == 1);
	cr_assert(GY_ASAN == 0 || GY_ASAN == 1);
}

Test(compiler, relaxed_counters)
{
	uint64_t counter = 5;

	ADD_RELAXED(counter, 10u);
	SUB_RELAXED(counter, 3u);
	WRITE_RELAXED(counter, READ_RELAXED(counter) * 2);
	cr_assert_eq(counter, 24u);
}
