/* space.c - collected objects handed out: cursors over runs of free slots.
 *
 *	block   |##.....###..#......|	#: allocated
 *	            ^    ^
 *	         next    limit		a run; to allocate is to move next (gy_space_fast_new)
 *
 * Slots are claimed many at a time: a run of free ones, often a whole block; or, where survivors
 * lie between, all free ones of a word of 64, which the cursor then goes through run by run. To
 * claim is to zero them and to set their bits; nobody writes a bit, a list or a header when a
 * single object is made, and what is handed out was zeroed a moment ago, so it is in the cache.
 * Programs whose objects die young find their blocks empty: sweep, zero 8 KiB, 256 objects of 32
 * bytes, and no list or lock in between but one hold of the bin's. No claim is for more than 8 KiB.
 *
 * The way of a thread that wants an object
 *	1  its cursor has a slot
 *	2  it has claimed more, or the block in hand has more free slots
 *	3  that block is of before the last flip: swept in place, it has room again
 *	4  an unswept block of the bin; swept; full ones go to the full list on the way
 *	5  a partial one
 *	6  pages: of the pool, of the page heap
 * Before 3 the collector is told (gy_cycle_allocated): it may ask for a share of its work.
 *
 * What the collector sees: what is claimed is allocated, slots without an owner included. They
 * read as zero, and are black while marking, so nothing is made of them; they come back when the
 * block is swept. What was claimed before the pause, and not handed out, is made black by the pause
 * itself (SPACE-3).
 *
 * Not here: bins, block layouts (bin.c); sweeping (sweep.c); pages (pool.c); large ones
 * (large_object.c). Sources: Go's mcache and span sweeping, for the order of 4 to 6; whippet's nofl
 * space, for bump allocation through holes.
 */
#include "gc/bin.h"

#include "base/bits.h"
#include "gc/cycle.h"

#include <string.h>

#define FULL_AT_ONCE 16u /* full blocks swept under one hold of the bin's lock */

uint64_t gy_space_taken_bytes GY_ALIGNED(64);

/* ------------------------------------------------------------------ runs */

/* Memory new from the kernel: a barrier reads a slot before it writes it, and a page that is read
 * first is mapped twice, with an interrupt to every CPU in between. */
static void touch(char *start, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += GY_KERNEL_PAGE_BYTES)
		*(volatile char *)(start + at) = 0;
}

/* Slots `mask` of word `word`, zeroed, become allocated; black before, if a cycle marks. */
GY_INLINE void set_bits(uint32_t block, unsigned word, uint64_t mask, bool black)
{
	uint64_t *allocated = &gy_gc_bits[block].allocated[word];

	if (unlikely(black) && !~mask) { /* no other's bit to lose, no wait for the zeroes */
		__atomic_store_n(gy_scanned_word(block, word), mask, __ATOMIC_RELAXED);
		__atomic_store_n(gy_marks_word(block, word), mask, __ATOMIC_RELEASE);
	} else if (unlikely(black)) {
		__atomic_fetch_or(gy_scanned_word(block, word), mask, __ATOMIC_RELAXED);
		__atomic_fetch_or(gy_marks_word(block, word), mask, __ATOMIC_RELEASE);
	}
	/* This thread alone writes these while it has the block. */
	__atomic_store_n(allocated, READ_RELAXED(*allocated) | mask, __ATOMIC_RELEASE);
}

/* The first run of the slots `mask` of word `word`, which are claimed; the others wait. */
static void run_of_mask(struct gy_cursor *cursor, unsigned word, uint64_t mask)
{
	unsigned first = (unsigned)__builtin_ctzll(mask);
	unsigned count = (unsigned)__builtin_ctzll(~(mask >> first)); /* not all 64: claim() */
	char *start =
		gy_page_start(cursor->block) + (size_t)(word * 64 + first) * cursor->object_bytes;

	cursor->next = start;
	cursor->limit = start + (size_t)count * cursor->object_bytes;
	cursor->claimed = mask & ~(((1ull << count) - 1) << first);
	cursor->claimed_word = (uint8_t)word;
}

/* Slots [first, end), all free: one run. */
static void claim_run(struct gy_cursor *cursor, unsigned first, unsigned end, bool black)
{
	const struct gy_gc_bin *bin = cursor->bin;
	char *start = gy_page_start(cursor->block) + (size_t)first * bin->object_bytes;
	size_t bytes = (size_t)(end - first) * bin->object_bytes;

	if (cursor->zeroed)
		touch(start, bytes);
	else if (!bin->is_raw)
		memset(start, 0, bytes);
	for (unsigned word = first / 64; word * 64 < end; word++)
		set_bits(cursor->block, word, gy_range_mask(word, first, end - first), black);
	cursor->next = start;
	cursor->limit = start + bytes;
	cursor->next_slot = (uint16_t)end;
}

/* Free slots of [first, end) in one word, with others between them. Zeroed together: their cache
 * misses overlap. */
static void claim_mask(struct gy_cursor *cursor, unsigned first, unsigned end, bool black)
{
	const struct gy_gc_bin *bin = cursor->bin;
	unsigned word = first / 64;
	uint64_t mask = ~READ_RELAXED(gy_gc_bits[cursor->block].allocated[word]) &
			gy_range_mask(word, first, end - first);
	char *start = gy_page_start(cursor->block) + (size_t)word * 64 * bin->object_bytes;

	for (uint64_t left = bin->is_raw ? 0 : mask; left;) {
		unsigned at = (unsigned)__builtin_ctzll(left);
		uint64_t behind =
			left + (1ull << at); /* the run's bits turned to 0, the next to 1 */

		memset(start + (size_t)at * bin->object_bytes, 0,
		       (behind ? (unsigned)__builtin_ctzll(behind) - at : 64 - at) *
			       (size_t)bin->object_bytes);
		left &= behind;
	}
	set_bits(cursor->block, word, mask, black);
	cursor->next_slot = (uint16_t)end;
	run_of_mask(cursor, word, mask);
}

/* SPACE-2: the next free slots of the block in hand. False: there are none, or the block is to be
 * swept first. */
static bool claim(struct gy_cursor *cursor)
{
	const struct gy_gc_bin *bin = cursor->bin;
	uint32_t marking, epoch;
	const uint64_t *allocated;
	unsigned first, used, end, word_end;

	if (!cursor->block)
		return false;
	marking = __atomic_load_n(&gyre_gc_marking, __ATOMIC_ACQUIRE); /* SPACE-7: in this order */
	epoch = __atomic_load_n(&gy_gc_epoch, __ATOMIC_ACQUIRE);
	if (gy_gc_pages[cursor->block].epoch != epoch)
		return false;
	allocated = gy_gc_bits[cursor->block].allocated;
	first = gy_bit_next(allocated, bin->objects, cursor->next_slot, false);
	if (first == bin->objects)
		return false;
	end = MIN(first + bin->claim_slots, bin->objects);
	used = gy_bit_next(allocated, end, first, true);
	word_end = (first / 64 + 1) * 64;
	if (used == end || used >= word_end)
		claim_run(cursor, first, used, marking == epoch + 1);
	else
		claim_mask(cursor, first, MIN(end, word_end), marking == epoch + 1);
	return true;
}

/* Step 2: the cursor is empty; whether it has a run again. */
GY_INLINE bool run_next(struct gy_cursor *cursor)
{
	if (!cursor->claimed)
		return claim(cursor);
	run_of_mask(cursor, cursor->claimed_word, cursor->claimed);
	return true;
}

/* ------------------------------------------------------------------ blocks in hand */

/* [lock: bin, or the world is stopped] `live` objects are in the block, all others are free now. */
static void hand_over(struct gy_cursor *cursor, uint32_t block, unsigned live)
{
	struct gy_gc_bin *bin = cursor->bin;
	unsigned slots = bin->objects - live;

	gy_gc_pages[block].state = GY_BLOCK_IN_HAND;
	cursor->block = block;
	cursor->next_slot = 0;
	cursor->zeroed = false;
	cursor->taken_bytes = slots * bin->object_bytes;
	WRITE_RELAXED(bin->taken, bin->taken + slots);
	ADD_RELAXED(gy_space_taken_bytes, cursor->taken_bytes);
}

/* The block in hand, of before the last flip: swept in place. What it had not handed out is
 * returned and taken anew. [lock: bin, or the world is stopped] Objects left. */
static unsigned settle_in_hand(struct gy_cursor *cursor)
{
	struct gy_gc_bin *bin = cursor->bin;
	unsigned used = gy_block_count(bin, cursor->block);
	unsigned live = gy_block_settle(bin, cursor->block);

	WRITE_RELAXED(bin->returned, bin->returned + (bin->objects - used));
	hand_over(cursor, cursor->block, live);
	return live;
}

static void put_away(struct gy_block_list *list, uint32_t block)
{
	gy_gc_pages[block].state = GY_BLOCK_LISTED;
	gy_block_list_add(list, block);
}

/* Steps 3 to 5. [lock: bin] 1: the cursor has a block with room; 0: the bin has none; -1: let
 * others at the lock, and come again. */
static int take_listed(struct gy_cursor *cursor)
{
	struct gy_gc_bin *bin = cursor->bin;
	uint32_t block = cursor->block;

	if (block) {
		if (gy_gc_pages[block].epoch != __atomic_load_n(&gy_gc_epoch, __ATOMIC_ACQUIRE) &&
		    settle_in_hand(cursor) < bin->objects)
			return 1;
		cursor->block = 0;
		put_away(&bin->full, block);
	}
	for (unsigned i = 0; i < FULL_AT_ONCE; i++) {
		unsigned live;

		block = gy_block_list_take(&bin->unswept);
		if (!block)
			block = gy_block_list_take(&bin->partial);
		if (!block)
			return 0;
		live = gy_block_settle(bin, block); /* BIN-2 */
		if (live < bin->objects) {
			hand_over(cursor, block, live);
			return 1;
		}
		put_away(&bin->full, block);
	}
	return -1;
}

/* Step 6. On the way to its pages, which may take long (POOL-3), the thread may be stopped. */
static bool take_new(struct gy_gc_thread *thread, struct gy_cursor *cursor)
{
	struct gy_gc_bin *bin = cursor->bin;
	bool zeroed;
	uint32_t block = gy_pages_take(bin->pages, &zeroed);

	if (!block)
		return false;
	gy_mutator_enter(&thread->mutator); /* SPACE-8 */
	gy_block_make(bin, block);
	gy_lock_acquire(bin->lock);
	hand_over(cursor, block, 0);
	WRITE_RELAXED(bin->blocks, bin->blocks + 1);
	gy_lock_release(bin->lock);
	cursor->zeroed = zeroed;
	gy_mutator_leave(&thread->mutator);
	return true;
}

/* Not between enter and leave: who waits for the lock can be stopped. */
static bool take_block(struct gy_gc_thread *thread, struct gy_cursor *cursor)
{
	int taken;

	do {
		gy_lock_acquire(cursor->bin->lock);
		taken = take_listed(cursor);
		gy_lock_release(cursor->bin->lock);
	} while (taken < 0);
	return taken || take_new(thread, cursor);
}

/* An object from a cursor that may be empty; *object NULL: no slot is left in the block in hand. */
static bool take_in_hand(struct gy_gc_thread *thread, struct gy_cursor *cursor, void **object)
{
	gy_mutator_enter(&thread->mutator); /* SPACE-8 */
	*object = cursor->next != cursor->limit || run_next(cursor) ? gy_cursor_take(cursor) : NULL;
	gy_mutator_leave(&thread->mutator);
	return *object != NULL;
}

/* NULL: memory lacks. */
static GY_NOINLINE void *refill(struct gy_gc_thread *thread, struct gy_cursor *cursor)
{
	size_t bytes = cursor->taken_bytes;
	void *object;

	if (take_in_hand(thread, cursor, &object))
		return object;
	gy_cycle_allocated(thread, bytes ? bytes : cursor->bin->pages * GY_PAGE_BYTES);
	while (!take_in_hand(thread, cursor, &object) && take_block(thread, cursor))
		;
	return object;
}

/* ------------------------------------------------------------------ cursors */

/* The thread's cursor for a layout and size of slot; made at the first time. */
static struct gy_cursor *cursor_of(struct gy_gc_thread *thread, const struct gy_layout *layout,
				   uint32_t object_bytes)
{
	size_t hash = (layout->index * 31u + object_bytes / 8) % GY_CURSOR_CHAINS;
	struct gy_cursor *cursor = thread->chains[hash];
	struct gy_gc_bin *bin;

	while (cursor && (cursor->bin->layout != layout || cursor->object_bytes != object_bytes))
		cursor = cursor->next_in_chain;
	if (cursor)
		return cursor;
	bin = gy_bin_find(layout, object_bytes);
	cursor = bin ? gy_metadata_block_take(GY_CURSOR_LOG2) : NULL;
	if (!cursor)
		return NULL;
	*cursor = (struct gy_cursor){.object_bytes = object_bytes,
				     .bin = bin,
				     .following = thread->cursors,
				     .next_in_chain = thread->chains[hash]};
	gy_mutator_enter(&thread->mutator);
	thread->chains[hash] = cursor;
	thread->cursors = cursor;
	gy_mutator_leave(&thread->mutator);
	return cursor;
}

void *gy_space_new(struct gy_gc_thread *thread, const struct gyre_type *type)
{
	struct gy_type_slot *slot = &thread->types[gy_type_hash(type) % GY_TYPE_SLOTS];
	const struct gy_layout *layout;
	struct gy_cursor *cursor;
	uint32_t object_bytes;

	if (likely(slot->type == type && slot->fingerprint == type->fingerprint))
		return refill(thread, slot->cursor);
	layout = gy_layout_of(type, false);
	if (!layout)
		return NULL;
	object_bytes = gy_slot_bytes(type->bytes, type->alignment);
	if (!object_bytes)
		return gy_large_new(thread, layout, type->bytes);
	cursor = cursor_of(thread, layout, object_bytes);
	if (!cursor)
		return NULL;
	*slot = (struct gy_type_slot){
		.type = type, .fingerprint = type->fingerprint, .cursor = cursor};
	return refill(thread, cursor);
}

void *gy_space_new_sized(struct gy_gc_thread *thread, const struct gy_layout *layout, size_t bytes)
{
	struct gy_sized_slot *slot = &thread->sized[gy_sized_hash(layout, bytes)];
	struct gy_cursor *cursor = slot->cursor;
	uint32_t object_bytes;
	void *object;

	if (slot->layout != layout || slot->words != bytes / 8) {
		object_bytes = gy_slot_bytes_sized(bytes, layout->alignment);
		if (!object_bytes)
			return bytes + 1 ? gy_large_new(thread, layout, bytes + 1) : NULL;
		cursor = cursor_of(thread, layout, object_bytes);
		if (!cursor)
			return NULL;
		*slot = (struct gy_sized_slot){
			.layout = layout, .words = bytes / 8, .cursor = cursor};
	}
	object = gy_cursor_take(cursor);
	return object ? object : refill(thread, cursor);
}

/* ------------------------------------------------------------------ the pause, the end */

/* Slots of word `word` that the cursor has claimed, and not handed out. */
static uint64_t rest_of_word(const struct gy_cursor *cursor, unsigned word)
{
	const char *start = gy_page_start(cursor->block);
	uint64_t mask = cursor->claimed && cursor->claimed_word == word ? cursor->claimed : 0;

	if (cursor->next != cursor->limit) {
		size_t bytes = cursor->object_bytes;
		unsigned first = (unsigned)((size_t)(cursor->next - start) / bytes);
		unsigned end = (unsigned)((size_t)(cursor->limit - start) / bytes);

		mask |= gy_range_mask(word, first, end - first);
	}
	return mask;
}

void gy_space_thread_begin_cycle(struct gy_gc_thread *thread)
{
	for (struct gy_cursor *cursor = thread->cursors; cursor; cursor = cursor->following) {
		if (!cursor->block)
			continue;
		if (gy_gc_pages[cursor->block].epoch != gy_gc_epoch)
			settle_in_hand(cursor);
		if (cursor->next == cursor->limit && !cursor->claimed)
			continue;
		for (unsigned word = 0; word < cursor->bin->bit_words; word++) {
			uint64_t mask = rest_of_word(cursor, word);

			*gy_scanned_word(cursor->block, word) |= mask;
			*gy_marks_word(cursor->block, word) |= mask;
		}
	}
}

/* The block goes to its bin. What is left in the cursor was handed to nobody; while marking it is
 * black and stays so, to be found by the next sweep. So does the rest of a thread that a fork has
 * cut off, perhaps in the middle of a claim: `whole` is false. */
static void cursor_end(struct gy_cursor *cursor, bool whole)
{
	struct gy_gc_bin *bin = cursor->bin;
	uint32_t block = cursor->block, marking, epoch;
	unsigned free;

	gy_lock_acquire(bin->lock);
	marking = __atomic_load_n(&gyre_gc_marking, __ATOMIC_ACQUIRE); /* SPACE-7: in this order */
	epoch = __atomic_load_n(&gy_gc_epoch, __ATOMIC_ACQUIRE);
	if (gy_gc_pages[block].epoch != epoch)
		settle_in_hand(cursor);
	for (unsigned word = 0; whole && marking != epoch + 1 && word < bin->bit_words; word++) {
		uint64_t *allocated = &gy_gc_bits[block].allocated[word];

		WRITE_RELAXED(*allocated, READ_RELAXED(*allocated) & ~rest_of_word(cursor, word));
	}
	free = bin->objects - gy_block_count(bin, block);
	WRITE_RELAXED(bin->returned, bin->returned + free);
	put_away(free ? &bin->partial : &bin->full, block);
	gy_lock_release(bin->lock);
}

void gy_space_thread_end(struct gy_gc_thread *thread)
{
	struct gy_cursor *cursor;

	gy_mutator_enter(&thread->mutator);
	memset(thread->types, 0, sizeof(thread->types));
	memset(thread->sized, 0, sizeof(thread->sized));
	memset(thread->chains, 0, sizeof(thread->chains));
	while ((cursor = thread->cursors)) {
		if (cursor->block)
			cursor_end(cursor, thread == gy_gc_self);
		thread->cursors = cursor->following;
		gy_metadata_block_give(cursor, GY_CURSOR_LOG2);
	}
	gy_mutator_leave(&thread->mutator);
}

/* ------------------------------------------------------------------ numbers, fork, checks */

void gy_space_read_stats(struct gy_space_stats *stats)
{
	*stats = (struct gy_space_stats){.span_bytes = gy_pool_count() * GY_PAGE_BYTES};
	for (const struct gy_gc_bin *bin = __atomic_load_n(&gy_bins, __ATOMIC_ACQUIRE); bin;
	     bin = bin->following) {
		uint64_t freed = READ_RELAXED(bin->freed), returned = READ_RELAXED(bin->returned);
		uint64_t taken = READ_RELAXED(bin->taken), blocks = READ_RELAXED(bin->blocks);
		uint64_t made = taken - MIN(taken, returned);

		stats->blocks += blocks;
		stats->span_bytes += blocks * bin->pages * GY_PAGE_BYTES;
		stats->objects_allocated += made;
		stats->bytes_allocated += made * bin->object_bytes;
		stats->bytes_freed += freed * bin->object_bytes;
		stats->inuse_bytes += (made - MIN(made, freed)) * bin->object_bytes;
	}
	gy_large_add_stats(stats);
}

int gy_space_init(void)
{
	for (unsigned i = 0; i <= GY_BIN_LOCKS; i++)
		gy_lock_init(&gy_bin_locks[i].lock, GY_RANK_bin);
	return 0;
}

void gy_space_fork_prepare_table(void)
{
	gy_bin_table_lock();
}

void gy_space_fork_prepare(void)
{
	for (unsigned i = 0; i <= GY_BIN_LOCKS; i++) /* BIN-4 */
		gy_lock_acquire(&gy_bin_locks[i].lock);
	gy_pool_lock();
}

void gy_space_fork_parent(void)
{
	gy_pool_unlock();
	for (unsigned i = GY_BIN_LOCKS + 1; i-- > 0;)
		gy_lock_release(&gy_bin_locks[i].lock);
}

void gy_space_fork_parent_table(void)
{
	gy_bin_table_unlock();
}

void gy_space_fork_child(void)
{
	gy_space_fork_parent();
	gy_space_fork_parent_table();
	gy_bin_table_fork_child();
	for (unsigned i = 0; i <= GY_BIN_LOCKS; i++)
		gy_lock_init(&gy_bin_locks[i].lock, GY_RANK_bin);
	gy_pool_fork_child();
	gy_records_fork_child();
}
