/* Objects that lead to one another in a ring are garbage like any others.
 *
 * Counting references would keep these for ever: rings of nodes, each with a pointer to the ring's
 * owner, which points back. The program makes many, forgets them, and looks by weak references how
 * many are left.
 */
#include <gyre/gc.h>

#include <stdio.h>
#include <string.h>

#define RINGS 1000
#define NODES 10

struct ring;

struct node {
	struct node *next, *previous;
	struct ring *owner;
	char text[40];
};

struct ring {
	struct node *first;
	struct ring *self; /* even that */
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, next, previous, owner);
static const struct gyre_type ring_type = GYRE_TYPE(struct ring, first, self);

static struct ring *ring_new(void)
{
	struct ring *ring = gyre_new(&ring_type);

	gyre_set(&ring->self, ring);
	for (int i = 0; i < NODES; i++) {
		struct node *node = gyre_new(&node_type);

		gyre_set(&node->owner, ring);
		if (!ring->first) {
			gyre_set(&node->next, node);
			gyre_set(&node->previous, node);
			gyre_set(&ring->first, node);
		} else {
			gyre_set(&node->next, ring->first);
			gyre_set(&node->previous, ring->first->previous);
			gyre_set(&ring->first->previous->next, node);
			gyre_set(&ring->first->previous, node);
		}
	}
	return ring;
}

/* A function of its own: its frame, with the last ring in it, is gone when it returns. */
static __attribute__((noinline)) void make(struct gyre_weak **seen)
{
	for (int i = 0; i < RINGS; i++)
		seen[i] = gyre_weak_new(ring_new());
}

static int count(struct gyre_weak **seen)
{
	int left = 0;

	for (int i = 0; i < RINGS; i++)
		left += gyre_weak_get(seen[i]) != NULL;
	return left;
}

int main(void)
{
	static struct gyre_weak *seen[RINGS]; /* these do not hold the rings */
	struct ring *kept = ring_new();
	struct node *node;
	int left, nodes = 1;

	make(seen);
	gyre_gc_run();
	left = count(seen);
	printf("%d rings made, %d left after a cycle\n", RINGS, left);
	for (int i = 0; i < RINGS; i++)
		gyre_weak_free(seen[i]);

	for (node = kept->first->next; node != kept->first; node = node->next)
		nodes++;
	printf("the one that is held has %d nodes\n", nodes);
	return left <= RINGS / 100 && nodes == NODES ? 0 : 1; /* a register may still hold the last */
}
