/* central.c - per size class: the blocks that no thread holds.
 *
 *   thread caches   <- refill, flush: batches of pointers ->
 *   transfer array  [p p p p p p . . .]      a batch given by one thread serves the next: a copy of
 *                                            pointers, the blocks and their spans are not touched
 *   spans           fullest first: lists[0] ... lists[7], by share of free blocks
 *   page heap       spans come when no list holds one, and go when every block is free
 *
 * Each class has its own lock; two threads meet here only when both refill or flush the same class
 * at once. A second row of the same structure serves sampled blocks, whose spans are marked so
 * that free's fast path leaves them alone.
 *
 * CENTRAL-1  A block is in exactly one place: allocated, in a thread cache, in the transfer array,
 *            free in its span, or borrowed by a release.
 * CENTRAL-2  span_free = sum of the spans' free_count; borrowed likewise.
 * CENTRAL-3  A span with free_count > 0 is on lists[share_of(span)]; others are on none.
 * CENTRAL-4  A kernel page in gone_bits holds free blocks only; taking one of them clears it.
 * CENTRAL-5  taken - given = blocks outside of this structure.
 * CENTRAL-6  A release that has pages of a span in hand has borrowed at least one of its blocks, so
 *            the span cannot become empty and go meanwhile. (The tail alone is never borrowed.)
 *
 * Not here: which thread holds what (thread_cache.c), when pages go back (scavenger.c).
 * Sources: tcmalloc's central_freelist.h and transfer_cache.h; Go's mcentral.go.
 */
#include "heap/central.h"

#include "base/config.h"
#include "heap/misuse.h"

#include <string.h>

/* Blocks the transfer array holds: enough for some batches, at most this many bytes. */
#define SLOTS_MAX 4096u
#define SLOTS_BYTES ((size_t)64 << 10)
#define SLOTS_MIN 4u
#define EMPTY_SAMPLED 1 /* empty spans of samples kept: samples come one by one */

struct gy_central gy_centrals[2][GY_CLASS_COUNT];
uint64_t gy_centrals_used[2][(GY_CLASS_COUNT + 63) / 64];

int gy_central_init(void)
{
	if (GYRE_CHECK_FULL) { /* only these builds ask for a lock's rank */
		for (unsigned i = 0; i < GY_CLASS_COUNT; i++) {
			gy_lock_init(&gy_centrals[0][i].lock, GY_RANK_central);
			gy_lock_init(&gy_centrals[1][i].lock, GY_RANK_central);
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ spans' lists */

/* By a product, for every free that ends up here asks. Below GY_CENTRAL_LISTS. */
static unsigned share_of(const struct gy_span *span)
{
	return (unsigned)span->free_count * span->share_scale >> 16;
}

static void span_unlist(struct gy_central *central, struct gy_span *span)
{
	unsigned list = span->list;

	if (list == GY_SPAN_NO_LIST)
		return;
	if (span->prev)
		span->prev->next = span->next;
	else
		central->lists[list] = span->next;
	if (span->next)
		span->next->prev = span->prev;
	if (!central->lists[list])
		central->lists_map &= (uint8_t) ~(1u << list);
	span->list = GY_SPAN_NO_LIST;
}

/* Puts a span where CENTRAL-3 wants it. */
static void span_relist(struct gy_central *central, struct gy_span *span)
{
	unsigned list = span->free_count ? share_of(span) : GY_SPAN_NO_LIST;

	if (list == span->list)
		return;
	span_unlist(central, span);
	if (list == GY_SPAN_NO_LIST)
		return;
	span->list = (uint8_t)list;
	span->prev = NULL;
	span->next = central->lists[list];
	if (span->next)
		span->next->prev = span;
	central->lists[list] = span;
	central->lists_map |= (uint8_t)(1u << list);
}

/* Hints to the scavenger; several classes may write the same value at once. */
static void span_touch(struct gy_span *span, bool quiet)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[span->first_page / GY_HUGEPAGE_PAGES];
	uint32_t tick = READ_RELAXED(gy_heap_tick);

	if (READ_RELAXED(hugepage->scanned))
		WRITE_RELAXED(hugepage->scanned, 0);
	if (quiet)
		return;
	span->tick = tick;
	if (READ_RELAXED(hugepage->tick) != tick)
		WRITE_RELAXED(hugepage->tick, tick);
}

/* Writes or clears what free reads first of the span's pages (META-3, META-6). */
static void publish_pages(const struct gy_span *span, bool on)
{
	const struct gy_size_class *size = &gy_size_classes[span->class_index];
	struct gy_page_info info = {0, 0, 0};

	if (on) {
		uint32_t start = (uint32_t)(uintptr_t)gy_span_start(span);

		info.bias = 0u - start * size->magic;
		if (span->sampled)
			info.sampled = (uint16_t)(span->class_index | GY_PAGE_SAMPLED);
		else
			info.bin = (uint16_t)(span->class_index * 32u); /* CACHE-1 */
	}
	for (unsigned i = 0; i < span->pages; i++)
		gy_map.page_info[span->first_page + i] = info;
}

/* Read first: only a class's first span changes anything. */
static void note_used(const struct gy_central *central)
{
	unsigned class_index = gy_central_class(central);
	uint64_t *word = &gy_centrals_used[gy_central_is_sampled(central)][class_index / 64];
	uint64_t bit = 1ull << class_index % 64;

	if (!(READ_RELAXED(*word) & bit))
		__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
}

static struct gy_span *span_new(struct gy_central *central, enum gy_oom_reason *reason)
{
	const struct gy_size_class *size = &gy_size_classes[gy_central_class(central)];
	bool zeroed;
	struct gy_span *span = gy_page_heap_take(size->pages, 1, gy_central_class(central),
						 gy_central_is_sampled(central), &zeroed, reason);

	if (!span)
		return NULL;
	span->objects = size->objects;
	span->free_count = size->objects;
	span->share_scale = (GY_CENTRAL_LISTS << 16) / (size->objects + 1u);
	memset(span->free_bits, 0, span->bit_words * sizeof(*span->free_bits));
	gy_range_set(span->free_bits, 0, size->objects);
	publish_pages(span, true);
	note_used(central);
	central->spans++;
	central->span_free += size->objects;
	span_relist(central, span);
	return span;
}

static void span_drop(struct gy_central *central, struct gy_span *span)
{
	span_unlist(central, span);
	central->spans--;
	central->span_free -= span->objects;
	central->gone_bytes -= (uint64_t)__builtin_popcount(span->gone_bits) * GY_SPAN_GONE_UNIT;
	publish_pages(span, false);
	gy_page_heap_give(span);
}

/* ------------------------------------------------------------------ blocks */

/* The kernel pages that bytes [begin, end) of a span touch, as bits. */
static uint32_t kernel_pages_of(size_t begin, size_t end)
{
	unsigned first = (unsigned)(begin / GY_SPAN_GONE_UNIT);
	unsigned last = (unsigned)((end - 1) / GY_SPAN_GONE_UNIT);

	return (uint32_t)((2ull << last) - (1ull << first));
}

/* CENTRAL-4: these blocks, bits from `offset` on, are about to be used; the kernel pages under them
 * will be backed again. */
GY_COLD static void note_backed(struct gy_central *central, struct gy_span *span, size_t offset,
				size_t bytes, uint64_t bits)
{
	for (; bits; bits &= bits - 1) {
		size_t begin = offset + (size_t)__builtin_ctzll(bits) * bytes;
		uint32_t back = span->gone_bits & kernel_pages_of(begin, begin + bytes);

		span->gone_bits &= ~back;
		central->gone_bytes -= (uint64_t)__builtin_popcount(back) * GY_SPAN_GONE_UNIT;
	}
}

/* The blocks of *word, lowest first, at most `most`, to *--end and downwards; takes their bits away
 * and returns how many. `start` is bit 0's block. One run of bits, as in a new span or one that was
 * freed in order, needs no search for each. */
static unsigned word_take_blocks(uint64_t *word, char *start, size_t bytes, void **end,
				 unsigned most)
{
	uint64_t bits = *word, lowest = bits & -bits, above = bits + lowest;
	unsigned taken = 0;

	if (!(bits & above)) {
		unsigned first = (unsigned)__builtin_ctzll(bits);

		taken = MIN(most, (above ? (unsigned)__builtin_ctzll(above) : 64) - first);
		start += first * bytes;
		for (unsigned i = 0; i < taken; i++, start += bytes)
			*--end = start;
		*word = taken == 64 ? 0 : bits & ~(((1ull << taken) - 1) << first);
		return taken;
	}
	for (; bits && taken < most; taken++, bits &= bits - 1)
		*--end = start + (size_t)__builtin_ctzll(bits) * bytes;
	*word = bits;
	return taken;
}

/* Takes up to `count` blocks of one span, lowest address first, to blocks[count - 1] downwards. */
static unsigned span_take_blocks(struct gy_central *central, struct gy_span *span, void **blocks,
				 unsigned count)
{
	size_t bytes = gy_size_classes[gy_central_class(central)].bytes;
	char *start = gy_span_start(span);
	unsigned taken = 0, wanted = MIN(count, span->free_count);

	for (unsigned w = 0; taken < wanted; w++) {
		uint64_t before = span->free_bits[w];

		if (!before)
			continue;
		taken += word_take_blocks(&span->free_bits[w], start + w * 64 * bytes, bytes,
					  blocks + count - taken, wanted - taken);
		if (unlikely(span->gone_bits))
			note_backed(central, span, w * 64 * bytes, bytes,
				    before & ~span->free_bits[w]);
	}
	span->free_count = (uint16_t)(span->free_count - taken);
	central->span_free -= taken;
	span_touch(span, false);
	span_relist(central, span);
	return taken;
}

unsigned gy_central_take(struct gy_central *central, void **blocks, unsigned count,
			 enum gy_oom_reason *reason)
{
	unsigned taken = 0;

	gy_lock_acquire(&central->lock);
	if (central->slot_count) {
		taken = MIN(count, central->slot_count);
		central->slot_count -= taken;
		memcpy(blocks, central->slots + central->slot_count, taken * sizeof(*blocks));
		central->slots_tick = READ_RELAXED(gy_heap_tick);
	}
	while (taken < count) {
		struct gy_span *span;
		unsigned got;

		if (central->lists_map)
			span = central->lists[__builtin_ctz(central->lists_map)];
		else
			span = span_new(central, reason);
		if (!span)
			break;
		got = span_take_blocks(central, span, blocks + taken, count - taken);
		/* Only the last span fills the front of the rest; keep it dense. */
		if (got < count - taken)
			memmove(blocks + taken, blocks + count - got, got * sizeof(*blocks));
		taken += got;
	}
	central->taken += taken;
	central->refills++;
	gy_lock_release(&central->lock);
	return taken;
}

/* [lock] `got` blocks of this span came back: its counts, its list, its life. (span_free is the
 * caller's.) */
GY_INLINE void span_settle(struct gy_central *central, struct gy_span *span, unsigned got,
			   bool quiet)
{
	unsigned free_count = span->free_count + got;

	span->free_count = (uint16_t)free_count;
	span_touch(span, quiet);
	if (unlikely(free_count == span->objects) &&
	    central->spans > (gy_central_is_sampled(central) ? EMPTY_SAMPLED : 0))
		span_drop(central, span);
	else if (share_of(span) != span->list)
		span_relist(central, span);
}

/* The span of a block that comes back, if it is still one of this class. */
GY_INLINE struct gy_span *span_of_given(const void *block, unsigned class_index, bool sampled)
{
	struct gy_span *span = gy_map.span_of[gy_page_of(block)];

	/* Freed twice, its span may be another's by now. */
	if (unlikely(!span) || unlikely(span->kind != GY_SPAN_SMALL) ||
	    unlikely(span->class_index != class_index) || unlikely(span->sampled != sampled))
		return NULL;
	return span;
}

/* [lock] Blocks into their spans, a span's worth at a time, and a word of its bits at a time:
 * neighbours in a bin are often neighbours in memory. Returns how many; a block that was free
 * already comes back in *doubled. */
static unsigned give_to_spans(struct gy_central *central, void *const *blocks, unsigned count,
			      bool quiet, void **doubled)
{
	const unsigned class_index = gy_central_class(central);
	const bool sampled = gy_central_is_sampled(central);
	const uint64_t magic = gy_size_classes[class_index].magic;
	struct gy_span *span = NULL;
	uint64_t none = 0, *at_word = &none, word = 0;
	uintptr_t start = 0, length = 0;
	unsigned got = 0, given = 0;

	for (unsigned i = 0; i < count; i++) {
		uintptr_t at = (uintptr_t)blocks[i];
		uint64_t bit;
		unsigned index;

		if (at - start >= length) {
			*at_word = word;
			at_word = &none;
			if (got)
				span_settle(central, span, got, quiet);
			got = 0;
			length = 0;
			span = span_of_given(blocks[i], class_index, sampled);
			if (unlikely(!span)) {
				*doubled = blocks[i];
				continue;
			}
			start = (uintptr_t)gy_span_start(span);
			length = gy_span_bytes(span);
		}
		index = (unsigned)((at - start) * magic >> 32); /* CLASS-4 */
		bit = 1ull << index % 64;
		if (unlikely(index >= span->objects)) {
			*doubled = blocks[i];
			continue;
		}
		if (at_word != &span->free_bits[index / 64]) {
			*at_word = word;
			at_word = &span->free_bits[index / 64];
			word = *at_word;
		}
		if (unlikely(word & bit)) {
			*doubled = blocks[i];
			continue;
		}
		word |= bit;
		got++;
		given++;
	}
	*at_word = word;
	if (got)
		span_settle(central, span, got, quiet);
	central->span_free += given;
	return given;
}

/* [lock] Room for `count` more blocks in the transfer array; grows it. */
static unsigned slots_room(struct gy_central *central, unsigned count)
{
	size_t bytes = gy_size_classes[gy_central_class(central)].bytes;
	unsigned most = (unsigned)MIN(SLOTS_MAX, MAX(SLOTS_BYTES / bytes, SLOTS_MIN));
	unsigned wanted = central->slot_count + count;

	while (central->slot_capacity < MIN(wanted, most)) {
		unsigned capacity = central->slot_capacity ? central->slot_capacity * 2 : SLOTS_MIN;
		unsigned log2_bytes = gy_log2(capacity * sizeof(void *));
		void **slots = gy_metadata_block_take(log2_bytes);

		if (!slots)
			break;
		if (central->slots) {
			memcpy(slots, central->slots, central->slot_count * sizeof(*slots));
			gy_metadata_block_give(central->slots, log2_bytes - 1);
		}
		central->slots = slots;
		central->slot_capacity = capacity;
	}
	return MIN(count, MIN(central->slot_capacity, most) -
				  MIN(central->slot_count, MIN(central->slot_capacity, most)));
}

void gy_central_give(struct gy_central *central, void *const *blocks, unsigned count, bool quiet)
{
	void *doubled = NULL;
	unsigned kept;

	gy_lock_acquire(&central->lock);
	kept = quiet ? 0 : slots_room(central, count);
	if (kept) {
		memcpy(central->slots + central->slot_count, blocks, kept * sizeof(*blocks));
		central->slot_count += kept;
		central->slots_tick = READ_RELAXED(gy_heap_tick);
	}
	central->given += kept;
	central->given += give_to_spans(central, blocks + kept, count - kept, quiet, &doubled);
	/* Fewer blocks are out than wait here: demand has gone, and what waits pins its spans. */
	if (central->slot_count > central->taken - central->given &&
	    !gy_central_is_sampled(central)) {
		give_to_spans(central, central->slots, central->slot_count, true, &doubled);
		central->slot_count = 0;
	}
	central->flushes++;
	gy_lock_release(&central->lock);
	if (unlikely(doubled != NULL))
		gy_misuse(GY_MISUSE_DOUBLE_FREE, doubled, gy_central_class(central), 0, "free", 0);
}

bool gy_central_give_one(struct gy_central *central, void *block)
{
	void *doubled = NULL;
	unsigned given;

	gy_lock_acquire(&central->lock);
	given = give_to_spans(central, &block, 1, false, &doubled);
	central->given += given;
	gy_lock_release(&central->lock);
	return given != 0;
}

bool gy_central_holds(struct gy_central *central, const void *block)
{
	const struct gy_span *span;
	bool found = false;

	gy_lock_acquire(&central->lock);
	span = gy_map.span_of[gy_page_of(block)];
	if (!span || span->kind != GY_SPAN_SMALL) {
		found = true; /* its span is gone: every block was free */
	} else {
		size_t offset = (size_t)((const char *)block - gy_span_start(span));
		unsigned index = gy_object_index(gy_central_class(central), offset);

		found = index >= span->objects || gy_bit_get(span->free_bits, index);
	}
	for (unsigned i = 0; i < central->slot_count && !found; i++)
		found = central->slots[i] == block;
	gy_lock_release(&central->lock);
	return found;
}

GY_RACY_READER static bool has_slots(const struct gy_central *central)
{
	return READ_RELAXED(central->slot_count) != 0;
}

size_t gy_central_drain(struct gy_central *central, uint32_t before)
{
	void *doubled = NULL;
	size_t moved;

	if (!gy_central_is_used(gy_central_is_sampled(central), gy_central_class(central)) ||
	    !has_slots(central))
		return 0;
	gy_lock_acquire(&central->lock);
	if (before && (int32_t)((uint32_t)central->slots_tick - before) >= 0) {
		gy_lock_release(&central->lock);
		return 0;
	}
	moved = central->slot_count;
	give_to_spans(central, central->slots, central->slot_count, true, &doubled);
	central->slot_count = 0;
	if (central->slots) {
		gy_metadata_block_give(central->slots,
				       gy_log2(central->slot_capacity * sizeof(void *)));
		central->slots = NULL;
		central->slot_capacity = 0;
	}
	gy_lock_release(&central->lock);
	if (doubled)
		gy_misuse(GY_MISUSE_DOUBLE_FREE, doubled, gy_central_class(central), 0, "free", 0);
	return moved * gy_size_classes[gy_central_class(central)].bytes;
}

/* ------------------------------------------------------- for the scavenger */

/* Kernel pages of a span under which every byte is of a free block, or of it and the tail. */
static uint32_t free_kernel_pages(const struct gy_span *span)
{
	size_t units = gy_span_bytes(span) / GY_SPAN_GONE_UNIT;
	uint32_t pages = 0;

	for (unsigned u = 0; u < units; u++) {
		size_t begin = u * GY_SPAN_GONE_UNIT, end = begin + GY_SPAN_GONE_UNIT;
		unsigned first = gy_object_index(span->class_index, begin);
		unsigned last = gy_object_index(span->class_index, end - 1);

		last = MIN(last, span->objects - 1u);
		/* A page of the tail alone holds no block that could be borrowed to pin the span.
		 * */
		if (first <= last && gy_range_all(span->free_bits, first, last - first + 1))
			pages |= 1u << u;
	}
	return pages;
}

/* Sets or clears the free bits of all blocks that touch these kernel pages; returns how many. */
static unsigned flip_blocks(struct gy_span *span, uint32_t kernel_pages, bool to_free)
{
	unsigned flipped = 0;

	for (uint32_t rest = kernel_pages; rest; rest &= rest - 1) {
		size_t begin = (size_t)__builtin_ctz(rest) * GY_SPAN_GONE_UNIT;
		unsigned first = gy_object_index(span->class_index, begin);
		unsigned last = gy_object_index(span->class_index, begin + GY_SPAN_GONE_UNIT - 1);

		last = MIN(last, span->objects - 1u);
		for (unsigned i = first; i <= last; i++) {
			if (gy_bit_get(span->free_bits, i) == to_free)
				continue; /* straddles two of the pages: counted already */
			if (to_free)
				gy_bit_set(span->free_bits, i);
			else
				gy_bit_clear(span->free_bits, i);
			flipped++;
		}
	}
	return flipped;
}

uint32_t gy_central_borrow(const struct gy_span_ref *ref, uint32_t before, bool dry_run)
{
	struct gy_central *central = &gy_centrals[ref->sampled][ref->class_index];
	struct gy_span *span = ref->span;
	uint32_t pages = 0;

	gy_lock_acquire(&central->lock);
	if (__atomic_load_n(&span->kind, __ATOMIC_ACQUIRE) == GY_SPAN_SMALL &&
	    READ_RELAXED(span->first_page) == ref->first_page &&
	    READ_RELAXED(span->class_index) == ref->class_index &&
	    READ_RELAXED(span->sampled) == ref->sampled && !span->borrowed &&
	    (!before || (int32_t)(span->tick - before) < 0)) {
		pages = free_kernel_pages(span) & ~span->gone_bits;
		/* CENTRAL-6: the tail's pages are the last ones, so the lowest tells. */
		if (pages && gy_object_index(span->class_index,
					     (size_t)__builtin_ctz(pages) * GY_SPAN_GONE_UNIT) >=
				     span->objects)
			pages = 0;
		if (pages && !dry_run) {
			unsigned count = flip_blocks(span, pages, false);

			CHECK(count); /* CENTRAL-6 */
			span->borrowed = (uint16_t)count;
			span->free_count = (uint16_t)(span->free_count - count);
			central->span_free -= count;
			central->borrowed += count;
			span_relist(central, span);
		}
	}
	gy_lock_release(&central->lock);
	return pages;
}

void gy_central_return(const struct gy_span_ref *ref, uint32_t kernel_pages, bool done)
{
	struct gy_central *central = &gy_centrals[ref->sampled][ref->class_index];
	struct gy_span *span = ref->span;

	gy_lock_acquire(&central->lock);
	flip_blocks(span, kernel_pages, true);
	span->free_count = (uint16_t)(span->free_count + span->borrowed);
	central->span_free += span->borrowed;
	central->borrowed -= span->borrowed;
	span->borrowed = 0;
	if (done) {
		span->gone_bits |= kernel_pages;
		central->gone_bytes +=
			(uint64_t)__builtin_popcount(kernel_pages) * GY_SPAN_GONE_UNIT;
	}
	INVARIANT(SPAN_1, gy_range_count(span->free_bits, 0, span->objects) == span->free_count);
	if (span->free_count == span->objects)
		span_drop(central, span);
	else
		span_relist(central, span);
	gy_lock_release(&central->lock);
}

/* ------------------------------------------------------------------ fork, check */

static void each_lock(void (*act)(struct gy_lock *lock))
{
	for (unsigned sampled = 0; sampled < 2; sampled++)
		for (unsigned i = 1; i < GY_CLASS_COUNT; i++)
			act(&gy_centrals[sampled][i].lock);
}

static void act_acquire(struct gy_lock *lock)
{
	gy_lock_acquire(lock);
}

static void act_release(struct gy_lock *lock)
{
	gy_lock_release(lock);
}

static void act_init(struct gy_lock *lock)
{
	gy_lock_init(lock, GY_RANK_central);
}

void gy_central_fork_prepare(void)
{
	each_lock(act_acquire);
}

void gy_central_fork_parent(void)
{
	each_lock(act_release);
}

void gy_central_fork_child(void)
{
	each_lock(act_init);
}

void gy_central_check(void)
{
	for (unsigned i = 0; i < 2 * GY_CLASS_COUNT; i++) {
		struct gy_central *central = &gy_centrals[i / GY_CLASS_COUNT][i % GY_CLASS_COUNT];
		uint64_t free_blocks = 0;

		gy_lock_acquire(&central->lock);
		for (unsigned list = 0; list < GY_CENTRAL_LISTS; list++) {
			CHECK((central->lists[list] != NULL) ==
			      ((central->lists_map >> list & 1) != 0));
			for (const struct gy_span *span = central->lists[list]; span;
			     span = span->next) {
				CHECK(span->list == list && share_of(span) == list); /* CENTRAL-3 */
				CHECK(span->kind == GY_SPAN_SMALL);
				CHECK(gy_range_count(span->free_bits, 0, span->objects) ==
				      span->free_count); /* SPAN-1 */
				CHECK(!(span->gone_bits & ~free_kernel_pages(span)) ||
				      span->borrowed); /* CENTRAL-4 */
				free_blocks += span->free_count;
			}
		}
		CHECK(free_blocks == central->span_free); /* CENTRAL-2 */
		gy_lock_release(&central->lock);
	}
}
