/* stack_memo.c - see stack_memo.h. */
#include "trace/stack_memo.h"

#include "trace/stack_window.h"

#include <string.h>

#define ROWS 128u

struct row {
	uint32_t in_use; /* [atomic: acquire to take, release to leave] MEMO-2 */
	uint16_t depth, capacity;
	uintptr_t sp, caller_pc;
	uintptr_t slots[GY_STACK_MEMO_FRAMES], frames[GY_STACK_MEMO_FRAMES];
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

unsigned gy_stack_memo_find(uintptr_t sp, uintptr_t caller_pc, uintptr_t low, uintptr_t high,
			    uintptr_t *frames, unsigned capacity)
{
	struct row *row = sp >= low && sp < high ? row_enter(sp, caller_pc) : NULL;
	unsigned depth = 0;

	_Static_assert(ROWS == 1u << 7, "the shift in row_enter");
	if (!row)
		return 0;
	if (row->sp == sp && row->caller_pc == caller_pc && row->capacity == capacity) {
		depth = row->depth;
		for (unsigned i = 0; i < depth; i++) {
			if (!is_inside(row->slots[i], sp, high) || /* MEMO-1 */
			    gy_stack_word(row->slots[i]) != row->frames[i]) {
				depth = 0;
				break;
			}
		}
		memcpy(frames, row->frames, depth * sizeof(*frames));
	}
	row_leave(row);
	return depth;
}

void gy_stack_memo_put(uintptr_t sp, uintptr_t caller_pc, uintptr_t low, uintptr_t high,
		       const uintptr_t *slots, const uintptr_t *frames, unsigned depth,
		       unsigned capacity)
{
	struct row *row;

	if (sp < low || sp >= high || depth > GY_STACK_MEMO_FRAMES)
		return;
	for (unsigned i = 0; i < depth; i++)
		if (!is_inside(slots[i], sp, high) || gy_stack_word(slots[i]) != frames[i])
			return;
	row = row_enter(sp, caller_pc);
	if (!row)
		return;
	row->sp = sp;
	row->caller_pc = caller_pc;
	row->depth = (uint16_t)depth;
	row->capacity = (uint16_t)capacity;
	memcpy(row->slots, slots, depth * sizeof(*slots));
	memcpy(row->frames, frames, depth * sizeof(*frames));
	row_leave(row);
}

void gy_stack_memo_clear(void)
{
	for (unsigned i = 0; i < ROWS; i++)
		rows[i].depth = 0;
}
