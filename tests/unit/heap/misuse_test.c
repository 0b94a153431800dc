/* misuse_test.c - every kind of misuse, in a child: told in one line, then the abort, or on it
 * goes. */
#include "heap/misuse.h"

#include "base/config.h"
#include "heap/heap.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample] = 0;
}

TestSuite(misuse, .init = quiet);

enum { FREE, FAST_FREE, FREE_SIZED, REALLOC, USABLE, WAYS };

static void do_wrong(int way, void *block)
{
	switch (way) {
	case FREE:
		gy_heap_free(block, 0x1234);
		break;
	case FAST_FREE:
		unit_free(block);
		break;
	case FREE_SIZED:
		gy_heap_free_sized(block, 60, 0, 0x1234);
		break;
	case REALLOC:
		child_check(!gy_heap_realloc(block, 100, 0x1234));
		break;
	default:
		child_check(gy_heap_usable_size(block, 0x1234) == 0);
		break;
	}
}

struct misuse {
	int way, what;
	bool carry_on;
	size_t bytes;
};

enum { TWICE, TWICE_APART, TWICE_FLUSHED, NOT_OURS, ON_STACK, INSIDE, INSIDE_LARGE, BEHIND };

static void misuse(void *argument)
{
	const struct misuse *wrong = argument;
	static char global[64] __attribute__((aligned(16)));
	char local[64] __attribute__((aligned(16))), *block = gy_heap_alloc(wrong->bytes, 0);
	void *neighbours[40], *wrong_pointer = block;

	gy_option_values[GY_OPT_on_misuse] = wrong->carry_on;
	for (unsigned i = 0; i < 40; i++)
		neighbours[i] = gy_heap_alloc(wrong->bytes, 0); /* so that the span stays */
	switch (wrong->what) {
	case TWICE:
		gy_heap_free(block, 0);
		break;
	case TWICE_APART:
		gy_heap_free(block, 0);
		for (unsigned i = 0; i < 20; i++)
			gy_heap_free(neighbours[i], 0);
		break;
	case TWICE_FLUSHED:
		gy_heap_free(block, 0);
		gy_heap_flush();
		break;
	case NOT_OURS:
		wrong_pointer = global;
		break;
	case ON_STACK:
		wrong_pointer = local;
		break;
	case INSIDE:
		wrong_pointer = block + 16;
		break;
	case INSIDE_LARGE:
		wrong_pointer = block + GY_PAGE_BYTES;
		break;
	default:
		wrong_pointer = (void *)(gy_map.base + gy_map.page_count * GY_PAGE_BYTES + 64);
		break;
	}
	do_wrong(wrong->way, wrong_pointer);
	child_check(gy_misuse_count() == 1);
	gy_heap_check();
	/* and the heap still works */
	for (unsigned i = 0; i < 1000; i++)
		gy_heap_free(gy_heap_alloc(i * 50, 0), 0);
	gy_heap_check();
}

static void expect(int way, int what, size_t bytes, const char *text)
{
	for (unsigned carry_on = 0; carry_on < 2; carry_on++) {
		struct misuse wrong = {way, what, carry_on, bytes};
		struct unit_child child = unit_child_run(misuse, &wrong);

		if (carry_on)
			unit_assert_exit(child, 0);
		else
			unit_assert_abort(child, text);
		cr_assert_not_null(strstr(child.text, text),
				   "way %d, what %d: expected '%s' in: %s", way, what, text,
				   child.text);
		cr_assert_eq(strncmp(child.text, "gyre: ", 6), 0);
		cr_assert_eq(strchr(child.text, '\n'), child.text + child.length - 1);
		if (way != FAST_FREE)
			cr_assert_not_null(strstr(child.text, "[called from 0x1234]"));
	}
}

static const char *const verbs[WAYS] = {"free", "free", "free", "realloc", "malloc_usable_size"};

Test(misuse, freed_twice)
{
	for (int way = FREE; way < WAYS; way++) {
		for (int what = TWICE; what <= TWICE_FLUSHED; what++) {
			if (way <= FREE_SIZED)
				expect(way, what, 64, "double free of 0x");
			else
				expect(way, what, 64,
				       ", which was freed already (a block of 64 bytes)");
		}
	}
	expect(FREE, TWICE, 32768, "double free of 0x");
	expect(FREE, TWICE, 100000, "double free of 0x");
	expect(FREE, TWICE, 5000000, "double free of 0x");
	expect(REALLOC, TWICE, 5000000, "realloc of 0x");
}

Test(misuse, not_a_block_of_this_heap)
{
	static const int wheres[] = {NOT_OURS, ON_STACK, BEHIND};

	for (int way = FREE; way < WAYS; way++) {
		char text[100];

		for (unsigned i = 0; i < ARRAY_SIZE(wheres); i++)
			expect(way, wheres[i], 64, ", which is not a block of this heap");
		snprintf(text, sizeof(text), ": %s of 0x", verbs[way]);
		expect(way, NOT_OURS, 64, text);
	}
}

Test(misuse, inside_of_a_block)
{
	for (int way = FREE; way < WAYS; way++) {
		expect(way, INSIDE, 64, ", which is 16 bytes into a block of 64 bytes at 0x");
		if (way != FREE_SIZED) /* where the size that was claimed is wrong first of all */
			expect(way, INSIDE_LARGE, 100000,
			       ", which is 8192 bytes into a block of 106496 bytes at 0x");
	}
}

struct claim {
	size_t bytes, claimed, alignment;
	bool wrong;
};

static void claims(void *argument)
{
	const struct claim *claim = argument;

	gy_heap_free_sized(gy_heap_alloc(claim->bytes, 0), claim->claimed, claim->alignment,
			   0x1234);
}

Test(misuse, sizes_that_cannot_be)
{
	static const struct claim cases[] = {
		{64, 128, 0, true},        {64, 65, 0, true},          {64, 32, 0, true},
		{64, 64, 0, false},        {64, 60, 0, false},         {100000, 64, 0, true},
		{100000, 200000, 0, true}, {100000, 100000, 0, false}, {64, 0, 0, true},
		{1, 0, 0, false},          {0, 0, 0, false},           {40000, 33000, 0, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct claim claim = cases[i];
		struct unit_child child = unit_child_run(claims, &claim);

		if (cases[i].wrong) {
			char text[80];

			snprintf(text, sizeof(text), " with %zu bytes, but the block has ",
				 claim.claimed);
			unit_assert_abort(child, "sized free of 0x");
			cr_assert_not_null(strstr(child.text, text), "%s", child.text);
		} else {
			unit_assert_exit(child, 0);
		}
	}
}

Test(misuse, alignments_that_cannot_be)
{
	static const struct claim fine = {64, 64, 16, false},
				  wrong = {80, 80, (size_t)1 << 30, true};
	struct claim claim = fine;
	struct unit_child child = unit_child_run(claims, &claim);

	unit_assert_exit(child, 0);
	claim = wrong;
	child = unit_child_run(claims, &claim);
	/* a size that the block may have with such an alignment, at a place that has it not */
	unit_assert_abort(child, "aligned free of 0x");
	cr_assert_not_null(strstr(child.text, "with alignment 1073741824"));
}

/* Every offset of a block, in every way of freeing, is told from its start. */
static void interior(void *argument)
{
	size_t bytes = *(const size_t *)argument, count = 0;
	char *block = gy_heap_alloc(bytes, 0);

	gy_option_values[GY_OPT_on_misuse] = 1;
	close(STDERR_FILENO);
	for (size_t offset = 1; offset < bytes; offset += offset < 200 ? 1 : 101) {
		unit_free(block + offset);
		gy_heap_free(block + offset, 0);
		count += 2;
	}
	if (gy_misuse_count() != count)
		_exit(2);
	gy_heap_free(block, 0);
	if (gy_misuse_count() != count)
		_exit(3);
	gy_heap_check();
}

Test(misuse, no_interior_pointer_passes)
{
	static const size_t sizes[] = {16, 48, 64, 112, 1000, 5000, 32768, 40000};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t bytes = sizes[i];
		struct unit_child child = unit_child_run(interior, &bytes);

		unit_assert_exit(child, 0);
	}
}

/* The start of the tail behind a span's last block looks like one more block's start. */
static void tail(void *argument)
{
	unsigned c = gy_class_of_request(1040);
	char *block = gy_heap_alloc(1040, 0);
	struct gy_span *span = gy_span_of_page(gy_page_of(block));
	char *behind = gy_span_start(span) + (size_t)span->objects * gy_size_classes[c].bytes;

	child_check(behind < gy_span_start(span) + gy_span_bytes(span));
	if (*(const int *)argument == 0)
		gy_heap_free(behind, 0);
	else if (*(const int *)argument == 1)
		gy_heap_usable_size(behind, 0);
	else
		gy_heap_realloc(behind, 2000, 0);
}

Test(misuse, the_tail_of_a_span_is_no_block)
{
	for (int how = 0; how < 3; how++) {
		struct unit_child child = unit_child_run(tail, &how);

		unit_assert_abort(child, "of 0x");
	}
}

/* Samples are checked as other blocks are: apart from others, in place, large. */
static const size_t sample_sizes[] = {64, 5000, 8192, 20000, 100000};

struct sample_misuse {
	size_t bytes;
	unsigned how;
};

static bool is_sample(const void *block, size_t bytes)
{
	size_t page = gy_page_of(block);

	return bytes > GY_CLASS_MAX_BYTES ? gy_span_of_page(page)->sampled
					  : gy_map.page_info[page].sampled != 0;
}

static char *sample_of(size_t bytes)
{
	char *block = NULL;

	gy_option_values[GY_OPT_sample] = 1;
	gy_option_values[GY_OPT_sample_stack] = 3;
	for (unsigned i = 0; i < 100; i++) { /* until the countdown that was set before is over */
		if (bytes <= GY_CLASS_MAX_BYTES)
			gy_thread_cache_rearm(gy_tls.cache == GY_NO_CACHE ? gy_thread_cache_attach()
									  : gy_tls.cache,
					      gy_class_of_request(bytes));
		block = gy_heap_alloc(bytes, 0);
		if (is_sample(block, bytes))
			break;
	}
	child_check(is_sample(block, bytes));
	return block;
}

static void misuse_sample(void *argument)
{
	const struct sample_misuse *misuse = argument;
	char *block = sample_of(misuse->bytes), *neighbour = sample_of(misuse->bytes);

	child_check(block && neighbour && block != neighbour);
	switch (misuse->how) {
	case 0:
		gy_heap_free(block, 0);
		gy_heap_free(block, 0x1234);
		break;
	case 1: /* the freed mark written over meanwhile */
		gy_heap_free(block, 0);
		if (misuse->bytes < 8192)
			memset(block, 1, misuse->bytes);
		gy_heap_free(block, 0x1234);
		break;
	case 2:
		gy_heap_free(block + 16, 0x1234);
		break;
	case 3:
		gy_heap_free_sized(block, misuse->bytes * 3, 0, 0x1234);
		break;
	case 4:
		gy_heap_free(block, 0);
		gy_heap_realloc(block, misuse->bytes * 3, 0x1234);
		break;
	default:
		gy_heap_free(block, 0);
		gy_heap_free_sized(block, misuse->bytes, 0, 0x1234);
		break;
	}
}

Test(misuse, samples_are_checked_too)
{
	for (unsigned i = 0; i < ARRAY_SIZE(sample_sizes); i++) {
		for (unsigned how = 0; how < 6; how++) {
			struct sample_misuse misuse = {sample_sizes[i], how};
			struct unit_child child = unit_child_run(misuse_sample, &misuse);

			unit_assert_abort(child, how == 2   ? "of 0x"
						 : how == 3 ? "sized free of 0x"
						 : how == 4 ? "realloc of 0x"
							    : "double free of 0x");
		}
	}
}
