/* thread_state.h - what the kernel says of another thread of this process, and of its stack.
 *
 * From /proc/self/task/TID; no signal, no ptrace, nothing that the thread can notice.
 */
#ifndef GY_OS_THREAD_STATE_H
#define GY_OS_THREAD_STATE_H

#include "base/compiler.h"

#include <stdbool.h>
#include <sys/types.h>

/* ThreadSanitizer keeps most of a MiB between a thread's stack and its control block. */
#define GY_STACK_SCAN_MAX ((uintptr_t)(GY_TSAN ? 2048 : 256) << 10)

/* How often the thread was switched out, plus 1; 0 where that cannot be read. */
uint64_t gy_thread_switches(pid_t tid);
/* Does it sleep inside a system call? *sp: its stack pointer there. */
bool gy_thread_sleeps(pid_t tid, uint64_t *sp);
/* Is there a word in [low, high) of somebody's stack that lies in [from, to)? Also true where the
 * stack cannot be read. */
bool gy_stack_mentions(uintptr_t low, uintptr_t high, uintptr_t from, uintptr_t to);
/* An address above every frame of the calling thread. */
uintptr_t gy_stack_ceiling(void);

#endif
