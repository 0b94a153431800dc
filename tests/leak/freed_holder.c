/* freed_holder.c - a block that nothing but a freed block points to. */
/* truth: lost blocks=40 bytes=3840 */
#include "corpus.h"

static NOINLINE void lose(void)
{
	void **holders[40];

	for (unsigned i = 0; i < 40; i++) {
		holders[i] = made(64);
		holders[i][4] = made(96);
	}
	for (unsigned i = 0; i < 40; i++)
		free(holders[i]);
}

int main(void)
{
	lose();
	return stay();
}
