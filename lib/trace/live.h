/* live.h - the samples whose blocks are not freed yet, found by the block's address.
 *
 *	index     u32 record number + 1, or 0; a power of 2, open addressing, linear probing,
 *	          removal shifts back (no tombstones, so a probe stays short for ever)
 *	records   48 bytes each, in chunks of 1,024; they never move, a free list links the rest
 *
 * At one sample in 512 KiB a heap of 1 GiB has about 2,048 of them: 8 KiB of index, 96 KiB
 * of records.
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
#include "os/lock.h"

#include <stdbool.h>

#define GY_LIVE_MAX (1u << 20)

struct gy_live_sample {
	uintptr_t block;
	uint64_t requested_bytes, block_bytes;
	uint64_t weight_bytes; /* what it stands for */
	uint64_t birth_ticks;  /* ticks.h */
	uint32_t bucket;       /* in the profile's present table */
	uint32_t next_free;    /* record number + 1, while unused */
};

extern struct gy_lock gy_sampler_lock;

/* A record for `block`, all else zero; NULL if there is no room. The block must have none. */
struct gy_live_sample *gy_live_add_locked(uintptr_t block);
struct gy_live_sample *gy_live_find_locked(uintptr_t block);
void gy_live_remove_locked(struct gy_live_sample *sample);
void gy_live_each_locked(void (*visit)(struct gy_live_sample *sample, void *context),
			 void *context);
/* Number of records. Any time, without the lock: then a hint. */
uint32_t gy_live_count(void);
/* Panics if LIVE-1 to LIVE-3 do not hold. */
void gy_live_check_locked(void);

#endif
