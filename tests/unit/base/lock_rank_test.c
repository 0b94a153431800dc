/* lock_rank_test.c - the one order of locks: complete, without doubles, each with its words. */
#include "base/lock_rank.h"

#include "unit/unit.h"

static const struct {
	const char *name, *text;
} ranks[] = {
#define ROW(name, text) {#name, text},
	GY_LOCK_RANKS(ROW)
#undef ROW
};

Test(lock_rank, names_are_unique_and_every_lock_says_its_fork_rule)
{
	cr_assert_eq(ARRAY_SIZE(ranks), (size_t)GY_RANK_COUNT);
	for (size_t i = 0; i < ARRAY_SIZE(ranks); i++) {
		for (size_t j = 0; j < i; j++)
			cr_assert_str_neq(ranks[i].name, ranks[j].name);
		if (i)
			cr_assert_not_null(strstr(ranks[i].text, "fork: ")
						   ? ranks[i].text
						   : strstr(ranks[i].text, "own small memory"),
					   "%s", ranks[i].name);
	}
}

/* The orders that the code takes them in. */
Test(lock_rank, outermost_first)
{
	cr_assert_lt(GY_RANK_background, GY_RANK_control);
	cr_assert_lt(GY_RANK_control, GY_RANK_registry);
	cr_assert_lt(GY_RANK_trim, GY_RANK_registry);
	cr_assert_lt(GY_RANK_registry, GY_RANK_owner);
	cr_assert_lt(GY_RANK_owner, GY_RANK_central);
	cr_assert_lt(GY_RANK_central, GY_RANK_page_heap);
	cr_assert_lt(GY_RANK_page_heap, GY_RANK_metadata);
	cr_assert_lt(GY_RANK_sampler, GY_RANK_metadata);
}
