/* trace_live.c - blocks that were allocated and not freed, by address: open addressing, linear
 * probing, entries moved back when one is taken out, so that no marks of the dead remain. */
#include <errno.h>
#include <stdlib.h>

#include "trace.h"

struct gy_trace_live {
	struct gy_trace_block *blocks; /* address 0: free */
	size_t size, used;             /* size: a power of 2 */
};

static size_t home(const struct gy_trace_live *live, uint64_t address)
{
	return (size_t)((address >> 4) * 0x9e3779b97f4a7c15ull >> 20) & (live->size - 1);
}

static size_t slot_of(const struct gy_trace_live *live, uint64_t address)
{
	size_t slot = home(live, address);

	while (live->blocks[slot].address && live->blocks[slot].address != address)
		slot = (slot + 1) & (live->size - 1);
	return slot;
}

struct gy_trace_live *gy_trace_live_new(void)
{
	return calloc(1, sizeof(struct gy_trace_live));
}

void gy_trace_live_free(struct gy_trace_live *live)
{
	if (live)
		free(live->blocks);
	free(live);
}

static int grow(struct gy_trace_live *live)
{
	struct gy_trace_live old = *live;

	live->size = old.size ? old.size * 2 : 4096;
	live->blocks = calloc(live->size, sizeof(*live->blocks));
	if (!live->blocks) {
		*live = old;
		return -ENOMEM;
	}
	for (size_t i = 0; i < old.size; i++)
		if (old.blocks[i].address)
			live->blocks[slot_of(live, old.blocks[i].address)] = old.blocks[i];
	free(old.blocks);
	return 0;
}

int gy_trace_live_add(struct gy_trace_live *live, const struct gy_trace_block *block)
{
	size_t slot;

	if (!block->address)
		return 0;
	if (live->used * 2 >= live->size && grow(live))
		return -ENOMEM;
	slot = slot_of(live, block->address);
	live->used += !live->blocks[slot].address;
	live->blocks[slot] = *block;
	return 0;
}

bool gy_trace_live_end(struct gy_trace_live *live, uint64_t address, struct gy_trace_block *block)
{
	size_t slot, hole;

	if (!live->size || !address)
		return false;
	hole = slot_of(live, address);
	if (!live->blocks[hole].address)
		return false;
	*block = live->blocks[hole];
	for (slot = (hole + 1) & (live->size - 1); live->blocks[slot].address;
	     slot = (slot + 1) & (live->size - 1)) {
		size_t wanted = home(live, live->blocks[slot].address);

		/* It may move back unless its home lies behind the hole. */
		if (((slot - wanted) & (live->size - 1)) >= ((slot - hole) & (live->size - 1))) {
			live->blocks[hole] = live->blocks[slot];
			hole = slot;
		}
	}
	live->blocks[hole].address = 0;
	live->used--;
	return true;
}

void gy_trace_live_each(struct gy_trace_live *live,
			void (*visit)(void *context, const struct gy_trace_block *block),
			void *context)
{
	for (size_t i = 0; i < live->size; i++)
		if (live->blocks[i].address)
			visit(context, &live->blocks[i]);
}
