/* task_group.c - threads that work on parts of one thing, and stop together.
 *
 *	go	hand the task to a thread of the group that waits for one; if none does, make
 *		another, up to the limit; then wait until one takes it
 *	thread	take tasks, until the group is freed
 *	wait	until all tasks have returned
 *
 * Tasks are handed over in an unbuffered channel: of a traced group's, the argument is on the stack
 * of one thread or the other, or between them in a blocking region's, and so always held.
 *
 * TASK-1  `running` is counted up before a task is handed over, and down after it has returned, or
 *         was not handed over at all.
 * TASK-2  `error` changes once, from 0; whoever changes it closes `done`.
 * TASK-3  `threads` counts threads that exist, under the mutex; a group is freed after the last has
 *         counted itself down, as the last thing that it does with the group.
 */
#include "heap/heap.h"
#include "sync/seal.h"
#include "sync/wait.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

struct task {
	int (*run)(void *argument);
	void *argument;
};

struct gyre_task_group {
	struct gyre_chan *tasks, *done;
	struct gyre_wait_group running; /* TASK-1 */
	struct gyre_wait_group alive;	/* TASK-3 */
	struct gyre_mutex mutex;
	size_t limit;	/* [const] */
	size_t threads; /* [lock: mutex] */
	int error;	/* [atomic] TASK-2 */
};

#define CALLER() ((uintptr_t)__builtin_return_address(0))

static size_t cpus(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (size_t)CPU_COUNT(&set);
}

GY_EXPORT struct gyre_task_group *gyre_task_group_new(size_t limit, enum gyre_contents contents)
{
	struct gyre_task_group *group = gy_heap_alloc_zeroed(sizeof(*group), CALLER());

	if (!group)
		return NULL;
	group->limit = limit ? limit : cpus();
	group->tasks = gyre_chan_new(sizeof(struct task), 0,
				     contents & GYRE_TRACED ? GYRE_TRACED : GYRE_PLAIN);
	group->done = gyre_chan_new(0, 0, GYRE_PLAIN);
	if (group->tasks && group->done)
		return group;
	gyre_chan_free(group->tasks);
	gyre_chan_free(group->done);
	gy_heap_free(group, CALLER());
	errno = ENOMEM;
	return NULL;
}

GY_EXPORT void gyre_task_group_cancel(struct gyre_task_group *group, int error)
{
	int none = 0;

	if (error && __atomic_compare_exchange_n(&group->error, &none, error, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		gyre_chan_close(group->done); /* TASK-2 */
}

static void *thread_run(void *argument)
{
	struct gyre_task_group *group = argument;
	struct task task = {0};

	while (!gyre_chan_recv(group->tasks, &task)) {
		gyre_task_group_cancel(group, task.run(task.argument));
		task = (struct task){0};
		gyre_wait_group_done(&group->running);
	}
	gyre_wait_group_done(&group->alive);
	return NULL;
}

/* False: there is none, and none can be made. */
static bool more_threads(struct gyre_task_group *group)
{
	pthread_attr_t attributes;
	pthread_t thread;
	bool some;

	gyre_mutex_lock(&group->mutex);
	if (group->threads < group->limit && !pthread_attr_init(&attributes)) {
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		gyre_wait_group_add(&group->alive, 1);
		if (pthread_create(&thread, &attributes, thread_run, group))
			gyre_wait_group_done(&group->alive);
		else
			group->threads++;
		pthread_attr_destroy(&attributes);
	}
	some = group->threads > 0;
	gyre_mutex_unlock(&group->mutex);
	return some;
}

GY_EXPORT int gyre_task_group_go(struct gyre_task_group *group, int (*run)(void *argument),
				 void *argument)
{
	struct task task = {run, argument};

	if (__atomic_load_n(&group->error, __ATOMIC_ACQUIRE)) {
		errno = ECANCELED;
		return -1;
	}
	gyre_wait_group_add(&group->running, 1); /* TASK-1 */
	if (!gyre_chan_try_send(group->tasks, &task))
		return 0;
	if (!more_threads(group)) {
		gyre_wait_group_done(&group->running);
		errno = EAGAIN;
		return -1;
	}
	gyre_chan_send(group->tasks, &task);
	return 0;
}

GY_EXPORT int gyre_task_group_wait(struct gyre_task_group *group)
{
	gyre_wait_group_wait(&group->running);
	return __atomic_load_n(&group->error, __ATOMIC_ACQUIRE);
}

GY_EXPORT struct gyre_chan *gyre_task_group_done(struct gyre_task_group *group)
{
	return group->done;
}

GY_EXPORT void gyre_task_group_free(struct gyre_task_group *group)
{
	if (!group)
		return;
	gyre_wait_group_wait(&group->running);
	gyre_chan_close(group->tasks);
	gyre_wait_group_wait(&group->alive); /* TASK-3 */
	gyre_chan_free(group->tasks);
	gyre_chan_free(group->done);
	gy_heap_free(group, CALLER());
}
