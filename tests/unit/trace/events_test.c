/* events_test.c - every event recorded once, in order, whatever comes in between.
 *
 * The linker puts this file's carrier() in the place of the probe `events` (tests/unit/build.mk,
 * --wrap), and the tests raise the semaphores themselves. The carrier keeps what it is told in
 * shared memory, so that a child's records can be looked at too.
 */
#include "trace/events.h"

#include "base/config.h"
#include "base/probe.h"
#include "control/background.h"
#include "control/page.h"
#include "control/stats.h"
#include "gc/barrier.h"
#include "gc/layout.h"
#include "heap/gate.h"
#include "heap/heap.h"
#include "heap/sampled.h"
#include "trace/event_buffer.h"
#include "trace/sampler.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

#include <gyre/gc.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define THREADS 4
#define THREADS_MOST 4096
#define TURNS (UNIT_SLOW ? 30000u : 200000u)

/* ------------------------------------------------------------------ the carrier */

struct told {
	uint32_t tid;
	uint64_t next, told, gap, dropped; /* next: what the next batch begins with */
	uint64_t dropped_before;
	uint32_t ended; /* a batch said: thread exit */
};

static struct heard {
	uint32_t lock;
	uint32_t thread_count;
	uint64_t batches, errors, records[GYRE_RECORD_OPERATIONS];
	uint64_t by_class[GYRE_RECORD_OPERATIONS][256], bytes[GYRE_RECORD_OPERATIONS];
	uint64_t reasons[6], most;
	const char *error;
	struct told threads[THREADS_MOST];
	uint64_t last_where, last_bytes, no_stack;
	uint64_t last_ticks, own_ticks; /* own: records whose ticks are not the one's before */
	uint32_t last_stack;
} *heard;

static void (*in_carrier)(void); /* what a test wants to happen in the middle of a batch */

static struct told *thread_of(uint32_t tid)
{
	struct told *told;

	for (uint32_t i = heard->thread_count; i--;)
		if (heard->threads[i].tid == tid)
			return &heard->threads[i];
	if (heard->thread_count == THREADS_MOST)
		return NULL;
	told = &heard->threads[heard->thread_count++];
	told->tid = tid;
	return told;
}

static void wrong(const char *what)
{
	heard->errors++;
	heard->error = what;
}

static void hear_records(const struct gyre_record *records, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		unsigned operation = GYRE_RECORD_OPERATION(records[i].where);

		if (i && records[i].ticks < records[i - 1].ticks)
			wrong("EVENT-3: ticks ran backwards");
		if (!operation || operation >= GYRE_RECORD_OPERATIONS) {
			wrong("an operation that there is not");
			continue;
		}
		heard->records[operation]++;
		heard->by_class[operation][GYRE_RECORD_CLASS(records[i].where)]++;
		heard->bytes[operation] += GYRE_RECORD_BYTES(records[i].bytes);
		heard->last_where = records[i].where;
		heard->last_bytes = records[i].bytes;
		heard->own_ticks += records[i].ticks != heard->last_ticks;
		heard->last_ticks = records[i].ticks;
		heard->last_stack = records[i].stack;
		heard->no_stack += !records[i].stack;
	}
}

static void hear(const uint64_t *values)
{
	struct told *told = thread_of((uint32_t)values[3]);

	heard->batches++;
	heard->reasons[values[5] % 6]++;
	heard->most = MAX(heard->most, values[1]);
	if (!values[1] || values[1] > GYRE_BATCH_RECORDS)
		wrong("the size of a batch");
	if (!told) {
		wrong("too many threads");
	} else {
		if (!told->told || (!values[2] && told->ended)) /* a new one, or of the same id */
			*told = (struct told){.tid = (uint32_t)values[3],
					      .next = values[2],
					      .told = told->told,
					      .dropped_before = values[4]};
		if (values[2] < told->next)
			wrong("EVENT-2: a record was told twice");
		told->gap += values[2] - told->next;
		told->next = values[2] + values[1];
		told->told += values[1];
		told->dropped = values[4] - told->dropped_before;
		if (told->gap > told->dropped)
			wrong("EVENT-2: a gap that nobody has counted");
		told->ended = values[5] == 2;
	}
	hear_records((const struct gyre_record *)values[0], values[1]);
}

void __wrap_gy_probe_events(const uint64_t *values);
void __wrap_gy_probe_events(const uint64_t *values)
{
	sigset_t all, before;

	if (in_carrier)
		in_carrier();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (__atomic_exchange_n(&heard->lock, 1, __ATOMIC_ACQUIRE))
		;
	hear(values);
	__atomic_store_n(&heard->lock, 0, __ATOMIC_RELEASE);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* What was heard until now, while threads go on. */
static uint64_t heard_now(const uint64_t *number)
{
	uint64_t value;

	while (__atomic_exchange_n(&heard->lock, 1, __ATOMIC_ACQUIRE))
		;
	value = *number;
	__atomic_store_n(&heard->lock, 0, __ATOMIC_RELEASE);
	return value;
}

static void switch_to(bool up)
{
	__atomic_store_n(&gyre_events_semaphore, up, __ATOMIC_SEQ_CST);
	__atomic_store_n(&gyre_events_on_semaphore, up, __ATOMIC_SEQ_CST);
}

/* As a tracer does it (EVENT-1). */
static void begin(void)
{
	memset(heard, 0, sizeof(*heard));
	switch_to(true);
	cr_assert(gy_events_follow(true));
	cr_assert(gy_gate_is_closed());
}

static void end(void)
{
	__atomic_store_n(&gyre_events_on_semaphore, 0, __ATOMIC_SEQ_CST);
	cr_assert_not(gy_events_follow(true));
	cr_assert_not(gy_gate_is_closed());
	__atomic_store_n(&gyre_events_semaphore, 0, __ATOMIC_SEQ_CST);
	cr_assert_eq(heard->errors, 0u, "%s", heard->error);
	gy_events_check();
}

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample] = 0;
	gy_option_values[GY_OPT_sample_stack] = 3;
	heard = mmap(NULL, sizeof(*heard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	cr_assert_neq(heard, MAP_FAILED);
}

TestSuite(events, .init = quiet);

/* The library's own counts, by class; 0: large. */
struct counts {
	uint64_t mallocs[GY_CLASS_COUNT], frees[GY_CLASS_COUNT];
};

static void count(struct counts *counts)
{
	struct gyre_control_class classes[GY_STATS_CLASSES];
	struct gyre_control_totals totals;

	gy_stats_gather(&totals, classes);
	counts->mallocs[0] = totals.large_mallocs;
	counts->frees[0] = totals.large_mallocs - totals.large_blocks;
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		counts->mallocs[c] = classes[c - 1].mallocs;
		counts->frees[c] = classes[c - 1].frees;
	}
}

/* EVENT-4: since `before` the counts have moved by what was heard. */
static void check_counts(const struct counts *before)
{
	struct counts after;

	count(&after);
	for (unsigned c = 0; c < GY_CLASS_COUNT; c++) {
		cr_expect_eq(after.mallocs[c] - before->mallocs[c],
			     heard->by_class[GYRE_RECORD_MALLOC][c], "mallocs of class %u", c);
		cr_expect_eq(after.frees[c] - before->frees[c],
			     heard->by_class[GYRE_RECORD_FREE][c], "frees of class %u", c);
	}
}

/* ------------------------------------------------------------------ one thread */

#if GYRE_PROBES
Test(events, each_way_to_allocate_and_free_is_told_once)
{
	static const size_t sizes[] = {0,    1,     8,     100,    1088,   1089,
				       5000, 8192,  32768, 32769,  300000, 3 << 20};
	struct counts before;

	for (unsigned sampled = 0; sampled < 2; sampled++) {
		gy_option_values[GY_OPT_sample] = sampled ? 64 : 0;
		count(&before);
		begin();
		for (unsigned round = 0; round < 20; round++) {
			for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
				size_t bytes = sizes[i];
				void *block = unit_malloc(bytes), *other;

				other = gy_heap_alloc_zeroed(bytes, 0);
				unit_free(block);
				block = gy_heap_alloc_aligned(256, bytes, 0);
				other = gy_heap_realloc(other, bytes * 3 + 10, 0);
				gy_heap_free_sized(block, bytes, 256, 0);
				other = gy_heap_realloc(other, bytes / 2 + 1, 0);
				unit_free(other);
				block = gy_heap_alloc_aligned((size_t)4 << 20, bytes, 0);
				gy_heap_free(block, 0);
			}
			unit_free(NULL);
		}
		end();
		cr_assert_eq(heard->records[GYRE_RECORD_MALLOC], heard->records[GYRE_RECORD_FREE]);
		cr_assert_geq(heard->records[GYRE_RECORD_MALLOC], 20u * 4u * ARRAY_SIZE(sizes));
		check_counts(&before);
	}
	gy_sampler_check();
}

Test(events, a_record_says_what_happened)
{
	char *block;

	begin();
	block = unit_malloc(100);
	gy_events_follow(true);
	cr_assert_eq(GYRE_RECORD_OPERATION(heard->last_where), (unsigned)GYRE_RECORD_MALLOC);
	cr_assert_eq(GYRE_RECORD_CLASS(heard->last_where), gy_class_of_request(100));
	cr_assert_eq(GYRE_RECORD_ADDRESS(heard->last_where), (uintptr_t)block);
	cr_assert_eq(heard->last_bytes, 100u);
	unit_free(block);
	gy_events_follow(true);
	cr_assert_eq(GYRE_RECORD_OPERATION(heard->last_where), (unsigned)GYRE_RECORD_FREE);
	cr_assert_eq(heard->last_bytes, gy_size_classes[gy_class_of_request(100)].bytes);
	block = unit_malloc((size_t)5 << 30);
	gy_events_follow(true);
	cr_assert_eq(GYRE_RECORD_CLASS(heard->last_where), 0u);
	cr_assert_eq(GYRE_RECORD_BYTES(heard->last_bytes), (uint64_t)5 << 30);
	unit_free(block);
	end();
	cr_assert_eq(heard->records[GYRE_RECORD_FREE], 2u);
	cr_assert_eq(heard->threads[0].tid, (uint32_t)syscall(SYS_gettid));
}

/* Batches are halves; the buffer wraps; nothing is lost at any number of records. */
Test(events, every_number_of_records_is_shipped_whole)
{
	const unsigned half = GYRE_BATCH_RECORDS / 2; /* two records a turn */

	for (unsigned n = 0; n < half * 5; n += n < 20 || (n > half - 8 && n < half + 8) ? 1 : 37) {
		begin();
		for (unsigned i = 0; i < n; i++)
			unit_free(unit_malloc(16));
		end();
		cr_assert_eq(heard->records[GYRE_RECORD_MALLOC], n);
		cr_assert_eq(heard->records[GYRE_RECORD_FREE], n);
		cr_assert_leq(heard->batches, n * 2 / GYRE_BATCH_RECORDS + 2);
	}
}

/* A heap that grows with the gate closed is whole when it opens. */
Test(events, GATE_1_the_heap_grows_behind_a_closed_gate)
{
	static void *blocks[4000];
	size_t pages = gy_map.page_count;

	begin();
	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = unit_malloc(20000);
	cr_assert_gt(gy_map.page_count, pages);
	cr_assert_eq(gy_map.gate.page_count, 0u);
	end();
	cr_assert_eq(gy_map.gate.page_count, gy_map.page_count);
	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
		unit_free(blocks[i]);
}

/* No malloc here: its slow paths look whether there is a carrier, and end the recording. */
Test(events, nobody_listens_and_it_is_counted)
{
	struct gy_events_stats before, after;
	static char block[32];

	gy_events_read_stats(&before);
	begin();
	__atomic_store_n(&gyre_events_semaphore, 0, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < 5000; i++)
		gy_events_record(GYRE_RECORD_MALLOC, 2, block, sizeof(block), 0);
	cr_assert_eq(heard->batches, 0u);
	__atomic_store_n(&gyre_events_semaphore, 1, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < 5000; i++)
		gy_events_record(GYRE_RECORD_MALLOC, 2, block, sizeof(block), 0);
	end();
	gy_events_read_stats(&after);
	cr_assert_eq(after.dropped - before.dropped, 5000u / GYRE_BATCH_RECORDS * GYRE_BATCH_RECORDS);
	cr_assert_eq(after.dropped - before.dropped + after.recorded - before.recorded, 10000u);
	cr_assert_eq(heard->threads[0].dropped_before, after.dropped - before.dropped);
	cr_assert_eq(heard->threads[0].told, after.recorded - before.recorded);
}

/* EVENT-1: a tracer that was killed. */
Test(events, recording_stops_by_itself_and_leaves_nothing_stale)
{
	begin();
	for (unsigned i = 0; i < 100; i++)
		unit_free(unit_malloc(32));
	switch_to(false);
	cr_assert(gy_gate_is_closed());
	unit_free(unit_malloc(32));
	cr_assert_not(gy_gate_is_closed());
	cr_assert_eq(heard->batches, 0u);
	begin(); /* nobody has asked in between */
	unit_free(unit_malloc(48));
	__atomic_store_n(&gyre_events_on_semaphore, 0, __ATOMIC_SEQ_CST);
	gy_events_follow(true);
	cr_assert_eq(heard->records[GYRE_RECORD_MALLOC], 1u);
	cr_assert_eq(heard->records[GYRE_RECORD_FREE], 1u);
	switch_to(false);
}

/* EVENT-1: one that was killed amid its detaching. */
Test(events, a_switch_that_was_left_up_alone_is_nobodys)
{
	begin();
	for (unsigned i = 0; i < 100; i++)
		unit_free(unit_malloc(32));
	__atomic_store_n(&gyre_events_semaphore, 0, __ATOMIC_SEQ_CST);
	cr_assert_not(gy_events_follow(false));
	cr_assert_not(gy_gate_is_closed());
	cr_assert_not(gy_events_need_follow());
	unit_free(unit_malloc(32));
	cr_assert_not(gy_events_follow(true));
	cr_assert_not(gy_gate_is_closed());
	cr_assert_eq(heard->batches, 0u);
	begin(); /* the next one's carrier, and the switch is up already */
	unit_free(unit_malloc(48));
	end();
	cr_assert_eq(heard->records[GYRE_RECORD_MALLOC], 1u);
	cr_assert_eq(heard->records[GYRE_RECORD_FREE], 1u);
}

Test(events, the_option_turns_it_off)
{
	struct gy_events_stats stats;

	gy_option_values[GY_OPT_events] = 0;
	switch_to(true);
	cr_assert_not(gy_events_follow(true));
	cr_assert_not(gy_gate_is_closed());
	gy_events_read_stats(&stats);
	cr_assert_not(stats.available);
	switch_to(false);
}

/* ------------------------------------------------------------------ threads */

static uint32_t go, stop; /* [atomic] */
static uint64_t made;	  /* [atomic] operations of all threads */

static void churn_some(uint64_t *rng, unsigned turns)
{
	static const size_t sizes[] = {16, 40, 64, 100, 500, 2000, 9000, 40000};
	void *blocks[64] = {NULL};
	uint64_t mine = 0;

	for (unsigned turn = 0; turn < turns; turn++) {
		unsigned at = (unsigned)(unit_random(rng) % ARRAY_SIZE(blocks));

		if (blocks[at]) {
			unit_free(blocks[at]);
			blocks[at] = NULL;
		} else {
			blocks[at] = unit_malloc(sizes[unit_random(rng) % ARRAY_SIZE(sizes)]);
		}
		mine++;
	}
	for (unsigned at = 0; at < ARRAY_SIZE(blocks); at++) {
		mine += blocks[at] != NULL;
		unit_free(blocks[at]);
	}
	ADD_RELAXED(made, mine);
}

static void *churn(void *argument)
{
	uint64_t rng = (uintptr_t)argument;

	while (!READ_RELAXED(go))
		unit_sleep_ms(1);
	churn_some(&rng, TURNS);
	return NULL;
}

static void *follow(void *argument)
{
	while (!READ_RELAXED(stop)) {
		gy_events_follow(true);
		gy_events_check();
		unit_sleep_ms(1);
	}
	return argument;
}

Test(events, EVENT_4_threads_and_a_shipper_beside_them)
{
	pthread_t threads[THREADS], shipper;
	struct counts before;

	gy_option_values[GY_OPT_sample] = 100000;
	count(&before);
	begin();
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
	pthread_create(&shipper, NULL, follow, NULL);
	WRITE_RELAXED(go, 1u);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	WRITE_RELAXED(stop, 1u);
	pthread_join(shipper, NULL);
	end();
	cr_assert_eq(heard->records[GYRE_RECORD_MALLOC] + heard->records[GYRE_RECORD_FREE], made);
	check_counts(&before);
	for (unsigned i = 0; i < heard->thread_count; i++)
		cr_assert_eq(heard->threads[i].dropped, 0u);
}

/* On and off under load: each thread's records are a row without holes, each time. */
static void *churn_on(void *argument)
{
	uint64_t rng = (uintptr_t)argument;

	while (!READ_RELAXED(stop))
		churn_some(&rng, 1000);
	return NULL;
}

Test(events, RING_7_attached_and_detached_under_load)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, churn_on, (void *)(i + 1));
	for (unsigned turn = 0; turn < 40; turn++) {
		struct gy_events_stats before, after;
		uint64_t sum = 0;

		gy_events_read_stats(&before);
		begin();
		for (unsigned i = 0; i < 4; i++) {
			unit_sleep_ms(1);
			cr_assert(gy_events_follow(true));
		}
		__atomic_store_n(&gyre_events_on_semaphore, 0, __ATOMIC_SEQ_CST);
		cr_assert_not(gy_events_follow(true));
		gy_events_read_stats(&after);
		cr_assert_eq(after.waiting, 0u);
		for (unsigned i = 0; i < heard->thread_count; i++)
			sum += heard->threads[i].told;
		cr_assert_eq(after.recorded - before.recorded, sum);
		cr_assert_eq(after.dropped, before.dropped);
		cr_assert_eq(heard->errors, 0u, "%s", heard->error);
		switch_to(false);
		gy_events_check();
	}
	WRITE_RELAXED(stop, 1u);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* ------------------------------------------------------------------ ends of threads */

static pthread_key_t late_key;

static void late(void *value)
{
	unit_free(value);
	unit_free(unit_malloc(200));
}

static void *short_life(void *argument)
{
	uint64_t rng = (uintptr_t)argument;

	churn_some(&rng, 30);
	pthread_setspecific(late_key, unit_malloc(50));
	ADD_RELAXED(made, 4u);
	return NULL;
}

Test(events, threads_that_end_lose_nothing)
{
	const unsigned rounds = UNIT_SLOW ? 50 : 300;
	struct gy_events_stats stats;
	struct counts before;

	pthread_key_create(&late_key, late); /* behind the library's: its destructor runs later */
	count(&before);
	begin();
	for (uintptr_t round = 0; round < rounds; round++) {
		pthread_t threads[4];

		for (uintptr_t i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, short_life, (void *)(round * 4 + i + 1));
		for (unsigned i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
	gy_events_read_stats(&stats);
	cr_assert_eq(stats.waiting, 0u);
	cr_assert_leq(stats.buffers, 10u, "an ended thread's buffer serves the next");
	end();
	cr_assert_eq(heard->records[GYRE_RECORD_MALLOC] + heard->records[GYRE_RECORD_FREE], made);
	check_counts(&before);
	cr_assert_geq(heard->reasons[2], (uint64_t)rounds * 4);
}

/* ------------------------------------------------------------------ signals */

static uint64_t in_handler; /* [atomic] operations of handlers */

static void handler(int number)
{
	int saved = errno;

	(void)number;
	for (unsigned i = 0; i < 3; i++)
		gy_events_record(GYRE_RECORD_BARRIER, 0, &in_handler, i, 0);
	ADD_RELAXED(in_handler, 3u);
	errno = saved;
}

static void *signal_all(void *argument)
{
	const pthread_t *threads = argument;

	while (!READ_RELAXED(stop))
		for (unsigned i = 0; i < THREADS; i++)
			pthread_kill(threads[i], SIGUSR1);
	return NULL;
}

static void *record_on(void *argument)
{
	for (uint64_t i = 0; i < TURNS * 5 || !READ_RELAXED(stop); i++) {
		gy_events_record(GYRE_RECORD_NEW, 0, argument, i, 0);
		ADD_RELAXED(made, 1u);
	}
	return NULL;
}

/* The same by the halves of malloc and free that record (recorded.c). */
static void *churn_until(void *argument)
{
	uint64_t rng = (uintptr_t)argument;

	while (!READ_RELAXED(stop))
		churn_some(&rng, 10000);
	return NULL;
}

/* Handlers that record, wherever they come. */
static void handlers_come(void *(*work)(void *))
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	pthread_t threads[THREADS], signaller;
	struct gy_events_stats before, after;

	stop = 0;
	made = in_handler = 0;
	sigaction(SIGUSR1, &action, NULL);
	gy_events_read_stats(&before);
	begin();
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, NULL);
	pthread_create(&signaller, NULL, signal_all, threads);
	for (unsigned i = 0; i < 300; i++) {
		unit_sleep_ms(1);
		gy_events_follow(true);
		gy_events_check();
	}
	WRITE_RELAXED(stop, 1u);
	pthread_join(signaller, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	end();
	gy_events_read_stats(&after);
	cr_assert_gt(in_handler, 100u);
	cr_assert_eq(heard->records[GYRE_RECORD_NEW] + heard->records[GYRE_RECORD_MALLOC] +
			     heard->records[GYRE_RECORD_FREE],
		     made);
	cr_assert_eq(heard->records[GYRE_RECORD_BARRIER] + after.dropped - before.dropped,
		     in_handler);
}

Test(events, RING_1_handlers_between_any_two_instructions)
{
	handlers_come(record_on);
}

Test(events, RING_1_handlers_within_malloc_and_free)
{
	handlers_come(churn_until);
}

#define FLOOD (GYRE_BATCH_RECORDS + 200u)

/* A handler that comes while the thread ships, and records more than there is room for. */
static void flood(void)
{
	static __thread bool inside;

	if (inside || heard->batches < 3 || heard->batches > 5)
		return;
	inside = true;
	for (unsigned i = 0; i < FLOOD; i++)
		gy_events_record(GYRE_RECORD_BARRIER, 0, &in_handler, i, 0);
	inside = false;
}

Test(events, RING_5_what_finds_no_room_is_a_gap)
{
	struct gy_events_stats before, after;

	gy_events_read_stats(&before);
	begin();
	in_carrier = flood;
	for (unsigned i = 0; i < 20000; i++)
		gy_events_record(GYRE_RECORD_NEW, 0, &made, i, 0);
	in_carrier = NULL;
	end();
	gy_events_read_stats(&after);
	cr_assert_gt(after.dropped - before.dropped, 0u);
	cr_assert_eq(heard->records[GYRE_RECORD_NEW], 20000u);
	cr_assert_eq(heard->records[GYRE_RECORD_BARRIER] + after.dropped - before.dropped,
		     FLOOD * 3);
	cr_assert_eq(heard->threads[0].gap, after.dropped - before.dropped);
}

/* ------------------------------------------------------------------ processes */

static void child_of_fork(void *argument)
{
	uint64_t batches = heard->batches;

	(void)argument;
	/* Its semaphores are copies, and nobody takes them down here: so it records for itself. */
	child_check(gy_gate_is_closed());
	unit_free(unit_malloc(100));
	child_check(heard->batches == batches);
	gy_events_follow(true);
	child_check(heard->batches == batches + 1);
	child_check(heard->threads[1].tid == (uint32_t)getpid());
	child_check(heard->threads[1].told == 2);
	switch_to(false);
	gy_events_follow(true);
	child_check(!gy_gate_is_closed());
}

Test(events, a_forked_child_begins_with_nothing)
{
	struct unit_child child;

	begin();
	for (unsigned i = 0; i < 100; i++)
		unit_free(unit_malloc(32));
	child = unit_child_run(child_of_fork, NULL);
	unit_assert_exit(child, 0);
	cr_assert_eq(heard->reasons[3], 1u, "shipped before the fork");
	end();
	cr_assert_eq(heard->threads[0].told, 200u);
}

static void late_exit(void)
{
	unit_free(unit_malloc(77));
}

static void leave(void *argument)
{
	(void)argument;
	heard->thread_count = 0;
	for (unsigned i = 0; i < GYRE_BATCH_RECORDS; i++)
		unit_free(unit_malloc(32));
	atexit(late_exit);
	exit(0);
}

Test(events, exit_ships_what_waits)
{
	struct unit_child child;

	begin();
	child = unit_child_run(leave, NULL);
	unit_assert_exit(child, 0);
	cr_assert_geq(heard->reasons[4], 1u);
	cr_assert_eq(heard->records[GYRE_RECORD_MALLOC], GYRE_BATCH_RECORDS + 1);
	cr_assert_eq(heard->records[GYRE_RECORD_FREE], GYRE_BATCH_RECORDS + 1);
	heard->errors = 0;
	end();
}

/* Whoever waits long is shipped by the background thread, and it answers a tracer. */
Test(events, a_quiet_threads_records_do_not_wait_for_ever)
{
	uint64_t end_ms = unit_now_ms() + 20000;

	gy_option_values[GY_OPT_background] = 1;
	gy_option_values[GY_OPT_background_start] = 0;
	memset(heard, 0, sizeof(*heard));
	switch_to(true);
	gy_background_slow_path((uintptr_t)&unit_malloc);
	while (!gy_gate_is_closed() && unit_now_ms() < end_ms)
		unit_sleep_ms(5);
	cr_assert(gy_gate_is_closed());
	unit_free(unit_malloc(10));
	while (!heard_now(&heard->batches) && unit_now_ms() < end_ms)
		unit_sleep_ms(5);
	cr_assert_eq(heard_now(&heard->records[GYRE_RECORD_MALLOC]), 1u);
	cr_assert_geq(heard_now(&heard->reasons[1]), 1u);
	switch_to(false);
	while (gy_events_need_follow() && unit_now_ms() < end_ms)
		unit_sleep_ms(5);
	cr_assert_not(gy_gate_is_closed());
}

/* ------------------------------------------------------------------ ticks */

/* How many of two whole batches' records have ticks of their own. A slow path of ours may ship what
 * has waited for long in the middle of a batch, which begins a row anew: then once more. */
static uint64_t own_ticks_of(uint64_t limit)
{
	for (unsigned turn = 0; turn < 1000; turn++) {
		static struct heard before; /* large */

		before = *heard;
		/* Again and again: a slow path may ask the switches, and put it right. */
		while (heard->batches < before.batches + 2) {
			WRITE_RELAXED(gy_events_state.quick_ticks, limit);
			unit_free(unit_malloc(10));
		}
		if (heard->reasons[0] == before.reasons[0] + 2 &&
		    heard->records[GYRE_RECORD_MALLOC] + heard->records[GYRE_RECORD_FREE] ==
			    before.records[GYRE_RECORD_MALLOC] +
				    before.records[GYRE_RECORD_FREE] + 2 * GYRE_BATCH_RECORDS)
			return heard->own_ticks - before.own_ticks;
	}
	cr_assert(false, "never two whole batches");
	return 0;
}

/* The records of one thread, without handlers: how many share is known exactly. */
Test(events, RING_10_quick_threads_share_ticks)
{
	uint64_t own;

	gy_option_values[GY_OPT_background_start] = 0;
	begin();
	if (!gy_events_state.sharing) { /* no counter: each has the clock's time */
		end();
		return;
	}
	own_ticks_of(UINT64_MAX); /* its first row is not known to be quick */
	own = own_ticks_of(UINT64_MAX);
	cr_expect_geq(own, 2 * GYRE_BATCH_RECORDS / GYRE_RECORD_SHARED, "own ticks: %lu", own);
	cr_expect_leq(own, 2 * GYRE_BATCH_RECORDS / GYRE_RECORD_SHARED + 2 * GYRE_RECORD_SHARED,
		      "own ticks: %lu", own);
	own_ticks_of(0);
	own = own_ticks_of(0);
	cr_expect_geq(own, 2 * GYRE_BATCH_RECORDS - 2 * GYRE_RECORD_SHARED, "slow: %lu", own);
	end();
}

Test(events, RING_10_an_idle_threads_next_record_has_its_own_ticks)
{
	begin();
	for (unsigned i = 1; i < 100; i++) {
		uint64_t then;

		WRITE_RELAXED(gy_events_state.quick_ticks, UINT64_MAX);
		for (unsigned j = 0; j < i; j++)
			unit_free(unit_malloc(10));
		gy_events_follow(true); /* somebody ships what waits */
		then = gy_ticks();
		unit_free(unit_malloc(10));
		gy_events_follow(true);
		cr_assert_geq(heard->last_ticks, then);
	}
	end();
}

Test(events, EVENT_3_each_record_has_its_own_ticks_if_asked_for)
{
	uint64_t own;

	__atomic_store_n(&gyre_events_clock_semaphore, 1, __ATOMIC_SEQ_CST);
	begin();
	own_ticks_of(UINT64_MAX);
	own = own_ticks_of(UINT64_MAX);
	cr_expect_eq(own, 2 * GYRE_BATCH_RECORDS, "own ticks: %lu", own);
	__atomic_store_n(&gyre_events_clock_semaphore, 0, __ATOMIC_SEQ_CST);
	gy_events_follow(true);
	own_ticks_of(UINT64_MAX);
	own = own_ticks_of(UINT64_MAX);
	cr_expect(!gy_events_state.sharing || own < 2 * GYRE_BATCH_RECORDS, "down: %lu", own);
	__atomic_store_n(&gyre_events_clock_semaphore, 1, __ATOMIC_SEQ_CST);
	gy_events_follow(true); /* a second tracer comes */
	own = own_ticks_of(UINT64_MAX);
	cr_expect_geq(own, 2 * GYRE_BATCH_RECORDS - GYRE_RECORD_SHARED, "switch up: %lu", own);
	__atomic_store_n(&gyre_events_clock_semaphore, 0, __ATOMIC_SEQ_CST);
	end();
}

/* ------------------------------------------------------------------ stacks */

/* The table as a tracer finds it. */
static const struct gyre_stacks_header *find_table(void)
{
	for (int fd = 3; fd < 2000; fd++) {
		char path[64], target[128] = "";
		struct stat status;
		void *mapped;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof(target) - 1) <= 0 ||
		    !strstr(target, "memfd:" GYRE_STACKS_NAME))
			continue;
		cr_assert_eq(fstat(fd, &status), 0);
		cr_assert(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK);
		mapped = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
		cr_assert_neq(mapped, MAP_FAILED);
		return mapped;
	}
	return NULL;
}

static const struct gyre_stack_entry *entry_of(const struct gyre_stacks_header *table, uint32_t id)
{
	return (const void *)((const char *)table + GYRE_STACKS_HEADER + id * table->entry_bytes);
}

GY_NOINLINE static void *at_one(size_t bytes)
{
	void *block = unit_malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

GY_NOINLINE static void *at_another(size_t bytes)
{
	void *block = unit_malloc(bytes + 1);

	__asm__ volatile("" : "+r"(block));
	return block;
}

GY_NOINLINE static void *deeper(unsigned depth, size_t bytes)
{
	void *block = depth ? deeper(depth - 1, bytes) : unit_malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

static uint32_t told_stack(void)
{
	gy_events_follow(true);
	return heard->last_stack;
}

static bool is_in(uint64_t pc, void *(*function)(size_t))
{
	return pc - (uintptr_t)function < 100;
}

static void begin_with_stacks(void)
{
	gy_option_values[GY_OPT_sample_stack] = 0;
	__atomic_store_n(&gyre_events_stacks_semaphore, 1, __ATOMIC_SEQ_CST);
	begin();
}

Test(events, EVENT_5_a_stack_has_one_id_and_its_frames)
{
	const struct gyre_stacks_header *table;
	uint32_t one, other, deep[40];

	begin_with_stacks();
	table = find_table();
	cr_assert_not_null(table);
	cr_assert_eq(memcmp(table->magic, GYRE_STACKS_MAGIC, 8), 0);
	cr_assert_eq(table->entry_bytes, sizeof(struct gyre_stack_entry));
	cr_assert_eq(table->entry_count, 16384u);
	for (unsigned round = 0; round < 3; round++) {
		unit_free(at_one(100));
		one = told_stack();
		for (unsigned i = 0; i < 3000; i++) {
			unit_free(at_one(100));
			unit_free(at_another(100));
		}
	}
	at_one(100);
	one = told_stack();
	at_another(100);
	other = told_stack();
	cr_assert(one && other && one != other);
	cr_assert(is_in(entry_of(table, one)->frames[0], at_one));
	cr_assert(is_in(entry_of(table, other)->frames[0], at_another));
	cr_assert_gt(entry_of(table, one)->depth, 2u);
	cr_assert_leq(entry_of(table, one)->depth, (uint32_t)GYRE_STACK_FRAMES);
	for (unsigned depth = 0; depth < ARRAY_SIZE(deep); depth++) {
		deeper(depth, 10);
		deep[depth] = told_stack();
		cr_assert_neq(deep[depth], 0u);
		for (unsigned i = 0; i < depth && depth < 20; i++)
			cr_assert_neq(deep[depth], deep[i]);
	}
	gyre_events_stacks_semaphore = 0;
	at_one(100);
	cr_assert_eq(told_stack(), 0u, "not asked for any more");
	end();
	cr_assert_lt(table->used, 300u);
	cr_assert_eq(table->full, 0u);
}

static void *with_stacks(void *argument)
{
	uint64_t rng = (uintptr_t)argument;

	while (!READ_RELAXED(go))
		;
	for (unsigned i = 0; i < TURNS / 100; i++)
		unit_free(deeper((unsigned)(unit_random(&rng) % 10), 50));
	return NULL;
}

Test(events, STACKS_1_threads_fill_the_table_at_once)
{
	const struct gyre_stacks_header *table;
	pthread_t threads[THREADS];
	uint32_t used = 0;

	begin_with_stacks();
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, with_stacks, (void *)(i + 1));
	WRITE_RELAXED(go, 1u);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	end();
	table = find_table();
	for (uint32_t id = 1; id < table->entry_count; id++) {
		const struct gyre_stack_entry *entry = entry_of(table, id);

		cr_assert_eq(!entry->hash, !entry->depth);
		used += entry->depth != 0;
		for (uint32_t before = 1; before < id && entry->depth; before++)
			cr_assert(entry_of(table, before)->hash != entry->hash, "twice");
	}
	cr_assert_eq(used, table->used);
	cr_assert_geq(used, 11u);
	cr_assert_leq(used, 100u);
	cr_assert_eq(heard->no_stack, 0u);
}

Test(events, a_full_table_is_counted)
{
	const struct gyre_stacks_header *table;

	gy_option_values[GY_OPT_event_stacks] = 64;
	begin_with_stacks();
	for (unsigned i = 0; i < 200; i++)
		deeper(i % 29, 10 + i);
	for (unsigned i = 0; i < 60; i++) { /* calls from as many places */
		at_one(10);
		at_another(10);
	}
	end();
	table = find_table();
	cr_assert_leq(table->used, 63u);
}

static void child_with_stacks(void *argument)
{
	uint32_t id;

	at_one(100);
	gy_events_follow(true);
	id = heard->last_stack;
	child_check(id && is_in(entry_of(find_table(), id)->frames[0], at_one));
	child_check(find_table()->used < *(uint32_t *)argument);
}

Test(events, STACKS_4_a_child_has_a_table_of_its_own)
{
	struct unit_child child;
	uint32_t used;

	begin_with_stacks();
	for (unsigned i = 0; i < 20; i++)
		deeper(i, 10);
	at_one(100);
	used = find_table()->used;
	child = unit_child_run(child_with_stacks, &used);
	unit_assert_exit(child, 0);
	cr_assert_eq(find_table()->used, used, "the child writes to its own");
	end();
}

/* ------------------------------------------------------------------ the collector */

struct pair {
	struct pair *first, *second;
	long number;
};

static void collected(void *argument)
{
	static const uint64_t map[4] = {3};
	const struct gyre_type *type = gyre_type_make("pair", sizeof(struct pair), 8, map);
	struct pair *pairs[100];
	uint64_t hits = gy_barrier_hits(), other = heard->records[GYRE_RECORD_MALLOC];
	const struct gyre_type_name *names;
	unsigned number;

	(void)argument;
	gyre_gc_pause();
	gyre_new_leaf(10);
	gy_events_follow(true);
	heard->records[GYRE_RECORD_NEW] = heard->bytes[GYRE_RECORD_NEW] = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
		pairs[i] = gyre_new(type);
		child_check(gyre_new_leaf(100) && gyre_new_conservative(40));
		child_check(gyre_new_array(type, 5) != NULL);
	}
	child_check(gyre_new_leaf(100000) != NULL);
	gy_events_follow(true);
	child_check(heard->records[GYRE_RECORD_NEW] == 401);
	child_check(heard->bytes[GYRE_RECORD_NEW] >= 100 * (24 + 100 + 40 + 5 * 24) + 100000);
	gyre_gc_marking = 1; /* no cycle is under way: what the buffers get is dropped */
	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
		gyre_set(&pairs[i]->first, pairs[0]);
		gyre_set(&pairs[i]->first, NULL);
		gyre_atomic_store((void **)&pairs[i]->second, pairs[i]);
		child_check(gyre_atomic_exchange((void **)&pairs[i]->second, NULL) == pairs[i]);
	}
	gyre_gc_marking = 0;
	gy_events_follow(true);
	child_check(gy_barrier_hits() - hits == 400);
	child_check(heard->records[GYRE_RECORD_BARRIER] == 400);
	child_check(heard->bytes[GYRE_RECORD_BARRIER] == 200 * gyre_object_bytes(pairs[0]));
	number = gy_layout_type_number((uintptr_t)pairs[0]);
	child_check(gy_layout_type_names(&names) >= number);
	child_check(!strcmp(names[number - 1].text, "pair"));
	child_check(heard->by_class[GYRE_RECORD_BARRIER][number] == 400);
	child_check(heard->records[GYRE_RECORD_MALLOC] == other);
	child_check(!heard->errors);
}

Test(events, objects_and_barrier_hits_are_told)
{
	struct unit_child child;

	if (GY_TSAN)
		cr_skip_test("ThreadSanitizer knows no stopped world");
	begin();
	child = unit_child_run(collected, NULL);
	unit_assert_exit(child, 0);
	end();
}
#endif
