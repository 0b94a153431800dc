/* register_busy.c - a block whose only pointer is in a register of a thread that runs all the
 * while and calls nothing. */
/* truth: none */
#include "corpus.h"

#include <pthread.h>

static int stop;

static NOINLINE uintptr_t take(void)
{
	return HIDE(made(96));
}

static void *spin(void *unused)
{
	uintptr_t hidden = take();

	(void)unused;
	wipe_stack();
	__asm__ volatile("notq %%rbx\n"
			 "1:\n\t"
			 "pause\n\t"
			 "cmpl $0, %[stop]\n\t"
			 "je 1b\n\t"
			 "notq %%rbx"
			 : "+b"(hidden)
			 : [stop] "m"(stop)
			 : "memory", "cc");
	free(SHOW(hidden));
	return NULL;
}

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, spin, NULL))
		return 3;
	usleep(20000);
	say_ready();
	sleep_until_told();
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	return pthread_join(thread, NULL);
}
