/* scavenger.h - giving idle memory back to the kernel. See scavenger.c's essay. */
#ifndef GY_HEAP_SCAVENGER_H
#define GY_HEAP_SCAVENGER_H

#include "base/compiler.h"

#include <stdbool.h>

/* One paced step of the background thread; `elapsed_ns` since the last one. Returns true while
 * there is more to do (come back soon). */
bool gy_scavenger_step(uint64_t elapsed_ns);
/* Everything idle, now, but for `keep_bytes`; bytes given back. */
size_t gy_scavenger_trim(size_t keep_bytes);
/* An allocation is about to fail: empty what other threads do not hold, so that it may not. */
void gy_scavenger_emergency(void);
/* No pages are in the hands of a release from one to the other. */
void gy_scavenger_hold(void);
void gy_scavenger_let_go(void);
void gy_scavenger_fork_prepare(void);
void gy_scavenger_fork_parent(void);
void gy_scavenger_fork_child(void);

#endif
