/* layout_test.c - what becomes of a type: kind, map, sharing, names. */
#include "gc/layout.h"

#include "heap/heap.h"

#include "unit/unit.h"

#include <pthread.h>

struct node {
	struct node *left, *right;
	long value;
};
struct wide {
	long first;
	struct {
		void *a, *b;
	} pair;
	void *many[3];
	long last[4];
};
struct tailed {
	void *owner;
	long count;
	struct node *items[];
};
struct text {
	void *owner;
	char bytes[];
};
struct leaf {
	long numbers[3];
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, left, right);
static const struct gyre_type node_again = GYRE_TYPE(struct node, left, right);
static const struct gyre_type wide_type = GYRE_TYPE(struct wide, pair, many);
static const struct gyre_type tailed_type = GYRE_TYPE_TAIL(struct tailed, items, owner);
static const struct gyre_type text_type = GYRE_TYPE_TAIL_LEAF(struct text, bytes, owner);
static const struct gyre_type leaf_type = GYRE_TYPE_LEAF(struct leaf);

static void started(void)
{
	cr_assert(gy_heap_start());
	cr_assert_eq(gy_layout_init(), 0);
}

TestSuite(layout, .init = started);

Test(layout, the_first_two_are_without_a_type)
{
	cr_expect_eq(gy_layouts[0]->kind, GY_LAYOUT_LEAF);
	cr_expect_eq(gy_layouts[1]->kind, GY_LAYOUT_CONSERVATIVE);
	for (unsigned i = 0; i < 2; i++) {
		cr_expect_eq(gy_layouts[i]->index, i);
		cr_expect_eq(gy_layouts[i]->alignment, 16u);
		cr_expect_not_null(gy_layouts[i]->map);
	}
}

Test(layout, an_object_is_typed_and_cut_behind_its_last_pointer)
{
	const struct gy_layout *layout = gy_layout_of(&node_type, false);

	cr_assert_not_null(layout);
	cr_expect_eq(layout->kind, GY_LAYOUT_TYPED);
	cr_expect_eq(layout->head_words, 2u);
	cr_expect_eq(layout->tail_words, 0u);
	cr_expect_eq(layout->map[0], 3u);
	cr_expect(layout->map_is_short);
	cr_expect_eq(layout->alignment, 8u);
	cr_expect_eq(gy_layouts[layout->index], layout);

	layout = gy_layout_of(&wide_type, false);
	cr_expect_eq(layout->head_words, 6u);
	cr_expect_eq(layout->map[0], 0x3eu);
}

Test(layout, arrays_keep_the_whole_stride)
{
	const struct gy_layout *layout = gy_layout_of(&node_type, true);

	cr_expect_eq(layout->kind, GY_LAYOUT_ARRAY);
	cr_expect_eq(layout->head_words, 3u);
	cr_expect_eq(layout->map[0], 3u);
	cr_expect_neq(layout, gy_layout_of(&node_type, false));
}

Test(layout, tails)
{
	const struct gy_layout *layout = gy_layout_of(&tailed_type, false);

	cr_expect_eq(layout->kind, GY_LAYOUT_TYPED);
	cr_expect_eq(layout->head_words, 2u);
	cr_expect_eq(layout->map[0], 1u);
	cr_expect_eq(layout->tail_words, 1u);
	cr_expect_eq(layout->tail_map, 1u);

	layout = gy_layout_of(&text_type, false);
	cr_expect_eq(layout->kind, GY_LAYOUT_TYPED);
	cr_expect_eq(layout->head_words, 1u);
	cr_expect_eq(layout->tail_words, 0u);
}

Test(layout, leaves)
{
	const struct gy_layout *one = gy_layout_of(&leaf_type, false);

	cr_expect_eq(one->kind, GY_LAYOUT_LEAF);
	cr_expect_neq(one->index, 0, "only bytes of gyre_new_leaf are not zeroed");
	cr_expect_eq(gy_layout_of(&leaf_type, true), one);
}

Test(layout, equal_types_share_one)
{
	struct gyre_type other = node_type;

	cr_expect_eq(gy_layout_of(&node_again, false), gy_layout_of(&node_type, false));
	other.name = "struct twin";
	cr_expect_neq(gy_layout_of(&other, false), gy_layout_of(&node_type, false));
	cr_expect_str_eq(gy_layout_of(&other, false)->name, "struct twin");
	other = node_type;
	other.alignment = 64;
	cr_expect_neq(gy_layout_of(&other, false), gy_layout_of(&node_type, false));
	other = node_type;
	other.map[0] = 1;
	cr_expect_neq(gy_layout_of(&other, false), gy_layout_of(&node_type, false));
}

Test(layout, type_names_for_records_of_hits)
{
	static char long_name[] = "struct of_a_name_that_is_much_longer_than_the_record_of_"
				  "names_has_room_for";
	const struct gyre_type_name *names;
	struct gyre_type other = node_type;
	unsigned first = gy_layout_type_names(&names);

	cr_expect_eq(first, 2u);
	cr_expect_str_eq(names[0].text, "(leaf)");
	gy_layout_of(&node_type, false);
	gy_layout_of(&node_type, true);
	other.name = long_name;
	gy_layout_of(&other, false);
	other.name = "";
	gy_layout_of(&other, false);
	cr_expect_eq(gy_layout_type_names(&names), first + 4);
	cr_expect_str_eq(names[first].text, "struct node");
	cr_expect_str_eq(names[first + 1].text, "struct node[]");
	cr_expect_eq(strncmp(names[first + 2].text, long_name, 60), 0);
	cr_expect_lt(strlen(names[first + 2].text), sizeof(names[0].text));
	cr_expect_str_eq(names[first + 3].text, "(no name)");
	for (int i = 0; i < 300; i++) {
		char name[16];

		snprintf(name, sizeof(name), "type %d", i);
		other.name = name;
		cr_assert_not_null(gy_layout_of(&other, false));
	}
	cr_expect_eq(gy_layout_type_names(&names), GYRE_TYPE_OTHERS - 1);
	cr_expect_eq(gy_layout_type_number((uintptr_t)&names), GYRE_TYPE_NONE, "a stack's slot");
}

Test(layout, nothing_of_the_type_is_kept)
{
	struct gyre_type type = node_type;
	char name[] = "struct passing";
	const struct gy_layout *layout;

	type.name = name;
	layout = gy_layout_of(&type, false);
	memset(name, 'x', sizeof(name) - 1);
	memset(&type, 0xff, sizeof(type));
	cr_expect_str_eq(layout->name, "struct passing");
	cr_expect_str_eq(layout->field_names, "left, right");
	cr_expect_eq(layout->field_offsets[1], 8u);
	cr_expect_eq(layout->map[0], 3u);
}

Test(layout, what_does_not_come_in_words_is_conservative)
{
	struct gyre_type odd = node_type;
	struct gyre_type odd_tail = tailed_type;

	odd.bytes = 20;
	odd.map[0] = 1;
	cr_expect_eq(gy_layout_of(&odd, true)->kind, GY_LAYOUT_CONSERVATIVE);
	cr_expect_eq(gy_layout_of(&odd, false)->kind, GY_LAYOUT_TYPED);
	odd_tail.tail_bytes = 12;
	cr_expect_eq(gy_layout_of(&odd_tail, false)->kind, GY_LAYOUT_CONSERVATIVE);
	odd_tail.tail_bytes = 65 * 8;
	cr_expect_eq(gy_layout_of(&odd_tail, false)->kind, GY_LAYOUT_CONSERVATIVE);
}

Test(layout, bits_behind_the_object_are_dropped)
{
	struct gyre_type type = node_type;

	type.map[0] = ~0ull;
	type.map[1] = ~0ull;
	cr_expect_eq(gy_layout_of(&type, false)->map[0], 7u);
	cr_expect_eq(gy_layout_of(&type, false)->head_words, 3u);
}

Test(layout, types_made_at_run_time)
{
	uint64_t map[10] = {[0] = 1, [9] = 1ull << 63};
	const struct gyre_type *large = gy_type_make("large", 10 * 64 * 8, 8, map);
	const struct gyre_type *small = gy_type_make("small", 16, 16, map);
	const struct gyre_type *leaf = gy_type_make("leaf", 100000, 1, NULL);
	const struct gy_layout *layout;

	cr_assert(large && small && leaf);
	cr_expect_eq(gy_type_make("large", 10 * 64 * 8, 8, map), large);
	cr_expect_neq(gy_type_make("other", 10 * 64 * 8, 8, map), large);
	map[9] = 0;
	cr_expect_neq(gy_type_make("large", 10 * 64 * 8, 8, map), large);
	layout = gy_layout_of(large, false);
	cr_expect_eq(layout->head_words, 640u);
	cr_expect_not(layout->map_is_short);
	cr_expect_eq(layout->map[9], 1ull << 63);
	cr_expect_eq(layout->map[5], 0u);
	cr_expect_null(small->long_map);
	cr_expect_eq(gy_layout_of(small, false)->alignment, 16u);
	cr_expect_eq(gy_layout_of(leaf, false)->kind, GY_LAYOUT_LEAF);
	cr_expect_str_eq(gy_layout_of(small, false)->name, "small");
}

static void expect_field(const struct gyre_type *type, bool array, size_t offset, const char *name)
{
	char text[64];

	gy_layout_field_name(gy_layout_of(type, array), offset, text, sizeof(text));
	cr_expect_str_eq(text, name, "%zu of %s is %s, not %s", offset, type->name, text, name);
}

Test(layout, fields_have_their_names)
{
	char tiny[4];
	uint64_t map = 2;

	expect_field(&node_type, false, 0, "left");
	expect_field(&node_type, false, 8, "right");
	expect_field(&node_type, true, 3 * 24 + 8, "[3].right");
	expect_field(&wide_type, false, offsetof(struct wide, pair.b), "pair+8");
	expect_field(&wide_type, false, offsetof(struct wide, many[2]), "many+16");
	expect_field(&wide_type, false, 0, "+0");
	expect_field(&tailed_type, false, offsetof(struct tailed, items) + 16, "tail[2]");
	expect_field(gy_type_make("made", 16, 8, &map), false, 8, "+8");
	gy_layout_field_name(gy_layout_of(&wide_type, false), 40, tiny, sizeof(tiny));
	cr_expect_str_eq(tiny, "man");
}

#define THREADS 4
#define TYPES 500

static struct gyre_type raced[TYPES];
static const struct gy_layout *found[THREADS][TYPES];
static const struct gyre_type *made[THREADS][TYPES];

static void *look_up(void *argument)
{
	unsigned me = (unsigned)(uintptr_t)argument;

	for (unsigned i = 0; i < TYPES; i++) {
		uint64_t map = i + 1;

		found[me][i] = gy_layout_of(&raced[i], false);
		made[me][i] = gy_type_make("raced", 128, 8, &map);
	}
	return NULL;
}

Test(layout, threads_that_race_get_the_same)
{
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < TYPES; i++) {
		raced[i] = node_type;
		raced[i].bytes = 256;
		raced[i].map[0] = i + 1;
	}
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, look_up, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < TYPES; i++) {
		cr_assert_not_null(found[0][i]);
		cr_assert_eq(found[0][i]->map[0], i + 1);
		cr_assert_eq(made[0][i]->map[0], (i + 1) & 0xffff);
		cr_assert_eq(gy_layouts[found[0][i]->index], found[0][i]);
		for (unsigned t = 1; t < THREADS; t++) {
			cr_assert_eq(found[t][i], found[0][i]);
			cr_assert_eq(made[t][i], made[0][i]);
		}
	}
}
