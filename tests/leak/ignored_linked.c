/* ignored_linked.c - blocks that the program says it means to lose, with what they lead to; and
 * one for which it took that back. */
/* truth: lost blocks=2 bytes=128 indirect=1 */
#include "corpus.h"

#include <gyre/leak.h>

static NOINLINE void **pair(void)
{
	void **block = made(64);

	block[2] = made(64);
	return block;
}

static NOINLINE void lose(void)
{
	for (unsigned i = 0; i < 1000; i++)
		if (gyre_leak_ignore(pair()))
			_exit(3);
	{
		void **block = pair();

		if (gyre_leak_ignore(block) || gyre_leak_unignore(block))
			_exit(3);
	}
}

int main(void)
{
	lose();
	return stay();
}
