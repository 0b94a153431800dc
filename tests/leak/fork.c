/* fork.c - a process that has forked: the child has lost more, and is gone; the parent is asked. */
/* truth: lost blocks=10 bytes=960 */
#include "corpus.h"

#include <sys/wait.h>

static KEPT void *kept[100];

static NOINLINE void lose(unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++)
		made(96);
}

int main(void)
{
	pid_t child;

	for (unsigned i = 0; i < 100; i++)
		kept[i] = made(96);
	lose(10);
	child = fork();
	if (!child) {
		lose(20);
		memset(kept, 0, sizeof(kept));
		_exit(0);
	}
	if (child < 0 || waitpid(child, NULL, 0) != child)
		return 3;
	return stay();
}
