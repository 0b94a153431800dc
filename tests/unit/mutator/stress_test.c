/* stress_test.c - threads that allocate, free, sleep, start and end at random, while caches are
 * taken back and memory is released at full speed beside them; a shadow tells whether blocks ever
 * overlap.
 *
 * The taker is asked with a clock that runs an hour a look, so that every thread that sleeps is
 * idle.
 */
#include "base/config.h"
#include "control/stats.h"
#include "heap/thread_cache.h"
#include "mutator/idle.h"
#include "os/sys.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

#include <pthread.h>

#define THREADS 8
#define SHARED 4096

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample] = 100000;
	gy_option_values[GY_OPT_sample_stack] = 3;
}

TestSuite(stress, .init = quiet);

static uint64_t *shared[SHARED]; /* [atomic: exchanged] blocks on their way between threads */
static uint32_t stop;            /* [atomic] */
static uint64_t allocated;       /* [atomic] */

/* A block says where it is and how long: two that overlap destroy each other's words. */
static uint64_t *make(uint64_t *rng)
{
	uint64_t words = 2 + unit_random(rng) % (unit_random(rng) % 100 ? 150 : 8000);
	uint64_t *block = unit_malloc(words * 8);

	if (!block)
		return NULL;
	ADD_RELAXED(allocated, 1u);
	block[0] = words;
	for (uint64_t w = 1; w < words; w += w < 4 ? 1 : 31)
		block[w] = (uintptr_t)&block[w];
	block[words - 1] = ~words;
	return block;
}

static bool unmake(uint64_t *block)
{
	uint64_t words = block[0];

	if (words < 2 || words > 10000 || block[words - 1] != ~words)
		return false;
	for (uint64_t w = 1; w + 1 < words; w += w < 4 ? 1 : 31)
		if (block[w] != (uintptr_t)&block[w])
			return false;
	unit_free(block);
	return true;
}

static bool step(uint64_t **mine, unsigned count, uint64_t *rng)
{
	uint64_t **slot = &mine[unit_random(rng) % count], *block;

	if (*slot) {
		block = *slot;
		*slot = NULL;
		if (unit_random(rng) % 4 == 0)
			block = __atomic_exchange_n(&shared[unit_random(rng) % SHARED], block,
						    __ATOMIC_ACQ_REL);
		return !block || unmake(block);
	}
	*slot = make(rng);
	return *slot != NULL;
}

static bool run_for(unsigned steps, uint64_t *rng)
{
	uint64_t *mine[200] = {NULL};
	bool good = true;

	for (unsigned n = 0; good && n < steps && !READ_RELAXED(stop); n++) {
		unsigned burst = (unsigned)(unit_random(rng) % 400);

		for (unsigned i = 0; good && i < burst; i++)
			good = step(mine, ARRAY_SIZE(mine), rng);
		switch (unit_random(rng) % 3) {
		case 0:
			usleep((useconds_t)(unit_random(rng) % 2000));
			break;
		case 1:
			sched_yield();
			break;
		default:
			break;
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(mine); i++)
		if (mine[i])
			good &= unmake(mine[i]);
	return good;
}

static void *long_lived(void *argument)
{
	uint64_t rng = (uintptr_t)argument;

	return run_for(UINT32_MAX, &rng) ? NULL : argument;
}

static void *short_lived(void *argument)
{
	uint64_t rng = (uintptr_t)argument;

	return run_for(5, &rng) ? NULL : argument;
}

static void *keeps_starting(void *argument)
{
	uintptr_t failed = 0, seed = (uintptr_t)argument;

	while (!READ_RELAXED(stop) && !failed) {
		pthread_t threads[4];
		void *result;

		for (unsigned i = 0; i < 4; i++)
			failed |= (uintptr_t)pthread_create(&threads[i], NULL, short_lived,
							    (void *)++seed);
		for (unsigned i = 0; i < 4 && !failed; i++) {
			pthread_join(threads[i], &result);
			failed |= (uintptr_t)result;
		}
	}
	return (void *)failed;
}

static void start(pthread_t threads[THREADS])
{
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL,
					    i < THREADS - 2 ? long_lived : keeps_starting,
					    (void *)((i + 1) << 24)),
			     0);
}

static void finish(pthread_t threads[THREADS])
{
	struct gyre_control_totals totals;

	WRITE_RELAXED(stop, 1u);
	for (unsigned i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		cr_assert_null(failed, "thread %u: a block was overwritten", i);
	}
	for (unsigned i = 0; i < SHARED; i++)
		if (shared[i])
			cr_assert(unmake(shared[i]));
	gy_heap_flush();
	gy_heap_check();
	/* every block came home, and was counted once */
	gy_stats_gather(&totals, NULL);
	cr_assert_eq(totals.heap_alloc, 0u);
	cr_assert_eq(totals.mallocs, allocated);
	cr_assert_eq(totals.frees, allocated);
	cr_assert_eq(totals.samples_live, 0u);
	cr_assert_eq(totals.threads, 1u);
}

/* Threads that end while the taker looks at them, again and again, and finds no proof: what it puts
 * back must not be put back into a thread that has no cache any more. */
static pthread_key_t late_key;
static uint32_t given_back; /* [atomic] */

static void late(void *value)
{
	/* after our own destructor, in the same round or the next */
	for (unsigned i = 0; i < 200; i++) {
		if (READ_RELAXED(gy_tls.cache) != GY_NO_CACHE)
			ADD_RELAXED(given_back, 1u);
		unit_free(unit_malloc(64));
	}
	(void)value;
}

static void *ends_soon(void *argument)
{
	void *mine[100];

	for (unsigned i = 0; i < 100; i++)
		mine[i] = unit_malloc(200);
	for (unsigned i = 0; i < 100; i++)
		unit_free(mine[i]);
	pthread_setspecific(late_key, argument);
	usleep(3000);
	return NULL;
}

static void *keeps_ending(void *argument)
{
	while (!READ_RELAXED(stop)) {
		pthread_t threads[8];

		for (unsigned i = 0; i < 8; i++)
			if (pthread_create(&threads[i], NULL, ends_soon, argument))
				return argument;
		for (unsigned i = 0; i < 8; i++)
			pthread_join(threads[i], NULL);
	}
	return NULL;
}

static const unsigned span_ms = UNIT_SLOW ? 5000 : 3000;
static const unsigned patience_ms = 60000; /* on a machine that has more to do than this */

Test(stress, a_thread_that_ends_gets_nothing_put_back)
{
	uint64_t end = unit_now_ms() + (UNIT_SLOW ? 3000 : 1500), clock_ns = 0, looks = 0;
	pthread_t thread;
	void *failed;

	cr_assert_eq(pthread_key_create(&late_key, late), 0);
	gy_option_values[GY_OPT_fault_call] =
		GY_SYS_process_vm_readv; /* no proof is ever complete */
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	cr_assert_eq(pthread_create(&thread, NULL, keeps_ending, &late_key), 0);
	for (; unit_now_ms() < end + (looks > 50 ? 0 : patience_ms); looks++) {
		bool more;

		gy_idle_take(clock_ns += 3600000000000, &more);
	}
	WRITE_RELAXED(stop, 1u);
	pthread_join(thread, &failed);
	cr_assert_null(failed);
	cr_assert_gt(looks, 50u);
	cr_assert_eq(gy_idle_taken(), 0u);
	cr_assert_eq(given_back, 0u, "%u times a cache was put back into a thread that had ended",
		     given_back);
	gy_heap_check();
}


Test(stress, caches_are_taken_at_full_speed)
{
	const uint64_t wanted = UNIT_SLOW ? 20 : 100;
	uint64_t end = unit_now_ms() + span_ms, clock_ns = 0;
	pthread_t threads[THREADS];

	start(threads);
	while (unit_now_ms() < end + (gy_idle_taken() > wanted ? 0 : patience_ms)) {
		bool more;

		gy_idle_take(clock_ns += 3600000000000, &more);
	}
	cr_assert_gt(gy_idle_taken(), wanted, "%llu taken", (unsigned long long)gy_idle_taken());
	finish(threads);
}

Test(stress, caches_are_taken_and_memory_released_and_numbers_read)
{
	uint64_t end = unit_now_ms() + span_ms, clock_ns = 0, released = 0;
	pthread_t threads[THREADS];

	start(threads);
	for (unsigned n = 0;
	     unit_now_ms() < end + (gy_idle_taken() > 10 && released ? 0 : patience_ms); n++) {
		struct gyre_control_totals totals;
		bool more;

		gy_idle_take(clock_ns += 3600000000000, &more);
		if (n % 8 == 0)
			released += gy_heap_trim(0);
		if (n % 8 == 4) {
			gy_stats_gather(&totals, NULL);
			cr_assert_leq(totals.heap_inuse + totals.heap_idle, totals.heap_sys);
			cr_assert_leq(totals.frees, totals.mallocs);
		}
	}
	cr_assert_gt(released, 0u);
	cr_assert_gt(gy_idle_taken(), 10u);
	finish(threads);
}
