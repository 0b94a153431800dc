/* metadata_test.c - the library's own memory: the map of the range, its side arrays, small
 * records. */
#include "heap/metadata.h"

#include "base/bits.h"
#include "base/config.h"
#include "heap/heap.h"
#include "heap/page_heap.h"
#include "heap/span.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <pthread.h>
#include <sys/resource.h>

static void started(void)
{
	cr_assert(gy_heap_start());
}

TestSuite(metadata, .init = started);

Test(metadata, META_1_the_range_and_its_arrays_are_apart)
{
	uintptr_t heap_end = gy_map.base + gy_map.hugepage_reserved * GY_HUGEPAGE_BYTES;
	struct {
		uintptr_t begin, end;
	} parts[] = {
		{gy_map.base, heap_end},
		{(uintptr_t)gy_map.page_info,
		 (uintptr_t)(gy_map.page_info + gy_map.hugepage_reserved * GY_HUGEPAGE_PAGES)},
		{(uintptr_t)gy_map.span_of,
		 (uintptr_t)(gy_map.span_of + gy_map.hugepage_reserved * GY_HUGEPAGE_PAGES)},
		{(uintptr_t)gy_map.hugepages,
		 (uintptr_t)(gy_map.hugepages + gy_map.hugepage_reserved)},
	};

	cr_assert_eq(gy_map.base % GY_HUGEPAGE_BYTES, 0u);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		for (unsigned j = 0; j < i; j++)
			cr_assert(parts[i].begin >= parts[j].end || parts[j].begin >= parts[i].end);
}

Test(metadata, META_2_arrays_are_usable_before_pages_are)
{
	struct gy_span *spans[40];
	uintptr_t base = gy_map.base;

	for (unsigned i = 0; i < ARRAY_SIZE(spans); i++) {
		enum gy_oom_reason reason;
		bool zeroed;
		size_t last;

		spans[i] = gy_page_heap_take(3 * GY_HUGEPAGE_PAGES, 1, 0, false, &zeroed, &reason);
		cr_assert_not_null(spans[i]);
		last = gy_map.page_count - 1;
		cr_assert(gy_sys_readable(&gy_map.page_info[last]));
		cr_assert(gy_sys_readable(&gy_map.span_of[last]));
		cr_assert(gy_sys_readable(&gy_map.hugepages[last / GY_HUGEPAGE_PAGES]));
		cr_assert_geq(gy_map.hugepage_sides, gy_map.hugepage_count);
		cr_assert_eq(gy_map.page_count, gy_map.hugepage_count * GY_HUGEPAGE_PAGES);
	}
	cr_assert_eq(gy_map.base, base);
	for (unsigned i = 0; i < ARRAY_SIZE(spans); i++)
		gy_page_heap_give(spans[i]);
}

Test(metadata, an_address_is_ours_only_below_page_count)
{
	size_t pages = gy_map.page_count;
	int local;

	cr_assert_not(gy_is_ours(NULL));
	cr_assert_not(gy_is_ours(&local));
	cr_assert_not(gy_is_ours((void *)(gy_map.base - 1)));
	cr_assert_not(gy_is_ours((void *)UINTPTR_MAX));
	cr_assert_not(gy_is_ours(gy_page_start(pages)));
	free(malloc(1)); /* libc's: not ours in a unit test */
	if (pages)
		cr_assert(gy_is_ours((void *)gy_map.base) && gy_is_ours(gy_page_start(pages) - 1));
	for (size_t page = 0; page < 1000; page++) {
		cr_assert_eq(gy_page_of(gy_page_start(page)), page);
		cr_assert_eq(gy_page_of(gy_page_start(page) + GY_PAGE_BYTES - 1), page);
	}
}

/* META-3: pages of small spans carry their class and where a block may start; all others
 * nothing. */
Test(metadata, META_3_page_info_says_where_blocks_start)
{
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		const struct gy_size_class *size = &gy_size_classes[c];
		void *block = gy_heap_alloc(size->bytes, 0);
		size_t page = gy_page_of(block);
		struct gy_span *span = gy_span_of_page(page);
		const struct gy_page_info *info = &gy_map.page_info[page];

		if (gy_class_of_request(size->bytes) != c || info->sampled) {
			gy_heap_free(block, 0);
			continue;
		}
		cr_assert_eq(info->bin, c * 32);
		for (size_t offset = 0; offset < (size_t)size->objects * size->bytes; offset++) {
			uint32_t address = (uint32_t)(uintptr_t)(gy_span_start(span) + offset);
			const struct gy_page_info *here =
				&gy_map.page_info[gy_page_of(gy_span_start(span) + offset)];
			bool starts = (uint32_t)(address * size->magic + here->bias) < size->magic;

			if (starts != (offset % size->bytes == 0))
				cr_assert_fail("class %u offset %zu", c, offset);
		}
		gy_heap_free(block, 0);
	}
	{
		char *large = gy_heap_alloc(200000, 0);

		cr_assert_eq(gy_map.page_info[gy_page_of(large)].bin, 0);
		gy_heap_free(large, 0);
	}
}

Test(metadata, META_4_taken_memory_is_zeroed_aligned_and_apart)
{
	enum { COUNT = 3000 };
	static char *taken[COUNT];
	static size_t bytes[COUNT];
	uint64_t rng = 1, before = gy_metadata_bytes();

	for (unsigned i = 0; i < COUNT; i++) {
		bytes[i] = 1 + unit_random(&rng) % (i % 100 ? 2000 : 400000);
		taken[i] = gy_metadata_take(bytes[i]);
		cr_assert_not_null(taken[i]);
		cr_assert_eq((uintptr_t)taken[i] % 64, 0u);
		for (size_t b = 0; b < bytes[i]; b++)
			if (taken[i][b])
				cr_assert_fail("byte %zu of %zu is not zero", b, bytes[i]);
		memset(taken[i], (int)(i % 251 + 1), bytes[i]);
	}
	for (unsigned i = 0; i < COUNT; i++)
		for (size_t b = 0; b < bytes[i]; b += 61)
			cr_assert_eq(taken[i][b], (char)(i % 251 + 1));
	cr_assert_gt(gy_metadata_bytes(), before);
}

Test(metadata, blocks_are_taken_again_after_they_were_given)
{
	for (unsigned log2_bytes = 4; log2_bytes <= 20; log2_bytes++) {
		void *first = gy_metadata_block_take(log2_bytes), *second;

		cr_assert_not_null(first);
		second = gy_metadata_block_take(log2_bytes);
		cr_assert(second && second != first);
		memset(first, 1, (size_t)1 << log2_bytes);
		memset(second, 2, (size_t)1 << log2_bytes);
		cr_assert_eq(*((char *)first + ((size_t)1 << log2_bytes) - 1), 1);
		gy_metadata_block_give(first, log2_bytes);
		cr_assert_eq(gy_metadata_block_take(log2_bytes), first);
		gy_metadata_block_give(first, log2_bytes);
		gy_metadata_block_give(second, log2_bytes);
	}
}

static void take_wrong_block(void *argument)
{
	gy_metadata_block_take(*(const unsigned *)argument);
}

Test(metadata, blocks_of_no_such_size_panic)
{
	static const unsigned wrong[] = {0, 3, 21, 40};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		unsigned log2_bytes = wrong[i];
		struct unit_child child = unit_child_run(take_wrong_block, &log2_bytes);

		unit_assert_abort(child, "internal check failed");
	}
}

static void *churn(void *argument)
{
	uint64_t rng = (uintptr_t)argument;
	uint64_t *held[32] = {NULL};
	uint8_t log2_bytes[32];

	for (unsigned i = 0; i < (UNIT_SLOW ? 3000u : 30000u); i++) {
		unsigned at = (unsigned)(unit_random(&rng) % 32);

		if (held[at]) {
			if (held[at][0] != (uintptr_t)argument)
				return argument;
			gy_metadata_block_give(held[at], log2_bytes[at]);
			held[at] = NULL;
		} else {
			log2_bytes[at] = (uint8_t)(4 + unit_random(&rng) % 8);
			held[at] = gy_metadata_block_take(log2_bytes[at]);
			held[at][0] = (uintptr_t)argument;
			held[at][((size_t)1 << log2_bytes[at]) / 8 - 1] = (uintptr_t)argument;
		}
	}
	return NULL;
}

Test(metadata, blocks_of_several_threads_do_not_mix)
{
	unit_four_threads(churn);
}

/* META-5: with the kernel refusing everything, records can still be made. */
Test(metadata, META_5_records_are_set_aside_for_the_day_without_memory)
{
	enum gy_oom_reason reason;
	unsigned taken = 0;
	bool zeroed;

	/* side arrays, and what is set aside with them, are there after the first growth */
	cr_assert_not_null(gy_page_heap_take(1, 1, 0, false, &zeroed, &reason));
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mmap;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	while (taken < 4000 && gy_metadata_take(sizeof(struct gy_span)))
		taken++;
	cr_assert_geq(taken, 2000u);
	/* more than there is is refused, and what remains can still be had */
	cr_assert_null(gy_metadata_take((size_t)1 << 30));
	cr_assert_not_null(gy_metadata_take(sizeof(struct gy_span)));
}

/* The range is smaller where RLIMIT_AS is tight, and a start that fails can be tried again. */
static void tight_start(void *argument)
{
	struct gy_address_map before = gy_map;
	struct rlimit limit;

	(void)argument;
	memset(&gy_map, 0, sizeof(gy_map));
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mmap;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	child_check(gy_metadata_init() == -ENOMEM);
	gy_option_values[GY_OPT_fault_call] = 0;
	limit.rlim_cur = limit.rlim_max = (rlim_t)1 << 40;
	munmap((void *)before.base, before.hugepage_reserved * GY_HUGEPAGE_BYTES);
	munmap(before.page_info, before.hugepage_reserved * GY_HUGEPAGE_PAGES * 8);
	munmap(before.span_of, before.hugepage_reserved * GY_HUGEPAGE_PAGES * 8);
	child_check(setrlimit(RLIMIT_AS, &limit) == 0);
	child_check(gy_metadata_init() == 0);
	child_check(gy_map.hugepage_reserved * GY_HUGEPAGE_BYTES <= (size_t)1 << 40);
	child_check(gy_map.hugepage_reserved * GY_HUGEPAGE_BYTES >= (size_t)1 << 36);
}

Test(metadata, a_tight_address_space_gets_a_smaller_range)
{
	struct unit_child child;

	if (GY_ASAN || GY_TSAN)
		cr_skip("the sanitizer's shadow fills any address space");
	child = unit_child_run(tight_start, NULL);
	unit_assert_exit(child, 0);
}
