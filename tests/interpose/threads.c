/* threads.c - a thousand threads that come and go: all at once, and in waves.
 *
 *   threads [ROUNDS [THREADS]]
 *
 * Each thread allocates, gives some blocks to others, frees what it was given, and ends, leaving
 * nothing of its own behind but blocks that later threads free. What a process of this kind uses
 * must not grow from round to round: thread structures and caches are used again.
 */
#include "interpose/tap.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { SLOTS = 4096, BLOCKS = 40, ALLOWED_GROWTH_KIB = 8 << 10 };

static void *slots[SLOTS];
static unsigned bad;
static pthread_rwlock_t gate =
	PTHREAD_RWLOCK_INITIALIZER; /* opened when a round's threads all live */

static void check_and_free(unsigned char *block)
{
	if (!block)
		return;
	/* size in the first 4 bytes, the rest filled with its low byte */
	uint32_t bytes;

	memcpy(&bytes, block, 4);
	for (uint32_t i = 4; i < bytes; i++)
		if (block[i] != (unsigned char)bytes) {
			__atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
			break;
		}
	free(block);
}

static unsigned char *fresh(struct rng *rng)
{
	uint32_t bytes = 4 + (uint32_t)rng_below(rng, rng_below(rng, 20) ? 600 : 20000);
	unsigned char *block = malloc(bytes);

	if (!block) {
		__atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
		return NULL;
	}
	memcpy(block, &bytes, 4);
	memset(block + 4, (int)(unsigned char)bytes, bytes - 4);
	return block;
}

static void *visitor(void *argument)
{
	struct rng rng = {(uintptr_t)argument};
	unsigned char *own[BLOCKS];

	for (unsigned i = 0; i < BLOCKS; i++)
		own[i] = fresh(&rng);
	pthread_rwlock_rdlock(&gate);
	pthread_rwlock_unlock(&gate);
	for (unsigned i = 0; i < BLOCKS; i++) {
		void **slot = &slots[rng_below(&rng, SLOTS)];

		check_and_free(__atomic_exchange_n(slot, own[i], __ATOMIC_ACQ_REL));
	}
	return NULL;
}

static long resident_kib(void)
{
	long pages = 0, total = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%ld %ld", &total, &pages) != 2)
		pages = -1;
	if (file)
		fclose(file);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* All of the threads alive together, then all joined. */
static bool crowd(unsigned count, unsigned seed)
{
	pthread_t *threads = malloc(count * sizeof(*threads));
	pthread_attr_t attributes;
	unsigned started = 0;

	pthread_rwlock_wrlock(&gate);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 << 10);
	while (threads && started < count &&
	       !pthread_create(&threads[started], &attributes, visitor,
			       (void *)(uintptr_t)(seed * 100003 + started + 1)))
		started++;
	pthread_rwlock_unlock(&gate);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_attr_destroy(&attributes);
	free(threads);
	return started == count;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 24;
	unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 1000;
	long before = 0, after;
	char name[100];

	snprintf(name, sizeof(name), "%u rounds of %u threads keep their blocks whole", rounds,
		 count);
	group(name);
	for (unsigned round = 0; round < rounds; round++) {
		EXPECT(crowd(count, round), "round %u: a thread could not start", round);
		/* By then every class has met its share of the survivors: what comes after is growth. */
		if (round == rounds / 2)
			before = resident_kib();
	}
	EXPECT(!bad, "%u blocks damaged", bad);
	group_end();

	after = resident_kib();
	group("memory does not grow from round to round");
	EXPECT(after - before < ALLOWED_GROWTH_KIB,
	       "%ld KiB after half of the rounds, %ld KiB at the end", before, after);
	group_end();
	for (unsigned i = 0; i < SLOTS; i++)
		check_and_free(slots[i]);
	return tap_all_failures != 0;
}
