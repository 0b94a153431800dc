/* space_test.c - objects handed out, blocks swept: sizes, zeroes, runs, cycles played by hand. */
#include "space_world.h"

#include "base/config.h"

#include <pthread.h>

TestSuite(space, .init = world_start);

/* ------------------------------------------------------------------ sizes */

Test(space, BLOCK_2_every_byte_belongs_to_the_right_object)
{
	for (uint32_t bytes = 16; bytes <= GY_CLASS_MAX_BYTES; bytes += 8) {
		unsigned pages = gy_block_pages(bytes);
		uint32_t magic = (uint32_t)(((1ull << 32) + bytes - 1) / bytes);
		size_t block = pages * GY_PAGE_BYTES;
		unsigned objects = (unsigned)(block / bytes);

		cr_assert(pages >= 1 && pages <= GY_BLOCK_PAGES_MAX, "%u: %u", bytes, pages);
		cr_assert(bytes > 1024 || pages == 1);
		cr_assert_leq((block - objects * bytes) * 8, block, "%u wastes its tail", bytes);
		cr_assert(objects >= 1 && objects <= 512);
		cr_assert_eq(objects > 256, bytes <= 24, "REC-4");
		for (unsigned i = 0; i <= objects; i++) {
			size_t first = (size_t)i * bytes, last = MIN(first + bytes, block) - 1;

			if (first >= block)
				break;
			cr_assert_eq(first * magic >> 32, i, "%u: start of %u", bytes, i);
			cr_assert_eq(last * magic >> 32, i, "%u: end of %u", bytes, i);
		}
	}
}

Test(space, slots_hold_and_align_what_is_asked)
{
	for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
		for (size_t bytes = 0; bytes <= 40000; bytes += bytes < 2000 ? 1 : 113) {
			uint32_t slot = gy_slot_bytes(bytes, alignment);
			uint32_t sized = gy_slot_bytes_sized(bytes, MAX(alignment, 8));

			cr_assert_eq(!slot, gy_round_up(bytes, MAX(alignment, 8)) > 32768);
			cr_assert(!slot || (slot >= bytes && slot >= 16 && slot % alignment == 0));
			cr_assert(slot <= MAX(bytes + MAX(alignment, 8), 16), "exact");
			cr_assert(!sized || (sized > bytes && sized >= 16 && sized % alignment == 0));
			cr_assert(sized || bytes + MAX(alignment, 8) > 32768);
			if (alignment <= 16 && sized)
				cr_assert_leq(sized, bytes + 1 + MAX(16, bytes / 8 + 8),
					      "%zu in %u, aligned to %zu", bytes, sized, alignment);
		}
	}
	cr_expect_eq(gy_slot_bytes_sized(32, 8), 40u);
	cr_expect_eq(gy_slot_bytes_sized(31, 16), 32u);
	cr_expect_eq(gy_slot_bytes_sized(32, 16), 48u);
	cr_expect_eq(gy_slot_bytes_sized(64, 16), 80u);
}

Test(space, objects_are_aligned_apart_and_zero)
{
	for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
		for (size_t bytes = 1; bytes < 70000; bytes = bytes * 3 + 1) {
			const struct gyre_type *type = gy_type_make("aligned", bytes, alignment, NULL);
			char *last = NULL;

			for (unsigned i = 0; i < 40; i++) {
				char *object = make(type);

				cr_assert_not_null(object);
				cr_assert_eq((uintptr_t)object % alignment, 0u);
				cr_assert(is_zero(object, bytes));
				memset(object, 0xff, bytes);
				cr_assert(!last || object >= last + bytes || object + bytes <= last);
				cr_assert_eq(gy_object_start(where(object + bytes - 1)), object);
				last = object;
			}
		}
	}
}

Test(space, a_pointer_behind_the_end_holds_the_array)
{
	for (size_t count = 0; count < 6000; count += count < 300 ? 1 : 251) {
		size_t bytes = count * sizeof(struct node);
		char *array = make_sized(&node_type, true, bytes);
		char *text = make_leaf(count);

		cr_assert(array && text);
		cr_assert(is_zero(array, bytes));
		cr_assert_eq(gy_object_start(where(array + bytes)), array);
		cr_assert_eq((uintptr_t)text % 16, 0u);
		cr_assert_eq(gy_object_start(where(text + count)), text);
		memset(array, 0xee, bytes);
		memset(text, 0xee, count);
	}
	cr_expect_null(make_leaf(SIZE_MAX));
	cr_expect_null(make_leaf(SIZE_MAX - 1));
	cr_expect_null(make_leaf((size_t)1 << 47));
}

/* ------------------------------------------------------------------ cycles */

#define MANY 20000

static struct node *objects[MANY];
static bool kept[MANY];

static void fill(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		objects[i] = make(&node_type);
		cr_assert(objects[i] && is_zero(objects[i], sizeof(*objects[i])));
		objects[i]->value = i + 1;
	}
}

/* Which objects of an earlier life are where? */
static void expect_kept_untouched(void)
{
	for (unsigned i = 0; i < MANY; i++)
		cr_assert(!kept[i] || objects[i]->value == i + 1, "object %u was overwritten", i);
}

static void keep_one_in(unsigned n, uint64_t *random)
{
	for (unsigned i = 0; i < MANY; i++) {
		kept[i] = n && unit_random(random) % n == 0;
		if (kept[i])
			mark(objects[i]);
	}
}

Test(space, garbage_is_used_again_and_what_is_marked_stays)
{
	static const unsigned shares[] = {0, 1, 2, 3, 10, 100, 1000};

	for (unsigned s = 0; s < ARRAY_SIZE(shares); s++) {
		uint64_t random = s, before;

		fill();
		cycle_begin();
		keep_one_in(shares[s], &random);
		cycle_flip();
		before = stats().span_bytes;
		for (unsigned i = 0; i < MANY / 2; i++) {
			struct node *fresh = make(&node_type);

			cr_assert(is_zero(fresh, sizeof(*fresh)));
			memset(fresh, 0xcc, sizeof(*fresh));
		}
		expect_kept_untouched();
		if (shares[s] != 1)
			cr_expect_eq(stats().span_bytes, before, "no new pages for 1 in %u",
				     shares[s]);
		gy_space_sweep_all();
		gy_space_check();
		/* All of it goes, for the next share to begin from nothing. */
		cycle_begin();
		cycle_flip();
		gy_space_sweep_all();
	}
}

Test(space, SPACE_5_all_pages_come_back)
{
	uint64_t inuse, live = 0;

	fill();
	for (unsigned i = 0; i < 100; i++)
		cr_assert(make_leaf(100000));
	cycle_begin();
	for (unsigned i = 0; i < MANY; i += 1000) {
		mark(objects[i]);
		live += sizeof(struct node);
	}
	cycle_flip();
	gy_space_sweep_all();
	gy_space_trim();
	/* The block in hand counts as full. */
	inuse = stats().inuse_bytes;
	cr_expect(inuse >= live && inuse <= live + GY_PAGE_BYTES, "%lu in use", (unsigned long)inuse);
	cr_expect_leq(stats().span_bytes, (MANY / 1000 + 1) * GY_PAGE_BYTES);
	cr_expect_eq(stats().bytes_allocated - stats().bytes_freed, inuse);
	cycle_begin();
	cycle_flip();
	gy_space_thread_end(&own_thread);
	gy_space_sweep_all();
	cr_expect_eq(stats().inuse_bytes, 0u);
}

Test(space, SPACE_2_objects_are_born_black)
{
	struct node *before = make(&node_type), *during, *far[2 * 256];

	cycle_begin();
	cr_expect_not(gy_object_is_marked(where(before)), "made before the pause");
	during = make(&node_type);
	cr_expect(gy_object_is_marked(where(during)), "SPACE-3: the rest of the run");
	for (unsigned i = 0; i < ARRAY_SIZE(far); i++) {
		struct gy_object at;

		far[i] = make(&node_type);
		at = where(far[i]);
		cr_assert(gy_object_is_marked(at));
		cr_assert(*gy_scanned_word(at.block, at.index / 64) >> at.index % 64 & 1);
	}
	cycle_flip();
	cr_expect_not(gy_space_object_is_live(where(before)));
	cr_expect(gy_space_object_is_live(where(during)));
	gy_space_sweep_all();
	for (unsigned i = 0; i < ARRAY_SIZE(far); i++)
		cr_assert(gy_space_object_is_live(where(far[i])));
	gy_space_check();
}

Test(space, SPACE_3_small_ones_and_arrays_are_born_black_too)
{
	static const struct gyre_type *pair;
	char *first[5], *second[5];

	pair = gy_type_make("pair", 16, 8, &(uint64_t){3});
	for (unsigned round = 0; round < 2; round++) {
		char **made = round ? second : first;

		made[0] = make(pair);
		made[1] = make_leaf(10);
		made[2] = make_sized(&node_type, true, 1000);
		made[3] = make_leaf(100000);
		made[4] = make(gy_type_make("triple", 24, 8, &(uint64_t){7}));
		if (!round)
			cycle_begin();
	}
	for (unsigned i = 0; i < ARRAY_SIZE(first); i++) {
		cr_expect_not(gy_object_is_marked(where(first[i])), "%u", i);
		cr_expect(gy_object_is_marked(where(second[i])), "%u", i);
	}
	cycle_flip();
	gy_space_sweep_all();
	for (unsigned i = 0; i < ARRAY_SIZE(first); i++) {
		struct gy_object found;

		cr_expect(gy_space_object_is_live(where(second[i])), "%u", i);
		cr_expect(!gy_object_find((uintptr_t)first[i], &found) ||
				  !gy_space_object_is_live(found),
			  "%u", i);
	}
}

/* What a thread makes of a run that it had before the flip lives, though its block is swept later. */
Test(space, SPACE_4_a_run_in_hand_outlives_the_flip)
{
	struct node *old = make(&node_type), *late[3];

	cycle_begin();
	cycle_flip();
	gy_space_sweep_all();
	for (unsigned i = 0; i < 3; i++) {
		late[i] = make(&node_type);
		late[i]->value = i + 1;
	}
	cr_expect_eq(where(late[0]).block, where(old).block);
	cycle_begin(); /* sweeps the block in hand in place */
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_not(gy_object_is_marked(where(late[i])));
		mark(late[i]);
	}
	cr_expect_not(gy_object_is_allocated(where(old)));
	cycle_flip();
	for (unsigned i = 0; i < 1000; i++)
		memset(make(&node_type), 0xff, sizeof(struct node));
	for (unsigned i = 0; i < 3; i++)
		cr_expect_eq(late[i]->value, (long)i + 1);
}

/* Every second object of a block stays: the thread claims the others by the word. What it has not
 * handed out is black from the pause on, and is returned when the thread ends. */
Test(space, SPACE_3_claimed_slots_are_made_black)
{
	struct node *first[256], *again[64 + 10];
	unsigned black = 0, claimed = 0;
	size_t block;

	for (unsigned i = 0; i < 256; i++)
		first[i] = make(&node_type);
	block = where(first[0]).block;
	cr_assert_eq(where(first[255]).block, block);
	cycle_begin();
	for (unsigned i = 0; i < 256; i += 2)
		mark(first[i]);
	cycle_flip();
	for (unsigned i = 0; i < ARRAY_SIZE(again); i++) {
		again[i] = make(&node_type);
		cr_assert_eq(again[i], first[2 * i + 1]);
		cr_assert(is_zero(again[i], sizeof(*again[i])));
	}
	cycle_begin();
	for (unsigned i = 0; i < 256; i++) {
		black += gy_object_is_marked(where(first[i]));
		claimed += gy_object_is_allocated(where(first[i]));
	}
	/* Two words of claims and half of a third; ten of that handed out. */
	cr_expect_eq(claimed, 128 + 3 * 32u);
	cr_expect_eq(black, 3 * 32 - ARRAY_SIZE(again));
	for (unsigned i = 0; i < 100; i++)
		cr_assert(gy_object_is_marked(where(make(&node_type))));
	cycle_flip();
	gy_space_sweep_all();
	gy_space_thread_end(&own_thread);
	gy_space_check();
	/* The black ones that were handed out to nobody by the pause were, later. */
	cr_expect_eq(stats().inuse_bytes, 100 * sizeof(struct node));
}

Test(space, several_flips_without_a_word_from_the_thread)
{
	struct node *only = make(&node_type);

	only->value = 7;
	for (unsigned i = 0; i < 5; i++) {
		cycle_begin();
		mark(only);
		cycle_flip();
		gy_space_sweep_all();
	}
	for (unsigned i = 0; i < 1000; i++)
		cr_assert(is_zero(make(&node_type), sizeof(struct node)));
	cr_expect_eq(only->value, 7);
	gy_space_check();
}

Test(space, sweeping_in_small_steps_ends)
{
	unsigned steps = 0;

	fill();
	cycle_begin();
	cycle_flip();
	while (gy_space_sweep_some(3))
		steps++;
	cr_expect(steps >= MANY / 256 / 3 && steps <= MANY / 256 / 2, "%u steps", steps);
	cr_expect_not(gy_space_sweep_some(1));
	gy_space_check();
}

Test(space, poison_shows_in_what_was_collected)
{
	struct node *dead, *live;
	unsigned char *large = make_leaf(50000);

	gy_config_parse("gc_poison=on");
	dead = make(&node_type);
	live = make(&node_type);
	live->value = 5;
	cycle_begin();
	mark(live);
	mark(large);
	cycle_flip();
	gy_space_thread_end(&own_thread); /* sweeps what is in hand */
	gy_space_sweep_all();
	cr_expect_eq(((unsigned char *)dead)[9], GY_GC_POISON);
	cr_expect_eq(live->value, 5);
	cr_expect_neq(large[100], GY_GC_POISON);
	for (unsigned i = 0; i < 1000; i++)
		cr_assert(is_zero(make(&node_type), sizeof(struct node)));
}

/* ------------------------------------------------------------------ large objects */

Test(space, large_objects_are_found_from_anywhere_and_go)
{
	static const size_t sizes[] = {32768, 40000, 1 << 20, 5 << 20};
	uint64_t span = stats().span_bytes;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *kept_one = make_sized(&node_type, true, sizes[i]);
		char *gone = make_sized(&node_type, true, sizes[i]);

		cr_assert(kept_one && gone && is_zero(kept_one, sizes[i]));
		memset(kept_one, 1, sizes[i]);
		memset(gone, 2, sizes[i]);
		for (size_t at = 0; at <= sizes[i]; at += 4096)
			cr_assert_eq(gy_object_start(where(kept_one + at)), kept_one);
		cycle_begin();
		mark(kept_one + 12345);
		cycle_flip();
		gy_space_sweep_all();
		cr_expect_eq(kept_one[777], 1);
		cr_expect(gy_object_is_allocated(where(kept_one)));
		cr_expect_not(gy_object_find((uintptr_t)gone, &(struct gy_object){0, 0}));
		cr_expect(is_zero(make_sized(&node_type, true, sizes[i]), sizes[i]),
			  "pages that were used before");
		cycle_begin();
		cycle_flip();
		gy_space_sweep_all();
		cr_expect_eq(stats().span_bytes, span);
		gy_space_check();
	}
}

/* How many of the huge pages that an object fills were asked to be that. */
static size_t hugepages_asked(const void *object, size_t bytes)
{
	size_t first = where(object).block, asked = 0;

	for (size_t index = gy_div_round_up(first, GY_HUGEPAGE_PAGES);
	     index < (first + bytes / GY_PAGE_BYTES) / GY_HUGEPAGE_PAGES; index++)
		asked += gy_map.hugepages[index].advised;
	return asked;
}

/* A table of pointers is on huge pages, wherever the heap has it; mere bytes may be sparse. */
Test(space, large_objects_with_pointers_are_on_huge_pages)
{
	const size_t bytes = 3 * GY_HUGEPAGE_BYTES;
	void *table = make_sized(&node_type, true, bytes), *buffer = make_leaf(bytes);

	cr_expect_geq(hugepages_asked(table, bytes), 2);
	cr_expect_eq(hugepages_asked(buffer, bytes), 0);
	cycle_begin();
	cycle_flip();
	gy_space_sweep_all();
	cr_expect(is_zero(make_sized(&node_type, true, bytes), bytes), "the table's pages anew");
	gy_space_check();
}

Test(space, a_type_of_large_objects)
{
	static const uint64_t map[100000 / 8 / 64 + 1] = {1};
	const struct gyre_type *type = gy_type_make("large", 100000, 4096, map);
	char *object = make(type);

	cr_assert_not_null(object);
	cr_expect_eq((uintptr_t)object % 4096, 0u);
	cr_expect_eq(gy_object_start(where(object + 99999)), object);
	cr_expect_eq(gy_layouts[gy_gc_pages[where(object).block].layout]->kind, GY_LAYOUT_TYPED);
}

/* ------------------------------------------------------------------ threads */

static void *make_some(void *argument)
{
	struct gy_gc_thread *thread = calloc(1, sizeof(*thread));
	void *last = NULL;

	gy_gc_self = thread;
	for (unsigned i = 0; i < *(unsigned *)argument; i++)
		last = make(&node_type);
	gy_space_thread_end(thread);
	gy_gc_self = NULL;
	free(thread);
	return last;
}

static void *in_a_thread(unsigned count)
{
	pthread_t thread;
	void *last;

	cr_assert_eq(pthread_create(&thread, NULL, make_some, &count), 0);
	pthread_join(thread, &last);
	return last;
}

Test(space, what_a_thread_leaves_the_next_one_uses)
{
	char *first = in_a_thread(10), *second = in_a_thread(10);

	cr_expect_eq(second, first + 10 * sizeof(struct node));
	cr_expect_eq(stats().objects_allocated, 20u);
	cr_expect_eq(stats().inuse_bytes, 20 * sizeof(struct node));
	for (unsigned i = 0; i < 1000; i++)
		in_a_thread(3);
	cr_expect_leq(stats().blocks, 3020u / 256 + 1);
	gy_space_check();
}

Test(space, a_thread_that_ends_while_marking_leaves_its_rest_black)
{
	struct node *made;

	cycle_begin();
	made = in_a_thread(10);
	cr_expect(gy_object_is_marked(where(made)));
	cr_expect(gy_object_is_allocated(where(made + 1)), "a slot that nobody has");
	cycle_flip();
	gy_space_sweep_all();
	gy_space_check();
	cycle_begin();
	mark(made);
	cycle_flip();
	gy_space_sweep_all();
	cr_expect_eq(stats().inuse_bytes, sizeof(struct node));
	gy_space_check();
}

static void child_of_fork(void *argument)
{
	struct gy_gc_thread *other = argument;

	gy_space_fork_prepare(); /* in truth before the fork, by gy_cycle_fork_prepare */
	gy_space_fork_child();
	gy_space_thread_end(other);
	for (unsigned i = 0; i < 1000; i++)
		cr_assert(is_zero(make(&node_type), sizeof(struct node)));
	cycle_begin();
	cycle_flip();
	gy_space_sweep_all();
	gy_space_check();
}

Test(space, fork_child_takes_over_what_others_had)
{
	static struct gy_gc_thread other;
	struct unit_child child;

	gy_gc_self = &other;
	make(&node_type);
	make_leaf(100);
	gy_gc_self = &own_thread;
	make(&node_type);
	child = unit_child_run(child_of_fork, &other);
	cr_expect_eq(child.status, 0, "%s", child.text);
}

/* ------------------------------------------------------------------ where memory lacks */

static void use_up(void *unused)
{
	size_t made = 0, again = 0;

	(void)unused;
	cr_assert_eq(gy_config_set(GY_OPT_memory_limit, 200 << 20), 0);
	world_start();
	gy_cycle_pause(true); /* nobody naps for a coordinator that is not there */
	while (make(&node_type))
		made++;
	fprintf(stderr, "%zu objects", made);
	if (made * sizeof(struct node) < 100 << 20)
		_exit(1);
	for (unsigned i = 0; i < 100; i++)
		if (make(&node_type) || make_leaf(1000000))
			_exit(2);
	gy_space_check();
	cycle_begin();
	cycle_flip();
	while (make(&node_type))
		again++;
	if (again * 100 < made * 99)
		_exit(3);
	cycle_begin();
	cycle_flip();
	gy_space_sweep_all();
	if (!make_leaf(10 << 20))
		_exit(4);
}

static void nothing(void)
{
}

Test(space, memory_lacks_and_comes_back, .init = nothing)
{
	struct unit_child child = unit_child_run(use_up, NULL);

	cr_expect(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0, "%d: %s", child.status,
		  child.text);
}

/* ------------------------------------------------------------------ the pool */

Test(space, free_pages_are_kept_for_a_while)
{
	uint64_t second = 1000000000, now = 100 * second, held;

	fill();
	cycle_begin();
	cycle_flip();
	gy_space_sweep_all();
	held = gy_pool_count();
	cr_expect_geq(held, MANY / 256 - 1);
	fill();
	cr_expect_lt(gy_pool_count(), 10u, "used again");
	cycle_begin();
	cycle_flip();
	gy_space_sweep_all();
	gy_space_age(now);
	gy_space_age(now + second / 2);
	cr_expect_eq(gy_pool_count(), held);
	make_leaf(100);
	gy_space_age(now + second);
	gy_space_age(now + 3 * second / 2);
	cr_expect_geq(gy_pool_count(), held - 2, "a page came or went");
	gy_space_age(now + 5 * second / 2);
	cr_expect_eq(gy_pool_count(), 0u);
	cr_expect_leq(stats().span_bytes, 4 * GY_PAGE_BYTES);
}
