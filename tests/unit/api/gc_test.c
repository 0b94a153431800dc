/* gc_test.c - gyre/gc.h: what it accepts, what it refuses and how, what it promises of objects. That
 * objects stay, and go, is tested below (tests/unit/gc) and in tests/stress/gc_stress.sh.
 *
 * Each test runs in a forked child: Criterion has a thread that blocks all signals, which the
 * collector could not stop.
 */
#include "unit/unit.h"

#include <gyre/gc.h>
#include <gyre/gyre.h>
#include <pthread.h>

#define CHILD_TEST(suite, name)                                                                    \
	static void suite##_##name(void *unused);                                                  \
	Test(suite, name)                                                                          \
	{                                                                                          \
		struct unit_child child;                                                           \
                                                                                                   \
		if (GY_TSAN)                                                                       \
			cr_skip_test("ThreadSanitizer knows no stopped world");                    \
		child = unit_child_run(suite##_##name, NULL);                                      \
		unit_assert_exit(child, 0);                                                        \
	}                                                                                          \
	static void suite##_##name(GY_UNUSED void *unused)

/* The call fails so. */
#define check_fails(call, failed, error)                                                           \
	do {                                                                                       \
		errno = 0;                                                                         \
		child_check((call) == (failed));                                                   \
		child_check(errno == (error));                                                     \
	} while (0)

struct pair {
	void *a, *b;
};

struct node {
	struct node *left, *right;
	long value;
	struct pair pair;
	void *more[5];
};

struct big {
	char pad[1024];
	void *at_128;
	char more_pad[504];
	void *many[64];
};

struct tailed {
	struct node *node;
	long count;
	void *slots[];
};

struct pairs {
	long count;
	struct pair pairs[];
};

struct text {
	struct node *node;
	char bytes[];
};

struct aligned {
	void *pointer;
	char pad[200];
} __attribute__((aligned(256)));

static const struct gyre_type node_type = GYRE_TYPE(struct node, left, right, pair, more);
static const struct gyre_type inner_type = GYRE_TYPE(struct node, left, pair.b);
static const struct gyre_type big_type = GYRE_TYPE(struct big, at_128, many);
static const struct gyre_type tailed_type = GYRE_TYPE_TAIL(struct tailed, slots, node);
static const struct gyre_type pairs_type = GYRE_TYPE_TAIL_ONLY(struct pairs, pairs);
static const struct gyre_type text_type = GYRE_TYPE_TAIL_LEAF(struct text, bytes, node);
static const struct gyre_type leaf_type = GYRE_TYPE_LEAF(struct node);
static const struct gyre_type aligned_type = GYRE_TYPE(struct aligned, pointer);

/* ---- types -------------------------------------------------------------------------------------- */

Test(gc_api, a_type_in_one_line_has_the_right_map)
{
	cr_assert_eq(node_type.map[0], 0x3fb, "%#llx", (unsigned long long)node_type.map[0]);
	cr_assert_eq(node_type.bytes, sizeof(struct node));
	cr_assert_eq(node_type.alignment, 8);
	cr_assert_eq(node_type.field_count, 4);
	cr_assert_str_eq(node_type.name, "struct node");
	cr_assert_str_eq(node_type.field_names, "left, right, pair, more");
	cr_assert_eq(node_type.field_offsets[2], offsetof(struct node, pair));
	cr_assert_eq(inner_type.map[0], 0x11);
	cr_assert_neq(inner_type.fingerprint, node_type.fingerprint);
	cr_assert_eq(big_type.map[0], 0);
	cr_assert_eq(big_type.map[1], 0);
	cr_assert_eq(big_type.map[2], 1);
	cr_assert_eq(big_type.map[3], ~0ull);
	cr_assert_eq(tailed_type.bytes, offsetof(struct tailed, slots));
	cr_assert(tailed_type.map[0] == 1 && tailed_type.tail_map == 1 &&
		  tailed_type.tail_bytes == 8);
	cr_assert(!pairs_type.map[0] && pairs_type.tail_map == 3 && pairs_type.tail_bytes == 16);
	cr_assert(text_type.map[0] == 1 && !text_type.tail_map && text_type.tail_bytes == 1);
	cr_assert(!leaf_type.map[0] && !leaf_type.tail_bytes);
}

CHILD_TEST(gc_api, a_type_made_at_run_time)
{
	static const uint64_t map[2] = {0x5, 0x8000000000000000};
	char name[] = "made";
	const struct gyre_type *type = gyre_type_make(name, 1024, 8, map);
	struct gyre_weak *weak;
	void **object;

	child_check(type && type->bytes == 1024 && type->alignment == 8);
	name[0] = 'X';
	child_check(!strcmp(type->name, "made"));
	child_check(gyre_type_make("made", 1024, 8, map) == type);
	child_check(gyre_type_make("made", 1024, 16, map) != type);
	child_check(gyre_type_make("made", 1024, 8, NULL) != type);
	object = gyre_new(type);
	gyre_set(&object[127], gyre_new_leaf(10)); /* bit 63 of the second word */
	weak = gyre_weak_new(object[127]);
	child_check(gyre_gc_run() == 0 && gyre_weak_get(weak) == object[127]);

	check_fails(gyre_type_make(NULL, 8, 8, NULL), NULL, EINVAL);
	check_fails(gyre_type_make("x", 0, 8, NULL), NULL, EINVAL);
	check_fails(gyre_type_make("x", ((size_t)1 << 30) + 1, 8, NULL), NULL, EINVAL);
	check_fails(gyre_type_make("x", 8, 0, NULL), NULL, EINVAL);
	check_fails(gyre_type_make("x", 8, 24, NULL), NULL, EINVAL);
	check_fails(gyre_type_make("x", 8, 8192, NULL), NULL, EINVAL);
}

/* ---- objects ------------------------------------------------------------------------------------ */

static bool is_zero(const void *start, size_t bytes)
{
	const char *at = start;

	for (size_t i = 0; i < bytes; i++)
		if (at[i])
			return false;
	return true;
}

/* Dirties all that it gets, so that what is used again is not zero by chance. */
CHILD_TEST(gc_api, objects_are_zeroed_aligned_and_as_large_as_asked_for)
{
	for (unsigned i = 0; i < 3000; i++) {
		size_t count = i % 97, bytes = i * 13 % 5000;
		struct node *node = gyre_new(&node_type);
		struct aligned *aligned = gyre_new(&aligned_type);
		struct node *array = gyre_new_array(&node_type, count);
		struct tailed *tailed = gyre_new_tail(&tailed_type, count);
		struct pairs *pairs = gyre_new_tail(&pairs_type, count);
		void *any = gyre_new_conservative(bytes), *leaf = gyre_new_leaf(bytes);

		child_check(node && aligned && array && tailed && pairs && any && leaf);
		child_check(is_zero(node, sizeof(*node)));
		child_check((uintptr_t)aligned % 256 == 0);
		child_check(is_zero(aligned, sizeof(*aligned)));
		child_check(is_zero(array, count * sizeof(*array)));
		child_check(is_zero(tailed, sizeof(*tailed) + count * 8));
		child_check(is_zero(pairs, sizeof(*pairs) + count * 16));
		child_check(is_zero(any, bytes));
		child_check((uintptr_t)any % 16 == 0 && (uintptr_t)leaf % 16 == 0);
		child_check(gyre_object_bytes(node) >= sizeof(*node));
		child_check(gyre_object_bytes(array) > count * sizeof(*array));
		child_check(gyre_object_bytes(leaf) > bytes);
		child_check(gyre_object_bytes((char *)leaf + bytes) == gyre_object_bytes(leaf));
		node->value = -1;
		memset(aligned->pad, 0xff, sizeof(aligned->pad));
		memset(any, 0xff, bytes);
		memset(leaf, 0xff, bytes);
		if (i % 1000 == 999)
			child_check(gyre_gc_run() == 0);
	}
}

CHILD_TEST(gc_api, large_objects)
{
	for (size_t bytes = 20000; bytes < (size_t)64 << 20; bytes = bytes * 3 + 7) {
		char *any = gyre_new_conservative(bytes), *leaf = gyre_new_leaf(bytes);

		child_check(any && leaf && is_zero(any, bytes));
		child_check(gyre_object_bytes(any + bytes) == gyre_object_bytes(any));
		child_check(gyre_object_bytes(leaf) > bytes);
		memset(any, 0xff, bytes);
		memset(leaf, 0xff, bytes);
		child_check(gyre_gc_run() == 0);
	}
}

CHILD_TEST(gc_api, what_cannot_be_made_is_refused)
{
	check_fails(gyre_new_array(&tailed_type, 3), NULL, EINVAL);
	check_fails(gyre_new_tail(&node_type, 3), NULL, EINVAL);
	check_fails(gyre_new_array(&node_type, SIZE_MAX / 8), NULL, ENOMEM);
	check_fails(gyre_new_array(&node_type, SIZE_MAX), NULL, ENOMEM);
	check_fails(gyre_new_tail(&tailed_type, SIZE_MAX / 8), NULL, ENOMEM);
	check_fails(gyre_new_leaf(SIZE_MAX), NULL, ENOMEM);
	check_fails(gyre_new_leaf((size_t)1 << 62), NULL, ENOMEM);
	check_fails(gyre_new_conservative(SIZE_MAX - 100), NULL, ENOMEM);
	child_check(gyre_new(&node_type) != NULL);
	child_check(gyre_object_bytes(NULL) == 0);
	child_check(gyre_object_bytes(&node_type) == 0);
	child_check(gyre_object_bytes((void *)UINTPTR_MAX) == 0);
}

/* What is garbage makes room where a limit stands in the way. */
CHILD_TEST(gc_api, where_memory_lacks_a_cycle_is_run_first)
{
	static void *held[64];
	struct gyre_gc_stats stats;
	unsigned count = 0;

	child_check(!gyre_option_set("memory_limit", (uint64_t)64 << 20));
	gyre_gc_pause(); /* no cycle by itself */
	for (unsigned i = 0; i < 100; i++)
		child_check(gyre_new_leaf((size_t)2 << 20) != NULL);
	gyre_gc_stats(&stats);
	child_check(stats.cycles >= 1);
	while (count < 64 && (held[count] = gyre_new_leaf((size_t)2 << 20)))
		count++;
	child_check(count >= 16 && count < 32);
	child_check(errno == ENOMEM);
	memset(held, 0, sizeof(held));
	child_check(gyre_new_leaf((size_t)2 << 20) != NULL);
}

/* ---- stores ------------------------------------------------------------------------------------- */

CHILD_TEST(gc_api, stores_store)
{
	struct tailed *tailed = gyre_new_tail(&tailed_type, 100);
	void *a = gyre_new_leaf(1), *b = gyre_new_leaf(2), *expected, *local = NULL;

	gyre_set(&tailed->slots[0], a);
	child_check(tailed->slots[0] == a);
	gyre_set(&local, a); /* not needed, and right */
	child_check(local == a);
	child_check(gyre_atomic_load(&tailed->slots[0]) == a);
	gyre_atomic_store(&tailed->slots[0], b);
	child_check(gyre_atomic_exchange(&tailed->slots[0], a) == b && tailed->slots[0] == a);
	expected = b;
	child_check(!gyre_atomic_compare_exchange(&tailed->slots[0], &expected, NULL));
	child_check(expected == a && tailed->slots[0] == a);
	child_check(gyre_atomic_compare_exchange(&tailed->slots[0], &expected, NULL));
	child_check(!tailed->slots[0]);
	gyre_atomic_store(&local, NULL);
	child_check(!local);
}

CHILD_TEST(gc_api, a_copy_may_overlap)
{
	static char targets[100];
	struct tailed *tailed = gyre_new_tail(&tailed_type, 100);
	void *expected[100];
	uint64_t state = 1;

	for (unsigned i = 0; i < 100; i++)
		gyre_set(&tailed->slots[i], (void *)&targets[i]);
	for (unsigned i = 0; i < 1000; i++) {
		size_t count = unit_random(&state) % 101, room = 101 - count;
		size_t to = unit_random(&state) % room, from = unit_random(&state) % room;

		memcpy(expected, tailed->slots, sizeof(expected));
		memmove(&expected[to], &expected[from], count * sizeof(void *));
		gyre_copy(&tailed->slots[to], &tailed->slots[from], count);
		child_check(!memcmp(expected, tailed->slots, sizeof(expected)));
	}
}

static void *counter(void *argument)
{
	struct tailed *tailed = argument;

	/* A list in a slot that all push on to. */
	for (unsigned i = 0; i < 20000; i++) {
		struct node *node = gyre_new(&node_type);
		void *first = gyre_atomic_load(&tailed->slots[0]);

		do
			gyre_set(&node->left, (struct node *)first);
		while (!gyre_atomic_compare_exchange(&tailed->slots[0], &first, node));
	}
	return NULL;
}

CHILD_TEST(gc_api, compare_exchange_loses_nothing)
{
	struct tailed *tailed = gyre_new_tail(&tailed_type, 1);
	pthread_t threads[4];
	unsigned count = 0;

	for (unsigned i = 0; i < 4; i++)
		child_check(!pthread_create(&threads[i], NULL, counter, tailed));
	for (unsigned i = 0; i < 5; i++)
		child_check(gyre_gc_run() == 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (struct node *node = tailed->slots[0]; node; node = node->left)
		count++;
	child_check(count == 80000);
}

/* ---- roots, regions, cycles --------------------------------------------------------------------- */

static struct gyre_weak *rooted[100];

static GY_NOINLINE void fill_range(void **range)
{
	for (unsigned i = 0; i < 100; i++) {
		range[i] = gyre_new(&node_type);
		rooted[i] = gyre_weak_new(range[i]);
	}
}

static unsigned rooted_left(void)
{
	unsigned left = 0;

	for (unsigned i = 0; i < 100; i++)
		left += gyre_weak_get(rooted[i]) != NULL;
	return left;
}

CHILD_TEST(gc_api, ranges_hold_what_they_point_to)
{
	void **range = malloc(100 * sizeof(void *)), **other = malloc(64);

	child_check(gyre_root_add(range, 100 * sizeof(void *)) == 0);
	fill_range(range);
	child_check(gyre_gc_run() == 0 && rooted_left() == 100);
	check_fails(gyre_root_add(range, 8), -1, EINVAL);
	check_fails(gyre_root_add(&range[50], 8), -1, EINVAL);
	check_fails(gyre_root_add((char *)other + 1, 8), -1, EINVAL);
	check_fails(gyre_root_add(other, 0), -1, EINVAL);
	check_fails(gyre_root_add(NULL, 8), -1, EINVAL);
	check_fails(gyre_root_add((void *)(UINTPTR_MAX & ~(uintptr_t)7), 64), -1, EINVAL);
	check_fails(gyre_root_remove(&range[1]), -1, EINVAL);
	check_fails(gyre_root_remove(other), -1, EINVAL);
	child_check(gyre_root_remove(range) == 0);
	child_check(gyre_gc_run() == 0 && rooted_left() <= 2);
	check_fails(gyre_root_remove(range), -1, EINVAL);
}

static void *waits(void *argument)
{
	int *fds = argument;
	struct node *node = gyre_new(&node_type);
	char byte;

	node->value = 42;
	gyre_blocking_begin();
	gyre_blocking_begin();
	child_check(read(fds[0], &byte, 1) == 1); /* no EINTR */
	gyre_blocking_end();
	gyre_blocking_end();
	child_check(node->value == 42);
	gyre_blocking_end(); /* one too many does nothing */
	return NULL;
}

CHILD_TEST(gc_api, a_thread_in_a_region_is_not_signalled)
{
	struct gyre_gc_stats stats;
	pthread_t thread;
	int fds[2];

	child_check(!pipe(fds) && !pthread_create(&thread, NULL, waits, fds));
	do {
		unit_sleep_ms(10);
		child_check(gyre_gc_run() == 0);
		gyre_gc_stats(&stats);
	} while (!stats.threads_blocked);
	for (unsigned i = 0; i < 20; i++)
		child_check(gyre_gc_run() == 0);
	gyre_gc_stats(&stats);
	child_check(stats.threads_blocked >= 1);
	child_check(write(fds[1], "", 1) == 1);
	pthread_join(thread, NULL);
}

CHILD_TEST(gc_api, statistics_for_older_and_newer_programs)
{
	struct {
		struct gyre_gc_stats stats;
		uint64_t more[4];
	} newer;
	struct gyre_gc_stats stats;

	memset(&stats, 0xff, sizeof(stats));
	gyre_gc_stats(&stats); /* before the first use */
	child_check(stats.cycles == 0);
	for (unsigned i = 0; i < 1000; i++)
		child_check(gyre_new(&node_type) != NULL);
	child_check(gyre_gc_run() == 0 && gyre_gc_run() == 0);
	gyre_gc_stats(&stats);
	child_check(stats.cycles == 2 && stats.cycles_forced == 2);
	child_check(stats.pause_max_ns >= stats.pause_last_ns && stats.pause_last_ns > 0);
	child_check(stats.pause_total_ns >= stats.pause_max_ns);
	child_check(stats.heap_goal_bytes >= stats.heap_live_bytes);
	child_check(stats.bytes_freed > 0 && stats.objects_allocated >= 1000);
	memset(&newer, 0xff, sizeof(newer));
	gyre_gc_stats_read(&newer.stats, sizeof(newer));
	child_check(newer.stats.cycles == 2 && newer.more[0] == 0 && newer.more[3] == 0);
	memset(&newer, 0xff, sizeof(newer));
	gyre_gc_stats_read(&newer.stats, 16);
	child_check(newer.stats.cycles == 2 && newer.stats.cycles_forced == 2);
	child_check(newer.stats.pause_max_ns == UINT64_MAX);
}

static uint64_t cycles(void)
{
	struct gyre_gc_stats stats;

	gyre_gc_stats(&stats);
	return stats.cycles;
}

CHILD_TEST(gc_api, cycles_start_by_themselves_unless_told_otherwise)
{
	uint64_t before;

	child_check(gyre_gc_set_percent(50) == 75);
	child_check(gyre_gc_set_percent(100) == 50);
	gyre_gc_pause();
	gyre_gc_pause();
	gyre_gc_resume();
	for (unsigned i = 0; i < 40; i++)
		child_check(gyre_new_leaf((size_t)1 << 20) != NULL);
	child_check(cycles() == 0);
	child_check(gyre_gc_run() == 0);
	child_check(cycles() == 1);
	gyre_gc_resume();
	before = cycles();
	for (unsigned i = 0; i < 10000 && cycles() == before; i++) {
		child_check(gyre_new_leaf((size_t)1 << 20) != NULL);
		unit_sleep_ms(1);
	}
	child_check(cycles() > before);
	child_check(gyre_gc_set_percent(-1) == 100);
	child_check(gyre_gc_run() == 0);
	before = cycles();
	for (unsigned i = 0; i < 40; i++)
		child_check(gyre_new_leaf((size_t)1 << 20) != NULL);
	child_check(cycles() == before);
	child_check(gyre_gc_set_percent(100) == -1);
}

CHILD_TEST(gc_api, the_memory_limit_is_told_and_old_ones_returned)
{
	struct gyre_gc_stats stats;

	gyre_gc_set_memory_limit((uint64_t)1 << 30);
	gyre_gc_stats(&stats);
	child_check(stats.memory_limit_bytes == (uint64_t)1 << 30);
	child_check(gyre_gc_set_memory_limit((uint64_t)2 << 30) == (uint64_t)1 << 30);
}
