/* thread_cache.c - the slow half of a thread's cache: filling, emptying, growing, beginning,
 * ending.
 *
 * A cache learns what each class needs from its misses, and from nothing else: what hits costs no
 * instruction. A bin begins with no slots. Its first refill gives it a few; from then on each miss
 * doubles what it may hold. A miss of the same kind as the one before (only filled, or only
 * emptied: one thread produces, another consumes) does so up to a batch: more would only hoard. A
 * bin that is found empty and full in turn swings, and may grow to BIN_BYTES, as long as the
 * thread's budget and that of all threads last. Where the budget is used up, another bin of the
 * thread that has not missed lately gives up half its capacity. So a thread's capacity goes where
 * its misses are.
 *
 * And it goes away where they no longer are. Slow paths are the clock: at every second one a bin
 * is looked at. One that has not moved since the last time round is emptied; one that in so many
 * rounds (QUIET_ROUNDS) has neither missed nor in any of them served half as many allocations as
 * it may hold may hold half as much from then on, and loses its slots in the end. A wrong guess
 * costs one miss, which doubles it again.
 *
 * All threads share one sum (CACHE-7). A thread that gets no room asks: of the next few caches in
 * the registry those with more than an equal share are told to, and do at their next slow path or
 * sample, give up an eighth. And while more than half of the sum is taken, threads that sleep lose
 * their caches after a twentieth of a second instead of the option cache_idle (mutator/idle.c):
 * those who are at work are few, whatever the number of threads, and they should have it.
 *
 *   refill   a batch (batch_of) from the central list
 *   flush    as many, the older ones (the bin's bottom), to the central list
 *
 * A cache begins with its thread's first slow path, and ends in a pthread key's destructor; what
 * the thread allocates or frees after that (other keys' destructors) goes to the central lists one
 * by one. Caches that other threads had when a process forked are left alone in the child: a copy
 * taken while they ran cannot be trusted across cache lines. Their blocks count as lost.
 *
 * Sources: tcmalloc's thread_cache.cc (slow start, stealing of capacity).
 */
#include "heap/thread_cache.h"

#include "base/config.h"
#include "base/probe.h"
#include "heap/heap.h"
#include "heap/hooks.h"
#include "os/sys.h"
#include "os/thread_state.h"

#include <pthread.h>
#include <string.h>

#define BIN_BYTES ((size_t)3 << 20) /* a bin holds at most this many bytes, or BIN_FEW blocks */
#define BIN_OBJECTS 12000u
#define BIN_FEW 112u
#define BATCH_BYTES ((size_t)16 << 10)
#define BATCH_MIN 2u
#define BATCH_MAX 512u
#define LOOK_EVERY 2u /* slow paths */
#define PREFETCH_MAX 64u
#define FIRST_BYTES 512u /* of capacity at a bin's first refill */
#define FIRST_MIN 4u
#define QUIET_ROUNDS 4u
#define FIRST_MAX 16u
#define ASK_EVERY 256u /* refusals */
#define ASK_CACHES 16u /* at once */

#define NO_BIN ((struct gy_bin *)(uintptr_t)&gy_cache_none.bins[0])
const struct gy_thread_cache gy_cache_none;
__thread struct gy_tls gy_tls GY_TLS_INITIAL_EXEC = {
	.cache = GY_NO_CACHE,
	.small_bin = {[0 ... GY_SMALL_STEPS - 1] = NO_BIN},
};

static __thread GY_TLS_INITIAL_EXEC struct {
	struct gy_thread_cache *own; /* the thread's cache, also while it is taken */
	bool ended;                  /* its destructor ran: no cache any more */
	bool beginning;
} self;

struct gy_registry gy_registry = {.lock = GY_LOCK_INIT(GY_RANK_registry)};

static pthread_key_t end_key;
static bool end_key_made;

enum miss { MISS_NONE, MISS_EMPTY, MISS_FULL };

/* ------------------------------------------------------------------ capacity */

static unsigned capacity_max(unsigned class_index)
{
	size_t bytes = gy_size_classes[class_index].bytes;

	return (unsigned)MIN(BIN_OBJECTS, MAX(BIN_BYTES / bytes, BIN_FEW));
}

/* Blocks that move between cache and central list at once, at most. */
static unsigned batch_max(unsigned class_index)
{
	return (unsigned)MIN(BATCH_MAX,
			     MAX(BATCH_BYTES / gy_size_classes[class_index].bytes, BATCH_MIN));
}

uint64_t gy_cache_room(void)
{
	uint64_t all = gy_option(GY_OPT_thread_caches);
	uint64_t structures = READ_RELAXED(gy_registry.count) * sizeof(struct gy_thread_cache);

	return all - MIN(structures, all / 4 * 3);
}

bool gy_cache_room_is_scarce(void)
{
	return READ_RELAXED(gy_registry.capacity_bytes) > gy_cache_room() / 2;
}

bool gy_cache_room_take(uint64_t bytes)
{
	uint64_t room = gy_cache_room(), taken = READ_RELAXED(gy_registry.capacity_bytes);

	do {
		if (taken + bytes > room)
			return false;
	} while (!__atomic_compare_exchange_n(&gy_registry.capacity_bytes, &taken, taken + bytes,
					      true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
}

void gy_cache_room_give(uint64_t bytes)
{
	SUB_RELAXED(gy_registry.capacity_bytes, bytes);
}

/* Room for more than before was taken already. */
static void set_capacity(struct gy_thread_cache *cache, unsigned class_index, unsigned capacity)
{
	struct gy_bin *bin = &cache->bins[class_index];
	struct gy_bin_cold *cold = &cache->cold[class_index];
	size_t bytes = gy_size_classes[class_index].bytes;

	if (capacity < cold->capacity)
		gy_cache_room_give((cold->capacity - capacity) * bytes);
	WRITE_RELAXED(cache->capacity_bytes,
		      cache->capacity_bytes + capacity * bytes - cold->capacity * bytes);
	cold->capacity = (uint16_t)capacity;
	bin->limit = bin->floor + capacity;
}

/* A bin without capacity holds nothing. */
static void slots_give(struct gy_thread_cache *cache, unsigned class_index)
{
	struct gy_bin *bin = &cache->bins[class_index];
	struct gy_bin_cold *cold = &cache->cold[class_index];

	set_capacity(cache, class_index, 0);
	gy_metadata_block_give(bin->floor, cold->slots_log2);
	bin->top = bin->floor = bin->limit = NULL;
	cold->slots_log2 = 0;
}

/* Moves the bin into a slot array of at least `capacity` slots. */
static bool slots_grow(struct gy_thread_cache *cache, unsigned class_index, unsigned capacity)
{
	struct gy_bin *bin = &cache->bins[class_index];
	struct gy_bin_cold *cold = &cache->cold[class_index];
	unsigned log2_bytes = gy_log2(2 * capacity * sizeof(void *) - 1);
	size_t held = (size_t)(bin->top - bin->floor);
	void **slots;

	if (cold->slots_log2 >= log2_bytes)
		return true;
	slots = gy_metadata_block_take(log2_bytes);
	if (!slots)
		return false;
	if (cold->slots_log2) {
		memcpy(slots, bin->floor, held * sizeof(*slots));
		gy_metadata_block_give(bin->floor, cold->slots_log2);
	}
	bin->floor = slots;
	bin->top = slots + held;
	bin->limit = slots + cold->capacity;
	cold->slots_log2 = (uint8_t)log2_bytes;
	return true;
}

static void give_bottom(struct gy_thread_cache *cache, unsigned class_index, unsigned count,
			enum gy_flush_reason reason)
{
	struct gy_bin *bin = &cache->bins[class_index];
	size_t held = (size_t)(bin->top - bin->floor);

	count = (unsigned)MIN(count, held);
	if (!count)
		return;
	/* In pieces: others want the lock, too. */
	for (unsigned given = 0; given < count; given += BATCH_MAX)
		gy_central_give(&gy_centrals[0][class_index], bin->floor + given,
				MIN(count - given, BATCH_MAX), reason == GY_FLUSH_IDLE);
	memmove(bin->floor, bin->floor + count, (held - count) * sizeof(*bin->floor));
	bin->top -= count;
	cache->cold[class_index].flushes++;
	GY_PROBE3(cache_flush, gy_size_classes[class_index].bytes, count, reason);
}

/* What lies above `keep` goes, and the room for it. */
static void cut_capacity(struct gy_thread_cache *cache, unsigned class_index, unsigned keep)
{
	struct gy_bin *bin = &cache->bins[class_index];
	unsigned held = (unsigned)(bin->top - bin->floor);

	if (held > keep)
		give_bottom(cache, class_index, held - keep, GY_FLUSH_BUDGET);
	set_capacity(cache, class_index, keep);
}

/* Takes capacity from bins of the same thread that did not miss since the last time round. */
static bool steal_capacity(struct gy_thread_cache *cache, unsigned for_class, size_t bytes)
{
	for (unsigned i = 0; i < 2 * GY_CLASS_COUNT && bytes; i++) {
		unsigned victim = cache->steal_at = cache->steal_at % (GY_CLASS_COUNT - 1) + 1;
		struct gy_bin_cold *cold = &cache->cold[victim];
		size_t freed;
		unsigned keep;

		if (victim == for_class || !cold->capacity)
			continue;
		if (cold->miss) {
			cold->miss = 0;
			continue;
		}
		keep = cold->capacity / 2;
		freed = (cold->capacity - keep) * (size_t)gy_size_classes[victim].bytes;
		cut_capacity(cache, victim, keep);
		bytes -= MIN(bytes, freed);
	}
	return !bytes;
}

/* Those of the next few caches that have more than an equal share are asked for some of it. Not
 * where the registry is held: the next refusal will do. */
static GY_COLD void ask_others(const struct gy_thread_cache *asker)
{
	static struct gy_thread_cache *ask_next; /* [lock: registry] a structure, ended or not */
	struct gy_thread_cache *cache;
	uint64_t share;

	if (__atomic_fetch_add(&gy_registry.refusals, 1, __ATOMIC_RELAXED) % ASK_EVERY ||
	    !gy_lock_try(&gy_registry.lock))
		return;
	share = gy_cache_room() / MAX(READ_RELAXED(gy_registry.count), 1);
	for (cache = gy_registry.first; cache && cache != ask_next; cache = cache->next)
		;
	if (!cache)
		cache = gy_registry.first;
	for (unsigned i = 0; cache && i < ASK_CACHES; cache = cache->next, i++)
		if (cache != asker && READ_RELAXED(cache->capacity_bytes) > share)
			WRITE_RELAXED(cache->asked, 1);
	ask_next = cache;
	gy_lock_release(&gy_registry.lock);
}

/* Takes room for the bin to hold so many bytes more. */
static bool take_room(struct gy_thread_cache *cache, unsigned class_index, size_t bytes)
{
	if (cache->capacity_bytes + bytes <= gy_option(GY_OPT_thread_cache) &&
	    gy_cache_room_take(bytes))
		return true;
	if (cache->capacity_bytes && steal_capacity(cache, class_index, bytes) &&
	    gy_cache_room_take(bytes))
		return true;
	ask_others(cache);
	return false;
}

static GY_COLD void give_what_is_asked(struct gy_thread_cache *cache)
{
	WRITE_RELAXED(cache->asked, 0);
	steal_capacity(cache, 0, cache->capacity_bytes / 8);
}

/* A miss of one kind: doubles what the bin may hold, if it may. */
static void grow_capacity(struct gy_thread_cache *cache, unsigned class_index, enum miss kind)
{
	struct gy_bin_cold *cold = &cache->cold[class_index];
	size_t bytes = gy_size_classes[class_index].bytes;
	bool swings = cold->last_miss && cold->last_miss != kind;
	unsigned most = swings ? capacity_max(class_index) : batch_max(class_index), wanted;

	cold->last_miss = (uint8_t)kind;
	cold->miss = 1;
	if (!cold->capacity)
		wanted = (unsigned)MAX(FIRST_MIN, MIN(FIRST_MAX, FIRST_BYTES / bytes));
	else
		wanted = MIN(cold->capacity * 2u, most);
	if (wanted <= cold->capacity)
		return;
	bytes *= wanted - cold->capacity;
	if (!take_room(cache, class_index, bytes))
		return;
	if (slots_grow(cache, class_index, wanted))
		set_capacity(cache, class_index, wanted);
	else
		gy_cache_room_give(bytes);
}

/* ------------------------------------------------------------------ refill, flush */

/* Blocks to move now: half of what the bin may hold, so that both what follows, frees or
 * allocations, goes on without the central list; of a large bin a quarter, lest one that swings a
 * little holds much more than it uses. */
static unsigned batch_of(const struct gy_thread_cache *cache, unsigned class_index)
{
	unsigned capacity = cache->cold[class_index].capacity;

	return MIN((capacity + 1) / 2, MAX(batch_max(class_index), capacity / 4));
}

/* Has the bin moved since the last time round; and at what rate? Sizes that a program no longer
 * uses shall not hold memory from those it does, nor have the right to. */
static void look_at_bin(struct gy_thread_cache *cache, unsigned class_index)
{
	struct gy_bin *bin = &cache->bins[class_index];
	struct gy_bin_cold *cold = &cache->cold[class_index];
	uint32_t mallocs = (uint32_t)gy_cache_mallocs(cache, class_index);
	uint32_t misses = cold->refills + cold->flushes;

	bool still = cold->seen_top == bin->top && cold->seen_countdown == bin->countdown;

	if (still)
		give_bottom(cache, class_index, (unsigned)(bin->top - bin->floor), GY_FLUSH_BUDGET);
	if (cold->seen_misses != misses || mallocs - cold->seen_mallocs >= cold->capacity / 2u) {
		cold->quiet = 0;
	} else if (++cold->quiet >= QUIET_ROUNDS) {
		cold->quiet = 0;
		if (still && cold->capacity <= FIRST_MAX)
			slots_give(cache, class_index);
		else
			cut_capacity(cache, class_index, (cold->capacity + 1u) / 2);
	}
	cold->seen_top = bin->top;
	cold->seen_countdown = bin->countdown;
	cold->seen_mallocs = mallocs;
	cold->seen_misses = misses;
}

/* At each slow path: the cache's upkeep. Not of the bin in hand: its miss is about to count. */
static void look_around(struct gy_thread_cache *cache, unsigned in_hand)
{
	unsigned class_index = cache->look_at++ / LOOK_EVERY % (GY_CLASS_COUNT - 1) + 1;

	gy_large_look_own(&cache->large);
	if (unlikely(READ_RELAXED(cache->asked)))
		give_what_is_asked(cache);
	if (cache->look_at % LOOK_EVERY == 0 && class_index != in_hand &&
	    cache->cold[class_index].slots_log2)
		look_at_bin(cache, class_index);
}

bool gy_thread_cache_refill(struct gy_thread_cache *cache, unsigned class_index,
			    enum gy_oom_reason *reason)
{
	struct gy_bin *bin = &cache->bins[class_index];
	struct gy_bin_cold *cold = &cache->cold[class_index];
	unsigned count, got;

	look_around(cache, class_index);
	grow_capacity(cache, class_index, MISS_EMPTY);
	if (!cold->capacity) {
		*reason = GY_OOM_NONE; /* one by one, then */
		return false;
	}
	count = MIN(batch_of(cache, class_index), BATCH_MAX);
	got = gy_central_take(&gy_centrals[0][class_index], bin->floor, count, reason);
	bin->top = bin->floor + got;
	cold->refills++;
	/* The next allocations write to these, and a row of writes that miss stalls the processor
	 * long before a row of prefetches does. */
	for (unsigned i = 0; i < MIN(got, PREFETCH_MAX); i++)
		__builtin_prefetch(bin->top[-1 - (int)i], 1);
	GY_PROBE3(cache_refill, gy_size_classes[class_index].bytes, got, cold->capacity);
	if (unlikely(!got))
		gy_large_give_own(&cache->large); /* for whoever tries again */
	return got != 0;
}

/* Of a bin that only empties much goes at once: of a small one all, it is a pipe; of a large one
 * half, for what stays moves down. */
static unsigned flush_of(const struct gy_thread_cache *cache, unsigned class_index, bool again)
{
	unsigned capacity = cache->cold[class_index].capacity;

	if (!again)
		return batch_of(cache, class_index);
	return capacity <= batch_max(class_index) ? capacity : (capacity + 1) / 2;
}

void gy_thread_cache_flush(struct gy_thread_cache *cache, unsigned class_index)
{
	struct gy_bin *bin = &cache->bins[class_index];
	struct gy_bin_cold *cold = &cache->cold[class_index];
	bool again = cold->last_miss == MISS_FULL;

	look_around(cache, class_index);
	grow_capacity(cache, class_index, MISS_FULL);
	if (bin->top == bin->limit && cold->capacity)
		give_bottom(cache, class_index, flush_of(cache, class_index, again),
			    GY_FLUSH_FULL);
}

size_t gy_thread_cache_empty(struct gy_thread_cache *cache, enum gy_flush_reason reason)
{
	size_t bytes = (size_t)cache->large.kept_pages << GY_PAGE_SHIFT;

	gy_large_give_own(&cache->large);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		struct gy_bin *bin = &cache->bins[c];
		struct gy_bin_cold *cold = &cache->cold[c];
		unsigned held = (unsigned)(bin->top - bin->floor);

		if (!cold->slots_log2)
			continue;
		bytes += held * (size_t)gy_size_classes[c].bytes;
		give_bottom(cache, c, held, reason);
		slots_give(cache, c);
	}
	return bytes;
}

/* CACHE-4: what was counted down is booked, and an interval begins, `passed` allocations ago.
 * false: these were all of it. */
static bool begin_interval(struct gy_thread_cache *cache, unsigned class_index, unsigned stretch,
			   int64_t passed)
{
	struct gy_bin *bin = &cache->bins[class_index];
	struct gy_bin_cold *cold = &cache->cold[class_index];
	int64_t interval = gy_heap_hooks.sample_interval(gy_size_classes[class_index].bytes,
							 stretch, &cache->rng);

	if (interval <= passed)
		return false;
	/* each releases what is before it, for gy_cache_mallocs */
	WRITE_RELAXED(cold->turns, (uint16_t)(cold->turns + 1));
	__atomic_store_n(&cold->counted,
			 cold->counted + (uint64_t)((int64_t)cold->start - bin->countdown),
			 __ATOMIC_RELEASE);
	cold->stretch = (uint8_t)stretch;
	__atomic_store_n(&cold->start, (int32_t)MIN(interval - passed - 1, GY_COUNTDOWN_MOST),
			 __ATOMIC_RELEASE);
	__atomic_store_n(&bin->countdown, cold->start, __ATOMIC_RELEASE);
	__atomic_store_n(&cold->turns, (uint16_t)(cold->turns + 1), __ATOMIC_RELEASE);
	return true;
}

void gy_thread_cache_note_sample(struct gy_thread_cache *cache)
{
	if (likely(!gy_sample_pace_note(&cache->pace)))
		return;
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) /* PACE-2 */
		if (cache->bins[c].countdown >= 0)
			begin_interval(cache, c, cache->pace.stretch, 0);
	cache->large_countdown = 0;
}

/* CACHE-6: the option has changed. What is under way was drawn for another mean: all begin anew,
 * and what had just ended is no sample, because it would be booked as one of the new mean. */
static GY_COLD void begin_other(struct gy_thread_cache *cache)
{
	cache->sample_bytes = gy_option(GY_OPT_sample);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		if (cache->bins[c].countdown >= 0)
			begin_interval(cache, c, cache->pace.stretch, 0);
	cache->large_countdown = 0;
}

bool gy_thread_cache_rearm(struct gy_thread_cache *cache, unsigned class_index)
{
	const struct gy_bin_cold *cold = &cache->cold[class_index];
	bool other = cache->sample_bytes != gy_option(GY_OPT_sample);

	/* A thread whose allocations all hit comes by nowhere else. */
	if (unlikely(READ_RELAXED(cache->asked)))
		give_what_is_asked(cache);
	if (unlikely(other))
		begin_other(cache);
	/* So many allocations passed of an interval that was longer. Intervals have no memory: the
	 * rest of it is as long as a new one, which begins with the allocation in hand. */
	if ((unlikely(cold->start == GY_COUNTDOWN_MOST) || unlikely(other)) &&
	    begin_interval(cache, class_index, cold->stretch, 1))
		return false;
	gy_thread_cache_note_sample(cache);
	begin_interval(cache, class_index, cache->pace.stretch, 0);
	return true;
}

GY_RACY_READER bool gy_thread_cache_contains(const struct gy_thread_cache *cache,
					     unsigned class_index, const void *block)
{
	const struct gy_bin *bin = &cache->bins[class_index];
	void *const *floor = READ_RELAXED(bin->floor);
	void *const *top = READ_RELAXED(bin->top);

	for (; floor && floor < top; floor++)
		if (READ_RELAXED(*floor) == block)
			return true;
	return false;
}

bool gy_thread_caches_contain(unsigned class_index, const void *block)
{
	bool found = false;

	gy_lock_acquire(&gy_registry.lock);
	for (const struct gy_thread_cache *cache = gy_registry.first; cache && !found;
	     cache = cache->next)
		found = gy_thread_cache_contains(cache, class_index, block);
	gy_lock_release(&gy_registry.lock);
	return found;
}

/* ------------------------------------------------------------------ begin, end */

static void register_cache(struct gy_thread_cache *cache)
{
	cache->prev = NULL;
	cache->next = gy_registry.first;
	if (cache->next)
		cache->next->prev = cache;
	gy_registry.first = cache;
	WRITE_RELAXED(gy_registry.count, gy_registry.count + 1);
}

static void unregister_cache(struct gy_thread_cache *cache)
{
	gy_lock_acquire(&gy_registry.lock);
	if (cache->prev)
		cache->prev->next = cache->next;
	else
		gy_registry.first = cache->next;
	if (cache->next)
		cache->next->prev = cache->prev;
	WRITE_RELAXED(gy_registry.count, gy_registry.count - 1);
	gy_lock_release(&gy_registry.lock);
}

static void thread_end(void *value)
{
	struct gy_thread_cache *cache = value;

	/* A taker may have it: wait, then it is ours for good (CACHE-2). */
	gy_lock_acquire(&cache->owner);
	gy_tls_point(&gy_tls, GY_NO_CACHE);
	self.own = NULL;
	self.ended = true;
	cache->taken = 1; /* for good: a taker must not give it back to this thread */
	gy_lock_release(&cache->owner);
	unregister_cache(cache);
	gy_thread_cache_empty(cache, GY_FLUSH_EXIT);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		uint64_t mallocs = gy_cache_mallocs(cache, c);

		if (mallocs)
			ADD_RELAXED(gy_centrals[0][c].retired_mallocs, mallocs);
	}
	gy_lock_acquire(&gy_registry.lock);
	cache->next = gy_registry.unused;
	gy_registry.unused = cache;
	gy_lock_release(&gy_registry.lock);
}

void gy_tls_point(struct gy_tls *tls, struct gy_thread_cache *cache)
{
	for (unsigned i = 0; i < GY_SMALL_STEPS; i++) {
		struct gy_bin *bin =
			cache == GY_NO_CACHE ? NO_BIN : &cache->bins[gy_class_of_small[i]];

		WRITE_RELAXED(tls->small_bin[i], bin);
	}
	WRITE_RELAXED(tls->cache, cache);
}

int gy_thread_cache_init(void)
{
	end_key_made = !pthread_key_create(&end_key, thread_end);
	return 0;
}

static struct gy_thread_cache *cache_new(void)
{
	struct gy_thread_cache *cache;

	gy_lock_acquire(&gy_registry.lock);
	cache = gy_registry.unused;
	if (cache)
		gy_registry.unused = cache->next;
	gy_lock_release(&gy_registry.lock);
	if (cache)
		memset(cache, 0, sizeof(*cache));
	else
		cache = gy_metadata_take(sizeof(*cache));
	if (!cache)
		return NULL;
	cache->tid = gy_sys_gettid();
	cache->rng = (gy_now_ns() ^ (uint64_t)(uintptr_t)cache) * 0x9e3779b97f4a7c15u | 1;
	cache->tls = &gy_tls;
	cache->stack_top = gy_stack_ceiling();
	gy_sample_pace_begin(&cache->pace);
	cache->sample_bytes = gy_option(GY_OPT_sample);
	gy_lock_init(&cache->owner, GY_RANK_owner);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		cache->bins[c].magic = gy_size_classes[c].magic;
		begin_interval(cache, c, 0, 0);
	}
	return cache;
}

struct gy_thread_cache *gy_thread_cache_attach(void)
{
	struct gy_thread_cache *cache = self.own;

	if (cache) {
		/* It was taken while this thread slept: take it up again. */
		gy_lock_acquire(&cache->owner);
		cache->taken = 0;
		gy_tls_point(&gy_tls, cache);
		gy_lock_release(&cache->owner);
		return cache;
	}
	if (self.ended || self.beginning || !end_key_made)
		return GY_NO_CACHE;
	self.beginning = true;
	cache = cache_new();
	if (!cache) {
		self.beginning = false;
		return GY_NO_CACHE;
	}
	gy_lock_acquire(&gy_registry.lock);
	register_cache(cache);
	gy_lock_release(&gy_registry.lock);
	self.own = cache;
	gy_tls_point(&gy_tls, cache);
	/* May allocate; the cache is in place. Refused, nobody would tell us of the thread's end.
	 * */
	if (pthread_setspecific(end_key, cache)) {
		thread_end(cache);
		cache = GY_NO_CACHE;
	}
	self.beginning = false;
	return cache;
}

struct gy_thread_cache *gy_thread_cache_begin_slow(void)
{
	for (;;) {
		struct gy_thread_cache *cache = READ_RELAXED(gy_tls.cache);

		if (unlikely(cache == GY_NO_CACHE)) {
			if (!gy_heap_start())
				return GY_NO_CACHE;
			cache = gy_thread_cache_attach();
			if (cache == GY_NO_CACHE)
				return cache;
		}
		if (likely(gy_thread_cache_enter(cache)))
			return cache;
	}
}

void gy_thread_cache_forbid(void)
{
	gy_tls_point(&gy_tls, GY_NO_CACHE); /* its variables may begin as zeroes (NATIVE-1) */
	self.ended = true;
}

void gy_thread_cache_fork_child(void)
{
	struct gy_thread_cache *cache, *next;

	gy_lock_init(&gy_registry.lock, GY_RANK_registry);
	gy_registry.count = 0;
	cache = gy_registry.first;
	gy_registry.first = NULL;
	gy_registry.capacity_bytes = 0;
	for (; cache; cache = next) {
		next = cache->next;
		if (cache == self.own) {
			gy_lock_init(&cache->owner, GY_RANK_owner);
			cache->tid = gy_sys_gettid();
			gy_registry.capacity_bytes =
				cache->capacity_bytes +
				((uint64_t)cache->large.room_pages << GY_PAGE_SHIFT);
			register_cache(cache);
			continue;
		}
		cache->next = gy_registry.orphans;
		gy_registry.orphans = cache;
		gy_large_count_lost(&cache->large);
		for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
			const struct gy_bin *bin = &cache->bins[c];
			ptrdiff_t held = bin->top - bin->floor;

			gy_centrals[0][c].retired_mallocs += gy_cache_mallocs(cache, c);
			if (held > 0 && held <= cache->cold[c].capacity)
				gy_centrals[0][c].lost += (uint64_t)held;
		}
	}
}
