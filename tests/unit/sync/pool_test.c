/* pool_test.c - pools of plain items (sync/pool.c). Those of objects are in
 * tests/sync/collected.test. */
#include "sync_unit.h"

#include "sync/pool.h"

static struct gyre_pool *pool;
static unsigned long made, dropped;

struct item {
	uint64_t owner; /* [atomic] 0: in the pool */
	uint64_t number;
};

static void *make(GY_UNUSED void *argument)
{
	struct item *item = calloc(1, sizeof(*item));

	item->number = __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
	return item;
}

static void drop(void *item, void *argument)
{
	cr_assert_eq(argument, &made);
	cr_assert_eq(((struct item *)item)->owner, 0);
	ADD_RELAXED(dropped, 1);
	free(item);
}

static void age(unsigned generations)
{
	while (generations--)
		gy_sync_pool_cycle_ended();
}

/* Alone in its process: generations end where the test says so. */
static void pool_make(void)
{
	cr_assert(gy_heap_start());
	WRITE_RELAXED(gy_option_values[GY_OPT_sync_pool_age], 3600000);
	pool = gyre_pool_new(GYRE_PLAIN, make, drop, &made);
	cr_assert_not_null(pool);
}

static void get_and_put(unsigned count)
{
	void *items[100];

	for (unsigned i = 0; i < count; i++)
		items[i] = gyre_pool_get(pool);
	for (unsigned i = 0; i < count; i++)
		gyre_pool_put(pool, items[i]);
}

Test(pool, items_are_used_again)
{
	pool_make();
	for (unsigned i = 0; i < 10; i++)
		get_and_put(100);
	cr_assert_eq(made, 100);
	cr_assert_eq(dropped, 0);
	gyre_pool_free(pool);
	cr_assert_eq(dropped, 100);
}

Test(pool, no_maker_no_item)
{
	delays(0);
	pool = gyre_pool_new(GYRE_PLAIN, NULL, NULL, NULL);
	cr_assert_null(gyre_pool_get(pool));
	gyre_pool_put(pool, NULL);
	cr_assert_null(gyre_pool_get(pool));
	gyre_pool_put(pool, &made);
	cr_assert_eq(gyre_pool_get(pool), &made);
	cr_assert_null(gyre_pool_get(pool));
	gyre_pool_free(pool);
	cr_assert_null(gyre_pool_new(GYRE_COLLECTED, NULL, NULL, NULL));
	cr_assert_null(gyre_pool_new(GYRE_TRACED, NULL, drop, NULL));
	gyre_pool_free(NULL);
}

Test(pool, items_last_for_one_generation_and_go_after_two)
{
	pool_make();
	get_and_put(100);
	age(1);
	get_and_put(60); /* these are young again */
	cr_assert_eq(made, 100);
	cr_assert_eq(dropped, 0);
	age(1);
	get_and_put(60);
	cr_assert_eq(made, 100);
	age(1);
	get_and_put(1);
	cr_assert_geq(dropped, 40 - 13); /* a chunk may not have been come by yet */
	age(2);
	get_and_put(1);
	cr_assert_eq(made - dropped, 1);
	gyre_pool_free(pool);
	cr_assert_eq(made, dropped);
}

/* It grows by misses alone, does not miss while use is steady, and follows use down. */
Test(pool, it_is_as_large_as_what_was_used_at_once_lately)
{
	static const unsigned used[] = {100, 30, 90, 10, 60, 100, 20};

	pool_make();
	for (unsigned i = 0; i < sizeof(used) / sizeof(*used); i++) {
		unsigned long before = made;

		get_and_put(used[i]);
		cr_assert_leq(made - before, used[i]);
		before = made;
		for (unsigned round = 0; round < 4; round++) {
			age(1);
			get_and_put(used[i]);
		}
		cr_assert_eq(made, before);
		cr_assert_geq(made - dropped, used[i]);
		cr_assert_leq(made - dropped, used[i] + 13); /* a chunk */
	}
	gyre_pool_free(pool);
	cr_assert_eq(made, dropped);
}

Test(pool, time_ends_generations_too)
{
	pool_make();
	get_and_put(50);
	WRITE_RELAXED(gy_option_values[GY_OPT_sync_pool_age], 10);
	for (unsigned i = 0; i < 4; i++) {
		unit_sleep_ms(15);
		gy_sync_pool_age(unit_now_ms() * 1000000);
	}
	get_and_put(1);
	cr_assert_geq(dropped, 49);
	gyre_pool_free(pool);
}

static void *only_put(GY_UNUSED void *number)
{
	for (unsigned i = 0; i < 50; i++)
		gyre_pool_put(pool, make(NULL));
	return NULL;
}

Test(pool, what_another_thread_put_is_taken)
{
	pool_make();
	together(1, only_put); /* and that thread has ended */
	get_and_put(50);
	cr_assert_eq(made, 50);
	gyre_pool_free(pool);
}

Test(pool, a_freed_pool_serves_the_next)
{
	pool_make();
	get_and_put(30);
	gyre_pool_free(pool);
	cr_assert_eq(dropped, 30);
	pool_make();
	get_and_put(30);
	cr_assert_eq(made, 60);
	for (unsigned i = 0; i < 20; i++) { /* more than there are slots for */
		struct gyre_pool *other = gyre_pool_new(GYRE_PLAIN, make, drop, &made);
		void *item = gyre_pool_get(other), *again;

		gyre_pool_put(other, item);
		get_and_put(5);
		again = gyre_pool_get(other);
		cr_assert_eq(again, item);
		gyre_pool_put(other, item);
		if (i % 2)
			gyre_pool_free(other);
	}
	cr_assert_eq(made, 80);
	gyre_pool_free(pool);
}

static void *use_items(void *number)
{
	uint64_t self = (uintptr_t)number + 1, seed = self;
	struct item *held[40];
	unsigned count = 0;

	for (unsigned i = 0; i < rounds(100000); i++) {
		uint64_t draw = unit_random(&seed);

		if (draw % 1000 == 0)
			age(1);
		if (count < 40 && (!count || draw & 1024)) {
			held[count] = gyre_pool_get(pool);
			cr_assert_eq(__atomic_exchange_n(&held[count]->owner, self,
							 __ATOMIC_RELAXED), 0);
			count++;
		} else {
			struct item *item = held[--count];

			cr_assert_eq(__atomic_exchange_n(&item->owner, 0, __ATOMIC_RELAXED),
				     self);
			gyre_pool_put(pool, item);
		}
	}
	while (count) {
		held[--count]->owner = 0;
		gyre_pool_put(pool, held[count]);
	}
	return NULL;
}

RACE(pool, no_item_in_two_hands)
{
	pool_make();
	together(4, use_items);
	cr_assert_gt(dropped, 0);
	gyre_pool_free(pool);
	cr_assert_eq(made, dropped);
}
