/* cycle.c - a ring of a hundred, and one that points to itself: nobody else does. */
/* truth: lost blocks=101 bytes=3232 indirect=99 */
#include "corpus.h"

struct node {
	struct node *next, *previous;
	char data[16];
};

static NOINLINE void lose(void)
{
	struct node *first = made(sizeof(*first)), *last = first, *alone = made(sizeof(*alone));

	for (unsigned i = 1; i < 100; i++) {
		struct node *node = made(sizeof(*node));

		last->next = node;
		node->previous = last;
		last = node;
	}
	last->next = first;
	first->previous = last;
	alone->next = alone->previous = alone;
	ESCAPE(alone);
}

int main(void)
{
	lose();
	return stay();
}
