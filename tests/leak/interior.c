/* interior.c - blocks that are held by pointers to their middle, or to their last byte. */
/* truth: none */
#include "corpus.h"

static KEPT char *middles[100];

static NOINLINE void fill(void)
{
	for (unsigned i = 0; i < 100; i++)
		middles[i] = (char *)made(256) + (i % 2 ? 100 : 255);
}

int main(void)
{
	fill();
	return stay();
}
