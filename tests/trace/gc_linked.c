/* gc_linked.c - a program with a collector that does what it is told, and no more.
 *
 * One command a line on stdin; when it is done, a line `done ...` on stdout. Cycles are only those that are
 * asked for (the tests set gc_percent=0), except in `churn`.
 *
 *      keep N         a list of N nodes, held by a global variable
 *      drop           lets it go
 *      garbage N      N nodes that nothing holds
 *      run            gyre_gc_run; done RESULT
 *      ends N         N objects with a finaliser and N with a cleanup, dropped, collected; done RUN
 *      overwrite N    N stores into the list's nodes, with cycles asked for beside; done CYCLES
 *      sleepers N     N threads in blocking regions, N that are not, all asleep until the end
 *      block          a thread that blocks the collector's signal; unblock: it ends
 *      percent N      gyre_gc_set_percent; done OLD
 *      churn MS       garbage and a new list, over and over, as fast as it goes; done CYCLES
 *      stats          done CYCLES FORCED FAILED PAUSE_TOTAL_NS LIVE FREED ASSISTS SHADES FINALISED
 *      quit
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <gyre/gc.h>

struct node {
	struct node *next, *other;
	long value[4];
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, next, other);
static struct node *list;
static atomic_long ends_run;
static atomic_int stop_sleeping, stop_blocking, blocking;
static pthread_t blocker;

__attribute__((noinline)) static struct node *make(size_t count)
{
	struct node *first = NULL;

	for (size_t i = 0; i < count; i++) {
		struct node *node = gyre_new(&node_type);

		if (!node)
			_exit(3);
		node->value[0] = (long)i;
		gyre_set(&node->next, first);
		first = node;
	}
	return first;
}

/* Frames that are gone may show pointers to whoever looks below the stack pointer next. */
__attribute__((noinline)) static void wipe_stack(void)
{
	volatile char bytes[16384];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0;
}

__attribute__((noinline)) static void garbage(size_t count)
{
	for (size_t i = 0; i < count; i++)
		make(1);
}

static void at_end(void *object, void *argument)
{
	(void)object;
	(void)argument;
	atomic_fetch_add(&ends_run, 1);
}

static void clean_up(void *argument)
{
	at_end(NULL, argument);
}

__attribute__((noinline)) static void make_ends(size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (gyre_finaliser_set(make(1), at_end, NULL) ||
		    gyre_cleanup_add(make(1), clean_up, NULL))
			_exit(4);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t cycles(void)
{
	struct gyre_gc_stats stats;

	gyre_gc_stats(&stats);
	return stats.cycles;
}

/* Each store takes away the only pointer to a node that the snapshot had: it must be shaded. */
static uint64_t overwrite(size_t count)
{
	uint64_t before = cycles();
	size_t done = 0;

	while (done < count) {
		for (struct node *at = list; at && done < count; at = at->next, done++)
			gyre_set(&at->other, make(1));
		if (!list)
			break;
	}
	return cycles() - before;
}

static uint64_t churn(uint64_t ms)
{
	uint64_t before = cycles(), end = now_ms() + ms;

	while (now_ms() < end) {
		list = make(200000);
		garbage(20000);
	}
	return cycles() - before;
}

/* By the system call: the C library's waits are blocking regions by themselves. */
static void nap(void)
{
	struct timespec time = {0, 20000000};

	syscall(SYS_nanosleep, &time, NULL);
}

static void *sleeper(void *in_region)
{
	if (in_region)
		gyre_blocking_begin();
	while (!atomic_load(&stop_sleeping))
		nap();
	if (in_region)
		gyre_blocking_end();
	return NULL;
}

/* By the system call: the C library's functions keep the collector's signal open. */
static void *deaf(void *unused)
{
	uint64_t all = ~0ull;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof(all));
	atomic_store(&blocking, 1);
	while (!atomic_load(&stop_blocking))
		nap();
	return unused;
}

static void threads(size_t count)
{
	pthread_t thread;

	for (size_t i = 0; i < 2 * count; i++)
		if (pthread_create(&thread, NULL, sleeper, i < count ? &list : NULL) ||
		    pthread_detach(thread))
			_exit(5);
	nap();
	nap();
}

static void answer(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(1);
}

static void stats_out(char *line, size_t bytes)
{
	struct gyre_gc_stats s;

	gyre_gc_stats(&s);
	snprintf(line, bytes, "done %lu %lu %lu %lu %lu %lu %lu %lu %lu\n", s.cycles,
		 s.cycles_forced, s.failed_stops, s.pause_total_ns, s.heap_live_bytes,
		 s.bytes_freed, s.assists, s.barrier_shades, s.finalisers_run);
}

static void obey(const char *command, size_t count)
{
	char line[256];
	long result = 0;

	if (!strcmp(command, "keep")) {
		list = make(count);
	} else if (!strcmp(command, "drop")) {
		list = NULL;
	} else if (!strcmp(command, "garbage")) {
		garbage(count);
	} else if (!strcmp(command, "run")) {
		wipe_stack();
		result = gyre_gc_run() ? -errno : 0;
	} else if (!strcmp(command, "ends")) {
		make_ends(count);
		wipe_stack();
		gyre_gc_run();
		gyre_finalisers_wait();
		result = atomic_load(&ends_run);
	} else if (!strcmp(command, "overwrite")) {
		result = (long)overwrite(count);
	} else if (!strcmp(command, "sleepers")) {
		threads(count);
	} else if (!strcmp(command, "block")) {
		atomic_store(&stop_blocking, 0);
		result = pthread_create(&blocker, NULL, deaf, NULL);
		while (!atomic_load(&blocking))
			nap();
	} else if (!strcmp(command, "unblock")) {
		atomic_store(&stop_blocking, 1);
		pthread_join(blocker, NULL);
	} else if (!strcmp(command, "percent")) {
		result = gyre_gc_set_percent((int)count);
	} else if (!strcmp(command, "churn")) {
		result = (long)churn(count);
	}
	snprintf(line, sizeof(line), "done %ld\n", result);
	if (!strcmp(command, "stats"))
		stats_out(line, sizeof(line));
	answer(line);
}

int main(void)
{
	static char line[256];
	size_t used = 0;
	char ready[64];

	snprintf(ready, sizeof(ready), "ready %d\n", getpid());
	answer(ready);
	for (;;) {
		char command[16] = "";
		size_t count = 0;

		if (used == sizeof(line) - 1 || read(STDIN_FILENO, line + used, 1) != 1)
			return 0;
		if (line[used++] != '\n')
			continue;
		line[used] = 0;
		used = 0;
		sscanf(line, "%15s %zu", command, &count);
		if (!strcmp(command, "quit"))
			return 0;
		obey(command, count);
	}
}
