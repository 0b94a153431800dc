/* thread_cache.h - a thread's own free blocks: arrays of pointers, no lock, no atomic.
 *
 *   bin of a class   floor                top            limit
 *                      v                   v               v
 *                    [ p p p p p p p p p p . . . . . . . . ]
 *
 * malloc pops below top, free pushes at top. Pointers lie in the array, never in the freed blocks,
 * so a cached block is not touched and a stray write to it corrupts nothing of ours. One word is
 * written: free stores a mark into the block's first word and malloc clears it, so that a block
 * freed twice is noticed when the second free comes (heap.c verifies before it says so).
 *
 * Sampling rides on the same path: each bin counts its allocations down to the next sample, and
 * that countdown is also what the statistics count allocations by.
 *
 * CACHE-1  bins[c] lies at byte 32 * c of the structure: page_info holds that offset, ready for
 *          use. bins[0] is always empty, always full, and has magic 0: whatever is
 *          not a small block falls through to a slow path there.
 * CACHE-2  Only its thread changes a cache (gy_tls points to it), or a taker that has proved the
 *          thread to be asleep outside of it (mutator/idle.c), or nobody any more (thread end).
 * CACHE-3  A push writes the slot before top, a pop reads it before: seen from outside at any
 *          instruction, the blocks in [floor, top) are cached.
 * CACHE-4  Allocations of a class since the cache's start = counted[c] + (start[c] - countdown).
 *          A countdown below 0 asks for a sample; it stands for the allocation in hand.
 * CACHE-5  gy_cache_none stands in where a thread has no cache: every bin of it is empty and full,
 *          and nothing ever writes to it.
 * CACHE-7  What all caches together may hold never passes the option thread_caches: each first
 *          takes room for more out of one common sum (gy_registry.capacity_bytes), of which the
 *          caches that there are then count with their structures, up to three quarters of it. A
 *          bin that gets no room holds nothing: its blocks come and go one by one.
 * CACHE-6  The option `sample` may change. A thread notices when a countdown of any class is over,
 *          and then begins all intervals anew.
 */
#ifndef GY_HEAP_THREAD_CACHE_H
#define GY_HEAP_THREAD_CACHE_H

#include "heap/central.h"
#include "heap/large.h"
#include "heap/sample_pace.h"

#include <sys/types.h>

struct gy_bin {
	void **top, **floor, **limit;
	int32_t countdown; /* CACHE-4 */
	uint32_t magic;    /* CLASS-4; 0 in bins[0] */
};

_Static_assert(sizeof(struct gy_bin) == 32, "CACHE-1");

/* What a bin's slow paths need. */
struct gy_bin_cold {
	uint64_t counted; /* CACHE-4 */
	int32_t start;    /* countdown when it was last set */
	uint32_t refills, flushes;
	uint16_t capacity;      /* limit - floor */
	uint8_t slots_log2;     /* bytes of the slot array; 0: none */
	uint8_t miss;           /* it missed since capacity was last sought here */
	uint8_t last_miss;      /* enum miss */
	uint8_t quiet;          /* times round that it had more than it needed */
	uint8_t stretch;        /* of the interval that is counted down (PACE-1) */
	uint16_t turns;         /* odd while counted, start and the countdown do not fit together */
	int32_t seen_countdown; /* what the bin looked like when it was last looked at */
	uint32_t seen_mallocs;	/* the same, the low half of CACHE-4's sum */
	uint32_t seen_misses;	/* refills and flushes */
	void **seen_top;
};

struct gy_thread_cache {
	struct gy_bin bins[GY_CLASS_COUNT]; /* CACHE-1 */
	struct gy_bin_cold cold[GY_CLASS_COUNT];
	uint64_t rng;            /* [self] */
	uint64_t capacity_bytes; /* sum of capacity * block size */
	int64_t large_countdown; /* bytes of large blocks until the next sample; 0: none yet */
	unsigned large_stretch;  /* of that interval (PACE-1) */
	struct gy_sample_pace pace;
	uint64_t sample_bytes; /* the option, when the intervals were drawn; CACHE-6 */
	struct gy_large_own large;
	unsigned steal_at;       /* whose capacity goes next */
	unsigned look_at;        /* which bin is looked at next; LOOK_EVERY slow paths each */
	uint8_t asked;		 /* [atomic: relaxed] others lack room: give some back */
	unsigned busy; /* [self] a slow path has a pointer to this cache (mutator/idle.c) */

	/* The registry's view; mutator/idle.c. */
	struct gy_thread_cache *next, *prev; /* [lock: registry] */
	struct gy_lock owner;                /* held to attach, and to take the cache back */
	struct gy_tls *tls;                  /* [const] the thread's gy_tls */
	uintptr_t stack_top;                 /* [const] above every frame of the thread */
	pid_t tid;                           /* [const] */
	uint8_t taken;                       /* [lock: owner] gy_tls was pointed away */
	uint64_t idle_print; /* [lock: registry] what it looked like at the last look */
	uint64_t idle_since_ns;
} GY_ALIGNED(64);

/* The hot variables of a thread. malloc finds a small request's bin in one load, free finds the
 * cache. All of them point into the thread's cache, or all into gy_cache_none. About 1.1 KiB: it
 * must fit what glibc keeps for initial-exec variables of libraries opened late. */
struct gy_tls {
	struct gy_thread_cache *cache;
	struct gy_bin *small_bin[GY_SMALL_STEPS]; /* by (bytes + 7) / 8 */
};

extern __thread struct gy_tls gy_tls GY_TLS_INITIAL_EXEC GY_HIDDEN;
extern const struct gy_thread_cache gy_cache_none GY_HIDDEN;

/* No bin counts down from more: so a changed option is noticed soon (CACHE-6). */
#define GY_COUNTDOWN_MOST (1 << 20)

#define GY_NO_CACHE ((struct gy_thread_cache *)(uintptr_t)&gy_cache_none)

GY_INLINE struct gy_bin *gy_bin_at(struct gy_thread_cache *cache, size_t offset)
{
	return (struct gy_bin *)(void *)((char *)cache + offset);
}

/* The mark that free leaves in a block: an address of ours, which no program has as data. */
GY_INLINE uintptr_t gy_freed_mark(void)
{
	return (uintptr_t)gy_map.page_info;
}

/* What has a cache in hand outside of begin and end:
 * it calls nothing (interpose/fast.h, FAST-1). */
#define GY_FAST __attribute__((section("gyre_fast_text")))

enum gy_flush_reason { GY_FLUSH_FULL, GY_FLUSH_EXIT, GY_FLUSH_IDLE, GY_FLUSH_BUDGET };

/* Points all of a thread's hot variables to `cache`; each is written once, whole. [lock: owner] */
void gy_tls_point(struct gy_tls *tls, struct gy_thread_cache *cache);

int gy_thread_cache_init(void);
/* The calling thread's cache, wherever it is in its life, for a slow path; GY_NO_CACHE where it
 * cannot have one, or the heap cannot start. Between begin and end the idle taker leaves it alone
 * (HEAP-5): we may sleep on a lock with a pointer to it in hand. */
GY_INLINE struct gy_thread_cache *gy_thread_cache_begin(void);
struct gy_thread_cache *gy_thread_cache_begin_slow(void); /* its rare half */
/* Marks the thread's cache busy; false: it was taken meanwhile. The second look at gy_tls is one
 * half of a Dekker protocol whose other half is the taker's membarrier: either it sees us busy, or
 * we see that it has pointed gy_tls away. */
GY_INLINE bool gy_thread_cache_enter(struct gy_thread_cache *cache)
{
	WRITE_RELAXED(cache->busy, cache->busy + 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (likely(READ_RELAXED(gy_tls.cache) == cache))
		return true;
	WRITE_RELAXED(cache->busy, cache->busy - 1);
	return false;
}
GY_INLINE struct gy_thread_cache *gy_thread_cache_begin(void)
{
	struct gy_thread_cache *cache = READ_RELAXED(gy_tls.cache);

	if (likely(cache != GY_NO_CACHE) && likely(gy_thread_cache_enter(cache)))
		return cache;
	return gy_thread_cache_begin_slow();
}
/* Pairs with the acquire in mutator/idle.c. */
GY_INLINE void gy_thread_cache_end(struct gy_thread_cache *cache)
{
	if (likely(cache != GY_NO_CACHE))
		__atomic_store_n(&cache->busy, cache->busy - 1, __ATOMIC_RELEASE);
}
/* The calling thread's cache, made or taken up again; GY_NO_CACHE where it cannot have one. */
struct gy_thread_cache *gy_thread_cache_attach(void);
/* The calling thread, one of our own, never gets a cache. */
void gy_thread_cache_forbid(void);
/* Fills an empty bin; false where memory lacks. */
bool gy_thread_cache_refill(struct gy_thread_cache *cache, unsigned class_index,
			    enum gy_oom_reason *reason);
/* Makes room in a full bin. */
void gy_thread_cache_flush(struct gy_thread_cache *cache, unsigned class_index);
/* Gives every block back and all capacity; returns bytes given. */
size_t gy_thread_cache_empty(struct gy_thread_cache *cache, enum gy_flush_reason reason);
/* Sets a bin's countdown where it is over, or where it has none yet. Is the allocation in hand a
 * sample? Not where the interval was longer than a countdown can be. */
bool gy_thread_cache_rearm(struct gy_thread_cache *cache, unsigned class_index);
/* The thread takes a sample: its pace (sample_pace.h). */
void gy_thread_cache_note_sample(struct gy_thread_cache *cache);
bool gy_thread_cache_contains(const struct gy_thread_cache *cache, unsigned class_index,
			      const void *block);
/* Is the block in any thread's cache? Racy while those threads run. */
bool gy_thread_caches_contain(unsigned class_index, const void *block);

/* Allocations of a class by this cache so far. Read from another thread while an interval begins,
 * the three would count that interval twice: then looked at again, but not for ever, should the
 * thread stand still there. */
GY_INLINE uint64_t gy_cache_mallocs(const struct gy_thread_cache *cache, unsigned class_index)
{
	const struct gy_bin_cold *cold = &cache->cold[class_index];
	uint64_t sum;

	for (unsigned looks = 0;; looks++) {
		uint16_t turns = __atomic_load_n(&cold->turns, __ATOMIC_ACQUIRE);
		const struct gy_bin *bin = &cache->bins[class_index];

		/* each acquires, so that the second look at turns is the last of all */
		sum = __atomic_load_n(&cold->counted, __ATOMIC_ACQUIRE);
		sum += (uint64_t)(int64_t)__atomic_load_n(&cold->start, __ATOMIC_ACQUIRE);
		sum -= (uint64_t)(int64_t)__atomic_load_n(&bin->countdown, __ATOMIC_ACQUIRE);
		if ((!(turns & 1) && READ_RELAXED(cold->turns) == turns) || looks == 1000)
			return sum;
	}
}

/* Room for that many bytes more, out of what all caches may hold (CACHE-7); false: there is none.
 * And back. */
bool gy_cache_room_take(uint64_t bytes);
void gy_cache_room_give(uint64_t bytes);
/* What all caches may hold now, their structures taken off; and whether so much of it is taken that
 * threads which only just fell asleep should give theirs back. */
uint64_t gy_cache_room(void);
bool gy_cache_room_is_scarce(void);

/* The registry: every cache, under its lock. */
extern struct gy_registry {
	struct gy_lock lock;
	struct gy_thread_cache *first;  /* [lock] */
	struct gy_thread_cache *unused; /* [lock] structures of ended threads, by next */
	/* [lock] of threads that a fork left behind, by next: nobody's; read by leak/ alone */
	struct gy_thread_cache *orphans;
	uint64_t count;                 /* [lock; atomic: relaxed] */
	/* [atomic: relaxed] what all caches may hold: bins' capacities, and the rooms for large
	 * spans; CACHE-7 */
	uint64_t capacity_bytes;
	uint64_t refusals; /* [atomic: relaxed] times that there was no room */
} gy_registry;

void gy_thread_cache_fork_child(void);

#endif
