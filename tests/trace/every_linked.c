/* every_linked.c - a program whose every allocation, free and barrier hit is to be counted.
 *
 * One command a line on stdin; when it is done, a line `done ...` on stdout. Lines are read and
 * written by system calls into static buffers: nothing is allocated in between.
 *
 *      work THREADS EVENTS   so many threads allocate and free of all sizes, hand blocks over to
 *                            each other, and end; done MALLOCS FREES
 *      load THREADS          the same without an end;  unload: it ends; done MALLOCS FREES
 *      pass                  done ROUNDS made by the load so far
 *      hold N BYTES MS       N blocks live for MS milliseconds
 *      thread                a thread that stays; done TID
 *      by N BYTES            that thread allocates and frees N blocks
 *      graph N               N objects of the collector's, linked, held by a global
 *      barrier THREADS N     threads store into them, each at least N times, while cycles run
 *      quit
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <gyre/gc.h>
#include <gyre/gyre.h>

#define THREADS_MAX 16
#define SLOTS 256

static struct {
	uint64_t mallocs, frees;
	char pad[112];
} counts[THREADS_MAX];
static pthread_t handles[THREADS_MAX];
static _Atomic(void *) shared[SLOTS];
static uint64_t events_each; /* 0: until `stopping` */
static atomic_bool stopping;
static size_t running;

static void answer(const char *word, uint64_t a, uint64_t b)
{
	char line[128];
	int length = snprintf(line, sizeof(line), "%s %lu %lu\n", word, a, b);

	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		_exit(1);
}

/* ---------------------------------------------------------------- malloc and free */

static size_t size_of(uint64_t seed)
{
	uint64_t draw = seed >> 33;

	if (draw % 2048 == 0)
		return 40000 + draw % 100000; /* a large one */
	return 1 + (draw >> 11) % (draw % 16 ? 600 : 20000);
}

static void *thread_run(void *argument)
{
	size_t self = (size_t)(uintptr_t)argument;
	void *own[SLOTS] = {0};
	uint64_t seed = self + 1, events = 0;

	while (!atomic_load_explicit(&stopping, memory_order_relaxed) &&
	       (!events_each || events < events_each)) {
		size_t slot;
		void *block;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		slot = seed >> 50 & (SLOTS - 1);
		block = own[slot];
		own[slot] = malloc(size_of(seed));
		if (!own[slot])
			abort();
		counts[self].mallocs++;
		events++;
		if (block && seed >> 60 == 0) /* one in sixteen goes to whoever comes next */
			block = atomic_exchange(&shared[slot], block);
		if (!block)
			continue;
		free(block);
		counts[self].frees++;
		events++;
	}
	for (size_t i = 0; i < SLOTS; i++)
		if (own[i]) {
			free(own[i]);
			counts[self].frees++;
		}
	return NULL;
}

static void threads_begin(size_t threads, uint64_t events)
{
	running = threads < THREADS_MAX ? threads : THREADS_MAX;
	events_each = running ? events / running : 0;
	memset(counts, 0, sizeof(counts));
	atomic_store(&stopping, false);
	for (size_t i = 0; i < running; i++)
		if (pthread_create(&handles[i], NULL, thread_run, (void *)(uintptr_t)i))
			_exit(2);
}

static void threads_end(bool at_once)
{
	uint64_t mallocs = 0, frees = 0;

	atomic_store(&stopping, at_once);
	for (size_t i = 0; i < running; i++)
		pthread_join(handles[i], NULL);
	for (size_t i = 0; i < running; i++) {
		mallocs += counts[i].mallocs;
		frees += counts[i].frees;
	}
	for (size_t i = 0; i < SLOTS; i++) {
		void *block = atomic_exchange(&shared[i], NULL);

		if (block) {
			free(block);
			frees++;
		}
	}
	answer("done", mallocs, frees);
}

static uint64_t rounds(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < running; i++)
		sum += *(volatile uint64_t *)&counts[i].mallocs;
	return sum;
}

static void nap_ms(uint64_t ms)
{
	struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

	nanosleep(&time, NULL);
}

__attribute__((noinline)) void hold(size_t count, size_t bytes, uint64_t ms)
{
	static void *blocks[10000];

	count = count < 10000 ? count : 10000;
	for (size_t i = 0; i < count; i++)
		blocks[i] = malloc(bytes);
	nap_ms(ms);
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
}

/* ---------------------------------------------------------------- one thread that stays */

static struct {
	pthread_t thread;
	atomic_uint tid, asked, made;
	size_t count, bytes;
} stays;

__attribute__((noinline)) void made_by_the_thread(void)
{
	for (size_t i = 0; i < stays.count; i++) {
		char *block = malloc(stays.bytes);

		*(volatile char *)block = 1;
		free(block);
	}
}

static void *stay(void *unused)
{
	atomic_store(&stays.tid, (unsigned int)syscall(SYS_gettid));
	for (;;) {
		while (atomic_load(&stays.made) == atomic_load(&stays.asked))
			nap_ms(1);
		made_by_the_thread();
		atomic_fetch_add(&stays.made, 1);
	}
	return unused;
}

static uint64_t stay_begin(void)
{
	if (pthread_create(&stays.thread, NULL, stay, NULL))
		_exit(2);
	while (!atomic_load(&stays.tid))
		nap_ms(1);
	return atomic_load(&stays.tid);
}

static void stay_work(size_t count, size_t bytes)
{
	stays.count = count;
	stays.bytes = bytes;
	atomic_fetch_add(&stays.asked, 1);
	while (atomic_load(&stays.made) != atomic_load(&stays.asked))
		nap_ms(1);
}

/* ---------------------------------------------------------------- the collector's barrier */

struct node {
	struct node *next, *other;
	long value[2];
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, next, other);
#define SHADES_LEAST 1000 /* of one `barrier`, on however busy a machine */
static struct node *list;
static atomic_uint storing;
static atomic_bool enough;

static void graph(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct node *node = gyre_new(&node_type);

		if (!node)
			_exit(3);
		gyre_set(&node->next, list);
		list = node;
	}
}

__attribute__((noinline)) void store_into(uint64_t stores)
{
	uint64_t done = 0;

	while (done < stores)
		for (struct node *at = list; at && done < stores; at = at->next, done++)
			gyre_set(&at->other, done & 1 ? at : NULL);
}

static void *store_run(void *argument)
{
	do {
		store_into((uint64_t)(uintptr_t)argument);
	} while (!atomic_load(&enough));
	atomic_fetch_sub(&storing, 1);
	return NULL;
}

static uint64_t shades(void)
{
	struct gyre_gc_stats stats;

	gyre_gc_stats_read(&stats, sizeof(stats));
	return stats.barrier_shades;
}

static void barrier(size_t threads, uint64_t stores)
{
	uint64_t before;

	threads = threads < THREADS_MAX ? threads : THREADS_MAX;
	atomic_store(&storing, (unsigned int)threads);
	atomic_store(&enough, false);
	before = shades();
	for (size_t i = 0; i < threads; i++)
		if (pthread_create(&handles[i], NULL, store_run, (void *)(uintptr_t)stores))
			_exit(2);
	while (atomic_load(&storing))
		if (gyre_gc_run() || shades() - before >= SHADES_LEAST)
			atomic_store(&enough, true);
	for (size_t i = 0; i < threads; i++)
		pthread_join(handles[i], NULL);
	answer("done", threads * stores, 0);
}

static void obey(const char *command, uint64_t a, uint64_t b, uint64_t c)
{
	if (!strcmp(command, "work")) {
		threads_begin(a, b);
		threads_end(false);
		return;
	}
	if (!strcmp(command, "unload")) {
		threads_end(true);
		return;
	}
	if (!strcmp(command, "barrier")) {
		barrier(a, b);
		return;
	}
	if (!strcmp(command, "pass")) {
		answer("done", rounds(), 0);
		return;
	}
	if (!strcmp(command, "thread")) {
		answer("done", stay_begin(), 0);
		return;
	}
	if (!strcmp(command, "load"))
		threads_begin(a, 0);
	else if (!strcmp(command, "hold"))
		hold(a, b, c);
	else if (!strcmp(command, "by"))
		stay_work(a, b);
	else if (!strcmp(command, "graph"))
		graph(a);
	answer("done", 0, 0);
}

int main(void)
{
	static char line[256];
	size_t used = 0;

	free(malloc(100)); /* from here on there is a control page */
	answer("ready", (uint64_t)getpid(), 0);
	for (;;) {
		char command[16] = "";
		uint64_t a = 0, b = 0, c = 0;

		if (used == sizeof(line) - 1 || read(STDIN_FILENO, line + used, 1) != 1)
			return 0;
		if (line[used++] != '\n')
			continue;
		line[used] = 0;
		used = 0;
		sscanf(line, "%15s %lu %lu %lu", command, &a, &b, &c);
		if (!strcmp(command, "quit"))
			return 0;
		obey(command, a, b, c);
	}
}
