/* dead_stack.c - a block whose address is left over in a part of the stack that is no longer in
 * use. */
/* truth: lost blocks=1 bytes=640 */
#include "corpus.h"

static NOINLINE void leave_behind(void)
{
	void *volatile left[2000];

	for (unsigned i = 0; i < 2000; i++)
		left[i] = NULL;
	left[1000] = made(640);
	ESCAPE(left);
}

int main(void)
{
	printf("ready %d\n", (int)getpid());
	leave_behind();
	fflush(stdout);
	sleep_until_told();
	return 0;
}
