/* bin.c - bins, and how their blocks are laid out.
 *
 * A bin stands for all objects of one layout and one size. Sizes are exact for objects of a type's
 * own size (a multiple of 8 and of its alignment: a struct of 24 bytes takes 24, one of 80 takes
 * 80), for a program has few types; and size classes for all else (arrays, tails, bytes), of which
 * there may be any number.
 *
 *	pages of a block
 *	1	objects up to 1 KiB: the tail wasted is less than an object, an eighth at most
 *	n	larger ones: the fewest pages that waste at most an eighth, up to 16
 *	-	above 32 KiB an object has pages of its own (large_object.c)
 *
 * BLOCK-1  object_bytes is a multiple of the alignment, and blocks begin at pages: so all objects
 *          are aligned.
 * BLOCK-2  For every byte of a block, offset * magic >> 32 is the index of its object, or for the
 *          tail a number not below `objects`: blocks are at most 2^17 bytes, objects at most 2^15
 *          (CLASS-4).
 */
#include "gc/bin.h"

#include "base/bits.h"
#include "gc/cycle.h"
#include "heap/size_class.h"

#define BUCKETS 1024u
#define FINE_BYTES 128u /* up to here any multiple of the alignment, also those that are no class */

struct gy_bin_lock gy_bin_locks[GY_BIN_LOCKS + 1];
struct gy_gc_bin *gy_bins;

static struct {
	struct gy_lock lock;
	unsigned count;                     /* [lock] */
	struct gy_gc_bin *buckets[BUCKETS]; /* [lock to write; atomic: acquire] */
} table = {.lock = GY_LOCK_INIT(GY_RANK_layout)};

_Static_assert(GY_BLOCK_PAGES_MAX *GY_PAGE_BYTES <= 1u << 17 && GY_CLASS_MAX_BYTES <= 1u << 15,
	       "BLOCK-2");

/* ------------------------------------------------------------------ sizes */

unsigned gy_block_pages(uint32_t object_bytes)
{
	unsigned best = 0, best_share = UINT32_MAX;

	if (object_bytes <= GY_PAGE_BYTES / 8)
		return 1;
	for (unsigned pages = 1; pages <= GY_BLOCK_PAGES_MAX; pages++) {
		unsigned bytes = pages * (unsigned)GY_PAGE_BYTES, waste = bytes % object_bytes;

		if (bytes < object_bytes)
			continue;
		if (waste * 8 <= bytes)
			return pages;
		if (waste * 1024 / bytes < best_share) {
			best = pages;
			best_share = waste * 1024 / bytes;
		}
	}
	return best;
}

uint32_t gy_slot_bytes(size_t bytes, size_t alignment)
{
	bytes = gy_round_up(MAX(bytes, GY_OBJECT_MIN_BYTES), MAX(alignment, 8));
	return bytes <= GY_CLASS_MAX_BYTES ? (uint32_t)bytes : 0;
}

uint32_t gy_slot_bytes_sized(size_t bytes, size_t alignment)
{
	size_t slot = MAX(bytes + 1, GY_OBJECT_MIN_BYTES);
	unsigned class_index;

	if (bytes >= GY_CLASS_MAX_BYTES)
		return 0;
	if (alignment <= 16 && slot <= FINE_BYTES)
		return (uint32_t)gy_round_up(slot, MAX(alignment, 8));
	class_index =
		alignment <= 16 ? gy_class_of_request(slot) : gy_class_of_aligned(slot, alignment);
	if (class_index)
		return gy_size_classes[class_index].bytes;
	return gy_slot_bytes(slot, alignment);
}

/* ------------------------------------------------------------------ bins */

static struct gy_gc_bin *find(const struct gy_layout *layout, uint32_t object_bytes, size_t bucket)
{
	struct gy_gc_bin *bin = __atomic_load_n(&table.buckets[bucket], __ATOMIC_ACQUIRE);

	while (bin && (bin->layout != layout || bin->object_bytes != object_bytes))
		bin = bin->next;
	return bin;
}

/* [lock: table] */
static struct gy_gc_bin *add_locked(const struct gy_layout *layout, uint32_t object_bytes,
				    size_t bucket)
{
	struct gy_gc_bin *bin = gy_metadata_take(sizeof(*bin));

	if (!bin)
		return NULL;
	bin->lock = &gy_bin_locks[table.count++ % GY_BIN_LOCKS].lock;
	bin->layout = layout;
	bin->object_bytes = object_bytes;
	bin->magic = (uint32_t)(((1ull << 32) + object_bytes - 1) / object_bytes);
	bin->pages = (uint16_t)gy_block_pages(object_bytes);
	bin->objects = (uint16_t)(bin->pages * GY_PAGE_BYTES / object_bytes);
	bin->claim_slots = (uint16_t)MAX(GY_PAGE_BYTES / object_bytes, 1);
	bin->bit_words = (uint8_t)gy_div_round_up(bin->objects, 64);
	bin->is_raw = layout->index == 0;
	bin->next = table.buckets[bucket];
	bin->following = gy_bins;
	__atomic_store_n(&table.buckets[bucket], bin, __ATOMIC_RELEASE);
	__atomic_store_n(&gy_bins, bin, __ATOMIC_RELEASE);
	return bin;
}

struct gy_gc_bin *gy_bin_find(const struct gy_layout *layout, uint32_t object_bytes)
{
	size_t bucket = (layout->index * 2654435761u ^ object_bytes / 8) % BUCKETS;
	struct gy_gc_bin *bin = find(layout, object_bytes, bucket);

	if (bin)
		return bin;
	gy_lock_acquire(&table.lock);
	bin = find(layout, object_bytes, bucket);
	if (!bin)
		bin = add_locked(layout, object_bytes, bucket);
	gy_lock_release(&table.lock);
	return bin;
}

/* ------------------------------------------------------------------ blocks */

void gy_block_make(struct gy_gc_bin *bin, uint32_t block)
{
	uint32_t epoch = __atomic_load_n(&gy_gc_epoch, __ATOMIC_ACQUIRE);

	gy_bits_clear(block, bin->bit_words);
	for (uint32_t page = block; page < block + bin->pages; page++) {
		struct gy_gc_page *record = &gy_gc_pages[page];

		record->magic = bin->magic;
		record->first_page = block;
		record->layout = bin->layout->index;
		record->objects = bin->objects;
		record->state = GY_BLOCK_IN_HAND;
		record->queued = 0;
		record->bit_words = bin->bit_words;
		record->object_bytes = bin->object_bytes;
		record->pages = bin->pages;
		record->next = 0;
		record->epoch = epoch;
	}
	/* REC-5; the first page last: its kind is what gy_space_each_block goes by. */
	for (uint32_t page = block + bin->pages; page-- > block;)
		__atomic_store_n(&gy_gc_pages[page].kind, GY_BLOCK_SMALL, __ATOMIC_RELEASE);
}

void gy_block_drop(struct gy_gc_bin *bin, uint32_t block)
{
	for (uint32_t page = block; page < block + bin->pages; page++)
		__atomic_store_n(&gy_gc_pages[page].kind, GY_BLOCK_NONE, __ATOMIC_RELEASE);
	gy_pages_give(block, bin->pages);
}

/* ------------------------------------------------------------------ fork, checks */

void gy_bin_table_lock(void)
{
	gy_lock_acquire(&table.lock);
}

void gy_bin_table_unlock(void)
{
	gy_lock_release(&table.lock);
}

void gy_bin_table_fork_child(void)
{
	gy_lock_init(&table.lock, GY_RANK_layout);
}

/* One list: right links, each block in the state it should be in. [lock: bin] */
static void check_list(const struct gy_gc_bin *bin, const struct gy_block_list *list)
{
	uint32_t last = 0, count = 0;

	for (uint32_t block = list->head; block; block = gy_gc_pages[block].next) {
		const struct gy_gc_page *record = &gy_gc_pages[block];
		const struct gy_gc_bits *bits = &gy_gc_bits[block];
		bool swept = record->epoch == gy_gc_epoch;
		unsigned used = gy_block_count(bin, block);

		INVARIANT(REC_5, record->kind == GY_BLOCK_SMALL && record->first_page == block);
		INVARIANT(REC_5, gy_gc_pages[block + bin->pages - 1].first_page == block);
		INVARIANT(SPACE_1, record->state == GY_BLOCK_LISTED && !record->queued);
		INVARIANT(SPACE_1, list == &bin->unswept || swept);
		INVARIANT(SPACE_1, list != &bin->full || used == bin->objects);
		INVARIANT(SPACE_1, list != &bin->partial || used < bin->objects);
		for (unsigned i = 0; i < bin->bit_words; i++)
			INVARIANT(REC_2, !swept || !(*gy_marks_word(block, i) |
						     *gy_scanned_word(block, i)));
		INVARIANT(REC_1, bin->objects % 64 == 0 || !(bits->allocated[bin->objects / 64] >>
							     bin->objects % 64));
		last = block;
		count++;
	}
	INVARIANT(SPACE_1, last == list->tail && count == list->count);
}

void gy_space_check(void)
{
	for (const struct gy_gc_bin *bin = gy_bins; bin; bin = bin->following) {
		gy_lock_acquire(bin->lock);
		check_list(bin, &bin->unswept);
		check_list(bin, &bin->partial);
		check_list(bin, &bin->full);
		INVARIANT(SPACE_1,
			  (uint64_t)bin->unswept.count + bin->partial.count + bin->full.count <=
				  bin->blocks);
		gy_lock_release(bin->lock);
	}
	gy_large_check();
}
