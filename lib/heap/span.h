/* span.h - the records behind the heap's pages: spans and huge pages.
 *
 * A span is a run of pages that serves one purpose: blocks of one size class (small), or one
 * large block. Its record lives outside the heap; free blocks are bits in it, so the heap's own
 * state never lies in freed memory, and a page whose blocks are all free can go back to the kernel
 * although its span lives on.
 *
 *   span   | block 0 | block 1 | block 2 | ...                    | tail |
 *   free_bits  1         0         1          bit i: block i lies in the span, free
 *   gone_bits  one bit per 4 KiB: the kernel has it back (only under free blocks)
 *
 * A block that a thread cache or a transfer array holds is not free here.
 *
 * SPAN-1  free_count = number of set free_bits; free_count + borrowed <= objects.
 * SPAN-2  A small span's fields change only under its central list's lock; first_page, pages and
 *         kind change only under the page heap's lock as well.
 * SPAN-3  A span on no list is full (no block free), or on its way between central and page heap.
 * SPAN-4  span_of[p] = span for every page of a span, but for huge pages that a large span owns
 *         whole: those are found by hugepages[h].owner.
 * SPAN-5  Records are reused, never unmapped: a stale pointer may be read, and is then checked.
 * HUGE-1  used_count = set bits of `used`; released is a subset of not used.
 * HUGE-2  longest_free = the longest run of bits not in `used`.
 * HUGE-4  In an advised huge page no free page is `released` unless all are: the first touch of any
 *         makes all 2 MiB resident.
 * HUGE-3  A free page in `released`, or never touched, reads as zero.
 * HUGE-5  `bare` is set when the first pages of a wholly released huge page are taken, to be shared
 *         with others. It is a hint for those who care how long a first touch may take
 *         (gc/pool.c), and goes when one of them has made that touch.
 * HUGE-6  Where such a touch takes long (a virtual machine whose host has taken free memory back:
 *         7 ms of the thread's own time, not 0.3), one thread pays at once for what 512 would pay
 *         in small sums. So the next GY_PLAIN_AFTER_SLOW huge pages begin on small pages, for the
 *         scavenger to make whole once they are full; then one is tried again.
 */
#ifndef GY_HEAP_SPAN_H
#define GY_HEAP_SPAN_H

#include "base/bits.h"
#include "heap/metadata.h"

/* COLLECTED: a block of the collector's (gc/record.h); nothing in heap/ looks into it. */
enum gy_span_kind { GY_SPAN_NONE, GY_SPAN_SMALL, GY_SPAN_LARGE, GY_SPAN_COLLECTED };

/* Stands for a class index where pages are taken for the collector. */
#define GY_CLASS_COLLECTED 0xffu

struct gy_span {
	uint32_t first_page, pages;
	uint8_t kind; /* enum gy_span_kind */
	uint8_t class_index;
	uint8_t sampled; /* its blocks (or block) are samples */
	uint8_t list;    /* index of the list it is on, or GY_SPAN_NO_LIST */
	uint16_t objects, free_count;
	uint16_t borrowed;  /* free blocks that a release has in hand */
	uint32_t gone_bits; /* kernel pages given back; GY_SPAN_GONE_UNIT each */
	uint32_t tick;      /* when blocks last came or went */
	uint32_t share_scale; /* small: free_count to its list (central.c), in 65536ths */
	struct gy_span *next, *prev;
	uint64_t requested_bytes; /* large: what was asked for */
	uint8_t bit_words;        /* [const] length of free_bits: records come in two sizes */
	uint64_t free_bits[];
};

#define GY_SPAN_BIT_WORDS_FEW 4u /* 256 blocks: nearly all classes, and large spans */
#define GY_SPAN_BIT_WORDS_MANY (GY_SPAN_OBJECTS_MAX / 64)

#define GY_SPAN_NO_LIST 0xff

enum gy_hugepage_state {
	GY_HUGEPAGE_UNUSED,  /* not made usable */
	GY_HUGEPAGE_FREE,    /* no page used */
	GY_HUGEPAGE_PARTIAL, /* some used */
	GY_HUGEPAGE_OWNED,   /* all used by one large span */
};

struct gy_hugepage {
	uint64_t used[4], released[4];
	uint16_t used_count, released_count, longest_free;
	uint8_t state;          /* enum gy_hugepage_state */
	uint8_t broken;         /* part of it went back to the kernel */
	uint8_t listed;         /* is on a list of the page heap */
	uint8_t scanned;        /* nothing came or went since the scavenger looked */
	uint8_t advised;        /* was asked to be a transparent huge page */
	uint8_t collapse_tried; /* once is enough, until it has been free */
	uint32_t tick;          /* when pages or blocks last came or went */
	uint32_t next, prev;    /* index + 1; 0: none */
	struct gy_span *owner;
	uint32_t bare;          /* [atomic] futex; HUGE-5: 0, or one of the two below */
	uint32_t pad[7];
};

#define GY_HUGEPAGE_BARE 1u
#define GY_HUGEPAGE_FILLING 2u

_Static_assert(sizeof(struct gy_hugepage) == 128, "one record, two cache lines");

GY_INLINE char *gy_span_start(const struct gy_span *span)
{
	return gy_page_start(span->first_page);
}

GY_INLINE size_t gy_span_bytes(const struct gy_span *span)
{
	return (size_t)span->pages << GY_PAGE_SHIFT;
}

/* The span that covers a page of ours, or NULL. Only the owner of a block in it may rely on the
 * answer without a lock. */
GY_INLINE struct gy_span *gy_span_of_page(size_t page)
{
	const struct gy_hugepage *hugepage = &gy_map.hugepages[page / GY_HUGEPAGE_PAGES];

	if (READ_RELAXED(hugepage->state) == GY_HUGEPAGE_OWNED)
		return READ_RELAXED(hugepage->owner);
	return READ_RELAXED(gy_map.span_of[page]);
}

/* Index of the block that holds byte `offset` of a small span (CLASS-4). */
GY_INLINE unsigned gy_object_index(unsigned class_index, size_t offset)
{
	return (unsigned)((uint64_t)offset * gy_size_classes[class_index].magic >> 32);
}

#endif
