/* cache.c - a cache service: entries in hash buckets, looked up, replaced and evicted by threads
 * each of which owns a share of the buckets; the latency of every operation goes into a histogram.
 *
 *	cache [operations=12000000] [threads=2] [buckets=262144] [chain=4] [largest=544]
 *
 * A key is drawn from twice as many as fit. Found: one time in four its value is replaced, else it
 * is read. Not found: a new entry goes to the head of its bucket, and what hangs behind the
 * `chain`th is dropped. An entry is 32 bytes and a value of 64 to `largest` bytes without pointers:
 * with the defaults about 350 MiB live. The buckets are filled before the clock starts.
 *
 * An operation's latency is the time from the end of the one before to its own end, so nothing that
 * stops the thread is missed. pause_max_us is the longest stop that the collector itself tells of.
 */
#include "collector.h"

struct entry {
	struct entry *next;
	unsigned char *value;
	uint64_t key;
	uint32_t bytes, reads;
};
TYPE(entry, next, value);

#define VALUE_LEAST 64u

static struct entry **buckets;
static uint64_t bucket_count, operations_each, largest;
static unsigned chain, thread_count;
static unsigned char source[1 << 16];

struct worker {
	struct gc_histogram histogram;
	uint64_t sum, live_bytes;
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

static void entry_insert(struct worker *worker, struct entry **bucket, uint64_t key,
			 struct bench_rng *rng)
{
	struct entry *entry = NEW(entry), *last;
	unsigned char *value = value_new(rng, &entry->bytes);
	unsigned length = 1;

	SET(&entry->value, value);
	entry->key = key;
	SET(&entry->next, *bucket);
	SET(bucket, entry);
	worker->live_bytes += sizeof(*entry) + entry->bytes;
	for (last = entry; last->next && length < chain; length++)
		last = last->next;
	while (last->next) {
		struct entry *gone = last->next;

		SET(&last->next, gone->next);
		worker->live_bytes -= sizeof(*gone) + gone->bytes;
		if (GC_MANUAL) {
			free(gone->value);
			free(gone);
		}
	}
}

static void operation(struct worker *worker, struct bench_rng *rng, uint64_t share, uint64_t shares)
{
	uint64_t random = bench_next(rng);
	uint64_t key =
		(uint64_t)(((unsigned __int128)random * (bucket_count / shares * chain * 2)) >> 64);
	struct entry **bucket = &buckets[(key % (bucket_count / shares)) * shares + share];
	struct entry *entry = *bucket;

	while (entry && entry->key != key)
		entry = entry->next;
	if (!entry) {
		entry_insert(worker, bucket, key, rng);
	} else if (random % 4 == 0) {
		unsigned char *old = entry->value, *value;

		worker->live_bytes -= entry->bytes;
		value = value_new(rng, &entry->bytes);
		SET(&entry->value, value);
		worker->live_bytes += entry->bytes;
		if (GC_MANUAL)
			free(old);
	} else {
		entry->reads++;
		worker->sum += entry->value[0] + entry->value[entry->bytes - 1];
	}
}

static void *fill(void *number)
{
	struct bench_rng rng = bench_rng_begin(7 + (uintptr_t)number);
	struct worker *worker = &workers[(uintptr_t)number];
	uint64_t times = bucket_count / thread_count * chain * 5 / 2;

	for (uint64_t i = 0; i < times; i++)
		operation(worker, &rng, (uintptr_t)number, thread_count);
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

		operation(worker, &rng, (uintptr_t)number, thread_count);
		now = gc_now_ns();
		gc_histogram_add(&worker->histogram, now - before);
		before = now;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_rng rng = bench_rng_begin(1);
	struct bench_clock clock;
	uint64_t sum = 0, live_bytes = 0;
	static struct gc_histogram all;

	thread_count = gc_arg_threads(&args, 2);
	operations_each = bench_arg_u64(&args, "operations", 12000000) / thread_count;
	bucket_count = bench_arg_u64(&args, "buckets", 262144) / thread_count * thread_count;
	chain = (unsigned)bench_arg_u64(&args, "chain", 4);
	largest = bench_arg_u64(&args, "largest", 544);
	bench_args_end(&args);
	for (size_t i = 0; i < sizeof(source); i++)
		source[i] = (unsigned char)bench_next(&rng);
	gc_begin();
	buckets = NEW_POINTERS(bucket_count);
	gc_threads(thread_count, fill);
	clock = bench_begin();
	gc_threads(thread_count, serve);
	for (unsigned i = 0; i < thread_count; i++) {
		gc_histogram_merge(&all, &workers[i].histogram);
		sum += workers[i].sum * (i + 1);
		live_bytes += workers[i].live_bytes;
	}
	printf("p50_us=%.2f p99_us=%.2f p999_us=%.2f p9999_us=%.1f longest_us=%.1f live_kib=%llu "
	       "rss_kib=%ld ",
	       gc_histogram_us(&all, 0.5), gc_histogram_us(&all, 0.99),
	       gc_histogram_us(&all, 0.999), gc_histogram_us(&all, 0.9999),
	       (double)all.longest_ns / 1e3, (unsigned long long)live_bytes >> 10,
	       bench_statm_rss_kib());
	gc_end(&clock, (double)(operations_each * thread_count), sum + live_bytes);
	return 0;
}
