/* trees.c - binary trees: a tree of depth + 1 is made and dropped, one of `depth` lives on, then
 * for every second depth from 4 as many trees as hold together 2^(depth + 4) inner nodes are made,
 * counted and dropped, half of them by each thread.
 *
 *	trees [depth=18] [threads=2]
 *
 * A node is two pointers. Operations: nodes made. The checksum is their sum as counted by walking.
 */
#include "collector.h"

struct node {
	struct node *left, *right;
};
TYPE(node, left, right);

#define DEPTH_LEAST 4u

static unsigned depth_most, thread_count;
static struct node *long_lived;

static struct node *tree_new(unsigned depth)
{
	struct node *left = depth ? tree_new(depth - 1) : NULL;
	struct node *right = depth ? tree_new(depth - 1) : NULL;
	struct node *node = NEW(node);

	SET(&node->left, left);
	SET(&node->right, right);
	return node;
}

static uint64_t tree_count(const struct node *node)
{
	return node->left ? 1 + tree_count(node->left) + tree_count(node->right) : 1;
}

static void tree_free(struct node *node)
{
	if (node->left) {
		tree_free(node->left);
		tree_free(node->right);
	}
	free(node);
}

static uint64_t tree_make_and_drop(unsigned depth)
{
	struct node *tree = tree_new(depth);
	uint64_t count = tree_count(tree);

	if (GC_MANUAL)
		tree_free(tree);
	return count;
}

static void *work(void *number)
{
	uint64_t sum = 0;

	for (unsigned depth = DEPTH_LEAST; depth <= depth_most; depth += 2) {
		uint64_t trees = 1ull << (depth_most - depth + DEPTH_LEAST);

		for (uint64_t i = (uintptr_t)number; i < trees; i += thread_count)
			sum += tree_make_and_drop(depth);
	}
	return (void *)(uintptr_t)sum;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_clock clock;
	uint64_t sum;

	depth_most = (unsigned)bench_arg_u64(&args, "depth", 18);
	thread_count = gc_arg_threads(&args, 2);
	bench_args_end(&args);
	gc_begin();
	clock = bench_begin();
	sum = tree_make_and_drop(depth_most + 1);
	long_lived = tree_new(depth_most);
	sum += gc_threads(thread_count, work);
	sum += tree_count(long_lived);
	gc_end(&clock, (double)sum, sum);
	return 0;
}
