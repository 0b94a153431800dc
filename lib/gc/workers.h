/* workers.h - the collector's other threads: helpers of the coordinator. See workers.c. */
#ifndef GY_GC_WORKERS_H
#define GY_GC_WORKERS_H

#include "base/compiler.h"

#include <stdbool.h>

/* The calling thread, a native one, belongs to the collector. */
void gy_workers_join(void);
/* A pause is near: helpers wake, if roots are many. */
void gy_workers_expect(void);
/* In the pause: helpers scan roots too; false: waits until they have finished. */
void gy_workers_roots(bool on);
/* One processor for all: the coordinator works in turns (WORK-4), and lies down when one is over.
 * It has given its marker back then. */
bool gy_workers_alone(void);
bool gy_workers_turn_is_over(void);
void gy_workers_rest(void);
/* Helpers mark, from true until false. */
void gy_workers_mark(bool on);
/* Adds the calling thread's CPU time to the sum. */
void gy_workers_account(void);
uint64_t gy_workers_cpu_ns(void); /* of all, since start */
unsigned gy_workers_count(void);  /* the coordinator included */
/* Between cycles, by the coordinator: ends the helpers; the next cycle makes new ones. */
void gy_workers_end(void);
void gy_workers_fork_child(void);

#endif
