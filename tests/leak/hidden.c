/* hidden.c - a list whose links are XORed: no word in it is a pointer. */
/* truth: lost blocks=50 bytes=2400 */
/* limit: a pointer that is stored as something else is none */
#include "corpus.h"

static KEPT uintptr_t first;

static NOINLINE void fill(void)
{
	uintptr_t before = 0;

	for (unsigned i = 0; i < 50; i++) {
		uintptr_t *node = made(48);

		node[0] = HIDE(before);
		before = (uintptr_t)node;
	}
	first = HIDE(before);
}

int main(void)
{
	fill();
	ESCAPE(&first);
	return stay();
}
