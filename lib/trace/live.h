/* live.h - the samples whose blocks are not freed yet, found by the block's address.
 *
 *	index     record number + 1, or 0, and the block's hash; a power of 2, open addressing,
 *	          linear probing, removal shifts back (no tombstones: a probe stays short)
 *	records   a cache line each, in chunks of 1,024; they never move, a free list links the rest
 *
 * At one sample in 512 KiB a heap of 1 GiB has about 2,048 of them: 32 KiB of index, 128 KiB
 * of records. The hash in the index saves looking at records: a sample's life touches its own.
 *
 * LIVE-1  A block has at most one record.
 * LIVE-2  There are at most GY_LIVE_MAX records; more samples are lost, and counted (sampler.h).
 * LIVE-3  The index is never full: a probe ends at an empty slot.
 *
 * Everything here, and the profile's bucket table, is guarded by gy_sampler_lock. Metadata is taken
 * under it (its rank is later); nothing else is.
 */
#ifndef GY_TRACE_LIVE_H
#define GY_TRACE_LIVE_H

#include "base/compiler.h"
#include "heap/sampled.h" /* gy_sampler_lock */

#include <stdbool.h>

#define GY_LIVE_MAX (1u << 20)

struct gy_live_sample {
	uintptr_t block;
	uint64_t requested_bytes, block_bytes;
	uint64_t weight_bytes;      /* what it stands for */
	uint64_t weight_sixteenths; /* the same in blocks, times 16 */
	uint64_t birth_ticks;       /* ticks.h */
	uint32_t bucket;            /* in the profile's present table */
	uint32_t next_free;         /* record number + 1, while unused */
} GY_ALIGNED(64);

/* The record of `block`: the one that it has, or a new one, of which block_bytes is 0 and all else
 * undefined; NULL if there is no room. */
struct gy_live_sample *gy_live_add_locked(uintptr_t block);
struct gy_live_sample *gy_live_find_locked(uintptr_t block);
/* Removes the record of `block`; NULL if there is none. What was recorded stays readable until the
 * next add, but for the block. */
const struct gy_live_sample *gy_live_remove_locked(uintptr_t block);
void gy_live_each_locked(void (*visit)(struct gy_live_sample *sample, void *context),
			 void *context);
/* Number of records. Any time, without the lock: then a hint. */
uint32_t gy_live_count(void);
/* Panics if LIVE-1 to LIVE-3 do not hold. */
void gy_live_check_locked(void);

#endif
