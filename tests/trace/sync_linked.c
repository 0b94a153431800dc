/* sync_linked.c - a program whose every send, receive, wait, get and put is known.
 *
 * One command a line on stdin; when it is done, a line `done` on stdout.
 *
 *      buffered N   N elements through a buffer of one, in this thread alone
 *      meet N       N elements of 16 bytes through a channel without a buffer, from another thread
 *      select N     the same, received by a select over it and one that nobody sends to
 *      mutex N      N times this thread locks what another holds for some milliseconds more
 *      pool N       N times get and put, of a pool with one item
 *      quit
 */
#include <gyre/sync.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct gyre_chan *one, *none, *never;
static struct gyre_mutex mutex;
static struct gyre_semaphore locked;
static struct gyre_pool *pool;

static void nap_ms(long ms)
{
	struct timespec time = {0, ms * 1000000};

	nanosleep(&time, NULL);
}

static void buffered(long count)
{
	long value;

	for (long i = 0; i < count; i++) {
		gyre_chan_send(one, &i);
		gyre_chan_recv(one, &value);
	}
}

static void *send_all(void *argument)
{
	for (long i = 0; i < (long)argument; i++) {
		long element[2] = {i, i};

		gyre_chan_send(none, element);
	}
	return NULL;
}

static void meet(long count, int by_select)
{
	long element[2];
	struct gyre_case cases[2] = {{never, element, GYRE_RECV, false},
				     {none, element, GYRE_RECV, false}};
	pthread_t sender;

	pthread_create(&sender, NULL, send_all, (void *)count);
	nap_ms(5); /* now it waits */
	for (long i = 0; i < count; i++) {
		if (by_select)
			gyre_select(cases, 2, GYRE_FOREVER);
		else
			gyre_chan_recv(none, element);
	}
	pthread_join(sender, NULL);
}

static void *hold(void *argument)
{
	for (long i = 0; i < (long)argument; i++) {
		gyre_mutex_lock(&mutex);
		gyre_semaphore_release(&locked, 1);
		nap_ms(4);
		gyre_mutex_unlock(&mutex);
		nap_ms(4);
	}
	return NULL;
}

static void contend(long count)
{
	pthread_t holder;

	pthread_create(&holder, NULL, hold, (void *)count);
	for (long i = 0; i < count; i++) {
		gyre_semaphore_acquire(&locked, 1);
		gyre_mutex_lock(&mutex);
		gyre_mutex_unlock(&mutex);
	}
	pthread_join(holder, NULL);
}

static void *make(void *argument)
{
	return argument;
}

static void get_and_put(long count)
{
	for (long i = 0; i < count; i++)
		gyre_pool_put(pool, gyre_pool_get(pool));
}

int main(void)
{
	char line[64];

	one = gyre_chan_new(8, 1, GYRE_PLAIN);
	none = gyre_chan_new(16, 0, GYRE_PLAIN);
	never = gyre_chan_new(16, 0, GYRE_PLAIN);
	pool = gyre_pool_new(GYRE_PLAIN, make, NULL, &mutex);
	if (!one || !none || !never || !pool)
		return 1;
	printf("ready %d\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		char command[16] = "";
		long count = 0;

		if (sscanf(line, "%15s %ld", command, &count) < 1 || !strcmp(command, "quit"))
			break;
		if (!strcmp(command, "buffered"))
			buffered(count);
		else if (!strcmp(command, "meet") || !strcmp(command, "select"))
			meet(count, command[0] == 's');
		else if (!strcmp(command, "mutex"))
			contend(count);
		else if (!strcmp(command, "pool"))
			get_and_put(count);
		puts("done");
		fflush(stdout);
	}
	return 0;
}
