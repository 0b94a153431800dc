/* mark_test.c - the marker on graphs made by hand: layouts, large objects, its contract. */
#include "gc/mark_queue.h"

#include "unit/gc/hand_made.h"

#include <pthread.h>

#define ALL SIZE_MAX

static struct gy_marker *begin(void)
{
	struct gy_marker *marker;

	gy_mark_begin();
	gy_mark_open();
	marker = gy_marker_take();
	cr_assert_not_null(marker);
	return marker;
}

static void finish(struct gy_marker *marker)
{
	cr_assert_eq(gy_mark_drain(marker, ALL) * 0, 0);
	cr_assert(gy_mark_idle());
	gy_marker_give(marker);
	cr_assert(gy_mark_idle());
	cr_assert_not(gy_mark_has_work());
}

TestSuite(mark, .init = made_start);

/* ------------------------------------------------------------------ layouts */

Test(mark, what_a_root_leads_to_is_black_and_the_rest_white)
{
	size_t block = made_block(made_layout(4, 0x3, false, 0, 0), 32, 1);
	void **objects[8];
	struct gy_marker *marker = begin();
	struct gy_mark_stats stats;

	for (unsigned i = 0; i < 8; i++)
		objects[i] = made_object(block, i * 31);
	objects[0][0] = objects[1]; /* 0 -> 1 -> 2 -> 0, 1 -> 3; 4 -> 5; word 2 is no pointer */
	objects[1][0] = objects[2];
	objects[2][1] = objects[0];
	objects[1][1] = objects[3];
	objects[3][2] = objects[6];
	objects[4][0] = objects[5];
	gy_mark_word(marker, (uintptr_t)objects[0]);
	cr_assert_not(gy_mark_idle()); /* MARK-3: it holds a grey object */
	finish(marker);
	for (unsigned i = 0; i < 8; i++) {
		cr_assert_eq(made_is_marked(objects[i]), i < 4, "object %u", i);
		cr_assert_eq(made_is_scanned(objects[i]), i < 4, "object %u", i);
	}
	cr_assert_eq(gy_gc_pages[block].queued, 0);
	gy_mark_read_stats(&stats);
	cr_assert_eq(stats.marked_objects, 4);
	cr_assert_eq(stats.marked_bytes, 4 * 32);
	cr_assert_eq(stats.scanned_objects, 4);
	cr_assert_eq(stats.scanned_bytes, 4 * 32);
}

Test(mark, a_pointer_into_an_object_holds_it_and_others_hold_nothing)
{
	size_t block = made_block(made_layout(6, 0x3f, false, 0, 0), 48, 1);
	size_t wide = made_block(made_layout(500, 1, false, 0, 0), 4000, 3);
	void **a = made_object(block, 0), **b = made_object(block, 1), **c = made_object(wide, 4);
	struct gy_marker *marker = begin();

	a[0] = (char *)b + 47;
	a[1] = (char *)c + 3999;
	a[2] = gy_page_start(block) + 8191; /* the tail: 170 objects, and 32 bytes */
	a[3] = marker;			    /* memory of others */
	a[4] = (void *)1;
	a[5] = (void *)UINTPTR_MAX;
	gy_mark_word(marker, (uintptr_t)a + 5);
	gy_mark_word(marker, 0);
	gy_mark_word(marker, UINTPTR_MAX);
	gy_mark_word(marker, (uintptr_t)gy_page_start(block) - 1);
	gy_mark_word(marker, gy_map.base + (gy_gc_covered << GY_PAGE_SHIFT));
	finish(marker);
	cr_assert(made_is_marked(a));
	cr_assert(made_is_marked(b));
	cr_assert(made_is_marked(c));
	for (unsigned w = 0; w < 4; w++)
		cr_assert_eq(gy_gc_pages[block].marks[w], w ? 0 : 3);
}

Test(mark, SCAN_1_words_of_roots_need_an_allocated_object_and_fields_do_not)
{
	size_t block = made_block(made_layout(4, 0xf, false, 0, 0), 32, 1);
	size_t plain = made_block(gy_layouts[1], 64, 1);
	void **typed = made_object(block, 0), **conservative = made_object(plain, 0);
	char *free1 = gy_page_start(block) + 32, *free2 = free1 + 32, *free3 = free2 + 32;
	void *roots[3] = {typed, conservative, free1};
	struct gy_marker *marker = begin();

	typed[3] = free2;
	conservative[7] = free3;
	gy_mark_range(marker, roots, roots + 3);
	finish(marker);
	cr_assert(made_is_marked(typed));
	cr_assert(made_is_marked(conservative));
	cr_assert_not(made_is_marked(free1));
	cr_assert(made_is_marked(free2));
	cr_assert_not(made_is_marked(free3));
}

Test(mark, a_range_is_read_by_aligned_words)
{
	size_t block = made_block(made_layout(4, 0, false, 0, 0), 32, 1);
	void **objects[4];
	uintptr_t words[6] = {0};
	struct gy_marker *marker = begin();

	for (unsigned i = 0; i < 4; i++)
		objects[i] = made_object(block, i);
	for (unsigned i = 0; i < 4; i++)
		words[i + 1] = (uintptr_t)objects[i];
	gy_mark_range(marker, (char *)words + 9, (char *)&words[4] + 7); /* words 2 and 3 */
	gy_mark_range(marker, &words[4], &words[4]);
	gy_mark_range(marker, (char *)&words[4] + 1, (char *)&words[4] + 8);
	finish(marker);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(made_is_marked(objects[i]), i == 1 || i == 2, "object %u", i);
}

Test(mark, REC_4_leaves_are_marked_and_never_queued)
{
	size_t leaves = made_block(gy_layouts[0], 64, 1);
	size_t typed = made_block(made_layout(4, 0, false, 0, 0), 32, 1); /* without pointers */
	void **leaf = made_object(leaves, 3), **other = made_object(leaves, 4);
	void **bare = made_object(typed, 0);
	struct gy_marker *marker = begin();

	leaf[0] = other;
	gy_mark_word(marker, (uintptr_t)leaf);
	gy_mark_word(marker, (uintptr_t)bare);
	cr_assert(gy_mark_idle());
	finish(marker);
	cr_assert(made_is_marked(leaf));
	cr_assert(made_is_marked(bare));
	cr_assert_not(made_is_scanned(leaf));
	cr_assert_not(made_is_marked(other));
	cr_assert_eq(gy_gc_pages[leaves].queued, 0);
}

Test(mark, arrays_and_tails_are_scanned_to_their_ends)
{
	/* elements of 3 words, the last a pointer: 42 in 1024 bytes, and 2 words that are none */
	size_t arrays = made_block(made_layout(3, 0x4, true, 0, 0), 1024, 1);
	/* head of 2 words, the 2nd a pointer; elements of 2 words, the 1st one: 63 elements */
	size_t tails = made_block(made_layout(2, 0x2, false, 2, 0x1), 1024, 1);
	size_t leaves = made_block(gy_layouts[0], 32, 1);
	void **array = made_object(arrays, 1), **tail = made_object(tails, 2);
	struct gy_marker *marker = begin();

	for (unsigned i = 0; i < 128; i++) {
		array[i] = made_object(leaves, i);
		tail[i] = made_object(leaves, 128 + i);
	}
	gy_mark_word(marker, (uintptr_t)array);
	gy_mark_word(marker, (uintptr_t)tail);
	finish(marker);
	for (unsigned i = 0; i < 128; i++) {
		bool of_tail = i == 1 || (i >= 2 && i % 2 == 0);

		cr_assert_eq(made_is_marked(array[i]), i % 3 == 2 && i < 126, "word %u", i);
		cr_assert_eq(made_is_marked(tail[i]), of_tail, "word %u", i);
	}
}

Test(mark, long_maps_are_followed_word_by_word)
{
	static uint64_t map[8];
	struct gyre_type type = {.fingerprint = 1, .bytes = 4000, .alignment = 8, .name = "wide",
				 .field_names = "", .long_map = map};
	size_t leaves = made_block(gy_layouts[0], 32, 2);
	struct gy_marker *marker = begin();
	uint64_t random = 1;
	const struct gy_layout *layout;
	void **object;

	for (unsigned i = 0; i < 7; i++)
		map[i] = unit_random(&random);
	map[7] = unit_random(&random) & ((1ull << 52) - 1); /* 500 words */
	layout = gy_layout_of(&type, false);
	object = made_object(made_block(layout, 4096, 1), 1);
	for (unsigned i = 0; i < 500; i++)
		object[i] = made_object(leaves, i % 512 / 2);
	for (unsigned i = 0; i < 500; i += 2) /* both of a pair, or the oracle is simple: */
		object[i + 1] = object[i];
	gy_mark_word(marker, (uintptr_t)object);
	finish(marker);
	for (unsigned i = 0; i < 500; i += 2)
		cr_assert_eq(made_is_marked(object[i]),
			     (map[i / 64] >> i % 64 & 3) != 0, "word %u", i);
}

Test(mark, objects_of_16_bytes_one_by_one)
{
	enum { CELLS = 512 * 40 };
	const struct gy_layout *layout = made_layout(2, 0x3, false, 0, 0);
	static void **cells[CELLS];
	struct gy_marker *marker = begin();
	struct gy_mark_stats stats;

	for (unsigned i = 0; i < CELLS; i++) {
		static size_t block;

		if (i % 512 == 0)
			block = made_block(layout, 16, 1);
		cells[i] = made_object(block, i % 512);
	}
	for (unsigned i = 1; i < CELLS - 7; i++) /* a binary tree */
		cells[i / 2][i % 2] = cells[i];
	gy_mark_word(marker, (uintptr_t)cells[0] + 15);
	finish(marker);
	for (unsigned i = 0; i < CELLS; i++)
		cr_assert_eq(made_is_marked(cells[i]), i < CELLS - 7, "cell %u", i);
	gy_mark_read_stats(&stats);
	cr_assert_eq(stats.scanned_objects, CELLS - 7);
	cr_assert_eq(stats.marked_bytes, (CELLS - 7) * 16);
}

/* ------------------------------------------------------------------ large objects */

#define LARGE_PAGES 100u /* 6.25 pieces */
#define LARGE_WORDS (LARGE_PAGES * GY_PAGE_BYTES / 8)

/* An object of this layout whose every word points to a leaf of its own; which were found? */
static void check_large(const struct gy_layout *layout, bool (*is_pointer)(size_t word))
{
	void **large = made_object(made_block(layout, 0, LARGE_PAGES), 0);
	struct gy_marker *marker = begin();
	struct gy_mark_stats stats;
	size_t leaves = 0;

	for (size_t i = 0; i < LARGE_WORDS; i++) {
		if (i % 256 == 0)
			leaves = made_block(gy_layouts[0], 32, 1);
		large[i] = made_object(leaves, i % 256);
	}
	gy_mark_word(marker, (uintptr_t)&large[LARGE_WORDS - 1]);
	finish(marker);
	for (size_t i = 0; i < LARGE_WORDS; i++)
		cr_assert_eq(made_is_marked(large[i]), is_pointer(i), "word %zu", i);
	gy_mark_read_stats(&stats);
	cr_assert_eq(stats.scanned_bytes, LARGE_WORDS * 8);
	cr_assert_eq(stats.scanned_objects, 1);
}

static bool every_word(size_t word)
{
	return word < LARGE_WORDS;
}

static bool of_7(size_t word)
{
	return word / 7 < LARGE_WORDS / 7 && (word % 7 == 0 || word % 7 == 5);
}

static bool of_tail(size_t word)
{
	size_t in_tail = word - 5;

	return word == 3 ||
	       (word >= 5 && in_tail / 3 < (LARGE_WORDS - 5) / 3 && in_tail % 3 == 1);
}

static bool of_wide(size_t word)
{
	return word % 5 == 0 && word < 50000;
}

Test(mark, SCAN_3_pieces_of_a_conservative_object)
{
	check_large(gy_layouts[1], every_word);
}

Test(mark, SCAN_3_pieces_of_an_array_cut_through_elements)
{
	check_large(made_layout(7, 1 | 1 << 5, true, 0, 0), of_7);
}

Test(mark, SCAN_3_pieces_of_a_tail)
{
	check_large(made_layout(5, 1 << 3, false, 3, 1 << 1), of_tail);
}

Test(mark, SCAN_3_pieces_of_one_map)
{
	static uint64_t map[50000 / 64 + 1];
	struct gyre_type type = {.fingerprint = 1, .bytes = 50000 * 8, .alignment = 8,
				 .name = "wide", .field_names = "", .long_map = map};

	for (size_t i = 0; i < 50000; i += 5)
		map[i / 64] |= 1ull << i % 64;
	check_large(gy_layout_of(&type, false), of_wide);
}

/* ------------------------------------------------------------------ parts of the contract */

Test(mark, fields_of_an_object_are_marked_without_it)
{
	size_t block = made_block(made_layout(4, 0x3, false, 0, 0), 32, 1);
	void **a = made_object(block, 0), **b = made_object(block, 1), **c = made_object(block, 2);
	void **large = made_object(made_block(gy_layouts[1], 0, 40), 0);
	struct gy_marker *marker = begin();

	a[1] = b;
	large[40000] = c;
	gy_mark_fields(marker, a);
	gy_mark_fields(marker, large);
	gy_mark_fields(marker, marker);
	finish(marker);
	cr_assert_not(made_is_marked(a));
	cr_assert(made_is_scanned(b));
	cr_assert_not(made_is_marked(large));
	cr_assert(made_is_scanned(c));
}

Test(mark, a_buffer_of_old_pointers_is_shaded)
{
	size_t block = made_block(made_layout(4, 0x3, false, 0, 0), 32, 1);
	void **a = made_object(block, 0), **b = made_object(block, 1);
	void *buffer[] = {NULL, a, a, &block, gy_page_start(block) + 64};
	struct gy_marker *marker = begin();

	a[0] = b;
	gy_mark_buffer(marker, buffer, ARRAY_SIZE(buffer));
	finish(marker);
	cr_assert(made_is_scanned(a));
	cr_assert(made_is_scanned(b));
	cr_assert_not(made_is_marked(buffer[4])); /* not allocated: an old entry may be stale */
}

/* A list through many blocks: never more than one block is grey. */
static void **made_list(unsigned count)
{
	const struct gy_layout *layout = made_layout(4, 0x3, false, 0, 0);
	void **first = NULL;

	for (unsigned i = 0; i < count; i++) {
		void **object = made_object(made_block(layout, 32, 1), i % 256);

		object[0] = first;
		first = object;
	}
	return first;
}

Test(mark, MARK_2_a_budget_ends_a_drain_and_nothing_is_lost)
{
	void **first = made_list(1000);
	struct gy_marker *marker = begin(), *other = gy_marker_take();
	struct gy_mark_stats stats;
	unsigned drains = 1;

	gy_mark_word(marker, (uintptr_t)first);
	cr_assert_geq(gy_mark_drain(marker, 320), 320);
	cr_assert_not(gy_mark_idle());
	gy_marker_give(marker); /* publishes: another goes on */
	cr_assert(gy_mark_has_work());
	for (; !gy_mark_idle(); drains++)
		cr_assert_leq(gy_mark_drain(other, 320), 320 + 256 * 32);
	cr_assert_gt(drains, 80);
	gy_marker_give(other);
	gy_mark_read_stats(&stats);
	cr_assert_eq(stats.scanned_objects, 1000);
}

Test(mark, a_cycle_that_was_given_up_leaves_no_trace)
{
	void **first = made_list(100), **cells = made_object(
		made_block(made_layout(2, 0x3, false, 0, 0), 16, 1), 0);
	struct gy_marker *marker = begin();

	cells[0] = first;
	gy_mark_word(marker, (uintptr_t)cells);
	gy_mark_word(marker, (uintptr_t)first[0]);
	gy_marker_give(marker);
	cr_assert(gy_mark_has_work());
	for (void **object = first; object; object = object[0])
		made_whiten(made_find(object).block);
	made_whiten(made_find(cells).block);

	marker = begin();
	cr_assert_not(gy_mark_has_work());
	for (void **object = first; object; object = object[0])
		cr_assert_eq(gy_gc_pages[made_find(object).block].queued, 0);
	gy_mark_word(marker, (uintptr_t)cells);
	finish(marker);
	for (void **object = first; object; object = object[0])
		cr_assert(made_is_scanned(object));
}

Test(mark, BAR_5_closing_asks_that_nobody_was_busy)
{
	size_t block = made_block(made_layout(4, 0x3, false, 0, 0), 32, 1);
	struct gy_marker *marker = begin(), *other;
	uint64_t activity, later;

	cr_assert(gy_mark_quiet(&activity));
	gy_mark_word(marker, (uintptr_t)made_object(block, 0));
	cr_assert_not(gy_mark_quiet(&later));
	cr_assert_not(gy_mark_close(activity));
	gy_mark_drain(marker, ALL);
	cr_assert_not(gy_mark_close(activity)); /* idle again, but was not */
	cr_assert(gy_mark_quiet(&activity));
	other = gy_marker_take_open();
	cr_assert_not_null(other);
	cr_assert_not(gy_mark_close(activity)); /* busy, although it has nothing yet */
	gy_marker_give(other);
	cr_assert_not(gy_mark_close(activity));
	cr_assert(gy_mark_quiet(&activity));
	cr_assert(gy_mark_close(activity));
	cr_assert_null(gy_marker_take_open());
	gy_mark_open();
	other = gy_marker_take_open();
	cr_assert_not_null(other);
	gy_marker_give(other);
	gy_marker_give(marker);
}

Test(mark, one_that_waits_is_woken_by_work_and_by_the_end)
{
	struct gy_marker *marker = begin();
	uint64_t before = unit_now_ms();

	cr_assert_not(gy_mark_wait(10000000000u)); /* all idle: at once */
	cr_assert_lt(unit_now_ms() - before, 5000);
	gy_mark_become_busy(marker);
	before = unit_now_ms();
	cr_assert_not(gy_mark_wait(20000000u)); /* somebody is busy, and shares nothing */
	cr_assert_geq(unit_now_ms() - before, 19);
	gy_mark_become_idle(marker);
	gy_marker_give(marker);
}

Test(mark, a_forked_child_has_all_markers_back)
{
	void **first = made_list(10);
	struct gy_marker *marker = begin();

	gy_mark_word(marker, (uintptr_t)first);
	gy_mark_fork_child(); /* as in the child: the thread that had it is not there */
	cr_assert(gy_mark_idle());
	cr_assert_eq(gy_gc_pages[made_find(first).block].queued, 0);
	made_whiten(made_find(first).block);
	marker = begin();
	gy_mark_word(marker, (uintptr_t)first);
	finish(marker);
	cr_assert(made_is_scanned(first[0]));
}
