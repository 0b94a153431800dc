/* central.h - per size class: the blocks that no thread holds. See central.c's essay. */
#ifndef GY_HEAP_CENTRAL_H
#define GY_HEAP_CENTRAL_H

#include "heap/page_heap.h"
#include "os/lock.h"

#define GY_CENTRAL_LISTS 8

struct gy_central {
	struct gy_lock lock;
	uint8_t lists_map;                       /* bit per list that holds a span */
	struct gy_span *lists[GY_CENTRAL_LISTS]; /* spans with room, by share of free blocks */
	void **slots; /* transfer array: blocks on their way between threads */
	uint32_t slot_count, slot_capacity;
	uint64_t spans, span_free, borrowed;
	uint64_t taken, given;   /* blocks, since start: out = taken - given */
	uint64_t direct_mallocs; /* blocks taken one by one, past the thread caches */
	uint64_t gone_bytes;     /* inside these spans, back with the kernel */
	uint64_t refills, flushes;
	uint64_t slots_tick; /* when the transfer array last moved */
	/* Folded in from caches that ended; see thread_cache.c. */
	uint64_t retired_mallocs;
	uint64_t lost; /* blocks in caches that a fork left without a thread */
} GY_ALIGNED(64);

/* [0]: for thread caches, [1]: sampled blocks, which thread caches never hold. All zero is a valid
 * start: a process that uses few classes touches few of these. */
extern struct gy_central gy_centrals[2][GY_CLASS_COUNT];

/* A bit per class that has ever had a span; until then its structure is all zero, and whoever only
 * reads statistics need not touch its page. [atomic: relaxed] */
extern uint64_t gy_centrals_used[2][(GY_CLASS_COUNT + 63) / 64];

GY_INLINE bool gy_central_is_used(bool sampled, unsigned class_index)
{
	return READ_RELAXED(gy_centrals_used[sampled][class_index / 64]) >> class_index % 64 & 1;
}

GY_INLINE unsigned gy_central_class(const struct gy_central *central)
{
	return (unsigned)(central - gy_centrals[0]) % GY_CLASS_COUNT;
}

GY_INLINE bool gy_central_is_sampled(const struct gy_central *central)
{
	return central >= gy_centrals[1];
}

int gy_central_init(void);
/* Up to `count` blocks into `blocks`, in rising address order from the end, so that popping from
 * the top walks upwards. Returns how many; fewer than asked only if memory lacks. */
unsigned gy_central_take(struct gy_central *central, void **blocks, unsigned count,
			 enum gy_oom_reason *reason);
/* Gives blocks back. A block that is free already is reported as a double free. `quiet`: they lay
 * idle before, so this is no sign of life: they go into their spans, which do not look younger. */
void gy_central_give(struct gy_central *central, void *const *blocks, unsigned count, bool quiet);
/* One block, straight into its span (no transfer array). false: it was free already. */
bool gy_central_give_one(struct gy_central *central, void *block);
/* Is this block free in its span or in the transfer array? */
bool gy_central_holds(struct gy_central *central, const void *block);
/* Empties the transfer array into the spans; returns bytes moved. `before`: only if it last moved
 * before that tick (0: in any case). */
size_t gy_central_drain(struct gy_central *central, uint32_t before);

/* ---- for the scavenger: kernel pages under free blocks of a span ---- */
#define GY_SPAN_GONE_UNIT GY_KERNEL_PAGE_BYTES
/* Bits of the span's kernel pages that hold only free blocks and are backed; borrows these
 * blocks. 0 where the span changed meanwhile, or is younger than `before`. */
uint32_t gy_central_borrow(const struct gy_span_ref *ref, uint32_t before, bool dry_run);
void gy_central_return(const struct gy_span_ref *ref, uint32_t kernel_pages, bool done);

void gy_central_fork_prepare(void);
void gy_central_fork_parent(void);
void gy_central_fork_child(void);
void gy_central_check(void);

#endif
