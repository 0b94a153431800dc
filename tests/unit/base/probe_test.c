/* probe_test.c - an untraced probe costs a test and computes nothing; a traced one gets its
 * arguments. */
#include "base/probe.h"

#include "unit/unit.h"

static unsigned computed;

static uint64_t compute(uint64_t value)
{
	computed++;
	return value;
}

Test(probe, arguments_are_computed_only_while_traced)
{
	GY_PROBE2(oom, compute(1), compute(2));
	cr_assert_eq(computed, 0u);
	gyre_oom_semaphore = 1;
	GY_PROBE2(oom, compute(1), compute(2));
	cr_assert_eq(computed, GYRE_PROBES ? 2u : 0u);
	gyre_oom_semaphore = 0;
	GY_PROBE2(oom, compute(1), compute(2));
	cr_assert_eq(computed, GYRE_PROBES ? 2u : 0u);
}

/* PROBE-4: two sites or two tracers make it 2, and then 1 again. */
Test(probe, PROBE_4_the_semaphore_is_a_count)
{
	gyre_oom_semaphore = 2;
	cr_assert_eq(GY_PROBE_ENABLED(oom), GYRE_PROBES);
	gyre_oom_semaphore = 1;
	cr_assert_eq(GY_PROBE_ENABLED(oom), GYRE_PROBES);
	gyre_oom_semaphore = 0;
	cr_assert_not(GY_PROBE_ENABLED(oom));
}

/* PROBE-1: every probe of the table has its one function, which can be called. */
Test(probe, PROBE_1_every_probe_fires)
{
	static const uint64_t values[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	unsigned count = 0;

#define PROBE(group, name, arguments_count, arguments, meaning)                                    \
	cr_assert(arguments_count >= 1 && arguments_count <= 12);                                   \
	cr_assert_eq(gyre_##name##_semaphore, 0, #name);                                           \
	gy_probe_##name(values);                                                                   \
	count++;
#include "base/probes.def"
#undef PROBE
	cr_assert_geq(count, 21u);
}

/* The number of arguments that a row claims is the number that its text lists. */
Test(probe, the_table_agrees_with_itself)
{
	static const struct {
		const char *name, *arguments;
		unsigned count;
	} rows[] = {
#define PROBE(group, name, arguments_count, arguments, meaning) {#name, arguments, arguments_count},
#include "base/probes.def"
#undef PROBE
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned commas = 0;

		for (const char *c = rows[i].arguments; *c; c++)
			commas += *c == ',';
		cr_assert_eq(commas + 1, rows[i].count, "%s", rows[i].name);
	}
}

/* The semaphores lie together in .probes, where tracers expect them. */
Test(probe, semaphores_are_in_one_section)
{
	uintptr_t low = UINTPTR_MAX, high = 0;

#define PROBE(group, name, arguments_count, arguments, meaning)                                    \
	low = MIN(low, (uintptr_t)&gyre_##name##_semaphore);                                       \
	high = MAX(high, (uintptr_t)&gyre_##name##_semaphore);
#include "base/probes.def"
#undef PROBE
	cr_assert_lt(high - low, (uintptr_t)4096);
}
