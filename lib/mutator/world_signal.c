/* world_signal.c - the signal that stops a thread: its handler, and the flag that it obeys.
 *
 *	stopper                                     handler, in each thread
 *	raise: list = (tag, empty), state odd
 *	send the signals                            state is odd; a lock is held: return (BUSY-1)
 *	                                            set an interrupted barrier back (gy_world_fixup)
 *	take the list <--------------------------   put a record (on this stack) on the list
 *	woken by the last one <------------------   arrived + 1; if that is awaited, wake
 *	... scan ...                                wait for state to change
 *	lower: state even, wake all ------------>   return
 *
 * STOP-1  state is odd while a stop is on, and never twice the same within 2^31 stops.
 * STOP-2  A record gets on the list only together with the low bits of the state that its handler
 *         has read: one that comes late, after its stop was given up, fails to, and looks at the
 *         state anew. So the list never holds a record whose handler has returned while its stop is
 *         on, however late a signal arrives.
 * STOP-3  `arrived` counts up after the record is on the list, and is no more than a reason to
 *         look: the stopper goes by the records.
 * STOP-4  All signals are blocked in the handler: a program's own come after it.
 * STOP-8  Signals are sent by the stopper and by every handler, one that puts the stop off too
 *         (BUSY-1), each taking the next thread of one list (the relay) until all are taken. A
 *         thread that sleeps is woken by its signal and may push the stopper off its processor;
 *         would the stopper alone send them, those not yet signalled would then run for whole
 *         slices of the scheduler's, and the others stand meanwhile. Those that slept at the last
 *         stop come last: to wake one takes several times as long as to mark one that runs, or is
 *         about to. Who takes from the list of a stop that is over finds nothing, or sends a signal
 *         to no effect.
 *
 * A signal of the same number that is not ours (no stop is on, and another process or the kernel
 * sent it) goes to where it would have gone without us: the handler that was there before, or the
 * default.
 */
#include "mutator/world_stop.h"

#include "base/config.h"
#include "os/sys.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define LIST_TAG_SHIFT 48
#define LIST_POINTER (((uint64_t)1 << LIST_TAG_SHIFT) - 1)

struct gy_world_flag gy_world_flag;
struct gy_world_relay gy_world_relay;
uintptr_t (*gy_world_fixup)(uintptr_t pc);
__thread uint32_t gy_world_signals_taken;

static int signal_number; /* [const] 0: not installed */
static struct gy_signal_action before_us;

/* ---- the handler's parts: no lock, no allocation; ThreadSanitizer looks away ---- */

/* STOP-2: false: the state has changed. */
GY_RACY_READER static bool arrive(struct gy_stopped_thread *thread, uint32_t state)
{
	uint64_t tag = (uint64_t)(uint16_t)state << LIST_TAG_SHIFT;
	uint64_t list = __atomic_load_n(&gy_world_flag.list, __ATOMIC_RELAXED);
	uint32_t arrived;

	do {
		if ((list & ~LIST_POINTER) != tag)
			return false;
		thread->next = (struct gy_stopped_thread *)(uintptr_t)(list & LIST_POINTER);
	} while (!__atomic_compare_exchange_n(&gy_world_flag.list, &list,
					      tag | (uint64_t)(uintptr_t)thread, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	arrived = __atomic_add_fetch(&gy_world_flag.arrived, 1, __ATOMIC_SEQ_CST);
	if ((int32_t)(arrived - __atomic_load_n(&gy_world_flag.awaited, __ATOMIC_SEQ_CST)) >= 0)
		gy_sys_futex_wake(&gy_world_flag.arrived, 1, false);
	return true;
}

GY_RACY_READER static void fill_in(struct gy_stopped_thread *thread, ucontext_t *context,
				   struct gy_mutator *mutator)
{
	thread->in_call = false;
#if defined(__x86_64__)
	greg_t *registers = context->uc_mcontext.gregs;

	thread->registers = (uintptr_t *)(void *)registers;
	thread->register_count = REG_RIP;
	thread->sp = (uintptr_t)registers[REG_RSP];
	thread->pc = (uintptr_t *)(void *)&registers[REG_RIP];
	thread->vectors = (const char *)context->uc_mcontext.fpregs;
	/* A system call leaves its return address there; one that is to be made again lies before
	 * it. */
	thread->in_call = (uintptr_t)registers[REG_RCX] - (uintptr_t)registers[REG_RIP] <= 2;
	if (gy_world_fixup) {
		uintptr_t to = gy_world_fixup(*thread->pc);

		if (to)
			*thread->pc = to;
	}
#endif
	thread->tid = gy_sys_gettid();
	thread->blocked = false;
	thread->fs_base = gy_own_fs_base();
	thread->signal_stack_low = thread->signal_stack_high = 0;
	if (!(context->uc_stack.ss_flags & SS_DISABLE)) {
		thread->signal_stack_low = (uintptr_t)context->uc_stack.ss_sp;
		thread->signal_stack_high = thread->signal_stack_low + context->uc_stack.ss_size;
	}
	/* A raw clone may share its parent's thread-local storage. */
	thread->mutator = mutator && mutator->tid == thread->tid ? mutator : NULL;
}

/* STOP-8 */
GY_RACY_READER static void relay(void)
{
	pid_t tid;

	while ((tid = gy_world_relay_next()))
		gy_sys_tgkill(getpid(), tid, signal_number);
}

GY_RACY_READER static void wait_start(uint32_t state)
{
	while (__atomic_load_n(&gy_world_flag.state, __ATOMIC_ACQUIRE) == state)
		gy_sys_futex_wait(&gy_world_flag.state, state, NULL, false);
}

static void not_ours(int number, siginfo_t *info, void *context)
{
	struct gy_signal_action standard = {0};
	void (*previous)(int, siginfo_t *, void *) = before_us.handler;
	uintptr_t kind = (uintptr_t)previous;

	if (kind == (uintptr_t)SIG_IGN)
		return;
	if (kind != (uintptr_t)SIG_DFL) {
		previous(number, info, context);
		return;
	}
	gy_sys_sigaction(number, &standard, NULL);
	gy_sys_tgkill(getpid(), gy_sys_gettid(), number); /* when this handler returns */
}

/* Its own frame is small (WORLD-5); what the kernel puts above it is not ours to choose. */
GY_RACY_READER static void handler(int number, siginfo_t *info, void *context)
{
	struct gy_mutator *mutator = gy_mutator_self;
	struct gy_stopped_thread thread;
	uint32_t state = __atomic_load_n(&gy_world_flag.state, __ATOMIC_ACQUIRE);

	WRITE_RELAXED(gy_world_signals_taken, gy_world_signals_taken + 1);
	if (!(state & 1)) {
		/* Late, or sent by somebody else. Where too many signals queue up the kernel
		 * forgets who sent one: pid 0. */
		bool ours = info->si_code == SI_TKILL ? info->si_pid == getpid()
						      : info->si_code == SI_USER && !info->si_pid;

		if (unlikely(!ours))
			not_ours(number, info, context);
		return;
	}
	if (READ_RELAXED(gy_hold.depth) && !(mutator && READ_RELAXED(mutator->blocked))) {
		WRITE_RELAXED(gy_hold.pending, 1); /* BUSY-1 */
		relay();
		return;
	}
	fill_in(&thread, context, mutator);
	relay();
	do {
		if (arrive(&thread, state))
			wait_start(state);
		state = __atomic_load_n(&gy_world_flag.state, __ATOMIC_ACQUIRE);
	} while (state & 1);
}

/* gy_hold_late. A stop that is over needs nobody; one that is given up meanwhile finds the handler
 * with nothing to do. */
static void signal_again(void)
{
	if (gy_world_is_stopping())
		gy_sys_tgkill(getpid(), gy_sys_gettid(), signal_number);
}

/* ---- the stopper's parts ---- */

void gy_world_wait_start(void)
{
	uint32_t state;

	while ((state = __atomic_load_n(&gy_world_flag.state, __ATOMIC_ACQUIRE)) & 1)
		wait_start(state);
}

bool gy_world_flag_raise(void)
{
	uint32_t state = gy_world_flag.state + 1;

	__atomic_store_n(&gy_world_flag.list, (uint64_t)(uint16_t)state << LIST_TAG_SHIFT,
			 __ATOMIC_SEQ_CST);
	__atomic_store_n(&gy_world_flag.state, state, __ATOMIC_SEQ_CST);
	/* BLOCK-1: who has not seen the flag has shown that it is in a region. */
	return gy_world_needs_fences() || !gy_sys_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

void gy_world_flag_lower(void)
{
	__atomic_store_n(&gy_world_relay.count, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&gy_world_flag.state, gy_world_flag.state + 1, __ATOMIC_SEQ_CST);
	gy_sys_futex_wake(&gy_world_flag.state, INT32_MAX, false);
}

struct gy_stopped_thread *gy_world_arrivals(void)
{
	uint64_t tag = (uint64_t)(uint16_t)gy_world_flag.state << LIST_TAG_SHIFT;
	uint64_t list = __atomic_exchange_n(&gy_world_flag.list, tag, __ATOMIC_ACQ_REL);

	return (struct gy_stopped_thread *)(uintptr_t)(list & LIST_POINTER);
}

int gy_world_signal(void)
{
	return signal_number;
}

bool gy_world_signal_is_ours(void)
{
	struct gy_signal_action now;

	return gy_sys_sigaction(signal_number, NULL, &now) || now.handler == handler;
}

static void choose_fences(void)
{
	/* ThreadSanitizer knows nothing of membarrier. */
	gy_world_flag.fences = GY_TSAN || !gy_option(GY_OPT_membarrier) ||
			       gy_sys_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) < 0;
}

int gy_world_signal_init(void)
{
	struct gy_signal_action action = {
		.handler = handler,
		.flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
		.mask = UINT64_MAX, /* STOP-4 */
	};
	int number = (int)gy_option(GY_OPT_gc_signal), error;

	gy_hold_late = signal_again; /* the handler needs both */
	signal_number = number;
	error = gy_sys_sigaction(number, &action, &before_us);
	if (error)
		return error;
	choose_fences();
	return 0;
}
