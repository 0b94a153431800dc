/* tree.c - a tree without its root, beside one that is kept. */
/* truth: lost blocks=1023 bytes=65472 indirect=1022 */
#include "corpus.h"

struct node {
	struct node *left, *right;
	char data[48];
};

static KEPT struct node *kept;

static struct node *grow(unsigned depth)
{
	struct node *node = made(sizeof(*node));

	node->left = depth ? grow(depth - 1) : NULL;
	node->right = depth ? grow(depth - 1) : NULL;
	return node;
}

static NOINLINE void lose(void)
{
	struct node *tree = grow(9);

	ESCAPE(tree);
	kept = grow(9);
}

int main(void)
{
	lose();
	return stay();
}
