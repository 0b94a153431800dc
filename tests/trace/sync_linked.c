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
static pid_t sender_tid, locker_tid;
static long about_to_lock, unlocked;

static void nap_ms(long ms)
{
	struct timespec time = {0, ms * 1000000};

	nanosleep(&time, NULL);
}

/* Returns once that thread of ours sleeps. */
static void await_sleep(pid_t thread)
{
	char path[64], line[512], state = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
	while (state != 'S') {
		FILE *file = fopen(path, "r");
		const char *end = file && fgets(line, sizeof(line), file) ? strrchr(line, ')') : 0;

		state = end ? end[2] : 0;
		if (file)
			fclose(file);
		nap_ms(1);
	}
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
	__atomic_store_n(&sender_tid, gettid(), __ATOMIC_RELEASE);
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

	sender_tid = 0;
	pthread_create(&sender, NULL, send_all, (void *)count);
	while (!__atomic_load_n(&sender_tid, __ATOMIC_ACQUIRE))
		nap_ms(1);
	await_sleep(sender_tid); /* in its first send */
	nap_ms(4);
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
		while (__atomic_load_n(&about_to_lock, __ATOMIC_ACQUIRE) <= i)
			nap_ms(1);
		await_sleep(locker_tid);
		nap_ms(2);
		gyre_mutex_unlock(&mutex);
		while (__atomic_load_n(&unlocked, __ATOMIC_ACQUIRE) <= i)
			nap_ms(1);
	}
	return NULL;
}

static void contend(long count)
{
	pthread_t holder;

	locker_tid = gettid();
	about_to_lock = unlocked = 0;
	pthread_create(&holder, NULL, hold, (void *)count);
	for (long i = 0; i < count; i++) {
		gyre_semaphore_acquire(&locked, 1);
		__atomic_store_n(&about_to_lock, i + 1, __ATOMIC_RELEASE);
		gyre_mutex_lock(&mutex);
		gyre_mutex_unlock(&mutex);
		__atomic_store_n(&unlocked, i + 1, __ATOMIC_RELEASE);
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
