/* map_test.c - the table of bytes to objects (sync/map.c): keys and values, growth, walks, races.
 * The map and its values are objects: no cycle begins by itself here but where a test runs in a
 * forked child, since Criterion has a thread that blocks all signals.
 */
#include "sync_unit.h"

#include <errno.h>
#include <gyre/gc.h>
#include <gyre/gyre.h>

#define KEYS 600u
#define TURNS 4000u

struct number {
	uint64_t is;
};

static struct gyre_map *map;

static void begin(void)
{
	cr_assert(gy_heap_start());
	WRITE_RELAXED(gy_option_values[GY_OPT_gc_percent], 0);
	map = gyre_map_new();
	cr_assert_not_null(map);
}

static struct number *number_new(uint64_t is)
{
	struct number *number = gyre_new_leaf(sizeof(*number));

	cr_assert_not_null(number);
	number->is = is;
	return number;
}

static void set(uint64_t key, uint64_t value)
{
	cr_assert_eq(gyre_map_set(map, &key, sizeof(key), number_new(value)), 0);
}

static struct number *get(uint64_t key)
{
	return gyre_map_get(map, &key, sizeof(key));
}

static struct number *take(uint64_t key)
{
	return gyre_map_remove(map, &key, sizeof(key));
}

/* ---- one thread ---- */

Test(map, keys_of_all_lengths)
{
	static char bytes[9000];
	static const size_t lengths[] = {100, 255, 256, 4000, 4096, 8999, sizeof(bytes)};
	size_t count = 0;

	begin();
	for (size_t length = 0; length < 40; length++)
		cr_assert_eq(gyre_map_set(map, bytes, length, number_new(length)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		cr_assert_eq(gyre_map_set(map, bytes, lengths[i], number_new(lengths[i])), 0);
	cr_assert_eq(gyre_map_count(map), 40 + ARRAY_SIZE(lengths));
	for (size_t length = 0; length <= sizeof(bytes); length++) {
		struct number *number = gyre_map_get(map, bytes, length);

		count += number != NULL;
		cr_assert(!number || number->is == length);
	}
	cr_assert_eq(count, 40 + ARRAY_SIZE(lengths));
	bytes[8] = 1; /* a byte makes another key, wherever it is */
	cr_assert_null(gyre_map_get(map, bytes, 9));
	cr_assert_null(gyre_map_get(map, bytes, sizeof(bytes)));
	cr_assert_not_null(gyre_map_get(map, bytes, 8));
}

Test(map, what_each_change_does)
{
	struct number *a, *b;
	uint64_t key = 7;

	begin();
	a = number_new(1);
	b = number_new(2);
	cr_assert_null(take(key));
	cr_assert_not(gyre_map_replace(map, &key, sizeof(key), a, b), "not there");
	cr_assert_eq(gyre_map_get_or_set(map, &key, sizeof(key), a), a);
	cr_assert_eq(gyre_map_get_or_set(map, &key, sizeof(key), b), a);
	cr_assert_not(gyre_map_replace(map, &key, sizeof(key), b, a), "another");
	cr_assert(gyre_map_replace(map, &key, sizeof(key), a, b));
	cr_assert_eq(get(key), b);
	cr_assert_eq(gyre_map_set(map, &key, sizeof(key), a), 0);
	cr_assert_eq(get(key), a);
	cr_assert_eq(gyre_map_count(map), 1);
	cr_assert_not(gyre_map_replace(map, &key, sizeof(key), b, NULL));
	cr_assert(gyre_map_replace(map, &key, sizeof(key), a, NULL), "which removes");
	cr_assert_null(get(key));
	cr_assert_eq(gyre_map_count(map), 0);
	set(key, 3);
	cr_assert_eq(take(key)->is, 3);
	cr_assert_null(take(key));
}

Test(map, what_is_refused)
{
	struct number *value;
	char key = 1;

	begin();
	value = number_new(1);
	errno = 0;
	cr_assert_eq(gyre_map_set(map, &key, 1, NULL), -1);
	cr_assert_eq(errno, EINVAL);
	errno = 0;
	cr_assert_null(gyre_map_get_or_set(map, &key, 1, NULL));
	cr_assert_eq(errno, EINVAL);
	cr_assert_not(gyre_map_replace(map, &key, 1, NULL, value));
	cr_assert_eq(gyre_map_count(map), 0);
}

static unsigned seen[4 * KEYS];

static bool see(const void *key, size_t key_bytes, void *value, void *argument)
{
	uint64_t number;

	cr_assert_eq(key_bytes, sizeof(number));
	memcpy(&number, key, sizeof(number));
	cr_assert_lt(number, ARRAY_SIZE(seen));
	cr_assert_eq(((struct number *)value)->is, number);
	seen[number]++;
	return !argument || --*(unsigned *)argument;
}

Test(map, grows_and_is_walked)
{
	unsigned most = 5, sum = 0;

	begin();
	gyre_map_each(map, see, NULL); /* nothing */
	for (uint64_t key = 0; key < 4 * KEYS; key++) {
		set(key, key);
		cr_assert_eq(gyre_map_count(map), key + 1);
		cr_assert_eq(get(key / 2)->is, key / 2);
	}
	gyre_map_each(map, see, &most);
	for (unsigned i = 0; i < 4 * KEYS; sum += seen[i++])
		cr_assert_leq(seen[i], 1u);
	cr_assert_eq(sum, 5, "a visit that returns false is the last");
	for (uint64_t key = 0; key < 4 * KEYS; key += 2)
		cr_assert_eq(take(key)->is, key);
	cr_assert_eq(gyre_map_count(map), 2 * KEYS);
	memset(seen, 0, sizeof(seen));
	gyre_map_each(map, see, NULL);
	for (unsigned i = 0; i < 4 * KEYS; i++)
		cr_assert_eq(seen[i], i % 2);
}

static bool take_others(const void *key, size_t key_bytes, GY_UNUSED void *value, void *argument)
{
	unsigned *visits = argument;

	for (uint64_t other = 0; other < KEYS; other++)
		if (key_bytes != sizeof(other) || memcmp(key, &other, sizeof(other)))
			take(other);
	++*visits;
	return true;
}

Test(map, a_visit_sees_what_it_has_removed)
{
	unsigned visits = 0;

	begin();
	for (uint64_t key = 0; key < KEYS; key++)
		set(key, key);
	gyre_map_each(map, take_others, &visits);
	cr_assert_eq(visits, 1);
	cr_assert_eq(gyre_map_count(map), 1);
}

/* ---- races: threads 0 and 1 write, 2 and 3 read ---- */

static uint32_t writers; /* [atomic] those not done */

/* Keys from KEYS on come and go, in tables that grow meanwhile. */
static void come_and_go(unsigned self)
{
	unsigned turns = rounds(TURNS);

	for (unsigned i = 0; i < turns; i++) {
		uint64_t key = KEYS + (i * 7 + self) % (3 * KEYS);

		if (i % 3)
			set(key, key);
		else
			take(key);
	}
	__atomic_fetch_sub(&writers, 1, __ATOMIC_RELEASE);
}

static bool are_writing(void)
{
	return __atomic_load_n(&writers, __ATOMIC_ACQUIRE);
}

/* Two threads that write, two that do not, over 50 keys that stay. */
static void beside_stable(void *(*body)(void *self))
{
	begin();
	for (uint64_t key = 0; key < 50; key++)
		set(key, key);
	writers = 2;
	together(4, body);
}

static void *write_or_look(void *self)
{
	if ((uintptr_t)self < 2) {
		come_and_go((unsigned)(uintptr_t)self);
		return NULL;
	}
	do {
		for (uint64_t key = 0; key < 50; key++)
			cr_assert_eq(get(key)->is, key);
		for (uint64_t key = KEYS; key < KEYS + 50; key++) {
			struct number *number = get(key);

			cr_assert(!number || number->is == key);
		}
	} while (are_writing());
	return NULL;
}

RACE(map, what_stays_is_found)
{
	beside_stable(write_or_look);
}

static bool see_stable(const void *key, GY_UNUSED size_t key_bytes, void *value, void *argument)
{
	unsigned char *came = argument;
	uint64_t number;

	memcpy(&number, key, sizeof(number));
	cr_assert_eq(((struct number *)value)->is, number);
	came[number]++;
	return true;
}

static void *write_or_walk(void *self)
{
	unsigned char came[4 * KEYS];

	if ((uintptr_t)self < 2) {
		come_and_go((unsigned)(uintptr_t)self);
		return NULL;
	}
	do {
		memset(came, 0, sizeof(came));
		gyre_map_each(map, see_stable, came);
		for (unsigned i = 0; i < 4 * KEYS; i++)
			cr_assert(i < 50 ? came[i] == 1 : came[i] <= 1, "%u: %u", i, came[i]);
	} while (are_writing());
	return NULL;
}

RACE(map, a_walk_meets_each_key_once)
{
	beside_stable(write_or_walk);
}

static uint64_t won; /* [atomic] */

static void *be_first(void *self)
{
	unsigned turns = rounds(TURNS);

	for (uint64_t key = 0; key < turns; key++) {
		struct number *mine = number_new((uintptr_t)self), *there;

		there = gyre_map_get_or_set(map, &key, sizeof(key), mine);
		cr_assert_not_null(there);
		cr_assert_eq(get(key), there);
		if (there == mine)
			__atomic_fetch_add(&won, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

RACE(map, one_is_first)
{
	begin();
	won = 0;
	together(4, be_first);
	cr_assert_eq(won, rounds(TURNS));
	cr_assert_eq(gyre_map_count(map), won);
}

static void *add_up(GY_UNUSED void *self)
{
	unsigned turns = rounds(TURNS);

	for (unsigned i = 0; i < turns; i++) {
		uint64_t key = i % 3;
		struct number *was, *next = number_new(0);

		do {
			was = get(key);
			next->is = was->is + 1;
		} while (!gyre_map_replace(map, &key, sizeof(key), was, next));
	}
	return NULL;
}

RACE(map, no_replacement_is_lost)
{
	begin();
	for (uint64_t key = 0; key < 3; key++)
		set(key, 0);
	together(4, add_up);
	cr_assert_eq(get(0)->is + get(1)->is + get(2)->is, 4 * rounds(TURNS));
}

static void *take_all(GY_UNUSED void *self)
{
	unsigned turns = rounds(TURNS);

	for (uint64_t key = 0; key < turns; key++) {
		struct number *number = take(key);

		if (number) {
			cr_assert_eq(number->is, key);
			__atomic_fetch_add(&won, 1, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

RACE(map, each_is_taken_once)
{
	begin();
	won = 0;
	for (uint64_t key = 0; key < rounds(TURNS); key++)
		set(key, key);
	together(4, take_all);
	cr_assert_eq(won, rounds(TURNS));
	cr_assert_eq(gyre_map_count(map), 0);
}

/* ---- the collector ---- */

static void *change_while_collected(void *self)
{
	for (uint64_t i = 0; i < 3000; i++) {
		uint64_t key = (i * 5 + (uintptr_t)self) % KEYS;
		struct number *value = gyre_new_leaf(sizeof(*value));

		child_check(value);
		value->is = key;
		child_check(!gyre_map_set(map, &key, sizeof(key), value));
		key = i % KEYS;
		value = get(key);
		child_check(!value || value->is == key);
		if (i % 11 == 0)
			take(key);
	}
	return NULL;
}

static void collected(GY_UNUSED void *unused)
{
	pthread_t threads[3];

	child_check(gy_heap_start());
	WRITE_RELAXED(gy_option_values[GY_OPT_gc_poison], 1);
	map = gyre_map_new();
	child_check(map);
	for (uintptr_t i = 0; i < 3; i++)
		child_check(!pthread_create(&threads[i], NULL, change_while_collected, (void *)i));
	for (unsigned i = 0; i < 10; i++)
		gyre_gc_run();
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 2; i++) {
		for (uint64_t key = 0; key < KEYS; key++)
			child_check(!get(key) || get(key)->is == key);
		gyre_gc_run();
	}
}

Test(map, values_outlive_cycles)
{
	struct unit_child child;

	if (GY_TSAN)
		cr_skip_test("ThreadSanitizer knows no stopped world");
	child = unit_child_run(collected, NULL);
	unit_assert_exit(child, 0);
}
