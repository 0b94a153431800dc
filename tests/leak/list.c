/* list.c - a list whose head is forgotten. */
/* truth: lost blocks=1000 bytes=48000 indirect=999 */
#include "corpus.h"

struct node {
	struct node *next;
	char data[40];
};

static NOINLINE void lose(void)
{
	struct node *head = NULL;

	for (unsigned i = 0; i < 1000; i++) {
		struct node *node = made(sizeof(*node));

		node->next = head;
		head = node;
	}
	ESCAPE(head);
}

int main(void)
{
	lose();
	return stay();
}
