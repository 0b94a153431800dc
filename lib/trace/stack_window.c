/* stack_window.c - see stack_window.h. */
#include "trace/stack_window.h"

#include "os/sys.h"

GY_NOINLINE bool gy_stack_window_reach(struct gy_stack_window *window, uintptr_t address)
{
	uintptr_t page = address & ~(GY_WINDOW_PAGE_BYTES - 1);
	uintptr_t low = page, high = page + GY_WINDOW_PAGE_BYTES;

	/* The top page of the address space would make `high` wrap; no stack is there. */
	if (page < GY_WINDOW_PAGE_BYTES || page > UINTPTR_MAX - 2 * GY_WINDOW_PAGE_BYTES)
		return false;
	if (page - window->known.low < window->known.high - window->known.low) {
		low = window->known.low;
		high = window->known.high;
	} else if (!gy_sys_readable((const void *)address)) {
		return false;
	}
	/* Joined to the window where they touch, else in its place. */
	if (low <= window->high && high >= window->low) {
		window->low = MIN(low, window->low);
		window->high = MAX(high, window->high);
	} else {
		window->low = low;
		window->high = high;
	}
	ASSERT(address >= window->low && address < window->high); /* WINDOW-1 */
	return true;
}
