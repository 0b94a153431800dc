/* look.c - rounds 2 and on: does anything at all point to a candidate?
 *
 * After the mark some blocks are left that it did not reach: candidates. While the program ran, a
 * pointer may have moved from where the marker had not been yet to where it had been, or may have
 * lain in a block that was taken after the census. So the whole of memory is read again, and not by
 * following pointers but from one end to the other: roots, and every block that is in use *now* and
 * no candidate, whether it is in the frame or not. A word that points to a candidate takes it off,
 * and all that it leads to. That costs what it costs to read memory in order, some tenths of a
 * second a GiB, and nothing but a block that is truly lost passes every time:
 *
 *	held        a word somewhere points to it
 *	freed       its span has it free; or its span is gone, or of another kind; or it lies in a
 *	            cache, or holds the freed mark
 *	changed     it does not read as it did: somebody wrote to it, so somebody can reach it
 *
 * LOOK-1  Candidates are not read, so they do not keep each other: a lost list stays lost. Free
 *         blocks are not read, nor those with the freed mark: what lies there is of before.
 * LOOK-2  A block's being free is asked of its span under its class's lock, once per look, before
 *         the other blocks of that span are read.
 * LOOK-3  Candidates are only taken off, never added. What is taken off is read in the same look,
 *         or, where the queue is full, in the next, as any other block.
 * LOOK-4  Every second look goes backwards, roots last: a pointer that moves to and fro in time
 *         with one look does not with both.
 */
#include "leak/scan.h"

#include "base/bits.h"
#include "gc/record.h"
#include "heap/thread_cache.h"
#include "os/vm.h"

#include <string.h>

#define PRINT_BYTES ((size_t)192)
#define PRESENT_OR_SWAPPED (3ull << 62)

/* ------------------------------------------------------------------ candidates */

static void take_off(struct gy_leak_scan *scan, size_t bit, uintptr_t block)
{
	gy_leak_bit_clear(scan->frame.marks, bit);
	scan->taken_off++;
	scan->candidates--;
	gy_leak_push(scan, block);
}

/* A word that lies in the frame's part of the heap. */
static void look_at_word(struct gy_leak_scan *scan, uintptr_t word)
{
	const struct gy_leak_frame *frame = &scan->frame;
	const struct gy_leak_page *page;
	size_t bit;

	if (likely(!gy_leak_bit_get(frame->hot, (word - gy_map.base) >> GY_PAGE_SHIFT)))
		return;
	bit = gy_leak_bit_of(frame, word, scan->exact, &page);
	if (bit != GY_LEAK_NO_BIT && gy_leak_bit_get(frame->marks, bit))
		take_off(scan, bit,
			 gy_leak_block_start(page, (unsigned)(bit - (size_t)page->bits_at * 64)));
}

/* Most words are no pointers, and most memory has long rows of such: four in one branch. */
GY_LEAK_READER static void look_plain(struct gy_leak_scan *scan, const uintptr_t *words,
				      size_t count, uintptr_t mask)
{
	const uintptr_t base = gy_map.base, bytes = scan->frame.page_count << GY_PAGE_SHIFT;
	size_t i = 0;

	for (; i + 4 <= count; i += 4) {
		uintptr_t a = (READ_RELAXED(words[i]) & mask) - base;
		uintptr_t b = (READ_RELAXED(words[i + 1]) & mask) - base;
		uintptr_t c = (READ_RELAXED(words[i + 2]) & mask) - base;
		uintptr_t d = (READ_RELAXED(words[i + 3]) & mask) - base;

		if (likely(!((a < bytes) | (b < bytes) | (c < bytes) | (d < bytes))))
			continue;
		if (a < bytes)
			look_at_word(scan, a + base);
		if (b < bytes)
			look_at_word(scan, b + base);
		if (c < bytes)
			look_at_word(scan, c + base);
		if (d < bytes)
			look_at_word(scan, d + base);
	}
	for (; i < count; i++) {
		uintptr_t word = READ_RELAXED(words[i]) & mask;

		if (word - base < bytes)
			look_at_word(scan, word);
	}
}

static void look_words(struct gy_leak_scan *scan, const uintptr_t *words, size_t count,
		       uintptr_t address)
{
	(void)address;
	look_plain(scan, words, count, ~(uintptr_t)0);
	if (unlikely(scan->tag_mask))
		look_plain(scan, words, count, ~scan->tag_mask);
	*(scan->in_heap ? &scan->heap_bytes : &scan->root_bytes) += count * sizeof(*words);
}

static bool drain(struct gy_leak_scan *scan)
{
	while (scan->queued) {
		uintptr_t block = scan->queue[--scan->queued];

		if (!gy_leak_read_block(
			    scan, block,
			    gy_leak_block_bytes(
				    &scan->frame.pages[gy_page_of((const void *)block)])))
			return false;
	}
	return true;
}

/* Pages whose spans have candidates, and how many there are. */
static void count_candidates(struct gy_leak_scan *scan)
{
	struct gy_leak_frame *frame = &scan->frame;

	memset(frame->hot, 0, frame->page_count / 8 + 8);
	scan->candidates = 0;
	for (size_t s = 0; s < frame->span_count; s++) {
		const struct gy_leak_page *page = &frame->pages[frame->spans[s]];
		size_t pages = gy_leak_kind(page) == GY_SPAN_LARGE
				       ? page->magic
				       : gy_size_classes[page->class_index].pages;
		unsigned count = 0;

		for (unsigned w = 0; w < (page->objects + 63u) / 64; w++)
			count += (unsigned)__builtin_popcountll(frame->marks[page->bits_at + w]);
		scan->candidates += count;
		for (size_t i = 0; count && i < pages; i++)
			gy_leak_bit_set(frame->hot, frame->spans[s] + i);
	}
}

/* ------------------------------------------------------------------ what a block reads like */

GY_LEAK_READER static uint32_t print_of(const uintptr_t *words, size_t count)
{
	uint64_t hash = 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < count; i++)
		hash = (hash ^ READ_RELAXED(words[i])) * 0xff51afd7ed558ccdu, hash ^= hash >> 32;
	return (uint32_t)hash | 1;
}

/* 0: it cannot be read. *freed: it holds the freed mark. */
GY_LEAK_READER static uint32_t block_print(struct gy_leak_scan *scan, uintptr_t block, size_t bytes,
					   bool *freed)
{
	uintptr_t copy[PRINT_BYTES / sizeof(uintptr_t)];
	const uintptr_t *words = (const uintptr_t *)block;
	size_t count = MIN(bytes, PRINT_BYTES) / sizeof(*words);

	if (bytes >= GY_KERNEL_PAGE_BYTES) {
		if (gy_leak_copy(scan, block, copy, sizeof(copy)) != (ssize_t)sizeof(copy))
			return 0;
		words = copy;
	}
	*freed = READ_RELAXED(words[0]) == gy_freed_mark();
	return print_of(words, count);
}

static void compare_span(struct gy_leak_scan *scan, const struct gy_leak_page *page)
{
	struct gy_leak_frame *frame = &scan->frame;
	size_t bytes = gy_leak_block_bytes(page);

	for (unsigned w = 0; w < (page->objects + 63u) / 64; w++) {
		uint64_t bits = frame->marks[page->bits_at + w];

		for (; bits; bits &= bits - 1) {
			unsigned index = w * 64 + (unsigned)__builtin_ctzll(bits);
			size_t bit = (size_t)page->bits_at * 64 + index;
			uintptr_t block = gy_leak_block_start(page, index);
			bool freed = false;
			uint32_t print = block_print(scan, block, bytes, &freed);

			if (freed || (frame->notes[bit] && frame->notes[bit] != print))
				take_off(scan, bit, block);
			else
				frame->notes[bit] = print;
		}
	}
}

static bool compare(struct gy_leak_scan *scan)
{
	const struct gy_leak_frame *frame = &scan->frame;

	for (size_t s = 0; s < frame->span_count; s++) {
		const struct gy_leak_page *page = &frame->pages[frame->spans[s]];

		if (!gy_leak_bit_get(frame->hot, frame->spans[s]))
			continue;
		compare_span(scan, page);
		if (!gy_leak_pace(scan, (size_t)page->objects * 64))
			return false;
	}
	return drain(scan);
}

/* ------------------------------------------------------------------ the heap, page by page */

/* All candidates of a span of the frame: it is not there any more. */
static void take_off_span(struct gy_leak_scan *scan, const struct gy_leak_page *page)
{
	for (unsigned i = 0; i < page->objects; i++)
		if (gy_leak_bit_get(scan->frame.marks, (size_t)page->bits_at * 64 + i))
			take_off(scan, (size_t)page->bits_at * 64 + i,
				 gy_leak_block_start(page, i));
}

/* The span of the frame that this one still is, or NULL. */
static const struct gy_leak_page *same_span(const struct gy_leak_scan *scan,
					    const struct gy_span_look *look)
{
	const struct gy_leak_page *page = &scan->frame.pages[look->first_page];

	if (look->first_page >= scan->frame.page_count || !page->objects ||
	    page->first_page != look->first_page || gy_leak_kind(page) != look->kind)
		return NULL;
	if (look->kind == GY_SPAN_LARGE)
		return page->magic == look->pages ? page : NULL;
	return page->class_index == look->class_index &&
			       !(page->kind & GY_LEAK_PAGE_SAMPLED) == !look->sampled
		       ? page
		       : NULL;
}

static bool is_populated(const struct gy_leak_scan *scan, uintptr_t address)
{
	return scan->kernel_entries[address / GY_KERNEL_PAGE_BYTES % GY_LEAK_PAGEMAP_ENTRIES] &
	       PRESENT_OR_SWAPPED;
}

/* Blocks [first, end) of a span are in use. Those that hold the freed mark are not, after all; the
 * others are read, a run of neighbours at a time. */
GY_LEAK_READER static void read_blocks(struct gy_leak_scan *scan, uintptr_t start, size_t bytes,
				       unsigned first, unsigned end, bool has_holes)
{
	const uintptr_t mark = gy_freed_mark();
	uintptr_t run = start + first * bytes, at = run;

	for (unsigned i = first; i <= end; i++, at += bytes) {
		bool skip = i < end && ((has_holes && !(is_populated(scan, at) &&
							is_populated(scan, at + bytes - 1))) ||
					READ_RELAXED(*(const uintptr_t *)at) == mark);

		if (i < end && !skip)
			continue;
		if (run < at)
			scan->words(scan, (const uintptr_t *)run, (at - run) / sizeof(uintptr_t),
				    run);
		if (skip && has_holes && is_populated(scan, at) &&
		    READ_RELAXED(*(const uintptr_t *)at) != mark) /* the front alone is there */
			scan->words(scan, (const uintptr_t *)at,
				    (gy_round_up(at + 1, GY_KERNEL_PAGE_BYTES) - at) /
					    sizeof(uintptr_t),
				    at);
		run = at + bytes;
	}
}

static bool look_at_small(struct gy_leak_scan *scan, const struct gy_span_look *look)
{
	const struct gy_leak_page *page = same_span(scan, look);
	const struct gy_size_class *size = &gy_size_classes[look->class_index];
	uintptr_t start = (uintptr_t)gy_page_start(look->first_page);
	uint64_t skip[GY_SPAN_BIT_WORDS_MANY];
	bool has_holes = false;
	unsigned at = 0;

	if (!gy_leak_free_bits(look, skip))
		return true;
	for (unsigned w = 0; page && w < (size->objects + 63u) / 64; w++) {
		uint64_t freed = scan->frame.marks[page->bits_at + w] & skip[w];

		for (; freed; freed &= freed - 1) {
			unsigned index = w * 64 + (unsigned)__builtin_ctzll(freed);

			take_off(scan, (size_t)page->bits_at * 64 + index,
				 gy_leak_block_start(page, index));
		}
		skip[w] |= scan->frame.marks[page->bits_at + w]; /* LOOK-1 */
	}
	for (uintptr_t unit = start; unit < start + size->pages * GY_PAGE_BYTES;
	     unit += GY_KERNEL_PAGE_BYTES)
		has_holes |= !is_populated(scan, unit);
	while ((at = gy_bit_next(skip, size->objects, at, false)) < size->objects) {
		unsigned end = gy_bit_next(skip, size->objects, at, true);

		if (size->bytes < GY_KERNEL_PAGE_BYTES)
			read_blocks(scan, start, size->bytes, at, end, has_holes);
		else if (!gy_leak_read(scan, start + (size_t)at * size->bytes,
				       start + (size_t)end * size->bytes, false))
			return false;
		at = end;
	}
	return drain(scan) && gy_leak_pace(scan, ((size_t)look->pages << GY_PAGE_SHIFT) + 1024);
}

static bool look_at_large(struct gy_leak_scan *scan, const struct gy_span_look *look)
{
	const struct gy_leak_page *page = same_span(scan, look);
	uintptr_t start = (uintptr_t)gy_page_start(look->first_page);

	if (page && gy_leak_bit_get(scan->frame.marks, (size_t)page->bits_at * 64))
		return true; /* LOOK-1 */
	return gy_leak_read(scan, start, start + ((size_t)look->pages << GY_PAGE_SHIFT), false) &&
	       drain(scan);
}

static bool look_at_span(struct gy_leak_scan *scan, const struct gy_span_look *look)
{
	switch ((enum gy_span_kind)look->kind) {
	case GY_SPAN_SMALL:
		return look_at_small(scan, look);
	case GY_SPAN_LARGE:
		return look_at_large(scan, look);
	case GY_SPAN_COLLECTED:
		return gy_leak_collected(scan, look) && drain(scan);
	case GY_SPAN_NONE:
		break;
	}
	return true;
}

static bool look_at_hugepage(struct gy_leak_scan *scan, size_t index)
{
	const struct gy_leak_frame *frame = &scan->frame;
	size_t first = index * GY_HUGEPAGE_PAGES, s = gy_leak_span_from(frame, first);
	unsigned count = gy_page_heap_look(index, scan->looks), at = 0;

	/* Candidates in spans that are not there any more (LOOK-2). */
	for (; s < frame->span_count && frame->spans[s] < first + GY_HUGEPAGE_PAGES; s++) {
		while (at < count && scan->looks[at].first_page < frame->spans[s])
			at++;
		if (gy_leak_bit_get(frame->hot, frame->spans[s]) &&
		    (at == count || scan->looks[at].first_page != frame->spans[s] ||
		     !same_span(scan, &scan->looks[at])))
			take_off_span(scan, &frame->pages[frame->spans[s]]);
	}
	if (count && !gy_leak_pagemap(scan, (uintptr_t)gy_page_start(first), scan->kernel_entries,
				      GY_LEAK_PAGEMAP_ENTRIES))
		memset(scan->kernel_entries, 0xff, sizeof(scan->kernel_entries));
	for (unsigned i = 0; i < count; i++)
		if (!look_at_span(scan, &scan->looks[i]))
			return false;
	return gy_leak_pace(scan, (size_t)8 << 10);
}

static bool look_at_heap(struct gy_leak_scan *scan, bool backwards)
{
	size_t count = gy_page_heap_hugepage_count();
	bool whole = true;

	scan->in_heap = true;
	for (size_t i = 0; i < count && whole; i++)
		whole = look_at_hugepage(scan, backwards ? count - 1 - i : i);
	scan->in_heap = false;
	return whole;
}

/* ------------------------------------------------------------------ in all */

/* What lies in a cache now. */
static void look_at_caches(struct gy_leak_scan *scan)
{
	uint64_t before = scan->candidates;

	gy_leak_clear_cached(scan, scan->frame.marks);
	count_candidates(scan);
	scan->taken_off += before - scan->candidates;
}

void gy_leak_candidates(struct gy_leak_scan *scan)
{
	scan->words = look_words;
	scan->queued = 0;
	look_at_caches(scan);
	scan->taken_off = 0;
	compare(scan);
	count_candidates(scan);
}

bool gy_leak_look(struct gy_leak_scan *scan, bool backwards)
{
	bool whole;

	scan->taken_off = 0;
	scan->words = look_words;
	if (backwards)
		whole = look_at_heap(scan, true) && gy_leak_roots(scan) && drain(scan);
	else
		whole = gy_leak_roots(scan) && drain(scan) && look_at_heap(scan, false);
	if (!whole || !compare(scan))
		return false;
	look_at_caches(scan);
	return true;
}
