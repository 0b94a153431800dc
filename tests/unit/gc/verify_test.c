/* verify_test.c - the second collector (gc/verify.c): it is silent about what is well, and finds an
 * object that was lost, however it is reached.
 *
 * An object is lost here by the test's own hand: its bits are taken away after a cycle, as if it had
 * been swept. gy_verify is called by this thread, whose own stack it does not look at.
 *
 * Each test runs in a forked child: Criterion has a thread that blocks all signals, which the
 * collector could not stop.
 */
#include "base/config.h"
#include "gc/cycle.h"
#include "gc/verify.h"
#include "os/sys.h"
#include "unit/unit.h"

#include <gyre/gc.h>

struct node {
	struct node *left, *right;
	uint64_t value;
};

struct tailed {
	struct node *head;
	uint64_t count;
	struct node *slots[];
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, left, right);
static const struct gyre_type tailed_type = GYRE_TYPE_TAIL(struct tailed, slots, head);

static void *root;

static struct node *tree(unsigned depth)
{
	struct node *node = gyre_new(&node_type);

	node->value = depth;
	if (depth) {
		gyre_set(&node->left, tree(depth - 1));
		gyre_set(&node->right, tree(depth - 1));
	}
	return node;
}

static struct unit_child run(void (*body)(void *unused))
{
	if (GY_TSAN)
		cr_skip_test("ThreadSanitizer knows no stopped world");
	return unit_child_run(body, NULL);
}

/* As if it had been swept; or, in a block that its thread has still in hand, not been marked. */
static void lose(void *address)
{
	struct gy_object object;
	uint64_t bit;

	child_check(gy_object_find((uintptr_t)address, &object));
	child_check(gy_object_is_allocated(object));
	bit = 1ull << object.index % 64;
	gy_gc_bits[object.block].allocated[object.index / 64] &= ~bit;
	*gy_marks_word(object.block, object.index / 64) &= ~bit;
}

static void settle(void)
{
	gyre_gc_pause();
	child_check(!gyre_gc_run());
	child_check(gyre_gc_verify() == 0);
}

static void well(void *unused)
{
	struct tailed *tailed;
	void **any;

	(void)unused;
	root = gyre_new_array(&node_type, 1000);
	for (unsigned i = 0; i < 1000; i++)
		gyre_set(&((struct node *)root)[i].left, tree(3));
	gyre_handle_new(tree(10));
	tailed = gyre_new_tail(&tailed_type, 500);
	gyre_handle_new(tailed);
	for (unsigned i = 0; i < 500; i++)
		gyre_set(&tailed->slots[i], tree(2));
	any = gyre_new_conservative(100000);
	gyre_set(&tailed->head, (struct node *)(void *)any);
	for (unsigned i = 0; i < 12500; i += 5)
		gyre_set(&any[i], gyre_new_leaf(i));
	for (unsigned i = 0; i < 5; i++)
		child_check(gyre_gc_verify() == 0);
	gyre_gc_pause();
	child_check(gy_verify() == 0);
}

Test(verify, is_silent_about_what_is_well)
{
	struct unit_child child = run(well);

	unit_assert_exit(child, 0);
	cr_assert_eq(child.length, 0, "said: %s", child.text);
}

static void lost_field(void *unused)
{
	struct node *node = tree(5);

	(void)unused;
	root = node;
	settle();
	lose(node->left->right);
	child_check(gy_verify() == 1);
}

Test(verify, names_type_field_and_slot)
{
	struct unit_child child = run(lost_field);

	unit_assert_exit(child, 0);
	cr_assert_not_null(strstr(child.text, "lost object: struct node at 0x"), "%s", child.text);
	cr_assert_not_null(strstr(child.text, "field right of struct node at 0x"), "%s",
			   child.text);
	cr_assert_not_null(strstr(child.text, "slot 0x"), "%s", child.text);
}

static void lost_elsewhere(void *unused)
{
	struct tailed *tailed = gyre_new_tail(&tailed_type, 100);
	struct node *array = gyre_new_array(&node_type, 100);
	void **any = gyre_new_conservative(4096), *leaf = gyre_new_leaf(100);

	(void)unused;
	root = gyre_new_array(&node_type, 1);
	gyre_set(&tailed->slots[73], tree(0));
	gyre_set(&array[42].right, tree(0));
	gyre_set(&any[100], leaf);
	gyre_set(&((struct node *)root)->left, (struct node *)(void *)tailed);
	gyre_set(&tailed->slots[1], (struct node *)(void *)any);
	gyre_set(&((struct node *)root)->right, array);
	settle();
	lose(tailed->slots[73]);
	child_check(gy_verify() == 1);
	lose(array[42].right);
	child_check(gy_verify() == 2);
	lose(leaf);
	child_check(gy_verify() == 3);
}

Test(verify, looks_into_tails_arrays_and_conservative_objects)
{
	struct unit_child child = run(lost_elsewhere);

	unit_assert_exit(child, 0);
}

static void lost_handle(void *unused)
{
	struct node *node = tree(0);

	(void)unused;
	gyre_handle_new(node);
	settle();
	lose(node);
	child_check(gy_verify() == 1);
}

Test(verify, a_handle_counts)
{
	struct unit_child child = run(lost_handle);

	unit_assert_exit(child, 0);
	cr_assert_not_null(strstr(child.text, "through a handle"), "%s", child.text);
}

static void lost_root(void *unused)
{
	struct node *node = tree(0);

	(void)unused;
	root = node;
	settle();
	lose(node);
	child_check(gy_verify() == 0);
}

Test(verify, a_word_that_may_be_of_long_ago_does_not)
{
	struct unit_child child = run(lost_root);

	unit_assert_exit(child, 0);
}

static void short_of_memory(void *unused)
{
	(void)unused;
	root = tree(5);
	settle();
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mmap;
	child_check(gy_verify() == -1);
	gy_option_values[GY_OPT_fault_call] = 0;
	child_check(gy_verify() == 0);
}

Test(verify, without_memory_it_says_so)
{
	struct unit_child child = run(short_of_memory);

	unit_assert_exit(child, 0);
}

static void lost_many(void *unused)
{
	struct node *array = gyre_new_array(&node_type, 1000);

	(void)unused;
	root = array;
	for (unsigned i = 0; i < 1000; i++)
		gyre_set(&array[i].left, tree(0));
	settle();
	for (unsigned i = 0; i < 1000; i++)
		lose(array[i].left);
	child_check(gy_verify() == 1000);
}

Test(verify, counts_all_and_tells_of_twenty)
{
	struct unit_child child = run(lost_many);
	unsigned lines = 0;

	unit_assert_exit(child, 0);
	for (const char *at = child.text; (at = strstr(at, "lost object: ")); at++)
		lines++;
	cr_assert_eq(lines, 20);
}
