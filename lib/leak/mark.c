/* mark.c - round 1: every block of the frame that something leads to.
 *
 * Roots first, then blocks off a stack of addresses. As in the collector's marker (gc/mark.c) what
 * bounds it is memory latency, so everything is asked for some steps ahead:
 *
 *	word found -> ring of targets -> ring of bits -> stack -> ring of blocks -> read its words
 *	   prefetch: page's record    the bit                  the block's first lines
 *
 * One thread marks: bits are changed without atomics. In `marks` a live block's bit is 1 while it
 * is white and 0 once it is reached: one look tells both that it is there and that it is new. What
 * is left at the end are the candidates.
 *
 * MARKER-1  A block is pushed once, when it stops being white, and read once. One that holds the
 *           freed mark is free and not read: what lies in it is of before.
 * MARKER-2  Where the stack is full, nothing is lost: blocks that are marked but perhaps not read
 *           are found again by reading all that are marked, until none had to be left out.
 * MARKER-3  Blocks of a page and more are read by the kernel (read.c): a program may have protected
 *           their pages. Smaller ones share pages with others, and are read as they are.
 */
#include "leak/scan.h"

#include "heap/thread_cache.h"

#include <string.h>

#define LINES_AHEAD ((size_t)4) /* of a block */

static void push(struct gy_leak_scan *scan, uintptr_t block)
{
	if (unlikely(scan->queued == scan->queue_room)) {
		scan->overflowed = true;
		return;
	}
	scan->queue[scan->queued++] = block;
}

void gy_leak_push(struct gy_leak_scan *scan, uintptr_t block)
{
	push(scan, block);
}

/* The block of that number, if it is white: not any more, and to be read. */
GY_INLINE void mark_bit(struct gy_leak_scan *scan, size_t bit, const struct gy_leak_page *page)
{
	uint64_t *word = &scan->frame.marks[bit / 64], mask = 1ull << bit % 64;

	if (!(*word & mask))
		return;
	*word &= ~mask;
	if (unlikely(scan->parents != NULL))
		scan->parents[bit] = scan->parent;
	push(scan, gy_leak_block_start(page, (unsigned)(bit - (size_t)page->bits_at * 64)));
}

/* Second stage: the page's record is here, its bit is asked for; the oldest such bit is marked. */
static void find_bit(struct gy_leak_scan *scan, uintptr_t address)
{
	struct gy_leak_target *at = &scan->bits[scan->bit_at], oldest = *at;

	at->bit = gy_leak_bit_of(&scan->frame, address, scan->exact, &at->page);
	scan->bit_at = (scan->bit_at + 1) % GY_LEAK_TARGETS;
	if (at->bit == GY_LEAK_NO_BIT)
		at->page = NULL;
	else
		__builtin_prefetch(&scan->frame.marks[at->bit / 64], 1);
	if (oldest.page)
		mark_bit(scan, oldest.bit, oldest.page);
}

/* First stage. An address in a page of the frame. */
GY_INLINE void found(struct gy_leak_scan *scan, uintptr_t address, size_t number)
{
	uintptr_t oldest = scan->targets[scan->target_at];

	__builtin_prefetch(&scan->frame.pages[number]);
	scan->targets[scan->target_at] = address;
	scan->target_at = (scan->target_at + 1) % GY_LEAK_TARGETS;
	if (oldest)
		find_bit(scan, oldest);
}

static void flush_targets(struct gy_leak_scan *scan)
{
	for (unsigned i = 0; i < GY_LEAK_TARGETS; i++) {
		uintptr_t target = scan->targets[i];

		scan->targets[i] = 0;
		if (target)
			find_bit(scan, target);
	}
	for (unsigned i = 0; i < GY_LEAK_TARGETS; i++) {
		struct gy_leak_target target = scan->bits[i];

		scan->bits[i].page = NULL;
		if (target.page)
			mark_bit(scan, target.bit, target.page);
	}
}

GY_LEAK_READER static void mark_words(struct gy_leak_scan *scan, const uintptr_t *words,
				      size_t count, uintptr_t address)
{
	const uintptr_t base = gy_map.base, tags = scan->tag_mask;
	const size_t pages = scan->frame.page_count;

	(void)address;
	for (size_t i = 0; i < count; i++) {
		uintptr_t word = READ_RELAXED(words[i]);
		size_t number = (word - base) >> GY_PAGE_SHIFT;

		if (unlikely(number < pages))
			found(scan, word, number);
		if (likely(!(word & tags)))
			continue;
		word &= ~tags;
		number = (word - base) >> GY_PAGE_SHIFT;
		if (number < pages)
			found(scan, word, number);
	}
	if (unlikely(scan->parents != NULL)) /* while the parent is known */
		flush_targets(scan);
	*(scan->in_heap ? &scan->heap_bytes : &scan->root_bytes) += count * sizeof(*words);
}

GY_LEAK_READER bool gy_leak_read_block(struct gy_leak_scan *scan, uintptr_t block, size_t bytes)
{
	const uintptr_t *words = (const uintptr_t *)block;

	if (bytes >= GY_KERNEL_PAGE_BYTES) /* MARKER-3 */
		return gy_leak_read(scan, block, block + bytes, false);
	if (READ_RELAXED(words[0]) == gy_freed_mark()) /* MARKER-1 */
		return true;
	scan->words(scan, words, bytes / sizeof(*words), block);
	return gy_leak_pace(scan, bytes + 64);
}

static bool read_marked(struct gy_leak_scan *scan, uintptr_t block)
{
	const struct gy_leak_page *page = &scan->frame.pages[gy_page_of((void *)block)];

	if (unlikely(scan->parents != NULL)) {
		size_t bit = gy_leak_bit_of(&scan->frame, block, false, &page);

		scan->parent = (uint32_t)bit + 1;
	}
	return gy_leak_read_block(scan, block, gy_leak_block_bytes(page));
}

/* The last that was pushed; the first, where paths shall be short (path.c). */
static uintptr_t take(struct gy_leak_scan *scan)
{
	uintptr_t block;

	if (likely(!scan->parents))
		return scan->queue[--scan->queued];
	block = scan->queue[scan->queue_first++];
	if (scan->queue_first == scan->queued)
		scan->queue_first = scan->queued = 0;
	return block;
}

/* Its page's record was just used, when it was pushed. */
GY_INLINE void prefetch_block(const struct gy_leak_scan *scan, uintptr_t block)
{
	size_t bytes = gy_leak_block_bytes(&scan->frame.pages[gy_page_of((const void *)block)]);

	for (size_t at = 0; at < MIN(bytes, LINES_AHEAD * 64); at += 64)
		__builtin_prefetch((const char *)block + at);
}

/* Reads what is on the stack, and what that leads to. */
static bool drain(struct gy_leak_scan *scan)
{
	uintptr_t ahead[GY_LEAK_BLOCKS_AHEAD] = {0};
	unsigned at = 0, waiting = 0;

	for (;;) {
		uintptr_t block;

		if (!scan->queued && !waiting) {
			flush_targets(scan);
			if (!scan->queued)
				return true;
		}
		block = ahead[at];
		ahead[at] = 0;
		if (scan->queued) {
			ahead[at] = take(scan);
			prefetch_block(scan, ahead[at]);
			waiting++;
		}
		at = (at + 1) % GY_LEAK_BLOCKS_AHEAD;
		if (!block)
			continue;
		waiting--;
		if (!read_marked(scan, block))
			return false;
	}
}

/* MARKER-2 */
static GY_COLD bool read_all_marked(struct gy_leak_scan *scan)
{
	struct gy_leak_frame *frame = &scan->frame;

	for (size_t s = 0; s < frame->span_count; s++) {
		const struct gy_leak_page *page = &frame->pages[frame->spans[s]];

		for (unsigned i = 0; i < page->objects; i++) {
			size_t bit = (size_t)page->bits_at * 64 + i;

			if (!gy_leak_bit_get(frame->live, bit) ||
			    gy_leak_bit_get(frame->marks, bit))
				continue;
			if (!read_marked(scan, gy_leak_block_start(page, i)))
				return false;
			if (scan->queued > scan->queue_room / 2 && !drain(scan))
				return false;
		}
	}
	return drain(scan);
}

bool gy_leak_mark(struct gy_leak_scan *scan)
{
	bool whole;

	scan->words = mark_words;
	scan->overflowed = false;
	scan->parent = 0;
	memset(scan->targets, 0, sizeof(scan->targets));
	memset(scan->bits, 0, sizeof(scan->bits));
	memcpy(scan->frame.marks, scan->frame.live, scan->frame.words * 8);
	if (!gy_leak_roots(scan) || !gy_leak_collected_all(scan))
		return false;
	scan->in_heap = true;
	whole = drain(scan);
	while (whole && scan->overflowed) {
		scan->overflowed = false;
		whole = read_all_marked(scan);
	}
	scan->in_heap = false;
	return whole;
}
