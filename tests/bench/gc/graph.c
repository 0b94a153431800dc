/* graph.c - a forced collection of a graph: `nodes` nodes of 48 bytes, each with four pointers to
 * nodes drawn at random; what the root leads to (98 % of them) lives.
 *
 *	graph [nodes=10000000] [order=random|walk|near] [runs=3]
 *
 * order=random  node i is the i-th allocated, so that each pointer leads anywhere order=walk    the
 * same graph, its nodes allocated in the order in which a breadth-first walk from
 *               the root meets them; of four pointers three still lead far back
 * order=near    as many nodes and pointers, each pointer to one of the 16 nodes that were allocated
 *               next: the layout of a program that builds and walks in order
 *
 * Edges and the index of nodes lie in memory of the harness; nothing is collected until the graph
 * is complete and the index gone, and the first collection does not count. Operations: collections;
 * wall_s / operations is the figure. The checksum sums the numbers of all nodes that can be
 * reached, after the last collection.
 */
#include "collector.h"

#define EDGES 4u

struct node {
	struct node *to[EDGES];
	uint64_t number;
	uint64_t seen;
};
TYPE(node, to);

static struct node *root;

enum order { RANDOM, WALK, NEAR };

static uint32_t *edges_new(uint32_t count, enum order order)
{
	uint32_t *edges = bench_map((size_t)count * EDGES * sizeof(*edges));
	struct bench_rng rng = bench_rng_begin(42);

	for (size_t i = 0; i < (size_t)count * EDGES; i++) {
		if (order == NEAR)
			edges[i] = (uint32_t)((i / EDGES + 1 + bench_below(&rng, 16)) % count);
		else
			edges[i] = (uint32_t)bench_below(&rng, count);
	}
	return edges;
}

/* order[i]: the node to be allocated as the i-th. What cannot be reached comes last. */
static uint32_t *order_walk(const uint32_t *edges, uint32_t count)
{
	uint32_t *order = bench_map(count * sizeof(*order));
	unsigned char *met = bench_map(count);
	uint32_t head = 0, tail = 0;

	order[tail++] = 0;
	met[0] = 1;
	while (head < tail) {
		const uint32_t *to = edges + (size_t)order[head++] * EDGES;

		for (unsigned i = 0; i < EDGES; i++) {
			if (!met[to[i]]) {
				met[to[i]] = 1;
				order[tail++] = to[i];
			}
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		if (!met[i])
			order[tail++] = i;
	}
	munmap(met, count);
	return order;
}

static void graph_make(uint32_t count, enum order layout)
{
	uint32_t *edges = edges_new(count, layout);
	uint32_t *order = layout == WALK ? order_walk(edges, count) : NULL;
	struct node **index = bench_map(count * sizeof(*index));

	for (uint32_t i = 0; i < count; i++) {
		uint32_t number = order ? order[i] : i;

		index[number] = NEW(node);
		index[number]->number = number;
	}
	for (uint32_t i = 0; i < count; i++) {
		for (unsigned j = 0; j < EDGES; j++)
			SET(&index[i]->to[j], index[edges[(size_t)i * EDGES + j]]);
	}
	root = index[0];
	munmap(edges, (size_t)count * EDGES * sizeof(*edges));
	munmap(index, count * sizeof(*index));
	if (order)
		munmap(order, count * sizeof(*order));
}

/* What the root leads to, without recursion; the stack is the harness's. */
static uint64_t graph_sum(uint32_t count)
{
	struct node **stack = bench_map(count * sizeof(*stack));
	uint64_t sum = 0;
	size_t depth = 0;

	stack[depth++] = root;
	root->seen = 1;
	while (depth > 0) {
		struct node *node = stack[--depth];

		sum += node->number * 3 + 1;
		for (unsigned i = 0; i < EDGES; i++) {
			if (!node->to[i]->seen) {
				node->to[i]->seen = 1;
				stack[depth++] = node->to[i];
			}
		}
	}
	munmap(stack, count * sizeof(*stack));
	return sum;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_clock begin, end;
	uint64_t runs, least_ns = UINT64_MAX, rss_kib;
	uint32_t count;
	enum order layout;

	count = (uint32_t)bench_arg_u64(&args, "nodes", 10000000);
	layout = (enum order)bench_arg_word(&args, "order", "random|walk|near", 0);
	runs = bench_arg_u64(&args, "runs", 3);
	bench_args_end(&args);
	gc_begin();
	gc_hold();
	graph_make(count, layout);
	gc_let_go();
	gc_collect(); /* what the building made due, and what a first collection maps */
	begin = bench_begin();
	for (uint64_t i = 0; i < runs; i++) {
		uint64_t begin_ns = gc_now_ns(), took_ns;

		gc_collect();
		took_ns = gc_now_ns() - begin_ns;
		if (took_ns < least_ns)
			least_ns = took_ns;
	}
	end = bench_begin(); /* the walk below is no part of it */
	rss_kib = (uint64_t)bench_statm_rss_kib();
	printf("least_s=%.4f rss_kib=%llu ", (double)least_ns / 1e9, (unsigned long long)rss_kib);
	gc_hold();
	gc_print(&begin, &end, (double)runs, graph_sum(count));
	return 0;
}
