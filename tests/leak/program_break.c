/* program_break.c - pointers in memory of the program break. */
/* truth: none */
#include "corpus.h"

int main(void)
{
	void **area = sbrk(8192);

	if (area == (void *)-1)
		return 3;
	for (unsigned i = 0; i < 200; i++)
		area[i * 5] = made(80);
	area = NULL;
	return stay();
}
