/* recorded.c - see recorded.h. */
#include "trace/recorded.h"

#include "heap/gate.h"
#include "heap/heap.h"
#include "trace/event_buffer.h"

GY_FAST void *gy_recorded_alloc(unsigned class_index, size_t bytes, uintptr_t caller_pc)
{
	struct gy_thread_cache *cache = gy_gate_enter();
	void *block = gy_gate_take(cache, class_index); /* RECORDED-3 */
	struct gy_event_buffer *buffer;
	enum gy_append how;
	uint64_t ticks, where;

	gy_gate_leave(cache);
	if (unlikely(!block))
		return gy_heap_alloc_told(class_index, bytes, caller_pc);
	where = gy_event_where(GYRE_RECORD_MALLOC, class_index, block);
	buffer = gy_events_self.buffer;
	how = gy_event_open(buffer, &ticks);
	if (likely(how == APPEND_DONE))
		how = gy_event_close(buffer, ticks, where, (uint32_t)bytes);
	if (likely(how == APPEND_DONE))
		return block;
	return gy_event_append_rest(how, block, where, bytes, caller_pc);
}

static GY_NOINLINE void free_other(void *block, uintptr_t caller_pc, enum gy_append how)
{
	unsigned class_index = gy_gate_class(block);

	if (how != APPEND_OTHER)
		gy_event_leave();
	if (unlikely(!class_index)) {
		gy_heap_free_told(block, caller_pc);
		return;
	}
	gy_event_append_rest(APPEND_OTHER, block,
			     gy_event_where(GYRE_RECORD_FREE, class_index, block),
			     gy_size_classes[class_index].bytes, caller_pc);
	gy_heap_push(class_index, block, caller_pc);
}

static GY_NOINLINE void free_published(unsigned class_index, void *block, uintptr_t caller_pc)
{
	gy_event_leave();
	gy_heap_push(class_index, block, caller_pc);
}

GY_FAST void gy_recorded_free(void *block, uintptr_t caller_pc)
{
	struct gy_event_buffer *buffer = gy_events_self.buffer;
	struct gy_thread_cache *cache;
	unsigned class_index;
	enum gy_append how;
	struct gy_bin *bin;
	uint64_t ticks;

	__builtin_prefetch(block, 1); /* RECORDED-3 */
	how = gy_event_open(buffer, &ticks);
	if (unlikely(how != APPEND_DONE)) {
		free_other(block, caller_pc, how);
		return;
	}
	cache = gy_gate_enter();
	bin = gy_gate_bin(cache, block);
	if (unlikely(!bin)) {
		gy_gate_leave(cache);
		free_other(block, caller_pc, APPEND_LEAVE);
		return;
	}
	class_index = (unsigned)(bin - cache->bins);
	how = gy_event_close(buffer, ticks, gy_event_where(GYRE_RECORD_FREE, class_index, block),
			     gy_size_classes[class_index].bytes);
	if (likely(how == APPEND_DONE))
		gy_gate_give(bin, block);
	gy_gate_leave(cache);
	if (unlikely(how != APPEND_DONE))
		free_published(class_index, block, caller_pc);
}
