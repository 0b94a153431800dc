/* A pool that recycles objects, and does not keep them for ever.
 *
 * Requests need a buffer each, for a short time. Made anew for each they cost the collector work; kept
 * in a list they would never go. The pool keeps those that came back in two generations: a buffer that
 * nobody took out of the older one for a whole cycle is dropped, and collected. That a cycle has passed
 * is told by a cleanup on an object that nobody holds: when it has gone, the next one is made.
 */
#include <gyre/gc.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define REQUESTS 200000
#define BUFFER_BYTES 4000u
#define AT_ONCE 8

struct buffer {
	struct buffer *next; /* in the pool */
	unsigned uses;
	char bytes[BUFFER_BYTES];
};

/* Both lists are roots: they are globals. */
static struct {
	pthread_mutex_t lock;
	struct buffer *young, *old;
	unsigned long made, reused, cycles;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const struct gyre_type buffer_type = GYRE_TYPE(struct buffer, next);

static struct buffer *pool_get(void)
{
	struct buffer *buffer;

	pthread_mutex_lock(&pool.lock);
	buffer = pool.young ? pool.young : pool.old;
	if (buffer) {
		if (buffer == pool.young)
			pool.young = buffer->next;
		else
			pool.old = buffer->next;
		gyre_set(&buffer->next, NULL);
		pool.reused++;
	} else {
		pool.made++;
	}
	pthread_mutex_unlock(&pool.lock);
	return buffer ? buffer : gyre_new(&buffer_type);
}

static void pool_put(struct buffer *buffer)
{
	pthread_mutex_lock(&pool.lock);
	gyre_set(&buffer->next, pool.young);
	pool.young = buffer;
	pthread_mutex_unlock(&pool.lock);
}

/* Once a cycle: the old generation is dropped, the young one grows old. */
static void pool_age(void *unused)
{
	void *canary = gyre_new_leaf(1);

	(void)unused;
	pthread_mutex_lock(&pool.lock);
	pool.old = pool.young;
	pool.young = NULL;
	pool.cycles++;
	pthread_mutex_unlock(&pool.lock);
	if (canary)
		gyre_cleanup_add(canary, pool_age, NULL);
}

static __attribute__((noinline)) void serve(void)
{
	struct buffer *held[AT_ONCE];

	for (int i = 0; i < REQUESTS; i += AT_ONCE) {
		for (int j = 0; j < AT_ONCE; j++) {
			held[j] = pool_get();
			held[j]->uses++;
			memset(held[j]->bytes, j, 64);
		}
		for (int j = 0; j < AT_ONCE; j++)
			pool_put(held[j]);
	}
	memset(held, 0, sizeof(held));
}

static uint64_t live_bytes(void)
{
	struct gyre_gc_stats stats;

	gyre_gc_run();
	gyre_finalisers_wait();
	gyre_gc_stats(&stats);
	return stats.heap_live_bytes;
}

int main(void)
{
	uint64_t first, last = 0;

	pool_age(NULL);
	serve();
	printf("%d requests: %lu buffers made, %lu times one was used again\n", REQUESTS, pool.made,
	       pool.reused);
	first = live_bytes();
	for (int i = 0; i < 4; i++) /* idle */
		last = live_bytes();
	printf("%llu bytes live, after some idle cycles %llu\n", (unsigned long long)first,
	       (unsigned long long)last);
	return pool.made + pool.reused == REQUESTS && pool.made <= 1000 &&
			       last < AT_ONCE * BUFFER_BYTES / 2
		       ? 0
		       : 1;
}
