/* life.c - malloc at the odd moments of a process's life.
 *
 * Before main (constructors of every priority, preinit), in destructors of thread-local data (four
 * rounds of pthread keys), in atexit and on_exit handlers, in library destructors after main, in
 * threads with the smallest stack, in a thread that nobody joins, with signals arriving. Each place
 * takes, fills, checks and frees blocks; many of them keep blocks that a later place frees.
 */
#include "interpose/tap.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { KEPT = 64, THREADS = 50, ROUNDS = PTHREAD_DESTRUCTOR_ITERATIONS };

static void *kept[KEPT];
static volatile unsigned moments_good, moments_seen;

/* One visit: blocks of several sizes, checked; one block stays for a later moment. */
static bool exercise(unsigned seed)
{
	static const size_t sizes[] = {0, 1, 16, 100, 1000, 5000, 40000, 3000000};
	unsigned char *blocks[sizeof(sizes) / sizeof(sizes[0])];
	bool good = true;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		blocks[i] = i & 1 ? malloc(sizes[i]) : calloc(1, sizes[i]);
		if (!blocks[i])
			return false;
		memset(blocks[i], (int)(seed + i), sizes[i]);
	}
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (size_t k = 0; k < sizes[i]; k += 97)
			good &= blocks[i][k] == (unsigned char)(seed + i);
		free(blocks[i]);
	}
	return good;
}

static void moment(unsigned slot)
{
	bool good = exercise(slot);
	void *old = kept[slot % KEPT];

	kept[slot % KEPT] = malloc(slot * 10 + 1);
	free(old);
	__atomic_add_fetch(&moments_seen, 1, __ATOMIC_RELAXED);
	if (good && kept[slot % KEPT])
		__atomic_add_fetch(&moments_good, 1, __ATOMIC_RELAXED);
}

static unsigned early_moments;

__attribute__((constructor(101))) static void constructor_first(void)
{
	moment(1);
	early_moments++;
}

__attribute__((constructor(5000))) static void constructor_middle(void)
{
	moment(2);
	early_moments++;
}

__attribute__((constructor)) static void constructor_last(void)
{
	moment(3);
	early_moments++;
}

#ifndef LIFE_STATIC
static void before_all(void)
{
	moment(4);
	early_moments++;
}

/* Runs before the constructors of every library, ours included. */
__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = before_all;
#endif

static unsigned late_good;

__attribute__((destructor(101))) static void destructor_last(void)
{
	for (unsigned i = 0; i < KEPT; i++)
		free(kept[i]);
	late_good += exercise(9);
	/* The last word: every place before has counted itself. */
	group("destructors and exit handlers may allocate and free");
	EXPECT(late_good == 4, "%u places of 4", late_good);
	group_end();
}

__attribute__((destructor)) static void destructor_first(void)
{
	late_good += exercise(10);
}

static void at_exit(void)
{
	late_good += exercise(11);
}

static void at_exit_with(int status, void *block)
{
	(void)status;
	free(block);
	late_good += exercise(12);
}

/* ---- thread-local data ---- */

static pthread_key_t keys[3];
static unsigned rounds_seen;

static void key_destructor(void *value)
{
	unsigned *block = value;
	unsigned round = block[0];

	if (block[1] != 0xfeed || !exercise(round))
		tap_fail(__LINE__, "key", "round %u", round);
	__atomic_add_fetch(&rounds_seen, 1, __ATOMIC_RELAXED);
	block = realloc(block, 1000 + round);
	block[0] = round + 1;
	if (round + 1 < ROUNDS)
		pthread_setspecific(keys[block[2]], block);
	else
		free(block);
}

static void *thread_with_keys(void *argument)
{
	for (unsigned k = 0; k < 3; k++) {
		unsigned *block = malloc(64);

		block[0] = 0;
		block[1] = 0xfeed;
		block[2] = k;
		pthread_setspecific(keys[k], block);
	}
	exercise(5);
	return argument;
}

static void test_keys(void)
{
	group("thread-specific destructors allocate and free in all four rounds");
	for (unsigned k = 0; k < 3; k++)
		pthread_key_create(&keys[k], key_destructor);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_t thread;

		EXPECT(!pthread_create(&thread, NULL, thread_with_keys, NULL), "thread %u", i);
		pthread_join(thread, NULL);
	}
	EXPECT(rounds_seen == THREADS * 3 * ROUNDS, "%u rounds", rounds_seen);
	group_end();
}

/* ---- the smallest stacks ---- */

static void *small_stack_thread(void *argument)
{
	bool good = true;

	for (unsigned i = 0; i < 200; i++) {
		void *blocks[20];

		for (unsigned k = 0; k < 20; k++) {
			blocks[k] = malloc((i + 1) * (k + 1) * 11);
			good &= blocks[k] != NULL;
		}
		for (unsigned k = 0; k < 20; k++)
			free(blocks[k]);
	}
	return good && exercise(6) ? argument : NULL;
}

static void test_small_stacks(void)
{
	pthread_attr_t attributes;

	group("threads of PTHREAD_STACK_MIN");
	pthread_attr_init(&attributes);
	EXPECT(!pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN), "stack size");
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_t thread;
		void *result = NULL;

		EXPECT(!pthread_create(&thread, &attributes, small_stack_thread, &early_moments),
		       "thread %u", i);
		pthread_join(thread, &result);
		EXPECT(result == &early_moments, "thread %u", i);
	}
	pthread_attr_destroy(&attributes);
	group_end();
}

/* ---- signals, detached and cancelled threads ---- */

static volatile sig_atomic_t signals_seen;
static volatile bool stop;
static unsigned detached_done;

static void on_signal(int number)
{
	(void)number;
	signals_seen++;
}

static void *churn(void *argument)
{
	void *blocks[100] = {NULL};
	struct rng rng = {(uintptr_t)argument};

	while (!stop) {
		unsigned slot = (unsigned)rng_below(&rng, 100);

		free(blocks[slot]);
		blocks[slot] = malloc(rng_below(&rng, 3000));
		pthread_testcancel();
	}
	for (unsigned i = 0; i < 100; i++)
		free(blocks[i]);
	return NULL;
}

static void *detached(void *argument)
{
	exercise(7);
	free(argument);
	__atomic_add_fetch(&detached_done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[4];
	struct sigaction action = {.sa_handler = on_signal};

	group("signals, detached threads and cancelled threads");
	sigaction(SIGUSR1, &action, NULL);
	for (unsigned i = 0; i < 4; i++)
		EXPECT(!pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)),
		       "thread %u", i);
	for (unsigned i = 0; i < 2000; i++) {
		pthread_kill(threads[i % 4], SIGUSR1);
		if (i % 20 == 0) {
			pthread_t thread;

			EXPECT(!pthread_create(&thread, NULL, detached, malloc(500)), "thread %u",
			       i);
			pthread_detach(thread);
		}
	}
	pthread_cancel(threads[0]);
	stop = true;
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 5000 && __atomic_load_n(&detached_done, __ATOMIC_ACQUIRE) < 100;
	     i++)
		usleep(1000);
	EXPECT(detached_done == 100, "%u detached threads ended", detached_done);
	EXPECT(signals_seen > 0, "no signal arrived");
	group_end();
}

int main(void)
{
	group("constructors of every priority may allocate, before main");
#ifndef LIFE_STATIC
	EXPECT(early_moments == 4 && moments_good == 4, "%u of %u", moments_good, early_moments);
#else
	EXPECT(early_moments == 3 && moments_good == 3, "%u of %u", moments_good, early_moments);
#endif
	group_end();
	atexit(at_exit);
	on_exit(at_exit_with, malloc(77));
	test_keys();
	test_small_stacks();
	test_threads();
	return tap_all_failures != 0;
}
