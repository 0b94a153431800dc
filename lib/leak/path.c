/* path.c - who holds this block? A path from a root to it, the shortest in blocks.
 *
 *	1  a mark as in any scan, but first in, first out, and with a note at each block of the one
 *	   that led to it: 4 bytes a block, for as long as the question takes
 *	2  from the block back along the notes to one that a root led to
 *	3  which word of each block points to the next: read again
 *	4  which root it was: roots are read again, until one points there
 *
 * So a list of a million nodes costs what any heap of that size costs, and no stack or table of
 * paths grows while it is marked.
 *
 * PATH-1  The program runs on: what has changed between the steps shows as a word of value 0. A
 *         path is a sample of a moment, good for telling who keeps a block that does not go away.
 * PATH-2  Where there are more steps than room, the middle is left out and counted.
 */
#include "leak/scan.h"

#include <errno.h>
#include <string.h>

#define NO_PARENT 0u

/* ------------------------------------------------------------------ looking for one word */

static bool points_there(const struct gy_leak_scan *scan, uintptr_t word)
{
	return word - scan->find_low < scan->find_high - scan->find_low;
}

GY_LEAK_READER static void find_words(struct gy_leak_scan *scan, const uintptr_t *words,
				      size_t count, uintptr_t address)
{
	for (size_t i = 0; i < count && !scan->enough; i++) {
		uintptr_t word = READ_RELAXED(words[i]);

		if (!points_there(scan, word) && !points_there(scan, word & ~scan->tag_mask))
			continue;
		scan->enough = true;
		scan->found_word = word;
		scan->found_address = address ? address + i * sizeof(*words) : 0;
		scan->found_place = scan->place;
	}
}

static void find_begin(struct gy_leak_scan *scan, uintptr_t block, size_t bytes)
{
	scan->words = find_words;
	scan->find_low = block;
	scan->find_high = block + bytes;
	scan->enough = false;
	scan->found_word = scan->found_address = 0;
	scan->found_place = (struct gy_leak_place){.kind = GYRE_LEAK_STEP_NONE};
}

/* ------------------------------------------------------------------ steps */

static const struct gy_leak_page *page_of(const struct gy_leak_scan *scan, uintptr_t block)
{
	return &scan->frame.pages[gy_page_of((const void *)block)];
}

static uint32_t group_of(struct gy_leak_scan *scan, uintptr_t block)
{
	struct gy_leak_sample sample;

	return gy_leak_is_sample(page_of(scan, block), block) &&
			       gy_leak_sample_of(scan, block, &sample)
		       ? sample.group
		       : 0;
}

/* The step of a block that holds `next`. */
static void block_step(struct gy_leak_scan *scan, struct gyre_leak_step *step, uintptr_t block,
		       uintptr_t next)
{
	size_t bytes = gy_leak_block_bytes(page_of(scan, block));

	find_begin(scan, next, gy_leak_block_bytes(page_of(scan, next)));
	gy_leak_read_block(scan, block, bytes);
	*step = (struct gyre_leak_step){
		.kind = GYRE_LEAK_STEP_BLOCK,
		.address = scan->found_address,
		.value = scan->found_word,
		.offset = scan->found_address ? scan->found_address - block : 0,
		.block = block,
		.bytes = bytes,
		.group = group_of(scan, block),
	};
	scan->enough = false;
}

static void root_step(struct gy_leak_scan *scan, struct gyre_leak_step *step, uintptr_t block)
{
	const struct gy_leak_place *place = &scan->found_place;

	find_begin(scan, block, gy_leak_block_bytes(page_of(scan, block)));
	if (gy_leak_roots(scan))
		gy_leak_collected_all(scan);
	*step = (struct gyre_leak_step){
		.kind = place->kind,
		.tid = (uint32_t)place->tid,
		.address = scan->found_address,
		.value = scan->found_word,
		.offset = place->offset,
		.block = place->start,
		.bytes = place->end - place->start,
	};
	scan->enough = false;
}

static uint64_t path_length(const struct gy_leak_scan *scan, size_t bit)
{
	uint64_t length = 0;

	for (; scan->parents[bit] != NO_PARENT; bit = scan->parents[bit] - 1)
		length++;
	return length;
}

/* Steps: the root, `length` blocks that hold the next, the block itself. Walked from its end. */
static void write_steps(struct gy_leak_scan *scan, size_t bit, uint64_t length)
{
	struct gyre_leak_step *steps = gy_leak_report_steps(scan->header);
	const uint64_t all = length + 2, room = GY_LEAK_STEPS_MOST;
	const uint64_t front = all > room ? room / 2 : all; /* places for the first steps */
	const uint64_t back = all > room ? room - front - 1 : 0;
	uintptr_t next = gy_leak_block_of(&scan->frame, bit);
	struct gyre_leak_step target = {.kind = GYRE_LEAK_STEP_TARGET,
					.block = next,
					.bytes = scan->header->why_bytes,
					.group = scan->header->why_group};

	if (back)
		steps[front] = (struct gyre_leak_step){.kind = GYRE_LEAK_STEP_GAP,
						       .offset = all - front - back};
	scan->header->step_count = (uint32_t)MIN(all, room);
	steps[scan->header->step_count - 1] = target;
	for (uint64_t at = length; at; at--) { /* step number `at` from the root, which is 0 */
		uintptr_t block;

		bit = scan->parents[bit] - 1;
		block = gy_leak_block_of(&scan->frame, bit);
		if (at < front)
			block_step(scan, &steps[at], block, next);
		else if (all - at <= back)
			block_step(scan, &steps[room - (all - at)], block, next);
		next = block;
		if (!gy_leak_pace(scan, 64))
			return;
	}
	root_step(scan, &steps[0], next);
}

/* ------------------------------------------------------------------ in all */

static int answer(struct gy_leak_scan *scan)
{
	struct gyre_leak_header *header = scan->header;
	const struct gy_leak_page *page;
	uintptr_t block;
	size_t bit = gy_leak_bit_of(&scan->frame, scan->request.address, false, &page);

	if (bit == GY_LEAK_NO_BIT || !gy_leak_bit_get(scan->frame.live, bit))
		return -ENOENT;
	block = gy_leak_block_of(&scan->frame, bit);
	header->why_block = block;
	header->why_bytes = gy_leak_block_bytes(page);
	gy_leak_phase(scan, GYRE_LEAK_PHASE_MARK);
	if (!gy_leak_mark(scan))
		return scan->pace.error;
	gy_leak_phase(scan, GYRE_LEAK_PHASE_PATH);
	header->why_group = group_of(scan, block);
	header->why_found = !gy_leak_bit_get(scan->frame.marks, bit);
	if (header->why_found) {
		header->why_length = path_length(scan, bit) + 2;
		write_steps(scan, bit, header->why_length - 2);
	}
	header->group_count = scan->group_count;
	return scan->pace.error;
}

int gy_leak_path(struct gy_leak_scan *scan)
{
	size_t bytes;
	int error = 0;

	gy_leak_phase(scan, GYRE_LEAK_PHASE_CENSUS);
	error = gy_leak_census(scan);
	bytes = scan->frame.words * 64 * sizeof(*scan->parents);
	if (!error && scan->memory_bytes + bytes > scan->request.memory_bytes * 2)
		error = -ENOMEM;
	if (!error)
		error = gy_leak_make_queue(scan);
	scan->parents = gy_leak_map(scan, bytes, &error);
	scan->parents_bytes = bytes;
	return error ? error : answer(scan);
}
