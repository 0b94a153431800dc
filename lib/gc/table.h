/* table.h - records of one kind that objects have outside the heap: handles, weak references, ends.
 *
 * Records lie in chunks that never move and are never unmapped, so a pointer to one may be given to
 * the program, and the collector walks them all without a lock while others take and give.
 *
 * TABLE-1  The first two words of a record are `object` and `next`: where `object` is 0, the record
 *          is free, or its user says otherwise; `next` belongs to the table while it is free.
 * TABLE-2  A record is taken zeroed. Who fills it in writes last, with release, what makes a
 *          visitor look at it.
 */
#ifndef GY_GC_TABLE_H
#define GY_GC_TABLE_H

#include "base/compiler.h"

#include <stdbool.h>

struct gy_table_record {
	void *object;
	struct gy_table_record *next;
};

struct gy_table_chunk;

struct gy_table {
	uint32_t record_bytes;		       /* [const] */
	uint32_t chunk_log2;		       /* [lock: finalise] size of the next chunk */
	struct gy_table_chunk *first;	       /* [atomic: release; lock: finalise] */
	struct gy_table_chunk *last;	       /* [lock: finalise] */
	struct gy_table_record *free_records;  /* [lock: finalise] */
	char *unused, *unused_end;	       /* [lock: finalise] the last chunk's rest */
	uint64_t count;			       /* [atomic; lock: finalise] taken, not given */
};

#define GY_TABLE_INIT(type) {.record_bytes = sizeof(type), .chunk_log2 = 10}

/* NULL where memory lacks. [lock: finalise] */
void *gy_table_take(struct gy_table *table);
/* [lock: finalise] */
void gy_table_give(struct gy_table *table, void *record);
/* Calls visit for each record there is, free ones too; no lock needed. */
void gy_table_each(struct gy_table *table, void (*visit)(void *record, void *argument),
		   void *argument);

#endif
