/* pauses.c - how long the collector stops a process of many threads.
 *
 *	pauses [mib=500] [threads=64] [waiting=32] [seconds=10] [collections=200] [list=0]
 *
 * `waiting` of the threads lie in epoll_wait or nanosleep, the others replace chains of nodes in a
 * heap of `mib` MiB of small objects as fast as they can; so with two CPUs most threads that are to
 * be stopped are runnable and not running. The first thread asks for collection after collection,
 * until one of the two limits; the pause of each cycle is what the collector says of it. With
 * list=1 each is printed, in ns, one a line, before the sums: pauses.sh adds up those of many runs.
 * Operations: cycles.
 */
#include "collector.h"

#include <sys/epoll.h>

struct node {
	struct node *next, *other;
	uint64_t numbers[6];
};
TYPE(node, next, other);

#define CHAIN 8u
#define RECORDS_MAX 100000u

static struct node ***tables; /* one table of chains for each thread that works */
static uint64_t slots_each;
static unsigned working;
static uint32_t end;
static uint64_t chains_replaced;

static struct node *chain_new(uint64_t number, struct node *other)
{
	struct node *head = NULL;

	for (unsigned i = 0; i < CHAIN; i++) {
		struct node *node = NEW(node);

		node->numbers[0] = number + i;
		SET(&node->next, head);
		SET(&node->other, other);
		head = node;
	}
	return head;
}

static void chain_free(struct node *node)
{
	while (node) {
		struct node *next = node->next;

		free(node);
		node = next;
	}
}

static void *fill(void *number)
{
	struct node **table = NEW_POINTERS(slots_each);

	for (uint64_t i = 0; i < slots_each; i++)
		SET(&table[i], chain_new(i, NULL));
	SET(&tables[(uintptr_t)number], table);
	return NULL;
}

static void *replace(void *number)
{
	struct bench_rng rng = bench_rng_begin(3 + (uintptr_t)number);
	struct node **table = tables[(uintptr_t)number];
	uint64_t done = 0;

	while (!__atomic_load_n(&end, __ATOMIC_RELAXED)) {
		struct node **slot = &table[bench_below(&rng, slots_each)];
		struct node *old = *slot;

		SET(slot, chain_new(done++, NULL));
		if (GC_MANUAL)
			chain_free(old);
	}
	__atomic_add_fetch(&chains_replaced, done, __ATOMIC_RELAXED);
	return NULL;
}

static void *lie(void *number)
{
	int poll = epoll_create1(EPOLL_CLOEXEC);

	if (poll < 0)
		bench_die("epoll_create1");
	while (!__atomic_load_n(&end, __ATOMIC_RELAXED)) {
		struct epoll_event event;
		struct timespec wait = {0, 200000000};

		if ((uintptr_t)number % 2)
			epoll_wait(poll, &event, 1, 200);
		else
			nanosleep(&wait, NULL);
	}
	close(poll);
	return NULL;
}

static void *run(void *number)
{
	return (uintptr_t)number < working ? replace(number) : lie(number);
}

/* ---- the pauses ---- */

static uint64_t *pauses; /* not in the program's data, which each pause scans */
static size_t pause_count;

/* Of the collection that has just ended, or of one that has begun since. */
static void record(void)
{
	struct gc_figures now = gc_read();

	if (pause_count < RECORDS_MAX)
		pauses[pause_count++] = now.pause_last_ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double pause_us(double share)
{
	size_t at = (size_t)(share * (double)pause_count);

	return pause_count ? (double)pauses[at < pause_count ? at : pause_count - 1] / 1e3 : 0;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_clock clock;
	pthread_t threads[GC_THREADS_MAX];
	uint64_t mib, seconds, collections, until_ns, list, under = 0;
	unsigned count, waiting;

	mib = bench_arg_u64(&args, "mib", 500);
	count = gc_arg_threads(&args, 64);
	waiting = (unsigned)bench_arg_u64(&args, "waiting", 32);
	seconds = bench_arg_u64(&args, "seconds", 10);
	collections = bench_arg_u64(&args, "collections", 200);
	list = bench_arg_u64(&args, "list", 0);
	bench_args_end(&args);
	if (waiting >= count) {
		fprintf(stderr, "bench: waiting: below threads\n");
		return 2;
	}
	working = count - waiting;
	slots_each = (mib << 20) / (CHAIN * sizeof(struct node) + sizeof(void *)) / working;
	pauses = malloc(RECORDS_MAX * sizeof(*pauses));
	if (!pauses)
		bench_die("malloc");
	gc_begin();
	tables = NEW_POINTERS(working);
	gc_threads(working, fill);
	for (unsigned i = 0; i < count; i++) {
		if (pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) != 0)
			bench_die("pthread_create");
	}
	gc_collect();
	clock = bench_begin();
	until_ns = gc_now_ns() + seconds * 1000000000u;
	for (uint64_t i = 0; i < collections && gc_now_ns() < until_ns; i++) {
		gc_collect();
		record();
	}
	__atomic_store_n(&end, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; list && i < pause_count; i++)
		printf("%llu\n", (unsigned long long)pauses[i]);
	qsort(pauses, pause_count, sizeof(*pauses), compare);
	for (size_t i = 0; i < pause_count; i++)
		under += pauses[i] < 1000000;
	printf("stop_p50_us=%.1f stop_p90_us=%.1f stop_p99_us=%.1f stop_longest_us=%.1f "
	       "under_1ms=%.4f chains=%llu ",
	       pause_us(0.5), pause_us(0.9), pause_us(0.99), pause_us(1),
	       pause_count ? (double)under / (double)pause_count : 1,
	       (unsigned long long)chains_replaced);
	gc_end(&clock, (double)pause_count, 0);
	return 0;
}
