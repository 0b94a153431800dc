/* lock_test.c - mutual exclusion, sleeping and waking, fork, and the order of ranks. */
#include "os/lock.h"

#include "unit/unit.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS (UNIT_SLOW ? 20000u : 200000u)

static struct gy_lock lock = GY_LOCK_INIT(GY_RANK_none);
static struct {
	uint64_t a;
	char apart[256];
	uint64_t b;
} guarded; /* [lock] */

static void *count_up(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 8 == 0) {
			while (!gy_lock_try(&lock))
				;
		} else {
			gy_lock_acquire(&lock);
		}
		guarded.a++;
		guarded.b = guarded.a;
		gy_lock_release(&lock);
	}
	return NULL;
}

/* Plain variables: a lost update, or one that is not seen (LOCK-2), makes the sum wrong. */
Test(lock, LOCK_2_what_one_wrote_the_next_sees)
{
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, count_up, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(guarded.a, (uint64_t)THREADS * ROUNDS);
	cr_assert_eq(guarded.b, guarded.a);
	cr_assert_not(gy_lock_is_held(&lock));
}

Test(lock, try_takes_a_free_lock_only)
{
	cr_assert_not(gy_lock_is_held(&lock));
	cr_assert(gy_lock_try(&lock));
	cr_assert(gy_lock_is_held(&lock));
	cr_assert_not(gy_lock_try(&lock));
	gy_lock_release(&lock);
	cr_assert(gy_lock_try(&lock));
	gy_lock_release(&lock);
}

/* LOCK-4: a sleeper that a quick release did not see wakes up by itself. */
static void *count_up_quick(void *argument)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		gy_lock_acquire(&lock);
		guarded.a++;
		guarded.b = guarded.a;
		if (i % 1000 == 0)
			unit_sleep_ms(1); /* others fall asleep */
		gy_lock_release_quick(&lock);
	}
	return argument;
}

Test(lock, LOCK_4_quick_releases_lose_nobody)
{
	pthread_t threads[THREADS];

	gy_lock_init(&lock, GY_RANK_sampler);
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, count_up_quick, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(guarded.a, (uint64_t)THREADS * ROUNDS);
	cr_assert_eq(guarded.b, guarded.a);
	cr_assert_not(gy_lock_is_held(&lock));
}

static void *sleep_on_it(void *argument)
{
	gy_lock_acquire(&lock);
	gy_lock_release(&lock);
	return argument;
}

Test(lock, LOCK_4_a_missed_sleeper_naps)
{
	pthread_t thread;

	gy_lock_init(&lock, GY_RANK_sampler);
	gy_lock_acquire(&lock);
	cr_assert_eq(pthread_create(&thread, NULL, sleep_on_it, NULL), 0);
	while (READ_RELAXED(lock.state) != 2)
		unit_sleep_ms(1);
	unit_sleep_ms(5);
	/* the release that looked before the sleeper came */
	WRITE_RELAXED(lock.state, 1);
	gy_lock_release_quick(&lock);
	pthread_join(thread, NULL);
	cr_assert_not(gy_lock_is_held(&lock));
}

static uint32_t arrived; /* [atomic] */

static void *wait_for_it(void *argument)
{
	(void)argument;
	ADD_RELAXED(arrived, 1u);
	gy_lock_acquire(&lock);
	guarded.a++;
	gy_lock_release(&lock);
	return NULL;
}

/* Held so long that all waiters sleep; each release must wake the next. */
Test(lock, sleepers_are_woken_one_after_another)
{
	pthread_t threads[THREADS];

	gy_lock_acquire(&lock);
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, wait_for_it, NULL), 0);
	while (READ_RELAXED(arrived) < THREADS || READ_RELAXED(lock.state) != 2)
		unit_sleep_ms(1);
	unit_sleep_ms(20);
	cr_assert_eq(guarded.a, 0u);
	gy_lock_release(&lock);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(guarded.a, (uint64_t)THREADS);
	cr_assert_eq(lock.state, 0u);
}

static volatile bool stop;

static void *hold_often(void *argument)
{
	(void)argument;
	while (!READ_RELAXED(stop)) {
		gy_lock_acquire(&lock);
		guarded.a++;
		gy_lock_release(&lock);
	}
	return NULL;
}

/* As mutator/fork.c does: taken before the fork, released in the parent, set anew in the child. */
Test(lock, usable_in_a_child_forked_under_contention)
{
	pthread_t threads[3];

	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, hold_often, NULL), 0);
	for (unsigned n = 0; n < 50; n++) {
		int status;
		pid_t pid;

		gy_lock_acquire(&lock);
		pid = fork();
		if (pid == 0) {
			gy_lock_release(&lock);
			gy_lock_init(&lock, GY_RANK_none);
			for (unsigned i = 0; i < 100; i++) {
				gy_lock_acquire(&lock);
				gy_lock_release(&lock);
			}
			_exit(gy_lock_is_held(&lock));
		}
		gy_lock_release(&lock);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert_eq(status, 0);
	}
	WRITE_RELAXED(stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

/* ---- LOCK-1 ---- */
static struct gy_lock outer = GY_LOCK_INIT(GY_RANK_registry);
static struct gy_lock inner = GY_LOCK_INIT(GY_RANK_central);
static struct gy_lock equal[2] = {GY_LOCK_INIT(GY_RANK_central), GY_LOCK_INIT(GY_RANK_central)};

static void in_order(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < 3; i++) {
		gy_lock_acquire(&outer);
		gy_lock_acquire(&inner);
		/* released in any order */
		gy_lock_release(i % 2 ? &outer : &inner);
		gy_lock_release(i % 2 ? &inner : &outer);
	}
	gy_lock_acquire(&equal[0]);
	gy_lock_acquire(&equal[1]);
	gy_lock_release(&equal[1]);
	gy_lock_release(&equal[0]);
}

static void out_of_order(void *argument)
{
	(void)argument;
	gy_lock_acquire(&inner);
	gy_lock_acquire(&outer);
}

static void out_of_order_by_try(void *argument)
{
	(void)argument;
	gy_lock_acquire(&inner);
	gy_lock_try(&outer);
}

static void equals_downwards(void *argument)
{
	(void)argument;
	gy_lock_acquire(&equal[1]);
	gy_lock_acquire(&equal[0]);
}

static void releases_what_it_does_not_hold(void *argument)
{
	(void)argument;
	gy_lock_release(&inner);
}

Test(lock, LOCK_1_in_order_is_silent)
{
	struct unit_child child = unit_child_run(in_order, NULL);

	unit_assert_exit(child, 0);
	cr_assert_str_eq(child.text, "");
}

Test(lock, LOCK_1_a_breach_panics_naming_both_in_full_checks)
{
	static void (*const breaches[])(void *) = {out_of_order, out_of_order_by_try};

	for (unsigned i = 0; i < ARRAY_SIZE(breaches); i++) {
		struct unit_child child = unit_child_run(breaches[i], NULL);

		if (GYRE_CHECK_FULL)
			unit_assert_abort(child,
					  "LOCK-1: 'registry' taken while 'central' is held");
		else
			unit_assert_exit(child, 0);
	}
}

Test(lock, LOCK_1_equal_ranks_go_upwards_and_a_lock_is_released_by_its_holder)
{
	struct unit_child child = unit_child_run(equals_downwards, NULL);

	if (GYRE_CHECK_FULL)
		unit_assert_abort(child, "LOCK-1: 'central' taken while 'central' is held");
	else
		unit_assert_exit(child, 0);
	child = unit_child_run(releases_what_it_does_not_hold, NULL);
	if (GYRE_CHECK_FULL)
		unit_assert_abort(child,
				  "LOCK-1: a lock is released that this thread does not hold");
	else
		unit_assert_exit(child, 0);
}
