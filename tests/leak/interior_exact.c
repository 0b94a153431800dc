/* interior_exact.c - the same where pointers to the start alone count. */
/* truth: lost blocks=100 bytes=25600 */
/* scan: exact */
#include "corpus.h"

static KEPT char *middles[100], *starts[100];

static NOINLINE void fill(void)
{
	for (unsigned i = 0; i < 100; i++) {
		middles[i] = (char *)made(256) + (i % 2 ? 100 : 255);
		starts[i] = made(256);
	}
}

int main(void)
{
	fill();
	return stay();
}
