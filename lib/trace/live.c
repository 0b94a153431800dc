/* live.c - see live.h. */
#include "trace/live.h"

#include "heap/metadata.h"

#define CHUNK_RECORDS 1024u
#define INDEX_FIRST_BITS 10u
#define HASH_BITS 32u

struct slot {
	uint32_t number; /* of the record, + 1; 0: empty */
	uint32_t hash;   /* of its block; the upper bits say where its probe starts */
};

/* [lock: sampler] One line, and the next to it. */
static struct {
	struct slot *slots;
	uint32_t mask;        /* count of slots - 1; 0: none yet */
	uint32_t shift;       /* HASH_BITS - log2 of their count */
	uint32_t records;     /* in chunks, unused ones included */
	uint32_t fresh;       /* the first of those that were never used */
	uint32_t free_record; /* record number + 1, of those that were */
	uint32_t count;       /* [atomic: relaxed for onlookers] */
	struct gy_live_sample *chunks[GY_LIVE_MAX / CHUNK_RECORDS];
} live GY_ALIGNED(64);

static struct gy_live_sample *record_at(uint32_t number)
{
	return &live.chunks[number / CHUNK_RECORDS][number % CHUNK_RECORDS];
}

/* Blocks are 8-aligned; the multiplier spreads what is left. */
static uint32_t hash_of(uintptr_t block)
{
	return (uint32_t)(block * 0x9e3779b97f4a7c15u >> HASH_BITS);
}

static void place(struct slot slot)
{
	uint32_t at = slot.hash >> live.shift;

	while (live.slots[at].number)
		at = (at + 1) & live.mask;
	live.slots[at] = slot;
}

/* Doubles the index; without memory the old one serves on, fuller. */
static void grow_index(void)
{
	unsigned bits = live.mask ? HASH_BITS - live.shift + 1 : INDEX_FIRST_BITS;
	struct slot *old = live.slots, *larger = gy_metadata_take(sizeof(*larger) << bits);
	uint32_t old_count = live.mask ? live.mask + 1 : 0;

	if (!larger)
		return;
	live.slots = larger;
	live.mask = (1u << bits) - 1;
	live.shift = HASH_BITS - bits;
	for (uint32_t i = 0; i < old_count; i++)
		if (old[i].number)
			place(old[i]);
}

static bool add_chunk(void)
{
	uint32_t chunk = live.records / CHUNK_RECORDS;
	struct gy_live_sample *fresh;

	if (live.records == GY_LIVE_MAX) /* LIVE-2 */
		return false;
	fresh = gy_metadata_take(CHUNK_RECORDS * sizeof(*fresh));
	if (!fresh)
		return false;
	live.chunks[chunk] = fresh; /* untouched: most processes have few samples */
	live.records += CHUNK_RECORDS;
	return true;
}

/* Room for one more (LIVE-3): the index half full at most, 7/8 where memory lacks. */
static GY_NOINLINE bool make_room(void)
{
	if (live.count >= live.mask / 2)
		grow_index();
	return live.mask && live.count < (live.mask + 1) / 8 * 7 &&
	       (live.free_record || live.fresh < live.records || add_chunk());
}

/* The slot that holds the block; false and an empty slot, where there is an index, if none does. */
static bool find_slot(uintptr_t block, uint32_t hash, uint32_t *at)
{
	if (unlikely(!live.mask))
		return false;
	for (*at = hash >> live.shift; live.slots[*at].number; *at = (*at + 1) & live.mask)
		if (live.slots[*at].hash == hash &&
		    record_at(live.slots[*at].number - 1)->block == block)
			return true;
	return false;
}

struct gy_live_sample *gy_live_add_locked(uintptr_t block)
{
	uint32_t hash = hash_of(block), at, number = live.free_record;
	struct gy_live_sample *sample;

	if (unlikely(live.count >= live.mask / 2 || (!number && live.fresh == live.records)) &&
	    !make_room())
		return gy_live_find_locked(block);
	if (unlikely(find_slot(block, hash, &at)))
		return record_at(live.slots[at].number - 1); /* LIVE-1 */
	if (unlikely(!number))
		number = ++live.fresh;
	sample = record_at(number - 1);
	if (likely(number == live.free_record))
		live.free_record = sample->next_free;
	live.slots[at] = (struct slot){number, hash};
	sample->block = block;
	sample->block_bytes = 0;
	WRITE_RELAXED(live.count, live.count + 1);
	return sample;
}

struct gy_live_sample *gy_live_find_locked(uintptr_t block)
{
	uint32_t at;

	return find_slot(block, hash_of(block), &at) ? record_at(live.slots[at].number - 1) : NULL;
}

static const struct gy_live_sample *remove_at(uint32_t hole)
{
	const uint32_t mask = live.mask;
	struct slot *slots = live.slots;
	struct gy_live_sample *sample = record_at(slots[hole].number - 1);

	sample->block = 0;
	sample->next_free = live.free_record;
	live.free_record = slots[hole].number;
	/* Move back each follower whose home does not lie behind the hole. */
	for (uint32_t next = (hole + 1) & mask; slots[next].number; next = (next + 1) & mask) {
		uint32_t home = slots[next].hash >> live.shift;

		if (((next - home) & mask) >= ((next - hole) & mask)) {
			slots[hole] = slots[next];
			hole = next;
		}
	}
	slots[hole].number = 0;
	WRITE_RELAXED(live.count, live.count - 1);
	return sample;
}

const struct gy_live_sample *gy_live_remove_locked(uintptr_t block)
{
	uint32_t at;

	if (unlikely(!find_slot(block, hash_of(block), &at)))
		return NULL;
	return remove_at(at);
}

void gy_live_each_locked(void (*visit)(struct gy_live_sample *sample, void *context), void *context)
{
	for (uint32_t i = 0; i < live.fresh; i++)
		if (record_at(i)->block)
			visit(record_at(i), context);
}

uint32_t gy_live_count(void)
{
	return READ_RELAXED(live.count);
}

void gy_live_check_locked(void)
{
	uint32_t indexed = 0, unused = 0, size = live.mask ? live.mask + 1 : 0;

	for (uint32_t i = 0; i < size; i++) {
		uint32_t at, hash;
		uintptr_t block;

		if (!live.slots[i].number)
			continue;
		indexed++;
		CHECK(live.slots[i].number <= live.fresh);
		block = record_at(live.slots[i].number - 1)->block;
		hash = hash_of(block);
		CHECK(find_slot(block, hash, &at) && at == i); /* LIVE-1 */
	}
	for (uint32_t i = live.free_record; i; i = record_at(i - 1)->next_free)
		unused++;
	CHECK(indexed == live.count && indexed + unused == live.fresh);
	CHECK(live.fresh <= live.records);
	CHECK(live.records <= GY_LIVE_MAX); /* LIVE-2 */
	CHECK(!size || indexed < size);     /* LIVE-3 */
}
