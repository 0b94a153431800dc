/* tagged_unmasked.c - pointers with a tag in their upper bits, and nobody said so. */
/* truth: lost blocks=100 bytes=4800 */
/* limit: a tagged pointer is none, unless the tag is named */
#include "corpus.h"

static KEPT uintptr_t tagged[100];

static NOINLINE void fill(void)
{
	for (unsigned i = 0; i < 100; i++)
		tagged[i] = (uintptr_t)made(48) | (uintptr_t)(i + 1) << 48;
}

int main(void)
{
	fill();
	return stay();
}
