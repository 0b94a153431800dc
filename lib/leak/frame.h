/* frame.h - which malloc'd blocks there were when a scan began: the frame that all rounds refer to.
 *
 *	pages[p]     16 bytes a page of the heap: the span that it was part of
 *	spans[]      first pages of those spans, by address
 *	live, marks  a bit a block, dense: a span's bits begin at word bits_at, so a GiB of small
 *	             blocks takes some MiB, and pointers that lie near each other find theirs there
 *
 * Spans are given back, cut anew and reused while a scan runs. The frame is a copy and does not
 * change with them: a word that points into a page finds what was there at first, and whether that
 * still is so is asked span by span, under the span's own lock, in every look (look.c).
 *
 * FRAME-1  A block is live in the frame if it was taken from its span when the span was copied
 *          under its class's lock, and lay in no transfer array, no bin and on no shelf when those
 *          were read after that (census.c). So a bit that is set wrongly is one of a block that
 *          moved between them meanwhile: a look finds it free, or held (LEAK-4).
 * FRAME-2  Bit numbers are constant for the scan. A block is named by its bit.
 * FRAME-3  Blocks taken after the copy are not in it: they are never reported, but looked through.
 */
#ifndef GY_LEAK_FRAME_H
#define GY_LEAK_FRAME_H

#include "heap/page_heap.h"

#define GY_LEAK_NO_BIT SIZE_MAX

struct gy_leak_page {
	uint32_t first_page; /* of the span */
	uint32_t bits_at;    /* word of its first bit */
	uint32_t magic;	     /* SMALL: CLASS-4; LARGE: pages of the span */
	uint16_t objects;
	uint8_t class_index;
	uint8_t kind; /* enum gy_span_kind, and GY_LEAK_PAGE_SAMPLED */
};

#define GY_LEAK_PAGE_SAMPLED 0x80u /* every block of the span is a sample */

_Static_assert(sizeof(struct gy_leak_page) == 16, "four to a cache line");

struct gy_leak_frame {
	size_t page_count;
	struct gy_leak_page *pages;
	uint32_t *spans;
	size_t span_count;
	size_t words; /* of live, marks, pointed */
	uint64_t *live;
	uint64_t *marks; /* white: live and not reached; after the first round: candidates */
	uint64_t *pointed; /* sort.c: another candidate points to it */
	uint64_t *hot;	 /* a bit a page: its span may have candidates */
	uint32_t *notes; /* a word a block: what it read like (look.c), who holds it (sort.c) */
	size_t mapped_words;
};

GY_INLINE enum gy_span_kind gy_leak_kind(const struct gy_leak_page *page)
{
	return (enum gy_span_kind)(page->kind & ~GY_LEAK_PAGE_SAMPLED);
}

GY_INLINE size_t gy_leak_block_bytes(const struct gy_leak_page *page)
{
	return gy_leak_kind(page) == GY_SPAN_LARGE ? (size_t)page->magic << GY_PAGE_SHIFT
						   : gy_size_classes[page->class_index].bytes;
}

GY_INLINE uintptr_t gy_leak_block_start(const struct gy_leak_page *page, unsigned index)
{
	return (uintptr_t)gy_page_start(page->first_page) + index * gy_leak_block_bytes(page);
}

/* The number of the block around `address`, and its page's record; GY_LEAK_NO_BIT: none. */
GY_INLINE size_t gy_leak_bit_of(const struct gy_leak_frame *frame, uintptr_t address, bool exact,
				const struct gy_leak_page **page)
{
	size_t number = (address - gy_map.base) >> GY_PAGE_SHIFT;
	const struct gy_leak_page *at = &frame->pages[number];
	uintptr_t offset;
	unsigned index = 0;

	if (number >= frame->page_count || !at->objects)
		return GY_LEAK_NO_BIT;
	offset = address - (uintptr_t)gy_page_start(at->first_page);
	if (gy_leak_kind(at) == GY_SPAN_SMALL) {
		index = (unsigned)(offset * (uint64_t)at->magic >> 32);
		offset -= index * (size_t)gy_size_classes[at->class_index].bytes;
	}
	if (index >= at->objects || (exact && offset != 0 && offset != 8 && offset != 16))
		return GY_LEAK_NO_BIT;
	*page = at;
	return (size_t)at->bits_at * 64 + index;
}

GY_INLINE bool gy_leak_bit_get(const uint64_t *map, size_t bit)
{
	return map[bit / 64] >> bit % 64 & 1;
}

GY_INLINE void gy_leak_bit_set(uint64_t *map, size_t bit)
{
	map[bit / 64] |= 1ull << bit % 64;
}

GY_INLINE void gy_leak_bit_clear(uint64_t *map, size_t bit)
{
	map[bit / 64] &= ~(1ull << bit % 64);
}

/* Number of the first span of the frame that begins at `page` or behind it. */
size_t gy_leak_span_from(const struct gy_leak_frame *frame, size_t page);
/* The start of the block of that number. */
uintptr_t gy_leak_block_of(const struct gy_leak_frame *frame, size_t bit);

#endif
