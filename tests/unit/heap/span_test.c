/* span_test.c - what a page's records say of the span that covers it. */
#include "heap/span.h"

#include "heap/heap.h"
#include "heap/page_heap.h"

#include "unit/unit.h"

Test(span, index_of_every_byte_of_every_class)
{
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		const struct gy_size_class *size = &gy_size_classes[c];

		for (size_t offset = 0; offset < size->pages * GY_PAGE_BYTES; offset++)
			if (gy_object_index(c, offset) != offset / size->bytes)
				cr_assert_fail("class %u offset %zu", c, offset);
	}
}

static struct gy_span *take(size_t pages, unsigned class_index)
{
	enum gy_oom_reason reason = GY_OOM_NONE;
	bool zeroed;
	struct gy_span *span = gy_page_heap_take(pages, 1, class_index, false, &zeroed, &reason);

	cr_assert_not_null(span, "reason %d", (int)reason);
	return span;
}

/* SPAN-4, from a page to half a dozen huge pages, at every page. */
Test(span, SPAN_4_every_page_leads_to_its_span)
{
	static const size_t lengths[] = {1,   2,   7,   64,  255,  256,  257, 300,
					 511, 512, 513, 700, 1024, 1025, 1500};
	struct gy_span *spans[ARRAY_SIZE(lengths)];

	cr_assert(gy_heap_start());
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++)
		spans[i] = take(lengths[i], 0);
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		const struct gy_span *span = spans[i];

		cr_assert_eq(gy_span_bytes(span), lengths[i] * GY_PAGE_BYTES);
		cr_assert_eq(gy_page_of(gy_span_start(span)), (size_t)span->first_page);
		for (size_t page = span->first_page; page < span->first_page + lengths[i]; page++)
			cr_assert_eq(gy_span_of_page(page), span, "page %zu of %zu",
				     page - span->first_page, lengths[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		size_t first = spans[i]->first_page;

		gy_page_heap_give(spans[i]);
		for (size_t page = first; page < first + lengths[i]; page++)
			cr_assert_null(gy_span_of_page(page));
	}
	gy_page_heap_check();
}

/* SPAN-5: a stale pointer to a record can be read, and says that it is nothing. */
Test(span, SPAN_5_records_stay_readable)
{
	struct gy_span *spans[200];

	cr_assert(gy_heap_start());
	for (unsigned i = 0; i < ARRAY_SIZE(spans); i++)
		spans[i] = take(1 + i % 9, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(spans); i++)
		gy_page_heap_give(spans[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(spans); i++)
		cr_assert_eq(spans[i]->kind, GY_SPAN_NONE);
}
