/* large.h - blocks of whole pages: taken, given, grown; and a few kept for the next. See large.c.
 * */
#ifndef GY_HEAP_LARGE_H
#define GY_HEAP_LARGE_H

#include "base/bits.h"
#include "heap/page_heap.h"

struct gy_large_stats {
	uint64_t pages, blocks, mallocs; /* allocated now; since start */
	uint64_t kept_pages;             /* freed, kept for the next of that length */
};

#define GY_LARGE_KEEP_PAGES 128u /* the longest that is kept: 1 MiB */
#define GY_LARGE_LENGTHS 40u     /* so many lengths up to that (LARGE-6) */

/* Which of them a request for so many pages takes, 1 <= pages <= GY_LARGE_KEEP_PAGES; its pages. */
GY_INLINE unsigned gy_large_index(size_t pages)
{
	unsigned below = (unsigned)pages - 1, shift = below < 16 ? 0 : gy_log2(below) - 3;

	return 8 * shift + (below >> shift);
}

GY_INLINE size_t gy_large_length(unsigned index)
{
	unsigned shift = index < 16 ? 0 : index / 8 - 1;

	return (size_t)(index - 8 * shift + 1) << shift;
}

/* The pages to take for a request of that many (LARGE-6). */
GY_INLINE size_t gy_large_round_up(size_t pages)
{
	return pages > GY_LARGE_KEEP_PAGES ? pages : gy_large_length(gy_large_index(pages));
}

/* When each length was last asked for, in pages taken since (LARGE-5). */
struct gy_large_demand {
	uint32_t taken_pages;
	uint32_t last[GY_LARGE_LENGTHS];
};

/* Part of a thread's cache, under the same rules (CACHE-2). */
struct gy_large_own {
	struct gy_span *kept[GY_LARGE_LENGTHS];
	uint64_t kept_map; /* bit per length: it has such spans */
	uint32_t kept_pages;
	uint32_t room_pages; /* LARGE-8 */
	struct gy_large_demand demand;
	/* Not yet added to the common counts; what this thread frees may be another's. */
	int64_t pages;
	uint64_t mallocs, frees;
	int64_t out_pages, peak_pages; /* LARGE-7: taken less given, now and lately */
	uint32_t peak_tick;
	uint32_t seen_tick, seen_taken; /* what it looked like at the last look */
};

GY_INLINE void gy_large_note_demand(struct gy_large_demand *demand, unsigned index)
{
	uint32_t now = demand->taken_pages + (uint32_t)gy_large_length(index);

	demand->taken_pages = now;
	demand->last[index] = now;
}

/* A span of that length which the calling thread keeps, no block yet (kind NONE): the common case
 * of gy_large_take. */
GY_INLINE struct gy_span *gy_large_take_own(struct gy_large_own *own, unsigned index)
{
	struct gy_span *span = own->kept[index], *next;
	uint32_t pages = (uint32_t)gy_large_length(index);

	if (unlikely(!span) || unlikely(READ_RELAXED(span->kind) != GY_SPAN_NONE) ||
	    unlikely(span->pages != pages)) /* LARGE-1 */
		return NULL;
	next = span->next;
	own->kept[index] = next;
	own->kept_map &= ~((uint64_t)!next << index);
	WRITE_RELAXED(own->kept_pages, own->kept_pages - pages);
	gy_large_note_demand(&own->demand, index);
	WRITE_RELAXED(own->pages, own->pages + pages);
	WRITE_RELAXED(own->mallocs, own->mallocs + 1);
	own->out_pages += pages;
	return span;
}

/* The reverse: the calling thread keeps a block's span, which is no block from then on; false: it
 * has no use for it, and nothing was done. */
bool gy_large_keep(struct gy_large_own *own, struct gy_span *span);
/* Of a thread that does other things: what it keeps and has not used for a while goes. */
void gy_large_look_own(struct gy_large_own *own);
struct gy_span *gy_large_take(size_t pages, size_t alignment_pages, bool sampled, bool *zeroed,
			      enum gy_oom_reason *reason);
/* false: it is no large block any more (freed twice). */
bool gy_large_give(struct gy_span *span);
/* In place; false where the neighbours are taken. `pages` above 0. */
bool gy_large_resize(struct gy_span *span, size_t pages);
/* Gives kept spans to the page heap: those kept since before that tick; 0: all. */
void gy_large_drain(uint32_t before);
/* All of it, and its counts, to the common lists. */
void gy_large_give_own(struct gy_large_own *own);
/* Of a thread that a forked child does not have: its counts; what it kept is lost. */
void gy_large_count_lost(const struct gy_large_own *own);
void gy_large_read_stats(struct gy_large_stats *stats);
void gy_large_lock(void);
void gy_large_unlock(void);
void gy_large_fork_child(void);

#endif
