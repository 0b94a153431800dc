/* thread_stack.c - blocks that only the stacks of threads hold, some levels up. */
/* truth: none */
#include "corpus.h"

#include <pthread.h>

#define THREADS 8u

static pthread_barrier_t barrier;

static NOINLINE void descend(unsigned depth, void *const *kept)
{
	volatile char room[200];

	room[0] = (char)depth;
	if (depth) {
		descend(depth - 1, kept);
	} else {
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	ESCAPE(kept);
	ESCAPE(room);
}

static void *run(void *unused)
{
	void *kept[10];

	(void)unused;
	for (unsigned i = 0; i < 10; i++)
		kept[i] = made(144);
	descend(20, kept);
	for (unsigned i = 0; i < 10; i++)
		free(kept[i]);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, run, NULL))
			return 3;
	pthread_barrier_wait(&barrier);
	stay();
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
