/* mark_graph_test.c - random graphs of every kind of object against a sequential oracle: by one
 * marker, by several at once that share their work, without memory for queues, in small slices.
 *
 * The oracle follows edges that the test has noted, not memory: it shares nothing with the marker.
 */
#include "gc/mark_queue.h"

#include "unit/gc/hand_made.h"

#include <pthread.h>
#include <sched.h>

#define MARKERS 3
#define ROUNDS (UNIT_SLOW ? 2u : 8u)

enum kind { NODE, CELL, ARRAY, WORDS, LEAF, LARGE, KINDS };

struct node {
	void **start;
	enum kind kind;
	bool reached; /* by the oracle */
	uint32_t first_edge, edges;
};

static const struct {
	uint32_t object_bytes, pages, edges;
} shapes[KINDS] = {
	[NODE] = {48, 1, 4}, [CELL] = {16, 1, 2},  [ARRAY] = {2048, 3, 100},
	[WORDS] = {80, 1, 5}, [LEAF] = {64, 1, 0}, [LARGE] = {0, 40, 300},
};

static struct graph {
	struct node *nodes;
	uint32_t count;
	uint32_t *edges; /* targets, by first_edge */
	uint64_t random;
} graph;

static void made_nodes(enum kind kind, uint32_t count)
{
	static const struct gy_layout *layouts[KINDS];
	uint32_t index = 0, objects = 0;
	size_t block = 0;

	if (!layouts[NODE]) {
		layouts[NODE] = made_layout(6, 0x2d, false, 0, 0);
		layouts[CELL] = made_layout(2, 3, false, 0, 0);
		layouts[ARRAY] = made_layout(5, 0x14, true, 0, 0);
		layouts[WORDS] = layouts[LARGE] = gy_layouts[1];
		layouts[LEAF] = gy_layouts[0];
	}

	for (uint32_t i = 0; i < count; i++) {
		struct node *node = &graph.nodes[graph.count++];

		if (index == objects) {
			block = made_block(layouts[kind], shapes[kind].object_bytes,
					   shapes[kind].pages);
			objects = gy_gc_pages[block].objects;
			index = 0;
		}
		*node = (struct node){.start = made_object(block, index++), .kind = kind};
	}
}

/* The word of an object of this kind that holds its edge `i`. */
static size_t edge_word(enum kind kind, uint32_t i)
{
	static const uint8_t of_node[4] = {0, 2, 3, 5};

	if (kind == NODE)
		return of_node[i];
	if (kind == ARRAY)
		return i / 2 * 5 + (i % 2 ? 4 : 2);
	return kind == LARGE ? (size_t)i * 136 : i;
}

static size_t object_bytes(const struct node *node)
{
	return shapes[node->kind].object_bytes ? shapes[node->kind].object_bytes
					       : shapes[node->kind].pages * GY_PAGE_BYTES;
}

static void made_graph(uint64_t seed, uint32_t scale)
{
	uint32_t edges = 0;

	graph.random = seed;
	graph.count = 0;
	graph.nodes = calloc(scale * 16, sizeof(*graph.nodes));
	cr_assert_not_null(graph.nodes);
	made_nodes(NODE, scale * 8);
	made_nodes(CELL, scale * 5);
	made_nodes(WORDS, scale);
	made_nodes(LEAF, scale);
	made_nodes(ARRAY, scale / 50);
	made_nodes(LARGE, 4);
	for (uint32_t i = 0; i < graph.count; i++)
		edges += shapes[graph.nodes[i].kind].edges;
	graph.edges = calloc(edges, sizeof(*graph.edges));
	cr_assert_not_null(graph.edges);
	edges = 0;
	for (uint32_t i = 0; i < graph.count; i++) {
		struct node *node = &graph.nodes[i];

		node->first_edge = edges;
		for (uint32_t e = 0; e < shapes[node->kind].edges; e++) {
			uint64_t random = unit_random(&graph.random);
			uint32_t target = (uint32_t)(random % graph.count);

			if (random >> 40 & 1) /* half of the fields are empty */
				continue;
			graph.edges[edges + node->edges++] = target;
			node->start[edge_word(node->kind, e)] =
				(char *)graph.nodes[target].start +
				(random >> 48) % object_bytes(&graph.nodes[target]);
		}
		edges += node->edges;
	}
}

static bool is_scanned(struct gy_object object)
{
	return *gy_scanned_word(object.block, object.index / 64) >>
		       object.index % 64 & 1;
}

static void oracle_mark(uint32_t root)
{
	uint32_t *stack = malloc(graph.count * sizeof(*stack)), top = 0;

	cr_assert_not_null(stack);
	if (!graph.nodes[root].reached)
		stack[top++] = root;
	graph.nodes[root].reached = true;
	while (top) {
		const struct node *node = &graph.nodes[stack[--top]];

		for (uint32_t e = 0; e < node->edges; e++) {
			uint32_t target = graph.edges[node->first_edge + e];

			if (!graph.nodes[target].reached)
				stack[top++] = target;
			graph.nodes[target].reached = true;
		}
	}
	free(stack);
}

/* (Assertions by the million stall Criterion: differences are counted.) */
static void check_against_oracle(void)
{
	uint32_t reached = 0, wrong_marks = 0, wrong_scans = 0, queued = 0;

	cr_assert(gy_mark_idle());
	for (uint32_t i = 0; i < graph.count; i++) {
		const struct node *node = &graph.nodes[i];
		struct gy_object object;

		if (!gy_object_find((uintptr_t)node->start, &object)) {
			wrong_marks++;
			continue;
		}
		reached += node->reached;
		wrong_marks += gy_object_is_marked(object) != node->reached;
		queued += gy_gc_pages[object.block].queued;
		if (node->kind != LEAF && node->kind != CELL)
			wrong_scans += is_scanned(object) != node->reached;
	}
	cr_assert_eq(wrong_marks, 0, "%u of %u", wrong_marks, graph.count);
	cr_assert_eq(wrong_scans, 0, "%u of %u", wrong_scans, graph.count);
	cr_assert_eq(queued, 0);
	cr_assert(reached > graph.count / 2 && reached < graph.count, "%u of %u", reached,
		  graph.count);
}

static void whiten(void)
{
	for (uint32_t i = 0; i < graph.count; i++) {
		made_whiten(made_find(graph.nodes[i].start).block);
		graph.nodes[i].reached = false;
	}
}

static struct gy_marker *begin(void)
{
	struct gy_marker *marker;

	gy_mark_begin();
	gy_mark_open();
	marker = gy_marker_take();
	cr_assert_not_null(marker);
	return marker;
}

static void mark_roots(struct gy_marker *marker)
{
	for (unsigned i = 0; i < 5; i++) {
		uint32_t root = (uint32_t)(unit_random(&graph.random) % graph.count);

		oracle_mark(root);
		gy_mark_word(marker, (uintptr_t)graph.nodes[root].start);
	}
}

TestSuite(mark_graph, .init = made_start);

Test(mark_graph, one_marker)
{
	made_graph(1, 3000);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct gy_marker *marker = begin();
		struct gy_mark_stats stats;
		uint64_t objects = 0, bytes = 0;

		mark_roots(marker);
		gy_mark_drain(marker, SIZE_MAX);
		gy_marker_give(marker);
		check_against_oracle();
		for (uint32_t i = 0; i < graph.count; i++) {
			objects += graph.nodes[i].reached;
			bytes += graph.nodes[i].reached ? object_bytes(&graph.nodes[i]) : 0;
		}
		gy_mark_read_stats(&stats);
		cr_assert_eq(stats.marked_objects, objects);
		cr_assert_eq(stats.marked_bytes, bytes);
		whiten();
	}
}

Test(mark_graph, in_small_slices_that_change_hands)
{
	uint64_t random = 2; /* not the graph's: its roots must not depend on the slices */

	made_graph(2, 2000);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct gy_marker *marker = begin();

		mark_roots(marker);
		gy_marker_give(marker);
		while (!gy_mark_idle()) {
			marker = gy_marker_take();
			gy_mark_drain(marker, unit_random(&random) % 4096 + 1);
			gy_marker_give(marker);
		}
		check_against_oracle();
		whiten();
	}
}

/* MARK-4: a marker's own four chunks, or a few more, and that is all the memory there is. */
Test(mark_graph, MARK_4_no_memory_for_queues)
{
	made_graph(3, 3000);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct gy_marker *marker = begin();

		gy_mark_chunks_most = round * 3;
		mark_roots(marker);
		gy_mark_drain(marker, SIZE_MAX);
		gy_marker_give(marker);
		check_against_oracle();
		whiten();
	}
}

/* SCAN-3: so many large objects at once that the stack of pieces has no room for all. */
Test(mark_graph, more_pieces_than_the_stack_holds)
{
	const uint32_t large = GY_MARK_PIECES + 20;
	struct gy_marker *marker = begin();

	graph.nodes = calloc(large + 300, sizeof(*graph.nodes));
	cr_assert_not_null(graph.nodes);
	made_nodes(LARGE, large);
	made_nodes(NODE, 300);
	for (uint32_t i = 0; i < large; i++) { /* to each node, from the last pieces */
		graph.nodes[i].start[edge_word(LARGE, 290)] = graph.nodes[large + i].start;
		graph.nodes[i].start[edge_word(LARGE, 299)] = graph.nodes[large + 299 - i].start;
		gy_mark_word(marker, (uintptr_t)graph.nodes[i].start);
	}
	gy_mark_drain(marker, 1);
	gy_marker_give(marker);
	cr_assert(!gy_mark_idle());
	marker = gy_marker_take();
	gy_mark_drain(marker, SIZE_MAX);
	gy_marker_give(marker);
	cr_assert(gy_mark_idle());
	for (uint32_t i = 0; i < 300; i++) {
		bool led_to = i < large || i >= 300 - large;

		cr_assert_eq(made_is_scanned(graph.nodes[large + i].start), led_to, "node %u", i);
	}
}

/* ------------------------------------------------------------------ several at once */

static uint32_t running;   /* [atomic] */
static uint32_t work_done; /* [atomic] slices of helpers in which something was scanned */

static void *help(void *argument)
{
	size_t budget = *(size_t *)argument;

	while (__atomic_load_n(&running, __ATOMIC_ACQUIRE)) {
		struct gy_marker *marker = gy_marker_take();

		if (marker) {
			if (gy_mark_drain(marker, budget))
				__atomic_fetch_add(&work_done, 1, __ATOMIC_RELAXED);
			gy_marker_give(marker);
		}
		if (!gy_mark_has_work())
			sched_yield();
	}
	return NULL;
}

static void mark_together(uint64_t seed, uint32_t scale, size_t budget)
{
	pthread_t helpers[MARKERS - 1];

	made_graph(seed, scale);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct gy_marker *marker = begin();

		mark_roots(marker);
		gy_marker_give(marker); /* the helpers begin */
		__atomic_store_n(&work_done, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&running, 1, __ATOMIC_RELEASE);
		for (unsigned i = 0; i < MARKERS - 1; i++)
			cr_assert_eq(pthread_create(&helpers[i], NULL, help, &budget), 0);
		while (gy_mark_has_work()) /* until one of them has the roots */
			sched_yield();
		marker = gy_marker_take();
		while (!gy_mark_idle())
			if (!gy_mark_drain(marker, budget))
				gy_mark_wait(100000);
		gy_marker_give(marker);
		__atomic_store_n(&running, 0, __ATOMIC_RELEASE);
		for (unsigned i = 0; i < MARKERS - 1; i++)
			pthread_join(helpers[i], NULL);
		check_against_oracle();
		if (gy_mark_chunks_most) /* else nothing can be shared */
			cr_assert_gt(work_done, 0);
		whiten();
	}
}

Test(mark_graph, together_with_helpers)
{
	mark_together(4, 10000, SIZE_MAX);
}

Test(mark_graph, together_in_small_slices)
{
	mark_together(5, 3000, 5000);
}

Test(mark_graph, MARK_4_together_without_memory)
{
	struct gy_marker *markers[MARKERS];

	for (unsigned i = 0; i < MARKERS; i++)
		markers[i] = gy_marker_take();
	for (unsigned i = 0; i < MARKERS; i++)
		gy_marker_give(markers[i]);
	gy_mark_chunks_most = 0;
	mark_together(6, 3000, 20000);
}

/* REC-3: what one marker marks in a block while another scans it. Others mark object after object
 * of few blocks, as threads' barriers do; in the end all that is marked is scanned. */
static struct shader {
	unsigned first, step;
	pthread_t thread;
} shaders[2];

static void *shade(void *argument)
{
	const struct shader *shader = argument;

	for (uint32_t i = shader->first; i < graph.count; i += shader->step) {
		struct gy_marker *marker = gy_marker_take_open();

		gy_mark_buffer(marker, (void *const *)&graph.nodes[i].start, 1);
		gy_marker_give(marker);
	}
	return NULL;
}

Test(mark_graph, REC_3_no_object_stays_grey_in_a_block_that_is_scanned)
{
	for (unsigned round = 0; round < ROUNDS * 4; round++) {
		struct gy_marker *marker = begin();

		graph.count = 0;
		graph.nodes = calloc(4096, sizeof(*graph.nodes));
		made_nodes(NODE, 170);
		made_nodes(WORDS, 100);
		for (unsigned i = 0; i < ARRAY_SIZE(shaders); i++) {
			struct shader *shader = &shaders[i];

			*shader = (struct shader){.first = i, .step = ARRAY_SIZE(shaders)};
			cr_assert_eq(pthread_create(&shader->thread, NULL, shade, shader), 0);
		}
		for (unsigned i = 0; i < 2000; i++)
			gy_mark_drain(marker, 64);
		for (unsigned i = 0; i < ARRAY_SIZE(shaders); i++)
			pthread_join(shaders[i].thread, NULL);
		gy_mark_drain(marker, SIZE_MAX);
		gy_marker_give(marker);
		cr_assert(gy_mark_idle());
		for (uint32_t i = 0; i < graph.count; i++)
			cr_assert(made_is_scanned(graph.nodes[i].start), "object %u", i);
		free(graph.nodes);
	}
}
