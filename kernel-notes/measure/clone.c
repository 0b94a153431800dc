/* clone.c - what a thread costs a program that has none: made by pthread_create, and by clone alone.
 *
 * The C library keeps a flag, "this process has one thread", and leaves locks and atomic instructions
 * out while it stands: in stdio, and through libstdc++ in every shared_ptr. pthread_create clears it
 * for good. A thread made by clone itself, of which the C library does not know, leaves it alone.
 */
#include "measure.h"

#include <pthread.h>
#include <sched.h>
#include <sys/single_threaded.h>

enum { CALLS = 2000000 };

static char stack[64 * 1024] __attribute__((aligned(16)));

static int sleep_for_ever(void *unused)
{
	while (!unused)
		syscall(SYS_pause);
	return 0;
}

static void *sleep_as_pthread(void *unused)
{
	sleep_for_ever(unused);
	return NULL;
}

static double time_getc(FILE *file)
{
	struct samples samples = {0};

	for (int i = 0; i < REPEATS; i++) {
		double begin = now_us();

		for (int k = 0; k < CALLS; k++)
			if (getc(file) < 0)
				return -1;
		sample_add(&samples, (now_us() - begin) * 1e3 / CALLS);
	}
	return sample_median(&samples);
}

static void look(const char *when, FILE *file)
{
	char text[128];

	snprintf(text, sizeof(text), "getc, %s", when);
	report(text, time_getc(file), "ns");
	snprintf(text, sizeof(text), "__libc_single_threaded, %s", when);
	report_text(text, __libc_single_threaded ? "1" : "0");
}

int main(void)
{
	FILE *file = fopen("/dev/zero", "r");
	pthread_t thread;

	report_machine();
	if (!file)
		return 1;
	setvbuf(file, NULL, _IOFBF, 1 << 20);
	look("one thread", file);
	if (clone(sleep_for_ever, stack + sizeof(stack),
		  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
		  NULL) < 0)
		return 1;
	look("and one made by clone", file);
	if (pthread_create(&thread, NULL, sleep_as_pthread, NULL))
		return 1;
	look("and one made by pthread_create", file);
	return 0;
}
