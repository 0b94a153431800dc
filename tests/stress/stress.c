/* stress.c - threads, sizes and frees from other threads, at random, against a shadow of memory.
 *
 *   stress [-s SECONDS] [-t THREADS] [-r SEED] [-m LIVE_MIB]
 *
 * What it would notice:
 *
 *   two live blocks that overlap   A shadow holds one bit for each 8 bytes of the address space
 *                                  that are in a live block, usable tail included. A block's bits
 *                                  are set after malloc returned and cleared before free is called,
 *                                  by atomic or and and: a bit that is set already is in two live
 *                                  blocks at once.
 *   a block that was written to    Each is filled with a pattern of its own (whole to 4 KiB,
 *                                  sparsely above), checked when it is resized and freed, by
 *                                  whichever thread does that.
 *   calloc that does not zero, alignment that is not kept, usable size below the request, realloc
 *   that loses contents.
 *   memory that never comes back   With nothing live, the heap's own count of live bytes is near 0.
 *
 * Blocks live in a table of slots that all threads share, so most are freed by another thread than
 * the one that made them. Besides the steady workers there are: producers and consumers joined by a
 * ring, threads that live for a moment, and threads that fall idle with a full cache and wake
 * again. Now and then one calls malloc_trim.
 *
 * The seed is printed; the same seed makes the same requests in each thread, if not the same
 * schedule.
 */
#include "interpose/tap.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum {
	SLOTS = 16384,
	RING = 1024,
	WHOLE = 4096, /* filled wholly up to this many bytes */
	CHUNK_SHIFT = 21,
	CHUNK_WORDS = (1 << CHUNK_SHIFT) / 8 / 64,
	MOMENT_OPERATIONS = 3000,
};

struct slot {
	unsigned char *block; /* [busy] */
	size_t bytes, usable; /* [busy] */
	unsigned seed;        /* [busy] */
	bool busy;            /* [atomic] taken by exchange */
};

static struct slot slots[SLOTS];
static struct slot ring[RING];
static volatile bool stop;
static long live_bytes, live_limit = 192l << 20;
static unsigned long operations, refused;
static unsigned errors;
static uint64_t **shadow;
static void (*sized_free)(void *, size_t);

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
	char line[300];
	va_list arguments;

	if (__atomic_fetch_add(&errors, 1, __ATOMIC_RELAXED) > 20)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	say("# %s\n", line);
}

/* ---- the shadow ---- */

static uint64_t *shadow_chunk(uintptr_t address)
{
	uint64_t **place = &shadow[address >> CHUNK_SHIFT];
	uint64_t *chunk = __atomic_load_n(place, __ATOMIC_ACQUIRE);

	if (!chunk) {
		uint64_t *fresh = mmap(NULL, CHUNK_WORDS * 8, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (fresh == MAP_FAILED)
			_exit(98);
		if (__atomic_compare_exchange_n(place, &chunk, fresh, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return fresh;
		munmap(fresh, CHUNK_WORDS * 8);
	}
	return chunk;
}

static void shadow_set(const void *block, size_t bytes, bool live)
{
	uintptr_t unit = (uintptr_t)block / 8, end = ((uintptr_t)block + bytes + 7) / 8;

	while (unit < end) {
		uint64_t *word = &shadow_chunk(unit * 8)[unit / 64 % CHUNK_WORDS];
		uintptr_t next = (unit | 63) + 1;
		uint64_t mask = ~0ull << (unit % 64), old;

		if (next > end)
			mask &= ~0ull >> (next - end);
		if (live)
			old = __atomic_fetch_or(word, mask, __ATOMIC_ACQ_REL) & mask;
		else
			old = ~__atomic_fetch_and(word, ~mask, __ATOMIC_ACQ_REL) & mask;
		if (old) {
			complain("%s: %p of %zu bytes",
				 live ? "overlaps a live block" : "was not live", block, bytes);
			return;
		}
		unit = next;
	}
}

/* ---- patterns ---- */

static unsigned char pattern(size_t offset, unsigned seed)
{
	return (unsigned char)(offset * 29 + seed + (offset >> 9));
}

static size_t stride(size_t bytes)
{
	return bytes <= WHOLE ? 1 : 509;
}

static void fill(struct slot *slot)
{
	for (size_t i = 0; i < slot->bytes; i += stride(slot->bytes))
		slot->block[i] = pattern(i, slot->seed);
	if (slot->bytes)
		slot->block[slot->bytes - 1] = pattern(slot->bytes - 1, slot->seed);
}

static void verify(const struct slot *slot, size_t bytes, const char *when)
{
	for (size_t i = 0; i < bytes; i += stride(slot->bytes))
		if (slot->block[i] != pattern(i, slot->seed)) {
			complain("%s: byte %zu of %zu at %p changed", when, i, slot->bytes,
				 (void *)slot->block);
			return;
		}
}

static bool is_zero(const unsigned char *block, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += stride(bytes))
		if (block[i])
			return false;
	return true;
}

/* ---- operations on a slot that the caller holds ---- */

static size_t random_size(struct rng *rng)
{
	switch (rng_below(rng, 40)) {
	case 0:
		return rng_below(rng, 300000);
	case 1:
		return 30000 + rng_below(rng, 6000);
	case 2:
	case 3:
	case 4:
		return rng_below(rng, 33000);
	case 5:
		return rng_below(rng, 100) ? rng_below(rng, 70000) : rng_below(rng, 6 << 20);
	default:
		return rng_below(rng, 1u << (3 + rng_below(rng, 9)));
	}
}

static void adopt(struct slot *slot, void *block, size_t bytes, struct rng *rng)
{
	slot->block = block;
	slot->bytes = bytes;
	slot->usable = malloc_usable_size(block);
	slot->seed = (unsigned)rng_next(rng);
	if (slot->usable < bytes)
		complain("usable size %zu of a request of %zu", slot->usable, bytes);
	shadow_set(block, slot->usable, true);
	__atomic_add_fetch(&live_bytes, (long)slot->usable, __ATOMIC_RELAXED);
	fill(slot);
}

static void take(struct slot *slot, struct rng *rng)
{
	size_t bytes = random_size(rng), alignment = 8;
	void *block = NULL;

	if (__atomic_load_n(&live_bytes, __ATOMIC_RELAXED) > live_limit)
		return;
	switch (rng_below(rng, 10)) {
	case 0:
	case 1:
		block = calloc(bytes ? (bytes + 6) / 7 : 1, 7);
		if (block && !is_zero(block, bytes))
			complain("calloc of %zu bytes is not zero at %p", bytes, block);
		break;
	case 2:
		alignment = (size_t)1 << (3 + rng_below(rng, 10));
		block = aligned_alloc(alignment, bytes);
		break;
	case 3:
		alignment = (size_t)1 << (3 + rng_below(rng, 7));
		if (posix_memalign(&block, alignment, bytes))
			block = NULL;
		break;
	case 4:
		block = realloc(NULL, bytes);
		break;
	default:
		block = malloc(bytes);
	}
	if (!block) {
		__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
		return;
	}
	if ((uintptr_t)block % alignment)
		complain("%p is not aligned to %zu", block, alignment);
	adopt(slot, block, bytes, rng);
}

/* Forgets a block that is about to be freed or resized. */
static void release(struct slot *slot)
{
	shadow_set(slot->block, slot->usable, false);
	__atomic_sub_fetch(&live_bytes, (long)slot->usable, __ATOMIC_RELAXED);
}

static void give(struct slot *slot)
{
	verify(slot, slot->bytes, "free");
	release(slot);
	free(slot->block);
	slot->block = NULL;
}

static void resize(struct slot *slot, struct rng *rng)
{
	size_t old = slot->bytes, bytes = random_size(rng) + 1;
	unsigned char *block;

	if (rng_below(rng, 2)) /* as a growing array does */
		bytes = old + old / 2 + 1;
	if (bytes > 8 << 20)
		bytes = 100;
	verify(slot, old, "before realloc");
	release(slot);
	block = realloc(slot->block, bytes);
	if (!block) {
		shadow_set(slot->block, slot->usable, true);
		__atomic_add_fetch(&live_bytes, (long)slot->usable, __ATOMIC_RELAXED);
		__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
		return;
	}
	slot->block = block;
	if (bytes < old) /* what is left of the old pattern, at its own stride */
		verify(slot, bytes, "after realloc");
	else
		verify(slot, old, "after realloc");
	adopt(slot, block, bytes, rng);
}

static void operate(struct rng *rng)
{
	struct slot *slot = &slots[rng_below(rng, SLOTS)];

	if (__atomic_exchange_n(&slot->busy, true, __ATOMIC_ACQUIRE))
		return;
	if (!slot->block)
		take(slot, rng);
	else if (rng_below(rng, 6) == 0)
		resize(slot, rng);
	else if (sized_free && rng_below(rng, 4) == 0) {
		/* a pair of its own: only malloc's blocks may go this way */
		void *block = malloc(slot->bytes);

		if (block)
			sized_free(block, slot->bytes);
		give(slot);
	} else
		give(slot);
	__atomic_store_n(&slot->busy, false, __ATOMIC_RELEASE);
}

/* ---- threads ---- */

static void *worker(void *argument)
{
	struct rng rng = {(uintptr_t)argument};
	unsigned long done = 0;

	while (!stop) {
		for (unsigned i = 0; i < 200; i++)
			operate(&rng);
		done += 200;
		if (rng_below(&rng, 3000) == 0)
			malloc_trim(0);
	}
	__atomic_add_fetch(&operations, done, __ATOMIC_RELAXED);
	return NULL;
}

static void *producer(void *argument)
{
	struct rng rng = {(uintptr_t)argument};
	unsigned at = (unsigned)rng_below(&rng, RING);

	while (!stop) {
		struct slot *slot = &ring[at++ % RING];

		if (__atomic_exchange_n(&slot->busy, true, __ATOMIC_ACQUIRE))
			continue;
		if (!slot->block)
			take(slot, &rng);
		__atomic_store_n(&slot->busy, false, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void *consumer(void *argument)
{
	unsigned at = (unsigned)(uintptr_t)argument;

	while (!stop) {
		struct slot *slot = &ring[at++ % RING];

		if (__atomic_exchange_n(&slot->busy, true, __ATOMIC_ACQUIRE))
			continue;
		if (slot->block)
			give(slot);
		__atomic_store_n(&slot->busy, false, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Works in bursts and sleeps between them with whatever its cache holds. */
static void *sleeper(void *argument)
{
	struct rng rng = {(uintptr_t)argument};

	while (!stop) {
		struct timespec nap = {0, (long)(1 + rng_below(&rng, 300)) * 1000000};

		for (unsigned i = 0; i < 2000; i++)
			operate(&rng);
		nanosleep(&nap, NULL);
	}
	return NULL;
}

static void *moment(void *argument)
{
	struct rng rng = {(uintptr_t)argument};

	for (unsigned i = 0; i < MOMENT_OPERATIONS && !stop; i++)
		operate(&rng);
	return NULL;
}

/* Starts and joins threads that live for a moment. */
static void *starter(void *argument)
{
	struct rng rng = {(uintptr_t)argument};
	pthread_t threads[8];

	while (!stop) {
		unsigned count = 1 + (unsigned)rng_below(&rng, 8), started = 0;

		while (started < count && !pthread_create(&threads[started], NULL, moment,
							  (void *)(uintptr_t)rng_next(&rng)))
			started++;
		for (unsigned i = 0; i < started; i++)
			pthread_join(threads[i], NULL);
	}
	return NULL;
}

static void run(unsigned seconds, unsigned count, unsigned long seed)
{
	void *(*const kinds[])(void *) = {worker,  worker, producer, consumer,
					  sleeper, worker, starter,  sleeper};
	pthread_t threads[256];
	struct rng rng = {seed};
	unsigned started = 0;
	time_t end = time(NULL) + (time_t)seconds;

	while (started < count && started < 256 &&
	       !pthread_create(&threads[started], NULL, kinds[started % 8],
			       (void *)(uintptr_t)rng_next(&rng)))
		started++;
	EXPECT(started == count, "%u of %u threads started", started, count);
	while (time(NULL) < end && errors < 20)
		usleep(50000);
	stop = true;
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i].block)
			give(&slots[i]);
	for (unsigned i = 0; i < RING; i++)
		if (ring[i].block)
			give(&ring[i]);
}

int main(int argc, char **argv)
{
	unsigned seconds = 5, count = 8;
	unsigned long seed = (unsigned long)time(NULL) * 1000003 + (unsigned long)getpid();
	int option;
	struct mallinfo2 info;
	size_t before;

	while ((option = getopt(argc, argv, "s:t:r:m:")) != -1) {
		if (option == 's')
			seconds = (unsigned)atoi(optarg);
		else if (option == 't')
			count = (unsigned)atoi(optarg);
		else if (option == 'r')
			seed = strtoul(optarg, NULL, 0);
		else if (option == 'm')
			live_limit = atol(optarg) << 20;
		else
			return 2;
	}
	*(void **)&sized_free = dlsym(RTLD_DEFAULT, "free_sized");
	shadow = mmap(NULL, sizeof(*shadow) << (47 - CHUNK_SHIFT), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shadow == MAP_FAILED)
		return 98;
	say("# seed %lu, %u threads, %u s\n", seed, count, seconds);
	info = mallinfo2();
	before = info.uordblks + info.hblkhd;
	group("no overlap, no lost contents");
	run(seconds, count, seed);
	EXPECT(!errors, "%u errors with seed %lu, the first ones above", errors, seed);
	EXPECT(operations > 1000, "%lu operations", operations);
	group_end();
	group("nothing is live at the end");
	malloc_trim(0);
	info = mallinfo2();
	EXPECT(info.uordblks + info.hblkhd < before + (1u << 20),
	       "%zu bytes before, %zu after, seed %lu", before, info.uordblks + info.hblkhd, seed);
	EXPECT(live_bytes == 0, "%ld bytes", live_bytes);
	group_end();
	say("# %lu operations by the workers, %lu refused\n", operations, refused);
	return tap_all_failures != 0;
}
