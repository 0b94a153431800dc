/* gcbench.c - GCBench, after Ellis, Kovac and Boehm: trees built from the root and from the leaves,
 * beside a tree and an array of numbers that live all the time.
 *
 *	gcbench [depth=16] [threads=2] [times=3]
 *
 * Each thread runs the whole of it: for every second depth from 4 to `depth` as many trees as hold
 * twice the nodes of a tree of depth + 2, `times` over. A node is two pointers and two numbers.
 * Operations: nodes made, all threads together.
 */
#include "collector.h"

struct node {
	struct node *left, *right;
	int i, j;
};
TYPE(node, left, right);

#define DEPTH_LEAST 4u

static unsigned depth_most, thread_count, times;
static struct node *long_lived;
static double *array;
static uint64_t array_count;

static uint64_t tree_nodes(unsigned depth)
{
	return (2ull << depth) - 1;
}

/* From the root: each store is into an object that is older than what it stores. */
static void populate(unsigned depth, struct node *node)
{
	if (depth == 0)
		return;
	SET(&node->left, NEW(node));
	SET(&node->right, NEW(node));
	populate(depth - 1, node->left);
	populate(depth - 1, node->right);
}

static struct node *tree_new(unsigned depth)
{
	struct node *left, *right, *node;

	if (depth == 0)
		return NEW(node);
	left = tree_new(depth - 1);
	right = tree_new(depth - 1);
	node = NEW(node);
	SET(&node->left, left);
	SET(&node->right, right);
	return node;
}

static void tree_free(struct node *node)
{
	if (!node)
		return;
	tree_free(node->left);
	tree_free(node->right);
	free(node);
}

static void tree_drop(struct node *node)
{
	bench_keep(node);
	if (GC_MANUAL)
		tree_free(node);
}

static uint64_t time_construction(unsigned depth)
{
	uint64_t trees = 2 * tree_nodes(depth_most + 2) / tree_nodes(depth);

	for (uint64_t i = 0; i < trees; i++) {
		struct node *root = NEW(node);

		populate(depth, root);
		tree_drop(root);
	}
	for (uint64_t i = 0; i < trees; i++)
		tree_drop(tree_new(depth));
	return 2 * trees * tree_nodes(depth);
}

static void *work(void *number)
{
	uint64_t nodes = 0;

	(void)number;
	for (unsigned i = 0; i < times; i++) {
		for (unsigned depth = DEPTH_LEAST; depth <= depth_most; depth += 2)
			nodes += time_construction(depth);
	}
	return (void *)(uintptr_t)nodes;
}

static uint64_t tree_count(const struct node *node)
{
	return node ? 1 + tree_count(node->left) + tree_count(node->right) : 0;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_clock clock;
	uint64_t nodes, sum;

	depth_most = (unsigned)bench_arg_u64(&args, "depth", 16);
	times = (unsigned)bench_arg_u64(&args, "times", 3);
	thread_count = gc_arg_threads(&args, 2);
	bench_args_end(&args);
	gc_begin();
	clock = bench_begin();
	tree_drop(tree_new(depth_most + 2));
	long_lived = NEW(node);
	populate(depth_most, long_lived);
	array_count = 8 * tree_nodes(depth_most);
	array = NEW_LEAF(array_count * sizeof(double));
	for (uint64_t i = 0; i < array_count; i++)
		array[i] = 1.0 / (double)(i + 1);
	nodes = gc_threads(thread_count, work);
	sum = nodes + tree_count(long_lived) +
	      (array[1000 % array_count] == 1.0 / (double)(1000 % array_count + 1));
	gc_end(&clock, (double)nodes, sum);
	return 0;
}
