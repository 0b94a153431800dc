/* main.c - kv [--port N] [--bind ADDRESS] [--threads N] [--memory BYTES[K|M|G]]
 *          [--connections N] [--seconds N]
 *
 * Prints "ready: pid P port N" when it serves, ends on SIGTERM, SIGINT, SHUTDOWN, or after so many
 * seconds: what has come is answered first.
 */
#include "kv.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct options options = {
	.port = 6380, .connections = 10000, .memory_bytes = 512u << 20, .bind = "127.0.0.1",
};
struct counters counters;

uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void ask_to_stop(void)
{
	kill(getpid(), SIGTERM);
}

static uint64_t number_of(const char *name, const char *text, uint64_t least, uint64_t most)
{
	static const char units[] = "KMG";
	char *end = NULL;
	uint64_t number = text && *text != '-' ? strtoull(text, &end, 10) : 0;
	const char *unit = end && *end ? strchr(units, *end) : NULL;

	if (unit) {
		number <<= 10 * (unit - units + 1);
		end++;
	}
	if (!text || !end || end == text || *end || number < least || number > most) {
		fprintf(stderr, "kv: %s wants a number from %lu to %lu\n", name, least, most);
		exit(2);
	}
	return number;
}

static uint64_t seconds;

static void read_options(char **argv)
{
	for (argv++; *argv; argv += 2) {
		const char *name = argv[0], *text = argv[1];

		if (!strcmp(name, "--port"))
			options.port = (uint16_t)number_of(name, text, 0, 65535);
		else if (!strcmp(name, "--threads"))
			options.threads = (unsigned)number_of(name, text, 1, 256);
		else if (!strcmp(name, "--memory"))
			options.memory_bytes = number_of(name, text, 1 << 20, 1ull << 40);
		else if (!strcmp(name, "--connections"))
			options.connections = number_of(name, text, 1, 10000000);
		else if (!strcmp(name, "--seconds"))
			seconds = number_of(name, text, 1, 1000000);
		else if (!strcmp(name, "--bind") && text)
			options.bind = text;
		else {
			fprintf(stderr, "usage: kv [--port N] [--bind ADDRESS] [--threads N] "
					"[--memory BYTES[K|M|G]] [--connections N] "
					"[--seconds N]\n");
			exit(strcmp(name, "--help") ? 2 : 0);
		}
	}
}

/* As many descriptors as may be, and no more connections than they allow: rings, the files that are
 * read now and then and the next client, who is told that there is no place, need some too. */
static void more_descriptors(void)
{
	uint64_t others = 64 + 4 * (uint64_t)options.threads;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	if (limit.rlim_cur < limit.rlim_max) {
		rlim_t before = limit.rlim_cur;

		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit))
			limit.rlim_cur = before;
	}
	if (limit.rlim_cur <= others)
		options.connections = 1;
	else if (options.connections > limit.rlim_cur - others)
		options.connections = limit.rlim_cur - others;
}

int main(int argc, char **argv)
{
	struct timespec left;
	struct gyre_gc_stats gc;
	sigset_t ends;

	(void)argc;
	options.threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	read_options(argv);
	more_descriptors();
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL); /* for all threads: here they are waited for */
	if (!table_init() || !janitor_start() || !net_start())
		return 1;
	printf("ready: pid %d port %u\n", getpid(), options.port);
	fflush(stdout);
	left = (struct timespec){(time_t)seconds, 0};
	gyre_blocking_begin();
	while (sigtimedwait(&ends, NULL, seconds ? &left : NULL) < 0 && errno == EINTR)
		;
	gyre_blocking_end();
	net_stop();
	janitor_stop();
	gyre_gc_stats(&gc);
	printf("served %lu commands; %lu cycles, longest pause %lu us, %lu KiB live\n",
	       COUNTED(commands), gc.cycles, gc.pause_max_ns / 1000, gc.heap_live_bytes / 1024);
	return 0;
}
