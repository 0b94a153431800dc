/* collector.h - one source of a workload, four memory managers.
 *
 * The programs of this folder are compiled once for each system, by build.sh:
 *
 *	-DGC_GYRE     gyre/gc.h: typed objects, stores of pointers by gyre_set
 *	-DGC_BDW      bdwgc (libgc): GC_MALLOC, plain stores
 *	-DGC_MALLOC   malloc and free, of glibc or of whatever is preloaded
 *
 * and the workload sees only the words below, so that the algorithms cannot drift apart. The
 * fourth, Go, has sources of its own in go/, which draw the same random numbers in the same order
 * and end in the same checksum: the runner compares them.
 *
 *	TYPE(node, left, right);	struct node has pointers in these fields
 *	NEW(node)			a zeroed one
 *	NEW_LEAF(bytes)			without pointers, not zeroed
 *	NEW_POINTERS(count)		zeroed array of pointers
 *	SET(&node->left, value)		each store of a pointer into an object
 *	GC_MANUAL			1 where the program frees by itself: if (GC_MANUAL) free(x)
 *
 * A workload holds what it needs in locals and globals only. What it keeps in bench_map() memory is
 * seen by no collector; then collections are held off (gc_hold).
 */
#ifndef GYRE_TESTS_BENCH_GC_COLLECTOR_H
#define GYRE_TESTS_BENCH_GC_COLLECTOR_H

#if defined(GC_BDW)
#define GC_THREADS 1
#include <gc/gc.h>
#endif
#include "../bench.h"

#include <pthread.h>
#include <stdbool.h>

/* ---- what each system calls it ---- */

#if defined(GC_GYRE)

#include <gyre/gc.h>

struct gc_pointer {
	void *pointer;
};
static const struct gyre_type gc_pointer_type = GYRE_TYPE(struct gc_pointer, pointer);

#define GC_MANUAL 0
#define TYPE(name, ...)                                                                            \
	static const struct gyre_type name##_type = GYRE_TYPE(struct name, __VA_ARGS__)
#define GC_NEW_(name) gyre_new(&name##_type)
#define GC_NEW_LEAF_(bytes) gyre_new_leaf(bytes)
#define GC_NEW_POINTERS_(count) gyre_new_array(&gc_pointer_type, count)
#define SET(slot, value) gyre_set(slot, value)

static inline void gc_begin(void)
{
}

static inline void gc_collect(void)
{
	if (gyre_gc_run() != 0)
		bench_die("gyre_gc_run");
}

static inline void gc_hold(void)
{
	gyre_gc_pause();
}

static inline void gc_let_go(void)
{
	gyre_gc_resume();
}

#elif defined(GC_BDW)

#define GC_MANUAL 0
#define TYPE(name, ...) extern int gc_no_type_needed
#define GC_NEW_(name) GC_MALLOC(sizeof(struct name))
#define GC_NEW_LEAF_(bytes) GC_MALLOC_ATOMIC(bytes)
#define GC_NEW_POINTERS_(count) GC_MALLOC((count) * sizeof(void *))
#define SET(slot, value) (*(slot) = (value))

/* Pauses, from the events of the library; called under its lock. */
static struct timespec gc_stop_begin;
static uint64_t gc_pause_last, gc_pause_max, gc_pause_total;

static inline void gc_event(GC_EventType event)
{
	struct timespec now;
	uint64_t ns;

	if (event == GC_EVENT_PRE_STOP_WORLD) {
		clock_gettime(CLOCK_MONOTONIC, &gc_stop_begin);
	} else if (event == GC_EVENT_POST_START_WORLD) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		ns = (uint64_t)(now.tv_sec - gc_stop_begin.tv_sec) * 1000000000u +
		     (uint64_t)now.tv_nsec - (uint64_t)gc_stop_begin.tv_nsec;
		gc_pause_last = ns;
		gc_pause_total += ns;
		if (ns > gc_pause_max)
			gc_pause_max = ns;
	}
}

static inline void gc_begin(void)
{
	GC_INIT();
	GC_start_mark_threads(); /* else they start with the first pthread_create */
	GC_set_on_collection_event(gc_event);
}

static inline void gc_collect(void)
{
	GC_gcollect();
}

static inline void gc_hold(void)
{
	GC_disable();
}

static inline void gc_let_go(void)
{
	GC_enable();
}

#elif defined(GC_MALLOC)

#define GC_MANUAL 1
#define TYPE(name, ...) extern int gc_no_type_needed
#define GC_NEW_(name) calloc(1, sizeof(struct name))
#define GC_NEW_LEAF_(bytes) malloc(bytes)
#define GC_NEW_POINTERS_(count) calloc(count, sizeof(void *))
#define SET(slot, value) (*(slot) = (value))

static inline void gc_begin(void)
{
}

static inline void gc_collect(void)
{
}

static inline void gc_hold(void)
{
}

static inline void gc_let_go(void)
{
}

#else
#error "GC_GYRE, GC_BDW or GC_MALLOC is to be defined"
#endif

static inline __attribute__((always_inline)) void *gc_got(void *object)
{
	if (__builtin_expect(!object, 0))
		bench_die("no memory for an object");
	return object;
}

#define NEW(name) ((struct name *)gc_got(GC_NEW_(name)))
#define NEW_LEAF(bytes) gc_got(GC_NEW_LEAF_(bytes))
#define NEW_POINTERS(count) gc_got(GC_NEW_POINTERS_(count))

/* ---- the collector's own figures ---- */

struct gc_figures {
	uint64_t cycles, pause_last_ns, pause_max_ns, pause_total_ns;
};

static inline struct gc_figures gc_read(void)
{
	struct gc_figures figures = {0, 0, 0, 0};
#if defined(GC_GYRE)
	struct gyre_gc_stats stats;

	gyre_gc_stats(&stats);
	figures.cycles = stats.cycles;
	figures.pause_last_ns = stats.pause_last_ns;
	figures.pause_max_ns = stats.pause_max_ns;
	figures.pause_total_ns = stats.pause_total_ns;
#elif defined(GC_BDW)
	figures.cycles = GC_get_gc_no();
	figures.pause_last_ns = gc_pause_last;
	figures.pause_max_ns = gc_pause_max;
	figures.pause_total_ns = gc_pause_total;
#endif
	return figures;
}

/* bench_print, with the collector's figures and what proves that the work was the same. */
static inline void gc_print(const struct bench_clock *begin, const struct bench_clock *end,
			    double operations, uint64_t checksum)
{
	struct gc_figures figures = gc_read();

	printf("checksum=%llu cycles=%llu pause_max_us=%.1f pause_total_us=%.1f ",
	       (unsigned long long)(checksum & 0xffffffffffff), (unsigned long long)figures.cycles,
	       (double)figures.pause_max_ns / 1e3, (double)figures.pause_total_ns / 1e3);
	bench_print(begin, end, operations);
}

static inline void gc_end(const struct bench_clock *begin, double operations, uint64_t checksum)
{
	struct bench_clock end = bench_begin();

	gc_print(begin, &end, operations, checksum);
}

/* ---- threads ---- */

#define GC_THREADS_MAX 64

/* run(number) on `count` threads of their own; returns when all have ended. Sums what they
 * return. */
static inline uint64_t gc_threads(unsigned count, void *(*run)(void *number))
{
	pthread_t threads[GC_THREADS_MAX];
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++) {
		if (pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) != 0)
			bench_die("pthread_create");
	}
	for (unsigned i = 0; i < count; i++) {
		void *value;

		pthread_join(threads[i], &value);
		sum += (uintptr_t)value;
	}
	return sum;
}

static inline unsigned gc_arg_threads(struct bench_args *args, unsigned fallback)
{
	unsigned count = (unsigned)bench_arg_u64(args, "threads", fallback);

	if (count < 1 || count > GC_THREADS_MAX) {
		fprintf(stderr, "bench: threads: 1 to %d\n", GC_THREADS_MAX);
		exit(2);
	}
	return count;
}

static inline uint64_t gc_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- latencies: 32 buckets for each octave, so 3 % wide ---- */

#define GC_BUCKETS (60 * 32)

struct gc_histogram {
	uint64_t counts[GC_BUCKETS];
	uint64_t total, longest_ns;
};

static inline void gc_histogram_add(struct gc_histogram *histogram, uint64_t ns)
{
	unsigned octave = ns < 64 ? 0 : 58u - (unsigned)__builtin_clzll(ns);

	histogram->counts[octave * 32 + (ns >> octave)]++;
	histogram->total++;
	if (ns > histogram->longest_ns)
		histogram->longest_ns = ns;
}

static inline void gc_histogram_merge(struct gc_histogram *into, const struct gc_histogram *from)
{
	for (unsigned i = 0; i < GC_BUCKETS; i++)
		into->counts[i] += from->counts[i];
	into->total += from->total;
	if (from->longest_ns > into->longest_ns)
		into->longest_ns = from->longest_ns;
}

/* The latency that this share of the operations did not exceed, in microseconds. */
static inline double gc_histogram_us(const struct gc_histogram *histogram, double share)
{
	double below = share * (double)histogram->total, seen = 0;

	for (unsigned i = 0; i < GC_BUCKETS; i++) {
		unsigned octave = i / 32 ? i / 32 - 1 : 0;

		seen += (double)histogram->counts[i];
		if (seen >= below && seen > 0)
			return (double)((uint64_t)(i - octave * 32 + 1) << octave) / 1e3;
	}
	return 0;
}

#endif
