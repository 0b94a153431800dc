/* gyre_test.c - the public functions: what they return, what they refuse, what they promise of
 * structs. */
#include <gyre/gyre.h>

#include "base/config.h"
#include "heap/heap.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

static void quiet(void)
{
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample_stack] = 3;
}

TestSuite(gyre, .init = quiet);

Test(gyre, version_is_one_string)
{
	char expected[32];

	snprintf(expected, sizeof(expected), "%d.%d.%d", GYRE_VERSION_MAJOR, GYRE_VERSION_MINOR,
		 GYRE_VERSION_PATCH);
	cr_assert_str_eq(gyre_version(), expected);
	cr_assert_str_eq(GYRE_VERSION, expected);
}

Test(gyre, stats_refuse_what_cannot_be)
{
	struct gyre_stats stats;

	cr_assert_eq(gyre_stats_read(NULL, sizeof(stats)), -EINVAL);
	cr_assert_eq(gyre_stats_read(&stats, 0), -EINVAL);
	cr_assert_eq(gyre_class_stats_read(NULL, 0, 0), -EINVAL);
	cr_assert_eq(gyre_class_stats_read(NULL, 5, sizeof(struct gyre_class_stats)), -EINVAL);
}

Test(gyre, stats_count_what_is_done)
{
	struct gyre_stats before, after;
	void *blocks[1000];

	cr_assert_eq(gyre_stats_read(&before, sizeof(before)), 0);
	for (unsigned i = 0; i < 1000; i++)
		blocks[i] = unit_malloc(100);
	cr_assert_eq(gyre_stats_read(&after, sizeof(after)), 0);
	cr_assert_eq(after.mallocs - before.mallocs, 1000u);
	cr_assert_eq(after.heap_alloc - before.heap_alloc, 1000u * 112);
	cr_assert_geq(after.heap_inuse, after.heap_alloc);
	cr_assert_eq(after.heap_inuse + after.heap_idle, after.heap_sys);
	cr_assert_gt(after.metadata_bytes, 0u);
	cr_assert_gt(after.heap_reserved, after.heap_sys);
	cr_assert_eq(after.threads, 1u);
	for (unsigned i = 0; i < 1000; i++)
		unit_free(blocks[i]);
	gyre_stats_read(&after, sizeof(after));
	cr_assert_eq(after.frees - before.frees, 1000u);
	cr_assert_eq(after.heap_alloc, before.heap_alloc);
}

/* A program built against an older or newer header passes another size. */
Test(gyre, structs_may_grow)
{
	struct {
		struct gyre_stats stats;
		char more[64];
	} larger;
	struct gyre_stats whole;
	unsigned char smaller[64];

	unit_free(unit_malloc(1000));
	memset(&larger, 0xaa, sizeof(larger));
	cr_assert_eq(gyre_stats_read(&larger.stats, sizeof(larger)), 0);
	cr_assert_eq(gyre_stats_read(&whole, sizeof(whole)), 0);
	cr_assert_eq(larger.stats.heap_sys, whole.heap_sys);
	for (unsigned i = 0; i < sizeof(larger.more); i++)
		cr_assert_eq(larger.more[i], 0);
	memset(smaller, 0xaa, sizeof(smaller));
	cr_assert_eq(gyre_stats_read((void *)smaller, 40), 0);
	cr_assert_eq(memcmp(smaller + 32, &whole.heap_sys, 8), 0);
	for (unsigned i = 40; i < sizeof(smaller); i++)
		cr_assert_eq(smaller[i], 0xaa);
}

Test(gyre, class_stats_by_capacity_and_entry_size)
{
	static struct gyre_class_stats classes[200];
	static struct {
		struct gyre_class_stats stats;
		uint64_t more[3];
	} larger[200];
	static unsigned char smaller[200][8];
	void *block = unit_malloc(500);
	int count = gyre_class_stats_read(NULL, 0, sizeof(*classes));

	cr_assert_eq(count, (int)GY_CLASS_COUNT - 1);
	cr_assert_eq(gyre_class_stats_read(classes, 200, sizeof(*classes)), count);
	for (int i = 0; i < count; i++) {
		bool ours = i == (int)gy_class_of_request(500) - 1;

		cr_assert_eq(classes[i].object_bytes, gy_size_classes[i + 1].bytes);
		cr_assert_eq(classes[i].span_objects, gy_size_classes[i + 1].objects);
		cr_assert_eq(classes[i].span_bytes, gy_size_classes[i + 1].pages * GY_PAGE_BYTES);
		cr_assert_eq(classes[i].live, (uint64_t)ours);
		cr_assert_eq(classes[i].mallocs, (uint64_t)ours);
	}
	/* fewer, larger, smaller entries */
	memset(&classes[3], 0xaa, sizeof(classes[3]));
	cr_assert_eq(gyre_class_stats_read(classes, 3, sizeof(*classes)), count);
	cr_assert_eq(classes[3].object_bytes, 0xaaaaaaaau);
	memset(larger, 0xaa, sizeof(larger));
	cr_assert_eq(gyre_class_stats_read(&larger[0].stats, 200, sizeof(larger[0])), count);
	cr_assert_eq(larger[7].stats.object_bytes, gy_size_classes[8].bytes);
	cr_assert_eq(larger[7].more[2], 0u);
	cr_assert_eq(gyre_class_stats_read((void *)smaller, 200, 8), count);
	cr_assert_eq(memcmp(smaller[7], &larger[7].stats, 8), 0);
	unit_free(block);
}

Test(gyre, trim_gives_back_and_says_how_much)
{
	const size_t bytes = 20 << 20;
	struct gyre_stats stats;
	void *block = unit_malloc(bytes);
	size_t given;

	gyre_trim(0);
	memset(block, 1, bytes);
	unit_free(block);
	given = gyre_trim(0);
	cr_assert_geq(given, bytes);
	gyre_stats_read(&stats, sizeof(stats));
	cr_assert_geq(stats.released_total, given);
	cr_assert_eq(gyre_trim(0), 0u);
}

Test(gyre, flushing_empties_the_callers_cache)
{
	struct gyre_stats stats;
	void *blocks[100];

	cr_assert_eq(gyre_thread_cache_flush(), 0u);
	for (unsigned i = 0; i < 100; i++)
		blocks[i] = unit_malloc(64);
	for (unsigned i = 0; i < 100; i++)
		unit_free(blocks[i]);
	cr_assert_geq(gyre_thread_cache_flush(), (size_t)64);
	gyre_stats_read(&stats, sizeof(stats));
	cr_assert_eq(stats.thread_cache_bytes, 0u);
	cr_assert_eq(gyre_thread_cache_flush(), 0u);
}

Test(gyre, options_by_name)
{
	uint64_t value = 0;

	cr_assert_eq(gyre_option_get("sample", &value), 0);
	cr_assert_eq(value, 512u << 10);
	cr_assert_eq(gyre_option_get("nonesuch", &value), -ENOENT);
	cr_assert_eq(gyre_option_get(NULL, &value), -ENOENT);
	cr_assert_eq(gyre_option_set("nonesuch", 1), -ENOENT);
	cr_assert_eq(gyre_option_set(NULL, 1), -ENOENT);
	cr_assert_eq(gyre_option_set("reserve", 1ull << 40), -EPERM);
	cr_assert_eq(gyre_option_set("cache_idle", 1), -ERANGE);
	cr_assert_eq(gyre_option_set("cache_idle", 12345), 0);
	cr_assert_eq(gyre_option_get("cache_idle", &value), 0);
	cr_assert_eq(value, 12345u);
}

/* ---- the profile ---- */
struct sum {
	uint64_t stacks, inuse_objects, alloc_objects, found;
	int stop_after;
};

static int add(const struct gyre_profile_entry *entry, void *context)
{
	struct sum *sum = context;

	cr_assert_gt(entry->depth, 0u);
	cr_assert_leq(entry->inuse_objects, entry->alloc_objects);
	cr_assert_leq(entry->inuse_bytes, entry->alloc_bytes);
	sum->stacks++;
	sum->inuse_objects += entry->inuse_objects;
	sum->alloc_objects += entry->alloc_objects;
	sum->found += entry->frames[0] == 0x5000;
	unit_free(unit_malloc(32)); /* it may allocate */
	return sum->stop_after && !--sum->stop_after ? 42 : 0;
}

Test(gyre, the_profile_is_visited)
{
	struct sum sum = {.stop_after = 0};

	gy_option_values[GY_OPT_sample] = 1;
	for (unsigned i = 0; i < 1000; i++) {
		void *block = gy_heap_alloc(64, 0x5000);

		if (i % 2)
			gy_heap_free(block, 0);
		gy_heap_alloc(48, 0x6000);
	}
	cr_assert_eq(gyre_profile_each(add, &sum), 0);
	cr_assert_eq(sum.found, 1u);
	cr_assert_geq(sum.alloc_objects, 2000u);
	cr_assert_lt(sum.alloc_objects, 2200u);
	cr_assert_geq(sum.inuse_objects, 1500u);
	sum = (struct sum){.stop_after = 1};
	cr_assert_eq(gyre_profile_each(add, &sum), 42);
	cr_assert_eq(sum.stacks, 1u);
	cr_assert_eq(gyre_profile_each(NULL, NULL), -EINVAL);
	gy_option_values[GY_OPT_sample] = 0;
	cr_assert_eq(gyre_profile_each(add, &sum), -EOPNOTSUPP);
}

/* ---- in a forked child, as the header says ---- */
static void uses_it_all(void *argument)
{
	struct gyre_stats stats;
	uint64_t value;

	child_check(gyre_stats_read(&stats, sizeof(stats)) == 0);
	child_check(stats.threads == 1);
	unit_free(unit_malloc(5 << 20));
	gyre_trim(0);
	child_check(gyre_option_get("release", &value) == 0);
	child_check(gyre_class_stats_read(NULL, 0, 8) > 0);
	gyre_thread_cache_flush();
	gy_heap_check();
	(void)argument;
}

Test(gyre, allowed_in_a_forked_child)
{
	struct unit_child child;

	unit_free(unit_malloc(100));
	child = unit_child_run(uses_it_all, NULL);
	unit_assert_exit(child, 0);
}
