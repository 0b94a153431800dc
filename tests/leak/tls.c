/* tls.c - blocks held by thread-local variables alone, of two threads. */
/* truth: none */
#include "corpus.h"

#include <pthread.h>

static __thread void *own;
static pthread_barrier_t barrier;

static NOINLINE void take(void)
{
	own = made(112);
	ESCAPE(&own);
}

static void *run(void *unused)
{
	(void)unused;
	take();
	wipe_stack();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	free(own);
	return NULL;
}

int main(void)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	if (pthread_create(&thread, NULL, run, NULL))
		return 3;
	take();
	pthread_barrier_wait(&barrier);
	stay();
	pthread_barrier_wait(&barrier);
	free(own);
	return pthread_join(thread, NULL);
}
