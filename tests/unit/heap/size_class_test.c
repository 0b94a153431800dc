/* size_class_test.c - the table of block sizes, entry by entry, and every lookup in it. */
#include "heap/size_class.h"

#include "unit/unit.h"

#define LAST (GY_CLASS_COUNT - 1)

Test(size_class, CLASS_1_formula)
{
	unsigned i;

	cr_assert_eq(gy_size_classes[0].bytes, 0u);
	for (i = 0; i <= 9; i++)
		cr_assert_eq(gy_size_classes[i].bytes, 8 * i, "class %u", i);
	for (i = 10; i <= 72; i++)
		cr_assert_eq(gy_size_classes[i].bytes, 16 * i - 64, "class %u", i);
	cr_assert_eq(gy_size_classes[72].bytes, 1088u);
	cr_assert_eq(gy_size_classes[LAST].bytes, 32768u);
	cr_assert_eq(gy_size_classes[LAST].bytes, GY_CLASS_MAX_BYTES);
}

Test(size_class, CLASS_1_geometric_steps_are_at_most_an_eighth)
{
	for (unsigned i = 73; i <= LAST; i++) {
		unsigned bytes = gy_size_classes[i].bytes, before = gy_size_classes[i - 1].bytes;

		cr_assert_gt(bytes, before, "class %u", i);
		cr_assert_leq((bytes - before) * 8, before, "class %u: %u after %u", i, bytes,
			      before);
		cr_assert_eq(bytes % 128, 0u, "class %u", i);
	}
}

Test(size_class, CLASS_2_tails_are_at_most_an_eighth)
{
	for (unsigned i = 1; i <= LAST; i++) {
		const struct gy_size_class *size = &gy_size_classes[i];
		size_t span = size->pages * GY_PAGE_BYTES,
		       used = (size_t)size->objects * size->bytes;

		cr_assert_gt(size->pages, 0, "class %u", i);
		cr_assert_gt(size->objects, 0, "class %u", i);
		cr_assert_leq(size->objects, GY_SPAN_OBJECTS_MAX, "class %u", i);
		cr_assert_leq(used, span, "class %u", i);
		cr_assert_lt(span - used, (size_t)size->bytes, "class %u has room for one more", i);
		cr_assert_leq((span - used) * 8, span, "class %u", i);
	}
}

/* What the span's record can hold: a bit for each kernel page. */
Test(size_class, spans_fit_their_records)
{
	for (unsigned i = 1; i <= LAST; i++)
		cr_assert_leq(gy_size_classes[i].pages * GY_PAGE_BYTES / 4096, (size_t)32,
			      "class %u", i);
	/* page_info.bin holds 32 times the class */
	cr_assert_leq(LAST * 32u, (unsigned)UINT16_MAX);
}

Test(size_class, CLASS_3_lookup_of_every_request)
{
	for (size_t bytes = 0; bytes <= GY_CLASS_MAX_BYTES; bytes++) {
		unsigned expected = 1, found = gy_class_of_request(bytes);

		while (gy_size_classes[expected].bytes < bytes ||
		       (bytes > 8 && gy_size_classes[expected].bytes % 16))
			expected++;
		cr_assert_eq(found, expected, "%zu bytes: class %u, not %u", bytes, found,
			     expected);
	}
}

/* What malloc hands out is aligned for any object of that size (C17 7.22.3). */
Test(size_class, CLASS_3_blocks_are_aligned_for_what_fits_them)
{
	for (size_t bytes = 9; bytes <= GY_CLASS_MAX_BYTES; bytes++)
		cr_assert_eq(gy_size_classes[gy_class_of_request(bytes)].bytes % 16, 0u, "%zu",
			     bytes);
}

Test(size_class, CLASS_4_magic_for_every_offset_of_every_span)
{
	for (unsigned i = 1; i <= LAST; i++) {
		const struct gy_size_class *size = &gy_size_classes[i];
		uint64_t span = size->pages * GY_PAGE_BYTES;

		for (uint64_t n = 0; n < span; n++) {
			bool is_start = (uint32_t)(n * size->magic) < size->magic;

			if (is_start != (n % size->bytes == 0))
				cr_assert_fail("class %u offset %llu", i, (unsigned long long)n);
			if (n * size->magic >> 32 != n / size->bytes)
				cr_assert_fail("class %u index of %llu", i, (unsigned long long)n);
		}
	}
}

Test(size_class, aligned_lookup_is_the_smallest_that_fits)
{
	for (size_t alignment = 1; alignment <= GY_PAGE_BYTES; alignment *= 2) {
		for (size_t bytes = 0; bytes <= GY_CLASS_MAX_BYTES + 100;
		     bytes += bytes < 2000 ? 1 : 37) {
			unsigned found = gy_class_of_aligned(bytes, alignment), expected = 0;
			size_t rounded = (MAX(bytes, 1) + alignment - 1) / alignment * alignment;

			/* The smallest class that malloc may use and whose blocks are all
			 * aligned. */
			for (unsigned i = LAST; i > 0; i--)
				if (gy_size_classes[i].bytes >= rounded &&
				    gy_size_classes[i].bytes % alignment == 0 &&
				    (gy_size_classes[i].bytes % 16 == 0 ||
				     (rounded <= 8 && gy_size_classes[i].bytes == 8)))
					expected = i;
			if (!found) {
				cr_assert_eq(expected, 0u, "%zu aligned to %zu", bytes, alignment);
				continue;
			}
			cr_assert_geq(gy_size_classes[found].bytes, bytes);
			cr_assert_eq(gy_size_classes[found].bytes % alignment, 0u,
				     "%zu aligned to %zu", bytes, alignment);
			if (alignment >= 16)
				cr_assert_eq(found, expected, "%zu aligned to %zu: %u, not %u",
					     bytes, alignment, gy_size_classes[found].bytes,
					     gy_size_classes[expected].bytes);
		}
	}
}

Test(size_class, aligned_lookup_refuses_what_no_class_can_do)
{
	cr_assert_eq(gy_class_of_aligned(64, 2 * GY_PAGE_BYTES), 0u);
	cr_assert_eq(gy_class_of_aligned(GY_CLASS_MAX_BYTES + 1, 16), 0u);
	cr_assert_eq(gy_class_of_aligned(SIZE_MAX, 16), 0u);
	cr_assert_eq(gy_class_of_aligned(SIZE_MAX - 100, 4096), 0u);
	cr_assert_neq(gy_class_of_aligned(0, 64), 0u);
}
