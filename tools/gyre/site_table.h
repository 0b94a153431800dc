/* site_table.h - the stacks that do most, out of the kernel's counts: at a look, or in all.
 *
 * The kernel counts by stack id; two ids whose stacks read the same (calls from two lines of one
 * function) are one row of text, and two rows of JSON.
 */
#ifndef GYRE_TOOLS_SITE_TABLE_H
#define GYRE_TOOLS_SITE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "event_session.h"
#include "stack_names.h"

enum gy_site_order { SITES_BY_BYTES, SITES_BY_COUNT };

struct gy_site_table;

/* gy_site_table_open - NULL with the error told.
 * @operations  bits, as a filter's; 0: malloc and new */
struct gy_site_table *gy_site_table_open(size_t rows, uint32_t operations,
					 enum gy_site_order order);
void gy_site_table_close(struct gy_site_table *table);
/* gy_site_table_look - note what the kernel has counted by now. */
void gy_site_table_look(struct gy_site_table *table, const struct gy_event_session *session);
/* gy_site_table_sum - of all sites: since the look before, or in all. */
struct gyre_cell gy_site_table_sum(const struct gy_site_table *table, bool all);
void gy_site_table_text(struct gy_site_table *table, struct gy_stack_names *names, bool all,
			double seconds);
json_t *gy_site_table_json(struct gy_site_table *table, struct gy_stack_names *names, bool all,
			   double seconds);

#endif
