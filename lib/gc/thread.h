/* thread.h - a thread as the collector knows it: its cursors, its barrier buffer, its credit. */
#ifndef GY_GC_THREAD_H
#define GY_GC_THREAD_H

#include "gc/barrier.h"
#include "gc/space.h"
#include "mutator/world.h"

struct gy_gc_thread {
	struct gy_mutator mutator; /* first */
	struct gy_type_slot types[GY_TYPE_SLOTS];
	struct gy_cursor *cursors; /* all of the thread's, by `following` */
	struct gy_barrier barrier;
	int64_t assist_credit;	   /* bytes it may allocate before it must assist */
	uint64_t taken_seen;
};

/* The calling thread's; NULL before its first use of the collector. */
extern __thread struct gy_gc_thread *gy_gc_self GY_TLS_INITIAL_EXEC GY_HIDDEN;

/* Makes it, once a thread; starts the collector with the first. NULL: memory lacks. */
struct gy_gc_thread *gy_gc_thread_attach(void);

/* Has any thread used the collector? */
bool gy_gc_started(void);
void gy_gc_thread_fork_child(void);

GY_INLINE struct gy_gc_thread *gy_gc_thread(void)
{
	struct gy_gc_thread *thread = gy_gc_self;

	return likely(thread != NULL) ? thread : gy_gc_thread_attach();
}

#endif
