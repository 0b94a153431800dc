/* cycle.h - THE phase machine of the collector. See cycle.c.
 *
 *   idle -> (trigger) -> sweep rest -> pause: stop, snapshot, flag up, go -> marking
 *        -> ending: handshakes until nothing is grey -> weak, finalisers -> flip, flag down -> sweeping -> idle
 */
#ifndef GY_GC_CYCLE_H
#define GY_GC_CYCLE_H

#include "gc/thread.h"

enum gy_gc_phase { GY_GC_IDLE, GY_GC_MARKING, GY_GC_ENDING, GY_GC_SWEEPING };

extern uint32_t gy_gc_phase GY_HIDDEN; /* [atomic] */
extern uint32_t gy_gc_epoch GY_HIDDEN; /* number of the last flip; [atomic] */

int gy_cycle_init(void);
/* Asks for a cycle; does not wait. */
void gy_cycle_request(void);
/* A whole cycle that starts after the call. 0 or -errno. */
int gy_cycle_run(void);
/* From allocation slow paths: pace: trigger, assist. `bytes`: just taken. */
void gy_cycle_allocated(struct gy_gc_thread *thread, size_t bytes);
void gy_cycle_pause(bool more);
void gy_cycle_read_stats(struct gyre_gc_stats *stats);
void gy_cycle_fork_prepare(void);
void gy_cycle_fork_parent(void);
void gy_cycle_fork_child(void);

#endif
