/* thread_cache_test.c - the slow half of a thread's cache: growth, budgets, stealing, begin and
 * end.
 *
 * The background thread stays off, so that nobody takes a cache back in between
 * (mutator/idle_test.c does that). Sampling is off but where it is the subject.
 */
#include "heap/thread_cache.h"

#include "base/config.h"
#include "heap/heap.h"
#include "heap/sampled.h"
#include "os/sys.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

#include <pthread.h>

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample] = 0;
}

TestSuite(thread_cache, .init = quiet);

static struct gy_thread_cache *own(void)
{
	struct gy_thread_cache *cache = gy_tls.cache;

	if (cache == GY_NO_CACHE)
		cache = gy_thread_cache_attach();
	cr_assert_neq(cache, GY_NO_CACHE);
	return cache;
}

static size_t cached(const struct gy_thread_cache *cache, unsigned class_index)
{
	return (size_t)(cache->bins[class_index].top - cache->bins[class_index].floor);
}

/* The books of a cache: bins within their slots, the sum of capacities, no block twice. */
static void check_cache(const struct gy_thread_cache *cache)
{
	uint64_t capacity_bytes = 0;

	cr_assert_eq(cache->bins[0].top, cache->bins[0].floor); /* CACHE-1 */
	cr_assert_eq(cache->bins[0].top, cache->bins[0].limit);
	cr_assert_eq(cache->bins[0].magic, 0u);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		const struct gy_bin *bin = &cache->bins[c];

		cr_assert_eq(gy_bin_at((struct gy_thread_cache *)(uintptr_t)cache, 32 * c), bin);
		cr_assert(bin->floor <= bin->top && bin->top <= bin->limit, "class %u", c);
		cr_assert_eq(bin->limit - bin->floor, cache->cold[c].capacity);
		capacity_bytes += (uint64_t)cache->cold[c].capacity * gy_size_classes[c].bytes;
	}
	cr_assert_eq(cache->capacity_bytes, capacity_bytes);
}

static bool none_is_untouched(void)
{
	static const struct gy_thread_cache none;

	return memcmp(&gy_cache_none, &none, sizeof(none)) == 0;
}

Test(thread_cache, CACHE_5_without_a_cache_everything_falls_through)
{
	cr_assert_eq(gy_tls.cache, GY_NO_CACHE);
	for (unsigned i = 0; i < GY_SMALL_STEPS; i++)
		cr_assert_eq(gy_tls.small_bin[i], &GY_NO_CACHE->bins[0]);
	for (size_t bytes = 0; bytes <= GY_CLASS_MAX_BYTES; bytes += 7)
		cr_assert_null(gy_fast_alloc(bytes));
	{
		void *block = gy_heap_alloc(100, 0);

		gy_tls_point(&gy_tls, GY_NO_CACHE);
		cr_assert_not(gy_fast_free(block));
		cr_assert_null(gy_fast_alloc(100));
		gy_heap_free(block, 0); /* attaches again */
		cr_assert_neq(gy_tls.cache, GY_NO_CACHE);
	}
	cr_assert(none_is_untouched());
}

Test(thread_cache, pointing_reaches_every_hot_variable)
{
	struct gy_thread_cache *cache = own();

	for (unsigned i = 0; i < GY_SMALL_STEPS; i++)
		cr_assert_eq(gy_tls.small_bin[i], &cache->bins[gy_class_of_small[i]]);
	gy_tls_point(&gy_tls, GY_NO_CACHE);
	for (unsigned i = 0; i < GY_SMALL_STEPS; i++)
		cr_assert_eq(gy_tls.small_bin[i], &GY_NO_CACHE->bins[0]);
	cr_assert_eq(gy_thread_cache_attach(), cache, "the same cache is taken up again");
	cr_assert_eq(gy_registry.count, 1u);
}

Test(thread_cache, capacity_grows_with_misses_up_to_a_bound)
{
	static const size_t sizes[] = {16, 64, 1024, 8192, 32768};

	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
		unsigned c = gy_class_of_request(sizes[s]), last = 0, count = 0;
		struct gy_thread_cache *cache = own();
		static void *blocks[40000];

		/* in swings of rising size: found empty, found full, in turn */
		for (unsigned n = 0; n < 16; n++) {
			count = MIN(4u << n,
				    (unsigned)(ARRAY_SIZE(blocks) * 16 / MAX(16, sizes[s])));
			for (unsigned i = 0; i < count; i++)
				blocks[i] = unit_malloc(sizes[s]);
			for (unsigned i = 0; i < count; i++)
				unit_free(blocks[i]);
			cr_assert_geq(cache->cold[c].capacity, last);
			last = cache->cold[c].capacity;
			check_cache(cache);
		}
		cr_assert_gt(last, 16u, "%zu bytes", sizes[s]);
		cr_assert_leq(cache->capacity_bytes, gy_option(GY_OPT_thread_cache));
		gy_heap_flush();
		cr_assert_eq(cache->capacity_bytes, 0u);
	}
	gy_heap_check();
}

Test(thread_cache, a_batch_is_at_most_what_the_bin_holds)
{
	struct gy_thread_cache *cache = own();

	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		enum gy_oom_reason reason = GY_OOM_NONE;

		if (gy_class_of_request(gy_size_classes[c].bytes) != c)
			continue;
		for (unsigned n = 0; n < 12; n++) {
			void *block;

			cr_assert(gy_thread_cache_refill(cache, c, &reason));
			cr_assert_gt(cached(cache, c), (size_t)0);
			check_cache(cache);
			while (cached(cache, c)) {
				block = *--cache->bins[c].top;
				gy_central_give(&gy_centrals[0][c], &block, 1, true);
			}
		}
	}
	gy_heap_flush();
	gy_heap_check();
}

static void work_on_many_classes(uint64_t seed, unsigned rounds)
{
	static __thread void *blocks[512];
	uint64_t rng = seed;

	for (unsigned n = 0; n < rounds; n++) {
		size_t bytes = 1 + unit_random(&rng) % 2000;
		unsigned count = 1 + (unsigned)(unit_random(&rng) % ARRAY_SIZE(blocks));

		for (unsigned i = 0; i < count; i++)
			blocks[i] = unit_malloc(bytes);
		for (unsigned i = 0; i < count; i++)
			unit_free(blocks[i]);
	}
}

Test(thread_cache, a_thread_keeps_to_its_budget)
{
	struct gy_thread_cache *cache = own();

	gy_option_values[GY_OPT_thread_cache] = 64 << 10;
	work_on_many_classes(1, 2000);
	check_cache(cache);
	cr_assert_leq(cache->capacity_bytes, 64u << 10);
	gy_heap_flush();
	cr_assert_eq(cache->capacity_bytes, 0u);
	cr_assert_eq(gy_registry.capacity_bytes, 0u);
}

/* Where the misses are, there the capacity goes. */
Test(thread_cache, capacity_is_stolen_from_bins_that_do_not_miss)
{
	struct gy_thread_cache *cache = own();
	unsigned quiet_class = gy_class_of_request(512), busy_class = gy_class_of_request(1024);
	static void *blocks[600];
	unsigned before;

	gy_option_values[GY_OPT_thread_cache] = 256 << 10;
	for (unsigned n = 0; n < 40; n++) {
		for (unsigned i = 0; i < 400; i++)
			blocks[i] = unit_malloc(512);
		for (unsigned i = 0; i < 400; i++)
			unit_free(blocks[i]);
	}
	before = cache->cold[quiet_class].capacity;
	for (unsigned n = 0; n < 40; n++) {
		for (unsigned i = 0; i < 200; i++)
			blocks[i] = unit_malloc(1024);
		for (unsigned i = 0; i < 200; i++)
			unit_free(blocks[i]);
	}
	cr_assert_gt(before, 64u);
	cr_assert_lt(cache->cold[quiet_class].capacity, before);
	cr_assert_gt(cache->cold[busy_class].capacity, 64u);
	cr_assert_leq(cached(cache, quiet_class), (size_t)cache->cold[quiet_class].capacity);
	cr_assert_leq(cache->capacity_bytes, 256u << 10);
	check_cache(cache);
	gy_heap_check();
}

/* CACHE-7: a bin without room holds nothing, and blocks come and go one by one. */
Test(thread_cache, CACHE_7_without_room_nothing_is_cached)
{
	struct gy_thread_cache *cache = own();
	uint64_t room = gy_cache_room(), mallocs = 0;
	static const size_t sizes[] = {16, 100, 1000, 30000, 100000, 1000000};

	cr_assert_gt(room, 1u << 20);
	cr_assert_lt(room, gy_option(GY_OPT_thread_caches));
	cr_assert(gy_cache_room_take(room));
	cr_assert_not(gy_cache_room_take(1));
	cr_assert(gy_cache_room_is_scarce());
	for (unsigned n = 0; n < 200; n++) {
		void *blocks[ARRAY_SIZE(sizes)];

		for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
			blocks[s] = unit_malloc(sizes[s]);
			cr_assert_not_null(blocks[s]);
		}
		for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
			unit_free(blocks[s]);
	}
	cr_assert_eq(cache->capacity_bytes, 0u);
	cr_assert_eq(cache->large.kept_pages, 0u);
	cr_assert_gt(gy_registry.refusals, 0u);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		mallocs += gy_cache_mallocs(cache, c) + gy_centrals[0][c].direct_mallocs;
	cr_assert_eq(mallocs, 4u * 200, "each is counted once");
	gy_cache_room_give(room);
	unit_free(unit_malloc(16));
	cr_assert_gt(cache->capacity_bytes, 0u);
	check_cache(cache);
	gy_heap_check();
}

static void swing(size_t bytes, unsigned count)
{
	static __thread void *blocks[1000];

	for (unsigned i = 0; i < count; i++)
		blocks[i] = unit_malloc(bytes);
	for (unsigned i = 0; i < count; i++)
		unit_free(blocks[i]);
}

/* A class that is used no longer loses its capacity, and in the end its slots; one that is used at
 * a lower rate keeps some. Nothing is short meanwhile. */
Test(thread_cache, capacity_goes_where_the_rate_falls)
{
	struct gy_thread_cache *cache = own();
	unsigned unused = gy_class_of_request(512), rare = gy_class_of_request(256), most;

	for (unsigned n = 0; n < 40; n++) {
		swing(512, 400);
		swing(256, 400);
	}
	most = cache->cold[rare].capacity;
	cr_assert_gt(cache->cold[unused].capacity, 64u);
	for (unsigned n = 0; n < 30000; n++) { /* slow paths of another class: the clock */
		gy_thread_cache_flush(cache, gy_class_of_request(64));
		if (n % 100 == 0)
			swing(256, 4);
	}
	cr_assert_eq(cache->cold[unused].capacity, 0u);
	cr_assert_eq(cache->cold[unused].slots_log2, 0u);
	cr_assert_lt(cache->cold[rare].capacity, most);
	check_cache(cache);
	swing(512, 400);
	cr_assert_gt(cache->cold[unused].capacity, 0u);
	gy_heap_flush();
	cr_assert_eq(gy_registry.capacity_bytes, 0u);
	gy_heap_check();
}

/* ---- threads ---- */
#define THREADS 6
static pthread_barrier_t barrier;

static void *worker(void *argument)
{
	work_on_many_classes((uintptr_t)argument, UNIT_SLOW ? 60 : 300);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

Test(thread_cache, all_threads_together_keep_to_their_budget)
{
	pthread_t threads[THREADS];

	gy_option_values[GY_OPT_thread_caches] = 1 << 20;
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, worker, (void *)(i + 1)), 0);
	pthread_barrier_wait(&barrier);
	cr_assert_eq(gy_registry.count, (uint64_t)THREADS);
	cr_assert_leq(gy_registry.capacity_bytes, 1u << 20);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* One thread has nearly all of the room, and works on; another one gets some of it. */
static bool other_done; /* [atomic] */

static void *late_comer(void *argument)
{
	uint64_t until_ms = unit_now_ms() + 60000;

	do {
		swing(300, 500);
		*(uint64_t *)argument = gy_tls.cache->capacity_bytes;
	} while (*(uint64_t *)argument < 64 << 10 && unit_now_ms() < until_ms);
	WRITE_RELAXED(other_done, true);
	return NULL;
}

Test(thread_cache, who_has_more_than_a_share_gives_to_who_asks)
{
	struct gy_thread_cache *cache = own();
	uint64_t others = 0;
	pthread_t thread;

	gy_option_values[GY_OPT_thread_caches] = 1 << 20;
	gy_option_values[GY_OPT_sample] = 64 << 10; /* at samples, too, what is asked is given */
	gy_option_values[GY_OPT_sample_stack] = 3;
	for (unsigned n = 0; n < 2000; n++)
		swing(100 + 500 * (n % 20), 200);
	cr_assert_gt(cache->capacity_bytes, 800u << 10);
	cr_assert_eq(pthread_create(&thread, NULL, late_comer, &others), 0);
	while (!READ_RELAXED(other_done))
		swing(700, 900);
	pthread_join(thread, NULL);
	cr_assert_geq(others, 64u << 10);
	cr_assert_leq(gy_registry.capacity_bytes, 1u << 20);
	check_cache(cache);
}

/* A service of 2,000 threads: each works through a request, of blocks of all classes and larger
 * ones, and sleeps with what its cache has then. Nobody takes it back here. */
#define SLEEPERS (UNIT_SLOW ? 200u : 2000u)
#define SLEEPERS_MOST (32u << 20)

static void *sleeper(void *argument)
{
	uint64_t rng = (uintptr_t)argument;
	void *blocks[100];

	for (unsigned n = 0; n < 2; n++) {
		for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
			blocks[i] = unit_malloc(1 + unit_random(&rng) % (i % 10 ? 2000 : 100000));
		for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
			unit_free(blocks[i]);
		if (READ_RELAXED(gy_registry.capacity_bytes) > SLEEPERS_MOST)
			return argument;
	}
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

Test(thread_cache, CACHE_7_two_thousand_threads_hold_less_than_32_MiB, .timeout = 120)
{
	static pthread_t threads[2000];
	uint64_t held = 0;
	pthread_attr_t attributes;
	void *failed;

	cr_assert_eq(gy_option(GY_OPT_thread_caches), SLEEPERS_MOST, "by default");
	pthread_barrier_init(&barrier, NULL, SLEEPERS + 1);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 << 10);
	for (uintptr_t i = 0; i < SLEEPERS; i++)
		cr_assert_eq(pthread_create(&threads[i], &attributes, sleeper, (void *)(i + 1)), 0);
	pthread_barrier_wait(&barrier); /* all sleep */
	for (const struct gy_thread_cache *cache = gy_registry.first; cache; cache = cache->next) {
		held += (uint64_t)cache->large.kept_pages << GY_PAGE_SHIFT;
		for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
			held += cached(cache, c) * gy_size_classes[c].bytes;
	}
	cr_assert_gt(held, 0u);
	cr_assert_leq(held, gy_registry.capacity_bytes);
	cr_assert_leq(gy_registry.capacity_bytes, SLEEPERS_MOST);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < SLEEPERS; i++) {
		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	cr_assert_eq(gy_registry.capacity_bytes, 0u);
	gy_heap_check();
}

static uint64_t blocks_out(void)
{
	uint64_t out = 0;

	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		out += gy_centrals[0][c].taken - gy_centrals[0][c].given + gy_centrals[1][c].taken -
		       gy_centrals[1][c].given - gy_sampled_waiting(c); /* SAMPLED-2 */
	return out;
}

Test(thread_cache, a_thread_that_ends_gives_everything_back)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (unsigned round = 0; round < 3; round++) {
		for (uintptr_t i = 0; i < THREADS; i++)
			cr_assert_eq(pthread_create(&threads[i], NULL, worker, (void *)(i + 1)), 0);
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		cr_assert_eq(gy_registry.count, 0u);
		cr_assert_null(gy_registry.first);
		cr_assert_eq(gy_registry.capacity_bytes, 0u);
		cr_assert_eq(blocks_out(), 0u);
		gy_heap_check();
	}
}

/* CACHE-4: exact, with countdowns that end often, and across the thread's end. */
#define COUNTED 50000u
static void *counted_worker(void *argument)
{
	static __thread void *blocks[1000];

	for (unsigned n = 0; n < COUNTED / ARRAY_SIZE(blocks); n++) {
		for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
			blocks[i] = unit_malloc(100);
		for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
			unit_free(blocks[i]);
	}
	return argument;
}

static uint64_t mallocs_of(unsigned c)
{
	uint64_t mallocs = 0;

	for (unsigned sampled = 0; sampled < 2; sampled++)
		mallocs += gy_centrals[sampled][c].retired_mallocs +
			   gy_centrals[sampled][c].direct_mallocs;
	for (const struct gy_thread_cache *cache = gy_registry.first; cache; cache = cache->next)
		mallocs += gy_cache_mallocs(cache, c);
	return mallocs;
}

Test(thread_cache, CACHE_4_allocations_are_counted_exactly)
{
	static const uint64_t periods[] = {0, 1, 1000, 65536, 512 << 10};
	unsigned c = gy_class_of_request(100);
	uint64_t expected = 0;
	pthread_t threads[3];

	for (unsigned p = 0; p < ARRAY_SIZE(periods); p++) {
		if (UNIT_SLOW && periods[p] == 1)
			continue; /* every allocation a sample: too slow here, and shown without */
		gy_option_values[GY_OPT_sample] = periods[p];
		gy_option_values[GY_OPT_sample_stack] = 3;
		for (unsigned i = 0; i < 3; i++)
			cr_assert_eq(pthread_create(&threads[i], NULL, counted_worker, NULL), 0);
		for (unsigned i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		expected += 3 * COUNTED;
		cr_assert_eq(mallocs_of(c), expected, "period %llu: %llu instead of %llu",
			     (unsigned long long)periods[p], (unsigned long long)mallocs_of(c),
			     (unsigned long long)expected);
		counted_worker(NULL);
		expected += COUNTED;
		cr_assert_eq(mallocs_of(c), expected, "period %llu",
			     (unsigned long long)periods[p]);
		cr_assert_eq(blocks_out(), cached(own(), c));
	}
}

/* ---- after the end ---- */
static pthread_key_t late_key;
static bool late_done;

static void late_destructor(void *value)
{
	unsigned round = (unsigned)(uintptr_t)value;
	void *blocks[20];

	for (unsigned i = 0; i < 20; i++) {
		blocks[i] = unit_malloc(50 + i * 100);
		memset(blocks[i], 1, 50 + i * 100);
	}
	for (unsigned i = 0; i < 20; i++)
		unit_free(blocks[i]);
	if (round < 3)
		pthread_setspecific(late_key, (void *)(uintptr_t)(round + 1));
	else
		late_done = gy_tls.cache == GY_NO_CACHE;
}

static void *ends_late(void *argument)
{
	void *block = unit_malloc(64);

	pthread_setspecific(late_key, (void *)1);
	unit_free(block);
	return argument;
}

Test(thread_cache, destructors_that_run_later_allocate_without_a_cache)
{
	pthread_t thread;
	uint64_t mallocs = 0;

	cr_assert_eq(pthread_key_create(&late_key, late_destructor), 0);
	cr_assert_eq(pthread_create(&thread, NULL, ends_late, NULL), 0);
	pthread_join(thread, NULL);
	cr_assert(late_done);
	cr_assert_eq(gy_registry.count, 0u);
	cr_assert_eq(blocks_out(), 0u);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		mallocs += mallocs_of(c);
	cr_assert_eq(mallocs, 61u);
	cr_assert(none_is_untouched());
	gy_heap_check();
}

/* ---- contents ---- */
Test(thread_cache, CACHE_3_a_cached_block_is_found_and_an_allocated_one_is_not)
{
	struct gy_thread_cache *cache = own();
	unsigned c = gy_class_of_request(64);
	void *block = unit_malloc(64), *other = unit_malloc(64);

	cr_assert_not(gy_thread_cache_contains(cache, c, block));
	cr_assert_not(gy_thread_caches_contain(c, block));
	unit_free(block);
	cr_assert(gy_thread_cache_contains(cache, c, block));
	cr_assert(gy_thread_caches_contain(c, block));
	cr_assert_not(gy_thread_caches_contain(c, other));
	cr_assert_eq(*(uintptr_t *)block, gy_freed_mark()); /* HEAP-1 */
	cr_assert_eq(unit_malloc(64), block, "last in, first out");
	cr_assert_eq(*(uintptr_t *)block, 0u);
}

/* ---- want of memory ---- */
static void frees_without_slots(void *argument)
{
	void *block = gy_heap_alloc(5000, 0);

	(void)argument;
	gy_heap_flush();
	/* every small piece of metadata is refused now */
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mmap;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	for (unsigned log2_bytes = 4; log2_bytes <= 20; log2_bytes++)
		while (gy_metadata_block_take(log2_bytes))
			;
	child_check(own()->cold[gy_class_of_request(5000)].slots_log2 == 0);
	gy_heap_free(block, 0);
	child_check(blocks_out() == 0);
	errno = 0;
	for (unsigned n = 0; n < 3; n++) {
		block = gy_heap_alloc(5000, 0); /* may be refused; must not break anything */
		child_check(block || errno == ENOMEM);
		if (block)
			gy_heap_free(block, 0);
	}
	gy_option_values[GY_OPT_fault_call] = 0;
	block = gy_heap_alloc(5000, 0);
	child_check(block);
	gy_heap_free(block, 0);
	gy_heap_check();
}

Test(thread_cache, without_memory_for_slots_blocks_go_one_by_one)
{
	struct unit_child child = unit_child_run(frees_without_slots, NULL);

	unit_assert_exit(child, 0);
}

static void *begins_without_memory(void *argument)
{
	void *block = gy_heap_alloc(100, 0);

	if (block)
		gy_heap_free(block, 0);
	return argument;
}

static void threads_without_caches(void *argument)
{
	pthread_t thread;

	(void)argument;
	gy_heap_free(gy_heap_alloc(100, 0), 0);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mmap;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	for (unsigned log2_bytes = 20; log2_bytes >= 6; log2_bytes--)
		while (gy_metadata_block_take(log2_bytes))
			;
	for (unsigned i = 0; i < 20; i++) {
		child_check(pthread_create(&thread, NULL, begins_without_memory, NULL) == 0);
		pthread_join(thread, NULL);
	}
	gy_heap_check();
}

Test(thread_cache, a_thread_that_cannot_have_a_cache_works_without)
{
	struct unit_child child = unit_child_run(threads_without_caches, NULL);

	unit_assert_exit(child, 0);
}
