/* large.h - blocks of whole pages: taken, given, grown; and a few kept for the next. See large.c.
 * */
#ifndef GY_HEAP_LARGE_H
#define GY_HEAP_LARGE_H

#include "heap/page_heap.h"

struct gy_large_stats {
	uint64_t pages, blocks, mallocs; /* allocated now; since start */
	uint64_t kept_pages;             /* freed, kept for the next of that length */
};

#define GY_LARGE_OWN_PAGES 64u /* the longest span that a thread keeps for itself */

#define GY_LARGE_KEEP_PAGES 128u /* the longest that is kept at all: 1 MiB */

/* The pages to take for a request of that many (LARGE-6). */
GY_INLINE size_t gy_large_round_up(size_t pages)
{
	if (pages <= 16 || pages > GY_LARGE_KEEP_PAGES)
		return pages;
	return gy_round_up(pages, 1ull << (gy_log2(pages - 1) - 3));
}

/* When each length was last asked for, in pages taken since (LARGE-5). */
struct gy_large_demand {
	uint32_t taken_pages;
	uint32_t last[GY_LARGE_KEEP_PAGES + 1];
};

/* Part of a thread's cache, under the same rules (CACHE-2). */
struct gy_large_own {
	struct gy_span *kept[GY_LARGE_OWN_PAGES + 1]; /* by length */
	uint64_t kept_map;                            /* bit n - 1: it has spans of n pages */
	uint32_t kept_pages;
	struct gy_large_demand demand;
	/* Not yet added to the common counts; what this thread frees may be another's. */
	int64_t pages, blocks;
	uint64_t mallocs;
};

/* A span that the calling thread keeps, no block yet (kind NONE); NULL: gy_large_take. */
struct gy_span *gy_large_take_own(struct gy_large_own *own, size_t pages);
/* The reverse: the calling thread keeps a block's span, which is no block from then on; false: it
 * has no use for it, and nothing was done. */
bool gy_large_keep(struct gy_large_own *own, struct gy_span *span);
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
