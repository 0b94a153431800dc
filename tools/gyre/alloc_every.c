/* alloc_every.c - `gyre alloc trace ... every`: each allocation, free and barrier hit, live.
 *
 * Batches come with some hundreds of records of one thread (event_session.h); here each record
 * becomes a line or a JSON object, in order for each thread, the threads by turns. A line costs
 * this command about a microsecond, a record in the process a hundredth of that: who allocates
 * faster than lines can be written gets filters, `sum`, or losses that are counted.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc_trace.h"
#include "event_session.h"
#include "output.h"
#include "stack_names.h"

#define NARROW 120 /* columns */

struct every {
	struct gy_target *target;
	struct gy_event_session *session;
	struct gy_stack_names *names;
	enum gy_stack_form stack;
	uint64_t count, depth, events;
	bool sum, narrow; /* narrow: the stack gets the room of name and address */
	int64_t wall_offset_ns; /* CLOCK_REALTIME minus CLOCK_MONOTONIC */
	size_t columns;
	uint32_t class_bytes[GYRE_CELL_CLASSES];
	struct gyre_cell cells[GYRE_CELL_OPERATIONS][GYRE_CELL_CLASSES];
};

/* ---------------------------------------------------------------- one event */

static void wall_text(const struct every *every, uint64_t time_ns, char text[32])
{
	int64_t wall_ns = (int64_t)time_ns + every->wall_offset_ns;
	time_t seconds = (time_t)(wall_ns / 1000000000);
	struct tm local;

	localtime_r(&seconds, &local);
	snprintf(text, 32, "%02d:%02d:%02d.%06d", local.tm_hour, local.tm_min, local.tm_sec,
		 (int)(wall_ns / 1000 % 1000000));
}

static void stack_full(struct every *every, uint32_t id)
{
	const struct gy_symbol *frames[GYRE_STACK_FRAMES];
	uint32_t depth = gy_stack_names_frames(every->names, id, frames);
	char name[512], where[512];

	for (uint32_t i = 0; i < depth && i < every->depth; i++)
		for (size_t level = 0; level < frames[i]->level_count; level++) {
			const struct gy_symbol_level *here = &frames[i]->levels[level];

			gy_symbol_text(frames[i], level, name, sizeof(name));
			where[0] = 0;
			if (here->file)
				snprintf(where, sizeof(where), "%s:%d", here->file, here->line);
			else if (frames[i]->module)
				snprintf(where, sizeof(where), "[%s]", frames[i]->module);
			gy_out_line("\t%-36s  %s%s", name, where,
				    here->inlined ? " (inlined)" : "");
		}
}

static void event_text(struct every *every, const struct gyre_record *record, uint64_t time_ns,
		       uint32_t thread, const char *comm)
{
	uint32_t operation = GYRE_RECORD_OPERATION(record->where);
	char wall[32], size[GY_OUT_TEXT], line[2048];
	const char *name = gy_event_operation_name(operation);
	int used;

	wall_text(every, time_ns, wall);
	gy_out_bytes(size, GYRE_RECORD_BYTES(record->bytes));
	if (every->narrow)
		used = snprintf(line, sizeof(line), "%-15s  %7u  %-7s  %10s", wall, thread, name,
				size);
	else
		used = snprintf(line, sizeof(line),
				"%-15s  %7u  %-15.15s  %-7s  %10s  0x%012" PRIx64, wall,
				thread, comm, name, size,
				(uint64_t)GYRE_RECORD_ADDRESS(record->where));
	if (every->stack == GY_STACK_LINE) {
		size_t cut, length;

		snprintf(line + used, sizeof(line) - (size_t)used, "  %s",
			 gy_stack_names_line(every->names, record->stack));
		length = strlen(line);
		cut = gy_out_cut(line, length, every->columns);
		if (cut < length)
			memcpy(line + cut, "...", 4);
	}
	gy_out_line("%s", line);
	if (every->stack == GY_STACK_FULL)
		stack_full(every, record->stack);
}

static void event_json(struct every *every, const struct gyre_record *record, uint64_t time_ns,
		       uint32_t thread, const char *comm)
{
	uint32_t operation = GYRE_RECORD_OPERATION(record->where);
	uint32_t class_number = GYRE_RECORD_CLASS(record->where);
	json_t *object = gy_out_json_event(gy_event_operation_name(operation), time_ns,
					   every->wall_offset_ns);

	json_object_set_new(object, "tid", json_integer(thread));
	json_object_set_new(object, "comm", gy_out_json_text(comm));
	json_object_set_new(object, operation == GYRE_RECORD_BARRIER ? "slot" : "block",
			    gy_out_json_address(GYRE_RECORD_ADDRESS(record->where)));
	json_object_set_new(object, "bytes", gy_out_json_u64(GYRE_RECORD_BYTES(record->bytes)));
	if (operation == GYRE_RECORD_MALLOC || operation == GYRE_RECORD_FREE)
		json_object_set_new(object, "class_bytes",
				    json_integer(every->class_bytes[class_number]));
	if (every->stack != GY_STACK_NONE) {
		json_object_set_new(object, "stack_id", json_integer(record->stack));
		json_object_set_new(object, "stack",
				    gy_stack_names_json(every->names, record->stack));
	}
	gy_out_stream_event(object);
}

static int on_batch(void *context, const struct gyre_batch *batch,
		    const struct gyre_record *records)
{
	struct every *every = context;
	const char *comm = "";
	uint32_t thread = every->sum ? 0 : gy_event_thread(every->session, batch, &comm);

	for (uint32_t i = 0; i < batch->count; i++) {
		const struct gyre_record *record = &records[i];
		uint32_t operation = GYRE_RECORD_OPERATION(record->where);
		struct gyre_cell *cell = &every->cells[operation & (GYRE_CELL_OPERATIONS - 1)]
						      [GYRE_RECORD_CLASS(record->where)];

		every->events++;
		cell->count++;
		cell->bytes += GYRE_RECORD_BYTES(record->bytes);
		if (!every->sum) {
			uint64_t time_ns =
				gy_event_ns(every->session, batch->target, record->ticks);

			(gy_out_is_json() ? event_json : event_text)(every, record, time_ns, thread,
								     comm);
		}
		if (every->count && every->events >= every->count)
			return 1;
	}
	return 0;
}

/* ---------------------------------------------------------------- begin, sum up */

static int on_begin(void *context)
{
	struct every *every = context;

	every->wall_offset_ns = gy_wall_offset_ns();
	every->columns = gy_out_columns();
	every->narrow = every->stack == GY_STACK_LINE && every->columns && every->columns < NARROW;
	if (every->names)
		gy_stack_names_look(every->names);
	gy_out_begin(NULL, NULL);
	gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)every->target->pid);
	gy_out_text("comm", NULL, every->target->comm);
	gy_out_stream("events");
	gy_out_info("Tracing every event of process %d (%s), Ctrl-C ends it", every->target->pid,
		    every->target->comm);
	if (every->narrow && !every->sum)
		gy_out_line("%-15s  %7s  %-7s  %10s  STACK", "TIME", "TID", "EVENT", "SIZE");
	else if (!every->sum)
		gy_out_line("%-15s  %7s  %-15s  %-7s  %10s  %-14s%s", "TIME", "TID", "COMM",
			    "EVENT", "SIZE", "ADDRESS",
			    every->stack == GY_STACK_LINE ? "  STACK" : "");
	return 0;
}

static struct gyre_cell row_sum(const struct every *every, uint32_t operation)
{
	struct gyre_cell sum = {0};

	for (size_t i = 0; i < GYRE_CELL_CLASSES; i++) {
		sum.count += every->cells[operation][i].count;
		sum.bytes += every->cells[operation][i].bytes;
	}
	return sum;
}

static void totals_out(const struct every *every)
{
	char bytes[GY_OUT_TEXT];

	gy_out_begin("totals", NULL);
	for (uint32_t i = GYRE_RECORD_MALLOC; i < GYRE_RECORD_OPERATIONS; i++) {
		struct gyre_cell sum = row_sum(every, i);
		const char *name = gy_event_operation_name(i);

		if (gy_out_is_json()) {
			gy_out_begin(name, NULL);
			gy_out_u64("events", NULL, OUT_COUNT, sum.count);
			gy_out_u64("bytes", NULL, OUT_BYTES, sum.bytes);
			gy_out_end();
		} else if (sum.count) {
			gy_out_u64("events", name, OUT_COUNT, sum.count);
			gy_out_note("in all %s", gy_out_bytes(bytes, sum.bytes));
		}
	}
	gy_out_end();
}

static const struct gy_out_column class_columns[] = {
	{"class_bytes", "CLASS", OUT_BYTES},
	{"mallocs", "MALLOCS", OUT_COUNT},
	{"malloc_bytes", "BYTES", OUT_BYTES},
	{"frees", "FREES", OUT_COUNT},
};

/* By class: what was shipped, to be compared with the library's own counts. */
static void classes_out(const struct every *every)
{
	gy_out_list("classes", "By class", class_columns, 4);
	for (uint32_t i = 0; i < GYRE_CELL_CLASSES; i++) {
		const struct gyre_cell *mallocs = &every->cells[GYRE_RECORD_MALLOC][i];
		const struct gyre_cell *frees = &every->cells[GYRE_RECORD_FREE][i];

		if (!mallocs->count && !frees->count)
			continue;
		gy_out_row();
		if (i || gy_out_is_json())
			gy_out_u64("class_bytes", NULL, OUT_BYTES, every->class_bytes[i]);
		else
			gy_out_text("class_bytes", NULL, "large");
		gy_out_u64("mallocs", NULL, OUT_COUNT, mallocs->count);
		gy_out_u64("malloc_bytes", NULL, OUT_BYTES, mallocs->bytes);
		gy_out_u64("frees", NULL, OUT_COUNT, frees->count);
	}
	gy_out_list_end();
}

static void sum_up(struct every *every)
{
	uint64_t duration_ns =
		gy_event_end_ns(every->session) - gy_event_start_ns(every->session);
	char duration[GY_OUT_TEXT], events[GY_OUT_TEXT], lost[GY_OUT_TEXT];
	struct gy_event_books books;

	gy_event_books(every->session, &books);
	gy_out_stream_end();
	gy_out_u64("event_count", NULL, OUT_COUNT, every->events);
	gy_out_u64("duration_ns", NULL, OUT_NS, duration_ns);
	gy_out_text("ended_by", NULL, gy_event_stop_name(every->session));
	gy_out_line("\n%s event%s in %s, %s lost", gy_out_count(events, every->events),
		    every->events == 1 ? "" : "s", gy_out_ns(duration, duration_ns),
		    gy_out_count(lost, gy_event_lost(&books)));
	gy_event_books_out(every->session);
	totals_out(every);
	if (every->sum || gy_out_is_json())
		classes_out(every);
	if (gy_event_stop(every->session) == STOP_TARGET)
		gy_out_line("The process has ended.");
	gy_out_end();
}

int gy_alloc_every(struct gy_target *target, const struct gy_alloc_trace *words)
{
	struct every *every = calloc(1, sizeof(*every));
	struct gy_event_words filter = words->every;
	struct gy_event_plan plan = {.ship = true, .context = every};
	int error;

	if (!every)
		return gy_out_error("no memory");
	every->target = target;
	every->stack = words->stack;
	every->depth = words->depth;
	every->count = filter.count;
	every->sum = words->sum;
	error = gy_event_words_target(target);
	if (!error)
		error = gy_event_words_end(&filter, target);
	if (!error)
		error = gy_event_class_bytes(target, every->class_bytes);
	if (!error && every->stack != GY_STACK_NONE) {
		every->names = gy_stack_names_open(target->pid);
		error = every->names ? 0 : -1;
	}
	if (!error) {
		gy_event_words_plan(&filter, &plan);
		plan.stacks = every->stack != GY_STACK_NONE;
		plan.shared_clock = words->clock ? words->clock == GY_CLOCK_SHARED : words->sum;
		plan.begin = on_begin;
		plan.batch = on_batch;
		every->session = gy_event_session_open(target, 1, &plan);
		error = every->session ? gy_event_session_run(every->session) : -1;
	}
	if (!error)
		sum_up(every);
	gy_event_session_close(every->session);
	gy_stack_names_close(every->names);
	free(every);
	return error;
}
