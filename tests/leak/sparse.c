/* sparse.c - an array of a GiB of which one page was ever written to; that page holds the only
 * pointer. */
/* truth: none */
#include "corpus.h"

static KEPT void **array;

static NOINLINE void fill(void)
{
	array = calloc(1 << 27, sizeof(*array));
	if (!array)
		_exit(3);
	array[(1 << 26) + 12345] = made(64);
}

int main(void)
{
	fill();
	return stay();
}
