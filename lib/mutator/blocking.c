/* blocking.c - threads that use the collector: their list, and regions in which they wait.
 *
 * A region is entered and left a million times for each stop of the world, so its cost is a store
 * and a load; the stopper pays for the order between them with one membarrier (BLOCK-1 in world.h).
 *
 * What a thread in a region holds: the frames above blocked_sp, which do not change (nothing there
 * runs), and the six registers that a function must keep for its caller. Those may by now lie in
 * any frame below, so they are stored at the begin, before any compiled code could move them: hence
 * the assembler. All other registers are dead over a call.
 *
 * Only the outermost begin stores: an inner region's frames go before the outer one ends, and what
 * a callee had pushed for its caller goes with them.
 *
 * BLOCK-2  A handler of the program's that runs in a region is not in it: gy_blocking_interrupt
 *          leaves, gy_blocking_resume comes back, and around the handler as around any other code
 *          the thread is stopped by the signal. A handler that does not return (siglongjmp) has
 *          left the region for good; an end without a begin does nothing, for the frames that such
 *          a jump or an exception passes.
 * BLOCK-3  What a handler interrupts may be the middle of begin or end: it gets the record with
 *          depth 0, and what it overwrites there is put back before it returns.
 */
#include "mutator/world.h"

#include "mutator/world_stop.h"
#include "os/sys.h"

#include <pthread.h>
#include <sys/auxv.h>
#include <unistd.h>

__thread struct gy_mutator *gy_mutator_self;

struct gy_lock gy_mutators_lock = GY_LOCK_INIT(GY_RANK_mutators);
struct gy_mutator *gy_mutators;

/* ---- the list ---- */

/* The thread's own stack, as the C library knows it. The main thread's is found otherwise
 * (gc/root_stacks.c): asking would read a file. */
static void find_stack(struct gy_mutator *mutator)
{
	pthread_attr_t attributes;
	size_t bytes;
	void *low;

	if (mutator->tid == getpid() || pthread_getattr_np(pthread_self(), &attributes))
		return;
	if (!pthread_attr_getstack(&attributes, &low, &bytes)) {
		mutator->stack_low = (uintptr_t)low;
		mutator->stack_high = (uintptr_t)low + bytes;
	}
	pthread_attr_destroy(&attributes);
}

void gy_mutator_add_brief(struct gy_mutator *mutator)
{
	mutator->tid = gy_sys_gettid();
	mutator->fs_base = gy_own_fs_base();
	gy_lock_acquire(&gy_mutators_lock);
	mutator->prev = NULL;
	mutator->next = gy_mutators;
	if (gy_mutators)
		gy_mutators->prev = mutator;
	gy_mutators = mutator;
	gy_lock_release(&gy_mutators_lock);
	gy_mutator_self = mutator;
}

void gy_mutator_add(struct gy_mutator *mutator)
{
	mutator->tid = gy_sys_gettid();
	find_stack(mutator);
	gy_mutator_add_brief(mutator);
}

void gy_mutator_remove(struct gy_mutator *mutator)
{
	gy_mutator_self = NULL;
	gy_mutator_remove_other(mutator);
}

void gy_mutator_remove_other(struct gy_mutator *mutator)
{
	gy_lock_acquire(&gy_mutators_lock);
	if (mutator->prev)
		mutator->prev->next = mutator->next;
	else
		gy_mutators = mutator->next;
	if (mutator->next)
		mutator->next->prev = mutator->prev;
	gy_lock_release(&gy_mutators_lock);
}

/* ---- regions ---- */

_Static_assert(offsetof(struct gy_mutator, blocked_registers) == 16, "blocking.c's assembler");
_Static_assert(offsetof(struct gy_mutator, blocked_sp) == 64, "blocking.c's assembler");
_Static_assert(offsetof(struct gy_mutator, depth) == 72, "blocking.c's assembler");

/* The other half of gy_blocking_begin, which jumps here. */
void gy_blocking_begin_stored(struct gy_mutator *mutator) GY_HIDDEN;

#if defined(__x86_64__)
__asm__(".text\n"
	".p2align 4\n"
	".globl gy_blocking_begin\n"
	".hidden gy_blocking_begin\n"
	".type gy_blocking_begin, @function\n"
	"gy_blocking_begin:\n"
	"	.cfi_startproc\n"
	"	cmpl $0, 72(%rdi)\n"
	"	jne gy_blocking_begin_stored\n"
	"	movq %rbx, 16(%rdi)\n"
	"	movq %rbp, 24(%rdi)\n"
	"	movq %r12, 32(%rdi)\n"
	"	movq %r13, 40(%rdi)\n"
	"	movq %r14, 48(%rdi)\n"
	"	movq %r15, 56(%rdi)\n"
	"	leaq 8(%rsp), %rax\n"
	"	movq %rax, 64(%rdi)\n"
	"	jmp gy_blocking_begin_stored\n"
	"	.cfi_endproc\n"
	".size gy_blocking_begin, . - gy_blocking_begin\n");
#else
void gy_blocking_begin(struct gy_mutator *mutator)
{
	gy_blocking_begin_stored(mutator);
}
#endif

static void order(void)
{
	if (gy_world_needs_fences())
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	else
		__atomic_signal_fence(
			__ATOMIC_SEQ_CST); /* the stopper's membarrier does the rest */
}

/* BLOCK-1 */
GY_INLINE void come(struct gy_mutator *mutator)
{
	__atomic_store_n(&mutator->blocked, 1, __ATOMIC_RELEASE);
	order();
	/* If the stopper has not seen the 1 its signal is on its way: let it come here. */
	if (unlikely(gy_world_is_stopping()))
		gy_world_wait_start();
}

GY_INLINE void leave(struct gy_mutator *mutator)
{
	for (;;) {
		__atomic_store_n(&mutator->blocked, 0, __ATOMIC_RELEASE);
		order();
		if (likely(!gy_world_is_stopping()))
			return;
		/* The stopper may have seen the 1. */
		__atomic_store_n(&mutator->blocked, 1, __ATOMIC_RELEASE);
		gy_world_wait_start();
	}
}

void gy_blocking_begin_stored(struct gy_mutator *mutator)
{
	if (!mutator->depth++)
		come(mutator);
}

void gy_blocking_end(struct gy_mutator *mutator)
{
	if (unlikely(!mutator->depth) || --mutator->depth) /* BLOCK-2 */
		return;
	leave(mutator);
}

void gy_blocking_abandon(struct gy_mutator *mutator)
{
	WRITE_RELAXED(mutator->depth, 0);
	leave(mutator);
}

/* ---- handlers of the program's ---- */

void gy_blocking_interrupt(struct gy_blocking_saved *saved)
{
	struct gy_mutator *mutator = gy_mutator_self;

	/* Who shares its parent's thread-local storage (vfork, a raw clone) has no record. */
	saved->mutator = mutator && mutator->tid == gy_sys_gettid() ? mutator : NULL;
	if (!saved->mutator)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(saved->registers); i++)
		saved->registers[i] = mutator->blocked_registers[i];
	saved->sp = mutator->blocked_sp;
	saved->depth = mutator->depth;
	saved->blocked = mutator->blocked;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (saved->blocked)
		leave(mutator);
	WRITE_RELAXED(mutator->depth, 0);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void gy_blocking_resume(const struct gy_blocking_saved *saved)
{
	struct gy_mutator *mutator = saved->mutator;

	/* A handler may have attached its thread, or brought its frames to another. */
	if (!mutator || mutator != gy_mutator_self)
		return;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < ARRAY_SIZE(saved->registers); i++)
		mutator->blocked_registers[i] = saved->registers[i];
	mutator->blocked_sp = saved->sp;
	WRITE_RELAXED(mutator->depth, saved->depth);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (saved->blocked)
		come(mutator);
}

/* ---- fork ---- */

void gy_mutators_fork_child(void)
{
	struct gy_mutator *self = gy_mutator_self;

	gy_lock_init(&gy_mutators_lock, GY_RANK_mutators);
	gy_mutators = self;
	if (!self)
		return;
	self->next = self->prev = NULL;
	self->tid = gy_sys_gettid();
}
