/* group_test.c - wait groups, conditions, task groups (sync/wait_group.c, cond.c, task_group.c). */
#include "sync_unit.h"

#include <sched.h>

/* ---- wait groups ---- */

static struct gyre_wait_group group;
static unsigned long work[THREADS_MAX];

static void *work_and_tell(void *number)
{
	work[(uintptr_t)number]++;
	gyre_wait_group_done(&group);
	return NULL;
}

RACE(wait_group, GROUP_2_what_was_done_is_seen)
{
	for (unsigned round = 0; round < rounds(400); round++) {
		pthread_t handles[4];
		unsigned long sum = 0;

		gyre_wait_group_add(&group, 4);
		for (uintptr_t i = 0; i < 4; i++)
			pthread_create(&handles[i], NULL, work_and_tell, (void *)i);
		gyre_wait_group_wait(&group);
		for (unsigned i = 0; i < 4; i++)
			sum += work[i];
		cr_assert_eq(sum, 4ul * (round + 1));
		for (unsigned i = 0; i < 4; i++)
			pthread_join(handles[i], NULL);
	}
}

static uint32_t go;
static unsigned long result[4001];

static void *results(GY_UNUSED void *number)
{
	for (unsigned round = 1; round <= rounds(4000); round++) {
		while (READ_RELAXED(go) != round)
			sched_yield();
		result[round] = round;
		gyre_wait_group_done(&group);
	}
	return NULL;
}

/* The end may come at each step of the wait, with nothing else that orders the two threads. */
RACE(wait_group, GROUP_2_the_end_comes_while_parking)
{
	pthread_t thread;

	pthread_create(&thread, NULL, results, NULL);
	for (unsigned round = 1; round <= rounds(4000); round++) {
		gyre_wait_group_add(&group, 1);
		WRITE_RELAXED(go, round);
		gyre_wait_group_wait(&group);
		cr_assert_eq(result[round], round);
	}
	pthread_join(thread, NULL);
}

static uint32_t waiters_back;

static void *wait_for_it(GY_UNUSED void *number)
{
	for (unsigned i = 0; i < rounds(2000); i++)
		gyre_wait_group_wait(&group);
	__atomic_fetch_add(&waiters_back, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void *up_and_down(GY_UNUSED void *number)
{
	while (READ_RELAXED(waiters_back) < 3) {
		gyre_wait_group_add(&group, 1);
		gyre_wait_group_done(&group);
	}
	return NULL;
}

static void *by_number(void *number)
{
	return number ? wait_for_it(number) : up_and_down(number);
}

/* However soon the group is used again, who waits comes back. */
RACE(wait_group, GROUP_1_used_again_at_once)
{
	together(4, by_number);
}

Test(wait_group, timeouts)
{
	cr_assert_eq(gyre_wait_group_wait_timed(&group, 0), 0);
	gyre_wait_group_add(&group, 2);
	cr_assert_eq(gyre_wait_group_wait_timed(&group, 0), -1);
	cr_assert_eq(errno, EAGAIN);
	cr_assert_eq(gyre_wait_group_wait_timed(&group, 10 * MS), -1);
	cr_assert_eq(errno, ETIMEDOUT);
	gyre_wait_group_add(&group, -2);
	cr_assert_eq(gyre_wait_group_wait_timed(&group, 10 * MS), 0);
}

MISUSE(wait_group, done_too_often, "negative count of a wait group")
{
	struct gyre_wait_group none = GYRE_WAIT_GROUP_INIT;

	gyre_wait_group_add(&none, 1);
	gyre_wait_group_done(&none);
	gyre_wait_group_done(&none);
}

MISUSE(wait_group, SEAL_2_a_copy, "use of a copied wait group")
{
	struct gyre_wait_group used = GYRE_WAIT_GROUP_INIT, copy;

	gyre_wait_group_add(&used, 1);
	copy = used;
	gyre_wait_group_done(&copy);
}

/* ---- conditions ---- */

static struct {
	struct gyre_mutex mutex;
	struct gyre_cond filled, emptied;
	unsigned long tokens, taken, ended;
} box;

static void *fill_or_empty(void *number)
{
	for (unsigned i = 0; i < rounds(10000); i++) {
		gyre_mutex_lock(&box.mutex);
		if ((uintptr_t)number % 2) {
			while (!box.tokens)
				gyre_cond_wait(&box.filled, &box.mutex);
			box.tokens--;
			box.taken++;
			gyre_cond_signal(&box.emptied);
		} else {
			while (box.tokens == 2)
				gyre_cond_wait(&box.emptied, &box.mutex);
			box.tokens++;
			gyre_cond_signal(&box.filled);
		}
		gyre_mutex_unlock(&box.mutex);
	}
	return NULL;
}

RACE(cond, COND_1_no_signal_is_lost)
{
	together(4, fill_or_empty);
	cr_assert_eq(box.taken, 2ul * rounds(10000));
	cr_assert_eq(box.tokens, 0);
}

static void *wait_to_be_told(GY_UNUSED void *number)
{
	gyre_mutex_lock(&box.mutex);
	while (!box.ended)
		gyre_cond_wait(&box.filled, &box.mutex);
	box.taken++;
	gyre_mutex_unlock(&box.mutex);
	return NULL;
}

Test(cond, broadcast_tells_all)
{
	pthread_t handles[5];

	for (unsigned i = 0; i < 5; i++)
		pthread_create(&handles[i], NULL, wait_to_be_told, NULL);
	unit_sleep_ms(20);
	gyre_mutex_lock(&box.mutex);
	box.ended = 1;
	gyre_cond_broadcast(&box.filled);
	gyre_mutex_unlock(&box.mutex);
	for (unsigned i = 0; i < 5; i++)
		pthread_join(handles[i], NULL);
	cr_assert_eq(box.taken, 5);
}

Test(cond, timeouts)
{
	uint64_t begin = unit_now_ms();

	gyre_mutex_lock(&box.mutex);
	cr_assert_eq(gyre_cond_wait_timed(&box.filled, &box.mutex, 20 * MS), -1);
	cr_assert_eq(errno, ETIMEDOUT);
	cr_assert_geq(unit_now_ms() - begin, 19);
	cr_assert_not(gyre_mutex_try_lock(&box.mutex)); /* it is held again */
	cr_assert_eq(box.filled.word & 1, 0); /* COND-2 */
	gyre_mutex_unlock(&box.mutex);
}

/* ---- task groups ---- */

static unsigned long tasks_run, tasks_at_once, tasks_most;

static int task(void *argument)
{
	unsigned long now = __atomic_add_fetch(&tasks_at_once, 1, __ATOMIC_RELAXED);

	if (now > READ_RELAXED(tasks_most))
		WRITE_RELAXED(tasks_most, now);
	ADD_RELAXED(tasks_run, 1);
	SUB_RELAXED(tasks_at_once, 1);
	return (int)(intptr_t)argument;
}

RACE(task_group, TASK_1_all_run_and_none_too_many)
{
	struct gyre_task_group *tasks = gyre_task_group_new(3, GYRE_PLAIN);

	cr_assert_not_null(tasks);
	for (unsigned i = 0; i < rounds(1000); i++)
		cr_assert_eq(gyre_task_group_go(tasks, task, NULL), 0);
	cr_assert_eq(gyre_task_group_wait(tasks), 0);
	cr_assert_eq(tasks_run, rounds(1000));
	cr_assert_leq(tasks_most, 3);
	gyre_task_group_free(tasks);
}

static int wait_for_the_end(void *argument)
{
	struct gyre_task_group *tasks = argument;

	return gyre_chan_recv(gyre_task_group_done(tasks), NULL) && errno == EPIPE ? 0 : 99;
}

Test(task_group, TASK_2_the_first_error_ends_all)
{
	struct gyre_task_group *tasks = gyre_task_group_new(4, GYRE_PLAIN);

	cr_assert_eq(gyre_task_group_go(tasks, wait_for_the_end, tasks), 0);
	cr_assert_eq(gyre_task_group_go(tasks, wait_for_the_end, tasks), 0);
	cr_assert_eq(gyre_task_group_go(tasks, task, (void *)7), 0);
	cr_assert_eq(gyre_task_group_wait(tasks), 7);
	cr_assert_eq(gyre_task_group_go(tasks, task, NULL), -1);
	cr_assert_eq(errno, ECANCELED);
	gyre_task_group_cancel(tasks, 8);
	cr_assert_eq(gyre_task_group_wait(tasks), 7);
	gyre_task_group_free(tasks);
}
