/* realloc.c - blocks that grew by realloc: their old places are free, the last ones are lost or
 * kept. */
/* truth: lost blocks=2 bytes=1056768 */
#include "corpus.h"

static KEPT void *kept;

static NOINLINE void *grown(size_t most)
{
	void *block = made(32);

	for (size_t bytes = 64; bytes <= most; bytes *= 2) {
		block = realloc(block, bytes);
		if (!block)
			_exit(3);
		memset(block, 0x22, bytes);
	}
	ESCAPE(block);
	return block;
}

static NOINLINE void lose(void)
{
	grown(8192);
	grown(1 << 20);
	kept = grown(1 << 19);
}

int main(void)
{
	lose();
	return stay();
}
