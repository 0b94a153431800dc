/* leaking.c - a program that leaks while it works, for run_memleak.py.
 *
 * 64 MiB of live blocks, of which it replaces one after the other at random; 1,000 blocks of 1,000
 * bytes are lost before anybody looks, some hundred a second after that. Each second it says how
 * many blocks it has replaced.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define LIVE 65536u

static void *volatile last;
static void *live[LIVE];

static NOINLINE void forgetful(unsigned count)
{
	while (count-- > 0) {
		last = malloc(1000);
		if (!last)
			exit(1);
		memset(last, 0, 1000);
	}
	last = NULL;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static NOINLINE void work(unsigned *random)
{
	for (unsigned i = 0; i < 200; i++) {
		unsigned index = ((*random = *random * 1103515245 + 12345) >> 8) % LIVE;

		free(live[index]);
		live[index] = malloc(16 + (*random >> 4) % 1024);
	}
}

int main(void)
{
	unsigned random = 1;

	for (unsigned i = 0; i < LIVE; i++)
		live[i] = calloc(1, 1000);
	forgetful(1000);
	printf("ready %d\n", getpid());
	for (;;) {
		double end = now() + 1;
		unsigned turns = 0;

		fflush(stdout);
		for (; now() < end; usleep(50)) {
			work(&random);
			if (++turns % 10 == 0 && turns <= 1000)
				forgetful(1);
		}
		printf("%u\n", turns * 200);
	}
}
