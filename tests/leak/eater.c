/* eater.c - takes memory, a block after the other, until it is stopped. Says `ready PID` and waits
 * for a line first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static __attribute__((noinline)) void eat(void)
{
	for (;;) {
		size_t bytes = 3000;
		char *block = malloc(bytes);

		if (!block)
			exit(1);
		memset(block, 1, bytes);
	}
}

int main(void)
{
	char byte;

	free(malloc(100));
	printf("ready %d\n", getpid());
	fflush(stdout);
	if (read(STDIN_FILENO, &byte, 1) != 1)
		return 1;
	eat();
	return 0;
}
