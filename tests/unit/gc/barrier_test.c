/* barrier_test.c - what each kind of store hands over, how buffers empty, when marking may end, and
 * where the slow half's sequence goes back to. (The inline one: tests/collector/fixup.test.)
 *
 * Phases are set by hand: no cycle runs.
 */
#include "base/config.h"
#include "gc/thread.h"

#include "unit/gc/hand_made.h"

#include <pthread.h>

#define OBJECTS 1024u

extern const char gy_barrier_step_end[];
bool gy_barrier_step(struct gy_barrier *barrier, void **slot, void *value);

static void **objects[OBJECTS]; /* of 4 pointers each */
static struct gy_barrier *own;	/* of this thread */

static void start(void)
{
	const struct gy_layout *layout;
	size_t block = 0;

	made_start();
	cr_assert_not_null(gy_gc_thread());
	own = &gy_gc_self->barrier;
	layout = made_layout(4, 0xf, false, 0, 0);
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (i % 256 == 0)
			block = made_block(layout, 32, 1);
		objects[i] = made_object(block, i % 256);
	}
}

/* As the pause does. */
static struct gy_marker *begin(void)
{
	struct gy_marker *marker = gy_marker_take();

	CHECK(marker); /* in forked children too */
	gy_mark_begin(); /* sees to it that there is one more */
	gy_barrier_begin_cycle();
	gyre_gc_marking = 1;
	return marker;
}

TestSuite(barrier, .init = start);

Test(barrier, an_idle_store_hands_nothing_over)
{
	objects[0][1] = objects[1];
	gyre_set(&objects[0][1], objects[2]);
	gyre_set(&objects[0][1], NULL);
	cr_assert_null(objects[0][1]);
	cr_assert_eq(own->count, 0);
	cr_assert_null(own->buffer);
	gy_barrier_exchange(&objects[0][1], objects[1]);
	cr_assert_eq(own->count, 0);
}

Test(barrier, BAR_2_a_store_while_marking_hands_over_what_it_overwrites)
{
	struct gy_marker *marker = begin();

	objects[0][0] = objects[1];
	gyre_set(&objects[0][0], objects[2]);
	cr_assert_eq(objects[0][0], objects[2]);
	cr_assert_eq(own->count, 1);
	cr_assert_eq(own->buffer[0], objects[1]);
	gyre_set(&objects[0][1], objects[2]); /* NULL overwritten: nothing */
	cr_assert_eq(objects[0][1], objects[2]);
	cr_assert_eq(own->count, 1);
	gyre_set(&objects[0][0], NULL);
	cr_assert_null(objects[0][0]);
	cr_assert_eq(own->count, 2);
	cr_assert_eq(own->buffer[1], objects[2]);
	cr_assert_eq(gy_barrier_shades(), 2);

	cr_assert(gy_barrier_drain_all(marker));
	cr_assert(made_is_marked(objects[1]));
	cr_assert(made_is_marked(objects[2]));
	cr_assert_not(made_is_marked(objects[0]));
	cr_assert_not(gy_barrier_drain_all(marker)); /* looked at already */
	gyre_set(&objects[0][1], NULL);
	cr_assert_not(gy_barrier_drain_all(marker)); /* marked already */
	gy_mark_drain(marker, SIZE_MAX);
	gy_marker_give(marker);
}

Test(barrier, a_full_buffer_is_marked_and_starts_anew)
{
	struct gy_marker *marker = begin();
	unsigned marked = 0;

	objects[0][0] = objects[1];
	for (unsigned i = 2; i < OBJECTS; i++)
		gyre_set(&objects[0][0], objects[i]);
	cr_assert_leq(own->count, GY_BARRIER_SLOTS);
	cr_assert_eq(gy_barrier_shades(), OBJECTS - 2);
	for (unsigned i = 0; i < OBJECTS; i++)
		marked += made_is_marked(objects[i]);
	cr_assert_eq(marked, OBJECTS - 2 - own->count);
	cr_assert(gy_mark_has_work()); /* the flush has shared what it marked */
	cr_assert(gy_barrier_drain_all(marker));
	for (unsigned i = 1; i < OBJECTS - 1; i++)
		cr_assert(made_is_marked(objects[i]), "object %u", i);
	cr_assert_not(made_is_marked(objects[OBJECTS - 1]));
	gy_marker_give(marker);
}

Test(barrier, BAR_3_termination_asks_each_buffer)
{
	struct gy_marker *marker = begin();

	gy_mark_word(marker, (uintptr_t)objects[0]);
	cr_assert_not(gy_barrier_terminate(marker)); /* grey */
	gy_mark_drain(marker, SIZE_MAX);
	objects[1][0] = objects[2];
	gyre_set(&objects[1][0], NULL);
	cr_assert_not(gy_barrier_terminate(marker)); /* white in a buffer */
	cr_assert(made_is_marked(objects[2]));
	gy_mark_drain(marker, SIZE_MAX);
	gyre_set(&objects[0][0], objects[2]);
	gyre_set(&objects[0][0], NULL); /* black in a buffer */
	cr_assert(gy_barrier_terminate(marker));
	gy_marker_give(marker);
}

Test(barrier, BAR_5_after_the_end_buffers_are_dropped)
{
	struct gy_marker *marker = begin();

	cr_assert(gy_barrier_terminate(marker));
	objects[0][0] = objects[1];
	for (unsigned i = 2; i < OBJECTS; i++)
		gyre_set(&objects[0][0], objects[i]);
	for (unsigned i = 0; i < OBJECTS; i++)
		cr_assert_not(made_is_marked(objects[i]), "object %u", i);
	cr_assert_not(gy_barrier_shade(objects[5]));
	cr_assert_not(made_is_marked(objects[5]));
	cr_assert_gt(own->count, 0);
	gy_marker_give(marker);

	marker = begin(); /* of before: nothing of it is looked at */
	cr_assert(gy_barrier_terminate(marker));
	cr_assert_not(made_is_marked(objects[1000]));
	gy_marker_give(marker);
}

Test(barrier, one_object_is_shaded_at_once)
{
	struct gy_marker *marker = begin();

	cr_assert(gy_barrier_shade(objects[3]));
	cr_assert(gy_barrier_shade(&marker)); /* not ours */
	cr_assert(made_is_marked(objects[3]));
	cr_assert_not(gy_mark_idle());
	cr_assert_not(gy_barrier_terminate(marker));
	gy_mark_drain(marker, SIZE_MAX);
	cr_assert(made_is_scanned(objects[3]));
	cr_assert(gy_barrier_terminate(marker));
	gy_marker_give(marker);
}

Test(barrier, exchange_and_compare_and_swap_hand_over_what_they_replace)
{
	struct gy_marker *marker = begin();
	void *expected = objects[7];

	objects[0][0] = objects[1];
	cr_assert_eq(gy_barrier_exchange(&objects[0][0], objects[2]), objects[1]);
	cr_assert_eq(objects[0][0], objects[2]);
	cr_assert(gy_barrier_drain_all(marker));
	cr_assert(made_is_marked(objects[1]));

	cr_assert_not(gy_barrier_compare_exchange(&objects[0][0], &expected, objects[3]));
	cr_assert_eq(expected, objects[2]);
	cr_assert_eq(objects[0][0], objects[2]);
	cr_assert(gy_barrier_compare_exchange(&objects[0][0], &expected, objects[3]));
	cr_assert_eq(expected, objects[2]);
	cr_assert_eq(objects[0][0], objects[3]);
	cr_assert(gy_barrier_drain_all(marker));
	cr_assert(made_is_marked(objects[2]));
	expected = NULL;
	cr_assert(gy_barrier_compare_exchange(&objects[0][1], &expected, objects[4]));
	cr_assert_eq(objects[0][1], objects[4]);
	cr_assert_eq(gy_barrier_exchange(&objects[0][2], objects[4]), NULL);
	gy_mark_drain(marker, SIZE_MAX);
	gy_marker_give(marker);
}

Test(barrier, copies_may_overlap_either_way)
{
	for (unsigned marking = 0; marking < 2; marking++) {
		void *from[64], *to[64];
		struct gy_marker *marker = marking ? begin() : NULL;

		for (unsigned i = 0; i < 64; i++)
			from[i] = to[i] = objects[i];
		gy_barrier_copy(from + 10, from, 54);
		memmove(to + 10, to, 54 * sizeof(*to));
		cr_assert_arr_eq(from, to, sizeof(to));
		gy_barrier_copy(from, from + 3, 61);
		memmove(to, to + 3, 61 * sizeof(*to));
		cr_assert_arr_eq(from, to, sizeof(to));
		gy_barrier_copy(from, objects[100] ? (void *const *)to : NULL, 0);
		cr_assert_arr_eq(from, to, sizeof(to));
		cr_assert_eq(own->count, marking ? 54 + 61 : 0);
		if (marker)
			gy_marker_give(marker);
	}
}

static void *store_and_end(void *argument)
{
	(void)argument;
	gyre_set(&objects[0][0], objects[2]);
	return NULL;
}

Test(barrier, a_thread_that_ends_hands_over_what_it_has)
{
	struct gy_marker *marker = begin();
	uint64_t before = gy_barrier_shades();
	pthread_t thread;

	for (unsigned i = 0; i < 100; i++) { /* buffers are used again: no memory grows */
		objects[0][0] = objects[i + 3];
		cr_assert_eq(pthread_create(&thread, NULL, store_and_end, NULL), 0);
		pthread_join(thread, NULL);
		cr_assert(made_is_marked(objects[i + 3]));
	}
	cr_assert_eq(gy_barrier_shades(), before + 100);
	gy_mark_drain(marker, SIZE_MAX);
	gy_marker_give(marker);
}

/* ------------------------------------------------------------------ no memory */

static void without_memory(void *unused)
{
	struct gy_marker *marker = begin();
	void *expected = objects[9];
	struct gy_object object;

	(void)unused;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	gy_option_values[GY_OPT_fault_call] = 1; /* mmap */
	while (gy_metadata_take(4096))
		;
	child_check(!own->buffer);
	objects[0][0] = objects[1];
	objects[0][1] = objects[9];
	for (unsigned i = 2; i < 1000; i++)
		gyre_set(&objects[0][0], objects[i]);
	child_check(objects[0][0] == objects[999]);
	child_check(gy_barrier_compare_exchange(&objects[0][1], &expected, NULL));
	child_check(!own->buffer);
	for (unsigned i = 1; i < 999; i++)
		child_check(gy_object_find((uintptr_t)objects[i], &object) &&
			    gy_object_is_marked(object));
	while (!gy_mark_idle()) { /* no chunk to share by: work changes hands with its marker */
		gy_marker_give(marker);
		marker = gy_marker_take();
		child_check(marker);
		gy_mark_drain(marker, SIZE_MAX);
	}
	child_check(gy_barrier_terminate(marker));
}

Test(barrier, without_memory_for_a_buffer_each_pointer_is_marked_at_once)
{
	struct unit_child child = unit_child_run(without_memory, NULL);

	unit_assert_exit(child, 0);
}

/* ------------------------------------------------------------------ the slow half's sequence */

Test(barrier, BAR_2_an_interrupted_sequence_begins_again)
{
	uintptr_t begin = (uintptr_t)gy_barrier_step, end = (uintptr_t)gy_barrier_step_end;

	cr_assert(end > begin && end < begin + 64);
	for (uintptr_t pc = begin - 16; pc < end + 16; pc++)
		cr_assert_eq(gy_barrier_fixup(pc, 0, 0), pc >= begin && pc < end ? begin : 0,
			     "at %td of %td", (ptrdiff_t)(pc - begin), (ptrdiff_t)(end - begin));
	/* The last instruction in it is the store; after it there is no way back. */
	cr_assert(!memcmp((const void *)(end - 3), "\x48\x89\x16", 3));
}

Test(barrier, the_fixup_reads_within_the_text_only)
{
	static const uint8_t code[] = {0x0f, 0x1f, 0x80, 0x47, 0x79, 0x72, 0x65, /* nopl */
				       0x83, 0x3d, 1, 2, 3, 4, 0,	       /* cmpl */
				       0x75, 9,				       /* jne */
				       0x48, 0x89, 0x0a, 0x90};		       /* mov; nop */
	char *pages = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *low = (uint8_t *)pages + 4096, *at;
	uintptr_t start;

	cr_assert_neq((void *)pages, MAP_FAILED);
	cr_assert_eq(mprotect(low, 4096, PROT_READ | PROT_WRITE), 0);
	memcpy(low, code, sizeof(code)); /* at the very begin, and at the very end */
	at = low + 4096 - sizeof(code) + 1;
	memcpy(at, code, sizeof(code) - 1);
	for (unsigned i = 0; i < 2; i++, low = at) {
		start = (uintptr_t)low;
		for (uintptr_t pc = start; pc < start + sizeof(code) - i; pc++) {
			bool inside = pc == start + 7 || pc == start + 14 || pc == start + 16;

			cr_assert_eq(gy_barrier_fixup(pc, (uintptr_t)pages + 4096,
						      (uintptr_t)pages + 8192),
				     inside ? start : 0, "at %td", (ptrdiff_t)(pc - start));
		}
	}
	/* As the handler calls it: it finds out about the page before. */
	start = (uintptr_t)pages + 4096;
	cr_assert_eq(gy_world_fixup(start + 16), start);
	cr_assert_eq(gy_world_fixup(start + 17), 0);
	cr_assert_eq(gy_world_fixup(start + 2), 0);
	cr_assert_eq(mprotect(pages, 4096, PROT_READ | PROT_WRITE), 0);
	memcpy(pages + 4096 - 14, code, sizeof(code)); /* the jne is the page's first */
	cr_assert_eq(gy_world_fixup(start), start - 14);
	cr_assert_eq(gy_world_fixup(start + 2), start - 14);
	cr_assert_eq(gy_world_fixup(start + 5), 0);
	for (unsigned before = 1; before < sizeof(code); before++) { /* in the first page */
		start = (uintptr_t)pages + 4096 - before;
		memcpy((void *)start, code, sizeof(code));
		for (unsigned i = 0; i < sizeof(code); i++)
			cr_assert_eq(gy_world_fixup(start + i),
				     i == 7 || i == 14 || i == 16 ? start : 0,
				     "at %u, %u before the page's end", i, before);
	}
	munmap(pages, 3 * 4096);
}
