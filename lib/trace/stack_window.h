/* stack_window.h - reading a stack that may be smashed, without a fault.
 *
 * A walk reads addresses that it computed from what it read before, so after one wrong value every
 * address is a guess. The bounds of a stack are not to be had here (pthread_getattr_np allocates;
 * coroutines and alternate stacks have none that libc knows), so nothing is believed but pages:
 *
 *	     low           sp                high
 *	------|-------------+-----------------|---------  addresses grow to the right
 *	      proven readable, by this walk    ^ the next page is asked of the kernel when reached
 *
 * The page that holds the stack pointer is readable, since the caller runs on it. Any other page is
 * proven by one system call that reads eight bytes of it and does nothing (gy_sys_readable).
 *
 * The thread's own stack is the exception that makes this cheap. A walk that reached its outermost
 * frame has shown where that stack ends (unwind.c, learn_stack), and what lies between a thread's
 * stack pointer and the top of its own stack stays mapped as long as the thread lives. So the range
 * is kept with the thread, and later walks on it ask nothing. Coroutines' stacks, which may be
 * unmapped and mapped again, are asked about each time.
 *
 * WINDOW-1  Only aligned words inside the window are read.
 * WINDOW-2  Pages proven by a walk are believed until that walk ends, those of the thread's own
 *           stack until the thread ends; nothing is believed longer.
 *
 * Not here: what the words mean (unwind.c, cfi_step.c).
 */
#ifndef GY_TRACE_STACK_WINDOW_H
#define GY_TRACE_STACK_WINDOW_H

#include "base/compiler.h"

#include <stdbool.h>

/* The walker reads other functions' red zones (ASan's) and racing stacks: it is never instrumented.
 */
#define GY_NO_SANITIZE __attribute__((no_sanitize("address", "thread")))

#define GY_WINDOW_PAGE_BYTES                                                                       \
	((uintptr_t)4096) /* the smallest page there is; larger ones contain it */

struct gy_stack_range {
	uintptr_t low, high; /* whole pages; low == high: none */
};

struct gy_stack_window {
	uintptr_t low, high;         /* whole pages; low == high: nothing proven */
	struct gy_stack_range known; /* readable without asking: the thread's own stack */
};

GY_INLINE void gy_stack_window_init(struct gy_stack_window *window, uintptr_t stack_pointer,
				    struct gy_stack_range known)
{
	window->low = stack_pointer & ~(GY_WINDOW_PAGE_BYTES - 1);
	window->high = window->low + GY_WINDOW_PAGE_BYTES;
	window->known = known;
	if (stack_pointer - known.low < known.high - known.low)
		window->high = known.high;
}

/* Proves the page of `address` and makes the window hold it; false if it cannot be read. */
bool gy_stack_window_reach(struct gy_stack_window *window, uintptr_t address);

/* An aligned word inside the window. */
GY_NO_SANITIZE static inline uint64_t gy_stack_word(uintptr_t address)
{
	return *(const volatile uint64_t *)address;
}

/* The word at `address`; false if it is unaligned or not readable. */
static inline bool gy_stack_window_read(struct gy_stack_window *window, uintptr_t address,
					uint64_t *value)
{
	if (unlikely(address & (sizeof(uint64_t) - 1)))
		return false;
	if (unlikely(address < window->low || address >= window->high) &&
	    !gy_stack_window_reach(window, address))
		return false;
	*value = gy_stack_word(address);
	return true;
}

#endif
