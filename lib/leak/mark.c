/* mark.c - round 1: every block of the frame that something leads to.
 *
 * Roots first, then blocks off a stack of addresses. As in the collector's marker (gc/mark.c) what
 * bounds it is memory latency, so everything is asked for some steps ahead:
 *
 *	word found -> ring of targets -> test and mark -> stack -> ring of blocks -> read its words
 *	        prefetch: page's record                     prefetch: the block's first lines
 *
 * One thread marks: bits are changed without atomics.
 *
 * MARKER-1  A block is pushed once, when its mark is set, and read once. A block that holds the
 *           freed mark is free and not read: what lies in it is of before.
 * MARKER-2  Where the stack is full, nothing is lost: blocks that are marked but perhaps not read
 *           are found again by reading all that are marked, until none had to be left out.
 * MARKER-3  Blocks of a page and more are read by the kernel (read.c): a program may have protected
 *           their pages. Smaller ones share pages with others, and are read as they are.
 */
#include "leak/scan.h"

#include "heap/thread_cache.h"

#include <string.h>

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

static void mark_target(struct gy_leak_scan *scan, uintptr_t address)
{
	struct gy_leak_frame *frame = &scan->frame;
	const struct gy_leak_page *page;
	size_t bit = gy_leak_bit_of(frame, address, scan->exact, &page);

	if (bit == GY_LEAK_NO_BIT || gy_leak_bit_get(frame->marks, bit) ||
	    !gy_leak_bit_get(frame->live, bit))
		return;
	gy_leak_bit_set(frame->marks, bit);
	if (unlikely(scan->parents != NULL))
		scan->parents[bit] = scan->parent;
	push(scan, gy_leak_block_start(page, (unsigned)(bit - (size_t)page->bits_at * 64)));
}

GY_INLINE void found(struct gy_leak_scan *scan, uintptr_t word)
{
	size_t number = (word - gy_map.base) >> GY_PAGE_SHIFT;
	uintptr_t oldest;

	if (likely(number >= scan->frame.page_count))
		return;
	if (unlikely(scan->parents != NULL)) { /* the parent is known now */
		mark_target(scan, word);
		return;
	}
	__builtin_prefetch(&scan->frame.pages[number]);
	oldest = scan->targets[scan->target_at];
	scan->targets[scan->target_at] = word;
	scan->target_at = (scan->target_at + 1) % GY_LEAK_TARGETS;
	if (oldest)
		mark_target(scan, oldest);
}

GY_LEAK_READER static void mark_words(struct gy_leak_scan *scan, const uintptr_t *words,
				      size_t count, uintptr_t address)
{
	(void)address;
	for (size_t i = 0; i < count; i++) {
		uintptr_t word = READ_RELAXED(words[i]);

		found(scan, word);
		if (unlikely(scan->tag_mask) && word & scan->tag_mask)
			found(scan, word & ~scan->tag_mask);
	}
	*(scan->in_heap ? &scan->heap_bytes : &scan->root_bytes) += count * sizeof(*words);
}

static void flush_targets(struct gy_leak_scan *scan)
{
	for (unsigned i = 0; i < GY_LEAK_TARGETS; i++) {
		uintptr_t target = scan->targets[i];

		scan->targets[i] = 0;
		if (target)
			mark_target(scan, target);
	}
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
			__builtin_prefetch((void *)ahead[at]);
			__builtin_prefetch(&scan->frame.pages[gy_page_of((void *)ahead[at])]);
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
			if (!gy_leak_bit_get(frame->marks, (size_t)page->bits_at * 64 + i))
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
	scan->words = mark_words;
	scan->overflowed = false;
	scan->parent = 0;
	memset(scan->targets, 0, sizeof(scan->targets));
	if (!gy_leak_roots(scan) || !gy_leak_collected_all(scan) || !drain(scan))
		return false;
	while (scan->overflowed) {
		scan->overflowed = false;
		if (!read_all_marked(scan))
			return false;
	}
	return true;
}
