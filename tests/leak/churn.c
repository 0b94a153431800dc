/* churn.c - threads that take and free blocks of all sizes, fill their caches, and end. */
/* truth: lost blocks=10 bytes=1600 */
#include "corpus.h"

#include <pthread.h>

static int stop;

static void *turn(void *argument)
{
	void *held[200] = {NULL};
	unsigned long seed = (uintptr_t)&held ^ (uintptr_t)argument;

	for (unsigned i = 0; i < 50000 && !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
		unsigned at;

		seed = seed * 6364136223846793005ul + 1442695040888963407ul;
		at = (unsigned)(seed >> 33) % 200;
		free(held[at]);
		held[at] = made(1 + (seed >> 40) % (at ? 3000 : 100000));
		if (i % 100 == 0)
			usleep(200);
	}
	for (unsigned i = 0; i < 200; i++)
		free(held[i]);
	return NULL;
}

static void *start_all(void *unused)
{
	(void)unused;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		pthread_t threads[3];

		for (unsigned i = 0; i < 3; i++)
			if (pthread_create(&threads[i], NULL, turn, NULL))
				_exit(3);
		for (unsigned i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
	}
	return NULL;
}

static NOINLINE void lose(void)
{
	for (unsigned i = 0; i < 10; i++)
		made(160);
}

int main(void)
{
	pthread_t thread;

	lose();
	wipe_stack();
	if (pthread_create(&thread, NULL, start_all, NULL))
		return 3;
	usleep(50000);
	stay();
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	return pthread_join(thread, NULL);
}
