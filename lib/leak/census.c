/* census.c - which malloc'd blocks there are: the frame is filled in, and asked again.
 *
 * A small block is in one of five places (central.c, CENTRAL-1):
 *
 *	free in its span    a bit of the span, copied under the class's lock
 *	borrowed            by a release: none is under way while we hold it off (gy_scavenger_hold)
 *	transfer array      read under the class's lock
 *	a thread's bin      read while its thread runs, see below
 *	allocated           all others
 *
 * and a freed block that waits in a bin or on a shelf also holds the freed mark (HEAP-1), so that
 * whoever looks at the block itself knows. The mark is missing from blocks that were never freed:
 * those that a bin got from a new span. They are the reason why bins are read:
 *
 *	read `busy`; floor, top; the slots between; then floor, `busy` and the counts of refills
 *	and flushes again
 *
 * BIN-1  If busy is 0 both times and the rest is unchanged, only the fast paths were at work: push
 *        writes the slot before top, pop moves top alone (CACHE-3), and x86 shows stores in their
 *        order. A block that was in the bin throughout is seen; one that was popped meanwhile is
 *        allocated. (A slot array that was freed meanwhile is metadata still: reading it is
 *        harmless, and the floor has changed.)
 * BIN-2  If not, it is tried again; a bin that is never at rest is read as it is, and the scan says
 *        so (GYRE_LEAK_UNCERTAIN_CACHES). What is wrongly taken for cached only hides a lost block.
 * BIN-4  A forked child has copies of the caches of threads that it does not have. What lies there
 *        belongs to nobody, and is no more lost than what a running thread has cached.
 * BIN-3  The registry's lock keeps threads from ending, and the idle taker out, meanwhile.
 *
 * Nobody holds the block of a batch on the way between bin and central list but under the class's
 * lock or with `busy` up, so it is in one of the two when both have been read at rest.
 */
#include "leak/scan.h"

#include "heap/central.h"
#include "heap/scavenger.h"
#include "heap/thread_cache.h"
#include "os/sys.h"
#include "os/vm.h"

#include <errno.h>
#include <string.h>

#define BIN_TRIES 50u
#define BIN_NAP_NS 20000

void *gy_leak_map(struct gy_leak_scan *scan, size_t bytes, int *error)
{
	void *mapped;

	(void)scan;
	if (*error)
		return NULL;
	*error = gy_vm_map(&mapped, gy_round_up(MAX(bytes, 1), GY_KERNEL_PAGE_BYTES));
	return *error ? NULL : mapped;
}

static void unmap(void *start, size_t bytes)
{
	if (start)
		gy_vm_unmap(start, gy_round_up(MAX(bytes, 1), GY_KERNEL_PAGE_BYTES));
}

/* ------------------------------------------------------------------ the frame */

/* Room for what the heap may be by now; what is not used of it is never touched. */
static int frame_make(struct gy_leak_scan *scan)
{
	struct gy_leak_frame *frame = &scan->frame;
	size_t pages = READ_RELAXED(gy_map.page_count);
	size_t words = pages * (GY_PAGE_BYTES / 8 / 64);
	int error = 0;

	frame->page_count = pages;
	frame->mapped_words = words;
	frame->pages = gy_leak_map(scan, pages * sizeof(*frame->pages), &error);
	frame->spans = gy_leak_map(scan, pages * sizeof(*frame->spans), &error);
	frame->live = gy_leak_map(scan, words * 8, &error);
	frame->marks = gy_leak_map(scan, words * 8, &error);
	frame->pointed = gy_leak_map(scan, words * 8, &error);
	frame->hot = gy_leak_map(scan, pages / 8 + 8, &error);
	frame->notes = gy_leak_map(scan, words * 64 * sizeof(*frame->notes), &error);
	return error;
}

void gy_leak_frame_free(struct gy_leak_scan *scan)
{
	struct gy_leak_frame *frame = &scan->frame;

	unmap(frame->pages, frame->page_count * sizeof(*frame->pages));
	unmap(frame->spans, frame->page_count * sizeof(*frame->spans));
	unmap(frame->live, frame->mapped_words * 8);
	unmap(frame->marks, frame->mapped_words * 8);
	unmap(frame->pointed, frame->mapped_words * 8);
	unmap(frame->hot, frame->page_count / 8 + 8);
	unmap(frame->notes, frame->mapped_words * 64 * sizeof(*frame->notes));
	memset(frame, 0, sizeof(*frame));
}

size_t gy_leak_span_from(const struct gy_leak_frame *frame, size_t page)
{
	size_t low = 0, high = frame->span_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (frame->spans[middle] < page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uintptr_t gy_leak_block_of(const struct gy_leak_frame *frame, size_t bit)
{
	size_t low = 0, high = frame->span_count;
	const struct gy_leak_page *page;

	while (low + 1 < high) { /* the last span whose bits begin at or before it */
		size_t middle = low + (high - low) / 2;

		if ((size_t)frame->pages[frame->spans[middle]].bits_at * 64 <= bit)
			low = middle;
		else
			high = middle;
	}
	page = &frame->pages[frame->spans[low]];
	return gy_leak_block_start(page, (unsigned)(bit - (size_t)page->bits_at * 64));
}

bool gy_leak_free_bits(const struct gy_span_look *look, uint64_t free_bits[GY_SPAN_BIT_WORDS_MANY])
{
	struct gy_central *central = &gy_centrals[look->sampled][look->class_index];
	const struct gy_span *span = look->span;
	bool same;

	gy_lock_acquire(&central->lock);
	same = __atomic_load_n(&span->kind, __ATOMIC_ACQUIRE) == GY_SPAN_SMALL &&
	       READ_RELAXED(span->first_page) == look->first_page &&
	       READ_RELAXED(span->class_index) == look->class_index &&
	       READ_RELAXED(span->sampled) == look->sampled;
	if (same)
		memcpy(free_bits, span->free_bits,
		       ((gy_size_classes[look->class_index].objects + 63u) / 64) * 8);
	gy_lock_release(&central->lock);
	return same;
}

static void add_span(struct gy_leak_frame *frame, const struct gy_span_look *look,
		     const uint64_t *free_bits)
{
	bool small = look->kind == GY_SPAN_SMALL;
	uint16_t objects = small ? gy_size_classes[look->class_index].objects : 1;
	struct gy_leak_page page = {
		.first_page = look->first_page,
		.bits_at = (uint32_t)frame->words,
		.magic = small ? gy_size_classes[look->class_index].magic : look->pages,
		.objects = objects,
		.class_index = look->class_index,
		.kind = (uint8_t)(look->kind | (look->sampled ? GY_LEAK_PAGE_SAMPLED : 0)),
	};
	size_t end = MIN((size_t)look->first_page + look->pages, frame->page_count);

	for (size_t i = look->first_page; i < end; i++)
		frame->pages[i] = page;
	for (unsigned w = 0; w < (objects + 63u) / 64; w++)
		frame->live[frame->words + w] =
			(free_bits ? ~free_bits[w] : ~0ull) & gy_range_mask(w, 0, objects);
	frame->words += (objects + 63u) / 64;
	frame->spans[frame->span_count++] = look->first_page;
}

static void add_hugepage(struct gy_leak_scan *scan, size_t index)
{
	uint64_t free_bits[GY_SPAN_BIT_WORDS_MANY];
	unsigned count;

	gy_scavenger_hold();
	count = gy_page_heap_look(index, scan->looks);
	for (unsigned i = 0; i < count; i++) {
		const struct gy_span_look *look = &scan->looks[i];

		if (look->first_page + (size_t)look->pages > scan->frame.page_count)
			continue; /* new since frame_make */
		if (look->kind == GY_SPAN_SMALL && gy_leak_free_bits(look, free_bits))
			add_span(&scan->frame, look, free_bits);
		else if (look->kind == GY_SPAN_LARGE)
			add_span(&scan->frame, look, NULL);
	}
	gy_scavenger_let_go();
}

int gy_leak_census(struct gy_leak_scan *scan)
{
	struct gy_leak_frame *frame = &scan->frame;
	int error = frame_make(scan);

	for (size_t index = 0; !error && index < frame->page_count / GY_HUGEPAGE_PAGES; index++) {
		add_hugepage(scan, index);
		if (!gy_leak_pace(scan, (size_t)16 << 10))
			error = scan->pace.error;
	}
	if (error)
		return error;
	/* What is touched of it: three maps, pages, spans. Notes and queue are counted as they
	 * come. */
	scan->memory_bytes += frame->page_count * sizeof(*frame->pages) + frame->words * 8 * 3 +
			      frame->span_count * sizeof(*frame->spans);
	/* Notes and parents name a block by 32 bits. */
	if (scan->memory_bytes > scan->request.memory_bytes || frame->words >= UINT32_MAX / 64)
		return -ENOMEM;
	gy_leak_clear_cached(scan, frame->live);
	return 0;
}

/* ------------------------------------------------------------------ cached blocks */

static void clear_one(struct gy_leak_scan *scan, uint64_t *map, const void *block)
{
	const struct gy_leak_page *page;
	size_t bit = gy_leak_bit_of(&scan->frame, (uintptr_t)block, false, &page);

	if (bit != GY_LEAK_NO_BIT)
		gy_leak_bit_clear(map, bit);
}

static void clear_transfer(struct gy_leak_scan *scan, uint64_t *map, struct gy_central *central)
{
	gy_lock_acquire(&central->lock);
	for (uint32_t i = 0; i < central->slot_count; i++)
		clear_one(scan, map, central->slots[i]);
	gy_lock_release(&central->lock);
}

/* One look at a bin; true: BIN-1. */
GY_LEAK_READER static bool clear_bin(struct gy_leak_scan *scan, uint64_t *map,
				     const struct gy_thread_cache *cache, unsigned c)
{
	const struct gy_bin *bin = &cache->bins[c];
	const struct gy_bin_cold *cold = &cache->cold[c];
	uint32_t refills = READ_RELAXED(cold->refills), flushes = READ_RELAXED(cold->flushes);
	bool busy = __atomic_load_n(&cache->busy, __ATOMIC_ACQUIRE) != 0;
	void **floor = READ_RELAXED(bin->floor), **top = READ_RELAXED(bin->top);

	if (top < floor || top - floor > UINT16_MAX)
		return false;
	for (void **slot = floor; slot < top; slot++)
		clear_one(scan, map, READ_RELAXED(*slot));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !busy && !READ_RELAXED(cache->busy) && READ_RELAXED(bin->floor) == floor &&
	       READ_RELAXED(cold->refills) == refills && READ_RELAXED(cold->flushes) == flushes;
}

static void clear_cache(struct gy_leak_scan *scan, uint64_t *map,
			const struct gy_thread_cache *cache)
{
	struct timespec nap = {0, BIN_NAP_NS};
	uint32_t nobody = 0;

	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		unsigned tries = 0;

		while (!clear_bin(scan, map, cache, c) && !scan->pace.stopped) { /* BIN-2 */
			if (++tries == BIN_TRIES) {
				scan->uncertain |= GYRE_LEAK_UNCERTAIN_CACHES;
				break;
			}
			gy_sys_futex_wait(&nobody, 0, &nap, false);
		}
	}
}

/* Of a thread that a fork left behind: as it was at that instant. Amid a slow path, all slots. */
GY_LEAK_READER static void clear_orphan(struct gy_leak_scan *scan, uint64_t *map,
					const struct gy_thread_cache *cache)
{
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		const struct gy_bin *bin = &cache->bins[c];
		size_t slots = cache->cold[c].slots_log2
				       ? ((size_t)1 << cache->cold[c].slots_log2) / sizeof(void *)
				       : 0;
		size_t held = (size_t)(bin->top - bin->floor) + 1; /* CACHE-3: one on its way */

		for (size_t i = 0; i < (cache->busy ? slots : MIN(held, slots)); i++)
			clear_one(scan, map, bin->floor[i]);
	}
}

void gy_leak_clear_cached(struct gy_leak_scan *scan, uint64_t *map)
{
	scan->uncertain &= ~GYRE_LEAK_UNCERTAIN_CACHES; /* the last time counts */
	gy_lock_acquire(&gy_registry.lock); /* BIN-3 */
	for (const struct gy_thread_cache *cache = gy_registry.first; cache; cache = cache->next)
		clear_cache(scan, map, cache);
	for (const struct gy_thread_cache *cache = gy_registry.orphans; cache; cache = cache->next)
		clear_orphan(scan, map, cache);
	gy_lock_release(&gy_registry.lock);
	for (unsigned sampled = 0; sampled < 2; sampled++)
		for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
			if (gy_central_is_used(sampled, c))
				clear_transfer(scan, map, &gy_centrals[sampled][c]);
}
