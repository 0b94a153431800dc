/* sync.c - synchronisation, operation by operation; the same cases as go/sync.go.
 *
 *	sync CASE OPS		prints: nanoseconds an operation, CPU nanoseconds an operation
 *
 * Compiled with GYRE on libgyre, without it on pthread and the C library's malloc, as far as these have
 * the like. What an operation is stands beside each case in run_sync.py.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef GYRE
#include <gyre/sync.h>
typedef struct gyre_mutex mutex_type;
#define LOCK gyre_mutex_lock
#define UNLOCK gyre_mutex_unlock
#else
typedef pthread_mutex_t mutex_type;
#define LOCK pthread_mutex_lock
#define UNLOCK pthread_mutex_unlock
#endif

#define THREADS_MAX 8

static mutex_type mutex;
static volatile unsigned long counter;
static unsigned long ops;
static unsigned senders, receivers;

static double now_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void threads_run(unsigned count, void *(*run)(void *number))
{
	pthread_t threads[THREADS_MAX];

	for (size_t i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i))
			abort();
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void *lock_often(void *number)
{
	for (unsigned long i = 0; i < ops / senders; i++) {
		LOCK(&mutex);
		counter++;
		UNLOCK(&mutex);
	}
	return number;
}

static void *blocks_often(void *number)
{
	for (unsigned long i = 0; i < ops / senders; i++) {
		void *block = malloc(256);

		__asm__ volatile("" : : "r"(block) : "memory");
		free(block);
	}
	return number;
}

#ifdef GYRE
static struct gyre_chan *chan, *chans[4];
static struct gyre_pool *pool;

static void *send_or_receive(void *number)
{
	long value = 0;

	if ((size_t)number < senders)
		for (unsigned long i = 0; i < ops / senders; i++)
			gyre_chan_send(chan, &value);
	else
		for (unsigned long i = 0; i < ops / receivers; i++)
			gyre_chan_recv(chan, &value);
	return NULL;
}

static void *select_run(void *number)
{
	struct gyre_case cases[4];
	long value = 0;

	if ((size_t)number) {
		for (unsigned long i = 0; i < ops; i++)
			gyre_chan_send(chans[i % 4], &value);
		return NULL;
	}
	for (unsigned i = 0; i < 4; i++)
		cases[i] = (struct gyre_case){chans[i], &value, GYRE_RECV, false};
	for (unsigned long i = 0; i < ops; i++)
		gyre_select(cases, 4, GYRE_FOREVER);
	return NULL;
}

static void select_alone(void)
{
	struct gyre_case cases[4];
	long value = 0;

	for (unsigned i = 0; i < 4; i++) {
		cases[i] = (struct gyre_case){chans[i], &value, GYRE_RECV, false};
		gyre_chan_send(chans[i], &value);
	}
	for (unsigned long i = 0; i < ops; i++)
		gyre_chan_send(chans[gyre_select(cases, 4, GYRE_FOREVER)], &value);
}

static void *make(void *unused)
{
	(void)unused;
	return malloc(256);
}

static void *pool_often(void *number)
{
	for (unsigned long i = 0; i < ops / senders; i++)
		gyre_pool_put(pool, gyre_pool_get(pool));
	return number;
}

static void chan_alone(void)
{
	long value = 0;

	for (unsigned long i = 0; i < ops; i++) {
		gyre_chan_send(chan, &value);
		gyre_chan_recv(chan, &value);
	}
}

/* chan-CAPACITY-SENDERS-RECEIVERS, select-CAPACITY, pool-THREADS */
static int gyre_case(const char *name)
{
	unsigned capacity;

	if (sscanf(name, "chan-%u-%u-%u", &capacity, &senders, &receivers) == 3) {
		chan = gyre_chan_new(sizeof(long), capacity, GYRE_PLAIN);
		if (senders)
			threads_run(senders + receivers, send_or_receive);
		else
			chan_alone();
	} else if (sscanf(name, "select-%u", &capacity) == 1) {
		for (unsigned i = 0; i < 4; i++)
			chans[i] = gyre_chan_new(sizeof(long), capacity, GYRE_PLAIN);
		threads_run(2, select_run);
	} else if (!strcmp(name, "select-alone")) {
		for (unsigned i = 0; i < 4; i++)
			chans[i] = gyre_chan_new(sizeof(long), 4, GYRE_PLAIN);
		select_alone();
	} else if (sscanf(name, "pool-%u", &senders) == 1) {
		pool = gyre_pool_new(GYRE_PLAIN, make, NULL, NULL);
		threads_run(senders, pool_often);
	} else {
		return 0;
	}
	return 1;
}
#else
static int gyre_case(const char *name)
{
	(void)name;
	return 0;
}
#endif

int main(int argc, char **argv)
{
	const char *name = argc > 2 ? argv[1] : "";
	double begin = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);

	(void)receivers;
	ops = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	if (sscanf(name, "mutex-%u", &senders) == 1)
		threads_run(senders, lock_often);
	else if (sscanf(name, "malloc-%u", &senders) == 1)
		threads_run(senders, blocks_often);
	else if (!gyre_case(name))
		return 2;
	printf("%.2f %.2f\n", (now_ns(CLOCK_MONOTONIC) - begin) / (double)ops,
	       (now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)ops);
	return 0;
}
