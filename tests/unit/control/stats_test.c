/* stats_test.c - the numbers: exact when threads rest, sane while they run, and adding up. */
#include "control/stats.h"

#include "base/config.h"
#include "heap/large.h"
#include "heap/thread_cache.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

#include <gyre/gyre.h>
#include <pthread.h>

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample_stack] = 3;
}

TestSuite(stats, .init = quiet);

static struct gyre_control_totals totals;
static struct gyre_control_class classes[GY_STATS_CLASSES];

static void gather(void)
{
	gy_stats_gather(&totals, classes);
}

/* What must hold of any snapshot of a heap at rest. */
static void check_sums(void)
{
	uint64_t alloc = totals.large_bytes, mallocs = totals.large_mallocs, cached = 0,
		 central = 0;
	uint64_t spans_bytes = 0;

	for (unsigned i = 0; i < GY_STATS_CLASSES; i++) {
		const struct gyre_control_class *class = &classes[i];

		cr_assert_eq(class->object_bytes, gy_size_classes[i + 1].bytes);
		cr_assert_eq(class->mallocs - class->frees, class->live);
		/* every block of a span is in exactly one place */
		cr_assert_eq(class->spans * class->span_objects,
			     class->live + class->thread_cached + class->central_cached +
				     class->span_free,
			     "class of %u bytes", class->object_bytes);
		alloc += class->live * class->object_bytes;
		mallocs += class->mallocs;
		cached += class->thread_cached * class->object_bytes;
		central += (class->central_cached + class->span_free) * class->object_bytes;
		spans_bytes += class->spans * class->span_bytes;
	}
	cr_assert_eq(totals.heap_alloc, alloc);
	cr_assert_eq(totals.mallocs, mallocs);
	cr_assert_eq(totals.thread_cache_bytes, cached);
	cr_assert_eq(totals.central_bytes, central);
	cr_assert_eq(totals.heap_inuse, spans_bytes + totals.large_bytes);
	cr_assert_eq(totals.heap_inuse + totals.heap_idle, totals.heap_sys);
	cr_assert_leq(totals.heap_released, totals.heap_sys);
	cr_assert_eq(totals.heap_sys, totals.hugepages * GY_HUGEPAGE_BYTES);
	cr_assert_leq(totals.hugepages_free + totals.hugepages_released, totals.hugepages);
	cr_assert_leq(totals.heap_sys, totals.heap_reserved);
}

#define COUNT 5000
static void *blocks[COUNT];
static size_t sizes[COUNT];

/* ---- one thread, a known sequence ---- */
static void known_sequence(uint64_t period)
{
	static uint64_t live[GY_CLASS_COUNT], mallocs[GY_CLASS_COUNT];
	uint64_t rng = 7, large_live = 0, large_bytes = 0, large_mallocs = 0;

	gy_option_values[GY_OPT_sample] = period;
	for (unsigned n = 0; n < COUNT * 6; n++) {
		unsigned at = (unsigned)(unit_random(&rng) % COUNT);
		size_t bytes = unit_random(&rng) % (n % 100 ? 4000 : 120000);

		if (!blocks[at]) {
			blocks[at] = unit_malloc(bytes);
			sizes[at] = bytes;
			if (bytes <= GY_CLASS_MAX_BYTES) {
				live[gy_class_of_request(bytes)]++;
				mallocs[gy_class_of_request(bytes)]++;
			} else {
				large_live++;
				large_mallocs++;
				large_bytes += gy_heap_usable_size(blocks[at], 0);
			}
			continue;
		}
		if (sizes[at] <= GY_CLASS_MAX_BYTES) {
			live[gy_class_of_request(sizes[at])]--;
		} else {
			large_live--;
			large_bytes -= gy_heap_usable_size(blocks[at], 0);
		}
		unit_free(blocks[at]);
		blocks[at] = NULL;
	}
	gather();
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		cr_assert_eq(classes[c - 1].live, live[c], "class of %u bytes",
			     gy_size_classes[c].bytes);
		cr_assert_eq(classes[c - 1].mallocs, mallocs[c], "class of %u bytes",
			     gy_size_classes[c].bytes);
	}
	cr_assert_eq(totals.large_blocks, large_live);
	cr_assert_eq(totals.large_mallocs, large_mallocs);
	cr_assert_eq(totals.large_bytes, large_bytes);
	check_sums();
}

Test(stats, STATS_1_exact_after_a_known_sequence)
{
	known_sequence(0);
}

Test(stats, STATS_1_exact_with_samples_too)
{
	known_sequence(20000);
	cr_assert_gt(totals.samples, 100u);
	cr_assert_gt(totals.samples_live, 0u);
	cr_assert_eq(totals.samples_lost, 0u);
}

/* ---- several threads, blocks that change hands, threads that end ---- */
#define THREADS 4
#define EACH 3000u
static void *handed[THREADS][EACH];

static void *allocate_known(void *argument)
{
	unsigned which = (unsigned)(uintptr_t)argument;

	for (unsigned i = 0; i < EACH; i++)
		handed[which][i] = unit_malloc(112 + which * 16);
	return NULL;
}

static void *free_known(void *argument)
{
	unsigned which = (unsigned)(uintptr_t)argument;

	/* a third of the next thread's */
	for (unsigned i = 0; i < EACH; i += 3)
		unit_free(handed[(which + 1) % THREADS][i]);
	return NULL;
}

static void run(void *(*what)(void *))
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, what, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

Test(stats, STATS_1_exact_across_threads_and_their_ends)
{
	gy_option_values[GY_OPT_sample] = 30000;
	run(allocate_known);
	gather();
	check_sums();
	cr_assert_eq(totals.mallocs, (uint64_t)THREADS * EACH);
	cr_assert_eq(totals.frees, 0u);
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(classes[gy_class_of_request(112 + i * 16) - 1].live, (uint64_t)EACH);
	run(free_known);
	gather();
	check_sums();
	cr_assert_eq(totals.threads, 0u);
	cr_assert_eq(totals.frees, (uint64_t)THREADS * EACH / 3);
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(classes[gy_class_of_request(112 + i * 16) - 1].live,
			     (uint64_t)EACH * 2 / 3);
	cr_assert_eq(totals.thread_cache_bytes, 0u);
}

/* ---- while threads run ---- */
static uint32_t stop; /* [atomic] */

static void *churn(void *argument)
{
	uint64_t rng = (uintptr_t)argument;
	void *mine[64] = {NULL};

	while (!READ_RELAXED(stop)) {
		void **slot = &mine[unit_random(&rng) % 64];

		if (*slot) {
			unit_free(*slot);
			*slot = NULL;
		} else {
			*slot = unit_malloc(1 + unit_random(&rng) %
							(unit_random(&rng) % 50 ? 2000 : 60000));
		}
	}
	for (unsigned i = 0; i < 64; i++)
		if (mine[i])
			unit_free(mine[i]);
	return NULL;
}

Test(stats, STATS_1_sane_while_others_run)
{
	uint64_t end = unit_now_ms() + 700, mallocs = 0;
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	while (unit_now_ms() < end) {
		gather();
		cr_assert_leq(totals.frees, totals.mallocs);
		cr_assert_leq(totals.threads, (uint64_t)THREADS + 1);
		cr_assert_leq(totals.heap_inuse, totals.heap_sys);
		cr_assert_leq(totals.heap_alloc, (uint64_t)THREADS * 64 * 70000 + (64u << 20));
		for (unsigned i = 0; i < GY_STATS_CLASSES; i++)
			cr_assert_leq(classes[i].frees, classes[i].mallocs);
		/* counts go forward, but for what a race may hide for a moment */
		cr_assert_geq(totals.mallocs + 100000, mallocs);
		mallocs = totals.mallocs;
	}
	WRITE_RELAXED(stop, 1u);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	gather();
	check_sums();
	cr_assert_eq(totals.heap_alloc, 0u);
	cr_assert_eq(totals.mallocs, totals.frees);
}

/* ---- what trimming does to them ---- */
Test(stats, released_memory_is_counted_once)
{
	gy_option_values[GY_OPT_sample] = 0;
	for (unsigned n = 0; n < COUNT; n++)
		blocks[n] = memset(unit_malloc(3000), 1, 3000);
	for (unsigned n = 0; n < COUNT; n++)
		if (n % 20)
			unit_free(blocks[n]);
	gather();
	check_sums();
	gy_heap_trim(0);
	gather();
	check_sums();
	cr_assert_gt(totals.heap_released, (uint64_t)COUNT * 3000 / 2);
	cr_assert_gt(totals.released_total, 0u);
	cr_assert_gt(totals.release_calls, 0u);
	cr_assert_leq(totals.heap_released + totals.heap_alloc, totals.heap_sys);
	for (unsigned n = 0; n < COUNT; n += 20)
		unit_free(blocks[n]);
	gy_heap_trim(0);
	gather();
	check_sums();
	cr_assert_eq(totals.heap_alloc, 0u);
	cr_assert_eq(totals.heap_released, totals.heap_sys);
	cr_assert_eq(totals.hugepages_released, totals.hugepages);
}

Test(stats, failures_are_counted)
{
	gather();
	cr_assert_eq(totals.ooms, 0u);
	cr_assert_null(gy_heap_alloc(SIZE_MAX / 4, 0));
	gather();
	cr_assert_eq(totals.ooms, 1u);
	gy_option_values[GY_OPT_on_misuse] = 1;
	gy_heap_free((void *)16, 0);
	gather();
	cr_assert_eq(totals.misuses, 1u);
}
