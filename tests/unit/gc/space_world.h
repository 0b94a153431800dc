/* space_world.h - a collector of a few lines for the space's tests: phases by hand, no marker, no
 * stop. The test says what is marked, and calls what the phase machine would, in its order.
 */
#ifndef GYRE_TESTS_SPACE_WORLD_H
#define GYRE_TESTS_SPACE_WORLD_H

#include "gc/bin.h"
#include "gc/cycle.h"
#include "heap/heap.h"

#include "unit/unit.h"

struct node {
	struct node *left, *right;
	long value, other;
};
struct leaf {
	long numbers[3];
};

GY_UNUSED static const struct gyre_type node_type = GYRE_TYPE(struct node, left, right);
GY_UNUSED static const struct gyre_type leaf_type = GYRE_TYPE_LEAF(struct leaf);

static struct gy_gc_thread own_thread;

GY_UNUSED static void world_start(void)
{
	cr_assert(gy_heap_start());
	cr_assert_eq(gy_records_init(), 0);
	cr_assert_eq(gy_layout_init(), 0);
	cr_assert_eq(gy_space_init(), 0);
	gy_gc_self = &own_thread;
}

/* As gyre_new does. */
GY_UNUSED static void *make(const struct gyre_type *type)
{
	void *object = gy_space_fast_new(gy_gc_self, type);

	return object ? object : gy_space_new(gy_gc_self, type);
}

GY_UNUSED static void *make_sized(const struct gyre_type *type, bool array, size_t bytes)
{
	return gy_space_new_sized(gy_gc_self, gy_layout_of(type, array), bytes);
}

GY_UNUSED static void *make_leaf(size_t bytes)
{
	return gy_space_new_sized(gy_gc_self, gy_layouts[0], bytes);
}

GY_UNUSED static struct gy_object where(const void *address)
{
	struct gy_object object;

	cr_assert(gy_object_find((uintptr_t)address, &object));
	return object;
}

GY_UNUSED static void mark(const void *address)
{
	gy_object_mark(where(address));
}

GY_UNUSED static void cycle_begin(void)
{
	gy_space_sweep_all();
	gy_space_thread_begin_cycle(&own_thread);
	gyre_gc_marking = gy_gc_epoch + 1;
}

/* SPACE-7 */
GY_UNUSED static void cycle_flip(void)
{
	gy_gc_epoch++;
	gyre_gc_marking = 0;
	gy_space_flip(gy_gc_epoch);
}

GY_UNUSED static struct gy_space_stats stats(void)
{
	struct gy_space_stats now;

	gy_space_read_stats(&now);
	return now;
}

GY_UNUSED static bool is_zero(const void *start, size_t bytes)
{
	const char *at = start;

	for (size_t i = 0; i < bytes; i++)
		if (at[i])
			return false;
	return true;
}

#endif
