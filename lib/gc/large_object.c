/* large_object.c - objects above 32 KiB: a block of whole pages for each.
 *
 * Bit 0 of the block's bits is the object's. All large objects are in one list; the flip makes it
 * the unswept one, sweeping moves what lives back, and what does not goes to the page heap.
 *
 * LARGE-1  Records of all pages are written before the object's allocated bit is set, and cleared
 *          after it was; until then, and from then on, nobody finds an object there. So neither
 *          need be one step against the stop, and neither is done under the lock.
 * LARGE-2  The object is made black or white, allocated, and linked between gy_mutator_enter and
 *          _leave (SPACE-8). The thread may be stopped in _leave: by then the object's address, not
 *          only its page's number, is in a register or on the stack, or the snapshot would miss it.
 */
#include "gc/bin.h"

#include "base/bits.h"
#include "base/config.h"
#include "gc/cycle.h"
#include "os/vm.h"

#include <string.h>

#define SWEPT_PER_NEW 4u /* a thread that takes a large object first sweeps so many */
#define LARGEST_BYTES (1ull << 46)

static struct {
	struct gy_block_list all, unswept;        /* [lock] */
	uint64_t count, bytes;                    /* [lock] read without */
	uint64_t taken, taken_bytes, freed_bytes; /* the same; since start */
} large;

static struct gy_lock *lock(void)
{
	return &gy_bin_locks[GY_BIN_LOCKS].lock;
}

/* Dead: unlinked, no longer allocated; the rest. */
static void give_back(uint32_t block)
{
	struct gy_gc_page *record = &gy_gc_pages[block];
	uint32_t pages = record->pages;

	if (gy_option(GY_OPT_gc_poison))
		memset(gy_page_start(block), GY_GC_POISON, (size_t)pages << GY_PAGE_SHIFT);
	for (uint32_t page = block; page < block + pages; page++)
		__atomic_store_n(&gy_gc_pages[page].kind, GY_BLOCK_NONE, __ATOMIC_RELEASE);
	gy_page_heap_give(gy_span_of_page(block));
}

/* Sweeps one; *dead: its pages are to go back; 0: there is none. */
static uint32_t sweep_one(bool *dead)
{
	uint32_t block;

	gy_lock_acquire(lock());
	block = gy_block_list_take(&large.unswept);
	if (block) {
		struct gy_gc_page *record = &gy_gc_pages[block];
		size_t bytes = (size_t)record->pages << GY_PAGE_SHIFT;

		/* SWEEP-2 */
		*dead = record->epoch != gy_gc_epoch && !(READ_RELAXED(record->marks[0]) & 1);
		WRITE_RELAXED(record->marks[0], 0);
		WRITE_RELAXED(*gy_scanned_word(block, 0), 0);
		record->epoch = gy_gc_epoch;
		if (*dead) {
			WRITE_RELAXED(gy_gc_bits[block].allocated[0], 0); /* LARGE-1 */
			WRITE_RELAXED(large.count, large.count - 1);
			WRITE_RELAXED(large.bytes, large.bytes - bytes);
			WRITE_RELAXED(large.freed_bytes, large.freed_bytes + bytes);
		} else {
			gy_block_list_add(&large.all, block);
		}
	}
	gy_lock_release(lock());
	return block;
}

bool gy_large_sweep_some(unsigned objects)
{
	while (objects--) {
		bool dead;
		uint32_t block;

		if (!READ_RELAXED(large.unswept.head))
			return false;
		block = sweep_one(&dead);
		if (block && dead)
			give_back(block);
	}
	return true;
}

void gy_large_flip(void)
{
	gy_lock_acquire(lock());
	gy_block_list_join(&large.unswept, &large.all);
	gy_lock_release(lock());
}

/* ------------------------------------------------------------------ taking */

/* LARGE-1 */
static void write_records(const struct gy_layout *layout, uint32_t block, uint32_t pages)
{
	gy_bits_clear(block, 1);
	for (uint32_t page = block; page < block + pages; page++) {
		struct gy_gc_page *record = &gy_gc_pages[page];

		record->magic = 0;
		record->first_page = block;
		record->layout = layout->index;
		record->objects = 1;
		record->state = GY_BLOCK_LISTED;
		record->queued = 0;
		record->bit_words = 1;
		record->object_bytes = 0;
		record->pages = pages;
		record->next = 0;
		record->epoch = 0;
	}
	for (uint32_t page = block + pages; page-- > block;)
		__atomic_store_n(&gy_gc_pages[page].kind, GY_BLOCK_LARGE, __ATOMIC_RELEASE);
}

/* LARGE-2 */
static void publish(uint32_t block, size_t bytes)
{
	struct gy_gc_page *record = &gy_gc_pages[block];
	uint32_t marking, epoch;

	gy_lock_acquire(lock());
	marking = __atomic_load_n(&gyre_gc_marking, __ATOMIC_ACQUIRE);
	epoch = __atomic_load_n(&gy_gc_epoch, __ATOMIC_ACQUIRE);
	record->epoch = epoch;
	if (marking == epoch + 1) { /* SPACE-7; scanned first, REC-2 */
		WRITE_RELAXED(*gy_scanned_word(block, 0), 1);
		WRITE_RELAXED(record->marks[0], 1);
	}
	__atomic_store_n(&gy_gc_bits[block].allocated[0], 1, __ATOMIC_RELEASE);
	gy_block_list_add(&large.all, block);
	WRITE_RELAXED(large.count, large.count + 1);
	WRITE_RELAXED(large.bytes, large.bytes + bytes);
	WRITE_RELAXED(large.taken, large.taken + 1);
	WRITE_RELAXED(large.taken_bytes, large.taken_bytes + bytes);
	gy_lock_release(lock());
	ADD_RELAXED(gy_space_taken_bytes, bytes);
}

/* A large object with pointers is walked by every cycle, and hit here and there by its program: a
 * hash's table, a vector. On small pages nearly each such access is a walk through page tables: a
 * tenth of a cache service's time. Mere bytes are left alone, as malloc's large blocks are: they
 * may be sparse (heap/page_heap.c). */
static void want_hugepages(uint32_t block, size_t pages)
{
	size_t first = gy_div_round_up(block, GY_HUGEPAGE_PAGES);
	size_t end = (block + pages) / GY_HUGEPAGE_PAGES;

	if (first >= end || !gy_option(GY_OPT_hugepage))
		return;
	for (size_t index = first; index < end; index++)
		gy_page_heap_collapsed(index);
	gy_vm_want_hugepages(gy_page_start(first * GY_HUGEPAGE_PAGES),
			     (end - first) * GY_HUGEPAGE_BYTES);
}

void *gy_large_new(struct gy_gc_thread *thread, const struct gy_layout *layout, size_t bytes)
{
	size_t pages = (bytes + GY_PAGE_BYTES - 1) >> GY_PAGE_SHIFT;
	char *object;
	bool zeroed;
	uint32_t block;

	if (bytes > LARGEST_BYTES)
		return NULL;
	bytes = pages << GY_PAGE_SHIFT;
	gy_cycle_allocated(thread, bytes);
	gy_large_sweep_some(SWEPT_PER_NEW);
	block = gy_pages_take(pages, &zeroed);
	if (!block)
		return NULL;
	if (layout->index != 0)
		want_hugepages(block, pages);
	if (!zeroed && layout->index != 0)
		memset(gy_page_start(block), 0, bytes);
	write_records(layout, block, (uint32_t)pages);
	object = gy_page_start(block);
	__asm__ volatile("" : "+r"(object)); /* LARGE-2: not to be computed anew */
	gy_mutator_enter(&thread->mutator);
	publish(block, bytes);
	gy_mutator_leave(&thread->mutator);
	return object;
}

/* ------------------------------------------------------------------ numbers, checks */

void gy_large_add_stats(struct gy_space_stats *stats)
{
	uint64_t taken = READ_RELAXED(large.taken_bytes), freed = READ_RELAXED(large.freed_bytes);

	stats->blocks += READ_RELAXED(large.count);
	stats->span_bytes += READ_RELAXED(large.bytes);
	stats->objects_allocated += READ_RELAXED(large.taken);
	stats->bytes_allocated += taken;
	stats->bytes_freed += freed;
	stats->inuse_bytes += taken - MIN(taken, freed);
}

void gy_large_check(void)
{
	uint32_t last = 0;
	uint64_t count = 0;

	gy_lock_acquire(lock());
	for (uint32_t block = large.all.head; block; block = gy_gc_pages[block].next) {
		INVARIANT(REC_5, gy_gc_pages[block].kind == GY_BLOCK_LARGE);
		INVARIANT(REC_5, gy_gc_pages[block].first_page == block);
		INVARIANT(REC_1, gy_gc_bits[block].allocated[0] == 1);
		INVARIANT(REC_2, !gy_gc_pages[block].marks[0]);
		last = block;
		count++;
	}
	INVARIANT(SPACE_1, last == large.all.tail && count == large.all.count);
	INVARIANT(SPACE_1, count + large.unswept.count == large.count);
	gy_lock_release(lock());
}
