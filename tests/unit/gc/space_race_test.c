/* space_race_test.c - threads that allocate through many cycles, against a shadow of what they hold.
 *
 * Each thread keeps a ring of stamped objects of all kinds and replaces them at random. A collector
 * of the test's own stops them (they park of themselves between two objects), blackens what is in
 * hand, notes what the rings hold, lets them go, marks just that, and flips and sweeps while they
 * run: so an object that a thread holds and that is handed out again, or poisoned, shows in its
 * stamp. What makes that delicate is the flip without a stop: SPACE-4, SPACE-7.
 */
#include "space_world.h"

#include "base/config.h"

#include <pthread.h>
#include <sched.h>

#define THREADS 3
#define RING 4000
#define CYCLES_LEAST 20u /* however busy the machine is */

struct held {
	uint64_t *object;
	size_t words;
	uint64_t stamp;
};

static struct worker {
	struct gy_gc_thread gc;
	struct held ring[RING];
	uint64_t random, made;
	pthread_t thread;
} workers[THREADS];

static struct held snapshot[THREADS * RING];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned parked;
static uint32_t stop, finish;

static const struct gyre_type *pair_type, *triple_type;

static void park(void)
{
	pthread_mutex_lock(&lock);
	parked++;
	pthread_cond_broadcast(&changed);
	while (stop)
		pthread_cond_wait(&changed, &lock);
	parked--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static struct held make_one(struct worker *worker)
{
	uint64_t random = unit_random(&worker->random);
	struct held held = {.words = 4};
	bool zeroed = true;

	switch (random % 8) {
	case 0:
	case 1:
	case 2:
		held.object = make(&node_type);
		break;
	case 3:
		held.words = 2;
		held.object = make(pair_type);
		break;
	case 4:
		held.words = 3;
		held.object = make(triple_type);
		break;
	case 5:
		held.words = 4 * (1 + random / 8 % 20);
		held.object = make_sized(&node_type, true, held.words * 8);
		break;
	case 6:
		zeroed = false;
		held.words = 1 + random / 8 % 100;
		held.object = make_leaf(held.words * 8);
		break;
	default:
		held.words = random / 8 % 50 ? 400 : 6000;
		held.object = make_sized(&leaf_type, true, held.words * 8);
		break;
	}
	cr_assert(held.object && (!zeroed || is_zero(held.object, held.words * 8)));
	held.stamp = (uintptr_t)held.object ^ random;
	for (size_t i = 0; i < held.words; i++)
		held.object[i] = held.stamp;
	worker->made++;
	return held;
}

static void expect_whole(const struct held *held)
{
	for (size_t i = 0; i < held->words; i++)
		cr_assert_eq(held->object[i], held->stamp, "word %zu of %zu at %p: %lx", i,
			     held->words, (void *)held->object, (unsigned long)held->object[i]);
}

static void *allocate(void *argument)
{
	struct worker *worker = argument;

	gy_gc_self = &worker->gc;
	while (!__atomic_load_n(&finish, __ATOMIC_ACQUIRE)) {
		struct held *held = &worker->ring[unit_random(&worker->random) % RING];

		if (__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
			park();
		expect_whole(held);
		*held = make_one(worker);
	}
	for (unsigned i = 0; i < RING; i++)
		expect_whole(&worker->ring[i]);
	gy_space_thread_end(&worker->gc);
	return NULL;
}

static void pause_begin(void)
{
	pthread_mutex_lock(&lock);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	while (parked < THREADS)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void pause_end(void)
{
	pthread_mutex_lock(&lock);
	stop = 0;
	pthread_cond_broadcast(&changed);
	while (parked)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void one_cycle(unsigned number)
{
	size_t count = 0;

	gy_space_sweep_all();
	pause_begin();
	if (number % 4 == 0)
		gy_space_check();
	for (unsigned i = 0; i < THREADS; i++) {
		gy_space_thread_begin_cycle(&workers[i].gc);
		for (unsigned k = 0; k < RING; k++)
			if (workers[i].ring[k].object)
				snapshot[count++] = workers[i].ring[k];
	}
	gyre_gc_marking = gy_gc_epoch + 1;
	pause_end();
	for (size_t i = 0; i < count; i++) {
		struct gy_object at = where(snapshot[i].object);

		cr_assert(gy_object_is_allocated(at));
		cr_assert_eq((void *)gy_object_start(at), (void *)snapshot[i].object);
		gy_object_mark(at);
	}
	if (number % 3)
		sched_yield();
	__atomic_store_n(&gy_gc_epoch, gy_gc_epoch + 1, __ATOMIC_SEQ_CST);
	if (number % 2)
		sched_yield();
	__atomic_store_n(&gyre_gc_marking, 0, __ATOMIC_SEQ_CST);
	if (number % 5)
		sched_yield();
	gy_space_flip(gy_gc_epoch);
	if (number % 2)
		usleep(500);
	while (number % 7 && gy_space_sweep_some(2))
		;
}

TestSuite(space_race, .init = world_start);

static void race(unsigned ms)
{
	uint64_t until = unit_now_ms() + ms, made = 0, largest = 0;
	unsigned cycles = 0;

	pair_type = gy_type_make("pair", 16, 8, &(uint64_t){3});
	triple_type = gy_type_make("triple", 24, 8, &(uint64_t){3});
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i].random = i;
		cr_assert_eq(pthread_create(&workers[i].thread, NULL, allocate, &workers[i]), 0);
	}
	while (unit_now_ms() < until || cycles < CYCLES_LEAST) {
		one_cycle(cycles++);
		largest = MAX(largest, stats().inuse_bytes);
	}
	__atomic_store_n(&finish, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		made += workers[i].made;
	}
	for (unsigned i = 0; i < 2; i++) {
		gy_space_sweep_all();
		gyre_gc_marking = gy_gc_epoch + 1;
		cycle_flip();
	}
	gy_space_sweep_all();
	gy_space_check();
	cr_expect_eq(stats().inuse_bytes, 0u, "%lu left of %lu",
		     (unsigned long)stats().inuse_bytes, (unsigned long)largest);
	cr_expect_eq(stats().objects_allocated, made);
}

Test(space_race, nothing_that_is_held_is_handed_out)
{
	race(UNIT_SLOW ? 4000 : 1500);
}

Test(space_race, nothing_that_is_held_is_poisoned)
{
	gy_config_parse("gc_poison=on");
	race(UNIT_SLOW ? 4000 : 1500);
}
