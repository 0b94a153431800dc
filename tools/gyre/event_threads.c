/* event_threads.c - see event_threads.h. */
#include "event_threads.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BUCKETS 4096u /* a power of 2 */
#define THREADS_MAX 100000u

struct thread {
	struct thread *next;
	uint32_t target, inside, outside;
	uint64_t wanted; /* number of the next record */
	bool seen;
	char comm[GY_COMM_BYTES];
};

struct gy_event_threads {
	const struct gy_target *targets;
	size_t count, known;
	bool *same_namespace;
	struct thread *buckets[BUCKETS], *last;
};

static uint32_t outside_of(int pid, uint32_t inside)
{
	char path[64];
	struct dirent *entry;
	uint32_t found = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && !found && (entry = readdir(tasks))) {
		uint32_t outside = (uint32_t)strtoul(entry->d_name, NULL, 10);

		if (outside && gy_task_inside(pid, outside) == inside)
			found = outside;
	}
	if (tasks)
		closedir(tasks);
	return found;
}

struct gy_event_threads *gy_event_threads_open(const struct gy_target *targets, size_t count)
{
	struct gy_event_threads *threads = calloc(1, sizeof(*threads));
	struct stat ours, theirs;
	char path[64];

	if (!threads)
		return NULL;
	threads->targets = targets;
	threads->count = count;
	threads->same_namespace = calloc(count, sizeof(bool));
	if (!threads->same_namespace) {
		free(threads);
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/pid", targets[i].pid);
		threads->same_namespace[i] = !stat("/proc/self/ns/pid", &ours) &&
					     !stat(path, &theirs) && ours.st_ino == theirs.st_ino;
	}
	return threads;
}

void gy_event_threads_close(struct gy_event_threads *threads)
{
	if (!threads)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (threads->buckets[i]) {
			struct thread *next = threads->buckets[i]->next;

			free(threads->buckets[i]);
			threads->buckets[i] = next;
		}
	free(threads->same_namespace);
	free(threads);
}

/* NULL where there are absurdly many: then there is no order to tell. */
static struct thread *thread_of(struct gy_event_threads *threads, const struct gyre_batch *batch)
{
	struct thread **bucket = &threads->buckets[batch->thread % BUCKETS], *thread;

	if (threads->last && threads->last->inside == batch->thread &&
	    threads->last->target == batch->target)
		return threads->last;
	for (thread = *bucket; thread; thread = thread->next)
		if (thread->inside == batch->thread && thread->target == batch->target)
			return threads->last = thread;
	thread = threads->known < THREADS_MAX ? calloc(1, sizeof(*thread)) : NULL;
	if (!thread)
		return NULL;
	threads->known++;
	thread->target = batch->target;
	thread->inside = batch->thread;
	thread->next = *bucket;
	*bucket = thread;
	return threads->last = thread;
}

enum gy_event_order gy_event_threads_order(struct gy_event_threads *threads,
					   const struct gyre_batch *batch, uint64_t *gap)
{
	struct thread *thread = thread_of(threads, batch);
	enum gy_event_order order = EVENT_ORDER_GOOD;

	*gap = 0;
	if (!thread)
		return order;
	/* Where we have not seen its begin, or a new thread has an old one's number, nothing can be
	 * said. */
	if (thread->seen && batch->first > thread->wanted) {
		*gap = batch->first - thread->wanted;
		order = EVENT_ORDER_GAP;
	} else if (thread->seen && batch->first < thread->wanted && batch->first) {
		*gap = thread->wanted - batch->first;
		order = EVENT_ORDER_BACK;
	}
	thread->seen = batch->reason != 2; /* ETH-1 */
	thread->wanted = batch->first + batch->recorded;
	return order;
}

uint32_t gy_event_threads_inside(const struct gy_event_threads *threads, uint32_t outside)
{
	uint32_t inside = 0;

	for (size_t i = 0; !inside && i < threads->count; i++) {
		int pid = threads->targets[i].pid;

		inside = threads->same_namespace[i] ? outside : gy_task_inside(pid, outside);
	}
	return inside ? inside : outside;
}

uint32_t gy_event_threads_outside(struct gy_event_threads *threads, const struct gyre_batch *batch,
				  const char **comm)
{
	struct thread *thread = thread_of(threads, batch);
	int pid = threads->targets[batch->target].pid;

	*comm = "?";
	if (!thread)
		return batch->thread;
	if (!thread->outside) {
		thread->outside = threads->same_namespace[batch->target]
					  ? thread->inside
					  : outside_of(pid, thread->inside);
		if (!thread->outside) /* gone already */
			thread->outside = thread->inside;
		gy_process_comm((int)thread->outside, thread->comm);
	}
	*comm = thread->comm;
	return thread->outside;
}
