/* site_table.c - see site_table.h. */
#include "site_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "trace/event_record.h"

#define WIDE 120      /* columns from which the mean is shown */
#define MERGED_MAX 400 /* rows that are looked at for equal text */

struct row {
	uint32_t id;
	struct gyre_cell cell;
	const char *line;
};

struct gy_site_table {
	size_t rows;
	uint32_t operations;
	enum gy_site_order order;
	struct gyre_cell now[GYRE_SITES], before[GYRE_SITES];
	struct gyre_site sites[GYRE_SITES];
	struct row sorted[GYRE_SITES];
};

struct gy_site_table *gy_site_table_open(size_t rows, uint32_t operations,
					 enum gy_site_order order)
{
	struct gy_site_table *table = calloc(1, sizeof(*table));

	if (!table) {
		gy_out_error("no memory");
		return NULL;
	}
	table->rows = rows;
	table->operations =
		operations ? operations : 1u << GYRE_RECORD_MALLOC | 1u << GYRE_RECORD_NEW;
	table->order = order;
	return table;
}

void gy_site_table_close(struct gy_site_table *table)
{
	free(table);
}

void gy_site_table_look(struct gy_site_table *table, const struct gy_event_session *session)
{
	const struct gyre_site *sites = table->sites;

	gy_event_sites(session, table->sites);
	for (size_t i = 0; i < GYRE_SITES; i++) {
		struct gyre_cell sum = {0};

		for (uint32_t j = 0; j < 4; j++)
			if (table->operations >> (j + 1) & 1) {
				sum.count += sites[i].operations[j].count;
				sum.bytes += sites[i].operations[j].bytes;
			}
		table->before[i] = table->now[i];
		table->now[i] = sum;
	}
}

static struct gyre_cell cell_of(const struct gy_site_table *table, size_t id, bool all)
{
	struct gyre_cell cell = table->now[id];

	if (!all) {
		cell.count -= table->before[id].count;
		cell.bytes -= table->before[id].bytes;
	}
	return cell;
}

struct gyre_cell gy_site_table_sum(const struct gy_site_table *table, bool all)
{
	struct gyre_cell sum = {0};

	for (size_t i = 0; i < GYRE_SITES; i++) {
		struct gyre_cell cell = cell_of(table, i, all);

		sum.count += cell.count;
		sum.bytes += cell.bytes;
	}
	return sum;
}

static int more(uint64_t a, uint64_t b)
{
	return (a < b) - (a > b);
}

static int by_bytes(const void *a, const void *b)
{
	const struct row *one = a, *two = b;
	int order = more(one->cell.bytes, two->cell.bytes);

	return order ? order : more(one->cell.count, two->cell.count);
}

static int by_count(const void *a, const void *b)
{
	const struct row *one = a, *two = b;
	int order = more(one->cell.count, two->cell.count);

	return order ? order : more(one->cell.bytes, two->cell.bytes);
}

static size_t sort(struct gy_site_table *table, bool all)
{
	size_t count = 0;

	for (uint32_t i = 0; i < GYRE_SITES; i++) {
		struct gyre_cell cell = cell_of(table, i, all);

		if (cell.count)
			table->sorted[count++] = (struct row){.id = i, .cell = cell};
	}
	qsort(table->sorted, count, sizeof(table->sorted[0]),
	      table->order == SITES_BY_BYTES ? by_bytes : by_count);
	return count;
}

/* Rows of one text become one. The lines of what a table of any length shows are all among the
 * first few hundred. */
static size_t merge(struct gy_site_table *table, struct gy_stack_names *names, size_t count)
{
	struct row *rows = table->sorted;
	size_t kept = 0;

	count = count < MERGED_MAX ? count : MERGED_MAX;
	for (size_t i = 0; i < count; i++) {
		const char *line = gy_stack_names_line(names, rows[i].id);
		size_t same = 0;

		while (same < kept && strcmp(rows[same].line, line))
			same++;
		if (same < kept) {
			rows[same].cell.count += rows[i].cell.count;
			rows[same].cell.bytes += rows[i].cell.bytes;
			continue;
		}
		rows[kept] = rows[i];
		rows[kept++].line = line;
	}
	qsort(rows, kept, sizeof(rows[0]), table->order == SITES_BY_BYTES ? by_bytes : by_count);
	return kept;
}

static void row_text(const struct row *row, double whole, double part, double seconds,
		     size_t columns)
{
	char bytes[GY_OUT_TEXT], count[GY_OUT_TEXT], mean[GY_OUT_TEXT], line[2048];
	size_t length, cut;
	int used;

	gy_out_bytes(bytes, (uint64_t)((double)row->cell.bytes / seconds));
	gy_out_count(count, (uint64_t)((double)row->cell.count / seconds + 0.5));
	gy_out_bytes(mean, row->cell.bytes / row->cell.count);
	used = snprintf(line, sizeof(line), "%10s  %12s  %5.1f %%  ", bytes, count,
			whole > 0 ? 100 * part / whole : 0);
	if (columns >= WIDE)
		used += snprintf(line + used, sizeof(line) - (size_t)used, "%9s  ", mean);
	snprintf(line + used, sizeof(line) - (size_t)used, "%s", row->line);
	length = strlen(line);
	cut = gy_out_cut(line, length, columns);
	if (cut < length)
		memcpy(line + cut, "...", 4);
	gy_out_line("%s", line);
}

void gy_site_table_text(struct gy_site_table *table, struct gy_stack_names *names, bool all,
			double seconds)
{
	struct gyre_cell sum = gy_site_table_sum(table, all);
	size_t count = merge(table, names, sort(table, all)), columns = gy_out_columns();
	bool by_size = table->order == SITES_BY_BYTES;

	columns = columns ? columns : 1000; /* pipes get whole lines */
	gy_out_line("%10s  %12s  %7s  %s%s", "BYTES/S", "EVENTS/S", "SHARE",
		    columns >= WIDE ? "     MEAN  " : "", "STACK");
	for (size_t i = 0; i < count && i < table->rows; i++) {
		const struct row *row = &table->sorted[i];

		row_text(row, (double)(by_size ? sum.bytes : sum.count),
			 (double)(by_size ? row->cell.bytes : row->cell.count), seconds, columns);
	}
	if (count > table->rows)
		gy_out_line("%10s  %12s  %7s  %zu more", "", "", "", count - table->rows);
}

json_t *gy_site_table_json(struct gy_site_table *table, struct gy_stack_names *names, bool all,
			   double seconds)
{
	json_t *array = json_array();
	size_t count = sort(table, all);

	for (size_t i = 0; i < count && i < table->rows; i++) {
		const struct row *row = &table->sorted[i];
		json_t *object = json_object();

		json_object_set_new(object, "stack_id", json_integer(row->id));
		json_object_set_new(object, "count", gy_out_json_u64(row->cell.count));
		json_object_set_new(object, "bytes", gy_out_json_u64(row->cell.bytes));
		json_object_set_new(object, "count_per_s",
				    gy_out_json_u64((uint64_t)((double)row->cell.count / seconds)));
		json_object_set_new(object, "bytes_per_s",
				    gy_out_json_u64((uint64_t)((double)row->cell.bytes / seconds)));
		json_object_set_new(object, "stack", gy_stack_names_json(names, row->id));
		json_array_append_new(array, object);
	}
	return array;
}
