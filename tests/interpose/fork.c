/* fork.c - fork, vfork and posix_spawn in a process whose threads all churn the heap.
 *
 *   fork [FORKS [THREADS]]
 *
 * The child of a many-threaded process may call only async-signal-safe functions by the letter, but
 * glibc lets it allocate, and programs rely on it. Here each child allocates, frees what its parent
 * left (its own and other threads' blocks), starts threads, and forks again. A lock that was held
 * at the moment of the fork would hang it; an alarm ends a child that hangs, and that is counted.
 */
#include "interpose/tap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>

enum { SHARED = 512, CHILD_SECONDS = 60 };

extern char **environ;

static volatile bool stop;
static void *shared[SHARED]; /* taken and put by exchange: frees cross threads */

static void *churn(void *argument)
{
	struct rng rng = {(uintptr_t)argument};
	void *own[200] = {NULL};

	while (!stop) {
		for (unsigned i = 0; i < 100; i++) {
			unsigned slot = (unsigned)rng_below(&rng, 200);
			size_t bytes = rng_below(&rng, rng_below(&rng, 50) ? 2000 : 100000);
			void *block = malloc(bytes);

			if (block)
				memset(block, (int)slot, bytes < 64 ? bytes : 64);
			free(own[slot]);
			own[slot] = block;
			slot = (unsigned)rng_below(&rng, SHARED);
			free(__atomic_exchange_n(&shared[slot], realloc(malloc(50), bytes / 2 + 1),
						 __ATOMIC_ACQ_REL));
		}
	}
	for (unsigned i = 0; i < 200; i++)
		free(own[i]);
	return NULL;
}

static void *short_thread(void *argument)
{
	struct rng rng = {(uintptr_t)argument};

	for (unsigned i = 0; i < 2000; i++) {
		size_t bytes = rng_below(&rng, 5000);
		char *block = calloc(1, bytes + 1);

		if (!block || block[bytes])
			return (void *)1;
		free(block);
	}
	return NULL;
}

static bool run_threads(unsigned count)
{
	pthread_t threads[8];
	bool good = true;

	for (unsigned i = 0; i < count; i++)
		good &= !pthread_create(&threads[i], NULL, short_thread,
					(void *)(uintptr_t)(i + 1));
	for (unsigned i = 0; i < count && good; i++) {
		void *result;

		pthread_join(threads[i], &result);
		good &= !result;
	}
	return good;
}

static int wait_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

/* In the child: 0, or which step failed. */
static int child_steps(void **inherited, unsigned depth)
{
	void *blocks[500];

	alarm(CHILD_SECONDS);
	for (unsigned i = 0; i < 500; i++) {
		blocks[i] = malloc(i * 37 % 9000);
		if (!blocks[i])
			return 1;
		memset(blocks[i], 1, i * 37 % 9000);
	}
	for (unsigned i = 0; i < 100; i++) {
		if (((unsigned char *)inherited[i])[0] != (unsigned char)i)
			return 2;
		free(inherited[i]);
	}
	for (unsigned i = 0; i < SHARED; i++)
		free(__atomic_exchange_n(&shared[i], NULL, __ATOMIC_ACQ_REL));
	for (unsigned i = 0; i < 500; i++)
		free(blocks[i]);
	free(malloc(5000000));
	if (!run_threads(3))
		return 3;
	if (depth) {
		void *again[100];
		pid_t child;

		for (unsigned i = 0; i < 100; i++) {
			again[i] = malloc(i + 1);
			memset(again[i], (int)i, 1);
		}
		child = fork();
		if (!child)
			_exit(child_steps(again, depth - 1));
		for (unsigned i = 0; i < 100; i++)
			free(again[i]);
		if (child < 0 || wait_for(child))
			return 4;
	}
	return 0;
}

static void test_fork(unsigned forks)
{
	char name[80];

	snprintf(name, sizeof(name), "%u forks while every thread churns", forks);
	group(name);
	for (unsigned i = 0; i < forks; i++) {
		void *inherited[100];
		pid_t child;
		int status;

		for (unsigned k = 0; k < 100; k++) {
			inherited[k] = malloc(k * 13 + 1);
			memset(inherited[k], (int)k, 1);
		}
		child = fork();
		if (!child)
			_exit(child_steps(inherited, i % 4 == 0));
		EXPECT(child > 0, "fork %u: errno %d", i, errno);
		for (unsigned k = 0; k < 100; k++)
			free(inherited[k]);
		if (child <= 0)
			break;
		status = wait_for(child);
		EXPECT(!status, "child %u: %s %d", i, WIFSIGNALED(status) ? "signal" : "step",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	}
	group_end();
}

static void test_spawn(void)
{
	group("vfork, posix_spawn and popen while every thread churns");
	for (volatile unsigned i = 0; i < 30; i++) {
		char *arguments[] = {(char *)(uintptr_t) "true", NULL};
		char line[20] = "";
		pid_t child;
		FILE *pipe;

		EXPECT(!posix_spawnp(&child, "true", NULL, NULL, arguments, environ), "spawn %u",
		       i);
		EXPECT(!wait_for(child), "spawn %u", i);
		child = vfork();
		if (!child) {
			execvp("true", arguments);
			_exit(1);
		}
		EXPECT(child > 0 && !wait_for(child), "vfork %u", i);
		pipe = popen("echo word", "r");
		EXPECT(pipe && fgets(line, sizeof(line), pipe) && !strcmp(line, "word\n"),
		       "popen %u", i);
		if (pipe)
			pclose(pipe);
	}
	group_end();
}

/* Handlers registered with pthread_atfork may allocate, before and after ours. */
static unsigned handler_runs;
static void *from_handler;

static void at_fork_prepare(void)
{
	free(from_handler);
	from_handler = malloc(300);
	handler_runs++;
}

static void at_fork_after(void)
{
	free(from_handler);
	from_handler = malloc(3000);
	handler_runs++;
}

int main(int argc, char **argv)
{
	unsigned forks = argc > 1 ? (unsigned)atoi(argv[1]) : 200;
	unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 6;
	pthread_t threads[64];

	if (count > 64)
		count = 64;
	pthread_atfork(at_fork_prepare, at_fork_after, at_fork_after);
	for (unsigned i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1));
	test_fork(forks);
	test_spawn();
	stop = true;
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	group("handlers of pthread_atfork may allocate; the parent is whole afterwards");
	EXPECT(handler_runs >= 2 * forks, "%u runs", handler_runs);
	EXPECT(run_threads(4), "threads");
	group_end();
	return tap_all_failures != 0;
}
