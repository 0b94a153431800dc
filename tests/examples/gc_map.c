/* A global map, and what a deleted entry leaves behind: nothing.
 *
 * The map is one of chained buckets. An entry that is deleted must not be reachable any more, or it
 * stays for as long as the map does: the bucket (or the entry before it) is set to what comes after,
 * and the entry's value goes with it. The program prints the live heap with the map filled, and with
 * all but one entry in a hundred deleted; it fails unless the difference came back.
 */
#include <gyre/gc.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ENTRIES 20000u
#define VALUE_BYTES 2000u

struct entry {
	struct entry *next;
	char *value;
	uint64_t key;
};

struct map {
	uint64_t size; /* buckets */
	struct entry *buckets[];
};

static const struct gyre_type entry_type = GYRE_TYPE(struct entry, next, value);
static const struct gyre_type map_type = GYRE_TYPE_TAIL_ONLY(struct map, buckets);

static struct map *map; /* the root of it all */

static struct entry **bucket_of(uint64_t key)
{
	return &map->buckets[(key * 0x9e3779b97f4a7c15ull >> 32) % map->size];
}

static void map_put(uint64_t key, const char *text)
{
	struct entry *entry = gyre_new(&entry_type);
	struct entry **bucket = bucket_of(key);
	char *value = gyre_new_leaf(VALUE_BYTES); /* not zeroed */

	memset(value, 0, VALUE_BYTES);
	strncpy(value, text, VALUE_BYTES - 1);
	entry->key = key;
	gyre_set(&entry->value, value);
	gyre_set(&entry->next, *bucket);
	gyre_set(bucket, entry);
}

static const char *map_get(uint64_t key)
{
	for (struct entry *entry = *bucket_of(key); entry; entry = entry->next)
		if (entry->key == key)
			return entry->value;
	return NULL;
}

static void map_delete(uint64_t key)
{
	for (struct entry **at = bucket_of(key); *at; at = &(*at)->next) {
		if ((*at)->key == key) {
			gyre_set(at, (*at)->next); /* unlinked: that is all there is to do */
			return;
		}
	}
}

static uint64_t live_bytes(void)
{
	struct gyre_gc_stats stats;

	gyre_gc_run();
	gyre_gc_stats(&stats);
	return stats.heap_live_bytes;
}

int main(void)
{
	uint64_t full, rest;
	char text[32];

	map = gyre_new_tail(&map_type, ENTRIES / 2);
	map->size = ENTRIES / 2;
	for (uint64_t key = 0; key < ENTRIES; key++) {
		snprintf(text, sizeof(text), "value %llu", (unsigned long long)key);
		map_put(key, text);
	}
	full = live_bytes();
	printf("%u entries: %llu KiB live\n", ENTRIES, (unsigned long long)full >> 10);

	for (uint64_t key = 0; key < ENTRIES; key++)
		if (key % 100)
			map_delete(key);
	rest = live_bytes();
	printf("%u entries: %llu KiB live\n", ENTRIES / 100, (unsigned long long)rest >> 10);

	for (uint64_t key = 0; key < ENTRIES; key++) {
		snprintf(text, sizeof(text), "value %llu", (unsigned long long)key);
		if (key % 100 ? map_get(key) != NULL : !map_get(key) || strcmp(map_get(key), text)) {
			printf("entry %llu is wrong\n", (unsigned long long)key);
			return 1;
		}
	}
	return rest < full / 20 ? 0 : 1;
}
