/* waits.h - what waits.c, signal_mask.c and signal_action.c share. */
#ifndef GY_INTERPOSE_WAITS_H
#define GY_INTERPOSE_WAITS_H

#include "gc/thread.h"

#include <pthread.h>

/* signal_mask.c: MASK-1: does the program use the collector, or will it? */
bool gy_program_collects(void);
/* signal_action.c: HANDLER-1: a handler of the program's leaves the region that it interrupts. */
bool gy_handlers_leave_regions(void);

/* waits.c. The function behind ours of that name; *next once it is known. */
struct gy_next {
	const char *name;
	void *at; /* a pointer to the function */
};

void gy_next_find(const struct gy_next *names, size_t count);
/* The calling thread's record if its wait is to be a region, else NULL. */
struct gy_mutator *gy_wait_slow(void);
void gy_wait_cancelled(void *mutator);

GY_INLINE struct gy_mutator *gy_wait_begin(void)
{
	return likely(!gy_gc_started()) ? NULL : gy_wait_slow();
}

/* result = call, in a region if there is a mutator (WAIT-1 to WAIT-3). `kept`: a pointer that the
 * kernel has in hand meanwhile, and the program perhaps nowhere else. */
#define GY_WAIT(mutator, result, kept, call)                                                       \
	do {                                                                                       \
		if (likely(!(mutator))) {                                                          \
			(result) = (call);                                                         \
		} else {                                                                           \
			pthread_cleanup_push(gy_wait_cancelled, mutator);                          \
			gy_blocking_begin(mutator);                                                \
			(result) = (call);                                                         \
			gy_blocking_end(mutator);                                                  \
			pthread_cleanup_pop(0);                                                    \
			__asm__ volatile("" : : "g"(kept));                                        \
		}                                                                                  \
	} while (0)

#endif
