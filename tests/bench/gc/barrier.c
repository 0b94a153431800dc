/* barrier.c - what a store of a pointer costs: a plain one, gyre_set while idle, gyre_set while
 * marking.
 *
 *	barrier mode=plain|set|marking [stores=400000000] [live_mib=400]
 *
 * The loop stores an object into a field of 512 others in turn, all in the first cache. For
 * `marking` another thread runs collections of a list of live_mib; stores count in batches during
 * the whole of which the flag was up, and what they overwrite is one of two objects, marked already
 * but for the first time. Operations: stores counted. Instructions are callgrind's to count, by the
 * difference of two runs.
 */
#include "collector.h"

struct item {
	struct item *next, *other;
	uint64_t a, b;
};
TYPE(item, next, other);

#define OBJECTS 512u
#define BATCH 8192u

static struct item **objects;
static struct item *values[2];
static struct item *live;
static uint32_t end;

/* Apart, so that the loops can be told in a profile. The empty asm stands for what gyre_set tells
 * the compiler: that memory changes, so that each store is made. */
__attribute__((noinline)) static void stores_plain(uint64_t count)
{
	struct item **to = objects, *value = values[0];

	for (uint64_t i = 0; i < count; i++) {
		to[i % OBJECTS]->other = value;
		__asm__ volatile("" : : : "memory");
	}
}

__attribute__((noinline)) static void stores_set(uint64_t count, unsigned which)
{
	struct item **to = objects, *value = values[which];

	for (uint64_t i = 0; i < count; i++)
		SET(&to[i % OBJECTS]->other, value);
}

static bool marking(void)
{
#if defined(GC_GYRE)
	return __atomic_load_n(&gyre_gc_marking, __ATOMIC_RELAXED) != 0;
#else
	return true;
#endif
}

static void *collect(void *unused)
{
	(void)unused;
	while (!__atomic_load_n(&end, __ATOMIC_RELAXED))
		gc_collect();
	return NULL;
}

static void live_make(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct item *item = NEW(item);

		SET(&item->next, live);
		live = item;
	}
}

/* ns and number of the stores made while marking. */
static uint64_t stores_marking(uint64_t count, uint64_t *counted)
{
	uint64_t ns = 0, give_up_ns = gc_now_ns() + 60000000000u;

	for (*counted = 0; *counted < count && gc_now_ns() < give_up_ns;) {
		bool before = marking();
		uint64_t begin_ns = gc_now_ns();

		stores_set(BATCH, *counted / BATCH % 2);
		if (before && marking()) {
			ns += gc_now_ns() - begin_ns;
			*counted += BATCH;
		}
	}
	return ns;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_clock clock;
	uint64_t stores, live_mib, counted, ns;
	pthread_t collector;
	unsigned mode;

	mode = bench_arg_word(&args, "mode", "plain|set|marking", 0);
	stores = bench_arg_u64(&args, "stores", 400000000) / BATCH * BATCH;
	live_mib = bench_arg_u64(&args, "live_mib", 400);
	bench_args_end(&args);
	gc_begin();
	objects = NEW_POINTERS(OBJECTS);
	for (unsigned i = 0; i < OBJECTS; i++)
		SET(&objects[i], NEW(item));
	values[0] = NEW(item);
	values[1] = NEW(item);
	stores_set(OBJECTS, 1);
	if (mode == 2) {
		live_make((live_mib << 20) / sizeof(struct item));
		if (pthread_create(&collector, NULL, collect, NULL) != 0)
			bench_die("pthread_create");
	}
	clock = bench_begin();
	ns = gc_now_ns();
	counted = stores;
	if (mode == 0)
		stores_plain(stores);
	else if (mode == 1)
		stores_set(stores, 0);
	else
		ns = stores_marking(stores, &counted);
	if (mode != 2)
		ns = gc_now_ns() - ns;
	printf("store_ns=%.3f ", counted ? (double)ns / (double)counted : 0);
	gc_end(&clock, (double)counted, 0);
	if (mode == 2) {
		__atomic_store_n(&end, 1, __ATOMIC_RELAXED);
		pthread_join(collector, NULL);
	}
	return counted ? 0 : 1;
}
