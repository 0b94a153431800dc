/* finalise_test.c - weak references, handles, cleanups, finalisers (gc/finalise.c, weak.c, table.c).
 *
 * Roots are found conservatively, so a word of a dead frame may hold an object. Where the test is that
 * objects go, many are made, in a frame of their own, and all but one in a hundred must go.
 *
 * Each test runs in a forked child: Criterion has a thread that blocks all signals, which the
 * collector could not stop. What does not hold is printed, and the child aborts.
 */
#include "base/config.h"
#include "gc/finalise.h"
#include "gc/table.h"
#include "os/sys.h"
#include "unit/unit.h"

#include <gyre/gc.h>
#include <pthread.h>

#define check(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
			abort();                                                                   \
		}                                                                                  \
	} while (0)
#define check_eq(a, b, ...) check((a) == (b))
#define check_neq(a, b) check((a) != (b))
#define check_leq(a, b, ...) check((a) <= (b))
#define check_geq(a, b) check((a) >= (b))
#define check_lt(a, b, ...) check((a) < (b))
#define check_null(a) check((a) == NULL)
#define check_not_null(a, ...) check((a) != NULL)

/* The stop is a signal, and what it orders ThreadSanitizer does not see. */
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

#define MANY 1000u
#define FEW (MANY / 100)

struct node {
	struct node *next, *other;
	uint64_t value, check;
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, next, other);

static struct node *node_new(uint64_t value)
{
	struct node *node = gyre_new(&node_type);

	check_not_null(node);
	node->value = value;
	node->check = ~value;
	return node;
}

static void node_check(const struct node *node, uint64_t value)
{
	check_eq(node->value, value);
	check_eq(node->check, ~value);
}

/* What dead frames have left where the next ones will be. */
static GY_NOINLINE void scrub(void)
{
	volatile char dead[8192];

	for (size_t i = 0; i < sizeof(dead); i++)
		dead[i] = 0;
}

static void collect(void)
{
	scrub();
	check_eq(gyre_gc_run(), 0);
	gyre_finalisers_wait();
	scrub();
}

/* ---- table -------------------------------------------------------------------------------------- */

struct record {
	void *object;
	struct gy_table_record *next;
	uint64_t more;
};

static void count_record(void *record, void *argument)
{
	if (((struct record *)record)->object)
		++*(unsigned *)argument;
}

CHILD_TEST(table, TABLE_1_records_are_found_and_used_again)
{
	static struct gy_table table = GY_TABLE_INIT(struct record);
	static struct record *records[5000];
	unsigned count = 0, reused = 0;
	void *last;

	check_eq(gyre_gc_run(), 0); /* the heap is up */
	for (unsigned i = 0; i < 5000; i++) {
		records[i] = gy_table_take(&table);
		check_not_null(records[i]);
		check_null(records[i]->object);
		check_eq(records[i]->more, 0);
		records[i]->object = records[i];
		records[i]->more = i;
	}
	for (unsigned i = 0; i < 5000; i++)
		check_eq(records[i]->more, i, "records overlap");
	gy_table_each(&table, count_record, &count);
	check_eq(count, 5000);
	for (unsigned i = 0; i < 5000; i += 2)
		gy_table_give(&table, records[i]);
	count = 0;
	gy_table_each(&table, count_record, &count);
	check_eq(count, 2500);
	for (unsigned i = 0; i < 2500; i++) {
		struct record *record = gy_table_take(&table);

		check(!record->object && !record->next && !record->more, "not zeroed");
		record->object = record;
		for (unsigned j = 0; j < 5000 && i < 20; j += 2)
			reused += records[j] == record;
	}
	check_eq(reused, 20);
	last = gy_table_take(&table);
	for (unsigned i = 0; i < 5000; i++)
		check_neq(last, records[i]);
}

/* ---- weak references ---------------------------------------------------------------------------- */

static struct gyre_weak *weaks[MANY];
static struct node *held[MANY];

static GY_NOINLINE void make_weaks(bool hold)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct node *node = node_new(i);

		weaks[i] = gyre_weak_new(node);
		check_not_null(weaks[i]);
		held[i] = hold ? node : NULL;
	}
}

static GY_NOINLINE unsigned weaks_left(void)
{
	unsigned left = 0;

	for (unsigned i = 0; i < MANY; i++) {
		struct node *node = gyre_weak_get(weaks[i]);

		if (node)
			node_check(node, i);
		left += node != NULL;
	}
	return left;
}

CHILD_TEST(weak, yields_what_is_held_and_nothing_else)
{
	struct gyre_gc_stats stats;

	make_weaks(true);
	for (int i = 0; i < 3; i++) {
		collect();
		check_eq(weaks_left(), MANY);
	}
	for (unsigned i = 0; i < MANY; i += 2)
		held[i] = NULL;
	collect();
	check_leq(weaks_left(), MANY / 2 + FEW);
	for (unsigned i = 1; i < MANY; i += 2)
		check_eq(gyre_weak_get(weaks[i]), held[i]);
	memset(held, 0, sizeof(held));
	collect();
	check_leq(weaks_left(), FEW);
	gyre_gc_stats(&stats);
	check_geq(stats.weak_cleared, MANY - FEW);
	for (unsigned i = 0; i < MANY; i++)
		gyre_weak_free(weaks[i]);
	gyre_weak_free(NULL);
}

CHILD_TEST(weak, a_pointer_into_the_object_serves_too)
{
	struct node *node = node_new(7);
	struct gyre_weak *weak = gyre_weak_new(&node->check);

	collect();
	check_eq(gyre_weak_get(weak), &node->check);
	check_eq(*(uint64_t *)gyre_weak_get(weak), ~(uint64_t)7);
}

CHILD_TEST(weak, refuses_what_is_no_object)
{
	static int global;
	int local = 0;
	void *block = malloc(100);

	errno = 0;
	check_null(gyre_weak_new(NULL));
	check_eq(errno, EINVAL);
	check_null(gyre_weak_new(&global));
	check_null(gyre_weak_new(&local));
	check_null(gyre_weak_new(block));
	check_eq(gyre_cleanup_add(&global, free, NULL), -1);
	check_eq(errno, EINVAL);
	check_eq(gyre_cleanup_add(node_new(1), NULL, NULL), -1);
	check_eq(gyre_finaliser_set(block, NULL, NULL), -1);
	check_eq(errno, EINVAL);
	free(block);
}

/* FIN-1: while cycles run, what get yields is whole; what it does not yield was not held. */
static struct {
	struct gyre_weak *weak;
	uint64_t value;
} shared[256];
static bool over;

static GY_NOINLINE void replace(unsigned at, uint64_t value)
{
	struct gyre_weak *weak = gyre_weak_new(node_new(value));

	gyre_weak_free(shared[at].weak);
	shared[at].weak = weak;
	shared[at].value = value;
}

static GY_NOINLINE bool look(unsigned at, struct node **keep)
{
	struct node *node = gyre_weak_get(shared[at].weak);

	if (!node)
		return false;
	node_check(node, shared[at].value);
	*keep = node;
	return true;
}

static void *weak_mutator(void *argument)
{
	unsigned number = (unsigned)(uintptr_t)argument, at = number * 64;
	struct node *keep[8] = {NULL};
	uint64_t state = number;

	while (!READ_RELAXED(over)) {
		uint64_t random = unit_random(&state);
		unsigned i = at + random % 64;

		if (!shared[i].weak || !look(i, &keep[random >> 20 & 7]))
			replace(i, random);
		/* What a weak reference yielded a while ago is held since. */
		for (unsigned j = 0; j < 8; j++)
			if (keep[j])
				check_eq(keep[j]->check, ~keep[j]->value);
	}
	return NULL;
}

CHILD_TEST(weak, FIN_1_what_is_yielded_while_cycles_run_is_whole)
{
	pthread_t threads[4];
	uint64_t begin = unit_now_ms();
	struct gyre_gc_stats stats;

	for (uintptr_t i = 0; i < 4; i++)
		check_eq(pthread_create(&threads[i], NULL, weak_mutator, (void *)i), 0);
	do {
		check_eq(gyre_gc_run(), 0);
		gyre_gc_stats(&stats);
	} while (unit_now_ms() < begin + 1000 ||
		 (stats.weak_cleared < 200 && unit_now_ms() < begin + 60000));
	WRITE_RELAXED(over, true);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	check_geq(stats.weak_cleared, 200);
}

/* Weak references cost marking, not the pause: the shortest of some, for the machine may be busy. */
#define MILLION (UNIT_SLOW ? 50000u : 1000000u)

static struct gyre_weak **million; /* malloc'd: as a global it would be scanned in the pause */
static void **million_held;

static GY_NOINLINE void make_million(void)
{
	million = malloc(MILLION * sizeof(struct gyre_weak *));
	million_held = gyre_new_conservative(MILLION * sizeof(void *));
	for (size_t i = 0; i < MILLION; i++) {
		gyre_set(&million_held[i], gyre_new_leaf(16));
		million[i] = gyre_weak_new(million_held[i]);
	}
}

static GY_NOINLINE size_t million_left(void)
{
	size_t left = 0;

	for (size_t i = 0; i < MILLION; i++)
		left += gyre_weak_get(million[i]) != NULL;
	return left;
}

CHILD_TEST(weak, a_million_do_not_make_a_pause)
{
	struct gyre_gc_stats before, after;
	uint64_t shortest_ns = UINT64_MAX;

	gyre_gc_pause();
	make_million();
	for (unsigned i = 0; i < 8; i++) {
		collect();
		gyre_gc_stats(&before);
		shortest_ns = MIN(shortest_ns, before.pause_last_ns);
	}
	check_eq(million_left(), MILLION);
	if (!UNIT_SLOW && !GYRE_CHECK_FULL)
		check_lt(shortest_ns, 5000000); /* to walk them takes several times as long */
	million_held = NULL;
	collect();
	gyre_gc_stats(&after);
	check_leq(million_left(), MILLION / 100);
	check_geq(after.weak_cleared - before.weak_cleared, MILLION / 100 * 99);
}

/* ---- handles ------------------------------------------------------------------------------------ */

static struct gyre_handle *handles[MANY];

static GY_NOINLINE void make_handles(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct node *node = node_new(i);

		weaks[i] = gyre_weak_new(node);
		handles[i] = gyre_handle_new(node);
		check_not_null(handles[i]);
	}
}

CHILD_TEST(handle, holds_its_object_until_it_is_set_or_freed)
{
	make_handles();
	collect();
	check_eq(weaks_left(), MANY);
	for (unsigned i = 0; i < MANY; i++) {
		check_eq(gyre_handle_get(handles[i]), gyre_weak_get(weaks[i]));
		if (i % 2)
			gyre_handle_set(handles[i], NULL);
		else
			gyre_handle_free(handles[i]);
	}
	gyre_handle_free(NULL);
	collect();
	check_leq(weaks_left(), FEW);
	check_null(gyre_handle_get(handles[1]));
	gyre_handle_set(handles[1], node_new(11));
	collect();
	node_check(gyre_handle_get(handles[1]), 11);
}

/* ---- cleanups ----------------------------------------------------------------------------------- */

static unsigned cleaned, wrong;
static void note(void *object, void *argument);

/* The argument is an object that only the cleanup holds. */
static void clean(void *argument)
{
	struct node *node = argument;

	if (node->check != ~node->value)
		wrong++;
	cleaned++;
}

static GY_NOINLINE void make_cleanups(bool hold)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct node *node = node_new(i);

		check_eq(gyre_cleanup_add(node, clean, node_new(i + MANY)), 0);
		check_eq(gyre_cleanup_add(node, clean, node_new(i + 2 * MANY)), 0);
		weaks[i] = gyre_weak_new(node);
		held[i] = hold ? node : NULL;
	}
}

CHILD_TEST(cleanup, runs_once_each_when_the_object_has_gone)
{
	struct gyre_gc_stats stats;

	make_cleanups(true);
	collect();
	collect();
	check_eq(cleaned, 0);
	memset(held, 0, sizeof(held));
	collect();
	check_geq(cleaned, 2 * (MANY - FEW));
	check_leq(weaks_left(), FEW);
	for (int i = 0; i < 3; i++)
		collect();
	check_leq(cleaned, 2 * MANY);
	check_eq(wrong, 0);
	gyre_gc_stats(&stats);
	check_eq(stats.finalisers_run, cleaned);
}

/* The first call leaves an object's address in a vector register and all over its dead frames; the
 * second does not come to its end, so that the thread is stopped and scanned where it is. */
static struct node *left;
static uintptr_t left_hidden;
static struct gyre_weak *left_weak;
static uint32_t calls, spins, go_on;

__attribute__((no_sanitize("address", "undefined"))) static GY_NOINLINE void leave_traces(void)
{
#if defined(__x86_64__)
	__asm__ volatile("	notq %%rax\n"
			 "	movq %%rax, %%xmm13\n"
			 "	movq $-128, %%rcx\n"
			 "1:	movq %%rax, (%%rsp,%%rcx,8)\n"
			 "	incq %%rcx\n"
			 "	jnz 1b\n"
			 "	xorl %%eax, %%eax\n"
			 : "=a"(left_hidden)
			 : "0"(left_hidden)
			 : "rcx", "cc", "memory");
#endif
}

static GY_NOINLINE void leave_or_spin(GY_UNUSED void *unused)
{
	if (!calls++) {
		leave_traces();
		return;
	}
	__atomic_store_n(&spins, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&go_on, __ATOMIC_ACQUIRE))
		__asm__ volatile("" ::: "memory");
}

static GY_NOINLINE void make_left(void)
{
	left = node_new(1);
	left_weak = gyre_weak_new(left);
	left_hidden = ~(uintptr_t)left;
	for (int i = 0; i < 2; i++)
		check_eq(gyre_cleanup_add(node_new(2), leave_or_spin, NULL), 0);
}

CHILD_TEST(cleanup, END_6_what_ran_leaves_nothing_behind)
{
	make_left();
	scrub();
	check_eq(gyre_gc_run(), 0);
	while (!__atomic_load_n(&spins, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	left = NULL;
	scrub();
	check_eq(gyre_gc_run(), 0);
	check_null(gyre_weak_get(left_weak));
	__atomic_store_n(&go_on, 1, __ATOMIC_RELEASE);
	gyre_finalisers_wait();
}

static pthread_t runner;
static bool waited;

static void note_runner(void *argument)
{
	(void)argument;
	runner = pthread_self();
	gyre_finalisers_wait(); /* from here: returns at once */
	check_not_null(gyre_new(&node_type), "a cleanup may allocate");
	check_eq(gyre_gc_run(), 0, "and collect");
	waited = true;
}

static GY_NOINLINE void make_noted(void)
{
	for (unsigned i = 0; i < 10; i++)
		gyre_cleanup_add(node_new(i), note_runner, NULL);
}

CHILD_TEST(cleanup, FIN_4_runs_on_a_thread_of_its_own_and_may_do_anything)
{
	make_noted();
	collect();
	check(waited);
	check(!pthread_equal(runner, pthread_self()));
}

/* END-2: the thread cannot be made now, perhaps later. */
CHILD_TEST(cleanup, without_a_thread_it_is_refused)
{
	struct node *node = node_new(1);

	check_eq(gyre_gc_run(), 0); /* the collector's own threads are there */
	gy_option_values[GY_OPT_fault_count] = 2;
	gy_option_values[GY_OPT_fault_call] = GY_SYS_thread_create;
	errno = 0;
	check_eq(gyre_cleanup_add(node, clean, NULL), -1);
	check_eq(errno, ENOMEM);
	check_eq(gyre_finaliser_set(node, note, NULL), -1);
	check_eq(gyre_finaliser_set(node, NULL, NULL), 0);
	check_eq(gyre_cleanup_add(node, clean, NULL), 0);
	node_check(node, 1);
}

static void child_body(void *unused)
{
	(void)unused;
	memset(held, 0, sizeof(held));
	scrub();
	child_check(!gyre_gc_run());
	gyre_finalisers_wait();
	child_check(cleaned >= 2 * (MANY - FEW));
	child_check(!wrong);
}

CHILD_TEST(cleanup, END_2_a_forked_child_runs_its_own)
{
	struct unit_child child;

	if (GY_ASAN)
		return; /* whose allocator another thread may have had locked at the fork */
	make_cleanups(true);
	collect();
	child = unit_child_run(child_body, NULL);
	if (!WIFEXITED(child.status) || WEXITSTATUS(child.status) != 0)
		dprintf(STDERR_FILENO, "status %#x: %s", (unsigned)child.status, child.text);
	check(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0);
	check_eq(cleaned, 0);
	for (unsigned i = 0; i < MANY; i++)
		node_check(held[i], i);
}

/* ---- finalisers --------------------------------------------------------------------------------- */

static unsigned finalised, order[MANY];
static struct node *saved[MANY];

static void note(void *object, void *argument)
{
	struct node *node = object;

	if (node->check != ~node->value || (node->next && node->next->check != ~node->next->value))
		wrong++;
	if (argument != &finalised)
		wrong++;
	order[finalised++ % MANY] = (unsigned)node->value;
}

static GY_NOINLINE void make_finalised(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct node *node = node_new(i);

		gyre_set(&node->next, node_new(i + MANY));
		check_eq(gyre_finaliser_set(node, note, &finalised), 0);
		check_eq(gyre_cleanup_add(node, clean, node_new(i)), 0);
		weaks[i] = gyre_weak_new(node);
	}
}

CHILD_TEST(finaliser, runs_once_with_the_object_and_what_it_leads_to)
{
	make_finalised();
	collect();
	check_geq(finalised, MANY - FEW);
	check_eq(wrong, 0);
	check_leq(weaks_left(), FEW, "a weak reference outlived its object");
	check_leq(cleaned, FEW, "FIN-3: cleanups wait until the object has gone");
	collect();
	check_geq(cleaned, MANY - FEW - FEW);
	collect();
	check_leq(finalised, MANY);
	check_leq(cleaned, MANY);
	check_eq(wrong, 0);
}

static void save(void *object, void *unused)
{
	struct node *node = object;

	(void)unused;
	finalised++;
	saved[node->value] = node;
}

static GY_NOINLINE void make_saved(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct node *node = node_new(i);

		gyre_set(&node->next, node_new(i + MANY));
		gyre_finaliser_set(node, save, NULL);
		weaks[i] = gyre_weak_new(node);
	}
}

CHILD_TEST(finaliser, may_save_its_object_but_not_its_weak_references)
{
	unsigned count = 0;

	make_saved();
	for (int i = 0; i < 3; i++)
		collect();
	check_leq(weaks_left(), FEW);
	for (unsigned i = 0; i < MANY; i++) {
		if (!saved[i])
			continue;
		count++;
		node_check(saved[i], i);
		node_check(saved[i]->next, i + MANY);
	}
	check_geq(count, MANY - FEW);
	check_eq(finalised, count, "a saved object was finalised again");
}

static GY_NOINLINE void make_chain(void)
{
	struct node *chain = NULL;

	/* Every object but the last 50 is behind another: the outermost has the highest number. */
	for (unsigned i = 0; i < 50; i++) {
		struct node *node = node_new(i);

		gyre_set(&node->next, chain);
		gyre_finaliser_set(node, note, &finalised);
		chain = node;
	}
}

CHILD_TEST(finaliser, FIN_2_the_outermost_comes_first)
{
	make_chain();
	for (unsigned i = 0; i < 60 && finalised < 50; i++)
		collect();
	check_geq(finalised, 49);
	for (unsigned i = 0; i < 49; i++)
		check_eq(order[i], 49 - i, "number %u ran as number %u", order[i], i);
	check_eq(wrong, 0);
}

static GY_NOINLINE void make_rings(void)
{
	for (unsigned i = 0; i < MANY / 2; i++) {
		struct node *a = node_new(i), *b = node_new(i + MANY);

		gyre_set(&a->next, b);
		gyre_set(&b->next, a);
		gyre_finaliser_set(a, note, &finalised);
		gyre_finaliser_set(b, note, &finalised);
	}
}

CHILD_TEST(finaliser, those_in_a_ring_never_run)
{
	make_rings();
	for (int i = 0; i < 4; i++)
		collect();
	check_eq(finalised, 0);
}

static void never(void *object, void *argument)
{
	(void)object;
	(void)argument;
	wrong++;
}

static GY_NOINLINE void make_replaced(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct node *node = node_new(i);

		check_eq(gyre_finaliser_set(node, NULL, NULL), 0, "nothing to remove");
		check_eq(gyre_finaliser_set(node, never, NULL), 0);
		/* By a pointer into the object, too. */
		check_eq(gyre_finaliser_set(&node->value, i % 2 ? note : NULL, &finalised), 0);
		if (i % 2)
			check_eq(gyre_finaliser_set(node, note, &finalised), 0);
	}
}

CHILD_TEST(finaliser, one_per_object_may_be_replaced_and_removed)
{
	make_replaced();
	for (int i = 0; i < 3; i++)
		collect();
	check_eq(wrong, 0);
	check_leq(finalised, MANY / 2);
	check_geq(finalised, MANY / 2 - FEW);
}

/* Ends come and go in several threads while cycles run. */
static unsigned storm_made[4], storm_run;

static void storm_end(void *argument)
{
	(void)argument;
	__atomic_fetch_add(&storm_run, 1, __ATOMIC_RELAXED);
}

static void storm_finalise(void *object, void *argument)
{
	struct node *node = object;

	if (node->check != ~node->value)
		__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
	storm_end(argument);
}

static GY_NOINLINE void storm_one(uint64_t random, unsigned *made)
{
	struct node *node = node_new(random);
	struct gyre_handle *handle = gyre_handle_new(node);

	if (random & 1) {
		*made += !gyre_cleanup_add(node, storm_end, NULL);
	} else {
		*made += !gyre_finaliser_set(node, storm_finalise, NULL);
		if (random & 2 && !gyre_finaliser_set(node, NULL, NULL))
			--*made;
	}
	node_check(gyre_handle_get(handle), random);
	gyre_handle_free(handle);
}

static void *storm(void *argument)
{
	unsigned *made = argument;
	uint64_t state = (uintptr_t)made;

	for (unsigned i = 0; i < (UNIT_SLOW ? 5000 : 50000); i++)
		storm_one(unit_random(&state), made);
	scrub();
	return NULL;
}

CHILD_TEST(finaliser, END_1_ends_come_and_go_while_cycles_run)
{
	pthread_t threads[4];
	unsigned made = 0;

	for (unsigned i = 0; i < 4; i++)
		check_eq(pthread_create(&threads[i], NULL, storm, &storm_made[i]), 0);
	for (unsigned i = 0; i < 20; i++)
		check_eq(gyre_gc_run(), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		made += storm_made[i];
	}
	collect();
	collect();
	check_leq(storm_run, made);
	check_geq(storm_run, made - 40);
	check_eq(wrong, 0);
}
