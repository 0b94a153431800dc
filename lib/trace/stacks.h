/* stacks.h - each different stack of the recorded events once, in a table that a tracer reads.
 *
 * The table is a file in memory (os/memory_file.h) whose layout is event_record.h's. It is made
 * when stacks are first asked for, and stays. A record carries the index of its stack's entry.
 *
 * A stack that came by a moment ago is known by a note in the stack memo (stack_memo.h), in rows of
 * their own, more than the sampler's: one call stack in a loop costs a few dozen compares and no
 * look into the table.
 *
 * STACKS-1  No lock: an entry is claimed by a compare and swap of its hash from 0, then its frames
 *           are written, then its depth. Whoever finds the hash with a depth of 0 takes it for the
 *           same stack without comparing frames: they are about to be there.
 * STACKS-2  An entry whose depth is not 0 is never written to again (EVENT-5).
 * STACKS-3  Observers can write to the table: what is read from it is compared, and nothing else.
 * STACKS-4  In a forked child there is none at first: that of the parent goes on being written to
 *           by the parent. A note says of which of the two it is.
 */
#ifndef GY_TRACE_STACKS_H
#define GY_TRACE_STACKS_H

#include "base/compiler.h"

#include <stdint.h>

struct gy_stacks_stats {
	uint64_t entries, used, full; /* entries 0: there is no table */
};

/* Makes the table, if there is none. Any thread, one at a time. */
void gy_stacks_make(void);
/* Of the calling thread; 0: none (EVENT-5). Async-signal-safe. */
uint32_t gy_stacks_id(uintptr_t caller_pc);
void gy_stacks_read_stats(struct gy_stacks_stats *stats);
void gy_stacks_fork_child(void);

#endif
