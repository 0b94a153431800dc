/* trickle.c - a leak of one block each five milliseconds, amid many that are freed. */
/* truth: lost blocks=40 bytes=7680 */
#include "corpus.h"

static KEPT void *window[64];

static NOINLINE void step(unsigned i)
{
	free(window[i % 64]);
	window[i % 64] = made(192);
	if (i % 10 == 0)
		made(192);
}

int main(void)
{
	for (unsigned i = 0; i < 400; i++) {
		step(i);
		if (i % 10 == 0)
			usleep(5000);
	}
	return stay();
}
