/* sort.c - lost blocks in order: what is lost by itself, and what with it; by class, age and stack.
 *
 *	direct     nothing points to it but, perhaps, itself. Of a cycle that nothing outside points
 *		   to, the block of the lowest address stands for all
 *	indirect   lost with a direct one: freeing that one properly would have freed it
 *
 *	1  read every lost block: what a word in it points to is `pointed`
 *	2  from each that is not pointed, mark what it leads to as lost with it
 *	3  what is left are cycles, and what hangs on them: the same from the lowest address on
 *
 * SORT-1  Every lost block is lost with exactly one direct block: the first that leads to it. Sums
 *         over the direct blocks are the sums over all.
 * SORT-2  Lost blocks do not change, so this needs no care for the program. The few that are taken
 *         from under us all the same (a scan that is uncertain) only move between the two sorts.
 */
#include "leak/scan.h"

#include "heap/sampled.h"

#include <string.h>

#define SECOND 1000000000ull

/* ------------------------------------------------------------------ reading */

/* The lost block that a word points to. */
static size_t lost_bit(const struct gy_leak_scan *scan, uintptr_t word)
{
	const struct gy_leak_page *page;
	size_t number = (word - gy_map.base) >> GY_PAGE_SHIFT, bit;

	if (number >= scan->frame.page_count || !gy_leak_bit_get(scan->frame.hot, number))
		return GY_LEAK_NO_BIT;
	bit = gy_leak_bit_of(&scan->frame, word, scan->exact, &page);
	return bit != GY_LEAK_NO_BIT && gy_leak_bit_get(scan->frame.marks, bit) ? bit
										: GY_LEAK_NO_BIT;
}

GY_LEAK_READER static void note_pointed(struct gy_leak_scan *scan, const uintptr_t *words,
					size_t count, uintptr_t address)
{
	(void)address;
	for (size_t i = 0; i < count; i++) {
		uintptr_t word = READ_RELAXED(words[i]);
		size_t bit = lost_bit(scan, word);

		if (bit == GY_LEAK_NO_BIT && scan->tag_mask)
			bit = lost_bit(scan, word & ~scan->tag_mask);
		if (bit != GY_LEAK_NO_BIT && bit != scan->parent)
			gy_leak_bit_set(scan->frame.pointed, bit);
	}
}

/* scan->parent: the direct block, its number + 1. */
GY_LEAK_READER static void note_lost_with(struct gy_leak_scan *scan, const uintptr_t *words,
					  size_t count, uintptr_t address)
{
	(void)address;
	for (size_t i = 0; i < count; i++) {
		uintptr_t word = READ_RELAXED(words[i]);
		const struct gy_leak_page *page;
		size_t bit = lost_bit(scan, word);

		if (bit == GY_LEAK_NO_BIT && scan->tag_mask)
			bit = lost_bit(scan, word &= ~scan->tag_mask);
		if (bit == GY_LEAK_NO_BIT || scan->frame.notes[bit])
			continue;
		page = &scan->frame.pages[gy_page_of((const void *)word)];
		scan->frame.notes[bit] = scan->parent;
		scan->held_blocks++;
		scan->held_bytes += gy_leak_block_bytes(page);
		gy_leak_push(scan, gy_leak_block_start(
					   page, (unsigned)(bit - (size_t)page->bits_at * 64)));
	}
}

/* Calls visit for each lost block; false: given up. */
static bool each_lost(struct gy_leak_scan *scan,
		      bool (*visit)(struct gy_leak_scan *scan, const struct gy_leak_page *page,
				    size_t bit, uintptr_t block))
{
	const struct gy_leak_frame *frame = &scan->frame;

	for (size_t s = 0; s < frame->span_count; s++) {
		const struct gy_leak_page *page = &frame->pages[frame->spans[s]];

		if (!gy_leak_bit_get(frame->hot, frame->spans[s]))
			continue;
		for (unsigned w = 0; w < (page->objects + 63u) / 64; w++) {
			uint64_t bits = frame->marks[page->bits_at + w];

			for (; bits; bits &= bits - 1) {
				unsigned index = w * 64 + (unsigned)__builtin_ctzll(bits);

				if (!visit(scan, page, (size_t)page->bits_at * 64 + index,
					   gy_leak_block_start(page, index)))
					return false;
			}
		}
	}
	return true;
}

/* ------------------------------------------------------------------ the table of blocks */

bool gy_leak_is_sample(const struct gy_leak_page *page, uintptr_t block)
{
	if (page->kind & GY_LEAK_PAGE_SAMPLED)
		return true;
	return gy_leak_kind(page) == GY_SPAN_SMALL && gy_sampled_in_place(page->class_index) &&
	       gy_sampled_is((const void *)block);
}

/* The table is full: of what is in it and `block`, that which holds least goes. A heap, least on
 * top. */
static void replace_least(struct gyre_leak_block *blocks, uint32_t count,
			  const struct gyre_leak_block *block)
{
	uint32_t at = 0;

	if (blocks[0].held_bytes >= block->held_bytes)
		return;
	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= count)
			break;
		if (child + 1 < count && blocks[child + 1].held_bytes < blocks[child].held_bytes)
			child++;
		if (blocks[child].held_bytes >= block->held_bytes)
			break;
		blocks[at] = blocks[child];
		at = child;
	}
	blocks[at] = *block;
}

static void sort_blocks(struct gyre_leak_block *blocks, uint32_t count)
{
	uint32_t gap = 1;

	while (gap < count / 3)
		gap = gap * 3 + 1;
	for (; gap; gap /= 3)
		for (uint32_t i = gap; i < count; i++) {
			struct gyre_leak_block block = blocks[i];
			uint32_t at = i;

			for (; at >= gap && blocks[at - gap].held_bytes < block.held_bytes;
			     at -= gap)
				blocks[at] = blocks[at - gap];
			blocks[at] = block;
		}
}

static void store_block(struct gy_leak_scan *scan, const struct gyre_leak_block *block)
{
	struct gyre_leak_block *blocks = gy_leak_report_blocks(scan->header);
	uint32_t room = scan->header->block_room;

	room = MIN(room, GY_LEAK_BLOCKS_MOST); /* RESULT-2 */
	if (scan->block_count < room) {
		blocks[scan->block_count++] = *block;
		if (scan->block_count == room) /* a sorted table is a heap */
			sort_blocks(blocks, room);
		if (scan->block_count == room)
			for (uint32_t i = 0; i < room / 2; i++) {
				struct gyre_leak_block other = blocks[i];

				blocks[i] = blocks[room - 1 - i];
				blocks[room - 1 - i] = other;
			}
	} else if (block->flags & GYRE_LEAK_BLOCK_DIRECT) {
		replace_least(blocks, room, block);
	}
}

/* ------------------------------------------------------------------ direct and indirect */

static bool read_pointed(struct gy_leak_scan *scan, const struct gy_leak_page *page, size_t bit,
			 uintptr_t block)
{
	scan->frame.notes[bit] = 0;
	scan->parent = (uint32_t)bit;
	return gy_leak_read_block(scan, block, gy_leak_block_bytes(page));
}

/* Of a sample: what it stands for, in its group and its class of ages. */
static void count_sample(struct gy_leak_scan *scan, struct gyre_leak_block *block)
{
	static const uint64_t limits[GYRE_LEAK_AGES - 1] = {
		SECOND,		SECOND * 10,	SECOND * 60,	  SECOND * 600,
		SECOND * 3600, SECOND * 86400, SECOND * 604800};
	struct gyre_leak_header *header = scan->header;
	struct gy_leak_sample sample;
	struct gyre_leak_group *group;
	unsigned age = 0;

	if (!gy_leak_sample_of(scan, block->address, &sample))
		return;
	block->flags |= GYRE_LEAK_BLOCK_SAMPLED;
	block->group = sample.group;
	block->age_ns = sample.age_ns;
	header->lost_samples++;
	while (age < GYRE_LEAK_AGES - 1 && sample.age_ns >= limits[age])
		age++;
	header->ages[age].sampled++;
	header->ages[age].weight_bytes += sample.weight_bytes;
	header->ages[age].weight_sixteenths += sample.weight_sixteenths;
	if (!sample.group) {
		header->group_none++;
		return;
	}
	group = &gy_leak_report_groups(header)[sample.group - 1];
	group->lost_samples++;
	group->lost_sampled_bytes += block->bytes;
	group->weight_bytes += sample.weight_bytes;
	group->weight_sixteenths += sample.weight_sixteenths;
	if (block->flags & GYRE_LEAK_BLOCK_DIRECT) {
		group->direct_samples++;
		group->direct_sampled_bytes += block->bytes;
		group->direct_weight_bytes += sample.weight_bytes;
		group->direct_weight_sixteenths += sample.weight_sixteenths;
	}
	/* Horvitz and Thompson: one of `bytes` that stands for W was taken with probability bytes
	 * / W, and adds W (W - bytes). */
	scan->variances[sample.group - 1] +=
		(double)sample.weight_bytes *
		(double)(sample.weight_bytes - MIN(sample.block_bytes, sample.weight_bytes));
	group->youngest_ns = MIN(group->youngest_ns, sample.age_ns);
	if (!group->example || sample.age_ns > group->oldest_ns) {
		group->oldest_ns = sample.age_ns;
		group->example = block->address;
	}
}

static void count_class(struct gy_leak_scan *scan, const struct gy_leak_page *page, bool direct)
{
	struct gyre_leak_header *header = scan->header;
	struct gyre_leak_class *class = &gy_leak_report_classes(header)[page->class_index];
	size_t bytes = gy_leak_block_bytes(page);

	class->lost_blocks++;
	class->lost_bytes += bytes;
	header->lost_blocks++;
	header->lost_bytes += bytes;
	if (!direct)
		return;
	class->direct_blocks++;
	class->direct_bytes += bytes;
	header->direct_blocks++;
	header->direct_bytes += bytes;
}

/* A direct block, and what is lost with it. */
static bool lose(struct gy_leak_scan *scan, const struct gy_leak_page *page, size_t bit,
		 uintptr_t block)
{
	struct gyre_leak_block entry = {.address = block,
					.bytes = gy_leak_block_bytes(page),
					.flags = GYRE_LEAK_BLOCK_DIRECT,
					.head = block};

	scan->parent = (uint32_t)bit + 1;
	scan->frame.notes[bit] = scan->parent;
	scan->held_blocks = 1;
	scan->held_bytes = entry.bytes;
	if (!gy_leak_read_block(scan, block, entry.bytes))
		return false;
	while (scan->queued) {
		uintptr_t next = scan->queue[--scan->queued];

		if (!gy_leak_read_block(
			    scan, next,
			    gy_leak_block_bytes(
				    &scan->frame.pages[gy_page_of((const void *)next)])))
			return false;
	}
	entry.held_blocks = scan->held_blocks;
	entry.held_bytes = scan->held_bytes;
	if (gy_leak_is_sample(page, block))
		count_sample(scan, &entry);
	count_class(scan, page, true);
	store_block(scan, &entry);
	return true;
}

static bool lose_unpointed(struct gy_leak_scan *scan, const struct gy_leak_page *page, size_t bit,
			   uintptr_t block)
{
	return gy_leak_bit_get(scan->frame.pointed, bit) || lose(scan, page, bit, block);
}

static bool lose_cycle(struct gy_leak_scan *scan, const struct gy_leak_page *page, size_t bit,
		       uintptr_t block)
{
	return scan->frame.notes[bit] || lose(scan, page, bit, block);
}

static bool note_indirect(struct gy_leak_scan *scan, const struct gy_leak_page *page, size_t bit,
			  uintptr_t block)
{
	uint32_t head = scan->frame.notes[bit];
	struct gyre_leak_block entry = {.address = block, .bytes = gy_leak_block_bytes(page)};

	if (head == (uint32_t)bit + 1)
		return true;
	if (head)
		entry.head = gy_leak_block_of(&scan->frame, head - 1);
	if (gy_leak_is_sample(page, block))
		count_sample(scan, &entry);
	count_class(scan, page, false);
	store_block(scan, &entry);
	return true;
}

/* ------------------------------------------------------------------ in all */

static void count_live(struct gy_leak_scan *scan)
{
	const struct gy_leak_frame *frame = &scan->frame;
	struct gyre_leak_class *classes = gy_leak_report_classes(scan->header);

	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		classes[c].object_bytes = gy_size_classes[c].bytes;
	for (size_t s = 0; s < frame->span_count; s++) {
		const struct gy_leak_page *page = &frame->pages[frame->spans[s]];
		uint64_t count = 0;

		for (unsigned w = 0; w < (page->objects + 63u) / 64; w++)
			count += (uint64_t)__builtin_popcountll(frame->live[page->bits_at + w]);
		classes[page->class_index].live_blocks += count;
		classes[page->class_index].live_bytes += count * gy_leak_block_bytes(page);
		scan->header->live_blocks += count;
		scan->header->live_bytes += count * gy_leak_block_bytes(page);
	}
}

/* Newton's; the C library's needs its errno. */
static uint64_t root_of(double square)
{
	double root = MAX(square, 1.0);

	for (unsigned i = 0; i < 80; i++)
		root = (root + square / root) / 2;
	return square < 1 ? 0 : (uint64_t)root;
}

void gy_leak_sort(struct gy_leak_scan *scan)
{
	struct gyre_leak_header *header = scan->header;
	struct gyre_leak_group *groups = gy_leak_report_groups(header);
	uint32_t direct;

	count_live(scan);
	memset(scan->variances, 0, sizeof(scan->variances));
	scan->block_count = scan->group_count = 0;
	scan->queued = 0;
	scan->words = note_pointed;
	if (!each_lost(scan, read_pointed))
		return;
	scan->words = note_lost_with;
	if (!each_lost(scan, lose_unpointed) || !each_lost(scan, lose_cycle))
		return;
	direct = scan->block_count;
	each_lost(scan, note_indirect);
	sort_blocks(gy_leak_report_blocks(header), direct);
	for (uint32_t i = 0; i < scan->group_count; i++)
		groups[i].error_bytes = root_of(scan->variances[i]);
	gy_leak_report_live(scan);
	header->block_count = scan->block_count;
	header->group_count = scan->group_count;
	header->class_count = GY_CLASS_COUNT;
}
