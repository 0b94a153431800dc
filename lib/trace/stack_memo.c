/* stack_memo.c - see stack_memo.h. */
#include "trace/stack_memo.h"

#include "trace/stack_window.h"

#include <string.h>

#define ROWS 128u

struct row {
	uint32_t in_use; /* [atomic: acquire to take, release to leave] MEMO-2 */
	uint16_t depth, capacity;
	uintptr_t sp, caller_pc;
	uint32_t anchor_count;
	uintptr_t slots[GY_STACK_MEMO_FRAMES], frames[GY_STACK_MEMO_FRAMES];
	uintptr_t anchors[GY_STACK_MEMO_ANCHORS], anchored[GY_STACK_MEMO_ANCHORS];
};

static struct row rows[ROWS];

static struct row *row_enter(uintptr_t sp, uintptr_t caller_pc)
{
	uint64_t mixed = (sp ^ caller_pc << 20) * 0x9e3779b97f4a7c15u;
	struct row *row = &rows[mixed >> 57];

	return __atomic_exchange_n(&row->in_use, 1, __ATOMIC_ACQUIRE) ? NULL : row;
}

static void row_leave(struct row *row)
{
	__atomic_store_n(&row->in_use, 0, __ATOMIC_RELEASE);
}

static bool is_inside(uintptr_t slot, uintptr_t sp, uintptr_t high)
{
	return slot >= sp && slot < high && !(slot & 7);
}

/* MEMO-1: do all of these slots lie on the stack, and hold these words? */
static bool words_are(const uintptr_t *slots, const uintptr_t *words, unsigned count, uintptr_t sp,
		      uintptr_t high)
{
	for (unsigned i = 0; i < count; i++)
		if (!is_inside(slots[i], sp, high) || gy_stack_word(slots[i]) != words[i])
			return false;
	return true;
}

unsigned gy_stack_memo_find(uintptr_t sp, uintptr_t caller_pc, uintptr_t low, uintptr_t high,
			    uintptr_t *frames, unsigned capacity)
{
	struct row *row = sp >= low && sp < high ? row_enter(sp, caller_pc) : NULL;
	unsigned depth = 0;

	_Static_assert(ROWS == 1u << 7, "the shift in row_enter");
	if (!row)
		return 0;
	if (row->sp == sp && row->caller_pc == caller_pc && row->capacity == capacity &&
	    words_are(row->slots, row->frames, row->depth, sp, high) &&
	    words_are(row->anchors, row->anchored, row->anchor_count, sp, high)) {
		depth = row->depth;
		memcpy(frames, row->frames, depth * sizeof(*frames));
	}
	row_leave(row);
	return depth;
}

void gy_stack_memo_put(uintptr_t sp, uintptr_t caller_pc, uintptr_t low, uintptr_t high,
		       const struct gy_stack_trail *trail, const uintptr_t *frames, unsigned depth,
		       unsigned capacity)
{
	struct row *row;

	if (!trail->kept || sp < low || sp >= high || depth > GY_STACK_MEMO_FRAMES ||
	    !words_are(trail->slots, frames, depth, sp, high))
		return;
	for (unsigned i = 0; i < trail->anchor_count; i++)
		if (!is_inside(trail->anchors[i], sp, high))
			return;
	row = row_enter(sp, caller_pc);
	if (!row)
		return;
	row->sp = sp;
	row->caller_pc = caller_pc;
	row->depth = (uint16_t)depth;
	row->capacity = (uint16_t)capacity;
	row->anchor_count = trail->anchor_count;
	memcpy(row->slots, trail->slots, depth * sizeof(*row->slots));
	memcpy(row->frames, frames, depth * sizeof(*row->frames));
	for (unsigned i = 0; i < trail->anchor_count; i++) {
		row->anchors[i] = trail->anchors[i];
		row->anchored[i] = gy_stack_word(trail->anchors[i]);
	}
	row_leave(row);
}

void gy_stack_memo_clear(void)
{
	for (unsigned i = 0; i < ROWS; i++) {
		if (__atomic_exchange_n(&rows[i].in_use, 1, __ATOMIC_ACQUIRE))
			continue; /* of somebody who is at it now */
		rows[i].depth = 0;
		row_leave(&rows[i]);
	}
}
