/* litmus_linked.c - outcomes that the memory model forbids, looked for on real threads.
 *
 *	litmus_linked ROUNDS
 *
 * Each test has two to four threads and a thousand cells. The threads go through the cells in the same
 * order at the same time, each doing its lines once for each cell; then all cells are judged. Printed is,
 * for each test, how many cells were judged, how many showed the forbidden outcome, and how many an
 * outcome that proves that the threads did overlap.
 *
 *	MP	x = 1; flag = 1		|  r = flag; s = x		forbidden: r = 1, s = 0
 *	SB	x = 1; r = y		|  y = 1; s = x			forbidden: r = 0, s = 0
 *	LB	r = x; y = 1		|  s = y; x = 1			forbidden: r = 1, s = 1
 *	IRIW	x = 1 | y = 1 | r = x; s = y | t = y; u = x		forbidden: 1 0 1 0
 *	chan, pool, map, mutex, once: an object filled by plain stores, handed over, read plainly
 *
 * MP's x is plain; the others are gyre_atomic_*. Objects are collected, and cycles run meanwhile.
 */
#include <gyre/gc.h>
#include <gyre/sync.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CELLS 1000

struct cell { /* what is stored are addresses: of one, or NULL */
	void *x, *y;
	char pad[48];
};

struct box {
	struct box *self;
	long value[3];
};

static const struct gyre_type cell_type = GYRE_TYPE(struct cell, x, y);
static const struct gyre_type box_type = GYRE_TYPE(struct box, self);
static struct cell *cells;
static void *one;
static unsigned char seen[4][CELLS];
static pthread_barrier_t barrier;
static unsigned long rounds;
static struct gyre_chan *chan;
static struct gyre_pool *pool;
static struct gyre_map *map;
static struct gyre_mutex mutex;
static struct box *guarded;

static bool get(void *const *slot)
{
	return gyre_atomic_load(slot) != NULL;
}

/* ---- the threads' lines; cell by cell */

static void mp_0(size_t i)
{
	gyre_set(&cells[i].x, one);
	gyre_atomic_store(&cells[i].y, one);
}

static void mp_1(size_t i)
{
	bool r = get(&cells[i].y);
	bool s = __atomic_load_n(&cells[i].x, __ATOMIC_RELAXED) != NULL; /* as a plain one */

	seen[0][i] = (unsigned char)(r | s << 1);
}

static void sb_0(size_t i)
{
	gyre_atomic_store(&cells[i].x, one);
	seen[0][i] = get(&cells[i].y);
}

static void sb_1(size_t i)
{
	gyre_atomic_store(&cells[i].y, one);
	seen[1][i] = get(&cells[i].x);
}

static void lb_0(size_t i)
{
	seen[0][i] = get(&cells[i].x);
	gyre_atomic_store(&cells[i].y, one);
}

static void lb_1(size_t i)
{
	seen[1][i] = get(&cells[i].y);
	gyre_atomic_store(&cells[i].x, one);
}

static void iriw_0(size_t i)
{
	gyre_atomic_store(&cells[i].x, one);
}

static void iriw_1(size_t i)
{
	gyre_atomic_store(&cells[i].y, one);
}

static void iriw_2(size_t i)
{
	bool r = get(&cells[i].x), s = get(&cells[i].y);

	seen[0][i] = (unsigned char)(r | s << 1);
}

static void iriw_3(size_t i)
{
	bool r = get(&cells[i].y), s = get(&cells[i].x);

	seen[1][i] = (unsigned char)(r | s << 1);
}

/* ---- handed over */

static struct box *fill(struct box *box, size_t i)
{
	if (!box)
		box = gyre_new(&box_type);
	gyre_set(&box->self, box);
	for (int j = 0; j < 3; j++)
		box->value[j] = (long)i + 1;
	return box;
}

static unsigned char judge(const struct box *box)
{
	if (!box)
		return 0;
	for (int j = 1; j < 3; j++)
		if (box->value[j] != box->value[0] || box->self != box)
			return 2;
	return 1;
}

static void chan_0(size_t i)
{
	struct box *box = fill(NULL, i);

	gyre_chan_send(chan, &box);
}

static void chan_1(size_t i)
{
	struct box *box;

	gyre_chan_recv(chan, &box);
	seen[0][i] = box->value[0] == (long)i + 1 ? judge(box) : 2;
}

static void pool_0(size_t i)
{
	struct box *box = gyre_pool_get(pool);

	gyre_pool_put(pool, fill(box, i));
}

static void pool_1(size_t i)
{
	struct box *box = gyre_pool_get(pool);

	seen[0][i] = judge(box);
	if (box)
		gyre_pool_put(pool, fill(box, i + 7));
}

static void map_0(size_t i)
{
	long key = (long)i % 50;

	gyre_map_set(map, &key, sizeof(key), fill(NULL, i));
}

static void map_1(size_t i)
{
	long key = (long)i % 50;

	seen[0][i] = judge(gyre_map_get(map, &key, sizeof(key)));
	if (i % 20 == 0)
		gyre_map_remove(map, &key, sizeof(key));
}

static void mutex_0(size_t i)
{
	gyre_mutex_lock(&mutex);
	guarded = fill(guarded, i);
	gyre_mutex_unlock(&mutex);
}

static void mutex_1(size_t i)
{
	gyre_mutex_lock(&mutex);
	seen[0][i] = judge(guarded);
	gyre_mutex_unlock(&mutex);
}

static struct gyre_once onces[CELLS];
static long once_values[CELLS];

static void set_once(void *value)
{
	*(long *)value = 1;
}

static void once_0(size_t i)
{
	gyre_once_do(&onces[i], set_once, &once_values[i]);
	if (!once_values[i])
		seen[0][i] = 2;
}

static void once_1(size_t i)
{
	gyre_once_do(&onces[i], set_once, &once_values[i]);
	seen[1][i] = once_values[i] ? 1 : 2;
}

/* ---- verdicts: forbidden 2, proof of overlap 1 */

static int v_mp(size_t i)
{
	return seen[0][i] == 1 ? 2 : seen[0][i] == 2;
}

static int v_sb(size_t i)
{
	return !seen[0][i] && !seen[1][i] ? 2 : seen[0][i] && seen[1][i];
}

static int v_lb(size_t i)
{
	return seen[0][i] && seen[1][i] ? 2 : !seen[0][i] && !seen[1][i];
}

static int v_iriw(size_t i)
{
	return seen[0][i] == 1 && seen[1][i] == 1 ? 2 : seen[0][i] == 1 || seen[1][i] == 1;
}

static int v_box(size_t i)
{
	return seen[0][i] == 2 || seen[1][i] == 2 ? 2 : seen[0][i];
}

static const struct test {
	const char *name;
	void (*lines[4])(size_t i);
	int (*verdict)(size_t i);
} tests[] = {
	{"MP", {mp_0, mp_1}, v_mp},
	{"SB", {sb_0, sb_1}, v_sb},
	{"LB", {lb_0, lb_1}, v_lb},
	{"IRIW", {iriw_0, iriw_1, iriw_2, iriw_3}, v_iriw},
	{"chan", {chan_0, chan_1}, v_box},
	{"pool", {pool_0, pool_1}, v_box},
	{"map", {map_0, map_1}, v_box},
	{"mutex", {mutex_0, mutex_1}, v_box},
	{"once", {once_0, once_1}, v_box},
};

struct line {
	void (*run)(size_t i);
};

static void *run_line(void *argument)
{
	const struct line *line = argument;

	for (unsigned long round = 0; round < rounds; round++) {
		pthread_barrier_wait(&barrier);
		for (size_t i = 0; i < CELLS; i++)
			line->run(i);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static unsigned long run_test(const struct test *test)
{
	unsigned long forbidden = 0, overlapped = 0;
	struct line lines[4];
	pthread_t threads[4];
	unsigned count = 0;

	for (; count < 4 && test->lines[count]; count++)
		lines[count].run = test->lines[count];
	pthread_barrier_init(&barrier, NULL, count + 1);
	for (unsigned i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, run_line, &lines[i]);
	for (unsigned long round = 0; round < rounds; round++) {
		cells = gyre_new_array(&cell_type, CELLS);
		memset(seen, 0, sizeof(seen));
		memset(onces, 0, sizeof(onces));
		memset(once_values, 0, sizeof(once_values));
		pthread_barrier_wait(&barrier);
		if (round % 16 == 0)
			gyre_gc_run();
		pthread_barrier_wait(&barrier);
		for (size_t i = 0; i < CELLS; i++) {
			int verdict = test->verdict(i);

			forbidden += verdict == 2;
			overlapped += verdict == 1;
		}
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	printf("%s %lu %lu %lu\n", test->name, rounds * CELLS, forbidden, overlapped);
	return forbidden;
}

int main(int argc, char **argv)
{
	unsigned long forbidden = 0;

	rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 10;
	one = gyre_new(&box_type);
	chan = gyre_chan_new(sizeof(struct box *), 16, GYRE_TRACED);
	pool = gyre_pool_new(GYRE_TRACED, NULL, NULL, NULL);
	map = gyre_map_new();
	if (!one || !chan || !pool || !map)
		return 2;
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		forbidden += run_test(&tests[i]);
	return forbidden ? 1 : 0;
}
