/* cache.c - a cache service: entries in hash buckets, replaced by threads each of which owns a
 * share of the buckets; the latency of every operation goes into a histogram.
 *
 *	cache [operations=12000000] [threads=2] [entries=1048576] [largest=544] [reads=0]
 *
 * An operation draws a key, finds its entry in the bucket (one entry a bucket in the mean), and
 * puts a new entry with a new value in its place; or, `reads` times in a hundred, only reads it. An
 * entry is 32 bytes and a value of 64 to `largest` bytes without pointers: with the defaults about
 * 350 MiB live. All keys are there before the clock starts, and each has been replaced once.
 *
 * An operation's latency is the time from the end of the one before to its own end, so nothing that
 * stops the thread is missed; over_4ms are those longer than that. pause_max_us is the longest stop
 * that the collector itself tells of.
 */
#include "collector.h"

struct entry {
	struct entry *next;
	unsigned char *value;
	uint64_t key;
	uint32_t bytes, version;
};
TYPE(entry, next, value);

#define VALUE_LEAST 64u
#define STALL_NS 4000000u

static struct entry **buckets;
static uint64_t entries_each, operations_each, largest, reads;
static unsigned thread_count;
static unsigned char source[1 << 16];

struct worker {
	struct gc_histogram histogram;
	uint64_t sum, live_bytes, stalls;
} __attribute__((aligned(128)));
static struct worker workers[GC_THREADS_MAX];

static unsigned char *value_new(struct bench_rng *rng, uint32_t *bytes)
{
	uint64_t random = bench_next(rng);
	uint32_t size =
		VALUE_LEAST + (uint32_t)((random & 0xffffff) * (largest - VALUE_LEAST) >> 24);
	unsigned char *value = NEW_LEAF(size);

	memcpy(value, source + (random >> 32 & 0x7fff), size);
	*bytes = size;
	return value;
}

/* In place of *slot, which may be NULL: then at the end of a chain. */
static void entry_put(struct worker *worker, struct entry **slot, uint64_t key,
		      struct bench_rng *rng)
{
	struct entry *old = *slot, *entry = NEW(entry);
	unsigned char *value = value_new(rng, &entry->bytes);

	SET(&entry->value, value);
	entry->key = key;
	worker->live_bytes += sizeof(*entry) + entry->bytes;
	if (old) {
		SET(&entry->next, old->next);
		entry->version = old->version + 1;
		worker->live_bytes -= sizeof(*old) + old->bytes;
	}
	SET(slot, entry);
	if (GC_MANUAL && old) {
		free(old->value);
		free(old);
	}
}

static struct entry **entry_find(uint64_t share, uint64_t key)
{
	struct entry **slot =
		&buckets[(key * 0x9e3779b97f4a7c15u >> 20) % entries_each * thread_count + share];

	while (*slot && (*slot)->key != key)
		slot = &(*slot)->next;
	return slot;
}

static void operation(struct worker *worker, struct bench_rng *rng, uint64_t share)
{
	uint64_t random = bench_next(rng);
	uint64_t key = (uint64_t)(((unsigned __int128)random * entries_each) >> 64);
	struct entry **slot = entry_find(share, key);

	if (random % 100 < reads) {
		worker->sum += (*slot)->value[0] + (*slot)->value[(*slot)->bytes - 1];
		return;
	}
	entry_put(worker, slot, key, rng);
	worker->sum += (*slot)->value[0] + (*slot)->version;
}

static void *fill(void *number)
{
	struct bench_rng rng = bench_rng_begin(7 + (uintptr_t)number);
	struct worker *worker = &workers[(uintptr_t)number];

	for (unsigned times = 0; times < 2; times++) {
		for (uint64_t key = 0; key < entries_each; key++)
			entry_put(worker, entry_find((uintptr_t)number, key), key, &rng);
	}
	worker->sum = 0;
	return NULL;
}

static void *serve(void *number)
{
	struct bench_rng rng = bench_rng_begin(77 + (uintptr_t)number);
	struct worker *worker = &workers[(uintptr_t)number];
	uint64_t before = gc_now_ns();

	for (uint64_t i = 0; i < operations_each; i++) {
		uint64_t now;

		operation(worker, &rng, (uintptr_t)number);
		now = gc_now_ns();
		gc_histogram_add(&worker->histogram, now - before);
		worker->stalls += now - before > STALL_NS;
		before = now;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_rng rng = bench_rng_begin(1);
	struct bench_clock clock;
	uint64_t sum = 0, live_bytes = 0, stalls = 0;
	static struct gc_histogram all;

	thread_count = gc_arg_threads(&args, 2);
	operations_each = bench_arg_u64(&args, "operations", 12000000) / thread_count;
	entries_each = bench_arg_u64(&args, "entries", 1 << 20) / thread_count;
	largest = bench_arg_u64(&args, "largest", 544);
	reads = bench_arg_u64(&args, "reads", 0);
	bench_args_end(&args);
	for (size_t i = 0; i < sizeof(source); i++)
		source[i] = (unsigned char)bench_next(&rng);
	gc_begin();
	buckets = NEW_POINTERS(entries_each * thread_count);
	gc_threads(thread_count, fill);
	clock = bench_begin();
	gc_threads(thread_count, serve);
	for (unsigned i = 0; i < thread_count; i++) {
		gc_histogram_merge(&all, &workers[i].histogram);
		sum += workers[i].sum * (i + 1);
		live_bytes += workers[i].live_bytes;
		stalls += workers[i].stalls;
	}
	printf("p50_us=%.2f p99_us=%.2f p999_us=%.2f p9999_us=%.1f longest_us=%.1f "
	       "over_4ms=%llu live_kib=%llu rss_kib=%ld ",
	       gc_histogram_us(&all, 0.5), gc_histogram_us(&all, 0.99),
	       gc_histogram_us(&all, 0.999), gc_histogram_us(&all, 0.9999),
	       (double)all.longest_ns / 1e3, (unsigned long long)stalls,
	       (unsigned long long)live_bytes >> 10,
	       bench_statm_rss_kib());
	gc_end(&clock, (double)(operations_each * thread_count), sum + live_bytes);
	return 0;
}
