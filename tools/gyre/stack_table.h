/* stack_table.h - the stacks that a process's event records name by number.
 *
 * The table (trace/event_record.h) is a memfd that the process makes when stacks are first asked
 * for. An entry never changes once it has a depth (EVENT-5), so entries are read when their number
 * is met, also after the process has ended, as long as the table was opened before.
 *
 * STT-1  Untrusted: sizes and counts are checked, a depth is cut, bytes are copied out by pread,
 *        never mapped.
 */
#ifndef GYRE_TOOLS_STACK_TABLE_H
#define GYRE_TOOLS_STACK_TABLE_H

#include <stdint.h>

#include "trace/event_record.h"

struct gy_stack_table;

/* gy_stack_table_open - NULL with *error: -ENOENT there is none, -EBADMSG it makes no sense. */
struct gy_stack_table *gy_stack_table_open(int pid, int *error);
void gy_stack_table_close(struct gy_stack_table *table);
/* gy_stack_table_read - the frames of an id, the operation's caller first; returns how many, 0 for
 * id 0 and for what is not there. */
uint32_t gy_stack_table_read(const struct gy_stack_table *table, uint32_t id,
			     uint64_t frames[GYRE_STACK_FRAMES]);

#endif
