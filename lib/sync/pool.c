/* pool.c - items that are kept for a while, to be used again.
 *
 *	thread	 slots[8]   pool -> shard, and its current chunk		[self]
 *	shard	 current    a chunk that its thread alone gets from and puts into
 *		 shared	    full chunks, and those of the last generation	[lock: shard]
 *	pool	 shards	    all; who finds nothing in its own takes from those of others
 *
 * A chunk holds 13 items and the number of the generation in which they were put. While a thread's
 * current chunk is of this generation, get and put are a load, a store and two compares. A full
 * chunk goes to the shard's list, where others may take it. What is not of this generation is taken
 * one by one, so that what is used comes to be of this generation again; what is of neither this
 * nor the last is dropped, by whoever finds it. So each item that nobody gets for two generations
 * goes (Go's victim cache); nothing is done for it in a pause, nor to another thread's chunk.
 *
 * So no bound is to be set: a pool sizes itself by its misses. A miss makes an item, which stays
 * for as long as so many are in use at once now and then, and goes two generations after.
 *
 * A generation ends with each cycle of the collector; where there are none, when the background
 * thread, or a get or put that comes by, finds that sync_pool_age has passed.
 *
 * ---- Items that are objects
 *
 * Chunks are the library's memory, which no root leads to. The collector marks their items once
 * between pause and termination (gy_sync_pool_scan_roots): of chunks of the generation that was at
 * the pause, and of the one before. Those of older ones it passes over: they are collected, and
 * what stands in such a chunk is only bits. Nobody may use them, and nobody does:
 *
 * POOL-1  An item is loaded from its slot first; then the generation is read; it is used only if
 *         that is the chunk's, or the one after. It was then in a register from before the read on.
 *         A pause after that finds it there; one before that marks the chunk, because the
 *         generation at that pause was not later than the one that was read.
 * POOL-2  An item leaves its slot by the collector's barrier: shaded first, then NULL stored, then
 *         the count lowered (as BAR-2). So the marker finds it in the slot or in the barrier's
 *         buffer. It reads the count before the items.
 * POOL-3  A chunk's generation is written only while the chunk is empty.
 * POOL-4  What was put while a cycle marks was in a register at its pause, or is new, or was shaded
 *         when it left where it was: the marker need not see it.
 * POOL-6  A shard's list is in the order of generations: its thread puts chunks at the front as it
 *         has done with them, and each has one that is not before the last one's.
 * POOL-5  Chunks, shards and pools are never given back: another thread's slots may know them. A
 *         freed pool serves the next gyre_pool_new, each shard its thread, or the next without.
 *
 * Sources: Go's sync/pool.go; Bonwick and Adams, "Magazines and vmem" (2001).
 */
#include "sync/pool.h"

#include "base/probe.h"
#include "gc/mark.h"
#include "heap/metadata.h"
#include "os/sys.h"
#include "sync/wait.h"

#include <errno.h>
#include <gyre/gc.h>
#include <gyre/sync.h>
#include <pthread.h>
#include <string.h>

#define CHUNK_ITEMS 13u
#define CHUNK_LOG2 7u
#define SHARD_LOG2 7u
#define POOL_LOG2 8u
#define SLOTS 8u
#define MS 1000000ull

struct chunk {
	struct chunk *next;	/* [lock: shard, or pool] */
	struct chunk *next_all; /* [const] of its pool */
	uint32_t generation;	/* [holder; read by the marker] POOL-3 */
	uint32_t count;		/* [holder; read by the marker] */
	void *items[CHUNK_ITEMS];
};

struct shard {
	struct gyre_pool *pool;		/* [const] */
	struct shard *next;		/* [const] of the pool's */
	struct shard *next_of_thread;	/* [self] or of those without a thread [lock: pool] */
	struct chunk *current, *spare;	/* [self] spare: empty, or NULL */
	struct gy_lock lock;
	struct chunk *shared; /* [lock; looked at without] newest generation first: POOL-6 */
};

struct gyre_pool {
	struct gyre_pool *next_all;    /* [const] */
	struct gyre_pool *next_unused; /* [lock: pools] */
	bool traced;		       /* [const until freed] */
	void *(*make)(void *argument);
	void (*drop)(void *item, void *argument);
	void *argument;
	struct gy_lock lock;
	struct shard *shards;	   /* [atomic: pushed with release] */
	struct shard *unowned;	   /* [lock] */
	struct chunk *empty;	   /* [lock] */
	struct chunk *chunks;	   /* [atomic: pushed with release] all */
	uint64_t misses;	   /* [atomic: relaxed] */
	uint32_t trimmed;	   /* [atomic] when old chunks were last looked for */
};

_Static_assert(sizeof(struct chunk) == 1u << CHUNK_LOG2, "a whole block");
_Static_assert(sizeof(struct shard) <= 1u << SHARD_LOG2, "fits");
_Static_assert(sizeof(struct gyre_pool) <= 1u << POOL_LOG2, "fits");

static uint32_t generation = 2; /* [atomic] */
static uint32_t paused_generation; /* [coordinator] at the pause */
static uint64_t aged_ns; /* [atomic: relaxed] when the generation began */

static struct {
	struct gy_lock lock;
	struct gyre_pool *unused; /* [lock] */
	struct gyre_pool *all;	  /* [atomic: pushed with release] */
	bool key_made;		  /* [lock] */
	pthread_key_t key;
} pools = {.lock = GY_LOCK_INIT(GY_RANK_channel)};

static __thread struct {
	struct slot {
		struct gyre_pool *pool;
		struct chunk *current; /* of the shard */
		struct shard *shard;
	} slots[SLOTS];
	struct shard *shards;
} self GY_TLS_INITIAL_EXEC;

GY_INLINE struct slot *slot_of(const struct gyre_pool *pool)
{
	return &self.slots[((uintptr_t)pool >> POOL_LOG2) % SLOTS];
}

static uint32_t generation_now(void)
{
	return __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
}

/* ---- chunks ---- */

static struct chunk *chunk_make(struct gyre_pool *pool)
{
	struct chunk *chunk = gy_metadata_block_take(CHUNK_LOG2);

	if (!chunk)
		return NULL;
	memset(chunk, 0, sizeof(*chunk));
	chunk->next_all = __atomic_load_n(&pool->chunks, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&pool->chunks, &chunk->next_all, chunk, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return chunk;
}

/* An empty one, of this generation; NULL: memory lacks. */
static struct chunk *chunk_take(struct shard *shard)
{
	struct gyre_pool *pool = shard->pool;
	struct chunk *chunk = shard->spare;

	shard->spare = NULL;
	if (!chunk) {
		gy_lock_acquire(&pool->lock);
		chunk = pool->empty;
		if (chunk)
			pool->empty = chunk->next;
		gy_lock_release(&pool->lock);
	}
	if (!chunk)
		chunk = chunk_make(pool);
	if (chunk)
		WRITE_RELAXED(chunk->generation, generation_now()); /* POOL-3 */
	return chunk;
}

static void chunk_give(struct shard *shard, struct chunk *chunk)
{
	struct gyre_pool *pool = shard->pool;

	ASSERT(chunk->count == 0);
	if (!shard->spare) {
		shard->spare = chunk;
		return;
	}
	gy_lock_acquire(&pool->lock);
	chunk->next = pool->empty;
	pool->empty = chunk;
	gy_lock_release(&pool->lock);
}

/* Items that are too old, or a freed pool's. Under no lock. */
static void chunk_drop(struct gyre_pool *pool, struct chunk *chunk)
{
	while (chunk->count) {
		void *item = chunk->items[chunk->count - 1];

		WRITE_RELAXED(chunk->count, chunk->count - 1);
		if (pool->drop)
			pool->drop(item, pool->argument);
	}
}

/* POOL-1, POOL-2. NULL: it is too old, and so is all of the chunk. */
GY_INLINE void *chunk_pop(struct chunk *chunk, uint32_t age_most)
{
	uint32_t count = chunk->count;
	void *item = READ_RELAXED(chunk->items[count - 1]);

	if (unlikely(generation_now() - chunk->generation > age_most))
		return NULL;
	gyre_store_(&chunk->items[count - 1], NULL);
	__atomic_store_n(&chunk->count, count - 1, __ATOMIC_RELEASE);
	return item;
}

GY_INLINE void chunk_push(struct chunk *chunk, void *item)
{
	uint32_t count = chunk->count;

	WRITE_RELAXED(chunk->items[count], item);
	__atomic_store_n(&chunk->count, count + 1, __ATOMIC_RELEASE);
}

/* ---- shards ---- */

static struct shard *shard_make(struct gyre_pool *pool)
{
	struct shard *shard = gy_metadata_block_take(SHARD_LOG2);

	if (!shard)
		return NULL;
	memset(shard, 0, sizeof(*shard));
	shard->pool = pool;
	gy_lock_init(&shard->lock, GY_RANK_waiters);
	shard->current = chunk_take(shard);
	if (!shard->current) {
		gy_metadata_block_give(shard, SHARD_LOG2);
		return NULL;
	}
	shard->next = __atomic_load_n(&pool->shards, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&pool->shards, &shard->next, shard, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return shard;
}

/* This thread's, in its slot; NULL: memory lacks. */
static struct shard *shard_of(struct gyre_pool *pool)
{
	struct slot *slot = slot_of(pool);
	struct shard *shard = self.shards;

	while (shard && shard->pool != pool)
		shard = shard->next_of_thread;
	if (!shard) {
		gy_lock_acquire(&pool->lock);
		shard = pool->unowned;
		if (shard)
			pool->unowned = shard->next_of_thread;
		gy_lock_release(&pool->lock);
		if (!shard)
			shard = shard_make(pool);
		if (!shard)
			return NULL;
		shard->next_of_thread = self.shards;
		self.shards = shard;
		pthread_setspecific(pools.key, shard);
	}
	slot->pool = pool;
	slot->shard = shard;
	slot->current = shard->current;
	return shard;
}

static void shard_set_current(struct shard *shard, struct chunk *chunk)
{
	struct slot *slot = slot_of(shard->pool);

	shard->current = chunk;
	if (slot->pool == shard->pool)
		slot->current = chunk;
}

/* The current chunk, if not empty, to those that others may take; an empty one in its place. False:
 * memory lacks. */
static bool shard_share_current(struct shard *shard)
{
	struct chunk *fresh, *full = shard->current;

	if (!full->count) {
		WRITE_RELAXED(full->generation, generation_now()); /* POOL-3 */
		return true;
	}
	fresh = chunk_take(shard);
	if (!fresh)
		return false;
	gy_lock_acquire(&shard->lock);
	full->next = shard->shared;
	WRITE_RELAXED(shard->shared, full);
	gy_lock_release(&shard->lock);
	shard_set_current(shard, fresh);
	return true;
}

/* The thread ends: what it has is for others, and its shards for the next. */
static void thread_end(void *unused)
{
	struct shard *shard;

	(void)unused;
	memset(self.slots, 0, sizeof(self.slots));
	while ((shard = self.shards)) {
		struct gyre_pool *pool = shard->pool;

		self.shards = shard->next_of_thread;
		shard_share_current(shard);
		gy_lock_acquire(&pool->lock);
		shard->next_of_thread = pool->unowned;
		pool->unowned = shard;
		gy_lock_release(&pool->lock);
	}
}

/* An item out of what `from` shares, perhaps with the whole chunk for `shard`. What is too old
 * comes onto *dropped. */
static void *shard_take(struct shard *shard, struct shard *from, struct chunk **dropped)
{
	struct chunk *chunk, *emptied = NULL;
	void *item = NULL;

	if (!READ_RELAXED(from->shared))
		return NULL;
	gy_lock_acquire(&from->lock); /* no pause comes while it is held: LOCK-3 */
	while (!item && (chunk = from->shared)) {
		uint32_t age = generation_now() - chunk->generation;

		if (age <= 1 && chunk->count)
			item = chunk_pop(chunk, UINT32_MAX);
		if (age == 1 && chunk->count)
			break;
		WRITE_RELAXED(from->shared, chunk->next);
		if (item && age == 0) {
			emptied = shard->current;
			shard_set_current(shard, chunk);
		} else {
			chunk->next = *dropped; /* too old, or empty */
			*dropped = chunk;
		}
	}
	gy_lock_release(&from->lock);
	if (emptied)
		chunk_give(shard, emptied);
	return item;
}

/* Once a generation: what is too old goes from all shards' lists, onto *dropped. */
static void trim(struct gyre_pool *pool, struct chunk **dropped)
{
	uint32_t now = generation_now(), before = READ_RELAXED(pool->trimmed);
	struct shard *shard;

	if (likely(before == now) ||
	    !__atomic_compare_exchange_n(&pool->trimmed, &before, now, false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		return;
	shard = __atomic_load_n(&pool->shards, __ATOMIC_ACQUIRE);
	for (; shard; shard = shard->next) {
		struct chunk **at = &shard->shared, *old;

		gy_lock_acquire(&shard->lock);
		/* A new one may have begun since `now` was read. */
		while (*at && (int32_t)(now - (*at)->generation) <= 1)
			at = &(*at)->next;
		old = *at;
		WRITE_RELAXED(*at, NULL);
		gy_lock_release(&shard->lock);
		while (old) {
			struct chunk *next = old->next;

			old->next = *dropped;
			*dropped = old;
			old = next;
		}
	}
}

static void drop_all(struct shard *shard, struct chunk *chain)
{
	while (chain) {
		struct chunk *chunk = chain;

		chain = chain->next;
		chunk_drop(shard->pool, chunk);
		chunk_give(shard, chunk);
	}
}

/* ---- get and put ---- */

/* The shard's own first, then those of others. The current chunk is empty. */
static void *find(struct shard *shard, struct chunk **dropped)
{
	void *item = shard_take(shard, shard, dropped);
	struct shard *from;

	if (item)
		return item;
	from = shard->next;
	for (unsigned i = 0; i < 2 && !item; i++) {
		for (; from && from != shard && !item; from = from->next)
			item = shard_take(shard, from, dropped);
		from = __atomic_load_n(&shard->pool->shards, __ATOMIC_ACQUIRE);
	}
	return item;
}

static GY_NOINLINE void *get_slow(struct gyre_pool *pool)
{
	struct shard *shard;
	struct chunk *dropped = NULL;
	void *item = NULL;

	gy_wait_prepare(); /* a barrier under a lock wants the thread's record */
	gy_sync_pool_age(gy_now_ns());
	shard = shard_of(pool);
	if (shard) {
		trim(pool, &dropped);
		if (shard->current->generation != generation_now())
			shard_share_current(shard);
		if (shard->current->count)
			item = chunk_pop(shard->current, 0);
		else
			item = find(shard, &dropped);
		drop_all(shard, dropped);
	}
	if (!item) {
		uint64_t misses = __atomic_add_fetch(&pool->misses, 1, __ATOMIC_RELAXED);

		GY_PROBE2(pool_miss, (uintptr_t)pool, misses);
		item = pool->make ? pool->make(pool->argument) : NULL;
	}
	GY_PROBE2(pool_get, (uintptr_t)pool, (uintptr_t)item);
	return item;
}

GY_EXPORT void *gyre_pool_get(struct gyre_pool *pool)
{
	struct slot *slot = slot_of(pool);
	void *item;

	if (unlikely(slot->pool != pool) || unlikely(!slot->current->count))
		return get_slow(pool);
	item = chunk_pop(slot->current, 0);
	if (unlikely(!item))
		return get_slow(pool);
	GY_PROBE2(pool_get, (uintptr_t)pool, (uintptr_t)item);
	return item;
}

static GY_NOINLINE void put_slow(struct gyre_pool *pool, void *item)
{
	struct chunk *dropped = NULL;
	struct shard *shard;

	gy_sync_pool_age(gy_now_ns());
	shard = shard_of(pool);
	if (shard) {
		trim(pool, &dropped);
		drop_all(shard, dropped);
	}
	if (shard && (shard->current->generation != generation_now() ||
		      shard->current->count == CHUNK_ITEMS) &&
	    !shard_share_current(shard))
		shard = NULL;
	if (shard)
		chunk_push(shard->current, item);
	else if (pool->drop)
		pool->drop(item, pool->argument);
}

GY_EXPORT void gyre_pool_put(struct gyre_pool *pool, void *item)
{
	struct slot *slot = slot_of(pool);

	if (unlikely(!item))
		return;
	GY_PROBE2(pool_put, (uintptr_t)pool, (uintptr_t)item);
	if (likely(slot->pool == pool) && likely(slot->current->count < CHUNK_ITEMS) &&
	    likely(slot->current->generation == READ_RELAXED(generation)))
		chunk_push(slot->current, item);
	else
		put_slow(pool, item);
}

/* ---- pools ---- */

static struct gyre_pool *pool_take(void)
{
	struct gyre_pool *pool;

	gy_lock_acquire(&pools.lock);
	if (!pools.key_made)
		pools.key_made = !pthread_key_create(&pools.key, thread_end);
	pool = pools.key_made ? pools.unused : NULL;
	if (pool)
		pools.unused = pool->next_unused;
	gy_lock_release(&pools.lock);
	if (pool || !pools.key_made)
		return pool;
	pool = gy_metadata_block_take(POOL_LOG2);
	if (!pool)
		return NULL;
	memset(pool, 0, sizeof(*pool));
	gy_lock_init(&pool->lock, GY_RANK_waiters);
	pool->next_all = __atomic_load_n(&pools.all, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&pools.all, &pool->next_all, pool, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return pool;
}

GY_EXPORT struct gyre_pool *gyre_pool_new(enum gyre_contents contents,
					  void *(*make)(void *argument),
					  void (*drop)(void *item, void *argument), void *argument)
{
	struct gyre_pool *pool;

	if (contents == GYRE_COLLECTED || (drop && contents == GYRE_TRACED)) {
		errno = EINVAL;
		return NULL;
	}
	pool = pool_take();
	if (!pool) {
		errno = ENOMEM;
		return NULL;
	}
	pool->make = make;
	pool->drop = drop;
	pool->argument = argument;
	pool->misses = 0;
	WRITE_RELAXED(pool->traced, contents == GYRE_TRACED);
	return pool;
}

GY_EXPORT void gyre_pool_free(struct gyre_pool *pool)
{
	struct chunk *chunk;

	if (!pool)
		return;
	/* Every item is in some chunk. Those that are shared stay so, empty: they are taken out
	 * when they are come by. */
	chunk = __atomic_load_n(&pool->chunks, __ATOMIC_ACQUIRE);
	for (; chunk; chunk = chunk->next_all)
		chunk_drop(pool, chunk);
	gy_lock_acquire(&pools.lock);
	pool->next_unused = pools.unused;
	pools.unused = pool;
	gy_lock_release(&pools.lock);
}

/* ---- generations, and the collector ---- */

static void grow_older(uint64_t now_ns)
{
	WRITE_RELAXED(aged_ns, now_ns);
	__atomic_fetch_add(&generation, 1, __ATOMIC_ACQ_REL);
}

void gy_sync_pool_age(uint64_t now_ns)
{
	uint64_t before_ns = READ_RELAXED(aged_ns);

	if (likely(now_ns - before_ns < gy_option(GY_OPT_sync_pool_age) * MS))
		return;
	if (__atomic_compare_exchange_n(&aged_ns, &before_ns, now_ns, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED) &&
	    before_ns)
		grow_older(now_ns);
}

void gy_sync_pool_cycle_paused(void)
{
	paused_generation = generation_now();
}

void gy_sync_pool_scan_roots(struct gy_marker *marker)
{
	struct gyre_pool *pool = __atomic_load_n(&pools.all, __ATOMIC_ACQUIRE);
	struct chunk *chunk;

	for (; pool; pool = pool->next_all) {
		if (!READ_RELAXED(pool->traced))
			continue;
		chunk = __atomic_load_n(&pool->chunks, __ATOMIC_ACQUIRE);
		for (; chunk; chunk = chunk->next_all) {
			uint32_t count = __atomic_load_n(&chunk->count, __ATOMIC_ACQUIRE);

			/* A later generation is of items that POOL-4 speaks of. */
			if ((int32_t)(paused_generation - READ_RELAXED(chunk->generation)) > 1)
				continue;
			for (uint32_t i = 0; i < MIN(count, CHUNK_ITEMS); i++)
				gy_mark_word(marker, (uintptr_t)READ_RELAXED(chunk->items[i]));
		}
	}
}

void gy_sync_pool_cycle_ended(void)
{
	grow_older(gy_now_ns());
}

/* The child has its own thread's shards, and what they share; the rest is forgotten. */
void gy_sync_pool_fork_child(void)
{
	gy_lock_init(&pools.lock, GY_RANK_channel);
	for (struct gyre_pool *pool = pools.all; pool; pool = pool->next_all) {
		gy_lock_init(&pool->lock, GY_RANK_waiters);
		pool->shards = pool->unowned = NULL;
		pool->empty = NULL;
	}
	for (struct shard *shard = self.shards; shard; shard = shard->next_of_thread) {
		gy_lock_init(&shard->lock, GY_RANK_waiters);
		shard->next = shard->pool->shards;
		shard->pool->shards = shard;
	}
}
