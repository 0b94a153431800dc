/* world.h - stopping every thread of the process, and letting them go. See world.c.
 *
 * Threads need not register: /proc/self/task tells them all, again and again until no new one shows.
 * One in a blocking region counts as stopped without a signal (BLOCK-1); every other gets the signal
 * of the option gc_signal and waits in its handler. Our own threads (native_thread) are left out.
 *
 * WORLD-1  From gy_world_stop's return until gy_world_start no other thread of the process runs
 *          program code, or leaves a blocking region.
 * WORLD-2  While stopped, the stopper calls nothing that may take a lock of libc, the loader or the
 *          program: no malloc, stdio, dlsym, dl_iterate_phdr.
 * WORLD-3  A thread that ends or starts meanwhile is waited for, never missed, never waited for in
 *          vain: a signal that cannot be delivered shows as ESRCH, or as the thread gone from /proc.
 * WORLD-4  A thread that does not come within the option gc_stop_timeout is named on stderr with the
 *          reason (blocks the signal, sleeps uninterruptibly, traced), the world goes on, and
 *          gy_world_stop fails with -EDEADLK.
 * WORLD-5  The handler keeps errno, uses under 1 KiB of stack, SA_RESTART and SA_ONSTACK.
 * BUSY-1   A thread is not stopped while it holds a lock of ours (LOCK-3), nor in the collector's
 *          own slow paths, between gy_mutator_enter and _leave (the same counter, gy_hold): the
 *          handler finds gy_hold.depth above 0, sets gy_hold.pending and returns without
 *          acknowledging; gy_hold_end then calls gy_hold_late, which world.c points to a function
 *          that sends the thread the signal anew. So every lock of ours is free while the world is
 *          stopped, and may be taken.
 * BLOCK-1  gyre_blocking_begin stores the registers that a callee keeps, then `blocked` = 1 with plain
 *          stores; gyre_blocking_end stores 0, then reads the stop flag, and waits if it is up. The
 *          stopper raises the flag, then membarrier, then reads `blocked`. Without membarrier both
 *          sides use full fences.
 */
#ifndef GY_MUTATOR_WORLD_H
#define GY_MUTATOR_WORLD_H

#include "base/compiler.h"
#include "os/lock.h"

#include <sys/types.h>

/* A thread that has used the collector; linked and found by tid. Embedded first in struct
 * gy_gc_thread. */
struct gy_mutator {
	struct gy_mutator *next, *prev; /* [lock: mutators] */
	pid_t tid;			/* [const] */
	uint32_t blocked;		/* [self] depth > 0: inside a blocking region; BLOCK-1 */
	uint32_t depth;			/* [self] nesting */
	uintptr_t blocked_sp;		/* [self] stack pointer at the region's begin */
	uintptr_t blocked_registers[8]; /* [self] rbx rbp r12-r15 */
	uintptr_t fs_base, stack_top;	/* [const] */
};

struct gy_stopped_thread {
	pid_t tid;
	uint8_t blocked;	   /* in a blocking region, not signalled */
	uintptr_t sp;		   /* scan from here (red zone included) */
	uintptr_t stack_low, stack_high; /* of the mapping that holds sp */
	uintptr_t fs_base;
	uintptr_t *registers;	   /* general registers at the stop */
	unsigned register_count;
	uintptr_t *pc;		   /* the interrupted PC, in the frame: may be changed; NULL: blocked */
	struct gy_mutator *mutator; /* NULL: has never used the collector */
};

struct gy_world_report {
	uint32_t stopped, blocked;
	uint64_t stop_ns; /* from the first signal to the last thread's stop */
};

int gy_world_init(void); /* installs the handler; 0 or -errno */
/* The calling thread stops all others. 0; -EDEADLK (WORLD-4), -ENOMEM. */
int gy_world_stop(struct gy_world_report *report);
void gy_world_start(void);
/* While stopped. */
unsigned gy_world_count(void);
struct gy_stopped_thread *gy_world_thread(unsigned index);
/* Every other running thread has run our handler once since the call (fix-ups applied); none stays
 * stopped. The fallback of the barrier's handshake. 0 or -errno. */
int gy_world_handshake(void);
/* Called in the handler for each interrupted PC; returns where to go back to, or 0. Set once. */
extern uintptr_t (*gy_world_fixup)(uintptr_t pc) GY_HIDDEN;

/* The list of threads that use the collector. */
void gy_mutator_add(struct gy_mutator *mutator); /* fills tid, fs_base, stack_top; calling thread */
void gy_mutator_remove(struct gy_mutator *mutator);
extern struct gy_lock gy_mutators_lock GY_HIDDEN;
extern struct gy_mutator *gy_mutators GY_HIDDEN; /* [lock: mutators] first of the list */

/* The calling thread's, for the handler; NULL: has never used the collector. */
extern __thread struct gy_mutator *gy_mutator_self GY_TLS_INITIAL_EXEC GY_HIDDEN;

/* BUSY-1; nests. */
GY_INLINE void gy_mutator_enter(struct gy_mutator *mutator)
{
	(void)mutator;
	gy_hold_begin();
}

GY_INLINE void gy_mutator_leave(struct gy_mutator *mutator)
{
	(void)mutator;
	gy_hold_end();
}

void gy_blocking_begin(struct gy_mutator *mutator);
void gy_blocking_end(struct gy_mutator *mutator);

/* A thread of ours that the stop leaves alone (marking workers): by tid. */
void gy_world_exempt(pid_t tid);
void gy_world_unexempt(pid_t tid);
void gy_world_fork_prepare(void);
void gy_world_fork_parent(void);
void gy_world_fork_child(void);

#endif
