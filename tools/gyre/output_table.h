/* output_table.h - tables as text, in as many columns as a terminal has. For output.c alone. */
#ifndef GYRE_TOOLS_OUTPUT_TABLE_H
#define GYRE_TOOLS_OUTPUT_TABLE_H

#include <libsmartcols.h>

#include "output.h"

struct libscols_table *gy_table_new(void);
/* gy_table_print - on stdout.
 * @narrow  keys of columns, "key key", which a terminal that is too narrow does not get; or NULL
 * @indent  before each line */
void gy_table_print(struct libscols_table *table, const struct gy_out_column *columns, size_t count,
		    const char *narrow, const char *indent);

#endif
