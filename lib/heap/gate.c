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
