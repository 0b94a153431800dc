/* stack_memo.h - stacks seen lately, so that the same one need not be walked again.
 *
 * A loop that allocates is sampled on the same stack again and again. For a walk that went
 * through, we keep where on the stack each return address lay. If the next walk begins at the same
 * stack pointer with the same caller, and each of those words still holds what it held, the walk
 * would go the same way: a dozen compares in its place.
 *
 *   row = hash(caller, sp):  sp, caller, depth, note | slot 0, pc 0 | slot 1, pc 1 | ... | anchors
 *
 * It is no guess. By induction over the frames: the same pc has the same rule; a rule on rsp leads
 * to the same slot; a rule on rbp does if rbp is the same. For this the words that rbp was loaded
 * from, where a rule used it, are kept and compared as well, and so are the return addresses into
 * the library's own frames: the anchors.
 *
 * Who asked may leave a note with a stack, and finds it the next time: the sampler's is where in
 * the profile the stack is booked, so that its frames need be neither copied nor sought.
 *
 * There are two sets of rows, 128 and 4096, both direct-mapped: what falls on a row in use takes
 * it.
 *
 * MEMO-1  Slots are read only inside the stretch of stack that the calling thread has proven to be
 *         its own (unwind.c, learn_stack): a row may be of a thread that ended, at an address that
 *         is no stack any more.
 * MEMO-2  A row has one writer at a time, and no lock: its version is odd meanwhile. Who finds it
 *         so, or finds that it changed under the eyes, does without.
 * MEMO-3  Only plain walks are kept: no frame that had to be interpreted, anchors for each use of
 *         rbp.
 * MEMO-4  A note is of the stack that the row holds: a new stack in a row has none.
 */
#ifndef GY_TRACE_STACK_MEMO_H
#define GY_TRACE_STACK_MEMO_H

#include "trace/stack_window.h"

#include <stdbool.h>

#define GY_STACK_MEMO_FRAMES 32u
#define GY_STACK_MEMO_ANCHORS 40u

/* What a walk collects for the memo. */
struct gy_stack_trail {
	uintptr_t slots[GY_STACK_MEMO_FRAMES];    /* where each frame's return address was read */
	uintptr_t anchors[GY_STACK_MEMO_ANCHORS]; /* other words that decided the way */
	unsigned anchor_count;
	bool kept; /* MEMO-3 holds so far */
};

GY_INLINE void gy_stack_trail_anchor(struct gy_stack_trail *trail, uintptr_t slot)
{
	if (trail->anchor_count < GY_STACK_MEMO_ANCHORS)
		trail->anchors[trail->anchor_count++] = slot;
	else
		trail->kept = false;
}

/* What the memo says of a stack. */
struct gy_stack_seen {
	uint64_t note;    /* 0: none */
	uint32_t row;     /* where it is kept */
	uint32_t version; /* of what is kept there; 0: the stack is not kept */
	bool use_note;    /* [in] a note will do: where there is one, frames are not filled */
	bool many;        /* [in] among the rows of those who ask for every stack */
};

/* How many frames this stack has, and what is known of it; 0: walk. `range`: the thread's stack. */
unsigned gy_stack_memo_find(uintptr_t sp, uintptr_t caller_pc, struct gy_stack_range range,
			    unsigned capacity, struct gy_stack_seen *seen);
/* These frames. false: it is another stack's row by now; walk. */
bool gy_stack_memo_frames(const struct gy_stack_seen *seen, uintptr_t *frames, unsigned depth);
/* Keeps a walk that began at `sp` and is still on the stack. */
void gy_stack_memo_put(uintptr_t sp, uintptr_t caller_pc, struct gy_stack_range range,
		       const struct gy_stack_trail *trail, const uintptr_t *frames, unsigned depth,
		       unsigned capacity, struct gy_stack_seen *seen);
/* Leaves a note with a stack, if it is still kept (MEMO-4). */
void gy_stack_memo_note(const struct gy_stack_seen *seen, uint64_t note);
/* Rows for those who ask for every stack, apart from the few of the sampler. false: no memory;
 * then `many` finds and keeps nothing. */
bool gy_stack_memo_many(void);
void gy_stack_memo_clear(void);

#endif
