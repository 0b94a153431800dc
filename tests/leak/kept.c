/* kept.c - nothing is lost: a list, a tree of arrays, a table, all held by globals. */
/* truth: none */
#include "corpus.h"

struct node {
	struct node *next;
	void *data[5];
};

static KEPT struct node *list;
static KEPT void **table;

static NOINLINE void fill(void)
{
	table = made(512 * sizeof(*table));
	for (unsigned i = 0; i < 512; i++) {
		struct node *node = made(sizeof(*node));

		node->next = list;
		list = node;
		for (unsigned d = 0; d < 5; d++)
			node->data[d] = made(16u << d);
		table[i] = made(100 + i);
	}
}

int main(void)
{
	fill();
	return stay();
}
