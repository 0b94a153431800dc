/* hand_made.h - blocks of objects without lib/gc/space.c: what a test says is allocated, is.
 *
 * made_block takes pages of the heap and writes their records as space.c would (REC-5); made_object
 * allocates one object of the block. Colours are read back from the bits.
 */
#ifndef GYRE_TESTS_UNIT_GC_HAND_MADE_H
#define GYRE_TESTS_UNIT_GC_HAND_MADE_H

#include "gc/layout.h"
#include "gc/mark.h"
#include "heap/heap.h"
#include "heap/page_heap.h"

#include "unit/unit.h"

#define MADE_MAP_WORDS 4

GY_UNUSED static void made_start(void)
{
	cr_assert(gy_heap_start());
	cr_assert_eq(gy_records_init(), 0);
	cr_assert_eq(gy_layout_init(), 0);
}

/* A type of `words` words, whose pointers `map` tells; a tail element of tail_words. */
GY_UNUSED static const struct gy_layout *made_layout(unsigned words, uint64_t map, bool array,
						     unsigned tail_words, uint64_t tail_map)
{
	static char names[64][16];
	static unsigned count;
	struct gyre_type type = {.fingerprint = count + 1,
				 .bytes = words * 8,
				 .alignment = 8,
				 .tail_bytes = tail_words * 8,
				 .map = {map},
				 .tail_map = tail_map,
				 .name = names[count],
				 .field_names = ""};
	const struct gy_layout *layout;

	cr_assert_lt(count, ARRAY_SIZE(names));
	snprintf(names[count], sizeof(names[count]), "type%u", count);
	count++;
	layout = gy_layout_of(&type, array);
	cr_assert_not_null(layout);
	return layout;
}

/* A block of `pages` pages; object_bytes 0: one LARGE object. Returns its first page. */
GY_UNUSED static size_t made_block(const struct gy_layout *layout, uint32_t object_bytes,
				   size_t pages)
{
	enum gy_oom_reason reason;
	struct gy_span *span;
	size_t first;
	bool zeroed;

	span = gy_page_heap_take(pages, 1, GY_CLASS_COLLECTED, false, &zeroed, &reason);

	cr_assert_not_null(span);
	first = span->first_page;
	if (!zeroed)
		memset(gy_page_start(first), 0, pages * GY_PAGE_BYTES);
	cr_assert(gy_records_cover(first + pages));
	for (size_t page = first; page < first + pages; page++) {
		struct gy_gc_page *record = &gy_gc_pages[page];

		memset(&gy_gc_bits[page], 0, sizeof(gy_gc_bits[page]));
		gy_marks_clear(page, GY_BIT_WORDS_MAX);
		*record = (struct gy_gc_page){.first_page = (uint32_t)first,
					      .layout = layout->index,
					      .objects = 1,
					      .bit_words = 1,
					      .pages = (uint32_t)pages};
		if (object_bytes) {
			record->magic = (uint32_t)(gy_div_round_up(1ull << 32, object_bytes));
			record->objects = (uint16_t)(pages * GY_PAGE_BYTES / object_bytes);
			record->object_bytes = object_bytes;
			record->bit_words = (uint8_t)gy_div_round_up(record->objects, 64);
		}
		__atomic_store_n(&record->kind, object_bytes ? GY_BLOCK_SMALL : GY_BLOCK_LARGE,
				 __ATOMIC_RELEASE);
	}
	return first;
}

GY_UNUSED static void **made_object(size_t block, unsigned index)
{
	struct gy_object object = {block, index};

	if (index >= gy_gc_pages[block].objects)
		cr_assert_fail("no object %u in block %zu", index, block);
	gy_gc_bits[block].allocated[index / 64] |= 1ull << index % 64;
	return (void **)(void *)gy_object_start(object);
}

GY_UNUSED static struct gy_object made_find(const void *address)
{
	struct gy_object object = {0};

	if (!gy_object_find((uintptr_t)address, &object))
		cr_assert_fail("no object at %p", address);
	return object;
}

GY_UNUSED static bool made_is_marked(const void *address)
{
	return gy_object_is_marked(made_find(address));
}

GY_UNUSED static bool made_is_scanned(const void *address)
{
	struct gy_object object = made_find(address);

	return *gy_scanned_word(object.block, object.index / 64) >>
		       object.index % 64 & 1;
}

GY_UNUSED static void made_whiten(size_t block)
{
	gy_marks_clear(block, gy_gc_pages[block].bit_words);
}

#endif
