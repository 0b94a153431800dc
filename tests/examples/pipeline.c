/* A pipeline of channels: log lines read, parsed and summed up.
 *
 *	pipeline FILE [parsers]          ten paths that were asked for most; times on stderr
 *	pipeline generate BYTES >FILE    lines to try it with
 *
 *	reader --(chunks of 1 MiB, whole lines)--> parsers --(a table of each chunk)--> main
 *
 * The chunks come from a pool and go back to it. The tables and the names in them are objects:
 * nobody frees them, and the table that main keeps holds what it took from the others. A channel
 * that is closed ends who receives from it; the last parser closes the second one.
 *
 * A line is: TIME METHOD PATH STATUS BYTES MICROSECONDS. pipeline.go is the same in Go.
 */
#include <gyre/gc.h>
#include <gyre/sync.h>

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES (1u << 20)
#define SLOTS_FIRST 1024u
#define TOP 10

struct chunk {
	size_t length;
	char data[CHUNK_BYTES];
};

struct path {
	char *name;
	uint64_t hash, length, count, bytes, slowest_us;
};

/* Open addressing; at most half full. */
struct table {
	struct path **slots;
	uint64_t mask, count, lines, bad;
};

struct slot {
	struct path *path;
};

static const struct gyre_type path_type = GYRE_TYPE(struct path, name);
static const struct gyre_type table_type = GYRE_TYPE(struct table, slots);
static const struct gyre_type slot_type = GYRE_TYPE(struct slot, path);

static struct gyre_chan *chunks, *tables;
static struct gyre_pool *pool;
static struct gyre_wait_group parsing;
static int file;

static void no_memory(void)
{
	fprintf(stderr, "pipeline: no memory\n");
	exit(1);
}

static struct table *table_new(uint64_t slots)
{
	struct table *table = gyre_new(&table_type);
	void *array = gyre_new_array(&slot_type, slots);

	if (!table || !array)
		no_memory();
	gyre_set(&table->slots, array);
	table->mask = slots - 1;
	return table;
}

static struct path **slot_of(struct table *table, const char *name, uint64_t length, uint64_t hash)
{
	uint64_t i = hash & table->mask;

	for (; table->slots[i]; i = (i + 1) & table->mask) {
		struct path *path = table->slots[i];

		if (path->hash == hash && path->length == length &&
		    !memcmp(path->name, name, length))
			break;
	}
	return &table->slots[i];
}

static void table_grow(struct table *table)
{
	struct table *larger = table_new((table->mask + 1) * 2);

	for (uint64_t i = 0; i <= table->mask; i++) {
		struct path *path = table->slots[i];

		if (path)
			gyre_set(slot_of(larger, path->name, path->length, path->hash), path);
	}
	gyre_set(&table->slots, larger->slots);
	table->mask = larger->mask;
}

static uint64_t hash_of(const char *name, uint64_t length)
{
	uint64_t hash = 14695981039346656037ull;

	for (uint64_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)name[i]) * 1099511628211ull;
	return hash ^ hash >> 32;
}

static struct path *table_path(struct table *table, const char *name, uint64_t length)
{
	uint64_t hash = hash_of(name, length);
	struct path **slot = slot_of(table, name, length, hash), *path = *slot;
	char *copy;

	if (path)
		return path;
	path = gyre_new(&path_type);
	copy = gyre_new_leaf(length);
	if (!path || !copy)
		no_memory();
	memcpy(copy, name, length);
	gyre_set(&path->name, copy);
	path->hash = hash;
	path->length = length;
	gyre_set(slot, path);
	if (++table->count > table->mask / 2)
		table_grow(table);
	return path;
}

/* ---- parse ---- */

static const char *word_end(const char *at, const char *end)
{
	const char *blank = memchr(at, ' ', (size_t)(end - at));

	return blank ? blank : end;
}

static uint64_t number(const char *at, const char *end)
{
	uint64_t sum = 0;

	for (; at < end && *at >= '0' && *at <= '9'; at++)
		sum = sum * 10 + (uint64_t)(*at - '0');
	return sum;
}

static void parse_line(struct table *table, const char *at, const char *end)
{
	const char *begin[6], *stop[6];
	struct path *path;
	uint64_t us;

	for (int i = 0; i < 6; i++) {
		if (at >= end) {
			table->bad++;
			return;
		}
		begin[i] = at;
		stop[i] = word_end(at, end);
		at = stop[i] + 1;
	}
	path = table_path(table, begin[2], (uint64_t)(stop[2] - begin[2]));
	us = number(begin[5], stop[5]);
	path->count++;
	path->bytes += number(begin[4], stop[4]);
	if (us > path->slowest_us)
		path->slowest_us = us;
	table->lines++;
}

static void *parse_all(void *unused)
{
	struct chunk *chunk;

	(void)unused;
	while (!gyre_chan_recv(chunks, &chunk)) {
		struct table *table = table_new(SLOTS_FIRST);
		const char *at = chunk->data, *end = at + chunk->length, *line;

		for (; at < end; at = line + 1) {
			line = memchr(at, '\n', (size_t)(end - at));
			line = line ? line : end;
			parse_line(table, at, line);
		}
		gyre_pool_put(pool, chunk);
		gyre_chan_send(tables, &table);
	}
	gyre_wait_group_done(&parsing);
	return NULL;
}

/* ---- read ---- */

static void *make_chunk(void *unused)
{
	(void)unused;
	return malloc(sizeof(struct chunk));
}

static void drop_chunk(void *chunk, void *unused)
{
	(void)unused;
	free(chunk);
}

static struct chunk *chunk_new(void)
{
	struct chunk *chunk = gyre_pool_get(pool);

	if (!chunk)
		no_memory();
	chunk->length = 0;
	return chunk;
}

/* What stands behind a chunk's last line end begins the next one. */
static void *read_all(void *unused)
{
	struct chunk *chunk = chunk_new(), *next;
	ssize_t got;

	(void)unused;
	while ((got = read(file, chunk->data + chunk->length, CHUNK_BYTES - chunk->length)) > 0) {
		char *end;

		chunk->length += (size_t)got;
		if (chunk->length < CHUNK_BYTES)
			continue;
		end = memrchr(chunk->data, '\n', chunk->length);
		end = end ? end + 1 : chunk->data + chunk->length;
		next = chunk_new();
		next->length = (size_t)(chunk->data + chunk->length - end);
		memcpy(next->data, end, next->length);
		chunk->length -= next->length;
		gyre_chan_send(chunks, &chunk);
		chunk = next;
	}
	if (got < 0)
		perror("pipeline: read");
	gyre_chan_send(chunks, &chunk);
	gyre_chan_close(chunks);
	gyre_wait_group_wait(&parsing);
	gyre_chan_close(tables);
	return got < 0 ? &file : NULL;
}

/* ---- sum up ---- */

static void merge(struct table *all, const struct table *table)
{
	for (uint64_t i = 0; i <= table->mask; i++) {
		const struct path *from = table->slots[i];
		struct path *path;

		if (!from)
			continue;
		path = table_path(all, from->name, from->length);
		path->count += from->count;
		path->bytes += from->bytes;
		if (from->slowest_us > path->slowest_us)
			path->slowest_us = from->slowest_us;
	}
	all->lines += table->lines;
	all->bad += table->bad;
}

static bool is_before(const struct path *a, const struct path *b)
{
	size_t length = a->length < b->length ? a->length : b->length;
	int order = memcmp(a->name, b->name, length);

	if (a->count != b->count)
		return a->count > b->count;
	return order ? order < 0 : a->length < b->length;
}

static void print_top(const struct table *table)
{
	const struct path *top[TOP + 1] = {NULL};

	for (uint64_t i = 0; i <= table->mask; i++) {
		if (!table->slots[i])
			continue;
		top[TOP] = table->slots[i];
		for (int at = TOP; at > 0; at--) {
			const struct path *path = top[at];

			if (top[at - 1] && !is_before(path, top[at - 1]))
				break;
			top[at] = top[at - 1];
			top[at - 1] = path;
		}
	}
	printf("lines %" PRIu64 " bad %" PRIu64 " paths %" PRIu64 "\n", table->lines, table->bad,
	       table->count);
	for (int i = 0; i < TOP && top[i]; i++)
		printf("%.*s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", (int)top[i]->length,
		       top[i]->name, top[i]->count, top[i]->bytes, top[i]->slowest_us);
}

static int generate(uint64_t bytes)
{
	uint64_t random = 88172645463325252ull, written = 0;

	while (written < bytes) {
		uint64_t path;
		int length;

		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		path = random % 100 < 80 ? random / 100 % 20 : random / 100 % 3000;
		length = printf("2026-11-23T12:%02u:%02u %s /api/v1/item/%" PRIu64 " %u %" PRIu64
				" %" PRIu64 "\n",
				(unsigned)(random >> 20) % 60, (unsigned)(random >> 30) % 60,
				random & 1 ? "GET" : "POST", path, random % 50 ? 200 : 500,
				(random >> 24) % 20000, (random >> 40) % 100000);
		if (length < 0)
			return 1;
		written += (uint64_t)length;
	}
	return 0;
}

int main(int argc, char **argv)
{
	size_t parsers = argc > 2 ? strtoul(argv[2], NULL, 0) : 2;
	struct timespec begin, end;
	struct gyre_gc_stats gc;
	struct table *all, *table;
	pthread_t reader, thread;
	void *failed;

	if (argc == 3 && !strcmp(argv[1], "generate"))
		return generate(strtoull(argv[2], NULL, 0));
	file = argc > 1 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	if (file < 0 || parsers < 1 || parsers > 256) {
		fprintf(stderr, "usage: pipeline FILE [parsers], pipeline generate BYTES\n");
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	chunks = gyre_chan_new(sizeof(struct chunk *), 4, GYRE_PLAIN);
	tables = gyre_chan_new(sizeof(struct table *), 4, GYRE_TRACED);
	pool = gyre_pool_new(GYRE_PLAIN, make_chunk, drop_chunk, NULL);
	if (!chunks || !tables || !pool)
		no_memory();
	gyre_wait_group_add(&parsing, (int32_t)parsers);
	for (size_t i = 0; i < parsers; i++)
		if (pthread_create(&thread, NULL, parse_all, NULL) || pthread_detach(thread))
			no_memory();
	if (pthread_create(&reader, NULL, read_all, NULL))
		no_memory();
	all = table_new(SLOTS_FIRST);
	while (!gyre_chan_recv(tables, &table))
		merge(all, table);
	pthread_join(reader, &failed);
	clock_gettime(CLOCK_MONOTONIC, &end);
	print_top(all);
	gyre_gc_stats(&gc);
	fprintf(stderr, "%.3f s, %" PRIu64 " cycles, longest pause %" PRIu64 " us\n",
		(double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9,
		gc.cycles, gc.pause_max_ns / 1000);
	return failed ? 1 : 0;
}
