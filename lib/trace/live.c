/* live.c - see live.h. */
#include "trace/live.h"

#include "heap/metadata.h"

#include <string.h>

#define CHUNK_RECORDS 1024u
#define INDEX_FIRST_BITS 10u

struct gy_lock gy_sampler_lock = GY_LOCK_INIT(GY_RANK_sampler);

static struct gy_live_sample *chunks[GY_LIVE_MAX / CHUNK_RECORDS]; /* [lock: sampler], all below */
static uint32_t *slots;                                            /* record number + 1 */
static unsigned slot_bits;   /* log2 of their count; 0: none yet */
static uint32_t records;     /* records made so far, free ones included */
static uint32_t free_record; /* record number + 1 */
static uint32_t live_count;  /* [atomic: relaxed] */

static struct gy_live_sample *record_at(uint32_t number)
{
	return &chunks[number / CHUNK_RECORDS][number % CHUNK_RECORDS];
}

static uint32_t slot_mask(void)
{
	return (uint32_t)(((uint64_t)1 << slot_bits) - 1);
}

/* Where the probe for a block starts. Blocks are 8-aligned; the multiplier spreads what is left. */
static uint32_t home_of(uintptr_t block)
{
	return (uint32_t)(block * 0x9e3779b97f4a7c15u >> (64 - slot_bits));
}

static void place(uint32_t number)
{
	uint32_t slot = home_of(record_at(number)->block);

	while (slots[slot])
		slot = (slot + 1) & slot_mask();
	slots[slot] = number + 1;
}

/* Doubles the index; without memory the old one serves on, fuller. */
static void grow_index(void)
{
	unsigned bits = slot_bits ? slot_bits + 1 : INDEX_FIRST_BITS;
	uint32_t *old = slots, *larger = gy_metadata_take(sizeof(*slots) << bits);
	uint32_t old_count = old ? slot_mask() + 1 : 0;

	if (!larger)
		return;
	slots = larger;
	slot_bits = bits;
	for (uint32_t i = 0; i < old_count; i++)
		if (old[i])
			place(old[i] - 1);
}

/* Room in the index for one more (LIVE-3): half full at most, 7/8 where memory lacks. */
static bool index_has_room(void)
{
	if (!slot_bits || live_count >= (slot_mask() + 1) / 2)
		grow_index();
	return slot_bits && live_count < (slot_mask() + 1) / 8 * 7;
}

static bool add_chunk(void)
{
	uint32_t chunk = records / CHUNK_RECORDS;

	if (records == GY_LIVE_MAX) /* LIVE-2 */
		return false;
	chunks[chunk] = gy_metadata_take(CHUNK_RECORDS * sizeof(*chunks[chunk]));
	if (!chunks[chunk])
		return false;
	for (uint32_t i = CHUNK_RECORDS; i-- > 0;) {
		chunks[chunk][i].next_free = free_record;
		free_record = records + i + 1;
	}
	records += CHUNK_RECORDS;
	return true;
}

struct gy_live_sample *gy_live_add_locked(uintptr_t block)
{
	struct gy_live_sample *sample;
	uint32_t number;

	ASSERT(!gy_live_find_locked(block)); /* LIVE-1 */
	if (!index_has_room() || (!free_record && !add_chunk()))
		return NULL;
	number = free_record - 1;
	sample = record_at(number);
	free_record = sample->next_free;
	memset(sample, 0, sizeof(*sample));
	sample->block = block;
	place(number);
	WRITE_RELAXED(live_count, live_count + 1);
	return sample;
}

/* The slot that holds the block; false and an undefined slot if none does. */
static bool find_slot(uintptr_t block, uint32_t *slot)
{
	if (!slot_bits)
		return false;
	for (*slot = home_of(block); slots[*slot]; *slot = (*slot + 1) & slot_mask())
		if (record_at(slots[*slot] - 1)->block == block)
			return true;
	return false;
}

struct gy_live_sample *gy_live_find_locked(uintptr_t block)
{
	uint32_t slot;

	return find_slot(block, &slot) ? record_at(slots[slot] - 1) : NULL;
}

void gy_live_remove_locked(struct gy_live_sample *sample)
{
	uint32_t mask = slot_mask(), hole, next, number;
	bool found = find_slot(sample->block, &hole);

	CHECK(found && record_at(slots[hole] - 1) == sample);
	number = slots[hole] - 1;
	/* Move back each follower whose home does not lie behind the hole. */
	for (next = (hole + 1) & mask; slots[next]; next = (next + 1) & mask) {
		uint32_t home = home_of(record_at(slots[next] - 1)->block);

		if (((next - home) & mask) >= ((next - hole) & mask)) {
			slots[hole] = slots[next];
			hole = next;
		}
	}
	slots[hole] = 0;
	sample->block = 0;
	sample->next_free = free_record;
	free_record = number + 1;
	WRITE_RELAXED(live_count, live_count - 1);
}

void gy_live_each_locked(void (*visit)(struct gy_live_sample *sample, void *context), void *context)
{
	for (uint32_t i = 0; i < records; i++)
		if (record_at(i)->block)
			visit(record_at(i), context);
}

uint32_t gy_live_count(void)
{
	return READ_RELAXED(live_count);
}

void gy_live_check_locked(void)
{
	uint32_t indexed = 0, unused = 0, size = slot_bits ? slot_mask() + 1 : 0;

	for (uint32_t i = 0; i < size; i++) {
		uint32_t slot;

		if (!slots[i])
			continue;
		indexed++;
		CHECK(slots[i] <= records);
		CHECK(find_slot(record_at(slots[i] - 1)->block, &slot) && slot == i); /* LIVE-1 */
	}
	for (uint32_t i = free_record; i; i = record_at(i - 1)->next_free)
		unused++;
	CHECK(indexed == live_count && indexed + unused == records);
	CHECK(records <= GY_LIVE_MAX);  /* LIVE-2 */
	CHECK(!size || indexed < size); /* LIVE-3 */
}
