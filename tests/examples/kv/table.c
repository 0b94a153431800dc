/* table.c - the entries.
 *
 *	hash of the key -> shard (its low bits) -> bucket -> list of entries -> value
 *
 * 256 shards, each with a lock, so that the threads seldom meet, and so that a shard that grows
 * moves a few thousand entries, not millions. Beyond the memory budget whoever stores goes round
 * the shards, and of eight entries that a hand passes in one the one that was used longest ago
 * goes, as in Redis: nearly LRU, without a list to keep in order at each look-up.
 *
 * TABLE-1  `all_bytes` is the sum of entry_bytes of all that is linked, of any shard.
 * TABLE-2  Whoever unlinks an entry does so with gyre_set: the collector may be marking.
 */
#include "kv.h"

#include <string.h>

#define SHARDS 256u
#define BUCKETS_FIRST 64u
#define LOOKS 8u
#define ENTRY_OVERHEAD 16u /* what the heap's size classes add, in the mean */

struct bucket {
	struct entry *first;
};

struct shard {
	struct gyre_mutex lock;
	struct bucket *buckets;
	size_t mask, count, hand;
	size_t timed; /* entries that expire */
	uint32_t clock;
} __attribute__((aligned(64)));

static const struct gyre_type bucket_type = GYRE_TYPE(struct bucket, first);
static const struct gyre_type entry_type = GYRE_TYPE_TAIL_LEAF(struct entry, key, next, value);

static struct shard shards[SHARDS]; /* a global: the collector finds the buckets here */
static uint64_t all_bytes;	    /* atomic */
static uint32_t next_to_evict;	    /* atomic: shard */

bool table_init(void)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		shards[i].buckets = gyre_new_array(&bucket_type, BUCKETS_FIRST);
		if (!shards[i].buckets)
			return false;
		shards[i].mask = BUCKETS_FIRST - 1;
	}
	return true;
}

/* wyhash's way with 8 bytes at a time; the seed is the process's own place in memory. */
static uint32_t hash_of(struct bytes key)
{
	uint64_t hash = (uintptr_t)shards ^ key.length * 0x9e3779b97f4a7c15ull, word;
	const char *at = key.data;
	size_t left = key.length;

	for (; left >= sizeof(word); at += sizeof(word), left -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		__uint128_t product = (__uint128_t)(hash ^ word) * 0xa0761d6478bd642full;
		hash = (uint64_t)product ^ (uint64_t)(product >> 64);
	}
	word = 0;
	memcpy(&word, at, left);
	__uint128_t product = (__uint128_t)(hash ^ word) * 0xe7037ed1a0b428dbull;
	return (uint32_t)((uint64_t)product ^ (uint64_t)(product >> 64));
}

struct shard *table_lock(struct bytes key, uint32_t *hash)
{
	struct shard *shard = &shards[(*hash = hash_of(key)) % SHARDS];

	gyre_mutex_lock(&shard->lock);
	return shard;
}

static struct bucket *bucket_of(const struct shard *shard, uint32_t hash)
{
	return &shard->buckets[hash / SHARDS & shard->mask];
}

static uint64_t entry_bytes(const struct entry *entry)
{
	return sizeof(*entry) + entry->key_length + sizeof(struct value) + entry->value->length +
	       2 * ENTRY_OVERHEAD;
}

static void add_bytes(uint64_t bytes)
{
	__atomic_fetch_add(&all_bytes, bytes, __ATOMIC_RELAXED);
}

static void unlink_entry(struct shard *shard, struct entry **link)
{
	struct entry *entry = *link;

	add_bytes(-entry_bytes(entry)); /* TABLE-1 */
	shard->count--;
	shard->timed -= entry->expires_ms != 0;
	gyre_set(link, entry->next); /* TABLE-2 */
}

/* The link that points to the key's entry, or to NULL at its list's end. */
static struct entry **link_of(struct shard *shard, uint32_t hash, struct bytes key)
{
	struct entry **link = &bucket_of(shard, hash)->first;

	while (*link && ((*link)->hash != hash || (*link)->key_length != key.length ||
			 memcmp((*link)->key, key.data, key.length)))
		link = &(*link)->next;
	return link;
}

static bool is_over(const struct entry *entry, uint64_t now_ms)
{
	return entry->expires_ms && entry->expires_ms <= now_ms;
}

struct entry *table_find(struct shard *shard, uint32_t hash, struct bytes key, uint64_t now_ms)
{
	struct entry **link = link_of(shard, hash, key);

	if (*link && is_over(*link, now_ms)) {
		unlink_entry(shard, link);
		COUNT(expired, 1);
		return NULL;
	}
	if (*link)
		(*link)->used = ++shard->clock;
	return *link;
}

bool table_remove(struct shard *shard, uint32_t hash, struct bytes key, uint64_t now_ms)
{
	struct entry **link = link_of(shard, hash, key);
	bool there = *link && !is_over(*link, now_ms);

	if (*link)
		unlink_entry(shard, link);
	return there;
}

/* Shards grow at different counts, from half as many entries as buckets to half again as many: were
 * they to grow together, the whole table would be moved within one moment. */
static bool is_full(const struct shard *shard)
{
	return shard->count * SHARDS > (shard->mask + 1) * (SHARDS / 2 + (size_t)(shard - shards));
}

/* Twice the buckets. Without memory for them the lists get longer. */
static void grow(struct shard *shard)
{
	size_t mask = shard->mask * 2 + 1;
	struct bucket *buckets = gyre_new_array(&bucket_type, mask + 1), *old = shard->buckets;

	if (!buckets)
		return;
	for (size_t i = 0; i <= shard->mask; i++) {
		struct entry *entry = old[i].first, *next;

		for (; entry; entry = next) {
			struct bucket *to = &buckets[entry->hash / SHARDS & mask];

			next = entry->next;
			gyre_set(&entry->next, to->first);
			gyre_set(&to->first, entry);
		}
	}
	shard->buckets = buckets;
	shard->mask = mask;
	shard->hand = 0;
}

/* Of some entries on the hand's way, removes the one that was used longest ago. [shard] */
static void evict_one(struct shard *shard)
{
	struct entry **oldest = NULL;
	unsigned looked = 0;

	for (size_t i = 0; i <= shard->mask && looked < LOOKS; i++) {
		struct entry **link = &shard->buckets[shard->hand++ & shard->mask].first;

		for (; *link; link = &(*link)->next) {
			uint32_t age = shard->clock - (*link)->used;

			if (!looked++ || age > shard->clock - (*oldest)->used)
				oldest = link;
		}
	}
	if (oldest) {
		unlink_entry(shard, oldest);
		COUNT(evicted, 1);
	}
}

static bool is_beyond_budget(void)
{
	return table_bytes() > options.memory_bytes;
}

/* Twice round, should others store as fast as this evicts. */
static void make_room(void)
{
	for (unsigned i = 0; i < 2 * SHARDS && is_beyond_budget(); i++) {
		uint32_t next = __atomic_fetch_add(&next_to_evict, 1, __ATOMIC_RELAXED);
		struct shard *shard = &shards[next % SHARDS];

		gyre_mutex_lock(&shard->lock);
		evict_one(shard);
		gyre_mutex_unlock(&shard->lock);
	}
}

void table_unlock(struct shard *shard)
{
	gyre_mutex_unlock(&shard->lock);
	if (is_beyond_budget())
		make_room();
}

struct value *value_new(size_t length)
{
	struct value *value = gyre_new_leaf(sizeof(*value) + length);

	if (value)
		value->length = length;
	return value;
}

static struct entry *entry_new(uint32_t hash, struct bytes key)
{
	struct entry *entry = gyre_new_tail(&entry_type, key.length);

	if (!entry)
		return NULL;
	entry->hash = hash;
	entry->key_length = (uint32_t)key.length;
	memcpy(entry->key, key.data, key.length);
	return entry;
}

enum stored table_store(struct shard *shard, uint32_t hash, struct bytes key, struct value *value,
			uint64_t expires_ms)
{
	struct entry *entry = *link_of(shard, hash, key);

	if (key.length + value->length > options.memory_bytes / 4)
		return STORED_TOO_LARGE;
	if (entry) {
		add_bytes(value->length - entry->value->length);
		gyre_set(&entry->value, value);
	} else {
		struct bucket *bucket;

		entry = entry_new(hash, key);
		if (!entry)
			return STORED_NO_MEMORY;
		gyre_set(&entry->value, value);
		if (is_full(shard))
			grow(shard);
		bucket = bucket_of(shard, hash);
		gyre_set(&entry->next, bucket->first);
		gyre_set(&bucket->first, entry);
		add_bytes(entry_bytes(entry));
		shard->count++;
	}
	if (expires_ms != KEEP)
		table_expire_at(shard, entry, expires_ms);
	entry->used = ++shard->clock;
	return STORED;
}

void table_expire_at(struct shard *shard, struct entry *entry, uint64_t expires_ms)
{
	shard->timed += (size_t)(expires_ms != 0) - (size_t)(entry->expires_ms != 0);
	entry->expires_ms = expires_ms;
}

/* A few shards at a time. */
void table_expire(uint64_t now_ms)
{
	static unsigned next; /* the janitor's alone */

	for (unsigned i = 0; i < SHARDS / 16; i++) {
		struct shard *shard = &shards[next++ % SHARDS];
		uint64_t expired = 0;

		gyre_mutex_lock(&shard->lock);
		for (size_t bucket = 0; shard->timed && bucket <= shard->mask; bucket++) {
			struct entry **link = &shard->buckets[bucket].first;

			while (*link) {
				if (is_over(*link, now_ms)) {
					unlink_entry(shard, link);
					expired++;
				} else {
					link = &(*link)->next;
				}
			}
		}
		gyre_mutex_unlock(&shard->lock);
		COUNT(expired, expired);
	}
}

void table_clear(void)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *shard = &shards[i];

		gyre_mutex_lock(&shard->lock);
		for (size_t bucket = 0; bucket <= shard->mask; bucket++)
			while (shard->buckets[bucket].first)
				unlink_entry(shard, &shard->buckets[bucket].first);
		gyre_mutex_unlock(&shard->lock);
	}
}

size_t table_count(void)
{
	size_t count = 0;

	for (unsigned i = 0; i < SHARDS; i++) {
		gyre_mutex_lock(&shards[i].lock);
		count += shards[i].count;
		gyre_mutex_unlock(&shards[i].lock);
	}
	return count;
}

uint64_t table_bytes(void)
{
	return __atomic_load_n(&all_bytes, __ATOMIC_RELAXED);
}
