/* rendezvous_linked.c - threads that meet, a great many times; a wake-up that is lost shows as a hang.
 *
 *	rendezvous_linked KIND COUNT
 *
 * chan        one sends, one receives, no buffer: each element a meeting
 * pairs       the same with four threads on one channel, two of each
 * select      one sends on three channels by turns, one selects over them
 * semaphore   two threads, two semaphores, by turns
 * cond        two threads, a mutex and two conditions, by turns
 * mutex       four threads count under one mutex
 * rwmutex     four threads, one in four writes
 * Prints how many meetings there were. A watchdog tells who waits where, after two minutes without one.
 */
#include <gyre/sync.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long count, met; /* met: by one thread at a time, or atomically */
static struct gyre_chan *chans[3];
static struct gyre_semaphore turns[2];
static struct gyre_mutex mutex;
static struct gyre_rwmutex rwmutex;
static struct gyre_cond conds[2];
static unsigned turn;

static void *watch(void *unused)
{
	unsigned long before = 0, now;
	int quiet = 0;

	while (quiet < 120) {
		sleep(1);
		now = __atomic_load_n(&met, __ATOMIC_RELAXED);
		quiet = now == before ? quiet + 1 : 0;
		before = now;
	}
	printf("lost: nobody has met for two minutes, after %lu\n", before);
	fflush(stdout);
	_exit(1);
	return unused;
}

static void tell(unsigned long more)
{
	__atomic_fetch_add(&met, more, __ATOMIC_RELAXED);
}

static void send_or_receive(bool send, unsigned long times)
{
	unsigned long value;

	for (unsigned long i = 0; i < times; i++) {
		if (send) {
			gyre_chan_send(chans[0], &i);
		} else {
			gyre_chan_recv(chans[0], &value);
			tell(1);
		}
	}
}

static void *chan_side(void *side)
{
	send_or_receive((size_t)side & 1, count);
	return NULL;
}

static void *pair_side(void *side)
{
	send_or_receive((size_t)side & 1, count / 2);
	return NULL;
}

static void *select_side(void *side)
{
	unsigned long value;
	struct gyre_case cases[3];

	for (unsigned i = 0; i < 3; i++)
		cases[i] = (struct gyre_case){chans[i], &value, GYRE_RECV, false};
	for (unsigned long i = 0; i < count; i++) {
		if ((size_t)side & 1) {
			gyre_chan_send(chans[i * 7 % 3], &i);
			continue;
		}
		if (gyre_select(cases, 3, GYRE_FOREVER) < 0 || value != i)
			abort();
		tell(1);
	}
	return NULL;
}

static void *semaphore_side(void *side)
{
	for (unsigned long i = 0; i < count; i++) {
		gyre_semaphore_acquire(&turns[(size_t)side & 1], 1);
		gyre_semaphore_release(&turns[~(size_t)side & 1], 1);
		if ((size_t)side & 1)
			tell(1);
	}
	return NULL;
}

static void *cond_side(void *side)
{
	unsigned self = (size_t)side & 1;

	gyre_mutex_lock(&mutex);
	for (unsigned long i = 0; i < count; i++) {
		while (turn != self)
			gyre_cond_wait(&conds[self], &mutex);
		turn = !self;
		gyre_cond_signal(&conds[!self]);
		if (self)
			tell(1);
	}
	gyre_mutex_unlock(&mutex);
	return NULL;
}

static void *mutex_side(void *side)
{
	for (unsigned long i = 0; i < count / 4; i++) {
		gyre_mutex_lock(&mutex);
		__atomic_store_n(&met, met + 1, __ATOMIC_RELAXED);
		gyre_mutex_unlock(&mutex);
	}
	return side;
}

static void *rwmutex_side(void *side)
{
	static unsigned long a, b;

	for (unsigned long i = 0; i < count / 4; i++) {
		if (i % 4 == 0) {
			gyre_rwmutex_write_lock(&rwmutex);
			a++, b++;
			gyre_rwmutex_write_unlock(&rwmutex);
		} else {
			gyre_rwmutex_read_lock(&rwmutex);
			if (a != b)
				abort();
			gyre_rwmutex_read_unlock(&rwmutex);
		}
		tell(1);
	}
	return side;
}

static const struct {
	const char *name;
	void *(*side)(void *side);
	unsigned threads;
} kinds[] = {
	{"chan", chan_side, 2},	    {"pairs", pair_side, 4}, {"select", select_side, 2},
	{"semaphore", semaphore_side, 2}, {"cond", cond_side, 2},  {"mutex", mutex_side, 4},
	{"rwmutex", rwmutex_side, 4},
};

int main(int argc, char **argv)
{
	pthread_t threads[4], watcher;

	count = argc > 2 ? strtoul(argv[2], NULL, 0) / 4 * 4 : 0;
	for (unsigned i = 0; i < 3; i++)
		chans[i] = gyre_chan_new(sizeof(long), 0, GYRE_PLAIN);
	gyre_semaphore_release(&turns[0], 1);
	pthread_create(&watcher, NULL, watch, NULL);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		if (argc < 2 || strcmp(kinds[k].name, argv[1]))
			continue;
		for (size_t i = 0; i < kinds[k].threads; i++)
			pthread_create(&threads[i], NULL, kinds[k].side,
				       (void *)i);
		for (size_t i = 0; i < kinds[k].threads; i++)
			pthread_join(threads[i], NULL);
		printf("%lu\n", met);
		return met == count ? 0 : 1;
	}
	return 2;
}
