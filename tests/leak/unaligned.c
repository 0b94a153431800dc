/* unaligned.c - pointers in packed structures, at addresses that are no multiple of eight. */
/* truth: lost blocks=20 bytes=1280 */
/* limit: a pointer at an odd address is none */
#include "corpus.h"

static KEPT char *all;

static NOINLINE void fill(void)
{
	all = made(512);
	for (unsigned i = 0; i < 20; i++) {
		void *data = made(64);

		memcpy(all + i * 24 + 1 + i % 7, &data, sizeof(data));
	}
}

int main(void)
{
	fill();
	return stay();
}
