/* signal_action.c - a program's signal handlers leave the blocking region that they interrupt.
 *
 * A thread in a blocking region counts as stopped (BLOCK-1), and a signal that comes there runs a
 * handler of the program's, which may read objects, may wait itself, and may never return: a jump
 * out of a wait that takes too long is as old as alarm(). So each handler is called by one of ours,
 * which leaves the region before and comes back after (BLOCK-2). The program does not see it:
 * what it asks for is what it set.
 *
 * The kernel is given a stub in the handler's place. There are STUBS of them; each handler of the
 * program's that is ever set gets one of its own, for good, whatever the signal:
 *
 *	stub 7:  mov $7, %ecx          (number, info, context stay where the kernel put them)
 *	         jmp gy_handler_run    handlers[7](number, info, context), in between
 *
 * So to set a handler stays what it is, one system call: nothing is kept by signal that could
 * disagree with the kernel, no lock is taken, and a child of vfork or fork that sets its own
 * changes nothing of its parent's. Flags, masks and restorer pass through untouched.
 *
 * HANDLER-1  A wait becomes a region (waits.c) only if the handlers of the whole process go this
 *            way: those from before the collector's start are changed before the first one; with
 *            more handlers than stubs there are no more such regions. What is left are handlers
 *            set by system calls of the program's own, after that.
 * HANDLER-2  Nothing is changed in a program that does not use the collector (MASK-1).
 * HANDLER-3  The C library's own two signals and the collector's are left alone.
 *
 * Sources: POSIX.1-2024 (sigaction, signal), signal(7).
 */
#include "base/config.h"
#include "interpose/waits.h"
#include "os/sys.h"

#include <dlfcn.h>
#include <signal.h>

#define STUBS 256u
#define STUB_BYTES 16u

typedef void plain_handler(int number);
typedef void full_handler(int number, siginfo_t *info, void *context);

/* Not in every version of the C library's headers. */
plain_handler *bsd_signal(int number, plain_handler *handler);
plain_handler *ssignal(int number, plain_handler *handler);
plain_handler *sysv_signal(int number, plain_handler *handler);
plain_handler *__sysv_signal(int number, plain_handler *handler);
plain_handler *sigset(int number, plain_handler *handler);

static full_handler *handlers[STUBS]; /* [atomic] from NULL to its value once */
static uint32_t regions;              /* [atomic] UNKNOWN and on */

enum { UNKNOWN, LOOKING, LEAVE, REFUSED };

/* ---- stubs ---- */

void gy_handler_run(int number, siginfo_t *info, void *context, unsigned stub) GY_HIDDEN;

void gy_handler_run(int number, siginfo_t *info, void *context, unsigned stub)
{
	struct gy_blocking_saved saved;

	gy_blocking_interrupt(&saved);
	/* One with a single parameter takes no notice of the others. */
	handlers[stub](number, info, context);
	gy_blocking_resume(&saved);
}

#if defined(__x86_64__)
extern const char gy_handler_stubs[] GY_HIDDEN;

__asm__(".text\n"
	".p2align 4\n"
	".globl gy_handler_stubs\n"
	".hidden gy_handler_stubs\n"
	".type gy_handler_stubs, @function\n"
	"gy_handler_stubs:\n"
	"	.cfi_startproc\n"
	"	.set stub, 0\n"
	"	.rept 256\n"
	"	.p2align 4\n"
	"	movl $stub, %ecx\n"
	"	jmp gy_handler_run\n"
	"	.set stub, stub + 1\n"
	"	.endr\n"
	"	.p2align 4\n"
	"	.cfi_endproc\n"
	".size gy_handler_stubs, . - gy_handler_stubs\n");
_Static_assert(STUBS == 256, "as the assembler has it");
#define HAVE_STUBS 1
#else
static const char gy_handler_stubs[STUBS * STUB_BYTES];
#define HAVE_STUBS 0
#endif

static bool is_function(uintptr_t handler)
{
	return handler > 4096 && handler != (uintptr_t)SIG_ERR;
}

static bool is_stub(uintptr_t handler)
{
	return handler - (uintptr_t)gy_handler_stubs < STUBS * STUB_BYTES;
}

/* What to give the kernel for it; itself if there is no stub left (HANDLER-1). */
static uintptr_t stub_of(uintptr_t handler)
{
	for (unsigned i = 0; i < STUBS * HAVE_STUBS; i++) {
		uintptr_t there = __atomic_load_n((uintptr_t *)(void *)&handlers[i],
						  __ATOMIC_ACQUIRE);

		if (!there && __atomic_compare_exchange_n((uintptr_t *)(void *)&handlers[i],
							  &there, handler, false, __ATOMIC_ACQ_REL,
							  __ATOMIC_ACQUIRE))
			there = handler;
		if (there == handler)
			return (uintptr_t)gy_handler_stubs + i * STUB_BYTES;
	}
	__atomic_store_n(&regions, REFUSED, __ATOMIC_SEQ_CST);
	return handler;
}

/* What the program takes for the handler, and what the kernel does. */
static uintptr_t to_kernel(uintptr_t handler)
{
	return gy_program_collects() && is_function(handler) && !is_stub(handler)
		       ? stub_of(handler)
		       : handler;
}

static uintptr_t to_program(uintptr_t handler)
{
	return is_stub(handler)
		       ? (uintptr_t)handlers[(handler - (uintptr_t)gy_handler_stubs) / STUB_BYTES]
		       : handler;
}

/* ---- handlers from before ---- */

static bool is_left_alone(int number) /* HANDLER-3 */
{
	return number == (int)gy_option(GY_OPT_gc_signal) || (number >= 32 && number < SIGRTMIN);
}

/* As long as somebody else is setting the same: what was set last is to stay. */
static void change(int number)
{
	struct gy_signal_action now, before;

	if (gy_sys_sigaction(number, NULL, &now))
		return;
	while (is_function((uintptr_t)now.handler) && !is_stub((uintptr_t)now.handler)) {
		uintptr_t was = (uintptr_t)now.handler;

		now.handler = (full_handler *)stub_of(was);
		if ((uintptr_t)now.handler == was || gy_sys_sigaction(number, &now, &before) ||
		    (uintptr_t)before.handler == was)
			return;
		now = before;
		if (!is_function((uintptr_t)now.handler) || is_stub((uintptr_t)now.handler))
			gy_sys_sigaction(number, &now, NULL);
	}
}

GY_COLD static bool look(void)
{
	uint32_t state = UNKNOWN;

	if (!HAVE_STUBS || !__atomic_compare_exchange_n(&regions, &state, LOOKING, false,
							__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	for (int number = 1; number <= SIGRTMAX; number++)
		if (!is_left_alone(number))
			change(number);
	state = LOOKING;
	return __atomic_compare_exchange_n(&regions, &state, LEAVE, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

bool gy_handlers_leave_regions(void)
{
	return likely(__atomic_load_n(&regions, __ATOMIC_ACQUIRE) == LEAVE) || look();
}

/* ---- the functions ---- */

static struct {
	int (*sigaction)(int, const struct sigaction *, struct sigaction *);
	plain_handler *(*signal)(int, plain_handler *);
	plain_handler *(*sysv_signal)(int, plain_handler *);
	plain_handler *(*sigset)(int, plain_handler *);
} next;

static const struct gy_next names[] = {
	{"sigaction", &next.sigaction},
	{"signal", &next.signal},
	{"sysv_signal", &next.sysv_signal},
	{"sigset", &next.sigset},
};

__attribute__((constructor)) static void signal_action_init(void)
{
	gy_next_find(names, ARRAY_SIZE(names));
}

#define NEXT(name)                                                                                 \
	({                                                                                         \
		if (unlikely(!READ_RELAXED(next.name)))                                            \
			signal_action_init();                                                      \
		READ_RELAXED(next.name);                                                           \
	})

GY_EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
	struct sigaction copy;
	int result;

	if (action) {
		copy = *action;
		copy.sa_handler = (plain_handler *)to_kernel((uintptr_t)action->sa_handler);
		action = &copy;
	}
	result = NEXT(sigaction)(number, action, before);
	if (!result && before)
		before->sa_handler = (plain_handler *)to_program((uintptr_t)before->sa_handler);
	return result;
}

#define SET(name, number, handler)                                                                 \
	(plain_handler *)to_program(                                                               \
		(uintptr_t)NEXT(name)(number, (plain_handler *)to_kernel((uintptr_t)(handler))))

GY_EXPORT plain_handler *signal(int number, plain_handler *handler)
{
	return SET(signal, number, handler);
}

GY_EXPORT plain_handler *bsd_signal(int number, plain_handler *handler)
{
	return SET(signal, number, handler);
}

GY_EXPORT plain_handler *ssignal(int number, plain_handler *handler)
{
	return SET(signal, number, handler);
}

GY_EXPORT plain_handler *sysv_signal(int number, plain_handler *handler)
{
	return SET(sysv_signal, number, handler);
}

GY_EXPORT plain_handler *__sysv_signal(int number, plain_handler *handler)
{
	return SET(sysv_signal, number, handler);
}

GY_EXPORT plain_handler *sigset(int number, plain_handler *handler)
{
	return SET(sigset, number, handler);
}
