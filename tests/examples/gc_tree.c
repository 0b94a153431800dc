/* First steps with the collector: a sorted tree of words that nobody frees.
 *
 *	cc gc_tree.c -lgyre && ./a.out one two three
 *
 * A type says where the pointers are; gyre_new makes an object; gyre_set stores a pointer into one.
 * Pointers in local and global variables need nothing. The file compiles as C and as C++, so it casts
 * what gyre_new returns; C alone needs no cast.
 */
#include <gyre/gc.h>

#include <stdio.h>
#include <string.h>

struct node {
	struct node *left, *right;
	const char *word;
	int count;
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, left, right, word);

static struct node *root; /* a global: what it leads to stays */

static char *copy(const char *word)
{
	size_t bytes = strlen(word) + 1;
	char *text = (char *)gyre_new_leaf(bytes); /* no pointers in it, so never looked into */

	return text ? (char *)memcpy(text, word, bytes) : NULL;
}

static struct node *node_new(const char *word)
{
	struct node *node = (struct node *)gyre_new(&node_type); /* zeroed */

	if (node) {
		gyre_set(&node->word, copy(word)); /* a store into an object */
		node->count = 1;		    /* not a pointer: plain C */
	}
	return node;
}

static void add(const char *word)
{
	struct node *at = root;

	if (!root) {
		root = node_new(word); /* a store into a global: plain C */
		return;
	}
	for (;;) {
		int order = strcmp(word, at->word);

		if (!order) {
			at->count++;
			return;
		}
		if (order < 0 && at->left) {
			at = at->left;
		} else if (order > 0 && at->right) {
			at = at->right;
		} else {
			struct node *node = node_new(word);

			if (order < 0)
				gyre_set(&at->left, node);
			else
				gyre_set(&at->right, node);
			return;
		}
	}
}

static void print(const struct node *node)
{
	if (!node)
		return;
	print(node->left);
	printf("%s %d\n", node->word, node->count);
	print(node->right);
}

/* Not inlined: or a register of main's might still hold a node when the collector looks there. */
static __attribute__((noinline)) void count_words(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		add(argv[i]);
	print(root);
}

int main(int argc, char **argv)
{
	struct gyre_gc_stats stats;

	count_words(argc, argv);
	root = NULL; /* and the tree is garbage */
	gyre_gc_run();
	gyre_gc_stats(&stats);
	printf("%llu bytes live\n", (unsigned long long)stats.heap_live_bytes);
	return 0;
}
