/* finalise.h - weak references, cleanups, finalisers: what happens at an object's end. See finalise.c.
 *
 * FIN-1  A weak reference is cleared, never the other way, after termination and before the flip. From
 *        the start of clearing gy_weak_get yields only marked objects; while marking it shades what it
 *        yields. So a cleared object is never handed out, and one handed out is never swept.
 * FIN-2  At the start of marking the fields of every object with a finaliser are scanned as roots, the
 *        object itself is not: of a chain the outermost is found first, and what it leads to stays.
 * FIN-3  After clearing, an unmarked object with a finaliser is marked and queued with it; one with
 *        cleanups has them queued.
 * FIN-4  The queue's own thread (pthread, made at the first use) runs them under no lock. What waits in
 *        the queue is a root.
 */
#ifndef GY_GC_FINALISE_H
#define GY_GC_FINALISE_H

#include "gc/mark.h"

#include <gyre/gc.h>

struct gyre_weak *gy_weak_new(void *object);
void *gy_weak_get(const struct gyre_weak *weak);
void gy_weak_free(struct gyre_weak *weak);
int gy_cleanup_add(void *object, void (*run)(void *), void *argument);
int gy_finaliser_set(void *object, void (*finalise)(void *, void *), void *argument);
void gy_finalise_wait(void);

/* Handles: strong roots in a table of ours. */
struct gyre_handle *gy_handle_new(void *object);
void *gy_handle_get(const struct gyre_handle *handle);
void gy_handle_set(struct gyre_handle *handle, void *object);
void gy_handle_free(struct gyre_handle *handle);

/* In the pause: handles, the queue, fields of finalisable objects (FIN-2, FIN-4). */
void gy_finalise_scan_roots(struct gy_marker *marker);
/* After termination: clears weak references, marks (by `marker`, not yet drained) and queues. Returns
 * true if something was marked: drain, then call gy_finalise_queue_run. */
bool gy_finalise_process(struct gy_marker *marker);
void gy_finalise_queue_run(void); /* wakes the thread, if there is something to run */
uint64_t gy_finalise_count(void); /* run since start */
uint64_t gy_weak_cleared_count(void);
int gy_finalise_init(void);
void gy_finalise_fork_prepare(void);
void gy_finalise_fork_parent(void);
void gy_finalise_fork_child(void);

#endif
