/* sizes.c - one lost block of each of many sizes; 24 is rounded up to 32, 72 to 96, and so on. */
/* truth: lost blocks=32 bytes=192240 */
#include "corpus.h"

static const unsigned sizes[] = {8,   16,  24,	32,  40,  48,  56,   64,   72,	 96,   112,
				 128, 144, 160, 192, 256, 320, 512,  640,  768,	 1024, 1088,
				 2048, 4096, 8192, 16384, 32768, 40960, 49152, 8, 16, 32768};

static NOINLINE void lose(void)
{
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		made(sizes[i]);
}

int main(void)
{
	lose();
	return stay();
}
