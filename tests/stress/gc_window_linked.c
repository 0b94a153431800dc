/* The window between a store's look at the flag and the store itself: should the snapshot be taken in
 * between, the store must look again, or what it overwrites is lost to the cycle.
 *
 *	gc_window_linked [seconds]
 *
 * Pairs of threads. The writer picks one of many objects, tells which by its number, and after a while
 * stores a new object over the old one. The reader, told the number, takes the old one out of the slot
 * at some moment before that, and puts it into an object of its own. If the pause comes before the
 * reader's load and after the writer's look at the flag, nothing but the writer's shading keeps the
 * old one: no register held it, its slot is overwritten when marking comes there, and the object that
 * it was put into may be black already.
 *
 * gyre_set looks anew after the pause (gc/barrier.c). With GYRE_TEST_PLAIN_WINDOW
 * (gc_nowindow_linked.c) look and store are plain C, with a while between them: gyre_gc_verify must
 * find what is lost. GYRE_OPTIONS=gc_delay=... gives the threads time before marking begins.
 */
#include <gyre/gc.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifdef GYRE_TEST_PLAIN_WINDOW
#define PLAIN_WINDOW 1
#else
#define PLAIN_WINDOW 0
#endif

#define PAIRS 16
#define CELLS 4096
#define KEPT 256
#define WAIT 6 /* times that others may run */

struct cell {
	void *value;
	long pad[3];
};

struct table {
	long unused;
	struct cell *cells[];
};

static const struct gyre_type cell_type = GYRE_TYPE(struct cell, value);
static const struct gyre_type table_type = GYRE_TYPE_TAIL_ONLY(struct table, cells);

static struct pair {
	struct table *cells, *kept;
	unsigned number; /* counts up; the cell is number % CELLS */
	char pad[100];
} pairs[PAIRS];
static unsigned over;

static unsigned next_random(unsigned *state)
{
	*state = *state * 1103515245 + 12345;
	return *state >> 8;
}

/* Lets others run, on however few processors. */
static void linger(unsigned times)
{
	while (times--)
		sched_yield();
}

static void store(void **slot, void *value)
{
	unsigned marking = __atomic_load_n(&gyre_gc_marking, __ATOMIC_RELAXED);

	linger(WAIT);
	if (!PLAIN_WINDOW)
		gyre_set(slot, value);
	else if (marking)
		gyre_store_slow(slot, value);
	else
		__atomic_store_n(slot, value, __ATOMIC_RELAXED);
}

static void *writer(void *argument)
{
	struct pair *pair = argument;

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		unsigned number = pair->number + 1;
		struct cell *cell = pair->cells->cells[number % CELLS];
		void *value = gyre_new(&cell_type);

		__atomic_store_n(&pair->number, number, __ATOMIC_RELEASE);
		store(&cell->value, value);
	}
	return NULL;
}

/* In a frame of its own: no register of the waiting reader holds what it is about to load. */
static __attribute__((noinline)) void take(struct pair *pair, unsigned number)
{
	void *value = __atomic_load_n(&pair->cells->cells[number % CELLS]->value, __ATOMIC_RELAXED);

	gyre_set(&pair->kept->cells[number % KEPT], (struct cell *)value);
}

static void *reader(void *argument)
{
	struct pair *pair = argument;
	unsigned state = (unsigned)(pair - pairs), seen = 0;

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		unsigned number = __atomic_load_n(&pair->number, __ATOMIC_ACQUIRE);

		if (number == seen) {
			sched_yield();
			continue;
		}
		seen = number;
		linger(next_random(&state) % WAIT);
		if (__atomic_load_n(&pair->number, __ATOMIC_ACQUIRE) == number)
			take(pair, number);
	}
	return NULL;
}

static __attribute__((noinline)) void make(struct pair *pair)
{
	pair->cells = gyre_new_tail(&table_type, CELLS);
	pair->kept = gyre_new_tail(&table_type, KEPT);
	for (unsigned i = 0; i < CELLS; i++) {
		gyre_set(&pair->cells->cells[i], (struct cell *)gyre_new(&cell_type));
		gyre_set(&pair->cells->cells[i]->value, gyre_new(&cell_type));
	}
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 5;
	struct timespec begin, now;
	pthread_t thread;
	long lost = 0;
	unsigned cycles = 0, stores = 0;

	for (unsigned i = 0; i < PAIRS; i++) {
		make(&pairs[i]);
		if (pthread_create(&thread, NULL, writer, &pairs[i]) ||
		    pthread_create(&thread, NULL, reader, &pairs[i]))
			return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		lost = gyre_gc_verify();
		cycles++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (lost == 0 && (double)(now.tv_sec - begin.tv_sec) < seconds);
	for (unsigned i = 0; i < PAIRS; i++)
		stores += pairs[i].number;
	printf("%ld objects lost, in cycle %u of %u, %u stores\n", lost, lost ? cycles : 0, cycles, stores);
	fflush(stdout);
	_exit(lost ? 1 : 0);
}
