/* fixup_sites_linked.c - gyre_set in every shape that compilers make of it: for fixup.test, which
 * compiles this with each of them and looks at the code. As a program it says that the stores work.
 *
 * Also C++ (the template of gyre/gc.h).
 */
#include <gyre/gc.h>

#include <stdio.h>

#ifdef __cplusplus
#define EXTERN extern "C"
#else
#define EXTERN extern
#endif
#define APART __attribute__((noinline)) EXTERN

struct node {
	struct node *next;
	void *payload[300];
};

APART void site_plain(struct node *node, struct node *value);
APART void site_null(struct node *node);
APART void site_field(struct node *node, void *value);
APART void site_index(struct node *node, size_t index, void *value);
APART void site_own_stack(void *value, void **seen);
APART void site_loop(struct node **nodes, size_t count, struct node *value);
APART void site_pressure(struct node *node, void **v);
APART void site_far(struct node *node, void **values, long *sums);

void site_plain(struct node *node, struct node *value)
{
	gyre_set(&node->next, value);
}

void site_null(struct node *node)
{
	gyre_set(&node->next, (struct node *)NULL);
}

void site_field(struct node *node, void *value)
{
	gyre_set(&node->payload[250], value);
}

void site_index(struct node *node, size_t index, void *value)
{
	gyre_set(&node->payload[index], value);
}

void site_own_stack(void *value, void **seen)
{
	void *slot = NULL;

	gyre_set(&slot, value);
	*seen = slot;
}

void site_loop(struct node **nodes, size_t count, struct node *value)
{
	for (size_t i = 0; i < count; i++)
		gyre_set(&nodes[i]->next, value);
}

/* All registers are in use: bases and values of every number. */
void site_pressure(struct node *node, void **v)
{
	void *a = v[0], *b = v[1], *c = v[2], *d = v[3], *e = v[4], *f = v[5], *g = v[6], *h = v[7];
	void **s = node->payload, **t = s + 9, **u = s + 20, **w = s + 31;

	__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(s), "+r"(t), "+r"(u), "+r"(w));
	gyre_set(s, a);
	gyre_set(t, b);
	gyre_set(u, c);
	gyre_set(w, d);
	gyre_set(s + 1, e);
	gyre_set(t + 1, f);
	gyre_set(u + 1, g);
	gyre_set(w + 1, h);
	gyre_set(s + 2, w[1]);
	gyre_set(t + 2, a);
	gyre_set(u + 2, b);
	gyre_set(w + 2, c);
}

/* Enough code between test and slow half that the jump needs four bytes. */
void site_far(struct node *node, void **values, long *sums)
{
	for (int i = 0; i < 16; i++) {
		gyre_set(&node->payload[i * 3], values[i]);
		sums[i] = sums[i] * 3 + (long)(size_t)values[i] / 7 + sums[(i + 5) % 16] % 11;
		gyre_set(&node->payload[i * 3 + 1], values[i + 1]);
		sums[i] ^= sums[(i + 3) % 16] / 5;
		gyre_set(&node->payload[i * 3 + 2], values[i + 2]);
	}
}

#if defined(__GNUC__) && !defined(__clang__) && !defined(__cplusplus)
/* The base registers whose encoding is not like the others'. */
#define SITE_BASE(reg)                                                                             \
	void site_base_##reg(void **slot, void *value);                                            \
	void site_base_##reg(void **slot, void *value)                                             \
	{                                                                                          \
		register void **base __asm__(#reg) = slot;                                         \
                                                                                                   \
		__asm__ volatile("" : "+r"(base));                                                 \
		gyre_store_(base, value);                                                          \
	}
SITE_BASE(r12)
SITE_BASE(r13)
SITE_BASE(r14)
SITE_BASE(r9)
SITE_BASE(rbx)
#define SITES_OF_BASE(slot, value)                                                                 \
	do {                                                                                       \
		site_base_r12(slot, value);                                                        \
		site_base_r13(slot, value);                                                        \
		site_base_r14(slot, value);                                                        \
		site_base_r9(slot, value);                                                         \
		site_base_rbx(slot, value);                                                        \
	} while (0)
#else
#define SITES_OF_BASE(slot, value) site_plain((struct node *)(void *)(slot), (struct node *)(value))
#endif

int main(void)
{
	static struct node node, other;
	struct node *nodes[3] = {&node, &other, &node};
	void *values[18], *seen = NULL;
	long sums[16] = {0};
	bool right;

	for (int i = 0; i < 18; i++)
		values[i] = &other.payload[i];
	site_plain(&node, &other);
	right = node.next == &other;
	site_null(&node);
	right = right && !node.next;
	site_field(&node, values[3]);
	site_index(&node, 299, values[4]);
	right = right && node.payload[250] == values[3] && node.payload[299] == values[4];
	site_own_stack(&node, &seen);
	right = right && seen == &node;
	site_loop(nodes, 3, &other);
	right = right && node.next == &other && other.next == &other;
	site_pressure(&node, values);
	right = right && node.payload[0] == values[0] && node.payload[32] == values[7];
	right = right && node.payload[2] == values[7] && node.payload[33] == values[2];
	site_far(&node, values, sums);
	right = right && node.payload[47] == values[17] && node.payload[45] == values[15];
	SITES_OF_BASE((void **)(void *)&node, &node);
	right = right && node.next == &node;
	puts(right ? "right" : "wrong");
	return !right;
}
