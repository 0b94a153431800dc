/* forked_child.c - a child of a process of many threads: what lay in their caches at the fork is
 * not lost. */
/* truth: lost blocks=20 bytes=1920 */
#include "corpus.h"

#include <pthread.h>
#include <sys/wait.h>

#define THREADS 6u

static pthread_barrier_t barrier;
static KEPT void *kept[100];

static void *run(void *unused)
{
	void *held[64];

	(void)unused;
	for (unsigned bytes = 16; bytes < 2000; bytes += 48) {
		for (unsigned i = 0; i < 64; i++)
			held[i] = made(bytes);
		for (unsigned i = 0; i < 64; i++)
			free(held[i]);
	}
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static NOINLINE void lose(unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++)
		made(96);
}

int main(void)
{
	pthread_t threads[THREADS];
	int status;
	pid_t child;

	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, run, NULL))
			return 3;
	for (unsigned i = 0; i < 100; i++)
		kept[i] = made(96);
	pthread_barrier_wait(&barrier);
	child = fork();
	if (!child) {
		lose(20);
		_exit(stay());
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 3;
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return status != 0;
}
