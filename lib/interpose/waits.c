/* waits.c - the C library's waits, as blocking regions.
 *
 * A thread that sleeps in epoll_wait when the world is to be stopped would have to be woken by a
 * signal, for nothing: it costs more than to stop one that runs, and the wait ends with EINTR, for
 * which few programs are made. A service has hundreds of them. So these functions say that they
 * wait: around the C library's function of the name they put a blocking region (BLOCK-1), in which
 * a thread counts as stopped where it sleeps. They do so in programs that use the collector, once
 * it has started; before, and in all others, each is one load, one branch and a jump.
 *
 * A thread that has never made an object is attached by its first wait (ATTACH-7).
 *
 * WAIT-1  What the program could have in hand is found: the registers that a callee keeps are in
 *         the record, everything else is on the stack above this frame, and a pointer that only
 *         the kernel has now (a buffer in an object) is kept in this frame.
 * WAIT-2  A handler that interrupts the wait leaves the region before it does anything else
 *         (signal_action.c). Where that cannot be had, waits are no regions.
 * WAIT-3  A thread that is cancelled in the wait leaves the region before any of its handlers for
 *         that runs: by a cleanup handler of ours, which is the first in turn.
 * WAIT-4  No region where nothing is waited for (a timeout of 0, a semaphore that is free), nor in
 *         a handler that interrupted one of our locks (BUSY-1), nor in a thread without storage of
 *         its own (ATTACH-7). Then the wait is what it is without us.
 * WAIT-5  Waits on descriptors that are read next, and on a mutex, are not among these: they are
 *         short and many, and the kernel restarts them after our signal.
 *
 * Not here: waits with a mask, and for signals (signal_mask.c, which does the same); those by
 * system calls of the program's own, and those that the C library makes within others.
 * libgyre.a leaves this file out, since it must find the next function of a name in the loader.
 */
#include "interpose/waits.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Not in every version of the C library's headers. */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t fds_bytes);

/* X(type, name, (parameters), (arguments), does it wait?, pointer to keep) */
#define WAITS(X)                                                                                   \
	X(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout_ms),      \
	  (epoll, events, most, timeout_ms), timeout_ms, events)                                   \
	X(int, poll, (struct pollfd * fds, nfds_t count, int timeout_ms),                          \
	  (fds, count, timeout_ms), timeout_ms, fds)                                               \
	X(int, __poll_chk, (struct pollfd * fds, nfds_t count, int timeout_ms, size_t fds_bytes),  \
	  (fds, count, timeout_ms, fds_bytes), timeout_ms, fds)                                    \
	X(int, select,                                                                             \
	  (int count, fd_set *read, fd_set *write, fd_set *except, struct timeval *timeout),       \
	  (count, read, write, except, timeout),                                                   \
	  !timeout || timeout->tv_sec || timeout->tv_usec, read)                                   \
	X(int, nanosleep, (const struct timespec *time, struct timespec *left), (time, left), 1,   \
	  left)                                                                                    \
	X(int, clock_nanosleep,                                                                    \
	  (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),        \
	  (clock, flags, time, left), 1, left)                                                     \
	X(int, usleep, (useconds_t time_us), (time_us), time_us, NULL)                             \
	X(unsigned, sleep, (unsigned seconds), (seconds), seconds, NULL)                           \
	X(int, pause, (void), (), 1, NULL)                                                         \
	X(int, accept, (int fd, struct sockaddr *address, socklen_t *bytes), (fd, address, bytes), \
	  1, address)                                                                              \
	X(int, accept4, (int fd, struct sockaddr *address, socklen_t *bytes, int flags),           \
	  (fd, address, bytes, flags), !(flags & SOCK_NONBLOCK), address)                          \
	X(int, pthread_cond_wait, (pthread_cond_t * condition, pthread_mutex_t * mutex),           \
	  (condition, mutex), 1, mutex)                                                            \
	X(int, pthread_cond_timedwait,                                                             \
	  (pthread_cond_t * condition, pthread_mutex_t * mutex, const struct timespec *until),     \
	  (condition, mutex, until), 1, mutex)                                                     \
	X(int, pthread_cond_clockwait,                                                             \
	  (pthread_cond_t * condition, pthread_mutex_t * mutex, clockid_t clock,                   \
	   const struct timespec *until),                                                          \
	  (condition, mutex, clock, until), 1, mutex)                                              \
	X(int, sem_wait, (sem_t * semaphore), (semaphore), is_taken(semaphore), semaphore)         \
	X(int, sem_timedwait, (sem_t * semaphore, const struct timespec *until),                   \
	  (semaphore, until), is_taken(semaphore), semaphore)                                      \
	X(int, sem_clockwait, (sem_t * semaphore, clockid_t clock, const struct timespec *until),  \
	  (semaphore, clock, until), is_taken(semaphore), semaphore)

/* ---- the next of each name ---- */

#define POINTER(type, name, parameters, arguments, waits, kept) type(*name) parameters;
static struct {
	WAITS(POINTER)
} next;
#undef POINTER

#define NAME(type, name, parameters, arguments, waits, kept) {#name, (void *)&next.name},
static const struct gy_next names[] = {WAITS(NAME)};
#undef NAME

/* Condition variables had another form once, and their old functions are still there. */
static void *next_of(const char *name)
{
	void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");

	return found ? found : dlsym(RTLD_NEXT, name);
}

GY_NOINLINE void gy_next_find(const struct gy_next *table, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		void *found = next_of(table[i].name);

		if (found)
			__atomic_store_n((void **)table[i].at, found, __ATOMIC_RELAXED);
	}
}

/* All of them at once, where that is allowed: some are called from signal handlers. */
__attribute__((constructor)) static void waits_init(void)
{
	gy_next_find(names, ARRAY_SIZE(names));
}

/* ---- regions ---- */

GY_NOINLINE struct gy_mutator *gy_wait_slow(void)
{
	return gy_handlers_leave_regions() ? gy_gc_waiter() : NULL; /* WAIT-2 */
}

void gy_wait_cancelled(void *mutator)
{
	gy_blocking_abandon(mutator);
}

static bool is_taken(sem_t *semaphore)
{
	int value;

	return sem_getvalue(semaphore, &value) || value <= 0;
}

#define DEFINE(type, name, parameters, arguments, waits, kept)                                     \
	static GY_NOINLINE type name##_in_region parameters                                        \
	{                                                                                          \
		struct gy_mutator *mutator = (waits) ? gy_wait_slow() : NULL;                      \
		type result;                                                                       \
                                                                                                   \
		GY_WAIT(mutator, result, kept, next.name arguments);                               \
		return result;                                                                     \
	}                                                                                          \
	GY_EXPORT type name parameters                                                             \
	{                                                                                          \
		if (unlikely(!READ_RELAXED(next.name)))                                            \
			waits_init();                                                              \
		if (unlikely(gy_gc_started()))                                                     \
			return name##_in_region arguments;                                         \
		return next.name arguments;                                                        \
	}
WAITS(DEFINE)
