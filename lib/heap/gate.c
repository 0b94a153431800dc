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

/* As gy_thread_cache_begin, but for a thread that has its cache in hand. */
GY_INLINE struct gy_thread_cache *begin(void)
{
	struct gy_thread_cache *cache = READ_RELAXED(gy_tls.cache);

	if (unlikely(cache == GY_NO_CACHE))
		return NULL;
	WRITE_RELAXED(cache->busy, cache->busy + 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (likely(READ_RELAXED(gy_tls.cache) == cache))
		return cache;
	WRITE_RELAXED(cache->busy, cache->busy - 1);
	return NULL;
}

void *gy_gate_take(unsigned class_index)
{
	struct gy_thread_cache *cache = begin();
	struct gy_bin *bin;
	void *block = NULL;

	if (unlikely(!cache))
		return NULL;
	bin = &cache->bins[class_index];
	if (likely(bin->top != bin->floor) && likely(--bin->countdown >= 0)) {
		block = bin->top[-1]; /* CACHE-3 */
		__atomic_signal_fence(__ATOMIC_ACQUIRE);
		bin->top--;
		*(uintptr_t *)block = 0; /* HEAP-1 */
	}
	gy_thread_cache_end(cache);
	return block;
}

unsigned gy_gate_class(const void *block)
{
	size_t page = gy_page_of(block);
	const struct gy_page_info *info = &gy_map.page_info[page];
	unsigned class_index;

	if (unlikely(page >= READ_RELAXED(gy_map.page_count)))
		return 0;
	class_index = READ_RELAXED(info->bin) / (unsigned)sizeof(struct gy_bin);
	/* In class 0 nothing is a block's start: its magic is 0. */
	if (unlikely((uint32_t)(uintptr_t)block * gy_size_classes[class_index].magic +
			     READ_RELAXED(info->bias) >=
		     gy_size_classes[class_index].magic) ||
	    unlikely(*(const uintptr_t *)block == gy_freed_mark()))
		return 0;
	return class_index;
}

bool gy_gate_give(unsigned class_index, void *block)
{
	struct gy_thread_cache *cache = begin();
	struct gy_bin *bin;
	bool room;

	if (unlikely(!cache))
		return false;
	bin = &cache->bins[class_index];
	room = bin->top != bin->limit;
	if (likely(room)) {
		*(uintptr_t *)block = gy_freed_mark();
		*bin->top = block; /* CACHE-3 */
		__atomic_signal_fence(__ATOMIC_RELEASE);
		bin->top++;
	}
	gy_thread_cache_end(cache);
	return room;
}
