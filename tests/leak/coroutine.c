/* coroutine.c - blocks that only a coroutine holds, which was left in its middle; its stack is a
 * block, too. */
/* truth: none */
#include "corpus.h"

#include <ucontext.h>

#define STACK 65536u

static ucontext_t outside, inside;

static void coroutine(void)
{
	void *kept[20];

	for (unsigned i = 0; i < 20; i++)
		kept[i] = made(176);
	swapcontext(&inside, &outside);
	for (unsigned i = 0; i < 20; i++)
		free(kept[i]);
}

int main(void)
{
	getcontext(&inside);
	inside.uc_stack.ss_sp = made(STACK);
	inside.uc_stack.ss_size = STACK;
	inside.uc_link = &outside;
	makecontext(&inside, coroutine, 0);
	swapcontext(&outside, &inside);
	stay();
	swapcontext(&outside, &inside);
	return 0;
}
