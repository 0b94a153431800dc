/* fork_test.c - fork out of the middle of everything: the child's heap is whole, and so stays the
 * parent's. */
#include "mutator/fork.h"

#include "base/config.h"
#include "control/background.h"
#include "control/page.h"
#include "control/stats.h"
#include "heap/large.h"
#include "heap/scavenger.h"
#include "heap/thread_cache.h"
#include "trace/live.h"
#include "trace/sampler.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

#include <pthread.h>

#define THREADS 6

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_sample] = 50000;
	gy_option_values[GY_OPT_sample_stack] = 3;
	gy_option_values[GY_OPT_background] = 0;
}

TestSuite(fork, .init = quiet);

static uint32_t stop;  /* [atomic] */
static uint64_t turns; /* [atomic] */

static void *churn(void *argument)
{
	uint64_t rng = (uintptr_t)argument;
	unsigned char *blocks[300] = {NULL};
	uint32_t bytes[300];

	while (!READ_RELAXED(stop)) {
		unsigned at = (unsigned)(unit_random(&rng) % 300);

		if (blocks[at]) {
			if (blocks[at][0] != (unsigned char)at ||
			    blocks[at][bytes[at] - 1] != (unsigned char)at)
				return argument;
			unit_free(blocks[at]);
			blocks[at] = NULL;
		} else {
			bytes[at] = 16 + (uint32_t)(unit_random(&rng) %
						    (unit_random(&rng) % 100 ? 3000 : 200000));
			blocks[at] = unit_malloc(bytes[at]);
			blocks[at][0] = blocks[at][bytes[at] - 1] = (unsigned char)at;
		}
		ADD_RELAXED(turns, 1u);
	}
	for (unsigned at = 0; at < 300; at++)
		if (blocks[at])
			unit_free(blocks[at]);
	return NULL;
}

static void *release(void *argument)
{
	while (!READ_RELAXED(stop))
		gy_heap_trim(0);
	return argument;
}

static void *allocates_once(void *argument)
{
	unit_free(unit_malloc(100));
	return argument;
}

static void *come_and_go(void *argument)
{
	while (!READ_RELAXED(stop)) {
		pthread_t thread;

		if (!pthread_create(&thread, NULL, allocates_once, NULL))
			pthread_join(thread, NULL);
	}
	return argument;
}

#define KEPT 500
static unsigned char *kept[KEPT];

static void *child_thread(void *argument)
{
	for (unsigned i = 0; i < 2000; i++)
		unit_free(unit_malloc(i % 3000));
	return argument;
}

/* What a child may do: look at what it inherited, allocate, free, start threads, fork again. */
static void child_life(unsigned depth)
{
	struct gyre_control_totals totals;
	pthread_t thread;

	gy_heap_check();
	gy_sampler_check();
	child_check(gy_registry.count <= 1);
	for (unsigned i = 0; i < KEPT; i++) {
		size_t bytes = 20 + i * 40;

		for (size_t b = 0; b < bytes; b++)
			child_check(kept[i][b] == (unsigned char)(i + b));
	}
	for (unsigned n = 0; n < 3; n++) {
		void *blocks[200];

		for (unsigned i = 0; i < 200; i++) {
			blocks[i] = unit_malloc(1 + i * 200);
			child_check(blocks[i]);
			memset(blocks[i], 1, 1 + i * 200);
		}
		for (unsigned i = 0; i < 200; i++)
			unit_free(blocks[i]);
	}
	for (unsigned i = 0; i < KEPT; i += 2)
		unit_free(kept[i]);
	gy_heap_trim(0);
	gy_heap_check();
	gy_sampler_check();
	gy_stats_gather(&totals, NULL);
	child_check(totals.threads == 1 && totals.frees <= totals.mallocs);
	/* ThreadSanitizer does not follow threads of a forked child; AddressSanitizer's own allocator
	 * may have been locked by another thread at the fork, and is asked at a thread's end. */
	if (!GY_TSAN && !GY_ASAN) {
		child_check(pthread_create(&thread, NULL, child_thread, NULL) == 0);
		pthread_join(thread, NULL);
		gy_heap_check();
	}
	if (depth) {
		int status = 0;
		pid_t pid = fork();

		child_check(pid >= 0);
		if (pid == 0) {
			for (unsigned i = 1; i < KEPT; i += 2)
				unit_free(kept[i]);
			gy_heap_check();
			_exit(0);
		}
		child_check(waitpid(pid, &status, 0) == pid && status == 0);
	}
}

static void child_body(void *argument)
{
	alarm(60); /* a lock that is held for ever must not hang the tests */
	child_life(*(const unsigned *)argument);
}

Test(fork, FORK_1_out_of_a_churning_process)
{
	pthread_t threads[THREADS];
	unsigned forks = UNIT_SLOW ? 12 : 25;

	for (unsigned i = 0; i < KEPT; i++) {
		kept[i] = unit_malloc(20 + i * 40);
		for (unsigned b = 0; b < 20 + i * 40; b++)
			kept[i][b] = (unsigned char)(i + b);
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL,
					    i < 4    ? churn
					    : i == 4 ? release
						     : come_and_go,
					    (void *)(i < 4 ? i + 1 : 0)),
			     0);
	for (unsigned n = 0; n < forks; n++) {
		unsigned depth = n % 5 == 0;
		uint64_t before = READ_RELAXED(turns);
		struct unit_child child = unit_child_run(child_body, &depth);

		unit_assert_exit(child, 0);
		while (READ_RELAXED(turns) < before + 100) /* the parent goes on */
			sched_yield();
	}
	WRITE_RELAXED(stop, 1u);
	for (unsigned i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	gy_heap_check();
	gy_sampler_check();
}

/* FORK-1, one lock at a time: while somebody is in the middle of what it protects, nobody forks. */
static uint32_t forked; /* [atomic] */

static void *forks(void *argument)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	__atomic_store_n(&forked, 1, __ATOMIC_RELEASE);
	waitpid(pid, NULL, 0);
	return argument;
}

static void acquire_registry(void)
{
	gy_lock_acquire(&gy_registry.lock);
}

static void release_registry(void)
{
	gy_lock_release(&gy_registry.lock);
}

static struct gy_lock *central_lock;

static void acquire_central(void)
{
	gy_lock_acquire(central_lock);
}

static void release_central(void)
{
	gy_lock_release(central_lock);
}

static void acquire_sampler(void)
{
	gy_lock_acquire(&gy_sampler_lock);
}

static void release_sampler(void)
{
	gy_lock_release(&gy_sampler_lock);
}

static void waits_for(void (*acquire)(void), void (*let_go)(void), const char *name)
{
	pthread_t thread;

	forked = 0;
	acquire();
	cr_assert_eq(pthread_create(&thread, NULL, forks, NULL), 0);
	unit_sleep_ms(30);
	cr_assert_not(__atomic_load_n(&forked, __ATOMIC_ACQUIRE), "fork did not wait for %s", name);
	let_go();
	pthread_join(thread, NULL);
	cr_assert(forked);
}

Test(fork, FORK_1_waits_for_every_lock)
{
	waits_for(gy_scavenger_fork_prepare, gy_scavenger_fork_parent, "trim");
	waits_for(acquire_registry, release_registry, "registry");
	for (unsigned c = 1; c < GY_CLASS_COUNT; c += 37) {
		for (unsigned sampled = 0; sampled < 2; sampled++) {
			central_lock = &gy_centrals[sampled][c].lock;
			waits_for(acquire_central, release_central, "central");
		}
	}
	waits_for(gy_large_lock, gy_large_unlock, "large");
	waits_for(gy_page_heap_lock, gy_page_heap_unlock, "page_heap");
	waits_for(acquire_sampler, release_sampler, "sampler");
	waits_for(gy_metadata_lock, gy_metadata_unlock, "metadata");
	waits_for(gy_background_fork_prepare, gy_background_fork_parent, "background");
	waits_for(gy_control_fork_prepare, gy_control_fork_parent, "control");
}

/* Blocks that other threads had cached at the fork are lost to the child, and counted so. */
static pthread_barrier_t barrier;

static void *holds_a_cache(void *argument)
{
	void *blocks[100];

	for (unsigned i = 0; i < 100; i++)
		blocks[i] = unit_malloc(200);
	for (unsigned i = 0; i < 100; i++)
		unit_free(blocks[i]);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return argument;
}

static void counts_after_fork(void *argument)
{
	unsigned c = gy_class_of_request(200);
	static struct gyre_control_class classes[GY_STATS_CLASSES];
	struct gyre_control_totals totals;

	gy_stats_gather(&totals, classes);
	child_check(totals.threads == 1);
	child_check(classes[c - 1].mallocs == *(const uint64_t *)argument);
	child_check(classes[c - 1].live == 7);
	child_check(gy_centrals[0][c].lost > 0);
	child_check(gy_registry.capacity_bytes == gy_registry.first->capacity_bytes);
	gy_heap_check();
}

Test(fork, what_other_threads_cached_is_lost_and_counted)
{
	pthread_t threads[2];
	uint64_t mallocs = 2 * 100 + 7;
	struct unit_child child;

	gy_option_values[GY_OPT_sample] = 0;
	pthread_barrier_init(&barrier, NULL, 3);
	for (unsigned i = 0; i < 7; i++)
		cr_assert_not_null(unit_malloc(200));
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, holds_a_cache, NULL), 0);
	pthread_barrier_wait(&barrier);
	child = unit_child_run(counts_after_fork, &mallocs);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	unit_assert_exit(child, 0);
}

/* A process that never allocated forks, and its child allocates. */
static void allocates(void *argument)
{
	(void)argument;
	child_check(gy_tls.cache == GY_NO_CACHE);
	unit_free(unit_malloc(100));
	gy_heap_check();
}

Test(fork, before_the_first_allocation)
{
	struct unit_child child = unit_child_run(allocates, NULL);

	unit_assert_exit(child, 0);
}

/* Chains of children, each the parent of the next. */
static void chain(void *argument)
{
	unsigned *left = argument;

	for (unsigned i = 0; i < 200; i++)
		unit_free(unit_malloc(i * 30));
	gy_heap_check();
	if (--*left) {
		struct unit_child child = unit_child_run(chain, left);

		child_check(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0);
	}
}

Test(fork, generations)
{
	unsigned left = 10;
	struct unit_child child = unit_child_run(chain, &left);

	unit_assert_exit(child, 0);
}
