/* gate.c - see gate.h. */
#include "heap/gate.h"

static void set_locked(bool open)
{
	WRITE_RELAXED(gy_map.gate.page_count, open ? gy_map.page_count : 0);
	WRITE_RELAXED(gy_map.gate.class_end, open ? GY_GATE_CLASS_END : 0);
	WRITE_RELAXED(gy_map.gate.small_end, open ? GY_GATE_SMALL_END : 0);
}

void gy_gate_close(void)
{
	gy_page_heap_lock();
	set_locked(false);
	gy_page_heap_unlock();
}

void gy_gate_open(void)
{
	gy_page_heap_lock();
	set_locked(true);
	gy_page_heap_unlock();
}

bool gy_gate_try_open(void)
{
	if (!gy_page_heap_try_lock())
		return false;
	set_locked(true);
	gy_page_heap_unlock();
	return true;
}

void gy_gate_follow_locked(void)
{
	if (!gy_gate_is_closed())
		set_locked(true);
}

#if GY_TSAN
/* ThreadSanitizer does not see what orders a fast path before the idle taker: here it does. */
static struct gy_thread_cache *begin(void)
{
	return gy_thread_cache_begin();
}

static void end(struct gy_thread_cache *cache)
{
	gy_thread_cache_end(cache);
}
#else
GY_INLINE struct gy_thread_cache *begin(void)
{
	return gy_tls.cache;
}

GY_INLINE void end(const struct gy_thread_cache *cache)
{
	(void)cache;
}
#endif

/* Both call nothing. Without a cache its stand-in is asked, which is empty and full (CACHE-5). */
GY_FAST GY_NOINLINE void *gy_gate_take(unsigned class_index)
{
	struct gy_thread_cache *cache = begin();
	struct gy_bin *bin = &cache->bins[class_index];
	void **top = bin->top, *block = NULL;

	if (likely(top != bin->floor) && likely(--bin->countdown >= 0)) {
		bin->top = top - 1;
		block = top[-1]; /* CACHE-3: the slot matters to nobody but us */
		*(uintptr_t *)block = 0; /* HEAP-1 */
	}
	end(cache);
	return block;
}

GY_FAST GY_NOINLINE bool gy_gate_give(unsigned class_index, void *block)
{
	struct gy_thread_cache *cache = begin();
	struct gy_bin *bin = &cache->bins[class_index];
	void **top = bin->top;
	bool room = top != bin->limit;

	if (likely(room)) {
		*(uintptr_t *)block = gy_freed_mark();
		*top = block; /* CACHE-3 */
		__atomic_signal_fence(__ATOMIC_RELEASE);
		bin->top = top + 1;
	}
	end(cache);
	return room;
}
