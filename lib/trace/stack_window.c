/* stack_window.c - see stack_window.h. */
#include "trace/stack_window.h"

#include "os/sys.h"

GY_NOINLINE bool gy_stack_window_reach(struct gy_stack_window *window, uintptr_t address)
{
	uintptr_t page = address & ~(GY_WINDOW_PAGE_BYTES - 1);

	/* The top page of the address space would make `high` wrap; no stack is there. */
	if (page < GY_WINDOW_PAGE_BYTES || page > UINTPTR_MAX - 2 * GY_WINDOW_PAGE_BYTES)
		return false;
	if (!gy_sys_readable((const void *)address))
		return false;
	if (page == window->high) {
		window->high = page + GY_WINDOW_PAGE_BYTES;
	} else if (page + GY_WINDOW_PAGE_BYTES == window->low) {
		window->low = page;
	} else {
		window->low = page;
		window->high = page + GY_WINDOW_PAGE_BYTES;
	}
	ASSERT(address >= window->low && address < window->high); /* WINDOW-1 */
	return true;
}
