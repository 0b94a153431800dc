/* sampled.c - the shelves of freed samples; see sampled.h. */
#include "heap/sampled.h"

#include "heap/thread_cache.h"

#include <string.h>

#define SHELF_BLOCKS 7u

struct gy_lock gy_sampler_lock GY_ALIGNED(64) = GY_LOCK_INIT(GY_RANK_sampler);

/* [lock: sampler] */
static struct shelf {
	uint16_t count; /* [atomic: relaxed for onlookers] */
	uint16_t used;  /* somebody came by since the last look */
	void *blocks[SHELF_BLOCKS];
} GY_ALIGNED(64) shelves[GY_CLASS_COUNT];

_Static_assert(sizeof(struct shelf) == 64, "a cache line");

void *gy_shelf_take_locked(unsigned class_index)
{
	struct shelf *shelf = &shelves[class_index];

	shelf->used = 1;
	if (unlikely(!shelf->count))
		return NULL;
	WRITE_RELAXED(shelf->count, (uint16_t)(shelf->count - 1));
	return shelf->blocks[shelf->count];
}

bool gy_shelf_give_locked(unsigned class_index, void *block)
{
	struct shelf *shelf = &shelves[class_index];

	shelf->used = 1;
	if (unlikely(shelf->count == SHELF_BLOCKS))
		return false;
	*(uintptr_t *)block = gy_freed_mark();
	shelf->blocks[shelf->count] = block;
	WRITE_RELAXED(shelf->count, (uint16_t)(shelf->count + 1));
	return true;
}

void *gy_sampled_take(unsigned class_index)
{
	enum gy_oom_reason reason;
	void *block;

	return gy_central_take(&gy_centrals[1][class_index], &block, 1, &reason) ? block : NULL;
}

void gy_sampled_give(unsigned class_index, void *block)
{
	*(uintptr_t *)block = gy_freed_mark();
	gy_central_give(&gy_centrals[1][class_index], &block, 1, false);
}

bool gy_sampled_holds(unsigned class_index, const void *block)
{
	const struct shelf *shelf = &shelves[class_index];
	bool found = false;

	gy_lock_acquire(&gy_sampler_lock);
	for (unsigned i = 0; i < shelf->count; i++)
		found |= shelf->blocks[i] == block;
	gy_lock_release(&gy_sampler_lock);
	return found || gy_central_holds(&gy_centrals[1][class_index], block);
}

uint32_t gy_sampled_waiting(unsigned class_index)
{
	return READ_RELAXED(shelves[class_index].count);
}

void gy_sampled_drain(unsigned class_index, bool idle_only)
{
	struct shelf *shelf = &shelves[class_index];
	void *blocks[SHELF_BLOCKS];
	unsigned count = 0;

	if (!READ_RELAXED(shelf->count))
		return;
	gy_lock_acquire(&gy_sampler_lock);
	if (!idle_only || !shelf->used) {
		count = shelf->count;
		memcpy(blocks, shelf->blocks, count * sizeof(*blocks));
		WRITE_RELAXED(shelf->count, 0);
	}
	shelf->used = 0;
	gy_lock_release(&gy_sampler_lock);
	/* They lay idle: into their spans, which do not look younger. */
	if (count)
		gy_central_give(&gy_centrals[1][class_index], blocks, count, true);
}
