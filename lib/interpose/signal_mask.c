/* signal_mask.c - the collector's signal stays out of the program's masks and sets of signals.
 *
 * A service blocks all signals in its threads and has one wait for them: sigfillset,
 * pthread_sigmask, sigwait. Taken literally that ends collection: a thread that blocks the
 * collector's signal cannot be stopped, and one that waits for it takes it away, and is told of a
 * SIGPWR that nobody sent. The C library has the same trouble with its own two signals, and the
 * same answer: it leaves them out of what the program passes (nptl(7)). So do these functions, for
 * one signal more, the option gc_signal's. All else about them is the C library's: each calls the
 * next of its name.
 *
 * MASK-1  Nothing is left out in a program that does not use the collector: one that is preloaded
 *         with us may have a use of its own for the signal. A program uses it if anything loaded at
 *         its start is linked with us and asks for gyre_new, or once anybody has called it. (In the
 *         second case threads may have blocked the signal before: the first use unblocks it in the
 *         thread that makes it, ATTACH-6, and a wait for signals in the thread that waits.)
 * MASK-2  A wait that began before that may receive the signal. The C library's wait tells who sent
 *         it: one of ours is not the program's, and the wait goes on, without it.
 * MASK-3  A wait for signals that our handler has cut short goes on: EINTR is for the program's own
 *         handlers. Others (sigsuspend, ppoll) end with EINTR, as at any signal.
 *
 * Not here: system calls made without the C library, and threads that the C library makes for
 * itself with all signals blocked (mutator/world.c). libgyre.a leaves this file out, since it must
 * find the next function of a name in the loader.
 *
 * Sources: POSIX.1-2024 (pthread_sigmask, sigtimedwait), glibc's nptl/pthread_sigmask.c, bdwgc's
 * GC_pthread_sigmask.
 */
#include "base/config.h"
#include "interpose/waits.h"
#include "os/sys.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

/* Not in every version of the C library's headers. */
int epoll_pwait2(int epoll, struct epoll_event *events, int most, const struct timespec *timeout,
		 const sigset_t *mask);
int pthread_attr_setsigmask_np(pthread_attr_t *attributes, const sigset_t *mask);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		const sigset_t *mask, size_t fds_bytes);

#define SECOND_NS 1000000000ull

static bool program_asks; /* [const after the constructors] MASK-1 */

/* ---- does the program use the collector? ---- */

/* What of an object's dynamic section tells it. */
struct dynamic {
	const char *strings;
	const ElfW(Sym) *symbols;
	const uint32_t *gnu_hash, *hash;
};

static uintptr_t address_of(const struct dl_phdr_info *object, const ElfW(Dyn) *entry)
{
	uintptr_t address = entry->d_un.d_ptr; /* glibc has added the base, musl has not */

	return address < object->dlpi_addr ? address + object->dlpi_addr : address;
}

static const ElfW(Dyn) *dynamic_of(const struct dl_phdr_info *object, struct dynamic *dynamic)
{
	const ElfW(Dyn) *first = NULL;

	*dynamic = (struct dynamic){0};
	for (unsigned i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
			first = (const ElfW(Dyn) *)(object->dlpi_addr +
						    object->dlpi_phdr[i].p_vaddr);
	for (const ElfW(Dyn) *at = first; at && at->d_tag != DT_NULL; at++) {
		if (at->d_tag == DT_STRTAB)
			dynamic->strings = (const char *)address_of(object, at);
		else if (at->d_tag == DT_SYMTAB)
			dynamic->symbols = (const ElfW(Sym) *)address_of(object, at);
		else if (at->d_tag == DT_GNU_HASH)
			dynamic->gnu_hash = (const uint32_t *)address_of(object, at);
		else if (at->d_tag == DT_HASH)
			dynamic->hash = (const uint32_t *)address_of(object, at);
	}
	return dynamic->strings && dynamic->symbols ? first : NULL;
}

static bool needs_us(const ElfW(Dyn) *at, const char *strings)
{
	for (; at && at->d_tag != DT_NULL; at++)
		if (at->d_tag == DT_NEEDED &&
		    !strncmp(strings + at->d_un.d_val, "libgyre.so", strlen("libgyre.so")))
			return true;
	return false;
}

/* What an object wants of others stands before what its hash table has, which is its own. */
static bool asks_for_objects(const struct dynamic *dynamic)
{
	uint32_t end = dynamic->gnu_hash ? dynamic->gnu_hash[1]
					 : (dynamic->hash ? dynamic->hash[1] : 0);

	for (uint32_t i = 1; i < end; i++)
		if (dynamic->symbols[i].st_shndx == SHN_UNDEF &&
		    !strncmp(dynamic->strings + dynamic->symbols[i].st_name, "gyre_new",
			     strlen("gyre_new")))
			return true;
	return false;
}

static int look_at_object(struct dl_phdr_info *object, size_t bytes, void *unused)
{
	struct dynamic dynamic;
	const ElfW(Dyn) *first = dynamic_of(object, &dynamic);

	(void)bytes;
	(void)unused;
	if (first && needs_us(first, dynamic.strings) && asks_for_objects(&dynamic))
		program_asks = true;
	return program_asks;
}

bool gy_program_collects(void)
{
	return program_asks || gy_gc_started();
}

/* The signal to be left out; 0: none. */
static int left_out(void)
{
	return gy_program_collects() ? (int)gy_option(GY_OPT_gc_signal) : 0;
}

/* `set` without the signal; *copy is room for that. */
static const sigset_t *without(const sigset_t *set, sigset_t *copy)
{
	int number = left_out();

	if (likely(!number) || !set || sigismember(set, number) != 1)
		return set;
	*copy = *set;
	sigdelset(copy, number);
	return copy;
}

/* ---- the next of each name ---- */

typedef int change_mask(int, const sigset_t *, sigset_t *);

static struct {
	change_mask *pthread_sigmask, *sigprocmask;
	int (*sigtimedwait)(const sigset_t *, siginfo_t *, const struct timespec *);
	int (*sigsuspend)(const sigset_t *);
	int (*ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
	int (*ppoll_chk)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *,
			 size_t);
	int (*pselect)(int, fd_set *, fd_set *, fd_set *, const struct timespec *,
		       const sigset_t *);
	int (*epoll_pwait)(int, struct epoll_event *, int, int, const sigset_t *);
	int (*epoll_pwait2)(int, struct epoll_event *, int, const struct timespec *,
			    const sigset_t *);
	int (*setsigmask)(pthread_attr_t *, const sigset_t *);
} next;

static const struct gy_next names[] = {
	{"pthread_sigmask", &next.pthread_sigmask},
	{"sigprocmask", &next.sigprocmask},
	{"sigtimedwait", &next.sigtimedwait},
	{"sigsuspend", &next.sigsuspend},
	{"ppoll", &next.ppoll},
	{"__ppoll_chk", &next.ppoll_chk},
	{"pselect", &next.pselect},
	{"epoll_pwait", &next.epoll_pwait},
	{"epoll_pwait2", &next.epoll_pwait2},
	{"pthread_attr_setsigmask_np", &next.setsigmask},
};

/* All of them at once, where that is allowed: some are called from signal handlers. Constructors
 * that ran before ours may want one sooner. */
__attribute__((constructor)) static void signal_mask_init(void)
{
	gy_next_find(names, ARRAY_SIZE(names));
	dl_iterate_phdr(look_at_object, NULL);
}

/* The function of this name; a C library without it has no program that calls it. */
#define NEXT(name)                                                                                 \
	({                                                                                         \
		if (unlikely(!READ_RELAXED(next.name)))                                            \
			gy_next_find(names, ARRAY_SIZE(names));                                    \
		READ_RELAXED(next.name);                                                           \
	})

/* ---- masks ---- */

GY_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *before)
{
	sigset_t copy;

	return NEXT(pthread_sigmask)(how, how == SIG_UNBLOCK ? set : without(set, &copy), before);
}

GY_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *before)
{
	sigset_t copy;

	return NEXT(sigprocmask)(how, how == SIG_UNBLOCK ? set : without(set, &copy), before);
}

GY_EXPORT int pthread_attr_setsigmask_np(pthread_attr_t *attributes, const sigset_t *mask)
{
	sigset_t copy;

	return NEXT(setsigmask)(attributes, without(mask, &copy));
}

/* ---- waits with a mask of their own ---- */

GY_EXPORT int sigsuspend(const sigset_t *mask)
{
	struct gy_mutator *mutator = gy_wait_begin();
	sigset_t copy;
	int result;

	GY_WAIT(mutator, result, mask,
		NEXT(sigsuspend)(without(mask, &copy)));
	return result;
}

GY_EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		    const sigset_t *mask)
{
	struct gy_mutator *mutator = gy_wait_begin();
	sigset_t copy;
	int result;

	GY_WAIT(mutator, result, fds,
		NEXT(ppoll)(fds, count, timeout, without(mask, &copy)));
	return result;
}

GY_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
			  const sigset_t *mask, size_t fds_bytes)
{
	struct gy_mutator *mutator = gy_wait_begin();
	sigset_t copy;
	int result;

	GY_WAIT(mutator, result, fds,
		NEXT(ppoll_chk)(fds, count, timeout, without(mask, &copy), fds_bytes));
	return result;
}

GY_EXPORT int pselect(int count, fd_set *read, fd_set *write, fd_set *except,
		      const struct timespec *timeout, const sigset_t *mask)
{
	struct gy_mutator *mutator = gy_wait_begin();
	sigset_t copy;
	int result;

	GY_WAIT(mutator, result, read,
		NEXT(pselect)(count, read, write, except, timeout, without(mask, &copy)));
	return result;
}

GY_EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout_ms,
			  const sigset_t *mask)
{
	struct gy_mutator *mutator = gy_wait_begin();
	sigset_t copy;
	int result;

	GY_WAIT(mutator, result, events,
		NEXT(epoll_pwait)(epoll, events, most, timeout_ms, without(mask, &copy)));
	return result;
}

GY_EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int most,
			   const struct timespec *timeout, const sigset_t *mask)
{
	struct gy_mutator *mutator = gy_wait_begin();
	sigset_t copy;
	int result;

	GY_WAIT(mutator, result, events,
		NEXT(epoll_pwait2)(epoll, events, most, timeout, without(mask, &copy)));
	return result;
}

/* ---- waits for signals ---- */

/* The C library's wait tells of tgkill as of kill. */
static bool is_ours(const siginfo_t *info)
{
	return (info->si_code == SI_TKILL || info->si_code == SI_USER) && info->si_pid == getpid();
}

/* What is left until `end_ns`. */
static const struct timespec *left_until(uint64_t end_ns, struct timespec *left)
{
	uint64_t now_ns = gy_now_ns(), ns = end_ns > now_ns ? end_ns - now_ns : 0;

	left->tv_sec = (time_t)(ns / SECOND_NS);
	left->tv_nsec = (long)(ns % SECOND_NS);
	return left;
}

static int wait_once(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	struct gy_mutator *mutator = gy_wait_begin();
	int got;

	GY_WAIT(mutator, got, info, NEXT(sigtimedwait)(set, info, timeout));
	return got;
}

static int wait_for_signal(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	struct timespec left;
	siginfo_t own;
	uint64_t end_ns = 0;

	info = info ? info : &own;
	/* A time that is none, or is beyond all bounds, is the C library's to judge. */
	if (timeout && timeout->tv_sec >= 0 && timeout->tv_sec < INT32_MAX &&
	    timeout->tv_nsec >= 0 && (uint64_t)timeout->tv_nsec < SECOND_NS)
		end_ns = gy_now_ns() + (uint64_t)timeout->tv_sec * SECOND_NS +
			 (uint64_t)timeout->tv_nsec;
	for (;;) {
		uint32_t taken = READ_RELAXED(gy_world_signals_taken);
		int number = left_out(), got;
		sigset_t copy;

		if (number)
			gy_sys_signal_open(number);
		got = wait_once(set ? without(set, &copy) : set, info,
				end_ns ? left_until(end_ns, &left) : timeout);
		if (got < 0) {
			if (errno != EINTR || taken == READ_RELAXED(gy_world_signals_taken))
				return got; /* MASK-3 */
		} else if (number || got != left_out() || !is_ours(info)) {
			return got; /* MASK-2 */
		}
	}
}

GY_EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	return wait_for_signal(set, info, timeout);
}

GY_EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	return wait_for_signal(set, info, NULL);
}

/* Never cut short by a handler (POSIX allows no EINTR). */
GY_EXPORT int sigwait(const sigset_t *set, int *number)
{
	int saved = errno, got, error;

	do {
		got = wait_for_signal(set, NULL, NULL);
	} while (got < 0 && errno == EINTR);
	error = errno;
	errno = saved;
	if (got < 0)
		return error;
	*number = got;
	return 0;
}
