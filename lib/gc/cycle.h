/* cycle.h - THE phase machine of the collector. See cycle.c.
 *
 *   IDLE -> sweep what is left -> pause: stop, snapshot, flag up, go
 *        -> MARKING: workers, assists
 *        -> ENDING: handshakes until nothing is grey; weak references, finalisers; flip, flag down
 *        -> SWEEPING -> IDLE
 */
#ifndef GY_GC_CYCLE_H
#define GY_GC_CYCLE_H

#include "base/config.h"
#include "gc/thread.h"

enum gy_gc_phase { GY_GC_IDLE, GY_GC_MARKING, GY_GC_ENDING, GY_GC_SWEEPING };
enum gy_gc_reason { GY_GC_HEAP, GY_GC_FORCED, GY_GC_LIMIT, GY_GC_STRESS };

extern uint32_t gy_gc_phase GY_HIDDEN; /* [atomic] enum gy_gc_phase */
extern uint32_t gy_gc_epoch GY_HIDDEN; /* [atomic] number of the last flip; SPACE-7 */

int gy_cycle_init(void);
/* Asks for a cycle; does not wait. */
void gy_cycle_request(enum gy_gc_reason reason);
/* A whole cycle that starts after the call, to the end of its sweeping. 0 or -errno. The calling
 * thread waits in a blocking region. */
int gy_cycle_run(void);
/* The same, then gy_verify by the collector's thread: number of lost objects, or -1. */
long gy_cycle_verify(void);
/* From allocation slow paths, under no lock, before `bytes` are taken: trigger, assist. */
void gy_cycle_allocated(struct gy_gc_thread *thread, size_t bytes);
/* Cycles do not start by themselves between true and false; nests. */
void gy_cycle_pause(bool more);
int gy_cycle_set_percent(int percent);
uint64_t gy_cycle_set_memory_limit(uint64_t bytes);
void gy_cycle_read_stats(struct gyre_gc_stats *stats);
/* Option gc_delay: sleeps at random where a protocol has a step; for tests. */
void gy_gc_step_slow(void);

GY_INLINE void gy_gc_step(void)
{
	if (unlikely(gy_option(GY_OPT_gc_delay)))
		gy_gc_step_slow();
}

struct gy_marker;

/* What the modules above have done at steps of a cycle: defined once, by api/runtime.c. */
struct gy_cycle_hooks {
	void (*paused)(void);			 /* in the pause, by the coordinator */
	void (*roots)(struct gy_marker *marker); /* between it and termination, as FIN-5 */
	void (*ended)(void);			 /* after the flip */
};

extern const struct gy_cycle_hooks gy_cycle_hooks;

/* Around a stop of the world that is not a cycle's: fork waits (CYCLE-3). */
void gy_cycle_hold(void);
void gy_cycle_let_go(void);
/* First of all locks: who held another and waited for this one could not be stopped. */
void gy_cycle_fork_prepare(void);
void gy_cycle_fork_prepare_rest(void); /* of the collector's locks */
void gy_cycle_fork_parent_rest(void);
void gy_cycle_fork_parent(void);
void gy_cycle_fork_child(void);

#endif
