/* sweep.c - from marks to free slots: the flip, and what it leaves to be done.
 *
 * At the flip nothing is touched but list heads: each bin's blocks become "unswept" together. From
 * then on a block's marks are the truth about its objects, until somebody sweeps it:
 *
 *	the thread that wants slots	takes an unswept block, sweeps it (128 bytes, prefetched
 *					when the one before it was taken), and allocates from it
 *	the thread that has it in hand	in place, on its way to the next run (SPACE-4)
 *	the pause			in place, where a thread has not come by (SPACE-3)
 *	the collector's threads		what is left, bin after bin (gy_space_sweep_some): blocks
 *					with room become partial, empty ones go to the pool
 *
 * SWEEP-1  Whoever sweeps a block has taken it off its list, or has it in hand, or has stopped the
 *          world; and holds the bin's lock (BIN-3) but in the pause.
 * SWEEP-2  Sweeping twice would free everything: the epoch says whether it was done.
 * SWEEP-3  What a sweep frees may be written over at once: nothing reachable leads there.
 * SWEEP-4  A mark on a free slot means nothing. A typed field may hold the address just behind an
 *          object, as C allows, and marking believes it without a look at the allocated bits
 *          (SCAN-1): what is there then is the next slot, free perhaps.
 */
#include "gc/bin.h"
#include "gc/cycle.h"

#include <string.h>

#define BLOCKS_AT_ONCE 8u /* swept under one hold of a bin's lock */

static struct {
	struct gy_gc_bin *at; /* [atomic] where to look for unswept blocks: a hint */
} sweep;

/* Option gc_poison: whoever still has a pointer to these shall see. */
static GY_COLD void poison(const struct gy_gc_bin *bin, uint32_t block, unsigned word,
			   uint64_t freed)
{
	for (; freed; freed &= freed - 1) {
		size_t index = word * 64u + (unsigned)__builtin_ctzll(freed);

		memset(gy_page_start(block) + index * bin->object_bytes, GY_GC_POISON,
		       bin->object_bytes);
	}
}

/* SPACE-5; objects left. */
static unsigned sweep_block(struct gy_gc_bin *bin, uint32_t block)
{
	struct gy_gc_bits *bits = &gy_gc_bits[block];
	bool poisons = gy_option(GY_OPT_gc_poison);
	unsigned live = 0, used = 0;

	for (unsigned i = 0; i < bin->bit_words; i++) {
		uint64_t allocated = READ_RELAXED(bits->allocated[i]);
		uint64_t marked = READ_RELAXED(*gy_marks_word(block, i)) & allocated; /* SWEEP-4 */

		if (marked)
			live += gy_bits_in(marked);
		used += ~allocated ? gy_bits_in(allocated) : 64;
		if (unlikely(poisons))
			poison(bin, block, i, allocated & ~marked);
		WRITE_RELAXED(bits->allocated[i], marked);
		WRITE_RELAXED(*gy_marks_word(block, i), 0);
		WRITE_RELAXED(*gy_scanned_word(block, i), 0);
	}
	WRITE_RELAXED(bin->freed, bin->freed + (used - live));
	gy_gc_pages[block].epoch = gy_gc_epoch;
	return live;
}

unsigned gy_block_count(const struct gy_gc_bin *bin, uint32_t block)
{
	unsigned count = 0;

	for (unsigned i = 0; i < bin->bit_words; i++)
		count += gy_bits_in(READ_RELAXED(gy_gc_bits[block].allocated[i]));
	return count;
}

unsigned gy_block_settle(struct gy_gc_bin *bin, uint32_t block)
{
	if (likely(gy_gc_pages[block].epoch !=
		   __atomic_load_n(&gy_gc_epoch, __ATOMIC_ACQUIRE))) /* SWEEP-2 */
		return sweep_block(bin, block);
	return gy_block_count(bin, block);
}

/* ------------------------------------------------------------------ the flip */

void gy_space_flip(uint32_t epoch)
{
	CHECK(epoch == gy_gc_epoch); /* SPACE-7 */
	for (struct gy_gc_bin *bin = __atomic_load_n(&gy_bins, __ATOMIC_ACQUIRE); bin;
	     bin = bin->following) {
		gy_lock_acquire(bin->lock);
		gy_block_list_join(&bin->unswept, &bin->partial);
		gy_block_list_join(&bin->unswept, &bin->full);
		gy_lock_release(bin->lock);
	}
	gy_large_flip();
	__atomic_store_n(&sweep.at, __atomic_load_n(&gy_bins, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------ in the background */

/* Up to `blocks` blocks of a bin; how many. */
static unsigned sweep_bin(struct gy_gc_bin *bin, unsigned blocks)
{
	unsigned done = 0;
	uint32_t block;

	gy_lock_acquire(bin->lock);
	while (done < blocks && (block = gy_block_list_take(&bin->unswept))) {
		unsigned live = gy_block_settle(bin, block);

		if (live == bin->objects) {
			gy_block_list_add(&bin->full, block);
		} else if (live) {
			gy_block_list_add(&bin->partial, block);
		} else {
			WRITE_RELAXED(bin->blocks, bin->blocks - 1);
			gy_block_drop(bin, block);
		}
		done++;
	}
	gy_lock_release(bin->lock);
	return done;
}

/* The first bin of [from, end) with unswept blocks. Somebody may be taking the last of them: that
 * does not make it the last bin. */
static struct gy_gc_bin *unswept_in(struct gy_gc_bin *from, const struct gy_gc_bin *end)
{
	for (struct gy_gc_bin *bin = from; bin != end; bin = bin->following)
		if (READ_RELAXED(bin->unswept.head))
			return bin;
	return NULL;
}

/* From where the last look ended; NULL: there is none. */
static struct gy_gc_bin *unswept_bin(void)
{
	struct gy_gc_bin *start = __atomic_load_n(&sweep.at, __ATOMIC_ACQUIRE);
	struct gy_gc_bin *bin = unswept_in(start, NULL);

	if (!bin)
		bin = unswept_in(__atomic_load_n(&gy_bins, __ATOMIC_ACQUIRE), start);
	if (bin)
		__atomic_store_n(&sweep.at, bin, __ATOMIC_RELEASE);
	return bin;
}

bool gy_space_sweep_some(unsigned blocks)
{
	struct gy_gc_bin *bin;

	while ((bin = unswept_bin())) {
		unsigned done = sweep_bin(bin, MIN(blocks, BLOCKS_AT_ONCE));

		if (done >= blocks)
			return true;
		blocks -= done;
	}
	return gy_large_sweep_some(blocks);
}

void gy_space_sweep_all(void)
{
	while (gy_space_sweep_some(1024))
		;
	/* Who has taken a block off a list sweeps it under this lock (BIN-3). */
	for (unsigned i = 0; i <= GY_BIN_LOCKS; i++) {
		gy_lock_acquire(&gy_bin_locks[i].lock);
		gy_lock_release(&gy_bin_locks[i].lock);
	}
	/* SPACE-6: a block that is passed over keeps its marks, and loses what it points to. */
	for (const struct gy_gc_bin *bin = __atomic_load_n(&gy_bins, __ATOMIC_ACQUIRE); bin;
	     bin = bin->following)
		CHECK(!READ_RELAXED(bin->unswept.head));
}

bool gy_space_object_is_live(struct gy_object object)
{
	if (!gy_object_is_allocated(object))
		return false;
	return READ_RELAXED(gy_gc_pages[object.block].epoch) == READ_RELAXED(gy_gc_epoch) ||
	       gy_object_is_marked(object);
}

void gy_space_each_block(void (*visit)(size_t block, void *argument), void *argument)
{
	size_t end = MIN(READ_RELAXED(gy_gc_covered), READ_RELAXED(gy_map.page_count));

	for (size_t page = 1; page < end;) {
		const struct gy_gc_page *record = &gy_gc_pages[page];
		size_t pages = 1;

		if (__atomic_load_n(&record->kind, __ATOMIC_ACQUIRE) != GY_BLOCK_NONE &&
		    record->first_page == page) {
			pages = record->pages;
			visit(page, argument);
		}
		page += pages;
	}
}
