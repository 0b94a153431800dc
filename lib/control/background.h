/* background.h - the one background thread. See background.c's essay. */
#ifndef GY_CONTROL_BACKGROUND_H
#define GY_CONTROL_BACKGROUND_H

#include "base/compiler.h"

/* What a slow path does besides its work: starts the thread once the heap is large enough, and
 * where there is none, answers the control page. Under no lock. */
void gy_background_slow_path(uintptr_t caller_pc);
void gy_background_fork_prepare(void);
void gy_background_fork_parent(void);
void gy_background_fork_child(void);

#endif
