/* world_internal.c - the world is stopped again and again under threads of every kind.
 *
 *	world_internal [-t threads] [-n stops] [-q]
 *
 * Threads run, hold locks, sleep, wait in blocking regions, register and leave, start others that
 * end at once. One stops the world, looks at a counter of each for a while, and lets go. No counter
 * may move meanwhile, every lock must be free, no wait in a region may end with EINTR, and no stop
 * may fail. Prints "done" and how long the stops took.
 */
#include "mutator/world.h"

#include "base/config.h"
#include "os/sys.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MOST 1024u

enum kind {
	RUNS,        /* and counts */
	HOLDS_LOCKS, /* for short whiles */
	WAITS,       /* in epoll_wait, in regions, one after the other */
	SLEEPS,      /* in nanosleep, outside of regions */
	REGISTERS,   /* and leaves, again and again */
	STARTS,      /* threads that end at once */
	KINDS,
};

static const char *const kind_names[KINDS] = {"runs",   "holds locks", "waits",
					      "sleeps", "registers",   "starts others"};

struct thread {
	pthread_t thread;
	enum kind kind;
	uint64_t count, seen; /* [atomic] count: goes up while it runs */
	uint64_t interrupted; /* waits in regions that ended with EINTR */
	struct gy_mutator mutator;
} __attribute__((aligned(128)));

static struct thread threads[THREADS_MOST];
static unsigned thread_total = 64, stop_total = 2000, wrong;
static uint32_t quit; /* [atomic] */
static int never_ready;
#define LOCK GY_LOCK_INIT(GY_RANK_metadata) /* of a rank behind that of the world's own lock */
static struct gy_lock locks[4] = {LOCK, LOCK, LOCK, LOCK};

static bool goes_on(struct thread *self)
{
	__atomic_add_fetch(&self->count, 1, __ATOMIC_RELAXED);
	return !__atomic_load_n(&quit, __ATOMIC_RELAXED);
}

static void nap(long ns)
{
	struct timespec time = {0, ns};

	nanosleep(&time, NULL);
}

static void waits(struct thread *self, bool forever)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(epoll, EPOLL_CTL_ADD, never_ready, &event);
	do {
		gy_blocking_begin(&self->mutator);
		if (epoll_wait(epoll, &event, 1, 1) < 0 && errno == EINTR)
			self->interrupted++;
		gy_blocking_end(&self->mutator);
	} while (goes_on(self) && forever);
	close(epoll);
}

static void set_registered(struct thread *self, bool registered)
{
	sigset_t all, before;

	sigfillset(&all); /* as gy_gc_thread_attach does */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (registered)
		gy_mutator_add(&self->mutator);
	else
		gy_mutator_remove(&self->mutator);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void *ends_at_once(void *argument)
{
	struct thread *starter = argument;

	__atomic_add_fetch(&starter->count, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void starts_one(struct thread *self)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attributes, ends_at_once, self))
		nap(1000000);
	pthread_attr_destroy(&attributes);
	nap(200000);
}

static void *thread_main(void *argument)
{
	struct thread *self = argument;
	unsigned turn = 0;

	if (self->kind == WAITS)
		set_registered(self, true);
	do {
		turn++;
		switch (self->kind) {
		case RUNS:
		case KINDS:
			break;
		case HOLDS_LOCKS:
			gy_lock_acquire(&locks[turn % 4]);
			for (unsigned i = 0; i < 100; i++)
				goes_on(self);
			gy_lock_release(&locks[turn % 4]);
			break;
		case WAITS:
			waits(self, true);
			break;
		case SLEEPS:
			nap(500000);
			break;
		case REGISTERS:
			set_registered(self, true);
			waits(self, false);
			set_registered(self, false);
			break;
		case STARTS:
			starts_one(self);
			break;
		}
	} while (goes_on(self));
	if (self->kind == WAITS)
		set_registered(self, false);
	return NULL;
}

static void complain(const char *what, const struct thread *thread, unsigned stop)
{
	wrong++;
	printf("wrong: stop %u: %s: thread %u, which %s\n", stop, what,
	       (unsigned)(thread - threads), kind_names[thread->kind]);
}

static void look(unsigned stop)
{
	for (unsigned i = 0; i < thread_total; i++)
		threads[i].seen = __atomic_load_n(&threads[i].count, __ATOMIC_RELAXED);
	nap(stop % 50 ? 20000 : 3000000);
	for (unsigned i = 0; i < 4; i++) {
		if (!gy_lock_try(&locks[i]))
			complain("a lock is held", &threads[0], stop);
		else
			gy_lock_release(&locks[i]);
	}
	for (unsigned i = 0; i < thread_total; i++)
		if (__atomic_load_n(&threads[i].count, __ATOMIC_RELAXED) != threads[i].seen)
			complain("it runs", &threads[i], stop);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void stop_again_and_again(void)
{
	uint64_t *took = calloc(stop_total, sizeof(*took));
	uint64_t stopped = 0, blocked = 0;

	for (unsigned i = 0; i < stop_total; i++) {
		struct gy_world_report report;
		int error = gy_world_stop(&report);

		if (error) {
			printf("wrong: stop %u: error %d\n", i, error);
			wrong++;
			continue;
		}
		look(i);
		gy_world_start();
		took[i] = report.stop_ns;
		stopped += report.stopped;
		blocked += report.blocked;
		nap(100000);
	}
	qsort(took, stop_total, sizeof(*took), by_value);
	printf("# %u stops: median %llu us, p99 %llu us, longest %llu us; by signal %llu, in "
	       "regions "
	       "%llu\n",
	       stop_total, (unsigned long long)took[stop_total / 2] / 1000,
	       (unsigned long long)took[stop_total * 99 / 100] / 1000,
	       (unsigned long long)took[stop_total - 1] / 1000,
	       (unsigned long long)(stopped / stop_total),
	       (unsigned long long)(blocked / stop_total));
	free(took);
}

int main(int argc, char **argv)
{
	bool quiet = false; /* nobody runs: all sleep or wait */
	int option, pipe_fd[2];

	while ((option = getopt(argc, argv, "t:n:q")) != -1) {
		if (option == 't')
			thread_total = (unsigned)atoi(optarg);
		else if (option == 'n')
			stop_total = (unsigned)atoi(optarg);
		else
			quiet = option == 'q';
	}
	if (!thread_total || thread_total > THREADS_MOST || !stop_total || pipe(pipe_fd))
		return 2;
	never_ready = pipe_fd[0];
	gy_config_init();
	if (gy_world_init())
		return 1;
	for (unsigned i = 0; i < thread_total; i++) {
		threads[i].kind = quiet ? (i % 2 ? WAITS : SLEEPS) : i % KINDS;
		if (pthread_create(&threads[i].thread, NULL, thread_main, &threads[i]))
			return 1;
	}
	stop_again_and_again();
	__atomic_store_n(&quit, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < thread_total; i++) {
		pthread_join(threads[i].thread, NULL);
		if (threads[i].interrupted)
			complain("EINTR in a region", &threads[i], stop_total);
		if (!threads[i].count)
			complain("never ran", &threads[i], stop_total);
	}
	if (!wrong)
		printf("done\n");
	return wrong ? 1 : 0;
}
