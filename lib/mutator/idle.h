/* idle.h - taking back the caches of threads that sleep. See idle.c's essay. */
#ifndef GY_MUTATOR_IDLE_H
#define GY_MUTATOR_IDLE_H

#include "base/compiler.h"

#include <stdbool.h>

/* Takes back caches that have been idle for the option cache_idle; returns how many, and true in
 * *more where some wait for the next look. Background thread. */
unsigned gy_idle_take(uint64_t now_ns, bool *more);
uint64_t gy_idle_taken(void); /* since start */

#endif
