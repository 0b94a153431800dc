/* large.h - blocks of whole pages: taken, given, grown; and a few kept for the next. See large.c.
 * */
#ifndef GY_HEAP_LARGE_H
#define GY_HEAP_LARGE_H

#include "heap/page_heap.h"

struct gy_large_stats {
	uint64_t pages, blocks, mallocs; /* allocated now; since start */
	uint64_t kept_pages;             /* freed, kept for the next of that length */
};

struct gy_span *gy_large_take(size_t pages, size_t alignment_pages, bool sampled, bool *zeroed,
			      enum gy_oom_reason *reason);
/* false: it is no large block any more (freed twice, or by two threads at once). */
bool gy_large_give(struct gy_span *span);
/* In place; false where the neighbours are taken. `pages` above 0. */
bool gy_large_resize(struct gy_span *span, size_t pages);
/* Gives kept spans to the page heap: those kept since before that tick; 0: all. */
void gy_large_drain(uint32_t before);
void gy_large_read_stats(struct gy_large_stats *stats);
void gy_large_lock(void);
void gy_large_unlock(void);
void gy_large_fork_child(void);

#endif
