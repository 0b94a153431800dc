/* type_table.h - barrier hits by the type of the object that the slot lies in: since the look
 * before, or in all.
 *
 * The library puts a type's number into each hit's record, the kernel counts by it as by a size
 * class, and the names are read from the process (trace/event_record.h).
 */
#ifndef GYRE_TOOLS_TYPE_TABLE_H
#define GYRE_TOOLS_TYPE_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "event_session.h"
#include "target.h"

struct gy_type_table;

/* gy_type_table_open - NULL with the error told.
 * @target    stays the caller's
 * @by_bytes  order by bytes of what was overwritten, not by hits */
struct gy_type_table *gy_type_table_open(struct gy_target *target, bool by_bytes);
void gy_type_table_close(struct gy_type_table *table);
/* gy_type_table_look - note what the kernel has counted by now, and types that have come. */
void gy_type_table_look(struct gy_type_table *table, const struct gy_event_session *session);
/* gy_type_table_text - at most `rows`, since the look before or in all. */
void gy_type_table_text(struct gy_type_table *table, size_t rows, bool all, double seconds);
json_t *gy_type_table_json(struct gy_type_table *table, size_t rows, bool all, double seconds);

#endif
