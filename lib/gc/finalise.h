/* finalise.h - weak references, handles, cleanups, finalisers: what is known of objects from
 * outside, and what happens at their end. See finalise.c and weak.c.
 *
 * FIN-1  A weak reference is cleared, never the other way, after termination and before the flip.
 *        From termination on gy_weak_get yields only marked objects; while marking it shades what
 *        it yields. So a cleared object is never handed out, and one handed out is never swept.
 * FIN-2  While marking the fields of every object with a finaliser are scanned as roots, the object
 *        itself is not: of a chain the outermost is found first, and what it leads to stays.
 * FIN-3  After clearing, an unmarked object with a finaliser is marked and queued with it; then,
 *        one still unmarked that has cleanups has them queued. So a cleanup runs after the
 *        finaliser, in a later cycle.
 * FIN-4  The queue's own thread (pthread, made at the first use) runs them under no lock. What
 *        waits in the queue is a root; so is the argument of each cleanup and finaliser.
 * FIN-5  Handles, arguments and queue are slots like those of an object: a store to one, its
 *        removal too, goes through the barrier. So they need not be scanned in the pause, only once
 *        between the pause and termination.
 */
#ifndef GY_GC_FINALISE_H
#define GY_GC_FINALISE_H

#include "gc/mark.h"
#include "os/lock.h"

#include <gyre/gc.h>

extern struct gy_lock gy_finalise_lock GY_HIDDEN;

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

/* Once a cycle, between the pause and the first try at termination (FIN-5): handles, arguments, the
 * queue, fields of finalisable objects. In the pause it is right too, but long. No lock. */
void gy_finalise_scan_roots(struct gy_marker *marker);
/* For verify.c, the world being stopped: each word that scan_roots marks, and each object with a
 * finaliser, whose fields it scans. */
void gy_finalise_each_root(void (*visit_word)(uintptr_t word, void *argument),
			   void (*visit_fields)(void *object, void *argument), void *argument);
/* Around each try at termination: from close to open gy_weak_get yields what is marked, and waits
 * with an answer otherwise; what it yielded before has been shaded. Once the try has succeeded
 * gy_finalise_process follows in place of open. */
void gy_weak_close(void);
void gy_weak_open(void);
/* After termination: clears weak references, marks (by `marker`, not yet drained) and queues.
 * Returns true if something was marked: drain, then call gy_finalise_queue_run. */
bool gy_finalise_process(struct gy_marker *marker);
void gy_weak_clear_dead(void); /* its first step */
void gy_finalise_queue_run(void); /* wakes the thread, if there is something to run */
uint64_t gy_finalise_count(void); /* run since start */
uint64_t gy_weak_cleared_count(void);
int gy_finalise_init(void);
void gy_finalise_fork_prepare(void);
void gy_finalise_fork_parent(void);
void gy_finalise_fork_child(void);
void gy_handle_scan_roots(struct gy_marker *marker);
void gy_handle_each(void (*visit_word)(uintptr_t word, void *argument), void *argument);
void gy_weak_init(void); /* at start, and in a forked child */

#endif
