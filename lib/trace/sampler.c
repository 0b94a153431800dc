/* sampler.c - see sampler.h. */
#include "trace/sampler.h"

#include "base/config.h"
#include "base/probe.h"
#include "trace/live.h"
#include "trace/profile.h"
#include "trace/sample_math.h"
#include "trace/ticks.h"
#include "trace/unwind.h"

#define WEIGHTS_LINEAR 128u

static uint64_t samples; /* [lock: sampler for writing; atomic: relaxed] all three */
static uint64_t lost;
static uint64_t unbooked; /* of those lost: the ones without a record, which the profile lacks */

/* splitmix64: one addition of state, any seed, passes the usual batteries. */
static uint64_t random_next(uint64_t *rng)
{
	uint64_t z = *rng += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* The upper integer part of an exponential variable with mean P / s is geometric with
 * p = 1 - exp(-s / P): P(N > n) = exp(-n s / P). */
int64_t gy_sample_interval(size_t object_bytes, unsigned stretch, uint64_t *rng)
{
	uint64_t period = gy_option(GY_OPT_sample) << stretch;
	double uniform, gap;
	int64_t whole;

	if (!period)
		return INT64_MAX;
	if (!object_bytes)
		object_bytes = 1;
	/* the middle of one of 2^53 equal parts of (0, 1) */
	uniform = ((double)(int64_t)(random_next(rng) >> 11) + 0.5) * 0x1p-53;
	gap = gy_neg_log(uniform) * ((double)(int64_t)period / (double)(int64_t)object_bytes);
	whole = (int64_t)gap; /* at most 37 * 2^46: the option's maximum, stretched */
	if ((double)whole < gap)
		whole++;
	return MAX(whole, 1);
}

uint64_t gy_sample_weight(size_t block_bytes, unsigned stretch)
{
	uint64_t period = gy_option(GY_OPT_sample) << stretch;
	double bytes = (double)block_bytes;

	if (!period || !block_bytes)
		return block_bytes;
	return (uint64_t)(bytes / gy_one_minus_exp_neg(bytes / (double)period) + 0.5);
}

/* What a sample of a size stands for: few sizes are sampled, again and again. */
struct weight {
	uint64_t block_bytes, bytes, sixteenths;
	uint64_t period; /* the option may change */
	unsigned stretch;
};

/* Where the weight of a size is kept. A place of its own for each size class: they are multiples of
 * 16 up to 2 KiB, or almost, and then 8 to a doubling. */
static struct weight *weight_at(size_t block_bytes)
{
	static struct weight known[WEIGHTS_LINEAR + 8 * 64]; /* [lock: sampler] */
	unsigned log2;

	if (block_bytes < WEIGHTS_LINEAR * 16)
		return &known[block_bytes / 16];
	log2 = 63u - (unsigned)__builtin_clzll(block_bytes);
	return &known[WEIGHTS_LINEAR + log2 * 8 + (block_bytes >> (log2 - 3) & 7)];
}

static const struct weight *weight_of_locked(size_t block_bytes, unsigned stretch)
{
	struct weight *weight = weight_at(block_bytes);
	uint64_t period = gy_option(GY_OPT_sample);

	/* An unused entry says 0 bytes, which stand for 0. */
	if (unlikely(weight->block_bytes != block_bytes || weight->stretch != stretch ||
		     weight->period != period)) {
		weight->block_bytes = block_bytes;
		weight->period = period;
		weight->stretch = stretch;
		weight->bytes = gy_sample_weight(block_bytes, stretch);
		/* A weight is below 2^48 (the option's maximum, or the size of a block). */
		weight->sixteenths = block_bytes ? weight->bytes * 16 / block_bytes : 0;
	}
	return weight;
}

/* The sample in hand. */
struct fresh {
	uintptr_t block; /* 0: of class_index, off its shelf */
	unsigned class_index;
	size_t requested_bytes, block_bytes;
	unsigned stretch;
	uint64_t birth_ticks;
	uint64_t weight_bytes; /* [out] */
};

/* Books the sample in its bucket and remembers its block; false: without room for that it is lost.
 */
GY_INLINE bool book_locked(struct fresh *fresh, uint32_t bucket)
{
	const struct weight *weight = weight_of_locked(fresh->block_bytes, fresh->stretch);
	struct gy_live_sample *record = NULL;

	WRITE_RELAXED(samples, samples + 1);
	fresh->weight_bytes = weight->bytes;
	if (likely(bucket != GY_PROFILE_NO_BUCKET))
		record = gy_live_add_locked(fresh->block);
	if (unlikely(!record)) {
		WRITE_RELAXED(lost, lost + 1);
		WRITE_RELAXED(unbooked, unbooked + 1);
		return false;
	}
	/* A record that was not freed (a heap that carried on after misuse) must not stay: LIVE-1.
	 */
	if (unlikely(record->block_bytes))
		gy_profile_subtract_locked(record);
	record->requested_bytes = fresh->requested_bytes;
	record->block_bytes = fresh->block_bytes;
	record->weight_bytes = weight->bytes;
	record->weight_sixteenths = weight->sixteenths;
	record->birth_ticks = fresh->birth_ticks;
	record->bucket = bucket;
	if (unlikely(!gy_profile_add_locked(record)))
		WRITE_RELAXED(lost, lost + 1);
	return true;
}

/* The common case: a stack that was booked before, and a block at hand. false: nothing was done. */
static bool book_noted(struct fresh *fresh, uint64_t note)
{
	uint32_t bucket;
	bool booked = false;

	gy_lock_acquire(&gy_sampler_lock); /* SAMPLE-2 */
	bucket = gy_profile_noted_locked(note);
	if (likely(bucket != GY_PROFILE_NO_BUCKET)) {
		if (!fresh->block)
			fresh->block = (uintptr_t)gy_shelf_take_locked(fresh->class_index);
		if (likely(fresh->block)) {
			book_locked(fresh, bucket);
			booked = true;
		}
	}
	gy_lock_release_quick(&gy_sampler_lock);
	return booked;
}

/* A stack with all its frames: fills in what can be noted of it. */
static void book_frames(struct fresh *fresh, const uintptr_t *frames, unsigned depth,
			const struct gy_stack_seen *seen)
{
	uint64_t hash = gy_profile_hash(frames, depth), note = 0;
	uint32_t bucket;

	gy_lock_acquire(&gy_sampler_lock);
	bucket = gy_profile_bucket_locked(frames, depth, hash);
	if (!book_locked(fresh, bucket))
		bucket = GY_PROFILE_NO_BUCKET;
	else
		note = gy_profile_note_locked(bucket);
	gy_lock_release_quick(&gy_sampler_lock);
	if (note)
		gy_stack_memo_note(seen, note);
	GY_PROBE7(alloc_sample, fresh->block, fresh->requested_bytes, fresh->block_bytes,
		  fresh->weight_bytes, (uintptr_t)frames, depth, bucket);
}

GY_NOINLINE void *gy_sample_alloc(void *block, unsigned class_index, size_t requested_bytes,
				  size_t block_bytes, unsigned stretch, uintptr_t caller_pc)
{
	struct gy_stack_seen seen = {.use_note = !GY_PROBE_ENABLED(alloc_sample)};
	struct fresh fresh = {.block = (uintptr_t)block,
			      .class_index = class_index,
			      .requested_bytes = requested_bytes,
			      .block_bytes = block_bytes,
			      .stretch = stretch,
			      .birth_ticks = gy_ticks_of_birth(GY_PROBE_ENABLED(free_sample))};
	uintptr_t frames[GY_PROFILE_FRAMES];
	unsigned depth = gy_stack_capture(frames, ARRAY_SIZE(frames), caller_pc, &seen);

	if (likely(seen.use_note && seen.note) && likely(book_noted(&fresh, seen.note)))
		return (void *)fresh.block;
	if (!fresh.block) {
		fresh.block = (uintptr_t)gy_sampled_take(class_index);
		if (!fresh.block)
			return NULL;
	}
	if (seen.use_note && seen.note) { /* the shelf was empty, or the table is another one */
		if (book_noted(&fresh, seen.note))
			return (void *)fresh.block;
		seen = (struct gy_stack_seen){.use_note = false};
		depth = gy_stack_capture(frames, ARRAY_SIZE(frames), caller_pc, &seen);
	}
	book_frames(&fresh, frames, depth, &seen);
	return (void *)fresh.block;
}

/* The same with a tracer attached: it must hear of it before the block can be sampled again. */
static GY_NOINLINE enum gy_sample_end free_traced(uintptr_t block)
{
	struct gy_live_sample *record, sample = {.block = 0};
	const uint64_t *frames = NULL;
	unsigned depth = 0;

	gy_lock_acquire(&gy_sampler_lock);
	gy_profile_own_locked();
	record = gy_live_find_locked(block);
	if (record) {
		gy_profile_subtract_locked(record);
		sample = *record;
		frames = gy_profile_frames_locked(sample.bucket, &depth);
		gy_live_remove_locked(block);
	}
	gy_lock_release_quick(&gy_sampler_lock);
	if (!record)
		return GY_SAMPLE_UNKNOWN;
	GY_PROBE7(free_sample, block, sample.requested_bytes, sample.block_bytes,
		  sample.weight_bytes, (uintptr_t)frames, depth,
		  gy_ticks_since_ns(sample.birth_ticks));
	return GY_SAMPLE_ENDED;
}

GY_NOINLINE enum gy_sample_end gy_sample_free(void *block, unsigned class_index)
{
	enum gy_sample_end end = GY_SAMPLE_UNKNOWN; /* SAMPLE-4 */
	const struct gy_live_sample *record;

	if (GY_PROBE_ENABLED(free_sample))
		return free_traced((uintptr_t)block);
	gy_lock_acquire(&gy_sampler_lock);
	gy_profile_own_locked();
	record = gy_live_remove_locked((uintptr_t)block);
	if (likely(record)) {
		gy_profile_subtract_locked(record);
		end = GY_SAMPLE_ENDED;
		if (class_index && likely(gy_shelf_give_locked(class_index, block)))
			end = GY_SAMPLE_SHELVED;
	}
	gy_lock_release_quick(&gy_sampler_lock);
	return end;
}

void gy_sampler_counts(struct gy_sampler_counts *counts)
{
	counts->samples = READ_RELAXED(samples);
	counts->live = gy_live_count();
	counts->lost = READ_RELAXED(lost);
}

void gy_sampler_fork_prepare(void)
{
	gy_lock_acquire(&gy_sampler_lock);
}

void gy_sampler_fork_parent(void)
{
	gy_lock_release(&gy_sampler_lock);
}

void gy_sampler_fork_child(void)
{
	gy_profile_fork_child_locked();
	gy_lock_release(&gy_sampler_lock);
}

void gy_sampler_check(void)
{
	gy_lock_acquire(&gy_sampler_lock);
	gy_live_check_locked();
	gy_profile_check_locked();
	CHECK(gy_live_count() <= samples - unbooked); /* SAMPLE-3 */
	gy_lock_release(&gy_sampler_lock);
}
