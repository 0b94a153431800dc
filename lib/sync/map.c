/* map.c - a table from bytes to objects, that many threads use at once.
 *
 *	map	 parts[16], by the hash's upper bits: each a mutex for writers, a table, a count
 *	table	 2^n heads of chains
 *	entry	 next, value, hash, key			the key never changes
 *
 * Readers take no lock, store nothing and count nothing: they load the table, a head, and follow
 * the chain. What makes that sound is the collector: an entry or a table that was taken out stays
 * what it was for as long as anybody has it in hand, and no longer. Writers of one part go one
 * after the other, under its mutex, which sleeps in a blocking region and may be held while memory
 * is asked for.
 *
 * MAP-1  An entry's next and value are what others change; key and hash are written before it is
 *        published, with release, and never again.
 * MAP-2  An entry is put at the head of its chain; taken out by its predecessor's pointer, its own
 *        next stays: a reader on it goes on into the rest of the chain.
 * MAP-3  A larger table has entries of its own, copies: chains of the old one stay as they are, and
 *        readers there see each key as it was when the new table came. That was while they read, so
 *        they are right. Writers see only the new one.
 * MAP-4  All stores of pointers go through the collector's barrier, and are releases: as C11 has
 *        it, loads that follow them are acquires.
 * MAP-5  A walk over all keys looks each up again once its table is an old one: what its function
 *        has set or removed would not be seen otherwise.
 *
 * Sources: McKenney on RCU; Go's internal/sync/hashtriemap.go for what a map of this kind offers.
 */
#include "gc/thread.h"
#include "os/sys.h"
#include "sync/seal.h"
#include "sync/wait.h"

#include <errno.h>
#include <gyre/gc.h>
#include <gyre/sync.h>
#include <string.h>

#define PARTS 16u
#define TABLE_FIRST 8u
#define LOAD_MOST 1u /* entries a head, on average, before a larger table is made */
#define KEY_BYTES_MAX ((size_t)1 << 30)

struct entry {
	struct entry *next; /* MAP-2 */
	void *value;
	uint64_t hash;
	size_t key_bytes;
	char key[];
};

struct table {
	uint64_t mask;
	struct entry *heads[];
};

struct part {
	struct table *table;
	struct gyre_mutex mutex;
	size_t count; /* [lock; read without] */
	uint64_t pad[5];
};

struct gyre_map {
	struct part parts[PARTS];
	uint64_t seed; /* [const] */
};

static const struct gyre_type entry_type = GYRE_TYPE_TAIL_LEAF(struct entry, key, next, value);
static const struct gyre_type table_type = GYRE_TYPE_TAIL_ONLY(struct table, heads);

/* ---- hashes ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t word_at(const unsigned char *at, size_t bytes)
{
	uint64_t word = 0;

	memcpy(&word, at, bytes);
	return word;
}

/* After Wang Yi's wyhash: 16 bytes a multiplication. */
static uint64_t hash_of(uint64_t seed, const void *key, size_t bytes)
{
	const uint64_t k1 = 0xa0761d6478bd642full, k2 = 0xe7037ed1a0b428dbull;
	const unsigned char *at = key;
	uint64_t hash = seed ^ k1;
	size_t left = bytes;

	for (; left > 16; left -= 16, at += 16)
		hash = mix(word_at(at, 8) ^ k1, word_at(at + 8, 8) ^ hash);
	if (left > 8)
		hash = mix(word_at(at, 8) ^ k2, word_at(at + 8, left - 8) ^ hash);
	else
		hash = mix(word_at(at, left) ^ k2, hash ^ k1);
	return mix(hash ^ bytes, k2);
}

/* ---- reading ---- */

#define LOAD(slot) __atomic_load_n(&(slot), __ATOMIC_ACQUIRE)

static struct part *part_of(struct gyre_map *map, uint64_t hash)
{
	return &map->parts[hash >> 60];
}

static bool is_key(const struct entry *entry, uint64_t hash, const void *key, size_t key_bytes)
{
	return entry->hash == hash && entry->key_bytes == key_bytes &&
	       !memcmp(entry->key, key, key_bytes);
}

GY_EXPORT void *gyre_map_get(struct gyre_map *map, const void *key, size_t key_bytes)
{
	uint64_t hash = hash_of(map->seed, key, key_bytes);
	struct table *table = LOAD(part_of(map, hash)->table);
	struct entry *entry;

	gy_sync_step();
	entry = table ? LOAD(table->heads[hash & table->mask]) : NULL;

	while (entry && !is_key(entry, hash, key, key_bytes))
		entry = LOAD(entry->next);
	return entry ? LOAD(entry->value) : NULL;
}

/* MAP-5. NULL: it has been removed. */
static void *value_now(struct gyre_map *map, const struct part *part, const struct table *table,
		       struct entry *entry)
{
	if (likely(LOAD(part->table) == table))
		return LOAD(entry->value);
	return gyre_map_get(map, entry->key, entry->key_bytes);
}

GY_EXPORT void gyre_map_each(struct gyre_map *map,
			     bool (*visit)(const void *key, size_t key_bytes, void *value,
					   void *argument),
			     void *argument)
{
	for (unsigned i = 0; i < PARTS; i++) {
		struct part *part = &map->parts[i];
		struct table *table = LOAD(part->table);

		for (uint64_t head = 0; table && head <= table->mask; head++) {
			struct entry *entry = LOAD(table->heads[head]);

			for (; entry; entry = LOAD(entry->next)) {
				void *value = value_now(map, part, table, entry);

				if (value &&
				    !visit(entry->key, entry->key_bytes, value, argument))
					return;
			}
		}
	}
}

GY_EXPORT size_t gyre_map_count(struct gyre_map *map)
{
	size_t sum = 0;

	for (unsigned i = 0; i < PARTS; i++)
		sum += READ_RELAXED(map->parts[i].count);
	return sum;
}

/* ---- writing ---- */

/* MAP-4: x86 stores are releases, and the compiler moves nothing past the barrier's store. */
#define STORE(slot, value)                                                                         \
	do {                                                                                       \
		__typeof__(slot) *store_to = &(slot);                                              \
		__typeof__(slot) store_value = (value);                                            \
		if (GY_TSAN) /* sees no barrier's store: released before */  \
			__atomic_fetch_or((uintptr_t *)(void *)store_to, 0, __ATOMIC_RELEASE);     \
		gyre_set(store_to, store_value);                                                   \
	} while (0)

/* [lock] The slot that leads to the key's entry, or the NULL at its chain's end. */
static struct entry **find(struct part *part, uint64_t hash, const void *key, size_t key_bytes)
{
	struct entry **slot = &part->table->heads[hash & part->table->mask];

	while (*slot && !is_key(*slot, hash, key, key_bytes))
		slot = &(*slot)->next;
	return slot;
}

static struct entry *entry_new(uint64_t hash, const void *key, size_t key_bytes, void *value)
{
	struct entry *entry = gyre_new_tail(&entry_type, key_bytes);

	if (!entry)
		return NULL;
	entry->hash = hash;
	entry->key_bytes = key_bytes;
	memcpy(entry->key, key, key_bytes);
	STORE(entry->value, value);
	return entry;
}

static struct table *table_new(uint64_t heads)
{
	struct table *table = gyre_new_tail(&table_type, heads);

	if (table)
		table->mask = heads - 1;
	return table;
}

/* [lock] MAP-3. False: memory lacks; the old one serves on. */
static bool grow(struct part *part)
{
	struct table *old = part->table, *table;

	table = table_new(old ? 2 * (old->mask + 1) : TABLE_FIRST);
	if (!table)
		return false;
	for (uint64_t head = 0; old && head <= old->mask; head++) {
		struct entry *at = old->heads[head];

		for (; at; at = at->next) {
			struct entry *entry =
				entry_new(at->hash, at->key, at->key_bytes, at->value);
			struct entry **slot = &table->heads[at->hash & table->mask];

			if (!entry)
				return false;
			STORE(entry->next, *slot);
			STORE(*slot, entry);
		}
	}
	gy_sync_step();
	STORE(part->table, table);
	return true;
}

/* [lock] A new entry. */
static bool insert(struct part *part, uint64_t hash, const void *key, size_t key_bytes, void *value)
{
	struct entry *entry = entry_new(hash, key, key_bytes, value);
	struct entry **head;

	if (!entry)
		return false;
	if (part->count >= LOAD_MOST * (part->table->mask + 1))
		grow(part);
	head = &part->table->heads[hash & part->table->mask];
	STORE(entry->next, *head);
	gy_sync_step();
	STORE(*head, entry); /* MAP-1, MAP-2 */
	WRITE_RELAXED(part->count, part->count + 1);
	return true;
}

/* The part, locked, with a table; NULL: errno. */
static struct part *part_lock(struct gyre_map *map, uint64_t hash)
{
	struct part *part = part_of(map, hash);

	gyre_mutex_lock(&part->mutex);
	if (part->table || grow(part))
		return part;
	gyre_mutex_unlock(&part->mutex);
	errno = ENOMEM;
	return NULL;
}

static bool is_valid(const void *value, size_t key_bytes)
{
	if (value && key_bytes <= KEY_BYTES_MAX)
		return true;
	errno = EINVAL;
	return false;
}

GY_EXPORT struct gyre_map *gyre_map_new(void)
{
	struct gyre_map *map = gyre_new_conservative(sizeof(*map));

	if (map)
		map->seed = mix(gy_now_ns() ^ (uintptr_t)map, (uintptr_t)&map ^ 0x9e3779b97f4a7c15);
	return map;
}

GY_EXPORT int gyre_map_set(struct gyre_map *map, const void *key, size_t key_bytes, void *value)
{
	uint64_t hash = hash_of(map->seed, key, key_bytes);
	struct entry *entry;
	struct part *part;
	bool done = true;

	if (!is_valid(value, key_bytes))
		return -1;
	part = part_lock(map, hash);
	if (!part)
		return -1;
	entry = *find(part, hash, key, key_bytes);
	if (entry)
		STORE(entry->value, value);
	else
		done = insert(part, hash, key, key_bytes, value);
	gyre_mutex_unlock(&part->mutex);
	if (done)
		return 0;
	errno = ENOMEM;
	return -1;
}

GY_EXPORT void *gyre_map_get_or_set(struct gyre_map *map, const void *key, size_t key_bytes,
				    void *value)
{
	void *there = gyre_map_get(map, key, key_bytes);
	uint64_t hash = hash_of(map->seed, key, key_bytes);
	struct entry *entry;
	struct part *part;

	if (there)
		return there;
	if (!is_valid(value, key_bytes))
		return NULL;
	part = part_lock(map, hash);
	if (!part)
		return NULL;
	entry = *find(part, hash, key, key_bytes);
	if (entry)
		there = entry->value;
	else if (insert(part, hash, key, key_bytes, value))
		there = value;
	gyre_mutex_unlock(&part->mutex);
	if (!there)
		errno = ENOMEM;
	return there;
}

/* The value that was taken out; NULL: there is none, or it is not `expected`. */
static void *take_out(struct gyre_map *map, const void *key, size_t key_bytes, const void *expected)
{
	uint64_t hash = hash_of(map->seed, key, key_bytes);
	struct part *part = part_lock(map, hash);
	struct entry **slot;
	void *value = NULL;

	if (!part)
		return NULL;
	slot = find(part, hash, key, key_bytes);
	if (*slot && (!expected || (*slot)->value == expected)) {
		value = (*slot)->value;
		gy_sync_step();
		STORE(*slot, (*slot)->next); /* MAP-2 */
		WRITE_RELAXED(part->count, part->count - 1);
	}
	gyre_mutex_unlock(&part->mutex);
	return value;
}

GY_EXPORT bool gyre_map_replace(struct gyre_map *map, const void *key, size_t key_bytes,
				void *expected, void *value)
{
	uint64_t hash = hash_of(map->seed, key, key_bytes);
	struct entry *entry;
	struct part *part;
	bool replaced;

	if (!expected)
		return false;
	if (!value)
		return take_out(map, key, key_bytes, expected) != NULL;
	part = part_lock(map, hash);
	if (!part)
		return false;
	entry = *find(part, hash, key, key_bytes);
	replaced = entry && entry->value == expected;
	if (replaced)
		STORE(entry->value, value);
	gyre_mutex_unlock(&part->mutex);
	return replaced;
}

GY_EXPORT void *gyre_map_remove(struct gyre_map *map, const void *key, size_t key_bytes)
{
	return take_out(map, key, key_bytes, NULL);
}
