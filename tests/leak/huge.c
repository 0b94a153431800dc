/* huge.c - huge blocks: three lost, one of them with a small one inside; one kept. */
/* truth: lost blocks=4 bytes=29360192 indirect=1 */
#include "corpus.h"

static KEPT void *kept;

static NOINLINE void lose(void)
{
	void **block = made(8 << 20);

	block[500000] = made(64);
	made(4 << 20);
	made(16 << 20);
	kept = made(8 << 20);
}

int main(void)
{
	lose();
	return stay();
}
