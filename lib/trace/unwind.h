/* unwind.h - the calling thread's stack, as return addresses.
 *
 * gy_stack_capture is called for one allocation in some thousands, from inside malloc: perhaps in
 * the dynamic loader, in a constructor, before main, on a stack of 16 KiB, in a signal handler. It
 * allocates nothing, takes no lock, may be interrupted by itself, and survives any stack.
 *
 *	frames:  malloc's caller | its caller | ... | main | __libc_start_call_main | _start
 *	         ^ frames[0] == caller_pc: the library's own frames above it are dropped
 *
 * How one frame leads to the next, in the order tried (option sample_stack = auto):
 *   1. the compact rule for the pc in the cache (unwind.c), made from
 *   2. the unwind tables of the object that holds the pc (cfi.h), or, where no table covers the pc
 *      (code made at run time, objects built without tables),
 *   3. the frame pointer, if the chain is sane.
 * frame_pointer skips 1 and 2 behind frames[0]; unwind skips 3; off keeps frames[0] alone.
 *
 * UNWIND-1  frames[0] == caller_pc whenever capacity is not 0.
 * UNWIND-2  Every step climbs the stack, but for the one out of a signal frame; and there are at
 *           most capacity + GY_UNWIND_OWN_FRAMES steps. So a walk ends.
 * UNWIND-3  Only words proven readable are read (WINDOW-1), only tables inside their object
 *           (CFI-1).
 * UNWIND-4  A cached rule is used only if the bytes that it was made from are the same still: an
 *           object that was unloaded and replaced at the same address is noticed.
 * UNWIND-5  Called twice with the same stack, it gives the same frames, warm or cold.
 */
#ifndef GY_TRACE_UNWIND_H
#define GY_TRACE_UNWIND_H

#include "base/compiler.h"
#include "base/config.h"
#include "trace/stack_memo.h"

/* gate: unwind tables are understood; elsewhere frame pointers alone (libgyre is built with them)
 */
#if defined(__x86_64__)
#define GY_UNWIND_TABLES 1
#else
#define GY_UNWIND_TABLES 0
#endif

#define GY_UNWIND_OWN_FRAMES 32u /* frames of the library above caller_pc, at most */

/* The thread's own stack as far as walks have shown it. [self] A signal handler's walk may come in
 * between: high is 0 while low is being changed. */
struct gy_thread_stack {
	struct gy_stack_range range;
	unsigned tries; /* walks beyond the capacity */
};

extern __thread struct gy_thread_stack gy_thread_stack GY_TLS_INITIAL_EXEC GY_HIDDEN;

GY_INLINE struct gy_stack_range gy_known_stack(void)
{
	struct gy_stack_range range;

	range.high = READ_RELAXED(gy_thread_stack.range.high);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	range.low = READ_RELAXED(gy_thread_stack.range.low);
	return range.high ? range : (struct gy_stack_range){0, 0};
}

#define GY_STACK_OFF 3 /* of the option sample_stack */

/* The walk itself, where the stack is none that is remembered. For the memo it began at memo_sp,
 * the frame of the function that calls this. */
unsigned gy_stack_walk(uintptr_t *frames, unsigned capacity, uintptr_t caller_pc,
		       struct gy_stack_range range, uintptr_t memo_sp, struct gy_stack_seen *seen);

/* Fills frames[0 .. result): return addresses of the calling thread, malloc's caller first. *seen:
 * whether the stack is a known one, and what was noted of it (stack_memo.h). Inline: each frame of
 * ours is two more words for the memo to compare. */
GY_INLINE unsigned gy_stack_capture(uintptr_t *frames, unsigned capacity, uintptr_t caller_pc,
				    struct gy_stack_seen *seen)
{
	uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
	struct gy_stack_range range;
	unsigned depth;

	if (unlikely(capacity <= 1 || gy_option(GY_OPT_sample_stack) == GY_STACK_OFF)) {
		if (capacity)
			frames[0] = caller_pc; /* UNWIND-1 */
		return capacity != 0;
	}
	range = gy_known_stack();
	depth = gy_stack_memo_find(sp, caller_pc, range, capacity, seen);
	if (likely(depth) &&
	    ((seen->use_note && likely(seen->note)) || gy_stack_memo_frames(seen, frames, depth)))
		return depth;
	return gy_stack_walk(frames, capacity, caller_pc, range, sp, seen);
}

/* Forgets every cached rule, to measure and test the cold path. */
void gy_unwind_cache_clear(void);

#endif
