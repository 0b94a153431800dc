/* record_stacks.h - the stacks that a recording's events name, and the names of their functions.
 *
 * Events name a stack by its number in the process's table (stack_table.h). Each is written once,
 * before the batch that first names it is a quarter of a second old; its addresses are kept, and
 * turned into functions when the recording ends, so that no event waits for debug information.
 */
#ifndef GYRE_TOOLS_RECORD_STACKS_H
#define GYRE_TOOLS_RECORD_STACKS_H

#include "record_file.h"

struct gy_record_stacks;

/* gy_record_stacks_open - opens the process's files, while it is there. NULL: no memory. */
struct gy_record_stacks *gy_record_stacks_open(int pid);
void gy_record_stacks_close(struct gy_record_stacks *stacks);
/* The rest return 0 or the file's error. */
int gy_record_stacks_note(struct gy_record_stacks *stacks, struct gy_file_writer *file,
			  const struct gyre_record *records, uint32_t count);
int gy_record_stacks_flush(struct gy_record_stacks *stacks, struct gy_file_writer *file);
int gy_record_stacks_names(struct gy_record_stacks *stacks, struct gy_file_writer *file);

#endif
