/* sampler.c - see sampler.h. */
#include "trace/sampler.h"

#include "base/config.h"
#include "base/probe.h"
#include "trace/live.h"
#include "trace/profile.h"
#include "trace/sample_math.h"
#include "trace/ticks.h"
#include "trace/unwind.h"

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
int64_t gy_sample_interval(size_t object_bytes, uint64_t *rng)
{
	uint64_t period = gy_option(GY_OPT_sample);
	double uniform, gap;
	int64_t whole;

	if (!period)
		return INT64_MAX;
	if (!object_bytes)
		object_bytes = 1;
	/* the middle of one of 2^53 equal parts of (0, 1) */
	uniform = ((double)(random_next(rng) >> 11) + 0.5) * 0x1p-53;
	gap = gy_neg_log(uniform) * (double)period / (double)object_bytes;
	whole = (int64_t)gap; /* at most 37 * 2^40: the option's maximum */
	if ((double)whole < gap)
		whole++;
	return MAX(whole, 1);
}

static uint64_t compute_weight(size_t block_bytes, uint64_t period)
{
	double bytes = (double)block_bytes;

	return (uint64_t)(bytes / gy_one_minus_exp_neg(bytes / (double)period) + 0.5);
}

uint64_t gy_sample_weight(size_t block_bytes)
{
	/* Few sizes are sampled again and again: bytes in the upper half, the weight in the lower,
	 * in one word, so that nobody sees half of it. The period never changes. */
	static uint64_t known[64]; /* [atomic: relaxed] */
	uint64_t period = gy_option(GY_OPT_sample), weight, *entry = &known[block_bytes / 16 % 64];

	if (!period || !block_bytes)
		return block_bytes;
	weight = READ_RELAXED(*entry);
	if (weight >> 32 == block_bytes)
		return (uint32_t)weight;
	weight = compute_weight(block_bytes, period);
	if (block_bytes <= UINT32_MAX && weight <= UINT32_MAX)
		WRITE_RELAXED(*entry, (uint64_t)block_bytes << 32 | weight);
	return weight;
}

/* The block's record goes, booked out of the profile; false if there is none (SAMPLE-4). */
static bool forget_locked(uintptr_t block, struct gy_live_sample *sample)
{
	struct gy_live_sample *found = gy_live_find_locked(block);

	if (!found)
		return false;
	gy_profile_subtract_locked(found); /* may move the profile and with it the bucket number */
	*sample = *found;
	gy_live_remove_locked(found);
	return true;
}

/* Books the sample and remembers its block; without room for either it is lost. */
static void book_locked(struct gy_live_sample *sample, const uintptr_t *frames, unsigned depth,
			uint64_t hash)
{
	struct gy_live_sample stale, *record;

	/* A record that was not freed (a heap that carried on after misuse) must not stay: LIVE-1.
	 */
	forget_locked(sample->block, &stale);
	WRITE_RELAXED(samples, samples + 1);
	sample->bucket = gy_profile_bucket_locked(frames, depth, hash);
	record = sample->bucket == GY_PROFILE_NO_BUCKET ? NULL : gy_live_add_locked(sample->block);
	if (!record) {
		sample->bucket = GY_PROFILE_NO_BUCKET;
		WRITE_RELAXED(lost, lost + 1);
		WRITE_RELAXED(unbooked, unbooked + 1);
		return;
	}
	*record = *sample;
	gy_profile_add_locked(record);
	if (gy_profile_is_overflow_locked(record->bucket))
		WRITE_RELAXED(lost, lost + 1);
}

GY_NOINLINE void gy_sample_alloc(void *block, size_t requested_bytes, size_t block_bytes,
				 uintptr_t caller_pc)
{
	uintptr_t frames[GY_PROFILE_FRAMES];
	struct gy_live_sample sample = {
		.block = (uintptr_t)block,
		.requested_bytes = requested_bytes,
		.block_bytes = block_bytes,
		.weight_bytes = gy_sample_weight(block_bytes),
	};
	unsigned depth = gy_stack_capture(frames, ARRAY_SIZE(frames), caller_pc);
	uint64_t hash = gy_profile_hash(frames, depth);

	sample.birth_ticks = gy_ticks();
	gy_lock_acquire(&gy_sampler_lock); /* SAMPLE-2 */
	book_locked(&sample, frames, depth, hash);
	gy_lock_release(&gy_sampler_lock);
	GY_PROBE7(alloc_sample, sample.block, requested_bytes, block_bytes, sample.weight_bytes,
		  (uintptr_t)frames, depth, sample.bucket);
}

GY_NOINLINE void gy_sample_free(void *block)
{
	const uint64_t *frames = NULL;
	struct gy_live_sample sample;
	unsigned depth = 0;
	bool found;

	gy_lock_acquire(&gy_sampler_lock);
	found = forget_locked((uintptr_t)block, &sample);
	if (found && GY_PROBE_ENABLED(free_sample))
		frames = gy_profile_frames_locked(sample.bucket, &depth);
	gy_lock_release(&gy_sampler_lock);
	if (found && GY_PROBE_ENABLED(free_sample))
		GY_PROBE7(free_sample, sample.block, sample.requested_bytes, sample.block_bytes,
			  sample.weight_bytes, (uintptr_t)frames, depth,
			  gy_ticks_since_ns(sample.birth_ticks));
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
