/* type_table.c - see type_table.h. */
#include "type_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "output.h"

#define TYPES GYRE_CELL_CLASSES

struct row {
	unsigned int type;
	struct gyre_cell cell;
};

struct gy_type_table {
	struct gy_target *target;
	bool by_bytes;
	unsigned int known; /* names that were read: types 1 to known */
	struct gyre_type_name names[GYRE_TYPE_OTHERS];
	struct gyre_cell now[TYPES], before[TYPES];
	struct row sorted[TYPES];
};

struct gy_type_table *gy_type_table_open(struct gy_target *target, bool by_bytes)
{
	struct gy_type_table *table = calloc(1, sizeof(*table));

	if (!table) {
		gy_out_error("no memory");
		return NULL;
	}
	table->target = target;
	table->by_bytes = by_bytes;
	return table;
}

void gy_type_table_close(struct gy_type_table *table)
{
	free(table);
}

/* Those that came since. What the process says is untrusted: counts are cut, text is cleaned. */
static void names_read(struct gy_type_table *table)
{
	struct gyre_control_events events;
	struct gy_snapshot snapshot;
	uint64_t count;

	if (gy_control_read(table->target->control, 0, &snapshot))
		return;
	events = snapshot.header.events;
	gy_snapshot_free(&snapshot);
	count = events.type_count < GYRE_TYPE_OTHERS ? events.type_count : GYRE_TYPE_OTHERS - 1;
	if (!events.type_names || count <= table->known ||
	    gy_memory_read(table->target->pid,
			   events.type_names + table->known * sizeof(table->names[0]),
			   &table->names[table->known],
			   (count - table->known) * sizeof(table->names[0])))
		return;
	for (; table->known < count; table->known++) {
		char *text = table->names[table->known].text;

		text[sizeof(table->names[0].text) - 1] = 0;
		gy_out_clean(text);
	}
}

static const char *type_name(const struct gy_type_table *table, unsigned int type)
{
	if (type == GYRE_TYPE_NONE)
		return "(no object)";
	if (type >= GYRE_TYPE_OTHERS)
		return "(other types)";
	return type <= table->known ? table->names[type - 1].text : "(unknown)";
}

void gy_type_table_look(struct gy_type_table *table, const struct gy_event_session *session)
{
	static struct gyre_cell cells[GYRE_CELL_OPERATIONS * GYRE_CELL_CLASSES];

	names_read(table);
	gy_event_classes(session, cells);
	memcpy(table->before, table->now, sizeof(table->before));
	memcpy(table->now, &cells[GYRE_RECORD_BARRIER * GYRE_CELL_CLASSES], sizeof(table->now));
}

static int more(uint64_t a, uint64_t b)
{
	return (a < b) - (a > b);
}

static int by_count(const void *a, const void *b)
{
	const struct row *one = a, *two = b;
	int order = more(one->cell.count, two->cell.count);

	return order ? order : more(two->type, one->type);
}

static int by_bytes(const void *a, const void *b)
{
	const struct row *one = a, *two = b;
	int order = more(one->cell.bytes, two->cell.bytes);

	return order ? order : by_count(a, b);
}

static size_t sort(struct gy_type_table *table, bool all, struct gyre_cell *sum)
{
	size_t count = 0;

	*sum = (struct gyre_cell){0};
	for (unsigned int i = 0; i < TYPES; i++) {
		struct gyre_cell cell = table->now[i];

		if (!all) {
			cell.count -= table->before[i].count;
			cell.bytes -= table->before[i].bytes;
		}
		if (!cell.count)
			continue;
		sum->count += cell.count;
		sum->bytes += cell.bytes;
		table->sorted[count++] = (struct row){i, cell};
	}
	qsort(table->sorted, count, sizeof(table->sorted[0]),
	      table->by_bytes ? by_bytes : by_count);
	return count;
}

/* The columns are those of a table of sites (site_table.c), which stands below. */
void gy_type_table_text(struct gy_type_table *table, size_t rows, bool all, double seconds)
{
	struct gyre_cell sum;
	size_t count = sort(table, all, &sum), columns = gy_out_columns();

	gy_out_line("%10s  %12s  %7s  %s", "BYTES/S", "HITS/S", "SHARE",
		    "SLOT IN AN OBJECT OF TYPE");
	for (size_t i = 0; i < count && i < rows; i++) {
		const struct row *row = &table->sorted[i];
		char bytes[GY_OUT_TEXT], hits[GY_OUT_TEXT], line[256];
		double whole = (double)(table->by_bytes ? sum.bytes : sum.count);
		double part = (double)(table->by_bytes ? row->cell.bytes : row->cell.count);

		snprintf(line, sizeof(line), "%10s  %12s  %5.1f %%  %s",
			 gy_out_bytes(bytes, (uint64_t)((double)row->cell.bytes / seconds)),
			 gy_out_count(hits, (uint64_t)((double)row->cell.count / seconds + 0.5)),
			 whole > 0 ? 100 * part / whole : 0, type_name(table, row->type));
		line[gy_out_cut(line, strlen(line), columns ? columns : sizeof(line))] = 0;
		gy_out_line("%s", line);
	}
	if (count > rows)
		gy_out_line("%10s  %12s  %7s  %zu more", "", "", "", count - rows);
}

json_t *gy_type_table_json(struct gy_type_table *table, size_t rows, bool all, double seconds)
{
	json_t *array = json_array();
	struct gyre_cell sum;
	size_t count = sort(table, all, &sum);

	for (size_t i = 0; i < count && i < rows; i++) {
		const struct row *row = &table->sorted[i];
		json_t *object = json_object();
		double per_s = (double)row->cell.count / seconds;

		json_object_set_new(object, "type",
				    row->type == GYRE_TYPE_NONE
					    ? json_null()
					    : gy_out_json_text(type_name(table, row->type)));
		json_object_set_new(object, "hits", gy_out_json_u64(row->cell.count));
		json_object_set_new(object, "overwritten_bytes", gy_out_json_u64(row->cell.bytes));
		json_object_set_new(object, "hits_per_s", gy_out_json_u64((uint64_t)per_s));
		json_array_append_new(array, object);
	}
	return array;
}
