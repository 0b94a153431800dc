/* profile.c - see profile.h.
 *
 * The seqlock is written without fences, because ThreadSanitizer knows none: each counter is
 * stored with release and loaded with acquire. A reader that sees a counter of a later change
 * therefore sees that change's odd seq too, and takes the bucket again. On x86-64 and AArch64 these
 * are plain moves (or stlr/ldar), a handful per sample.
 */
#include "trace/profile.h"

#include "base/config.h"
#include "heap/metadata.h"

#include <errno.h>
#include <string.h>

#define PROFILE_PROBES 128u /* a bucket lies at most so far from its home */
#define EARLY_BUCKETS 256u  /* until the control page exists */
#define COPY_TRIES 64u      /* then the writer, who may be descheduled, is waited for */

struct table {
	struct gyre_control_bucket *buckets;
	unsigned count;
	bool shared; /* in the control page */
};

/* A reader may still hold the table that was replaced: the descriptors are used in turn. A process
 * replaces its table once, and once more in each generation of children. */
static struct {
	struct table *current; /* [atomic: release in publish, acquire in gy_profile_each] */
	uint32_t used;         /* tables so far: the present one's number [lock: sampler] */
	bool inherited;        /* PROFILE-5: `current` is the parent's [atomic: relaxed] */
	struct table tables[4];
} profile GY_ALIGNED(64);

static void publish(struct gyre_control_bucket *buckets, unsigned count, bool shared)
{
	struct table *table = &profile.tables[profile.used++ % ARRAY_SIZE(profile.tables)];

	*table = (struct table){buckets, count, shared};
	__atomic_store_n(&profile.current, table, __ATOMIC_RELEASE);
}

uint64_t gy_profile_hash(const uintptr_t *frames, unsigned depth)
{
	uint64_t hash = depth;

	for (unsigned i = 0; i < depth; i++) {
		hash = (hash ^ frames[i]) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 29;
	}
	hash = (hash ^ hash >> 32) * 0xff51afd7ed558ccdu;
	return hash ^ hash >> 32;
}

static void begin_change(struct gyre_control_bucket *bucket)
{
	WRITE_RELAXED(bucket->seq, bucket->seq | 1);
}

static void end_change(struct gyre_control_bucket *bucket)
{
	__atomic_store_n(&bucket->seq, (bucket->seq | 1) + 1, __ATOMIC_RELEASE);
}

static void set(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

static unsigned depth_of(const struct gyre_control_bucket *bucket)
{
	unsigned depth = __atomic_load_n(&bucket->depth, __ATOMIC_ACQUIRE);

	return MIN(depth, (unsigned)GY_PROFILE_FRAMES); /* PROFILE-4 */
}

static bool is_stack(const struct gyre_control_bucket *bucket, const uintptr_t *frames,
		     unsigned depth, uint64_t hash)
{
	if (bucket->hash != hash || depth_of(bucket) != depth)
		return false;
	for (unsigned i = 0; i < depth; i++)
		if (bucket->frames[i] != frames[i])
			return false;
	return true;
}

static void fill(struct gyre_control_bucket *bucket, const uintptr_t *frames, unsigned depth,
		 uint64_t hash)
{
	begin_change(bucket);
	set(&bucket->hash, hash);
	for (unsigned i = 0; i < depth; i++)
		bucket->frames[i] = frames[i];
	__atomic_store_n(&bucket->depth, depth, __ATOMIC_RELEASE); /* PROFILE-2 */
	end_change(bucket);
}

static uint32_t overflow_bucket(const struct table *table)
{
	const uintptr_t nowhere = 0;
	uint32_t last = table->count - 1;

	if (!depth_of(&table->buckets[last]))
		fill(&table->buckets[last], &nowhere, 1, 0);
	return last;
}

static uint32_t locate(const struct table *table, const uintptr_t *frames, unsigned depth,
		       uint64_t hash)
{
	uint32_t usable = table->count - 1;
	uint32_t at = (uint32_t)((hash >> 32) * usable >> 32);

	depth = MIN(depth, (unsigned)GY_PROFILE_FRAMES);
	if (!depth)
		return overflow_bucket(table);
	for (uint32_t i = 0; i < MIN(usable, PROFILE_PROBES); i++) {
		struct gyre_control_bucket *bucket = &table->buckets[at];

		if (!depth_of(bucket))
			fill(bucket, frames, depth, hash);
		if (is_stack(bucket, frames, depth, hash))
			return at;
		at = at + 1 < usable ? at + 1 : 0;
	}
	return overflow_bucket(table);
}

/* The bucket of `to` for the stack of bucket `index` of `from`. */
static uint32_t relocate(const struct table *to, const struct table *from, uint32_t index)
{
	const struct gyre_control_bucket *bucket;
	uintptr_t frames[GY_PROFILE_FRAMES];
	unsigned depth;

	if (index >= from->count - 1)
		return overflow_bucket(to);
	bucket = &from->buckets[index];
	depth = depth_of(bucket);
	for (unsigned i = 0; i < depth; i++)
		frames[i] = bucket->frames[i];
	return locate(to, frames, depth, bucket->hash);
}

static void add_to(struct gyre_control_bucket *bucket, const struct gy_live_sample *sample)
{
	begin_change(bucket);
	set(&bucket->alloc_objects, bucket->alloc_objects + 1);
	set(&bucket->alloc_bytes, bucket->alloc_bytes + sample->block_bytes);
	set(&bucket->alloc_weight, bucket->alloc_weight + sample->weight_bytes);
	set(&bucket->alloc_weight_objects,
	    bucket->alloc_weight_objects + sample->weight_sixteenths);
	end_change(bucket);
}

static void subtract_from(struct gyre_control_bucket *bucket, const struct gy_live_sample *sample)
{
	begin_change(bucket);
	set(&bucket->free_objects, bucket->free_objects + 1);
	set(&bucket->free_bytes, bucket->free_bytes + sample->block_bytes);
	set(&bucket->free_weight, bucket->free_weight + sample->weight_bytes);
	set(&bucket->free_weight_objects, bucket->free_weight_objects + sample->weight_sixteenths);
	end_change(bucket);
}

struct move {
	const struct table *from;
	struct table to;
	bool count; /* the new table starts empty: add the live samples (PROFILE-5) */
};

static void move_live(struct gy_live_sample *sample, void *context)
{
	const struct move *move = context;

	sample->bucket = relocate(&move->to, move->from, sample->bucket);
	if (move->count)
		add_to(&move->to.buckets[sample->bucket], sample);
}

static void move_counters(const struct move *move, uint32_t index)
{
	const struct gyre_control_bucket *old = &move->from->buckets[index];
	struct gyre_control_bucket *new;

	if (!depth_of(old) || !old->alloc_objects)
		return;
	new = &move->to.buckets[relocate(&move->to, move->from, index)];
	begin_change(new);
	set(&new->alloc_objects, new->alloc_objects + old->alloc_objects);
	set(&new->alloc_bytes, new->alloc_bytes + old->alloc_bytes);
	set(&new->alloc_weight, new->alloc_weight + old->alloc_weight);
	set(&new->alloc_weight_objects, new->alloc_weight_objects + old->alloc_weight_objects);
	set(&new->free_objects, new->free_objects + old->free_objects);
	set(&new->free_bytes, new->free_bytes + old->free_bytes);
	set(&new->free_weight, new->free_weight + old->free_weight);
	set(&new->free_weight_objects, new->free_weight_objects + old->free_weight_objects);
	end_change(new);
}

/* Makes `buckets` the table, with all that the present one holds. */
static void move_to_locked(struct gyre_control_bucket *buckets, unsigned count, bool shared)
{
	struct move move = {profile.current, {buckets, count, shared}, profile.inherited};

	CHECK(count >= 2);
	if (move.from) {
		for (uint32_t i = 0; i < move.from->count && !move.count; i++)
			move_counters(&move, i);
		gy_live_each_locked(move_live, &move);
	}
	publish(buckets, count, shared);
	WRITE_RELAXED(profile.inherited, false);
}

/* Makes a table in metadata the present one. */
static bool take_table_locked(unsigned count)
{
	struct gyre_control_bucket *buckets = gy_metadata_take(count * sizeof(*buckets));

	if (buckets)
		move_to_locked(buckets, count, false);
	return buckets != NULL;
}

static GY_NOINLINE struct table *own_table_slow_locked(void)
{
	unsigned count = gy_option(GY_OPT_control) ? EARLY_BUCKETS : GYRE_CONTROL_BUCKETS;

	if (profile.inherited)
		count = profile.current->count;
	return take_table_locked(count) ? profile.current : NULL;
}

/* The table, of our own (PROFILE-5); NULL if memory lacks. */
static struct table *own_table_locked(void)
{
	if (likely(profile.current && !profile.inherited))
		return profile.current;
	return own_table_slow_locked();
}

void gy_profile_init(struct gyre_control_bucket *buckets, unsigned count)
{
	gy_lock_acquire(&gy_sampler_lock);
	move_to_locked(buckets, count, true);
	gy_lock_release(&gy_sampler_lock);
}

void gy_profile_fork_child_locked(void)
{
	if (profile.current && profile.current->shared)
		WRITE_RELAXED(profile.inherited, true);
}

uint32_t gy_profile_bucket_locked(const uintptr_t *frames, unsigned depth, uint64_t hash)
{
	const struct table *table = own_table_locked();
	uint32_t bucket = table ? locate(table, frames, depth, hash) : GY_PROFILE_NO_BUCKET;

	/* The early table is small; if no control page comes, it grows once. */
	if (table && bucket == table->count - 1 && !table->shared &&
	    table->count < GYRE_CONTROL_BUCKETS && take_table_locked(GYRE_CONTROL_BUCKETS))
		bucket = locate(profile.current, frames, depth, hash);
	return bucket;
}

uint64_t gy_profile_note_locked(uint32_t bucket)
{
	return bucket + 1 < profile.current->count ? (uint64_t)profile.used << 32 | bucket : 0;
}

uint32_t gy_profile_noted_locked(uint64_t note)
{
	return note >> 32 == profile.used && !profile.inherited ? (uint32_t)note
								: GY_PROFILE_NO_BUCKET;
}

bool gy_profile_add_locked(const struct gy_live_sample *sample)
{
	const struct table *table = profile.current;

	CHECK(sample->bucket < table->count);
	add_to(&table->buckets[sample->bucket], sample);
	return sample->bucket + 1 < table->count;
}

bool gy_profile_own_locked(void)
{
	return own_table_locked() != NULL;
}

void gy_profile_subtract_locked(const struct gy_live_sample *sample)
{
	const struct table *table = profile.current;

	if (unlikely(profile.inherited)) /* no memory for a table: nothing of it is counted yet */
		return;
	CHECK(sample->bucket < table->count);
	subtract_from(&table->buckets[sample->bucket], sample);
}

const uint64_t *gy_profile_frames_locked(uint32_t bucket, unsigned *depth)
{
	CHECK(bucket < profile.current->count);
	*depth = depth_of(&profile.current->buckets[bucket]);
	return profile.current->buckets[bucket].frames;
}

static void copy_counters(const struct gyre_control_bucket *bucket,
			  struct gyre_control_bucket *copy)
{
	const uint64_t *from = &bucket->alloc_objects;
	uint64_t *to = &copy->alloc_objects;
	const size_t count = (offsetof(struct gyre_control_bucket, frames) -
			      offsetof(struct gyre_control_bucket, alloc_objects)) /
			     sizeof(*to);

	for (size_t i = 0; i < count; i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
}

/* PROFILE-1: a copy of the bucket between two equal even seqs; false if it is empty. */
static bool copy_bucket(const struct gyre_control_bucket *bucket, struct gyre_control_bucket *copy)
{
	copy->depth = depth_of(bucket);
	if (!copy->depth)
		return false;
	memcpy(copy->frames, bucket->frames, copy->depth * sizeof(copy->frames[0])); /* PROFILE-2 */
	for (unsigned i = 0; i < COPY_TRIES; i++) {
		copy->seq = __atomic_load_n(&bucket->seq, __ATOMIC_ACQUIRE);
		copy_counters(bucket, copy);
		if (!(copy->seq & 1) && copy->seq == READ_RELAXED(bucket->seq))
			return true;
	}
	/* A writer that was descheduled amid its change, or a scribbled seq (PROFILE-4). */
	gy_lock_acquire(&gy_sampler_lock);
	copy_counters(bucket, copy);
	gy_lock_release(&gy_sampler_lock);
	return true;
}

static uint64_t difference(uint64_t from, uint64_t subtracted)
{
	return from > subtracted ? from - subtracted : 0;
}

int gy_profile_each(int (*visit)(const struct gyre_profile_entry *entry, void *context),
		    void *context)
{
	struct gyre_control_bucket copy;
	const struct table *table;
	int result = 0;

	if (!visit)
		return -EINVAL;
	if (!gy_option(GY_OPT_sample))
		return -EOPNOTSUPP;
	if (READ_RELAXED(profile.inherited)) {
		gy_lock_acquire(&gy_sampler_lock);
		own_table_locked();
		gy_lock_release(&gy_sampler_lock);
	}
	table = __atomic_load_n(&profile.current, __ATOMIC_ACQUIRE);
	for (unsigned i = 0; table && i < table->count && !result; i++) {
		struct gyre_profile_entry entry;

		/* A bucket whose only samples were lost has nothing to show. */
		if (!copy_bucket(&table->buckets[i], &copy) || !copy.alloc_objects)
			continue;
		entry.frames = copy.frames;
		entry.depth = copy.depth;
		entry.inuse_bytes = difference(copy.alloc_weight, copy.free_weight);
		entry.inuse_objects =
			(difference(copy.alloc_weight_objects, copy.free_weight_objects) + 8) / 16;
		entry.alloc_bytes = copy.alloc_weight;
		entry.alloc_objects = (copy.alloc_weight_objects + 8) / 16;
		result = visit(&entry, context);
	}
	return result;
}

/* One bucket against the live samples of that bucket; for gy_profile_check_locked. */
struct sum {
	uint32_t bucket;
	uint64_t objects, bytes, weight, weight_objects;
};

static void sum_live(struct gy_live_sample *sample, void *context)
{
	struct sum *sum = context;

	if (sample->bucket != sum->bucket)
		return;
	sum->objects++;
	sum->bytes += sample->block_bytes;
	sum->weight += sample->weight_bytes;
	sum->weight_objects += sample->weight_sixteenths;
}

void gy_profile_check_locked(void)
{
	const struct table *table = own_table_locked();

	for (uint32_t i = 0; table && i < table->count; i++) {
		const struct gyre_control_bucket *bucket = &table->buckets[i];
		struct sum sum = {i, 0, 0, 0, 0};

		CHECK(!(bucket->seq & 1)); /* PROFILE-1: nobody writes without the lock */
		if (!depth_of(bucket))
			continue;
		gy_live_each_locked(sum_live, &sum);
		CHECK(bucket->alloc_objects - bucket->free_objects == sum.objects); /* PROFILE-3 */
		CHECK(bucket->alloc_bytes - bucket->free_bytes == sum.bytes);
		CHECK(bucket->alloc_weight - bucket->free_weight == sum.weight);
		CHECK(bucket->alloc_weight_objects - bucket->free_weight_objects ==
		      sum.weight_objects);
	}
}
