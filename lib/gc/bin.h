/* bin.h - inside of the space: bins, their blocks, and where blocks get their pages.
 *
 * For bin.c, space.c, sweep.c, pool.c and large_object.c; all others go through space.h.
 *
 * BIN-1  A bin is made once for each (layout, object bytes) and never goes away.
 * BIN-2  A block is found stale (its epoch is old) on the lists partial and full only between the
 *        flip's writing of gy_gc_epoch and its joining of that bin's lists: who takes a block looks
 *        at its epoch.
 * BIN-3  Blocks are swept under their bin's lock, so that fork finds each swept or not.
 * BIN-4  Few locks serve all bins, in one array: fork takes them all, in address order.
 */
#ifndef GY_GC_BIN_H
#define GY_GC_BIN_H

#include "gc/space.h"

#define GY_BIN_LOCKS 64u
#define GY_OBJECT_MIN_BYTES 16u
#define GY_BLOCK_PAGES_MAX 16u
#define GY_GC_POISON 0xd5
/* A cursor is a cache line, and has two: processors fetch lines in pairs, and were the other one
 * another thread's cursor, each object that one makes would cost the other half as much again. */
#define GY_CURSOR_LOG2 7u

_Static_assert(sizeof(struct gy_cursor) <= 64, "a cursor is a cache line");

struct gy_block_list {       /* [lock: bin] */
	uint32_t head, tail; /* pages; 0: empty */
	uint32_t count;
};

struct gy_gc_bin {
	struct gy_lock *lock;           /* [const] one of gy_bin_locks */
	const struct gy_layout *layout; /* [const] */
	uint32_t object_bytes, magic;   /* [const] */
	uint16_t objects, pages;        /* [const] of a block */
	uint16_t claim_slots;           /* [const] claimed at a time, at most: 8 KiB */
	uint8_t bit_words;              /* [const] 64-bit words for `objects` bits */
	uint8_t is_raw;                 /* [const] not zeroed: gyre_new_leaf */
	struct gy_block_list unswept, partial, full;
	/* [lock: bin], read without: objects, since start. taken - returned - freed are in use. */
	uint64_t taken, returned, freed;
	uint64_t blocks;
	struct gy_gc_bin *next;      /* [const] in its bucket */
	struct gy_gc_bin *following; /* [const] all bins */
} GY_ALIGNED(64);

/* [GY_BIN_LOCKS] is the large objects'. */
extern struct gy_bin_lock {
	struct gy_lock lock;
} GY_ALIGNED(64) gy_bin_locks[GY_BIN_LOCKS + 1] GY_HIDDEN;
extern struct gy_gc_bin *gy_bins GY_HIDDEN; /* [atomic: acquire] all, by `following` */

/* ---- bin.c ---- */
/* NULL: memory lacks. */
struct gy_gc_bin *gy_bin_find(const struct gy_layout *layout, uint32_t object_bytes);
/* Pages of a block for objects of that size, 16 bytes to GY_CLASS_MAX_BYTES: one up to 1 KiB. */
unsigned gy_block_pages(uint32_t object_bytes);
/* Size of the slot for an object of a type's own size; 0: large. */
uint32_t gy_slot_bytes(size_t bytes, size_t alignment);
/* Size of the slot for `bytes` and one more; 0: large. */
uint32_t gy_slot_bytes_sized(size_t bytes, size_t alignment);
/* The pages from `block` on become a block, no object in it, in the caller's hand. */
void gy_block_make(struct gy_gc_bin *bin, uint32_t block);
/* Its pages go back. No thread has it, and it is on no list. */
void gy_block_drop(struct gy_gc_bin *bin, uint32_t block);
void gy_bin_table_lock(void);
void gy_bin_table_unlock(void);
void gy_bin_table_fork_child(void);

/* ---- sweep.c ---- */
/* Sweeps it if it is stale; the objects that it holds. [lock: bin, or the world is stopped] */
unsigned gy_block_settle(struct gy_gc_bin *bin, uint32_t block);
unsigned gy_block_count(const struct gy_gc_bin *bin, uint32_t block); /* allocated bits */

/* ---- pool.c ---- */
uint32_t gy_pages_take(size_t pages, bool *zeroed); /* first page; 0: memory lacks */
void gy_pages_give(uint32_t first_page, size_t pages);
void gy_pool_trim(uint32_t keep);
uint32_t gy_pool_count(void);
void gy_pool_lock(void);
void gy_pool_unlock(void);
void gy_pool_fork_child(void);

/* ---- large_object.c ---- */
void *gy_large_new(struct gy_gc_thread *thread, const struct gy_layout *layout, size_t bytes);
void gy_large_flip(void);
bool gy_large_sweep_some(unsigned objects); /* false: none is left */
void gy_large_add_stats(struct gy_space_stats *stats);
void gy_large_check(void);

/* ---- lists ---- */
GY_INLINE void gy_block_list_add(struct gy_block_list *list, uint32_t block)
{
	gy_gc_pages[block].next = 0;
	if (list->tail)
		gy_gc_pages[list->tail].next = block;
	else
		WRITE_RELAXED(list->head, block);
	list->tail = block;
	list->count++;
}

/* The first; 0: there is none. What the taker will read of the one behind it is prefetched. */
GY_INLINE uint32_t gy_block_list_take(struct gy_block_list *list)
{
	uint32_t block = list->head, next;

	if (!block)
		return 0;
	next = gy_gc_pages[block].next;
	WRITE_RELAXED(list->head, next);
	if (!next)
		list->tail = 0;
	list->count--;
	__builtin_prefetch(&gy_gc_pages[next], 1);
	__builtin_prefetch(&gy_gc_bits[next], 1);
	return block;
}

/* Puts all of `from` behind `to`. */
GY_INLINE void gy_block_list_join(struct gy_block_list *to, struct gy_block_list *from)
{
	if (!from->head)
		return;
	if (to->tail)
		gy_gc_pages[to->tail].next = from->head;
	else
		WRITE_RELAXED(to->head, from->head);
	to->tail = from->tail;
	to->count += from->count;
	WRITE_RELAXED(from->head, 0);
	from->tail = from->count = 0;
}

/* Set bits of a word; popcount is a call on plain x86-64. */
GY_INLINE unsigned gy_bits_in(uint64_t x)
{
	x -= x >> 1 & 0x5555555555555555ull;
	x = (x & 0x3333333333333333ull) + (x >> 2 & 0x3333333333333333ull);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return (unsigned)(x * 0x0101010101010101ull >> 56);
}

#endif
