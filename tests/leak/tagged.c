/* tagged.c - pointers with a count in their upper sixteen bits, and a mark in the lowest. */
/* truth: none */
/* scan: tag-mask 0xffff000000000000 */
#include "corpus.h"

static KEPT uintptr_t tagged[100];

static NOINLINE void fill(void)
{
	for (unsigned i = 0; i < 100; i++)
		tagged[i] = (uintptr_t)made(48) | (uintptr_t)(i + 1) << 48 | (i & 7);
}

int main(void)
{
	fill();
	return stay();
}
