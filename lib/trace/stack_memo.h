/* stack_memo.h - stacks seen lately, so that the same one need not be walked again.
 *
 * A loop that allocates is sampled on the same stack again and again. For a walk that went through, we
 * keep where on the stack each return address lay. If the next walk begins at the same stack pointer
 * with the same caller, and each of those words still holds the address it held, the walk would go the
 * same way: a dozen compares in its place.
 *
 *   row = hash(caller, sp):  sp, caller, depth | slot 0, pc 0 | slot 1, pc 1 | ...
 *
 * MEMO-1  Slots are read only inside the stretch of stack that the calling thread has proven to be
 *         its own (unwind.c, learn_stack): a row may be of a thread that ended, at an address that is
 *         no stack any more.
 * MEMO-2  A row has one user at a time; who finds it in use does without.
 * MEMO-3  Only plain walks are kept: no signal frame, no frame that needed more than rsp and rbp.
 *
 * What it cannot see: a caller whose frame has a size that varies, with old return addresses left in
 * just the places of the new ones. The profile would then name an older path to the same caller.
 */
#ifndef GY_TRACE_STACK_MEMO_H
#define GY_TRACE_STACK_MEMO_H

#include "base/compiler.h"

#include <stdbool.h>

#define GY_STACK_MEMO_FRAMES 32u

/* Fills frames from memory; their number, or 0: walk. The thread's stack is [low, high). */
unsigned gy_stack_memo_find(uintptr_t sp, uintptr_t caller_pc, uintptr_t low, uintptr_t high,
			    uintptr_t *frames, unsigned capacity);
/* Keeps a walk; slots[i] is where frames[i] was read. */
void gy_stack_memo_put(uintptr_t sp, uintptr_t caller_pc, uintptr_t low, uintptr_t high,
		       const uintptr_t *slots, const uintptr_t *frames, unsigned depth,
		       unsigned capacity);
void gy_stack_memo_clear(void);

#endif
