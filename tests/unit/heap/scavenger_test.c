/* scavenger_test.c - idle memory leaves, by each back end; live data and the books stay right.
 *
 * What has left is measured, not believed: mincore() counts the resident pages of the whole range.
 */
#include "heap/scavenger.h"

#include "base/config.h"
#include "heap/central.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "os/sys.h"

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

TestSuite(scavenger, .init = quiet);

static size_t heap_resident(void)
{
	return unit_resident((void *)gy_map.base, gy_map.page_count * GY_PAGE_BYTES);
}

static uint64_t gone_in_spans(void)
{
	uint64_t bytes = 0;

	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		bytes += gy_centrals[0][c].gone_bytes + gy_centrals[1][c].gone_bytes;
	return bytes;
}

static struct gy_page_heap_stats stats(void)
{
	struct gy_page_heap_stats now;

	gy_page_heap_read_stats(&now);
	return now;
}

/* The books never claim more than the kernel has back. */
static void check_books(void)
{
	size_t usable = gy_map.page_count * GY_PAGE_BYTES;
	uint64_t released = stats().released_pages * GY_PAGE_BYTES + gone_in_spans();

	cr_assert_leq(heap_resident() + released, usable, "%zu resident, %llu released, of %zu",
		      heap_resident(), (unsigned long long)released, usable);
	gy_heap_check();
}

#define BLOCKS 400000u
static unsigned char *blocks[BLOCKS];
static uint16_t bytes_of[BLOCKS];

/* `total` bytes of blocks of mixed sizes, each with its own bytes. */
static unsigned allocate(size_t total, size_t most, uint64_t *rng)
{
	unsigned count = 0;

	while (total && count < BLOCKS) {
		bytes_of[count] = (uint16_t)(16 + unit_random(rng) % most);
		blocks[count] = unit_malloc(bytes_of[count]);
		cr_assert_not_null(blocks[count]);
		memset(blocks[count], (int)(count % 255 + 1), bytes_of[count]);
		total -= MIN(total, bytes_of[count]);
		count++;
	}
	return count;
}

static void check_block(unsigned i)
{
	for (unsigned b = 0; b < bytes_of[i]; b++)
		if (blocks[i][b] != (unsigned char)(i % 255 + 1))
			cr_assert_fail("block %u of %u bytes: byte %u is lost", i, bytes_of[i], b);
}

static void free_but(unsigned count, unsigned keep_every)
{
	for (unsigned i = 0; i < count; i++) {
		if (keep_every && i % keep_every == 0)
			continue;
		unit_free(blocks[i]);
		blocks[i] = NULL;
	}
	gy_heap_flush();
}

static const size_t amount = UNIT_SLOW ? 24 * MB : 80 * MB;

static void everything_leaves(uint64_t backend)
{
	uint64_t rng = backend + 1;
	size_t before, after, given;
	unsigned count;

	gy_option_values[GY_OPT_release_backend] = backend;
	count = allocate(amount, 2000, &rng);
	before = heap_resident();
	cr_assert_geq(before, amount);
	free_but(count, 0);
	given = gy_heap_trim(0);
	after = heap_resident();
	cr_assert_geq(given, before - MB);
	cr_assert_leq(after, MB, "%zu of %zu bytes stay", after, before);
	check_books();
	cr_assert_eq(stats().used_pages, 0u);
	/* and can be used again */
	count = allocate(amount / 4, 2000, &rng);
	for (unsigned i = 0; i < count; i++)
		check_block(i);
	check_books();
}

Test(scavenger, all_free_memory_leaves_by_process_madvise)
{
	everything_leaves(1);
}

Test(scavenger, all_free_memory_leaves_by_io_uring)
{
	everything_leaves(2);
}

Test(scavenger, all_free_memory_leaves_by_madvise)
{
	everything_leaves(3);
}

/* One block in 40 stays: no span is free, and yet most of the memory leaves. */
static void objects_leave(uint64_t backend, size_t most, unsigned keep_every)
{
	uint64_t rng = backend + 77;
	unsigned count;
	size_t before, after;

	gy_option_values[GY_OPT_release_backend] = backend;
	count = allocate(amount / 2, most, &rng);
	before = heap_resident();
	free_but(count, keep_every);
	gy_heap_trim(0);
	after = heap_resident();
	cr_assert_leq(after, before / 2, "%zu of %zu bytes stay", after, before);
	cr_assert_gt(gone_in_spans(), 0u);
	check_books();
	for (unsigned i = 0; i < count; i += keep_every)
		check_block(i);
	/* what left comes back when it is used */
	for (unsigned i = 0; i < count; i++) {
		if (i % keep_every == 0)
			continue;
		blocks[i] = unit_malloc(bytes_of[i]);
		memset(blocks[i], (int)(i % 255 + 1), bytes_of[i]);
	}
	check_books();
	for (unsigned i = 0; i < count; i++) {
		check_block(i);
		unit_free(blocks[i]);
	}
	gy_heap_trim(0);
	cr_assert_leq(heap_resident(), 2 * MB);
	check_books();
}

Test(scavenger, idle_pages_inside_spans_leave_and_live_data_stays)
{
	for (uint64_t backend = 0; backend < 4; backend++)
		objects_leave(backend, 200, 211);
	objects_leave(0, 2000, 40);
}

Test(scavenger, large_blocks_leave_whole)
{
	void *large[8];
	size_t before;

	for (unsigned i = 0; i < 8; i++) {
		large[i] = gy_heap_alloc(3 * MB + i * 100000, 0);
		memset(large[i], 1, 3 * MB);
	}
	before = heap_resident();
	for (unsigned i = 0; i < 8; i += 2)
		gy_heap_free(large[i], 0);
	gy_heap_trim(0);
	cr_assert_leq(heap_resident(), before - 4 * 2 * MB);
	check_books();
	for (unsigned i = 1; i < 8; i += 2)
		for (size_t at = 0; at < 3 * MB; at += 4096)
			cr_assert_eq(((char *)large[i])[at], 1);
}

Test(scavenger, trim_keeps_what_it_is_told_to_keep)
{
	uint64_t rng = 1;
	unsigned count = allocate(amount, 1000, &rng);
	size_t before;

	free_but(count, 0);
	before = heap_resident();
	gy_heap_trim(before / 2);
	cr_assert_geq(heap_resident(), before / 2 - 4 * MB); /* whole huge pages */
	cr_assert_leq(heap_resident(), before / 2 + 4 * MB);
	cr_assert_eq(gy_heap_trim(before), 0u);
	check_books();
}

/* Where transparent huge pages serve the heap: one touch brings two MiB, and the books know
 * (HUGE-4). */
Test(scavenger, HUGE_4_huge_pages_are_counted_and_given_back_whole)
{
	uint64_t rng = 1;
	void *ballast =
		gy_heap_alloc(150 * MB, 0); /* never touched: what follows is past the plain part */
	unsigned count = allocate(30 * MB, 1000, &rng), advised = 0;

	for (size_t h = 0; h < gy_map.hugepage_count; h++)
		advised += gy_map.hugepages[h].advised;
	cr_assert_gt(advised, 5u);
	check_books();
	free_but(count, 50);
	check_books();
	gy_heap_trim(0);
	check_books();
	for (unsigned i = 0; i < count; i += 50) {
		check_block(i);
		unit_free(blocks[i]);
	}
	gy_heap_flush();
	gy_heap_trim(0);
	cr_assert_leq(heap_resident(), MB);
	check_books();
	gy_heap_free(ballast, 0);
}

/* ---- paced steps: the background thread's, with a clock of our own ---- */
static uint64_t step(uint64_t ms, unsigned ticks)
{
	gy_heap_tick += ticks;
	gy_scavenger_step(ms * 1000000);
	return stats().released_total_bytes;
}

Test(scavenger, nothing_leaves_before_it_has_lain_idle)
{
	uint64_t rng = 1;
	unsigned count;

	gy_heap_tick = 100000;
	count = allocate(amount / 2, 1000, &rng);
	free_but(count, 0);
	gy_central_drain(&gy_centrals[0][1], 0);
	/* release_delay is 1,000 ms: 20 ticks */
	for (unsigned i = 0; i < 18; i++)
		cr_assert_eq(step(1000, 1), 0u, "after %u ticks", i);
	for (unsigned i = 0; i < 60; i++)
		step(1000, 1);
	cr_assert_gt(stats().released_total_bytes, (uint64_t)(amount / 2 - 4 * MB));
	cr_assert_leq(heap_resident(), 2 * MB);
	check_books();
}

Test(scavenger, SCAV_4_the_pace_is_the_rate)
{
	uint64_t rng = 1, released, last = 0;
	unsigned count = allocate(amount, 1000, &rng), turns = 0;

	free_but(count, 0);
	gy_option_values[GY_OPT_release_rate] = 64 * MB; /* a second */
	step(0, 1000);
	last = stats().released_total_bytes;
	for (; turns < 100 && heap_resident() > 4 * MB; turns++) {
		released = step(50, 1); /* 3.2 MB are allowed */
		cr_assert_leq(released - last, 8 * MB, "turn %u", turns);
		last = released;
	}
	cr_assert_geq(turns, (unsigned)(amount / (64 * MB / 20)) / 2);
	cr_assert_lt(turns, 100u);
	check_books();
}

/* The least rate that the option allows is slow, and still gets there. */
Test(scavenger, SCAV_4_the_least_rate_works)
{
	uint64_t rng = 1;
	unsigned count = allocate(20 * MB, 1000, &rng);

	free_but(count, 0);
	gy_option_values[GY_OPT_release_rate] = gy_option_table[GY_OPT_release_rate].minimum;
	gy_heap_tick += 1000;
	for (unsigned i = 0; i < 60; i++)
		step(1000, 20);
	cr_assert_leq(heap_resident(), 4 * MB);
}

Test(scavenger, release_off_means_off)
{
	uint64_t rng = 1;
	unsigned count = allocate(16 * MB, 1000, &rng);

	free_but(count, 0);
	gy_option_values[GY_OPT_release] = 0;
	cr_assert_eq(step(100000, 10000), 0u);
	gy_option_values[GY_OPT_release] = 1;
	cr_assert_gt(step(100000, 10000), 0u);
}

Test(scavenger, without_release_objects_only_free_spans_leave)
{
	uint64_t rng = 1;
	unsigned count = allocate(amount / 2, 200, &rng);

	free_but(count, 100);
	gy_option_values[GY_OPT_release_objects] = 0;
	for (unsigned i = 0; i < 20; i++)
		step(10000, 100);
	cr_assert_eq(gone_in_spans(), 0u);
	gy_option_values[GY_OPT_release_objects] = 1;
	for (size_t h = 0; h < gy_map.hugepage_count; h++)
		gy_map.hugepages[h].scanned = 0;
	for (unsigned i = 0; i < 20; i++)
		step(10000, 100);
	cr_assert_gt(gone_in_spans(), 0u);
	for (unsigned i = 0; i < count; i += 100)
		check_block(i);
	check_books();
}

/* A quiet heap costs no system calls. */
Test(scavenger, a_quiet_heap_is_left_alone)
{
	uint64_t rng = 1, calls;
	unsigned count = allocate(amount / 2, 1000, &rng);

	free_but(count, 50);
	for (unsigned i = 0; i < 50; i++)
		step(10000, 100);
	calls = stats().release_calls;
	cr_assert_gt(calls, 0u);
	for (size_t h = 0; h < gy_map.hugepage_count; h++)
		if (gy_map.hugepages[h].state == GY_HUGEPAGE_PARTIAL)
			cr_assert(gy_map.hugepages[h].scanned, "huge page %zu is looked at in vain",
				  h);
	for (unsigned i = 0; i < 50; i++)
		step(10000, 100);
	cr_assert_eq(stats().release_calls, calls);
}

Test(scavenger, SCAV_2_what_the_kernel_refuses_stays_and_is_counted_so)
{
	uint64_t rng = 1;
	unsigned count = allocate(16 * MB, 1000, &rng);
	size_t before;

	free_but(count, 60);
	before = heap_resident();
	gy_option_values[GY_OPT_release_backend] = 3;
	gy_option_values[GY_OPT_fault_call] = GY_SYS_madvise;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	cr_assert_eq(gy_heap_trim(0), 0u);
	cr_assert_eq(heap_resident(), before);
	cr_assert_eq(gone_in_spans(), 0u);
	cr_assert_eq(stats().released_total_bytes, 0u);
	check_books();
	gy_option_values[GY_OPT_fault_call] = 0;
	cr_assert_gt(gy_heap_trim(0), before / 2);
	for (unsigned i = 0; i < count; i += 60)
		check_block(i);
	check_books();
}

/* What began on small pages and has filled up becomes huge pages, a few a step; nobody's bytes
 * change. */
Test(scavenger, dense_parts_of_a_large_heap_are_collapsed)
{
	uint64_t rng = 1;
	unsigned count = allocate(20 * MB, 1000, &rng), advised = 0;
	void *ballast = gy_heap_alloc(200 * MB, 0); /* never touched */

	for (unsigned i = 0; i < 20; i++)
		step(10, 0);
	for (size_t h = 0; h < gy_map.hugepage_count; h++)
		advised += gy_map.hugepages[h].advised;
	for (unsigned i = 0; i < count; i++)
		check_block(i);
	check_books();
	if (!advised)
		cr_skip("the kernel made no huge page (MADV_COLLAPSE is of Linux 6.1, and needs "
			"free memory)");
	free_but(count, 0);
	gy_heap_free(ballast, 0);
	gy_heap_trim(0);
	cr_assert_leq(heap_resident(), MB);
	check_books();
	/* off means off */
	gy_option_values[GY_OPT_collapse] = 0;
	count = allocate(20 * MB, 1000, &rng);
	ballast = gy_heap_alloc(200 * MB, 0);
	for (size_t h = 0; h < gy_map.hugepage_count; h++)
		advised += gy_map.hugepages[h].advised;
	for (unsigned i = 0; i < 20; i++)
		step(10, 0);
	for (size_t h = 0; h < gy_map.hugepage_count; h++)
		advised -= gy_map.hugepages[h].advised;
	cr_assert_gt(advised, 0u);
	gy_heap_free(ballast, 0);
	free_but(count, 0);
}

/* An allocation that would fail is served from what lay idle elsewhere. */
Test(scavenger, an_emergency_makes_room)
{
	uint64_t rng = 1;
	unsigned count = allocate(30 * MB, 1000, &rng);
	void *large;

	free_but(count, 0);
	gy_option_values[GY_OPT_memory_limit] = 40 * MB;
	large = gy_heap_alloc(38 * MB, 0);
	cr_assert_not_null(large);
	memset(large, 1, 38 * MB);
	cr_assert_leq(heap_resident(), 44 * MB);
	errno = 0;
	cr_assert_null(gy_heap_alloc(20 * MB, 0));
	cr_assert_eq(errno, ENOMEM);
	gy_heap_free(large, 0);
	check_books();
}

/* ---- SCAV-1: releases at full speed beside threads that allocate, free and look ---- */
static uint32_t stop; /* [atomic] */

static void *user(void *argument)
{
	enum { SLOTS = 3000 };
	uint64_t rng = (uintptr_t)argument;
	uint64_t **held = calloc(SLOTS, sizeof(*held));
	uintptr_t failed = 0;

	while (!READ_RELAXED(stop) && !failed) {
		unsigned at = (unsigned)(unit_random(&rng) % SLOTS);
		size_t words = 2 + unit_random(&rng) % (unit_random(&rng) % 50 ? 120 : 9000);

		if (held[at]) {
			uint64_t length = held[at][0];

			for (size_t w = 1; w < length; w += w < 8 ? 1 : 61)
				failed |= held[at][w] != (uintptr_t)&held[at][w] + length;
			unit_free(held[at]);
			held[at] = NULL;
		} else {
			held[at] = unit_malloc(words * 8);
			if (!held[at])
				break;
			held[at][0] = words;
			for (size_t w = 1; w < words; w += w < 8 ? 1 : 61)
				held[at][w] = (uintptr_t)&held[at][w] + words;
		}
	}
	for (unsigned at = 0; at < SLOTS; at++)
		if (held[at])
			unit_free(held[at]);
	free(held);
	return (void *)failed;
}

static void release_beside_users(uint64_t backend, unsigned ms)
{
	uint64_t end = unit_now_ms() + ms, bytes = 0;
	pthread_t threads[3];

	gy_option_values[GY_OPT_release_backend] = backend;
	WRITE_RELAXED(stop, 0u);
	for (uintptr_t i = 0; i < 3; i++)
		cr_assert_eq(
			pthread_create(&threads[i], NULL, user, (void *)(i + 1 + backend * 10)), 0);
	while (unit_now_ms() < end)
		bytes += gy_heap_trim(0);
	WRITE_RELAXED(stop, 1u);
	for (unsigned i = 0; i < 3; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		cr_assert_null(failed, "a live block lost its bytes");
	}
	cr_assert_gt(bytes, 0u);
	check_books();
}

Test(scavenger, SCAV_1_live_data_is_never_touched)
{
	for (uint64_t backend = 1; backend < 4; backend++)
		release_beside_users(backend, UNIT_SLOW ? 1500 : 700);
}
