/* last_thread.c - a program that ends because its last thread ends, not because main returns.
 *
 * last_thread exit   main leaves by pthread_exit, its worker returns later: the process must end
 * last_thread fork   a thread that is not main's forks; in the child, that thread is the last one
 *
 * Both make the heap large enough first that a background thread of the allocator runs.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 4096, BLOCK_BYTES = 8192 };

static void grow_heap(void)
{
	char **blocks = calloc(BLOCKS, sizeof(*blocks));

	for (int i = 0; blocks && i < BLOCKS; i++) {
		blocks[i] = malloc(BLOCK_BYTES);
		if (blocks[i])
			memset(blocks[i], i, BLOCK_BYTES);
	}
	for (int i = 0; blocks && i < BLOCKS; i++)
		free(blocks[i]);
	free(blocks);
}

static void *work(void *unused)
{
	grow_heap();
	usleep(200000); /* main is gone by then, and the background thread is there */
	puts("worker ends");
	return unused;
}

static void *fork_and_wait(void *unused)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0)
		return work(unused); /* the child's only thread: its end is the process's */
	waitpid(child, &status, 0);
	printf("child ended with %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	grow_heap();
	usleep(50000);
	if (argc > 1 && !strcmp(argv[1], "fork")) {
		pthread_create(&thread, NULL, fork_and_wait, NULL);
		pthread_join(thread, NULL);
		return 0;
	}
	pthread_create(&thread, NULL, work, NULL);
	pthread_exit(NULL);
}
