/* signals_linked.c - programs that block, or wait for, all signals; and the collector's among them.
 *
 *	signals_linked CASE
 *
 * Case by case what services do: a thread waits for all signals (sigwait, sigwaitinfo,
 * sigtimedwait), or waits for something else with all of them blocked meanwhile (sigsuspend,
 * ppoll); the mask is set before the first object is made, or after. Cycles must succeed, and no
 * wait may yield a signal that the program was not sent. Then those that cannot be helped: a thread
 * that blocks the signal past the C library. That one is named, once, and the program goes on.
 */
#include <gyre/gc.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RUNS 20

static const char *which;
static int ready, quit, wrong; /* [atomic] */

static void complain(const char *what, long number)
{
	printf("wrong: %s (%ld)\n", what, number);
	__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
}

static void nap_ms(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	while (nanosleep(&time, &time))
		;
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* ---- waits for signals ---- */

static int wait_once(const sigset_t *all)
{
	struct timespec second = {1, 0};
	siginfo_t info;
	int number = 0, got;

	if (!strcmp(which, "sigwait"))
		return sigwait(all, &number) ? -1 : number;
	if (!strcmp(which, "sigwaitinfo"))
		return sigwaitinfo(all, &info);
	got = sigtimedwait(all, &info, &second);
	return got < 0 && errno == EAGAIN ? 0 : got;
}

/* Gets SIGUSR1, then SIGTERM; and nothing else. */
static void *wait_signals(void *unused)
{
	sigset_t all;
	int got, users = 0;

	(void)unused;
	sigfillset(&all);
	__atomic_store_n(&ready, 1, __ATOMIC_SEQ_CST);
	do {
		got = wait_once(&all);
		users += got == SIGUSR1;
		if (got && got != SIGUSR1 && got != SIGTERM)
			complain("a wait for signals yields", got < 0 ? -errno : got);
	} while (got != SIGTERM);
	if (users != 1)
		complain("SIGUSR1 came so many times", users);
	return NULL;
}

/* ---- waits with a mask ---- */

static void ignore(int number)
{
	(void)number;
}

static void *wait_masked(void *unused)
{
	struct timespec short_time = {0, 20000000};
	int epoll = epoll_create1(0);
	struct epoll_event event;
	sigset_t most;

	(void)unused;
	sigfillset(&most);
	sigdelset(&most, SIGUSR1);
	__atomic_store_n(&ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&quit, __ATOMIC_SEQ_CST)) {
		if (!strcmp(which, "sigsuspend"))
			sigsuspend(&most);
		else if (!strcmp(which, "ppoll"))
			ppoll(NULL, 0, NULL, &most);
		else if (!strcmp(which, "pselect"))
			pselect(0, NULL, NULL, NULL, NULL, &most);
		else if (!strcmp(which, "epoll_pwait"))
			epoll_pwait(epoll, &event, 1, -1, &most);
		else
			nanosleep(&short_time, NULL);
	}
	close(epoll);
	return NULL;
}

static void collect(unsigned runs)
{
	for (unsigned i = 0; i < runs; i++) {
		for (unsigned n = 0; n < 100; n++)
			if (!gyre_new_leaf(100))
				complain("no object", errno);
		if (gyre_gc_run())
			complain("gyre_gc_run fails", errno);
	}
}

/* A service as they are written: all signals blocked first, inherited by all threads. */
static void service(bool late, void *(*main)(void *))
{
	struct sigaction action = {.sa_handler = ignore};
	pthread_t thread;
	sigset_t all;

	if (late)
		collect(1);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	if (main == wait_masked)
		sigaction(SIGUSR1, &action, NULL);
	pthread_create(&thread, NULL, main, NULL);
	while (!__atomic_load_n(&ready, __ATOMIC_SEQ_CST))
		nap_ms(1);
	nap_ms(10);
	collect(RUNS);
	__atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(thread, SIGUSR1);
	nap_ms(20);
	collect(1);
	if (main == wait_signals)
		kill(getpid(), SIGTERM);
	else
		pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
}

/* A signal that the program sends itself under the collector's number is the collector's business;
 * but all others keep their order and their masks. */
static void masks(void)
{
	sigset_t set, before;

	collect(1);
	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	for (int i = 1; i < 65; i++) {
		bool never = i == SIGKILL || i == SIGSTOP || i == SIGPWR || i == 32 || i == 33;

		if (sigismember(&before, i) != !never)
			complain("in the mask", i);
	}
	sigemptyset(&set);
	if (sigprocmask(SIG_SETMASK, &set, &before) || sigismember(&before, SIGTERM) != 1)
		complain("sigprocmask", errno);
	if (sigprocmask(99, &set, NULL) != -1 || errno != EINVAL)
		complain("an unknown way to change a mask", errno);
	if (pthread_sigmask(99, &set, NULL) != EINVAL)
		complain("an unknown way to change a mask", errno);
	if (sigtimedwait(&set, NULL, &(struct timespec){0, 1000000}) != -1 || errno != EAGAIN)
		complain("sigtimedwait in vain", errno);
}

/* ---- what cannot be helped ---- */

/* Not the C library's nanosleep: a thread counts as stopped there. */
static void nap_raw(void)
{
	struct timespec time = {0, 5000000};

	syscall(SYS_nanosleep, &time, NULL);
}

static void *deaf(void *unused)
{
	uint64_t mask = 1ull << (SIGPWR - 1);

	(void)unused;
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &mask, NULL, sizeof(mask));
	__atomic_store_n(&ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&quit, __ATOMIC_SEQ_CST))
		nap_raw();
	syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, NULL, sizeof(mask));
	while (__atomic_load_n(&quit, __ATOMIC_SEQ_CST) == 1)
		nap_raw();
	return NULL;
}

/* How long it stood, together and at most. */
static void *clock_main(void *longest)
{
	double last = now_ms();

	while (__atomic_load_n(&quit, __ATOMIC_SEQ_CST) != 2) {
		double now;

		nap_ms(1);
		now = now_ms();
		if (now - last > *(double *)longest)
			*(double *)longest = now - last;
		last = now;
	}
	return NULL;
}

static void raw(void)
{
	double longest = 0, begin;
	pthread_t thread, clock;

	collect(1);
	pthread_create(&thread, NULL, deaf, NULL);
	while (!__atomic_load_n(&ready, __ATOMIC_SEQ_CST))
		nap_ms(1);
	pthread_create(&clock, NULL, clock_main, &longest);
	for (unsigned i = 0; i < 3; i++) {
		begin = now_ms();
		if (gyre_gc_run() != -1 || errno != EDEADLK)
			complain("gyre_gc_run, one thread being deaf", errno);
		if (i && now_ms() - begin > 1000)
			complain("one that was named is waited for, ms", (long)(now_ms() - begin));
	}
	__atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
	nap_ms(20);
	collect(RUNS);
	__atomic_store_n(&quit, 2, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	pthread_join(clock, NULL);
	printf("# the longest stand: %.1f ms\n", longest);
}

int main(int argc, char **argv)
{
	bool late = argc > 2;

	which = argc > 1 ? argv[1] : "";
	if (!strcmp(which, "masks"))
		masks();
	else if (!strcmp(which, "raw"))
		raw();
	else if (!strncmp(which, "sigwait", 7) || !strcmp(which, "sigtimedwait"))
		service(late, wait_signals);
	else
		service(late, wait_masked);
	printf("done\n");
	return wrong ? 1 : 0;
}
