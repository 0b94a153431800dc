/* alloc_sampled.c - `gyre alloc trace ... sampled`: sampled and large allocations, live.
 *
 * Four eBPF programs (bpf/alloc.bpf.c) send one record an event; here each becomes a line (or two
 * dozen, with the whole stack) or a JSON object. The addresses of the stacks were taken in the
 * process; names are found here, once each.
 *
 * What is shown is exact for large blocks, and a sample for the rest: one event stands for as many
 * bytes as its weight says.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc_trace.h"
#include "events.h"
#include "alloc.skel.h"
#include "output.h"
#include "session.h"
#include "symbols.h"
#include "target.h"
#include "words.h"

struct trace {
	struct gy_target *target;
	struct gy_session session;
	struct gy_symbols *symbols;
	struct alloc_bpf *programs;
	/* filters */
	uint64_t duration_ns, count, min_bytes, depth;
	bool allocs, frees;
	enum gy_stack_form stack;
	/* so far */
	uint64_t events;
	struct {
		uint64_t events, bytes; /* by weight; large ones by size */
	} kinds[GYRE_EVENT_LARGE_FREE + 1];
	int64_t wall_offset_ns; /* CLOCK_REALTIME minus CLOCK_MONOTONIC */
	size_t columns;         /* width of the terminal; 0: none */
};

static const struct {
	const char *label, *probe;
} kinds[] = {
	[GYRE_EVENT_ALLOC] = {"alloc", "alloc_sample"},
	[GYRE_EVENT_FREE] = {"free", "free_sample"},
	[GYRE_EVENT_LARGE_ALLOC] = {"large alloc", "large_alloc"},
	[GYRE_EVENT_LARGE_FREE] = {"large free", "large_free"},
};

/* ---------------------------------------------------------------- events as text */

static void wall_text(const struct trace *trace, uint64_t time_ns, char text[32])
{
	int64_t wall_ns = (int64_t)time_ns + trace->wall_offset_ns;
	time_t seconds = (time_t)(wall_ns / 1000000000);
	struct tm local;

	localtime_r(&seconds, &local);
	snprintf(text, 32, "%02d:%02d:%02d.%03d", local.tm_hour, local.tm_min, local.tm_sec,
		 (int)(wall_ns / 1000000 % 1000));
}

/* A frame in few characters: its innermost function, or where in which file. */
static void frame_short(const struct gy_symbol *symbol, const struct gy_symbol_level *level,
			char *text, size_t bytes)
{
	if (level->function)
		snprintf(text, bytes, "%s", level->function);
	else if (symbol->module)
		snprintf(text, bytes, "%s+0x%" PRIx64, symbol->module, symbol->offset);
	else
		snprintf(text, bytes, "0x%" PRIx64, symbol->address);
}

struct line {
	char text[4096];
	size_t used;
};

static void line_add(struct line *line, const char *text)
{
	size_t length = strlen(text), room = sizeof(line->text) - 1 - line->used;

	length = length < room ? length : room;
	memcpy(line->text + line->used, text, length);
	line->used += length;
	line->text[line->used] = 0;
}

/* A compiler's copy of a function is that function: "lookup.constprop.0" is "lookup". */
static void clone_cut(char *name)
{
	static const char *const clones[] = {".constprop.", ".isra.", ".part.", ".cold"};

	for (size_t i = 0; i < sizeof(clones) / sizeof(clones[0]); i++) {
		char *clone = strstr(name, clones[i]);

		if (clone && clone != name)
			*clone = 0;
	}
}

/* "f <- g <- h", inlined functions included; cut where a terminal would wrap. */
static void stack_line(struct trace *trace, const struct gyre_event *event, struct line *line)
{
	char name[512];
	size_t cut;

	for (uint32_t i = 0; i < event->depth; i++) {
		const struct gy_symbol *symbol = gy_symbols_find(trace->symbols, event->frames[i]);

		for (size_t level = 0; level < symbol->level_count; level++) {
			frame_short(symbol, &symbol->levels[level], name, sizeof(name));
			clone_cut(name);
			if (i || level)
				line_add(line, " <- ");
			line_add(line, name);
		}
		/* Below these is only libc, the same in every line. */
		if (!strcmp(name, "main") || !strcmp(name, "start_thread"))
			break;
	}
	cut = gy_out_cut(line->text, line->used, trace->columns);
	if (cut < line->used) {
		line->used = cut;
		line->text[cut] = 0;
		line_add(line, "...");
	}
}

static void stack_full(struct trace *trace, const struct gyre_event *event)
{
	char name[512], where[512];
	size_t length;

	for (uint32_t i = 0; i < event->depth; i++) {
		const struct gy_symbol *symbol = gy_symbols_find(trace->symbols, event->frames[i]);

		for (size_t level = 0; level < symbol->level_count; level++) {
			const struct gy_symbol_level *here = &symbol->levels[level];

			frame_short(symbol, here, name, sizeof(name));
			length = strlen(name);
			if (here->function && !here->inlined && length < sizeof(name) - 24)
				snprintf(name + length, sizeof(name) - length, "+0x%" PRIx64,
					 symbol->offset);
			where[0] = 0;
			if (here->file)
				snprintf(where, sizeof(where), "%s:%d", here->file, here->line);
			else if (symbol->module)
				snprintf(where, sizeof(where), "[%s]", symbol->module);
			gy_out_line("\t%-36s  %s%s", name, where,
				    here->inlined ? " (inlined)" : "");
		}
	}
}

/* A large block comes without a stack; its address pairs its birth with its end. */
static void block_add(const struct gyre_event *event, struct line *line)
{
	char text[GY_OUT_TEXT];

	snprintf(text, sizeof(text), "block 0x%" PRIx64, (uint64_t)event->block);
	line_add(line, text);
}

static void event_text(struct trace *trace, const struct gyre_event *event)
{
	char wall[32], size[GY_OUT_TEXT], lived[GY_OUT_TEXT] = "";
	char comm[GYRE_EVENT_COMM + 1], head[192];
	struct line line = {.used = 0};

	snprintf(comm, sizeof(comm), "%.*s", GYRE_EVENT_COMM, event->comm);
	gy_out_clean(comm);
	wall_text(trace, event->time_ns, wall);
	if (event->kind == GYRE_EVENT_FREE)
		gy_out_ns(lived, event->lifetime_ns);
	gy_out_bytes(size, event->kind == GYRE_EVENT_LARGE_FREE ? event->block_bytes
								: event->requested_bytes);
	snprintf(head, sizeof(head), "%-12s  %7u  %-15s  %-11s  %10s  %7s  ", wall, event->tid,
		 comm, kinds[event->kind].label, size, lived);
	line_add(&line, head);
	if (trace->stack == GY_STACK_LINE && event->depth)
		stack_line(trace, event, &line);
	else if (event->kind == GYRE_EVENT_LARGE_ALLOC || event->kind == GYRE_EVENT_LARGE_FREE)
		block_add(event, &line);
	gy_out_line("%s", line.text);
	if (trace->stack == GY_STACK_FULL)
		stack_full(trace, event);
}

/* ---------------------------------------------------------------- events as JSON */

static void event_json(struct trace *trace, const struct gyre_event *event)
{
	json_t *object = gy_out_json_event(kinds[event->kind].probe, event->time_ns,
					   trace->wall_offset_ns);
	json_t *frames;
	char comm[GYRE_EVENT_COMM + 1];

	snprintf(comm, sizeof(comm), "%.*s", GYRE_EVENT_COMM, event->comm);
	json_object_set_new(object, "pid", json_integer(event->pid));
	json_object_set_new(object, "tid", json_integer(event->tid));
	json_object_set_new(object, "comm", gy_out_json_text(comm));
	json_object_set_new(object, "block", gy_out_json_address(event->block));
	if (event->kind != GYRE_EVENT_LARGE_FREE)
		json_object_set_new(object, "requested_bytes",
				    gy_out_json_u64(event->requested_bytes));
	json_object_set_new(object, "block_bytes", gy_out_json_u64(event->block_bytes));
	if (event->kind == GYRE_EVENT_ALLOC || event->kind == GYRE_EVENT_FREE)
		json_object_set_new(object, "weight_bytes", gy_out_json_u64(event->weight_bytes));
	if (event->kind == GYRE_EVENT_FREE)
		json_object_set_new(object, "lifetime_ns", gy_out_json_u64(event->lifetime_ns));
	if (trace->stack != GY_STACK_NONE &&
	    (event->kind == GYRE_EVENT_ALLOC || event->kind == GYRE_EVENT_FREE)) {
		frames = json_array();
		for (uint32_t i = 0; i < event->depth; i++)
			json_array_append_new(frames, gy_symbols_json(gy_symbols_find(
							      trace->symbols, event->frames[i])));
		json_object_set_new(object, "stack", frames);
	}
	gy_out_stream_event(object);
}

static int on_event(void *context, const void *data, size_t bytes)
{
	struct trace *trace = context;
	struct gyre_event event;

	/* The ring is our own programs', but a record of the wrong size is cheaply refused. */
	memset(&event, 0, sizeof(event));
	memcpy(&event, data, bytes < sizeof(event) ? bytes : sizeof(event));
	if (event.kind < GYRE_EVENT_ALLOC || event.kind > GYRE_EVENT_LARGE_FREE ||
	    event.depth > GYRE_EVENT_FRAMES)
		return 0;
	trace->events++;
	trace->kinds[event.kind].events++;
	trace->kinds[event.kind].bytes +=
		event.weight_bytes ? event.weight_bytes : event.block_bytes;
	if (gy_out_is_json())
		event_json(trace, &event);
	else
		event_text(trace, &event);
	return trace->count && trace->events >= trace->count;
}

/* ---------------------------------------------------------------- load, attach, sum up */

static int load(struct trace *trace, bool sleepable)
{
	struct alloc_bpf *programs = alloc_bpf__open();
	int error;

	if (!programs)
		return -errno;
	programs->rodata->gyre_min_bytes = trace->min_bytes;
	programs->rodata->gyre_depth = trace->stack == GY_STACK_NONE ? 0 : (uint32_t)trace->depth;
	programs->rodata->gyre_sleepable = sleepable;
	gy_session_pidns(&programs->rodata->gyre_pidns_device, &programs->rodata->gyre_pidns_inode);
	gy_session_prepare(programs->obj, sleepable);
	error = alloc_bpf__load(programs);
	if (error) {
		alloc_bpf__destroy(programs);
		return error;
	}
	trace->programs = programs;
	return 0;
}

static int attach_one(struct trace *trace, const struct bpf_program *program, const char *probe)
{
	return gy_session_attach(&trace->session, trace->programs->obj, program, probe, 0);
}

static int attach(struct trace *trace)
{
	struct alloc_bpf *programs = trace->programs;

	if (trace->frees && (attach_one(trace, programs->progs.gyre_free_sample, "free_sample") ||
			     attach_one(trace, programs->progs.gyre_large_free, "large_free")))
		return -1;
	if (trace->allocs &&
	    (attach_one(trace, programs->progs.gyre_large_alloc, "large_alloc") ||
	     attach_one(trace, programs->progs.gyre_alloc_sample, "alloc_sample")))
		return -1;
	return 0;
}

static void stream_begin(struct trace *trace)
{
	trace->wall_offset_ns = gy_wall_offset_ns();
	trace->columns = gy_out_columns();
	gy_out_begin(NULL, NULL);
	gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)trace->target->pid);
	gy_out_text("comm", NULL, trace->target->comm);
	gy_out_stream("events");
	gy_out_info("Tracing process %d (%s), Ctrl-C ends it", trace->target->pid,
		    trace->target->comm);
	gy_out_line("%-12s  %7s  %-15s  %-11s  %10s  %7s%s", "TIME", "TID", "COMM", "EVENT", "SIZE",
		    "LIVED", trace->stack == GY_STACK_LINE ? "  STACK" : "");
}

/* What the events add up to: samples by what they stand for, large blocks by what they are. */
static void totals_out(const struct trace *trace)
{
	char bytes[GY_OUT_TEXT];

	gy_out_begin("totals", NULL);
	for (int kind = GYRE_EVENT_ALLOC; kind <= GYRE_EVENT_LARGE_FREE; kind++) {
		bool sampled = kind == GYRE_EVENT_ALLOC || kind == GYRE_EVENT_FREE;

		if (gy_out_is_json()) {
			gy_out_begin(kinds[kind].probe, NULL);
			gy_out_u64("events", NULL, OUT_COUNT, trace->kinds[kind].events);
			gy_out_u64(sampled ? "weight_bytes" : "block_bytes", NULL, OUT_BYTES,
				   trace->kinds[kind].bytes);
			gy_out_end();
		} else if (trace->kinds[kind].events) {
			gy_out_u64("events", kinds[kind].label, OUT_COUNT,
				   trace->kinds[kind].events);
			gy_out_bytes(bytes, trace->kinds[kind].bytes);
			gy_out_note(sampled ? "sampled, standing for %s" : "in all %s", bytes);
		}
	}
	if (!gy_out_is_json())
		gy_out_end();
}

static void sum_up(struct trace *trace)
{
	uint64_t duration_ns = trace->session.end_ns - trace->session.start_ns;
	uint64_t lost = trace->programs->bss->gyre_lost, faults = trace->programs->bss->gyre_faults;
	char duration[GY_OUT_TEXT], events[GY_OUT_TEXT], lost_text[GY_OUT_TEXT];

	gy_out_stream_end();
	gy_out_u64("event_count", NULL, OUT_COUNT, trace->events);
	gy_out_u64("lost", NULL, OUT_COUNT, lost);
	gy_out_u64("unreadable_stacks", NULL, OUT_COUNT, faults);
	gy_out_u64("duration_ns", NULL, OUT_NS, duration_ns);
	gy_out_text("ended_by", NULL, gy_session_stop_name(&trace->session));
	gy_out_count(events, trace->events);
	gy_out_count(lost_text, lost);
	gy_out_ns(duration, duration_ns);
	gy_out_line("\n%s event%s in %s, %s lost%s%s", events, trace->events == 1 ? "" : "s",
		    duration, lost_text,
		    lost ? " (the reader was too slow: see min-bytes, stack none)" : "",
		    faults ? "; some stacks could not be read" : "");
	totals_out(trace);
	if (trace->session.stop == STOP_TARGET)
		gy_out_line("The process has ended.");
}

static int trace_run(struct trace *trace)
{
	int error = load(trace, true);

	if (error && error != -EPERM && error != -EACCES && error != -ENOSYS)
		error = load(trace, false);
	if (error)
		return gy_session_load_error(error);
	if (gy_session_begin(&trace->session, trace->target))
		return -1;
	if (trace->stack != GY_STACK_NONE)
		trace->symbols = gy_symbols_open(trace->target->pid);
	if (trace->stack != GY_STACK_NONE && !trace->symbols)
		return gy_out_error("no memory for symbols");
	if (attach(trace))
		return -1;
	stream_begin(trace);
	error = gy_session_run(&trace->session, bpf_map__fd(trace->programs->maps.gyre_ring),
			       trace->duration_ns, on_event, trace);
	if (!error)
		sum_up(trace);
	return error;
}

int gy_alloc_sampled(struct gy_target *target, const struct gy_alloc_trace *words)
{
	struct trace *trace = calloc(1, sizeof(*trace));
	int error;

	if (!trace)
		return gy_out_error("no memory");
	trace->target = target;
	trace->session.signal_fd = -1;
	trace->duration_ns = words->every.duration_ns;
	trace->count = words->every.count;
	trace->min_bytes = words->min_bytes;
	trace->depth = words->depth;
	trace->stack = words->stack;
	trace->allocs = words->allocs;
	trace->frees = words->frees;
	error = target->image_count
			? trace_run(trace)
			: gy_out_error("process %d (%s) runs on Gyre, but no file with its probes "
				       "can be read",
				       target->pid, target->comm);
	gy_session_end(&trace->session);
	if (trace->programs)
		alloc_bpf__destroy(trace->programs);
	gy_symbols_close(trace->symbols);
	free(trace);
	return error;
}
