/* heap.c - where the fast paths of malloc and free fall through to.
 *
 *   request            path
 *   up to 32 KiB       thread cache bin -> central list -> span -> page heap
 *   the same, sampled  from a page on as above, and marked; smaller ones apart (sampled.h)
 *   above 32 KiB       a span of whole pages; from a huge page (2 MiB) on at a huge page's start,
 *                      so that growing it moves page tables, not bytes (mremap)
 *
 * A thread that cannot have a cache (its end has begun, or memory lacks for one) takes and gives
 * blocks one by one: slower, never wrong.
 *
 * HEAP-1  A block's first word holds gy_freed_mark() from its free until its next allocation,
 *         unless its page went to the kernel meanwhile. Finding the mark at a free is a suspicion
 *         only: suspect_is_free() proves it before anything is reported.
 * HEAP-2  realloc keeps a small block where it is only if the new size is above half of the block
 *         (or of the same class): so free_sized may doubt any size of half the block or less.
 * HEAP-3  free changes neither errno nor the block's bytes beyond its first word.
 * HEAP-5  A slow path marks the cache busy before it may sleep with a pointer to it.
 * HEAP-4  No lock is held when the sampler or the background thread is called (hooks.h).
 */
#include "heap/heap.h"

#include "base/config.h"
#include "base/probe.h"
#include "heap/gate.h"
#include "heap/hooks.h"
#include "heap/large.h"
#include "heap/misuse.h"
#include "heap/sampled.h"
#include "heap/scavenger.h"

#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------ start */

static struct {
	struct gy_lock lock;
	uint8_t up;         /* [atomic: release in start, acquire in started] */
	uint8_t configured; /* [lock] */
	uint8_t steps_done; /* [lock] a start that failed for want of memory goes on from there */
} start = {.lock = GY_LOCK_INIT(GY_RANK_init)};

bool gy_heap_started(void)
{
	return __atomic_load_n(&start.up, __ATOMIC_ACQUIRE);
}

bool gy_heap_start(void)
{
	static int (*const steps[])(void) = {gy_metadata_init, gy_page_heap_init, gy_central_init,
					     gy_thread_cache_init};
	bool call_hook = false, up;

	if (likely(gy_heap_started()))
		return true;
	gy_lock_acquire(&start.lock);
	if (!start.configured) {
		gy_config_init();
		start.configured = 1;
	}
	while (start.steps_done < ARRAY_SIZE(steps) && !steps[start.steps_done]())
		start.steps_done++;
	up = start.steps_done == ARRAY_SIZE(steps);
	if (up && !start.up) {
		__atomic_store_n(&start.up, 1, __ATOMIC_RELEASE);
		call_hook = true;
	}
	gy_lock_release(&start.lock);
	if (call_hook)
		gy_heap_hooks.started();
	return up;
}

static void *out_of_memory(size_t bytes, enum gy_oom_reason reason)
{
	gy_page_heap_count_oom();
	GY_PROBE2(oom, bytes, reason);
	errno = ENOMEM;
	return NULL;
}

/* ------------------------------------------------------------------ small blocks */

static void *small_direct(unsigned class_index, size_t bytes)
{
	struct gy_central *central = &gy_centrals[0][class_index];
	enum gy_oom_reason reason = GY_OOM_NONE;
	void *block;

	if (gy_central_take(central, &block, 1, &reason) != 1) {
		gy_scavenger_emergency();
		if (gy_central_take(central, &block, 1, &reason) != 1)
			return out_of_memory(bytes, reason);
	}
	ADD_RELAXED(central->direct_mallocs, 1);
	*(uintptr_t *)block = 0;
	return block;
}

/* A block out of the caller's cache, which is not GY_NO_CACHE; NULL where memory lacks. */
static void *small_cached(struct gy_thread_cache *cache, unsigned class_index, size_t bytes,
			  uintptr_t caller_pc)
{
	struct gy_bin *bin = &cache->bins[class_index];
	enum gy_oom_reason reason = GY_OOM_NONE;
	void *block;

	if (bin->top == bin->floor) {
		if (!gy_thread_cache_refill(cache, class_index, &reason) &&
		    reason != GY_OOM_NONE) {
			gy_scavenger_emergency();
			if (!gy_thread_cache_refill(cache, class_index, &reason) &&
			    reason != GY_OOM_NONE) {
				cache->cold[class_index].counted--; /* not allocated after all */
				return out_of_memory(bytes, reason);
			}
		}
		gy_heap_hooks.slow_path(caller_pc);
		/* There was no room for it (CACHE-7), or the hook has allocated from this bin. */
		if (unlikely(bin->top == bin->floor)) {
			cache->cold[class_index].counted--;
			return small_direct(class_index, bytes);
		}
	}
	block = bin->top[-1];
	bin->top--;
	*(uintptr_t *)block = 0; /* HEAP-1 */
	return block;
}

/* The same for a sample, which the sampler is told of: in one place, so that the stacks that it
 * remembers do not differ in our own frames. */
static void *small_sampled(struct gy_thread_cache *cache, unsigned class_index, size_t bytes,
			   unsigned stretch, uintptr_t caller_pc)
{
	bool in_place = gy_sampled_in_place(class_index);
	void *block = NULL;

	if (in_place) {
		block = small_cached(cache, class_index, bytes, caller_pc);
		if (unlikely(!block))
			return NULL;
		gy_sampled_mark(block, class_index);
	}
	block = gy_heap_hooks.sample_alloc(block, class_index, bytes,
					   gy_size_classes[class_index].bytes, stretch, caller_pc);
	if (unlikely(!block)) /* no memory for samples: then it is none */
		return small_cached(cache, class_index, bytes, caller_pc);
	*(uintptr_t *)block = 0; /* HEAP-1 */
	return block;
}

static void *small_take(unsigned class_index, size_t bytes, uintptr_t caller_pc)
{
	struct gy_thread_cache *cache = gy_thread_cache_begin();
	struct gy_bin *bin;
	unsigned stretch;
	bool sampled;
	void *block;

	if (unlikely(cache == GY_NO_CACHE))
		return gy_heap_started() ? small_direct(class_index, bytes)
					 : out_of_memory(bytes, GY_OOM_RANGE);
	bin = &cache->bins[class_index];
	stretch = cache->cold[class_index].stretch;
	/* The fast path has counted this allocation only if that made the countdown negative. */
	sampled = unlikely(bin->countdown < 0 || --bin->countdown < 0) &&
		  gy_thread_cache_rearm(cache, class_index); /* CACHE-4 */
	if (sampled)
		block = small_sampled(cache, class_index, bytes, stretch, caller_pc);
	else
		block = small_cached(cache, class_index, bytes, caller_pc);
	gy_thread_cache_end(cache);
	/* A process that lives on its caches comes by nowhere else. */
	if (sampled)
		gy_heap_hooks.slow_path(caller_pc);
	return block;
}

void *gy_heap_alloc_told(unsigned class_index, size_t bytes, uintptr_t caller_pc)
{
	void *block = small_take(class_index, bytes, caller_pc);

	if (likely(block))
		gy_heap_hooks.record(GY_BLOCK_TAKEN, class_index, block, bytes, caller_pc);
	return block;
}

static void *small_alloc(unsigned class_index, size_t bytes, uintptr_t caller_pc)
{
	if (unlikely(gy_gate_is_closed()))
		return gy_heap_hooks.alloc_recorded(class_index, bytes, caller_pc);
	return small_take(class_index, bytes, caller_pc);
}

/* ------------------------------------------------------------------ large blocks */

/* Bytes until the next sample, where there is none under way. */
static void large_interval(struct gy_thread_cache *cache)
{
	if (cache->large_countdown > 0)
		return;
	cache->large_stretch = cache->pace.stretch;
	cache->large_countdown =
		gy_heap_hooks.sample_interval(1, cache->large_stretch, &cache->rng);
}

/* Counts `bytes` of large blocks; true where this one is a sample. */
static bool large_is_sampled(struct gy_thread_cache *cache, size_t bytes, unsigned *stretch)
{
	bool sampled;

	if (!gy_option(GY_OPT_sample))
		return false;
	large_interval(cache);
	*stretch = cache->large_stretch;
	cache->large_countdown -= (int64_t)bytes;
	sampled = cache->large_countdown <= 0;
	if (sampled)
		gy_thread_cache_note_sample(cache);
	return sampled;
}

/* The common end of a large request: its thread has kept such a span, and it is no sample. NULL:
 * nothing was done. */
static void *large_kept(size_t bytes)
{
	struct gy_thread_cache *cache = READ_RELAXED(gy_tls.cache);
	struct gy_span *span = NULL;
	unsigned index;
	int64_t length;

	if (unlikely(bytes > GY_LARGE_KEEP_PAGES << GY_PAGE_SHIFT) || cache == GY_NO_CACHE ||
	    unlikely(gy_gate_is_closed()) || GY_PROBE_ENABLED(large_alloc) ||
	    !gy_thread_cache_enter(cache))
		return NULL;
	index = gy_large_index((bytes + GY_PAGE_BYTES - 1) >> GY_PAGE_SHIFT);
	length = (int64_t)(gy_large_length(index) << GY_PAGE_SHIFT);
	if (cache->large_countdown > length || !gy_option(GY_OPT_sample)) {
		span = gy_large_take_own(&cache->large, index);
		cache->large_countdown -= span ? length : 0;
	}
	gy_thread_cache_end(cache);
	if (!span)
		return NULL;
	span->requested_bytes = bytes;
	WRITE_RELAXED(span->sampled, 0);
	__atomic_store_n(&span->kind, GY_SPAN_LARGE, __ATOMIC_RELEASE);
	return gy_span_start(span);
}

/* Is this one a sample? */
static bool large_is_sample(size_t bytes, unsigned *stretch)
{
	struct gy_thread_cache *cache = gy_thread_cache_begin();
	bool sampled = cache != GY_NO_CACHE && large_is_sampled(cache, bytes, stretch);

	gy_thread_cache_end(cache);
	return sampled;
}

static void *large_alloc(size_t bytes, size_t alignment, bool *zeroed, uintptr_t caller_pc)
{
	enum gy_oom_reason reason = GY_OOM_OVERFLOW;
	size_t pages, alignment_pages = MAX(alignment >> GY_PAGE_SHIFT, 1);
	struct gy_span *span;
	unsigned stretch = 0;
	bool sampled;
	void *block;

	if (!gy_heap_start())
		return out_of_memory(bytes, GY_OOM_RANGE);
	if (bytes > PTRDIFF_MAX)
		return out_of_memory(bytes, reason);
	*zeroed = false;
	pages = MAX(gy_div_round_up(bytes, GY_PAGE_BYTES), 1);
	if (alignment_pages == 1)
		pages = gy_large_round_up(pages);
	sampled = large_is_sample(pages << GY_PAGE_SHIFT, &stretch);
	span = gy_large_take(pages, alignment_pages, sampled, zeroed, &reason);
	if (!span && reason != GY_OOM_OVERFLOW) { /* nothing that we have would do */
		gy_scavenger_emergency();
		span = gy_large_take(pages, alignment_pages, sampled, zeroed, &reason);
	}
	if (!span)
		return out_of_memory(bytes, reason);
	span->requested_bytes = bytes;
	block = gy_span_start(span);
	GY_PROBE3(large_alloc, (uintptr_t)block, bytes, gy_span_bytes(span));
	if (sampled)
		gy_heap_hooks.sample_alloc(block, 0, bytes, gy_span_bytes(span), stretch,
					   caller_pc);
	gy_heap_hooks.slow_path(caller_pc);
	if (unlikely(gy_gate_is_closed()))
		gy_heap_hooks.record(GY_BLOCK_TAKEN, 0, block, bytes, caller_pc);
	return block;
}

void *gy_heap_alloc(size_t bytes, uintptr_t caller_pc)
{
	bool zeroed;
	void *block;

	if (likely(bytes <= GY_CLASS_MAX_BYTES))
		return small_alloc(gy_class_of_request(bytes), bytes, caller_pc);
	block = large_kept(bytes);
	return block ? block : large_alloc(bytes, 1, &zeroed, caller_pc);
}

void *gy_heap_alloc_zeroed(size_t bytes, uintptr_t caller_pc)
{
	bool zeroed = false;
	void *block;

	if (bytes <= GY_CLASS_MAX_BYTES)
		block = small_alloc(gy_class_of_request(bytes), bytes, caller_pc);
	else
		block = large_kept(bytes);
	if (!block && bytes > GY_CLASS_MAX_BYTES)
		block = large_alloc(bytes, 1, &zeroed, caller_pc);
	if (block && !zeroed)
		memset(block, 0, bytes);
	return block;
}

void *gy_heap_alloc_aligned(size_t alignment, size_t bytes, uintptr_t caller_pc)
{
	unsigned class_index = gy_class_of_aligned(bytes, alignment);
	bool zeroed;

	if (class_index)
		return small_alloc(class_index, bytes, caller_pc);
	return large_alloc(bytes, alignment, &zeroed, caller_pc);
}

/* ------------------------------------------------------------------ free */

/* Is this marked block really free? (HEAP-1) */
GY_COLD static bool suspect_is_free(unsigned class_index, const void *block)
{
	return gy_central_holds(&gy_centrals[0][class_index], block) ||
	       gy_thread_caches_contain(class_index, block);
}

static void push_free(struct gy_thread_cache *cache, unsigned class_index, void *block,
		      const char *function, uintptr_t caller_pc)
{
	struct gy_bin *bin = &cache->bins[class_index];

	if (cache != GY_NO_CACHE && bin->top == bin->limit) {
		int saved = errno; /* HEAP-3 */

		gy_thread_cache_flush(cache, class_index);
		gy_heap_hooks.slow_path(caller_pc);
		errno = saved;
	}
	*(uintptr_t *)block = gy_freed_mark();
	if (unlikely(bin->top == bin->limit)) { /* no cache, or no memory for slots */
		if (!gy_central_give_one(&gy_centrals[0][class_index], block))
			gy_misuse(GY_MISUSE_DOUBLE_FREE, block, class_index, 0, function,
				  caller_pc);
		return;
	}
	*bin->top = block; /* CACHE-3: the slot before top */
	__atomic_signal_fence(__ATOMIC_RELEASE);
	bin->top++;
}

/* CLASS-4; the tail behind the last block may look like the start of one more. */
static bool is_start(const struct gy_span *span, size_t offset)
{
	uint32_t magic = gy_size_classes[span->class_index].magic;

	return (uint32_t)offset * magic < magic &&
	       gy_object_index(span->class_index, offset) < span->objects;
}

static void small_free(struct gy_span *span, unsigned class_index, void *block,
		       const char *function, uintptr_t caller_pc)
{
	size_t offset = (size_t)((char *)block - gy_span_start(span));
	struct gy_thread_cache *cache;

	if (!is_start(span, offset)) {
		gy_misuse(GY_MISUSE_NOT_A_START, block, class_index, 0, function, caller_pc);
		return;
	}
	if (*(uintptr_t *)block == gy_freed_mark() && suspect_is_free(class_index, block)) {
		gy_misuse(GY_MISUSE_DOUBLE_FREE, block, class_index, 0, function, caller_pc);
		return;
	}
	cache = gy_thread_cache_begin();
	push_free(cache, class_index, block, function, caller_pc);
	gy_thread_cache_end(cache);
}

/* Books a sample out and puts its block where it belongs. false: the sampler does not know it, and
 * nothing was done. */
static bool sampled_end(struct gy_page_info *info, unsigned class_index, void *block,
			const char *function, uintptr_t caller_pc)
{
	bool in_place = gy_sampled_in_place(class_index);
	struct gy_thread_cache *cache;

	switch (gy_heap_hooks.sample_free(block, in_place ? 0 : class_index)) {
	case GY_SAMPLE_SHELVED:
		return true;
	case GY_SAMPLE_UNKNOWN:
		return false;
	case GY_SAMPLE_ENDED:
		break;
	}
	if (in_place) {
		gy_sampled_unmark(info, class_index);
		cache = gy_thread_cache_begin();
		push_free(cache, class_index, block, function, caller_pc);
		gy_thread_cache_end(cache);
	} else {
		gy_sampled_give(class_index, block);
	}
	return true;
}

/* Frees the sample that the page's record promises, if there is such a page and the sampler knows
 * it: then it is an allocated block. false: the span must be asked. */
static bool sampled_free(void *block, const char *function, uintptr_t caller_pc)
{
	size_t page = gy_page_of(block);
	struct gy_page_info *info = &gy_map.page_info[page];
	unsigned class_index;
	uint32_t magic;

	if (page >= READ_RELAXED(gy_map.page_count) || !info->sampled)
		return false;
	class_index = info->sampled & (GY_PAGE_SAMPLED - 1);
	magic = gy_size_classes[class_index].magic;
	return (uint32_t)(uintptr_t)block * magic + info->bias < magic && /* CLASS-4 */
	       sampled_end(info, class_index, block, function, caller_pc);
}

/* A block that looks like a sample. If the sampler knows nothing of it, its sample was lost for
 * want of memory, or it is no allocated block. */
GY_COLD static void sampled_free_any(struct gy_span *span, void *block, const char *function,
				     uintptr_t caller_pc)
{
	unsigned class_index = span->class_index;

	if (sampled_free(block, function, caller_pc))
		return;
	if (!is_start(span, (size_t)((char *)block - gy_span_start(span)))) {
		gy_misuse(GY_MISUSE_NOT_A_START, block, class_index, 0, function, caller_pc);
	} else if (!span->sampled) {
		gy_sampled_unmark(&gy_map.page_info[gy_page_of(block)], class_index);
		small_free(span, class_index, block, function, caller_pc);
	} else if (gy_sampled_holds(class_index, block)) {
		gy_misuse(GY_MISUSE_DOUBLE_FREE, block, class_index, 0, function, caller_pc);
	} else {
		gy_sampled_give(class_index, block);
	}
}

static void large_free(struct gy_span *span, void *block, const char *function, uintptr_t caller_pc)
{
	if (block != gy_span_start(span)) {
		gy_misuse(GY_MISUSE_NOT_A_START, block, 0, 0, function, caller_pc);
		return;
	}
	GY_PROBE2(large_free, (uintptr_t)block, gy_span_bytes(span));
	if (span->sampled)
		gy_heap_hooks.sample_free(block, 0);
	if (!gy_large_give(span)) {
		gy_misuse(GY_MISUSE_DOUBLE_FREE, block, 0, 0, function, caller_pc);
		return;
	}
	gy_heap_hooks.slow_path(caller_pc);
}

/* The span of a block that is about to be freed or asked about; misuse is reported. */
static struct gy_span *span_of_block(const void *block, const char *function, uintptr_t caller_pc)
{
	struct gy_span *span;

	if (unlikely(!gy_is_ours(block))) {
		gy_misuse(GY_MISUSE_NOT_OURS, block, 0, 0, function, caller_pc);
		return NULL;
	}
	span = gy_span_of_page(gy_page_of(block));
	if (unlikely(!span || READ_RELAXED(span->kind) == GY_SPAN_NONE)) {
		/* Pages that no span holds: the block was freed, and its span with it. */
		gy_misuse((uintptr_t)block % 16 ? GY_MISUSE_NOT_OURS : GY_MISUSE_DOUBLE_FREE, block,
			  0, 0, function, caller_pc);
		return NULL;
	}
	if (unlikely(span->kind == GY_SPAN_COLLECTED)) {
		gy_misuse(GY_MISUSE_NOT_OURS, block, 0, 0, function, caller_pc);
		return NULL;
	}
	return span;
}

/* Records that the block is about to be freed: before others can get it. Not what misuse will be
 * said of: that is no free. */
static GY_NOINLINE void record_free(const struct gy_span *span, const void *block,
				    uintptr_t caller_pc)
{
	size_t offset = (size_t)((const char *)block - gy_span_start(span));
	unsigned class_index = span->class_index;

	if (span->kind == GY_SPAN_LARGE) {
		if (!offset)
			gy_heap_hooks.record(GY_BLOCK_GIVEN, 0, block, gy_span_bytes(span),
					     caller_pc);
	} else if (is_start(span, offset) && !(*(const uintptr_t *)block == gy_freed_mark() &&
					       (span->sampled
							? gy_sampled_holds(class_index, block)
							: suspect_is_free(class_index, block)))) {
		gy_heap_hooks.record(GY_BLOCK_GIVEN, class_index, block,
				     gy_size_classes[class_index].bytes, caller_pc);
	}
}

static void free_block(void *block, const char *function, uintptr_t caller_pc)
{
	struct gy_span *span = span_of_block(block, function, caller_pc);

	if (!span)
		return;
	if (unlikely(gy_gate_is_closed()))
		record_free(span, block, caller_pc);
	if (span->kind == GY_SPAN_LARGE)
		large_free(span, block, function, caller_pc);
	else if (unlikely(gy_sampled_is(block)))
		sampled_free_any(span, block, function, caller_pc);
	else
		small_free(span, span->class_index, block, function, caller_pc);
}

static GY_NOINLINE void free_any(void *block, uintptr_t caller_pc)
{
	int saved = errno; /* HEAP-3 */

	free_block(block, "free", caller_pc);
	errno = saved;
}

void gy_heap_free_told(void *block, uintptr_t caller_pc)
{
	if (block)
		free_any(block, caller_pc);
}

void gy_heap_push(unsigned class_index, void *block, uintptr_t caller_pc)
{
	struct gy_thread_cache *cache = gy_thread_cache_begin();

	push_free(cache, class_index, block, "free", caller_pc);
	gy_thread_cache_end(cache);
}

/* The common end of a large block: its thread keeps the span. false: nothing was done. */
static bool large_free_kept(void *block)
{
	size_t page = gy_page_of(block);
	struct gy_thread_cache *cache;
	struct gy_span *span;
	bool kept;

	if (page >= READ_RELAXED(gy_map.page_count) || gy_map.page_info[page].bin ||
	    gy_map.page_info[page].sampled)
		return false;
	span = gy_span_of_page(page);
	if (unlikely(!span) || READ_RELAXED(span->kind) != GY_SPAN_LARGE || span->sampled ||
	    block != gy_span_start(span) || GY_PROBE_ENABLED(large_free))
		return false;
	cache = gy_thread_cache_begin();
	kept = cache != GY_NO_CACHE && gy_large_keep(&cache->large, span);
	gy_thread_cache_end(cache);
	return kept;
}

/* Apart, so that it is jumped to: with the gate closed every free comes by gy_heap_free. */
static GY_NOINLINE void free_slow(void *block, uintptr_t caller_pc)
{
	if (!large_free_kept(block) && !sampled_free(block, "free", caller_pc))
		free_any(block, caller_pc); /* the others keep errno, too */
}

void gy_heap_free(void *block, uintptr_t caller_pc)
{
	if (!block) /* programs do it by the million */
		return;
	if (unlikely(gy_gate_is_closed()))
		gy_heap_hooks.free_recorded(block, caller_pc);
	else
		free_slow(block, caller_pc);
}

/* Can a block of this span have come from a request of `bytes`, aligned to `alignment`? (HEAP-2) */
static bool size_is_plausible(const struct gy_span *span, size_t bytes, size_t alignment)
{
	size_t held = gy_span_bytes(span);

	if (span->kind == GY_SPAN_LARGE)
		return bytes <= held &&
		       (alignment || bytes > held / 2 || bytes > GY_CLASS_MAX_BYTES / 2);
	held = gy_size_classes[span->class_index].bytes;
	if (bytes > held)
		return false;
	return alignment || bytes > held / 2 || gy_class_of_request(bytes) == span->class_index;
}

void gy_heap_free_sized(void *block, size_t bytes, size_t alignment, uintptr_t caller_pc)
{
	int saved = errno;
	struct gy_span *span;

	if (!block)
		return;
	span = span_of_block(block, "free", caller_pc);
	if (span) {
		size_t offset = (size_t)((char *)block - gy_span_start(span));
		bool whole = span->kind == GY_SPAN_LARGE ? !offset : is_start(span, offset);

		/* Of a pointer into a block, that is what matters: free_block tells. */
		if (whole && !size_is_plausible(span, bytes, alignment))
			gy_misuse(GY_MISUSE_WRONG_SIZE, block,
				  span->kind == GY_SPAN_LARGE ? 0 : span->class_index, bytes,
				  "free", caller_pc);
		else if (whole && alignment && (uintptr_t)block % alignment)
			gy_misuse(GY_MISUSE_WRONG_ALIGNMENT, block,
				  span->kind == GY_SPAN_LARGE ? 0 : span->class_index, alignment,
				  "free", caller_pc);
		else
			free_block(block, "free", caller_pc);
	}
	errno = saved;
}

/* ------------------------------------------------------------------ size, realloc */

/* Bytes of the live block at `block`; 0 after a report of misuse. */
static size_t block_bytes(const void *block, struct gy_span **span, const char *function,
			  uintptr_t caller_pc)
{
	size_t bytes, offset;

	*span = span_of_block(block, function, caller_pc);
	if (!*span)
		return 0;
	offset = (size_t)((const char *)block - gy_span_start(*span));
	if ((*span)->kind == GY_SPAN_LARGE)
		bytes = offset ? 0 : gy_span_bytes(*span);
	else
		bytes = gy_size_classes[(*span)->class_index].bytes;
	if (!bytes || ((*span)->kind == GY_SPAN_SMALL && !is_start(*span, offset))) {
		gy_misuse(GY_MISUSE_NOT_A_START, block, 0, 0, function, caller_pc);
		return 0;
	}
	if ((*span)->kind == GY_SPAN_SMALL && *(const uintptr_t *)block == gy_freed_mark() &&
	    ((*span)->sampled ? gy_sampled_holds((*span)->class_index, block)
			      : suspect_is_free((*span)->class_index, block))) {
		gy_misuse(GY_MISUSE_DOUBLE_FREE, block, (*span)->class_index, 0, function,
			  caller_pc);
		return 0;
	}
	return bytes;
}

size_t gy_heap_usable_size(const void *block, uintptr_t caller_pc)
{
	struct gy_span *span;

	return block ? block_bytes(block, &span, "malloc_usable_size", caller_pc) : 0;
}

static void *realloc_copy(void *block, size_t old_bytes, size_t bytes, uintptr_t caller_pc)
{
	/* A block that grows a little will grow again: a quarter more saves the next copies. */
	size_t wanted = bytes > old_bytes ? MAX(bytes, old_bytes + old_bytes / 4) : bytes;
	void *fresh = gy_heap_alloc(wanted, caller_pc);

	if (!fresh && wanted > bytes)
		fresh = gy_heap_alloc(bytes, caller_pc);
	if (!fresh)
		return NULL;
	memcpy(fresh, block, MIN(old_bytes, bytes));
	free_block(block, "realloc", caller_pc);
	return fresh;
}

/* Moves the pages of a large block to a larger span, instead of its bytes. */
static void *realloc_move(struct gy_span *span, size_t bytes, uintptr_t caller_pc)
{
	void *block = gy_span_start(span), *fresh;
	size_t whole = gy_span_bytes(span) & ~(GY_HUGEPAGE_BYTES - 1);
	size_t rest = gy_span_bytes(span); /* all that malloc_usable_size tells may be in use */
	bool zeroed;

	if (!gy_option(GY_OPT_mremap) || !whole || (uintptr_t)block % GY_HUGEPAGE_BYTES)
		return NULL;
	fresh = large_alloc(bytes, GY_HUGEPAGE_BYTES, &zeroed, caller_pc);
	if (!fresh)
		return NULL;
	if (gy_vm_move(block, whole, fresh)) {
		memcpy(fresh, block, rest);
	} else {
		rest -= MIN(rest, whole);
		memcpy((char *)fresh + whole, (char *)block + whole, rest);
	}
	if (unlikely(gy_gate_is_closed()))
		record_free(span, block, caller_pc);
	large_free(span, block, "realloc", caller_pc);
	return fresh;
}

static void *realloc_large(struct gy_span *span, void *block, size_t bytes, uintptr_t caller_pc)
{
	size_t pages = gy_large_round_up(gy_div_round_up(bytes, GY_PAGE_BYTES));
	size_t old_bytes = gy_span_bytes(span);
	void *fresh;

	if (bytes > PTRDIFF_MAX)
		return out_of_memory(bytes, GY_OOM_OVERFLOW);
	if (bytes <= GY_CLASS_MAX_BYTES)
		return realloc_copy(block, old_bytes, bytes, caller_pc);
	if (!span->sampled) {
		if (pages == span->pages || gy_large_resize(span, pages)) {
			span->requested_bytes = bytes;
			return block;
		}
	} else if (pages <= span->pages && pages > span->pages / 2) {
		return block;
	}
	/* A sampled block that shrinks comes here too: there is less room than it has whole pages.
	 * */
	fresh = pages > span->pages ? realloc_move(span, bytes, caller_pc) : NULL;
	return fresh ? fresh : realloc_copy(block, old_bytes, bytes, caller_pc);
}

void *gy_heap_realloc(void *block, size_t bytes, uintptr_t caller_pc)
{
	struct gy_span *span;
	size_t old_bytes = block_bytes(block, &span, "realloc", caller_pc);

	if (!old_bytes) {
		errno = ENOMEM;
		return NULL;
	}
	if (span->kind == GY_SPAN_LARGE)
		return realloc_large(span, block, bytes, caller_pc);
	if (bytes <= old_bytes &&
	    (bytes > old_bytes / 2 || gy_class_of_request(bytes) == span->class_index))
		return block; /* HEAP-2 */
	return realloc_copy(block, old_bytes, bytes, caller_pc);
}

/* ------------------------------------------------------------------ trim, check */

size_t gy_heap_flush(void)
{
	struct gy_thread_cache *cache;
	size_t bytes;

	if (READ_RELAXED(gy_tls.cache) == GY_NO_CACHE)
		return 0;
	cache = gy_thread_cache_begin();
	if (cache == GY_NO_CACHE)
		return 0;
	bytes = gy_thread_cache_empty(cache, GY_FLUSH_IDLE);
	gy_thread_cache_end(cache);
	return bytes;
}

size_t gy_heap_trim(size_t keep_bytes)
{
	if (!gy_heap_started())
		return 0;
	gy_heap_flush();
	return gy_scavenger_trim(keep_bytes);
}

void gy_heap_check(void)
{
	gy_page_heap_check();
	gy_central_check();
}
