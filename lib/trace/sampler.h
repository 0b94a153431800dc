/* sampler.h - which allocations are looked at, and what is remembered of them.
 *
 * Imagine every byte ever allocated on one line, and marks dropped on it at random, on average one
 * in `sample` bytes (an option, P below, 512 KiB unless set): a Poisson process. An allocation that
 * covers a mark is a sample. So one of s bytes is sampled with probability
 *
 *	p(s) = 1 - exp(-s / P)
 *
 * whatever was allocated before it, and the number of allocations of s bytes up to the next sample
 * is geometric with mean 1 / p(s). That is what a size class counts down. A sample stands for
 * s / p(s) bytes: summed over samples, that is on average exactly what was allocated.
 *
 *	s = 64           p = 0.000122   stands for 524,320 bytes in 8,192.5 blocks
 *	s = 512 KiB      p = 0.632      829,411 bytes in 1.58 blocks
 *	s >= 20 MiB      p = 1          itself
 *
 * P is the option's, times 2^stretch where a thread would take too many samples otherwise
 * (heap/sample_pace.h).
 *
 * A sample's life: gy_sample_alloc walks the stack, finds the stack's bucket in the profile, and
 * remembers the block; gy_sample_free finds it again and books it out. A stack that was booked
 * before is known by a note that the stack memo keeps (stack_memo.h): then neither are its frames
 * copied nor its bucket sought, and the sampler's lock is taken once, as it is at the free.
 * A sampled block that moves
 * in realloc is a free and an allocation. Each fires its probe, with the frames of the allocation.
 *
 * SAMPLE-1  Sums of weights are unbiased: E[sum of weights] = bytes allocated, for any mix of
 *           sizes.
 * SAMPLE-2  Stack walk, clock and probes run without the lock; the lock is held for table work
 *           only.
 * SAMPLE-3  samples = samples booked in the profile + those lost for want of a record; and
 *           live = samples booked - samples freed.
 * SAMPLE-4  A free of a block that has no record (its sample was lost) changes nothing.
 *
 * Sources: the marks are those of Go's mprof and tcmalloc's sampler; the estimator is Horvitz and
 * Thompson's, as in pprof's scaleHeapSample.
 */
#ifndef GY_TRACE_SAMPLER_H
#define GY_TRACE_SAMPLER_H

#include "base/compiler.h"
#include "heap/hooks.h"

struct gy_sampler_counts {
	uint64_t samples; /* allocations sampled since start */
	uint64_t live;    /* of these, recorded and not yet freed */
	uint64_t lost;    /* that found no bucket (booked in the overflow bucket) or no record */
};

/* Allocations of object_bytes until the next sample, which is the last of them: at least 1;
 * INT64_MAX if sampling is off. One block of any size is a sample iff this returns 1 for it.
 * *rng is any number to start with, and the caller's own. `stretch`: of P
 * (sample_pace.h). */
int64_t gy_sample_interval(size_t object_bytes, unsigned stretch, uint64_t *rng);
/* Bytes that a sample of a block of that size stands for; block_bytes if sampling is off. */
uint64_t gy_sample_weight(size_t block_bytes, unsigned stretch);

/* The block is a sample; NULL: one of this class is taken from its shelf or its central list.
 * Returns it, or NULL where memory lacks. Under no lock of the heap. */
void *gy_sample_alloc(void *block, unsigned class_index, size_t requested_bytes, size_t block_bytes,
		      unsigned stretch, uintptr_t caller_pc);
/* The block, perhaps a sample, is being freed. Before anybody can get it again; under no lock. Of
 * class_index, or 0, it goes to its shelf (heap/sampled.h). */
enum gy_sample_end gy_sample_free(void *block, unsigned class_index);

void gy_sampler_counts(struct gy_sampler_counts *counts);

/* Around fork, at the sampler's place among the locks (base/lock_rank.h). */
void gy_sampler_fork_prepare(void);
void gy_sampler_fork_parent(void);
void gy_sampler_fork_child(void);

/* Panics if an invariant of the sampler, the live samples or the profile does not hold. */
void gy_sampler_check(void);

#endif
