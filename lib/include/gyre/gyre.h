/* gyre.h - the public contract of libgyre: statistics, trimming, options, the sampled profile.
 *
 * malloc and its family need no header: link with -lgyre or preload libgyre.so. What is here lets
 * a program read the heap's own numbers and steer it. Every text says units, errors, threads,
 * signals, cost and source.
 */
#ifndef GYRE_GYRE_H
#define GYRE_GYRE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GYRE_VERSION_MAJOR 0
#define GYRE_VERSION_MINOR 1
#define GYRE_VERSION_PATCH 0
#define GYRE_VERSION "0.1.0"

/* struct gyre_stats - the heap in numbers, after Go's runtime.MemStats. Bytes unless named
 * otherwise. */
struct gyre_stats {
	uint64_t heap_alloc;	     /* in blocks that are allocated (HeapAlloc) */
	uint64_t heap_inuse;	     /* in spans that hold blocks (HeapInuse) */
	uint64_t heap_idle;	     /* in spans that hold none (HeapIdle) */
	uint64_t heap_released;	     /* given back to the kernel (HeapReleased) */
	uint64_t heap_sys;	     /* made usable: inuse + idle (HeapSys) */
	uint64_t heap_reserved;	     /* address range reserved */
	uint64_t metadata_bytes;     /* side arrays and caches */
	uint64_t mallocs;	     /* blocks allocated since start (Mallocs) */
	uint64_t frees;		     /* blocks freed since start (Frees) */
	uint64_t thread_cache_bytes; /* free, in thread caches */
	uint64_t central_bytes;	     /* free, in central lists and spans */
	uint64_t large_bytes;	     /* in blocks above the largest size class */
	uint64_t large_blocks;	     /* number of these */
	uint64_t large_mallocs;	     /* number of these since start */
	uint64_t threads;	     /* threads that have a cache */
	uint64_t hugepages;	     /* 2 MiB pages made usable */
	uint64_t hugepages_free;     /* wholly free and still backed */
	uint64_t hugepages_intact;   /* never broken up by a release */
	uint64_t hugepages_released; /* wholly given back */
	uint64_t released_total;     /* given back since start */
	uint64_t release_calls;	     /* system calls that did so */
	uint64_t growths;	     /* times the heap grew */
	uint64_t caches_taken;	     /* idle caches taken back */
	uint64_t ooms;		     /* allocations that failed with ENOMEM */
	uint64_t misuses;	     /* misuse caught and carried on from */
	uint64_t samples;	     /* allocations sampled since start */
	uint64_t samples_live;	     /* of these, not yet freed */
	uint64_t samples_lost;	     /* samples for which there was no room */
	uint64_t memory_limit;	     /* the heap refuses to grow past this; 0: none */
	uint64_t background_runs;    /* wake-ups of the background thread */
};

/* struct gyre_class_stats - one size class (Go's MemStats.BySize). */
struct gyre_class_stats {
	uint32_t object_bytes;	/* size of a block */
	uint32_t span_bytes;	/* size of a span */
	uint32_t span_objects;	/* blocks in a span */
	uint64_t spans;		/* spans held */
	uint64_t live;		/* blocks allocated and not freed */
	uint64_t thread_cached; /* free blocks in thread caches */
	uint64_t central_cached; /* free blocks in the transfer array */
	uint64_t span_free;	/* free blocks in spans */
	uint64_t released_bytes; /* bytes inside the spans that the kernel has back */
	uint64_t mallocs, frees; /* since start */
	uint64_t refills, flushes; /* batches between thread caches and central lists */
};

/* gyre_stats_read - the heap's numbers, now.
 * @stats       filled; the caller passes sizeof(struct gyre_stats) so that the struct may grow
 * Returns      0
 * Errors       -EINVAL  stats is NULL or stats_bytes is 0
 * Threads      any thread; takes each class's lock in turn. Numbers of other threads' caches are
 *              read while they run: exact when those threads are at rest
 * Signals      not async-signal-safe
 * Fork         allowed in the child
 * Cost         some microseconds, plus some nanoseconds per class and thread
 * Since 0.1    Source  control/stats.c; Go's runtime.ReadMemStats */
int gyre_stats_read(struct gyre_stats *stats, size_t stats_bytes);

/* gyre_class_stats_read - the numbers of the size classes, smallest first.
 * @classes     array of `capacity` entries, or NULL with capacity 0
 * @entry_bytes sizeof(struct gyre_class_stats)
 * Returns      the number of classes (which may be above capacity; then only capacity are filled)
 * Errors       -EINVAL  entry_bytes is 0, or classes is NULL with capacity above 0
 * Threads, Signals, Fork, Cost   as gyre_stats_read
 * Since 0.1    Source  control/stats.c */
int gyre_class_stats_read(struct gyre_class_stats *classes, size_t capacity, size_t entry_bytes);

/* gyre_trim - give idle memory back to the kernel now.
 * @keep_bytes  idle bytes to keep; 0 gives back all
 * Returns      bytes released; 0 if nothing was idle
 * Errors       none
 * Threads      any thread; flushes the caller's cache; other callers of the page heap may wait
 * Signals      not async-signal-safe
 * Fork         allowed in the child
 * Cost         one system call per 512 ranges
 * Since 0.1    Source  heap/scavenger.c; Go's debug.FreeOSMemory */
size_t gyre_trim(size_t keep_bytes);

/* gyre_thread_cache_flush - give the calling thread's cached blocks back to the central lists.
 * Returns      bytes given back
 * Errors       none
 * Threads      any thread; affects the caller alone
 * Signals      not async-signal-safe
 * Cost         some nanoseconds per cached block
 * Since 0.1    Source  heap/thread_cache.c; tcmalloc's MarkThreadIdle */
size_t gyre_thread_cache_flush(void);

/* gyre_option_get, gyre_option_set - an option of GYRE_OPTIONS, as a number.
 * @name        as in gyre(7): "release_rate", ...
 * Returns      0
 * Errors       -ENOENT  no such option    -ERANGE  value out of bounds
 *              -EPERM   the option is read at start only
 * Threads      any thread                 Signals  async-signal-safe
 * Cost         a search by name
 * Since 0.1    Source  base/config.c */
int gyre_option_get(const char *name, uint64_t *value);
int gyre_option_set(const char *name, uint64_t value);

/* struct gyre_profile_entry - one allocation stack of the sampled profile. */
struct gyre_profile_entry {
	const uint64_t *frames; /* return addresses, the caller of malloc first */
	uint32_t depth;
	uint64_t inuse_objects, inuse_bytes; /* estimates, scaled by the sampling weight */
	uint64_t alloc_objects, alloc_bytes;
};

/* gyre_profile_each - visit each stack of the always-on sampled profile.
 * @visit       called once a stack; a value other than 0 stops the walk and is returned
 * Returns      0, or what visit returned
 * Errors       -EINVAL visit is NULL     -EOPNOTSUPP sampling is off
 * Threads      any thread; visit runs under no lock and may allocate
 * Signals      not async-signal-safe
 * Cost         one pass over 4,096 buckets
 * Since 0.1    Source  trace/profile.c */
int gyre_profile_each(int (*visit)(const struct gyre_profile_entry *entry, void *context),
		      void *context);

/* gyre_version - the library's version, "0.1.0"; a constant string. Any thread, any time. */
const char *gyre_version(void);

#ifdef __cplusplus
}
#endif
#endif
