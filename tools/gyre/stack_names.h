/* stack_names.h - the stacks of a process's event records, as people read them.
 *
 * A stack id is looked up in the process's stack table once (stack_table.h), its frames in the
 * symbols once each; the line that stands for it is kept.
 */
#ifndef GYRE_TOOLS_STACK_NAMES_H
#define GYRE_TOOLS_STACK_NAMES_H

#include <stdint.h>
#include <jansson.h>

#include "symbols.h"

struct gy_stack_names;

/* gy_stack_names_open - NULL with the error told. Files are opened now (SYM-2), the table when the
 * first stack is asked for, or by gy_stack_names_look. */
struct gy_stack_names *gy_stack_names_open(int pid);
void gy_stack_names_close(struct gy_stack_names *names);
/* gy_stack_names_look - open the table if there is one by now: a process that ends takes it along.
 */
void gy_stack_names_look(struct gy_stack_names *names);
/* gy_stack_names_line - "f <- g <- main", inlined functions included; valid until close. */
const char *gy_stack_names_line(struct gy_stack_names *names, uint32_t id);
/* gy_stack_names_json - an array of frames; a new reference. */
json_t *gy_stack_names_json(struct gy_stack_names *names, uint32_t id);
/* gy_stack_names_frames - the frames themselves; returns how many. */
uint32_t gy_stack_names_frames(struct gy_stack_names *names, uint32_t id,
			       const struct gy_symbol **frames);

#endif
