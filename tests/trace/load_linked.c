/* load_linked.c - a load with known sums: threads allocate, hand over and free at full speed.
 *
 *      load_linked THREADS
 *
 * Commands on stdin: `stop` ends the load, compares what the threads counted with what the library
 * counted, and answers `done MALLOCS STATS_MALLOCS FREES STATS_FREES`; `pass` answers at once with
 * the rounds made so far. Each block carries its size and a pattern, checked before it is freed: a
 * probe that damaged a register or the red zone would show.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gyre/gyre.h>

#define THREADS_MAX 16
#define SLOTS 256

static struct {
	uint64_t mallocs, frees, damaged;
	char pad[64];
} counts[THREADS_MAX];
static _Atomic(uint64_t *) shared[SLOTS]; /* blocks on their way to another thread */
static atomic_bool stopping;
static atomic_uint waiting, finished;
static pthread_barrier_t begin;

static uint64_t *make(uint64_t seed)
{
	size_t words = 2 + seed % 97;
	uint64_t *block;

	if (seed % 4096 == 0)
		words = 8192; /* 64 KiB: a large one */
	block = malloc(words * sizeof(*block));
	if (!block)
		abort();
	block[0] = words;
	block[words - 1] = words == 2 ? ~words : words * 0x9e3779b97f4a7c15ull;
	return block;
}

static int check(const uint64_t *block)
{
	uint64_t words = block[0];

	return block[words - 1] == (words == 2 ? ~words : words * 0x9e3779b97f4a7c15ull);
}

static void *thread_run(void *argument)
{
	size_t self = (size_t)(uintptr_t)argument;
	uint64_t *own[SLOTS] = {0}, seed = self + 1;

	pthread_barrier_wait(&begin);
	while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
		uint64_t *block;
		size_t slot;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		slot = seed >> 33 & (SLOTS - 1);
		block = own[slot];
		own[slot] = make(seed >> 20);
		counts[self].mallocs++;
		if (block && seed >> 60 == 0) /* one in sixteen goes to whoever comes next */
			block = atomic_exchange(&shared[slot], block);
		if (!block)
			continue;
		counts[self].damaged += !check(block);
		free(block);
		counts[self].frees++;
	}
	for (size_t i = 0; i < SLOTS; i++)
		if (own[i]) {
			free(own[i]);
			counts[self].frees++;
		}
	atomic_fetch_add(&finished, 1);
	/* The thread's end frees things of libc's: wait until the numbers are read. */
	while (atomic_load(&waiting))
		usleep(1000);
	return NULL;
}

static void report(size_t threads, const struct gyre_stats *before)
{
	uint64_t mallocs = 0, frees = 0, damaged = 0;
	struct gyre_stats after;

	while (atomic_load(&finished) < threads)
		usleep(1000);
	for (size_t i = 0; i < SLOTS; i++)
		if (shared[i]) {
			free(shared[i]);
			frees++;
		}
	gyre_stats_read(&after, sizeof(after));
	for (size_t i = 0; i < threads; i++) {
		mallocs += counts[i].mallocs;
		frees += counts[i].frees;
		damaged += counts[i].damaged;
	}
	printf("done %lu %lu %lu %lu %lu\n", mallocs, after.mallocs - before->mallocs, frees,
	       after.frees - before->frees, damaged);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	size_t threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 2;
	static char input[4096], output[4096];
	pthread_t handles[THREADS_MAX];
	struct gyre_stats before;
	char line[64];

	/* stdio would allocate its buffers between the two looks at the statistics. */
	setvbuf(stdin, input, _IOFBF, sizeof(input));
	setvbuf(stdout, output, _IOFBF, sizeof(output));
	threads = threads < THREADS_MAX ? threads : THREADS_MAX;
	pthread_barrier_init(&begin, NULL, (unsigned int)threads + 1);
	atomic_store(&waiting, 1);
	/* libc allocates for the library's background thread when that starts: let it be now. */
	for (int i = 0; i < 100; i++)
		free(make(4096));
	for (size_t i = 0; i < threads; i++)
		pthread_create(&handles[i], NULL, thread_run, (void *)(uintptr_t)i);
	printf("ready %d\n", getpid());
	fflush(stdout);
	gyre_stats_read(&before, sizeof(before));
	pthread_barrier_wait(&begin);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t made = 0;

		if (!strncmp(line, "stop", 4)) {
			atomic_store(&stopping, true);
			report(threads, &before);
			break;
		}
		for (size_t i = 0; i < threads; i++)
			made += *(volatile uint64_t *)&counts[i].mallocs;
		printf("done %lu\n", made);
		fflush(stdout);
	}
	atomic_store(&stopping, true);
	atomic_store(&waiting, 0);
	for (size_t i = 0; i < threads; i++)
		pthread_join(handles[i], NULL);
	return 0;
}
