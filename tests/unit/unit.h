/* unit.h - what the unit tests of several layers share: random numbers, children, resident memory.
 *
 * A test that must see a process die, or change what cannot be changed back, does it in a forked
 * child (child_run) and looks at the status and at what the child wrote to stderr.
 */
#ifndef GYRE_TESTS_UNIT_H
#define GYRE_TESTS_UNIT_H

#include "base/compiler.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* gate: a sanitizer slows the program down; loops are shortened */
#define UNIT_SLOW (GY_TSAN || GY_ASAN)

GY_UNUSED static uint64_t unit_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

GY_UNUSED static uint64_t unit_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

GY_UNUSED static void unit_sleep_ms(unsigned ms)
{
	struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

/* Four threads run `body`, each with its number, from 1 on; NULL says that all was well. */
GY_UNUSED static void unit_four_threads(void *(*body)(void *number))
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, body, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < 4; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
}

/* Bytes of [start, start + bytes), a whole number of kernel pages, that have memory behind them. */
GY_UNUSED static size_t unit_resident(const void *start, size_t bytes)
{
	size_t pages = bytes / 4096, resident = 0;
	unsigned char *vector = malloc(pages);

	cr_assert_not_null(vector);
	cr_assert_eq(mincore((void *)(uintptr_t)start, bytes, vector), 0, "%s", strerror(errno));
	for (size_t i = 0; i < pages; i++)
		resident += (size_t)(vector[i] & 1) * 4096;
	free(vector);
	return resident;
}

struct unit_child {
	int status; /* as waitpid gives it */
	size_t length;
	char text[8192]; /* what it wrote to stderr */
};

/* Runs `body` in a forked child, which exits with 0 if body returns. */
GY_UNUSED static struct unit_child unit_child_run(void (*body)(void *argument), void *argument)
{
	struct unit_child child = {.status = -1};
	int pipe_fd[2];
	ssize_t got;
	pid_t pid;

	cr_assert_eq(pipe2(pipe_fd, O_CLOEXEC), 0);
	fflush(NULL);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		dup2(pipe_fd[1], STDERR_FILENO);
		body(argument);
		_exit(0);
	}
	close(pipe_fd[1]);
	while (child.length < sizeof(child.text) - 1 &&
	       ((got = read(pipe_fd[0], child.text + child.length,
			    sizeof(child.text) - 1 - child.length)) > 0 ||
		(got < 0 && errno == EINTR)))
		child.length += (size_t)MAX(got, 0);
	close(pipe_fd[0]);
	child.text[child.length] = '\0';
	while (waitpid(pid, &child.status, 0) < 0 && errno == EINTR)
		;
	return child;
}

/* The child must have aborted, saying `text` on stderr. */
#define unit_assert_abort(child, expected)                                                         \
	do {                                                                                       \
		cr_assert(WIFSIGNALED((child).status) && WTERMSIG((child).status) == SIGABRT,      \
			  "status %#x, said: %s", (unsigned)(child).status, (child).text);         \
		cr_assert_not_null(strstr((child).text, expected), "said: %s", (child).text);      \
	} while (0)
#define unit_assert_exit(child, code)                                                              \
	cr_assert(WIFEXITED((child).status) && WEXITSTATUS((child).status) == (code),              \
		  "status %#x, said: %s", (unsigned)(child).status, (child).text)

/* In a child: ends it with 1 and says where. */
#define child_check(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

#endif
