/* record.h - what the collector keeps of each page: side arrays, nothing between the user's bytes.
 *
 *	page (8 KiB)     | object 0 | object 1 | ...          | tail |   a block: 1 or more pages,
 *	gy_gc_pages[p]   | magic, first page, layout, .. | marks |       objects of one size, layout
 *	gy_gc_bits[p]    | scanned | allocated | .. |
 *
 * A block is a run of pages of one span (kind GY_SPAN_COLLECTED) that holds objects of one size and
 * one layout (layout.h): so no object carries a header, and all objects of a block are scanned
 * alike. Blocks of objects up to 1 KiB are one page; bits are those of the block's first page.
 * What a pointer's target needs, where its bit is and whether it is set, is one cache line, the
 * page's own in gy_gc_pages; with scanning or sweeping comes another one. Pages of more than 256
 * objects, those of 16 and of 24 bytes, have the rest of their marks in gy_gc_marks_more.
 *
 * Object i of a block is
 *	white	not marked (yet); at the end of marking: garbage
 *	grey	marked, not scanned
 *	black	marked and scanned
 *
 * REC-1  An object is valid iff its `allocated` bit is set. Set by the owner of a cursor for a
 *        whole run of free slots, zeroed before (space.c); a run in hand reads as objects of
 *        zeroes.
 * REC-2  Outside a cycle marks and scanned of swept blocks are 0. While marking they only gain
 *        bits; both are changed by atomic or. Whoever makes an object black at birth sets scanned
 *        first.
 * REC-3  A block whose `queued` is 1 is on a mark queue, or a marker scans it; it leaves that state
 *        by: queued = 0, full fence, look at marks & ~scanned once more (mark.c).
 * REC-4  Layouts of kind LEAF are never queued.
 * REC-5  gc_page[p].kind is the last field written when a block is made, and the first when it is
 *        given back; every page of a block has it, and first_page, magic, layout.
 * REC-6  gc_page and gc_bits cover page p before a block is made there (gy_records_cover).
 */
#ifndef GY_GC_RECORD_H
#define GY_GC_RECORD_H

#include "heap/page_heap.h"

enum gy_block_kind {
	GY_BLOCK_NONE,  /* not a collected page */
	GY_BLOCK_SMALL, /* objects of one class; bits by index */
	GY_BLOCK_LARGE, /* one object; bit 0 */
};

/* Whether it is swept is told by `epoch`: gy_gc_epoch, and its allocated bits are true; older, and
 * its marks tell what lives. */
enum gy_block_state {
	GY_BLOCK_LISTED,  /* on a list of its bin */
	GY_BLOCK_IN_HAND, /* a thread's cursor allocates from it */
};

struct gy_gc_page {          /* a cache line */
	uint32_t magic;      /* ceil(2^32 / object bytes), CLASS-4; LARGE: 0, so index is 0 */
	uint32_t first_page; /* of the block */
	uint16_t layout;     /* index into gy_layouts */
	uint16_t objects;
	uint8_t kind;          /* enum gy_block_kind; REC-5 [atomic: relaxed] */
	uint8_t state;         /* first page only; enum gy_block_state [lock: bin, or the owner] */
	uint8_t queued;        /* first page only; REC-3 [atomic] */
	uint8_t bit_words;     /* of marks, scanned, allocated each: objects / 64, rounded up */
	uint32_t object_bytes; /* SMALL; LARGE: 0, ask the span (pages) */
	uint32_t pages;        /* first page only: of the block */
	uint32_t next;         /* first page only: page of the next block on a list; 0 ends it */
	uint32_t epoch;        /* first page only: gy_gc_epoch when it was swept, or made */
	uint64_t marks[4];     /* of the first 256 objects; gy_marks_word */
} GY_ALIGNED(64);

struct gy_gc_bits {               /* two cache lines, the second seldom used */
	uint64_t scanned[4];      /* of the first 256 objects; gy_scanned_word */
	uint64_t allocated[8];
	uint64_t scanned_more[4]; /* of the others */
} GY_ALIGNED(64);

struct gy_gc_marks {
	uint64_t words[4]; /* of the others */
};

_Static_assert(sizeof(struct gy_gc_page) == 64 && sizeof(struct gy_gc_bits) == 128, "dense");

#define GY_BIT_WORDS_MAX 8u

extern struct gy_gc_page *gy_gc_pages
	GY_HIDDEN; /* by page of the heap; NULL before the first use */
extern struct gy_gc_bits *gy_gc_bits GY_HIDDEN;
extern struct gy_gc_marks *gy_gc_marks_more GY_HIDDEN;
extern size_t gy_gc_covered
	GY_HIDDEN; /* [atomic: relaxed] pages below may be looked up; grows only */

/* Reserves the side arrays, once; 0 or -ENOMEM. Any thread. */
int gy_records_init(void);
/* Makes them usable for pages below `page_count`; false where memory lacks. */
bool gy_records_cover(size_t page_count);
uint64_t gy_records_bytes(void); /* made usable */
void gy_records_fork_child(void);

/* Word i of a block's marks, and of its scanned bits. */
GY_INLINE uint64_t *gy_marks_word(size_t block, size_t i)
{
	return likely(i < 4) ? &gy_gc_pages[block].marks[i] : &gy_gc_marks_more[block].words[i - 4];
}

GY_INLINE uint64_t *gy_scanned_word(size_t block, size_t i)
{
	return likely(i < 4) ? &gy_gc_bits[block].scanned[i]
			     : &gy_gc_bits[block].scanned_more[i - 4];
}

/* Whitens a block of so many words of bits. Nobody marks in it. */
GY_INLINE void gy_marks_clear(size_t block, size_t words)
{
	for (size_t i = 0; i < words; i++) {
		WRITE_RELAXED(*gy_marks_word(block, i), 0);
		WRITE_RELAXED(*gy_scanned_word(block, i), 0);
	}
}

/* All its bits. */
GY_INLINE void gy_bits_clear(size_t block, size_t words)
{
	gy_marks_clear(block, words);
	for (size_t i = 0; i < words; i++)
		WRITE_RELAXED(gy_gc_bits[block].allocated[i], 0);
}

struct gy_object {
	size_t block;   /* its first page */
	unsigned index; /* of the object in the block */
};

/* The object around `address`, any word whatever: false if there is none. Not whether it is
 * allocated. A block may be given back meanwhile unless the caller knows better (marking: never).
 */
GY_INLINE bool gy_object_find(uintptr_t address, struct gy_object *object)
{
	size_t page = (address - gy_map.base) >> GY_PAGE_SHIFT;
	const struct gy_gc_page *record;

	if (page >= READ_RELAXED(gy_gc_covered))
		return false;
	record = &gy_gc_pages[page];
	if (READ_RELAXED(record->kind) == GY_BLOCK_NONE)
		return false;
	object->block = record->first_page;
	object->index = (unsigned)((address - (uintptr_t)gy_page_start(record->first_page)) *
					   (uint64_t)record->magic >>
				   32);
	return object->index < record->objects; /* the tail holds none */
}

GY_INLINE char *gy_object_start(struct gy_object object)
{
	return gy_page_start(object.block) +
	       (size_t)object.index * gy_gc_pages[object.block].object_bytes;
}

/* Of an object's slot, or its pages. */
GY_INLINE size_t gy_object_bytes(struct gy_object object)
{
	const struct gy_gc_page *record = &gy_gc_pages[object.block];

	return record->kind == GY_BLOCK_LARGE ? (size_t)record->pages << GY_PAGE_SHIFT
					      : record->object_bytes;
}

GY_INLINE bool gy_object_is_marked(struct gy_object object)
{
	return READ_RELAXED(*gy_marks_word(object.block, object.index / 64)) >>
		       object.index % 64 &
	       1;
}

GY_INLINE bool gy_object_is_allocated(struct gy_object object)
{
	return READ_RELAXED(gy_gc_bits[object.block].allocated[object.index / 64]) >>
		       object.index % 64 &
	       1;
}

/* Marks; true if it was white. */
GY_INLINE bool gy_object_mark(struct gy_object object)
{
	uint64_t *word = gy_marks_word(object.block, object.index / 64);
	uint64_t bit = 1ull << object.index % 64;

	if (READ_RELAXED(*word) & bit)
		return false;
	return !(__atomic_fetch_or(word, bit, __ATOMIC_RELAXED) & bit);
}

#endif
