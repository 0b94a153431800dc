/* membarrier.c - is another thread asleep, and may its cache be taken: two facilities together.
 *
 * membarrier(PRIVATE_EXPEDITED) makes every running thread of the process pass a full barrier, so that
 * the taker's flag is seen by all before it looks; /proc/self/task/TID/syscall then says whether a
 * thread sits in a system call, and where its stack is.
 */
#include "measure.h"

#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { SLEEPERS = 64 };

static atomic_bool stop;
static atomic_int tids[SLEEPERS + 1];
static int pipe_fds[2];

/* Two threads that are to run at the same time must not be put on one CPU. */
static void stay_on(size_t cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void *sleeper(void *slot)
{
	char byte;

	atomic_store((atomic_int *)slot, (int)syscall(SYS_gettid));
	while (read(pipe_fds[0], &byte, 1) < 0)
		;
	return NULL;
}

static void *spinner(void *slot)
{
	stay_on(1);
	atomic_store((atomic_int *)slot, (int)syscall(SYS_gettid));
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		;
	return NULL;
}

static double time_membarrier(void)
{
	struct samples samples = {0};

	for (int i = 0; i < 200; i++) {
		double begin = now_us();

		if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
			return -1;
		sample_add(&samples, now_us() - begin);
	}
	return sample_median(&samples);
}

static ssize_t read_state(int tid, char *text, size_t bytes)
{
	char path[64];
	ssize_t length = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		length = read(fd, text, bytes - 1);
		close(fd);
	}
	text[length > 0 ? length - 1 : 0] = 0;
	return length;
}

int main(void)
{
	pthread_t threads[SLEEPERS + 1];
	pthread_attr_t attributes;
	struct samples asleep = {0};
	char text[256];
	int mask;

	report_machine();
	stay_on(0);
	mask = (int)syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	report_text("PRIVATE_EXPEDITED offered",
		    mask > 0 && mask & MEMBARRIER_CMD_PRIVATE_EXPEDITED ? "yes" : "NO");
	report_result("before registration",
		      syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	report_result("registration",
		      syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	report("membarrier, one thread", time_membarrier(), "us");

	if (pipe(pipe_fds))
		return 1;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * KIB);
	for (int i = 0; i < SLEEPERS; i++)
		if (pthread_create(&threads[i], &attributes, sleeper, &tids[i]))
			return 1;
	for (int i = 0; i < SLEEPERS; i++)
		while (!tids[i])
			usleep(100);
	usleep(20000);
	report("membarrier, 64 more threads asleep", time_membarrier(), "us");
	if (pthread_create(&threads[SLEEPERS], NULL, spinner, &tids[SLEEPERS]))
		return 1;
	while (!tids[SLEEPERS])
		usleep(100);
	report("membarrier, one more thread running on another CPU", time_membarrier(), "us");

	for (int round = 0; round < 200; round++) {
		double begin = now_us();

		if (read_state(tids[round % SLEEPERS], text, sizeof(text)) <= 0) {
			report_result("/proc/self/task/TID/syscall", -1);
			break;
		}
		sample_add(&asleep, now_us() - begin);
	}
	if (asleep.count) {
		report("reading /proc/self/task/TID/syscall", sample_median(&asleep), "us");
		report_text("  of a thread asleep in read", text);
		read_state(tids[SLEEPERS], text, sizeof(text));
		report_text("  of a running thread", text);
	}
	stop = true;
	for (int i = 0; i < SLEEPERS; i++)
		if (write(pipe_fds[1], "x", 1) != 1)
			return 1;
	for (int i = 0; i <= SLEEPERS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
