/* heap_test.c - malloc's slow halves and realloc: sizes, contents, alignment, errno, memory that
 * moves. */
#include "heap/heap.h"

#include "base/config.h"
#include "heap/hooks.h"
#include "heap/large.h"
#include "os/sys.h"
#include "trace/sampler.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

#include <pthread.h>

#define MB ((size_t)1 << 20)

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample] = 0;
}

TestSuite(heap, .init = quiet);

/* Contents are looked at byte by byte: not through ThreadSanitizer, which would take minutes. */
#if GY_TSAN
#define UNINSTRUMENTED __attribute__((no_sanitize("thread")))
#else
#define UNINSTRUMENTED
#endif

UNINSTRUMENTED static void fill(unsigned char *block, size_t bytes, size_t seed)
{
	for (size_t i = 0; i < bytes; i++)
		block[i] = (unsigned char)(i * 7 + seed);
}

UNINSTRUMENTED static void check(const unsigned char *block, size_t bytes, size_t seed)
{
	for (size_t i = 0; i < bytes; i++)
		if (block[i] != (unsigned char)(i * 7 + seed))
			cr_assert_fail("byte %zu of %zu", i, bytes);
}

Test(heap, every_small_size_has_a_block_of_its_own)
{
	static unsigned char *blocks[GY_CLASS_MAX_BYTES + 1];

	for (size_t bytes = 0; bytes <= GY_CLASS_MAX_BYTES; bytes += bytes < 3000 ? 1 : 13) {
		blocks[bytes] = gy_heap_alloc(bytes, 0);
		cr_assert_not_null(blocks[bytes]);
		cr_assert_eq((uintptr_t)blocks[bytes] % (bytes > 8 ? 16 : 8), 0u);
		cr_assert_geq(gy_heap_usable_size(blocks[bytes], 0), bytes);
		fill(blocks[bytes], bytes, bytes);
	}
	for (size_t bytes = 0; bytes <= GY_CLASS_MAX_BYTES; bytes++) {
		if (!blocks[bytes])
			continue;
		check(blocks[bytes], bytes, bytes);
		gy_heap_free(blocks[bytes], 0);
	}
	gy_heap_check();
}

Test(heap, zeroed_means_zero_though_the_memory_was_used)
{
	static const size_t sizes[] = {0, 1, 8, 100, 1000, 5000, 32768, 32769, 100000, 3 * MB};
	uint64_t rng = 1;

	for (unsigned n = 0; n < 400; n++) {
		size_t bytes = sizes[n % ARRAY_SIZE(sizes)] + unit_random(&rng) % 100;
		unsigned char *block = gy_heap_alloc_zeroed(bytes, 0);

		cr_assert_not_null(block);
		for (size_t i = 0; i < bytes; i++)
			if (block[i])
				cr_assert_fail("byte %zu of %zu", i, bytes);
		memset(block, 0xff, gy_heap_usable_size(block, 0));
		gy_heap_free(block, 0);
		if (n % 50 == 0)
			gy_heap_trim(0);
	}
}

Test(heap, every_alignment_up_to_many_huge_pages)
{
	for (size_t alignment = 1; alignment <= 64 * MB; alignment *= 2) {
		static const size_t sizes[] = {0,    1,     7,     48,    1000,
					       4096, 30000, 32768, 40000, 3 * MB};

		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
			unsigned char *block = gy_heap_alloc_aligned(alignment, sizes[i], 0);

			cr_assert_not_null(block);
			cr_assert_eq((uintptr_t)block % alignment, 0u, "%zu bytes aligned to %zu",
				     sizes[i], alignment);
			cr_assert_geq(gy_heap_usable_size(block, 0), sizes[i]);
			fill(block, MIN(sizes[i], 5000), i);
			check(block, MIN(sizes[i], 5000), i);
			gy_heap_free_sized(block, sizes[i], alignment, 0);
		}
	}
	gy_heap_check();
}

/* ---- realloc: from every size of a grid to every other ---- */
static const size_t grid[] = {1,     8,      9,          16,     24,         25,     72,
			      100,   112,    113,        500,    1024,       1088,   1089,
			      2000,  4096,   8192,       10000,  20000,      32767,  32768,
			      32769, 40960,  65536,      65537,  100000,     262144, 300000,
			      MB,    MB + 1, 2 * MB - 1, 2 * MB, 2 * MB + 1, 3 * MB, 5 * MB};

static void realloc_grid(void)
{
	for (unsigned from = 0; from < ARRAY_SIZE(grid); from++) {
		for (unsigned to = 0; to < ARRAY_SIZE(grid); to++) {
			unsigned char *block = gy_heap_alloc(grid[from], 0), *moved;
			size_t common = MIN(grid[from], grid[to]);

			fill(block, grid[from], from);
			moved = gy_heap_realloc(block, grid[to], 0);
			cr_assert_not_null(moved, "%zu to %zu", grid[from], grid[to]);
			check(moved, common, from);
			cr_assert_geq(gy_heap_usable_size(moved, 0), grid[to]);
			memset(moved, 1, grid[to]);
			/* HEAP-2: free_sized must believe the new size */
			gy_heap_free_sized(moved, grid[to], 0, 0);
		}
	}
	gy_heap_check();
	cr_assert_eq(gy_option(GY_OPT_on_misuse), 0u);
}

Test(heap, HEAP_2_realloc_keeps_contents_over_a_grid_of_sizes)
{
	realloc_grid();
}

Test(heap, HEAP_2_realloc_of_samples_keeps_contents_too)
{
	gy_option_values[GY_OPT_sample] = 1; /* every block */
	gy_option_values[GY_OPT_sample_stack] = 3;
	realloc_grid();
	gy_sampler_check();
}

Test(heap, realloc_grid_without_mremap)
{
	gy_option_values[GY_OPT_mremap] = 0;
	realloc_grid();
	gy_option_values[GY_OPT_mremap] = 1;
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mremap;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	realloc_grid();
}

Test(heap, realloc_walks_at_random_in_several_blocks)
{
	enum { COUNT = 40 };
	unsigned char *blocks[COUNT];
	size_t bytes[COUNT];
	uint64_t rng = 9;

	for (unsigned i = 0; i < COUNT; i++) {
		bytes[i] = 1;
		blocks[i] = gy_heap_alloc(1, 0);
		fill(blocks[i], 1, i);
	}
	for (unsigned n = 0; n < (UNIT_SLOW ? 600u : 4000u); n++) {
		unsigned i = (unsigned)(unit_random(&rng) % COUNT);
		size_t wanted = 1 + unit_random(&rng) % ((size_t)1 << (4 + unit_random(&rng) % 18));
		size_t common = MIN(bytes[i], wanted);

		blocks[i] = gy_heap_realloc(blocks[i], wanted, 0);
		cr_assert_not_null(blocks[i]);
		for (size_t at = 0; at < common; at += at < 64 ? 1 : 997)
			cr_assert_eq(blocks[i][at], (unsigned char)(at * 7 + i));
		bytes[i] = wanted;
		fill(blocks[i], wanted, i);
	}
	for (unsigned i = 0; i < COUNT; i++)
		gy_heap_free(blocks[i], 0);
	gy_heap_check();
}

Test(heap, a_small_block_that_fits_stays_where_it_is)
{
	void *block = gy_heap_alloc(1000, 0);

	cr_assert_eq(gy_heap_realloc(block, 1008, 0), block);
	cr_assert_eq(gy_heap_realloc(block, 600, 0), block);
	block = gy_heap_realloc(block, 100, 0);
	cr_assert_lt(gy_heap_usable_size(block, 0), (size_t)300);
	gy_heap_free(block, 0);
}

/* A program that appends must not copy each time. */
Test(heap, growing_step_by_step_moves_seldom)
{
	static const size_t steps[] = {16, 100, 4096, 65536};

	for (unsigned s = 0; s < ARRAY_SIZE(steps); s++) {
		unsigned moves = 0;
		char *block = gy_heap_alloc(steps[s], 0);
		void *in_between = gy_heap_alloc(100000, 0);

		for (size_t bytes = steps[s]; bytes < steps[s] * 400; bytes += steps[s]) {
			char *grown = gy_heap_realloc(block, bytes, 0);

			moves += grown != block;
			block = grown;
		}
		cr_assert_leq(moves, 80u, "%u moves for steps of %zu", moves, steps[s]);
		gy_heap_free(block, 0);
		gy_heap_free(in_between, 0);
	}
}

/* The frame that holds an address, from /proc/self/pagemap; 0 where one may not know. */
static uint64_t frame_of(const void *address)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)address / 4096 * 8)) != 8)
		entry = 0;
	close(fd);
	return entry & (((uint64_t)1 << 55) - 1);
}

Test(heap, a_large_realloc_moves_pages_not_bytes)
{
	char *block = gy_heap_alloc(8 * MB, 0), *moved;
	void *neighbour = gy_heap_alloc(4 * MB, 0);
	uint64_t frames[4];

	fill((unsigned char *)block, 8 * MB, 3);
	for (unsigned i = 0; i < 4; i++)
		frames[i] = frame_of(block + i * 2 * MB + 12345);
	if (!frames[0])
		cr_skip("frame numbers need root");
	moved = gy_heap_realloc(block, 30 * MB, 0);
	cr_assert_neq(moved, block, "the neighbour is in the way");
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(frame_of(moved + i * 2 * MB + 12345), frames[i]);
	check((unsigned char *)moved, 8 * MB, 3);
	gy_heap_free(moved, 0);
	gy_heap_free(neighbour, 0);
	gy_heap_check();
	/* the place left behind is usable, and reads as anything but somebody's data */
	block = gy_heap_alloc_zeroed(8 * MB, 0);
	for (size_t i = 0; i < 8 * MB; i += 512)
		cr_assert_eq(block[i], 0);
}

/* ---- errno, NULL, strange sizes ---- */
Test(heap, HEAP_3_free_keeps_errno_and_all_but_the_first_word)
{
	static const size_t sizes[] = {16, 100, 32768, 40000, 3 * MB};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned char *block = gy_heap_alloc(sizes[i], 0);

		fill(block, sizes[i], i);
		errno = 4711;
		gy_heap_free(block, 0);
		cr_assert_eq(errno, 4711);
		if (sizes[i] <= GY_CLASS_MAX_BYTES) {
			for (size_t b = 8; b < sizes[i]; b++)
				cr_assert_eq(block[b], (unsigned char)(b * 7 + i));
			/* HEAP-1 */
			cr_assert_eq(*(uintptr_t *)(void *)block, gy_freed_mark());
		}
	}
	errno = 4711;
	gy_heap_free(NULL, 0);
	gy_heap_free_sized(NULL, 10, 16, 0);
	cr_assert_eq(gy_heap_usable_size(NULL, 0), 0u);
	cr_assert_eq(errno, 4711);
}

Test(heap, HEAP_1_an_allocated_block_does_not_carry_the_mark)
{
	for (unsigned n = 0; n < 3; n++) {
		void *blocks[300];

		for (unsigned i = 0; i < 300; i++) {
			blocks[i] = i % 2 ? unit_malloc(i * 100) : gy_heap_alloc(i * 100, 0);
			if (i * 100 <= GY_CLASS_MAX_BYTES)
				cr_assert_eq(*(uintptr_t *)blocks[i], 0u);
		}
		for (unsigned i = 0; i < 300; i++)
			unit_free(blocks[i]);
	}
}

/* A program may well write the mark into its own block: that alone is no double free. */
Test(heap, HEAP_1_the_mark_is_a_suspicion_only)
{
	for (size_t bytes = 8; bytes <= GY_CLASS_MAX_BYTES; bytes = bytes * 2 + 8) {
		uintptr_t *block = unit_malloc(bytes);

		*block = gy_freed_mark();
		cr_assert_geq(gy_heap_usable_size(block, 0), bytes);
		unit_free(block);
	}
	gy_heap_check();
}

Test(heap, what_cannot_be_is_refused_with_ENOMEM)
{
	static const size_t impossible[] = {SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1,
					    PTRDIFF_MAX, (size_t)1 << 62};
	void *block = gy_heap_alloc(100, 0), *large = gy_heap_alloc(3 * MB, 0);

	for (unsigned i = 0; i < ARRAY_SIZE(impossible); i++) {
		errno = 0;
		cr_assert_null(gy_heap_alloc(impossible[i], 0));
		cr_assert_eq(errno, ENOMEM);
		errno = 0;
		cr_assert_null(gy_heap_alloc_zeroed(impossible[i], 0));
		cr_assert_eq(errno, ENOMEM);
		errno = 0;
		cr_assert_null(gy_heap_alloc_aligned(4096, impossible[i], 0));
		cr_assert_eq(errno, ENOMEM);
		errno = 0;
		cr_assert_null(gy_heap_realloc(block, impossible[i], 0));
		cr_assert_eq(errno, ENOMEM);
		errno = 0;
		cr_assert_null(gy_heap_realloc(large, impossible[i], 0));
		cr_assert_eq(errno, ENOMEM);
	}
	errno = 0;
	cr_assert_null(gy_heap_alloc_aligned((size_t)1 << 62, 100, 0));
	cr_assert_eq(errno, ENOMEM);
	gy_heap_free(block, 0);
	gy_heap_free(large, 0);
	gy_heap_check();
}

Test(heap, service_resumes_when_memory_returns)
{
	static void *blocks[20000];
	unsigned count = 0;

	gy_option_values[GY_OPT_fault_call] = GY_SYS_mprotect;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	while (count < ARRAY_SIZE(blocks) && (blocks[count] = gy_heap_alloc(3000, 0)))
		count++;
	cr_assert_lt(count, (unsigned)ARRAY_SIZE(blocks));
	cr_assert_eq(errno, ENOMEM);
	for (unsigned i = 0; i < count; i++)
		memset(blocks[i], 1, 3000);
	gy_option_values[GY_OPT_fault_call] = 0;
	for (unsigned i = count; i < ARRAY_SIZE(blocks); i++)
		cr_assert_not_null(blocks[i] = gy_heap_alloc(3000, 0));
	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
		gy_heap_free(blocks[i], 0);
	gy_heap_check();
}

/* ---- samples ---- */
Test(heap, sampled_blocks_lie_apart_and_are_forgotten_when_freed)
{
	struct gy_sampler_counts counts;
	static void *blocks[3000];
	unsigned sampled = 0;

	gy_option_values[GY_OPT_sample] = 16384;
	gy_option_values[GY_OPT_sample_stack] = 3;
	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++) {
		size_t bytes = 16 + i * 5, page;

		blocks[i] = unit_malloc(bytes);
		page = gy_page_of(blocks[i]);
		if (gy_map.page_info[page].sampled) {
			sampled++;
			cr_assert_eq(gy_map.page_info[page].bin, 0,
				     "free would not see it"); /* META-3 */
		}
		fill(blocks[i], bytes, i);
	}
	gy_sampler_counts(&counts);
	cr_assert_gt(sampled, 100u);
	cr_assert_eq(counts.live, (uint64_t)sampled);
	cr_assert_eq(counts.lost, 0u);
	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++) {
		check(blocks[i], 16 + i * 5, i);
		unit_free(blocks[i]);
	}
	gy_sampler_counts(&counts);
	cr_assert_eq(counts.live, 0u);
	cr_assert_geq(counts.samples, (uint64_t)sampled);
	gy_sampler_check();
	gy_heap_check();
}

/* ---- start ---- */
static void *asks(void *argument)
{
	return gy_heap_start() && gy_heap_started() ? NULL : argument;
}

Test(heap, starting_again_is_nothing)
{
	pthread_t threads[4];
	uintptr_t base = gy_map.base;

	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, asks, &base), 0);
	for (unsigned i = 0; i < 4; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	cr_assert_eq(gy_map.base, base);
}

/* hooks.h: one table, nothing missing. */
Test(heap, every_hook_is_there)
{
	uint64_t rng = 1;

	cr_assert(gy_heap_hooks.started && gy_heap_hooks.sample_interval &&
		  gy_heap_hooks.sample_alloc && gy_heap_hooks.sample_free &&
		  gy_heap_hooks.slow_path);
	cr_assert_eq(gy_heap_hooks.sample_interval(64, 0, &rng), INT64_MAX); /* off here */
}

/* ---- many threads, with a shadow of who owns what ---- */
#define SHARED 2048
static uint64_t *shared[SHARED]; /* [atomic: exchanged] */

static void *trade(void *argument)
{
	uint64_t rng = (uintptr_t)argument;

	for (unsigned n = 0; n < (UNIT_SLOW ? 20000u : 150000u); n++) {
		uint64_t **slot = &shared[unit_random(&rng) % SHARED], *block;
		uint64_t words = 2 + unit_random(&rng) % (unit_random(&rng) % 200 ? 100 : 9000);

		block = unit_malloc(words * 8);
		if (!block)
			return argument;
		block[0] = words;
		block[words - 1] = (uintptr_t)block ^ words;
		block = __atomic_exchange_n(slot, block, __ATOMIC_ACQ_REL);
		if (!block)
			continue;
		words = block[0];
		if (block[words - 1] != ((uintptr_t)block ^ words))
			return argument;
		if (unit_random(&rng) % 8 == 0) {
			uint64_t *grown = gy_heap_realloc(block, words * 16, 0);

			if (!grown || grown[0] != words ||
			    grown[words - 1] != ((uintptr_t)block ^ words))
				return argument;
			block = grown;
		}
		unit_free(block); /* another thread's, most of the time */
	}
	return NULL;
}

Test(heap, blocks_that_change_hands)
{
	pthread_t threads[4];

	gy_option_values[GY_OPT_sample] = 65536;
	for (uintptr_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, trade, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < 4; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	for (unsigned i = 0; i < SHARED; i++)
		if (shared[i])
			unit_free(shared[i]);
	gy_heap_check();
	gy_sampler_check();
}
