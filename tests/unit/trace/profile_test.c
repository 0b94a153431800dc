/* profile_test.c - the live samples and the profile's buckets: books that must balance.
 *
 * Stacks are one frame deep here (option sample_stack = off), so that caller_pc alone names one.
 */
#include "trace/profile.h"

#include "base/config.h"
#include "heap/hooks.h"
#include "os/sys.h"
#include "trace/sampler.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void shallow(void)
{
	gy_option_values[GY_OPT_sample_stack] = 3;
}

TestSuite(profile, .init = shallow);

static void *block_at(uintptr_t number)
{
	return (void *)(0x10000 + number * 64);
}

static void allocate(uintptr_t number, uintptr_t caller)
{
	gy_sample_alloc(block_at(number), 0, 50, 64, 0, caller);
}

/* Shared memory, as the control page is. */
static struct gyre_control_bucket *shared_buckets(unsigned count)
{
	void *page = mmap(NULL, count * sizeof(struct gyre_control_bucket), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(page, MAP_FAILED);
	return page;
}

static struct gy_sampler_counts checked_counts(void)
{
	struct gy_sampler_counts counts;

	gy_sampler_check();
	gy_sampler_counts(&counts);
	return counts;
}

/* ---- live samples against a plain array ---- */
Test(profile, LIVE_1_against_a_model)
{
	enum { BLOCKS = 20000, STEPS = 200000 };
	static struct gy_live_sample *model[BLOCKS];
	uint64_t state = 42;
	uint32_t count = 0;

	gy_lock_acquire(&gy_sampler_lock);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned i = (unsigned)((state = state * 6364136223846793005u + 1) >> 33) % BLOCKS;
		uintptr_t block = (uintptr_t)block_at(i);

		cr_assert(gy_live_find_locked(block) == model[i]);
		if (model[i]) {
			cr_assert(gy_live_remove_locked(block) == model[i]);
			model[i] = NULL;
			count--;
		} else {
			model[i] = gy_live_add_locked(block);
			cr_assert_not_null(model[i]);
			cr_assert_eq(model[i]->block, block);
			count++;
		}
		cr_assert_eq(gy_live_count(), count);
		if (step % 20000 == 0)
			gy_live_check_locked();
	}
	gy_live_check_locked();
	gy_lock_release(&gy_sampler_lock);
}

Test(profile, LIVE_2_bounded)
{
	gy_lock_acquire(&gy_sampler_lock);
	for (uintptr_t i = 0; i < GY_LIVE_MAX; i++)
		cr_assert_not_null(gy_live_add_locked((uintptr_t)block_at(i)));
	cr_assert_null(gy_live_add_locked((uintptr_t)block_at(GY_LIVE_MAX)));
	gy_live_check_locked();
	gy_live_remove_locked((uintptr_t)block_at(7));
	cr_assert_not_null(gy_live_add_locked((uintptr_t)block_at(GY_LIVE_MAX)));
	gy_lock_release(&gy_sampler_lock);
}

/* ---- entries, as gyre_profile_each shows them ---- */
struct seen {
	unsigned entries;
	uint64_t inuse_bytes, inuse_objects, alloc_bytes, alloc_objects;
	uint64_t wanted;                 /* a first frame, or 0 */
	struct gyre_profile_entry entry; /* that of the wanted frame */
	int stop_after;
};

static int see(const struct gyre_profile_entry *entry, void *context)
{
	struct seen *seen = context;

	cr_assert_geq(entry->depth, 1u);
	seen->entries++;
	seen->inuse_bytes += entry->inuse_bytes;
	seen->inuse_objects += entry->inuse_objects;
	seen->alloc_bytes += entry->alloc_bytes;
	seen->alloc_objects += entry->alloc_objects;
	if (entry->frames[0] == seen->wanted)
		seen->entry = *entry;
	return seen->stop_after && (int)seen->entries == seen->stop_after ? 77 : 0;
}

static struct seen look(uint64_t wanted)
{
	struct seen seen = {.wanted = wanted};

	cr_assert_eq(gy_profile_each(see, &seen), 0);
	return seen;
}

Test(profile, entries_are_estimates_by_stack)
{
	const uint64_t weight = gy_sample_weight(64, 0), objects = weight / 64;
	struct seen seen;

	cr_assert_eq(look(0).entries, 0u);
	for (uintptr_t i = 0; i < 10; i++)
		allocate(i, 0x1000);
	for (uintptr_t i = 10; i < 14; i++)
		allocate(i, 0x2000);
	for (uintptr_t i = 0; i < 3; i++)
		gy_sample_free(block_at(i), 0);
	seen = look(0x1000);
	cr_assert_eq(seen.entries, 2u);
	cr_assert_eq(seen.entry.alloc_bytes, 10 * weight);
	cr_assert_eq(seen.entry.inuse_bytes, 7 * weight);
	cr_assert_leq(seen.entry.alloc_objects - 10 * objects, 10u);
	cr_assert_leq(seen.entry.inuse_objects - 7 * objects, 7u);
	cr_assert_eq(look(0x2000).entry.inuse_bytes, 4 * weight);
	gy_sampler_check();
}

Test(profile, each_stops_and_refuses)
{
	struct seen seen = {.stop_after = 2};

	for (uintptr_t i = 0; i < 5; i++)
		allocate(i, 0x1000 + i);
	cr_assert_eq(gy_profile_each(see, &seen), 77);
	cr_assert_eq(seen.entries, 2u);
	cr_assert_eq(gy_profile_each(NULL, NULL), -EINVAL);
	gy_option_values[GY_OPT_sample] = 0;
	cr_assert_eq(gy_profile_each(see, &seen), -EOPNOTSUPP);
}

static int see_and_sample(const struct gyre_profile_entry *entry, void *context)
{
	uintptr_t *number = context;

	(void)entry;
	allocate(1000 + (*number)++, 0x9000); /* visit runs under no lock: it may allocate */
	return 0;
}

Test(profile, visit_may_allocate)
{
	uintptr_t number = 0;

	allocate(1, 0x1000);
	cr_assert_eq(gy_profile_each(see_and_sample, &number), 0);
	cr_assert_geq(number, (uintptr_t)1);
	gy_sampler_check();
}

Test(profile, whole_stacks_are_kept_apart)
{
	struct seen seen;

	gy_option_values[GY_OPT_sample_stack] = 0;
	for (unsigned i = 0; i < 3; i++)
		gy_sample_alloc(block_at(i), 0, 1, 8, 0, (uintptr_t)__builtin_return_address(0));
	seen = look((uintptr_t)__builtin_return_address(0));
	cr_assert_eq(seen.entries, 1u, "three samples of one stack are one bucket: %u",
		     seen.entries);
	cr_assert_gt(seen.entry.depth, 1u);
}

/* ---- tables: full, growing, moving ---- */
Test(profile, full_table_overflows)
{
	struct gyre_control_bucket *buckets = shared_buckets(8);
	struct gy_sampler_counts counts;

	gy_profile_init(buckets, 8);
	for (uintptr_t i = 0; i < 20; i++)
		allocate(i, 0x1000 + i);
	counts = checked_counts();
	cr_assert_eq(counts.samples, 20u);
	cr_assert_eq(counts.live, 20u);
	cr_assert_eq(counts.lost, 13u);
	cr_assert_eq(buckets[7].depth, 1u);
	cr_assert_eq(buckets[7].frames[0], 0u);
	cr_assert_eq(buckets[7].alloc_objects, 13u);
	for (uintptr_t i = 0; i < 20; i++)
		gy_sample_free(block_at(i), 0);
	checked_counts();
	cr_assert_eq(buckets[7].free_objects, 13u);
}

Test(profile, early_table_moves_to_the_control_page)
{
	struct gyre_control_bucket *buckets = shared_buckets(GYRE_CONTROL_BUCKETS);
	struct seen before, after;

	for (uintptr_t i = 0; i < 100; i++)
		allocate(i, 0x1000 + i % 40);
	for (uintptr_t i = 0; i < 30; i++)
		gy_sample_free(block_at(i), 0);
	before = look(0x1005);
	gy_profile_init(buckets, GYRE_CONTROL_BUCKETS);
	gy_sampler_check();
	after = look(0x1005);
	cr_assert_eq(after.entries, 40u);
	cr_assert_eq(after.inuse_bytes, before.inuse_bytes);
	cr_assert_eq(after.alloc_bytes, before.alloc_bytes);
	cr_assert_eq(after.entry.inuse_bytes, before.entry.inuse_bytes);
	for (uintptr_t i = 30; i < 100; i++)
		gy_sample_free(block_at(i), 0);
	cr_assert_eq(look(0).inuse_bytes, 0u);
	cr_assert_eq(checked_counts().live, 0u);
}

Test(profile, early_table_grows_where_no_page_comes)
{
	for (uintptr_t i = 0; i < 2000; i++)
		allocate(i, 0x100000 + i * 16);
	cr_assert_eq(checked_counts().lost, 0u);
	cr_assert_eq(look(0).entries, 2000u);
}

Test(profile, without_control_the_table_is_large_at_once)
{
	gy_option_values[GY_OPT_control] = 0;
	for (uintptr_t i = 0; i < 3000; i++)
		allocate(i, 0x100000 + i * 16);
	cr_assert_eq(checked_counts().lost, 0u);
	cr_assert_eq(look(0).entries, 3000u);
}

Test(profile, SAMPLE_3_no_memory_loses_samples_and_says_so)
{
	struct gy_sampler_counts counts;

	if (GY_TSAN)
		cr_skip_test("the runner for ThreadSanitizer leaves memory to spare");
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mmap;
	gy_option_values[GY_OPT_fault_count] = (uint64_t)1 << 40;
	for (uintptr_t i = 0; i < 10; i++)
		allocate(i, 0x1000);
	counts = checked_counts();
	cr_assert_eq(counts.samples, 10u);
	cr_assert_eq(counts.live, 0u);
	cr_assert_eq(counts.lost, 10u);
	gy_option_values[GY_OPT_fault_call] = 0;
	for (uintptr_t i = 0; i < 10; i++)
		gy_sample_free(block_at(i), 0); /* those lost: nothing happens */
	allocate(1, 0x1000);
	counts = checked_counts();
	cr_assert_eq(counts.samples, 11u);
	cr_assert_eq(counts.live, 1u);
	cr_assert_eq(look(0).inuse_bytes, gy_sample_weight(64, 0));
}

/* PROFILE-4: others may write to the page. Numbers suffer, nothing else. */
Test(profile, PROFILE_4_scribbled_page)
{
	const size_t bytes = 64 * sizeof(struct gyre_control_bucket);
	struct gyre_control_bucket *buckets = shared_buckets(64);
	uint64_t state = 5;

	gy_profile_init(buckets, 64);
	for (uintptr_t step = 0; step < 20000; step++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		((unsigned char *)buckets)[(state >> 20) % bytes] = (unsigned char)(state >> 56);
		gy_sample_free(block_at(step % 300), 0);
		allocate(step % 300, 0x1000 + (state >> 40) % 100);
		if (step % 500 == 0) {
			struct seen seen = {.wanted = 0};

			cr_assert_eq(gy_profile_each(see, &seen), 0);
		}
	}
	memset(buckets, 0xff, bytes);
	for (uintptr_t i = 0; i < 300; i++)
		gy_sample_free(block_at(i), 0);
	cr_assert_eq(gy_live_count(), 0u);
}

/* ---- readers beside writers ---- */
enum { WRITERS = 3, ROUNDS = 4000, LOOKS = 100 };

static bool stop;
static unsigned whole_looks;  /* at buckets that have something, while writers write */
static unsigned looks_wanted; /* before they may end */

static void *write_samples(void *context)
{
	uintptr_t base = (uintptr_t)context * 1000, round;

	/* On a busy machine the reader may not have begun when the rounds are over. */
	for (round = 0;
	     round < ROUNDS || __atomic_load_n(&whole_looks, __ATOMIC_RELAXED) < looks_wanted;
	     round++) {
		for (uintptr_t i = 0; i < 8; i++)
			allocate(base + i, 0x1000 + i % 4);
		for (uintptr_t i = 0; i < 8; i++)
			gy_sample_free(block_at(base + i), 0);
	}
	return (void *)round;
}

/* PROFILE-1 seen through an entry: every sample weighs the same here, so bytes are whole weights
 * and objects follow from them; a torn copy would not fit. */
static int see_whole(const struct gyre_profile_entry *entry, void *context)
{
	const uint64_t weight = gy_sample_weight(64, 0), sixteenths = weight * 16 / 64;
	uint64_t inuse = entry->inuse_bytes / weight, allocated = entry->alloc_bytes / weight;

	(void)context;
	cr_assert_eq(entry->inuse_bytes % weight, 0u);
	cr_assert_eq(entry->alloc_bytes % weight, 0u);
	cr_assert_eq(entry->inuse_objects, (inuse * sixteenths + 8) / 16);
	cr_assert_eq(entry->alloc_objects, (allocated * sixteenths + 8) / 16);
	cr_assert_leq(inuse, 2u * WRITERS);
	return 0;
}

static void *read_entries(void *context)
{
	(void)context;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		gy_profile_each(see_whole, NULL);
	return NULL;
}

/* The CLI's way: CTL-3 over the bare page. */
static void *read_page(void *context)
{
	const struct gyre_control_bucket *buckets = context;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (unsigned i = 0; i < 16; i++) {
			const struct gyre_control_bucket *bucket = &buckets[i];
			uint32_t seq = __atomic_load_n(&bucket->seq, __ATOMIC_ACQUIRE);
			uint64_t objects =
				__atomic_load_n(&bucket->alloc_objects, __ATOMIC_ACQUIRE);
			uint64_t bytes = __atomic_load_n(&bucket->alloc_bytes, __ATOMIC_ACQUIRE);
			uint64_t freed = __atomic_load_n(&bucket->free_objects, __ATOMIC_ACQUIRE);

			if ((seq & 1) || seq != __atomic_load_n(&bucket->seq, __ATOMIC_RELAXED))
				continue;
			cr_assert_eq(bytes, objects * 64);
			cr_assert_leq(freed, objects);
			if (objects)
				__atomic_fetch_add(&whole_looks, 1, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

Test(profile, PROFILE_1_readers_see_whole_buckets, .timeout = 120)
{
	struct gyre_control_bucket *buckets = shared_buckets(16);
	pthread_t writers[WRITERS], readers[2];
	uint64_t rounds = 0;
	void *written;

	looks_wanted = LOOKS;
	pthread_create(&readers[0], NULL, read_entries, NULL);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&writers[i], NULL, write_samples, (void *)i);
	gy_profile_init(buckets, 16); /* while they write */
	pthread_create(&readers[1], NULL, read_page, buckets);
	for (unsigned i = 0; i < WRITERS; i++) {
		pthread_join(writers[i], &written);
		rounds += (uintptr_t)written;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(readers[0], NULL);
	pthread_join(readers[1], NULL);
	cr_assert_eq(checked_counts().samples, rounds * 8);
	cr_assert_eq(checked_counts().live, 0u);
}

/* ---- fork ---- */
/* api/runtime.c comes along with its hooks, and registers the library's handlers for fork. */
extern const void *volatile fork_handlers;
const void *volatile fork_handlers = &gy_heap_hooks;

static void expect_clean_exit(pid_t child)
{
	int status;

	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned)status);
}

/* The child ends at once. ThreadSanitizer's _exit would miss the threads that fork left behind. */
__attribute__((noreturn)) static void child_end(int status)
{
	for (;;)
		syscall(SYS_exit_group, status);
}

#define CHILD_CHECK(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "# line %d: %s\n", __LINE__, #condition);                  \
			child_end(1);                                                              \
		}                                                                                  \
	} while (0)

static int sum_only(const struct gyre_profile_entry *entry, void *context)
{
	struct seen *seen = context;

	seen->entries++;
	seen->inuse_bytes += entry->inuse_bytes;
	seen->alloc_bytes += entry->alloc_bytes;
	return 0;
}

/* In the child: the profile begins with the six live samples, in a table of its own. */
static void child_of_six(struct gyre_control_bucket *page)
{
	const uint64_t weight = gy_sample_weight(64, 0);
	struct seen seen = {.wanted = 0};

	CHILD_CHECK(!gy_profile_each(sum_only, &seen));
	CHILD_CHECK(seen.entries == 3 && seen.inuse_bytes == 6 * weight &&
		    seen.alloc_bytes == 6 * weight);
	allocate(50, 0x5000);
	gy_sample_free(block_at(9), 0);
	gy_sampler_check();
	if (page) {
		gy_profile_init(page, 64);
		gy_sampler_check();
	}
	for (uintptr_t i = 0; i < 60; i++)
		gy_sample_free(block_at(i), 0);
	gy_sampler_check();
	CHILD_CHECK(gy_live_count() == 0);
	child_end(0);
}

static void fork_with_page(bool child_has_page)
{
	struct gyre_control_bucket *buckets = shared_buckets(64), copy[64];
	struct gyre_control_bucket *childs = child_has_page ? shared_buckets(64) : NULL;
	pid_t child;

	gy_profile_init(buckets, 64);
	for (uintptr_t i = 0; i < 10; i++)
		allocate(i, 0x1000 + i % 3);
	for (uintptr_t i = 0; i < 4; i++)
		gy_sample_free(block_at(i), 0);
	memcpy(copy, buckets, sizeof(copy));
	child = fork();
	if (!child)
		child_of_six(childs);
	expect_clean_exit(child);
	cr_assert_arr_eq((char *)buckets, (char *)copy,
			 sizeof(copy)); /* PROFILE-5: not the child's to write */
	gy_sampler_check();
}

Test(profile, PROFILE_5_child_without_a_page)
{
	fork_with_page(false);
}

Test(profile, PROFILE_5_child_with_a_page_of_its_own)
{
	fork_with_page(true);
}

/* The child gets its page first, before it has sampled anything. */
Test(profile, PROFILE_5_page_before_samples)
{
	struct gyre_control_bucket *buckets = shared_buckets(64), *childs = shared_buckets(64);
	pid_t child;

	gy_profile_init(buckets, 64);
	for (uintptr_t i = 0; i < 10; i++)
		allocate(i, 0x1000 + i % 3);
	child = fork();
	if (!child) {
		gy_profile_init(childs, 64);
		munmap(buckets, 64 * sizeof(*buckets));
		gy_sampler_check();
		for (uintptr_t i = 0; i < 10; i++)
			gy_sample_free(block_at(i), 0);
		gy_sampler_check();
		CHILD_CHECK(gy_live_count() == 0);
		child_end(0);
	}
	expect_clean_exit(child);
}

Test(profile, fork_among_writers, .timeout = 120)
{
	pthread_t writers[WRITERS];

	gy_profile_init(shared_buckets(64), 64);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&writers[i], NULL, write_samples, (void *)i);
	for (unsigned i = 0; i < 30; i++) {
		pid_t child = fork();

		if (!child) {
			gy_sampler_check();
			write_samples((void *)(uintptr_t)WRITERS);
			gy_sampler_check();
			if (i % 2)
				child_end(0);
			/* a grandchild */
			child = fork();
			if (!child) {
				allocate(1, 0x77);
				gy_sampler_check();
				child_end(0);
			}
			child_end(waitpid(child, NULL, 0) != child);
		}
		expect_clean_exit(child);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	cr_assert_eq(checked_counts().live, 0u);
}
