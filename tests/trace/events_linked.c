/* events_linked.c - a program that makes the events it is told to, and no others.
 *
 * One command a line on stdin; when it is done, a line `done ...` on stdout. Between the two only
 * the allocations of the command happen: lines are read and written by system calls into static
 * buffers.
 *
 *      large N BYTES   N times malloc and free of a block
 *      small N BYTES   N blocks are allocated, then all are freed
 *      keep N BYTES    N blocks are allocated;  drop: they are freed
 *      oom             an allocation that cannot succeed; done 1 if it failed with ENOMEM
 *      misuse          a double free
 *      trim            gyre_trim(0); done BYTES
 *      thread N BYTES  `small` in a thread of its own, which ends
 *      fork N BYTES    `large` in a child, which ends
 *      stats           done MALLOCS FREES LIVE_LARGE
 *      quit
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gyre/gyre.h>

#define BLOCKS_MAX 200000

static void *blocks[BLOCKS_MAX];
static size_t kept;

__attribute__((noinline)) void make_large(size_t count, size_t bytes)
{
	for (size_t i = 0; i < count; i++) {
		char *block = malloc(bytes);

		if (block)
			*(volatile char *)block = 1;
		free(block);
	}
}

__attribute__((noinline)) void make_small(size_t count, size_t bytes)
{
	count = count < BLOCKS_MAX ? count : BLOCKS_MAX;
	for (size_t i = 0; i < count; i++)
		blocks[i] = malloc(bytes);
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
}

struct order {
	size_t count, bytes;
};

static void *thread_run(void *argument)
{
	const struct order *order = argument;

	make_small(order->count, order->bytes);
	return NULL;
}

static void answer(const char *word, uint64_t a, uint64_t b, uint64_t c)
{
	char line[128];
	int length = snprintf(line, sizeof(line), "%s %lu %lu %lu\n", word, a, b, c);

	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		_exit(1);
}

static int keep(size_t count, size_t bytes)
{
	for (; kept < count && kept < BLOCKS_MAX; kept++) {
		blocks[kept] = malloc(bytes);
		if (!blocks[kept])
			return -1;
		memset(blocks[kept], 1, bytes);
	}
	return 0;
}

static uint64_t fail(void)
{
	void *volatile block;
	volatile size_t bytes = SIZE_MAX / 4;

	errno = 0;
	block = malloc(bytes);
	return !block && errno == ENOMEM;
}

static void misuse(void)
{
	void *volatile block = malloc(64);

	free(block);
	free(block);
}

static void in_child(size_t count, size_t bytes)
{
	pid_t child = fork();

	if (!child) {
		make_large(count, bytes);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void in_thread(size_t count, size_t bytes)
{
	struct order order = {count, bytes};
	pthread_t thread;

	if (!pthread_create(&thread, NULL, thread_run, &order))
		pthread_join(thread, NULL);
}

static void obey(const char *command, size_t count, size_t bytes)
{
	struct gyre_stats stats;
	uint64_t result[3] = {0};

	if (!strcmp(command, "large"))
		make_large(count, bytes);
	else if (!strcmp(command, "small"))
		make_small(count, bytes);
	else if (!strcmp(command, "keep"))
		result[0] = (uint64_t)(keep(count, bytes) == 0);
	else if (!strcmp(command, "drop"))
		while (kept)
			free(blocks[--kept]);
	else if (!strcmp(command, "oom"))
		result[0] = fail();
	else if (!strcmp(command, "misuse"))
		misuse();
	else if (!strcmp(command, "trim"))
		result[0] = gyre_trim(0);
	else if (!strcmp(command, "thread"))
		in_thread(count, bytes);
	else if (!strcmp(command, "fork"))
		in_child(count, bytes);
	else if (!strcmp(command, "stats") && !gyre_stats_read(&stats, sizeof(stats))) {
		result[0] = stats.mallocs;
		result[1] = stats.frees;
		result[2] = stats.large_blocks;
	}
	answer("done", result[0], result[1], result[2]);
}

int main(void)
{
	static char line[256];
	size_t used = 0;

	answer("ready", (uint64_t)getpid(), 0, 0);
	for (;;) {
		char command[16] = "";
		size_t count = 0, bytes = 0;

		if (used == sizeof(line) - 1 || read(STDIN_FILENO, line + used, 1) != 1)
			return 0;
		if (line[used++] != '\n')
			continue;
		line[used] = 0;
		used = 0;
		sscanf(line, "%15s %zu %zu", command, &count, &bytes);
		if (!strcmp(command, "quit"))
			return 0;
		obey(command, count, bytes);
	}
}
