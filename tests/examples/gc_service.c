/* A small service on collected objects, to be looked at: gyre gc trace pid N.
 *
 * A cache of sessions that two threads replace at random, a burst at a time. What is replaced is never
 * freed; the collector finds it. It runs until SIGTERM, or for the seconds given, and then prints what
 * the collector did.
 */
#include <gyre/gc.h>

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS 20000u
#define THREADS 2
#define BURST 400

struct session {
	struct session *previous; /* the one that it replaced; one back only */
	char *user;
	uint64_t number;
};

struct cache {
	uint64_t size;
	struct session *slots[];
};

static const struct gyre_type session_type = GYRE_TYPE(struct session, previous, user);
static const struct gyre_type cache_type = GYRE_TYPE_TAIL_ONLY(struct cache, slots);

static struct cache *cache; /* the root of it all */
static uint64_t deadline;   /* seconds; 0: none */
static volatile sig_atomic_t ended;

static void on_end(int number)
{
	(void)number;
	ended = 1;
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec;
}

/* Several threads may replace the same slot: the exchange shades what it takes away. */
static void replace(uint64_t index, uint64_t number)
{
	struct session *session = gyre_new(&session_type), *before;
	char *user = gyre_new_leaf(32 + number % 200);

	if (!session || !user)
		abort();
	snprintf(user, 32, "user %lu", number);
	session->number = number;
	gyre_set(&session->user, user);
	before = gyre_atomic_exchange((void **)&cache->slots[index], session);
	if (before)
		gyre_set(&before->previous, NULL);
	gyre_set(&session->previous, before);
}

static void *serve(void *seed)
{
	uint64_t random = (uint64_t)(uintptr_t)seed * 0x9e3779b97f4a7c15ull | 1, served = 0;
	struct timespec pause = {0, 1000000};

	while (!ended && (!deadline || now() < deadline)) {
		for (int i = 0; i < BURST; i++) {
			random ^= random << 13, random ^= random >> 7, random ^= random << 17;
			replace(random % SESSIONS, served++);
		}
		gyre_blocking_begin(); /* asleep, a thread need not be stopped */
		nanosleep(&pause, NULL);
		gyre_blocking_end();
	}
	return (void *)(uintptr_t)served;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	struct gyre_gc_stats stats;
	uint64_t served = 0;

	deadline = argc > 1 ? now() + strtoull(argv[1], NULL, 0) : 0;
	signal(SIGTERM, on_end);
	signal(SIGINT, on_end);
	cache = gyre_new_tail(&cache_type, SESSIONS);
	if (!cache)
		return 1;
	cache->size = SESSIONS;
	printf("ready: pid %d\n", getpid());
	fflush(stdout);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, serve, (void *)(i + 1)))
			return 1;
	for (int i = 0; i < THREADS; i++) {
		void *count;

		pthread_join(threads[i], &count);
		served += (uint64_t)(uintptr_t)count;
	}
	gyre_gc_stats(&stats);
	printf("served %lu requests; %lu cycles, longest pause %lu us, %lu KiB live\n", served,
	       stats.cycles, stats.pause_max_ns / 1000, stats.heap_live_bytes / 1024);
	return stats.cycles ? 0 : 1;
}
