/* world.h - stopping every thread of the process, and letting them go. See world.c.
 *
 * Threads need not register: /proc/self/task tells them all, again and again until no new one
 * shows. One in a blocking region counts as stopped without a signal (BLOCK-1); every other gets
 * the signal of the option gc_signal and waits in its handler. Our own threads (os/native_thread.h)
 * are left alone, and so are the kernel's workers.
 *
 * WORLD-1  From gy_world_stop's return until gy_world_start no other thread of the process runs
 *          program code, or leaves a blocking region. (A thread that a blocking region starts is
 *          not held up: nobody may start threads in one.)
 * WORLD-2  While stopped, the stopper calls nothing that may take a lock of libc, the loader or the
 *          program: no malloc, stdio, dlsym, dl_iterate_phdr.
 * WORLD-3  A thread that ends or starts meanwhile is waited for, never missed, never waited for in
 *          vain: a signal that cannot be delivered shows as ESRCH, or as the thread gone from
 *          /proc.
 * WORLD-4  A thread that does not come within the option gc_stop_timeout is named on stderr with
 *          the reason (blocks the signal, sleeps uninterruptibly, traced), the world goes on, and
 *          gy_world_stop fails with -EDEADLK. Its signal may arrive whenever it likes.
 * WORLD-5  The handler keeps errno, uses under 1 KiB of stack, SA_RESTART and SA_ONSTACK.
 * BUSY-1   A thread is not stopped while it holds a lock of ours (LOCK-3), nor in the collector's
 *          own slow paths, between gy_mutator_enter and _leave (the same counter, gy_hold): the
 *          handler finds gy_hold.depth above 0, sets gy_hold.pending and returns without
 *          acknowledging; gy_hold_end then calls gy_hold_late, by which the thread sends itself the
 *          signal anew. So every lock of ours is free while the world is stopped, but those that
 *          the stopper holds, and may be taken.
 * BLOCK-1  gy_blocking_begin stores the registers that a callee keeps, then `blocked` = 1, then
 *          reads the stop flag, and waits while it is up; gy_blocking_end stores 0, then reads the
 *          flag likewise. The stopper raises the flag, then membarrier, then reads `blocked`. So
 *          either the stopper sees who is in a region, or that thread sees the flag: a wait in a
 *          region is never cut short by the signal. Without membarrier both sides use full fences.
 */
#ifndef GY_MUTATOR_WORLD_H
#define GY_MUTATOR_WORLD_H

#include "base/compiler.h"
#include "os/lock.h"

#include <stdbool.h>
#include <sys/types.h>

struct gy_mutator;

/* A thread that stands still, as the stopper sees it. Lives on that thread's stack, or in its
 * record if it is in a blocking region: to be read between gy_world_stop and gy_world_start
 * only. */
struct gy_stopped_thread {
	struct gy_stopped_thread *next; /* world.c: on the list of arrivals */
	pid_t tid;
	bool blocked;         /* in a blocking region, not signalled */
	bool in_call;         /* in a system call, asleep perhaps */
	uintptr_t sp;         /* of the interrupted code; a red zone may lie below */
	uintptr_t fs_base;    /* its thread control block */
	uintptr_t *registers; /* general registers at the stop */
	unsigned register_count;
	uintptr_t *pc;       /* the interrupted PC, in the frame: may be changed; NULL: blocked */
	const char *vectors; /* the XSAVE area of the frame; NULL: none */
	uintptr_t signal_stack_low, signal_stack_high; /* alternate signal stack; equal: none */
	struct gy_mutator *mutator;                    /* NULL: has never used the collector */
};

/* A thread that has used the collector. Embedded first in struct gy_gc_thread. The first fields
 * stand where the assembler of blocking.c looks for them. */
struct gy_mutator {
	struct gy_mutator *next, *prev;   /* [lock: mutators] */
	uintptr_t blocked_registers[6];   /* [self] rbx rbp r12-r15 */
	uintptr_t blocked_sp;             /* [self] stack pointer at the region's begin */
	uint32_t depth;                   /* [self] nesting of blocking regions */
	uint32_t blocked;                 /* [self; atomic] inside one; BLOCK-1 */
	pid_t tid;                        /* [const] */
	uintptr_t fs_base;                /* [const] */
	uintptr_t stack_low, stack_high;  /* [const] its own stack; both 0: not known */
	struct gy_stopped_thread stopped; /* [stopper] while it is found in a region */
};

struct gy_world_report {
	uint32_t stopped, blocked; /* threads by signal; found in blocking regions */
	uint32_t hurried;          /* of those stopped: got a priority meanwhile (STOP-11) */
	uint64_t begin_ns;         /* the flag went up: who comes to a region from now on waits */
	uint64_t stop_ns;          /* from then to the last thread's stop */
};

/* Installs the handler; 0 or -errno. On a thread of the C library's. */
int gy_world_init(void);
/* The calling thread stops all others; any thread, a native one too. 0; -EDEADLK (WORLD-4), -EBUSY
 * (the program took our signal: named), -ENOMEM, or what kept it from reading /proc. */
int gy_world_stop(struct gy_world_report *report);
/* The same for work of less than a millisecond: the caller may keep a real-time priority until
 * gy_world_start (STOP-10). */
int gy_world_stop_briefly(struct gy_world_report *report);
void gy_world_start(void);
/* While stopped. */
unsigned gy_world_count(void);
struct gy_stopped_thread *gy_world_thread(unsigned index);
/* Called for each interrupted PC, in the handler, and by the stopper for those further up the
 * stacks; returns where to go back to, or 0. Set once, before the first stop. */
extern uintptr_t (*gy_world_fixup)(uintptr_t pc) GY_HIDDEN;

/* The list of threads that use the collector. It changes only in threads that have all signals
 * blocked, so it is whole while the world is stopped. */
void gy_mutator_add(struct gy_mutator *mutator); /* fills in what is [const]; calling thread */
/* The same without the bounds of the stack: to ask for them may allocate. */
void gy_mutator_add_brief(struct gy_mutator *mutator);
void gy_mutator_remove(struct gy_mutator *mutator); /* the calling thread's */
void gy_mutator_remove_other(struct gy_mutator *mutator); /* of a thread that is gone */
extern struct gy_lock gy_mutators_lock GY_HIDDEN;
extern struct gy_mutator *gy_mutators GY_HIDDEN; /* [lock: mutators] first of the list */

/* How many of its signals this thread has taken: a wait that ends with EINTR looks whether it was
 * we who cut it short. */
extern __thread uint32_t gy_world_signals_taken GY_TLS_INITIAL_EXEC GY_HIDDEN;

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

/* BLOCK-1; nest. The registers are those of the instruction before the call: the caller must either
 * stay on the stack until gy_blocking_end, or have reached this function by a jump. */
void gy_blocking_begin(struct gy_mutator *mutator);
void gy_blocking_end(struct gy_mutator *mutator);
/* Out of all regions at once: for a thread that is cancelled in one, or ends. */
void gy_blocking_abandon(struct gy_mutator *mutator);

/* BLOCK-2: around a signal handler of the program's, in whatever it interrupts. */
struct gy_blocking_saved {
	struct gy_mutator *mutator; /* NULL: nothing to come back to */
	uintptr_t registers[6], sp;
	uint32_t depth, blocked;
};

void gy_blocking_interrupt(struct gy_blocking_saved *saved);
void gy_blocking_resume(const struct gy_blocking_saved *saved);

void gy_world_fork_prepare(void);
void gy_world_fork_parent(void);
/* Leaves only the calling thread's record on the list. */
void gy_world_fork_child(void);

#endif
