/* thread_end.c - what a thread had taken and not given back when it ended. */
/* truth: lost blocks=30 bytes=3840 indirect=20 */
#include "corpus.h"

#include <pthread.h>

static void *run(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < 10; i++) {
		void **block = made(128);

		block[3] = made(128);
		block[4] = made(128);
	}
	wipe_stack();
	return NULL;
}

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, NULL) || pthread_join(thread, NULL))
		return 3;
	return stay();
}
