/* table.c - see table.h.
 *
 * A chunk is a block of metadata memory, at first 1 KiB, each twice as large as the one before, up
 * to 64 KiB: a program with three handles pays for three. A visitor finds a new chunk by a pointer
 * that is stored, with release, after the chunk was zeroed.
 */
#include "gc/table.h"

#include "heap/metadata.h"

#include <string.h>

#define CHUNK_LOG2_MAX 16u

struct gy_table_chunk {
	struct gy_table_chunk *next; /* [atomic: release in grow, acquire in gy_table_each] */
	size_t bytes;
	char records[];
};

static bool grow(struct gy_table *table)
{
	size_t bytes = (size_t)1 << table->chunk_log2;
	struct gy_table_chunk *chunk = gy_metadata_block_take(table->chunk_log2);
	struct gy_table_chunk **link = table->last ? &table->last->next : &table->first;

	if (!chunk)
		return false;
	memset(chunk, 0, bytes);
	chunk->bytes = (bytes - sizeof(*chunk)) / table->record_bytes * table->record_bytes;
	__atomic_store_n(link, chunk, __ATOMIC_RELEASE);
	table->last = chunk;
	table->unused = chunk->records;
	table->unused_end = chunk->records + chunk->bytes;
	table->chunk_log2 = MIN(table->chunk_log2 + 1, CHUNK_LOG2_MAX);
	return true;
}

void *gy_table_take(struct gy_table *table)
{
	struct gy_table_record *record = table->free_records;

	if (record) {
		table->free_records = record->next;
		WRITE_RELAXED(record->next, NULL);
	} else {
		if (table->unused == table->unused_end && !grow(table))
			return NULL;
		record = (struct gy_table_record *)(void *)table->unused;
		table->unused += table->record_bytes;
	}
	WRITE_RELAXED(table->count, table->count + 1);
	return record;
}

void gy_table_give(struct gy_table *table, void *given)
{
	struct gy_table_record *record = given;

	/* Word by word: a visitor may look. */
	for (size_t i = 0; i < table->record_bytes / sizeof(uintptr_t); i++)
		WRITE_RELAXED(((uintptr_t *)given)[i], 0);
	WRITE_RELAXED(record->next, table->free_records);
	table->free_records = record;
	WRITE_RELAXED(table->count, table->count - 1);
}

void gy_table_each(struct gy_table *table, void (*visit)(void *record, void *argument),
		   void *argument)
{
	struct gy_table_chunk *chunk = __atomic_load_n(&table->first, __ATOMIC_ACQUIRE);

	for (; chunk; chunk = __atomic_load_n(&chunk->next, __ATOMIC_ACQUIRE))
		for (char *at = chunk->records; at < chunk->records + chunk->bytes;
		     at += table->record_bytes)
			visit(at, argument);
}
