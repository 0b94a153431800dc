/* trace_chrome.c - a recording in the Trace Event Format (JSON), for Perfetto and chrome://tracing.
 *
 *      process        counters: heap (allocated, idle, given back), the collector's (live, in use,
 *                     goal), what the recorded events add up to, events per millisecond
 *      collector      a track: each cycle, within it its phases and its pauses
 *      thread         a track for each: every batch as a slice from its first event to its last,
 *                     with how much of what; each large block as an instant
 *
 * Times are microseconds with three decimals, from the recording's begin. The format is described
 * in "Trace Event Format" (Google, 2016 on): B/E need not be used, X is begin and duration in one.
 *
 * TC-1  Slices of one track lie one within or behind the other: a phase is cut at its cycle's end,
 *       a batch begins where the one before it ended, at the earliest.
 * TC-2  At most POINTS points of a counter: more would be slower to load than to look at.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "trace.h"

#define POINTS 4000u
#define COLLECTOR_TRACK 1u /* as a thread id: no thread of another process has it */
#define LARGE_MOST 50000u  /* instants */

struct point {
	uint64_t allocs, frees, alloc_bytes, free_bytes, barriers;
};

struct chrome {
	struct gy_recording *recording;
	FILE *file;
	uint64_t begin_ns, step_ns, large;
	struct point *points;
	uint32_t pid;
	bool any;
};

static uint64_t since(const struct chrome *chrome, uint64_t ns)
{
	return ns > chrome->begin_ns ? ns - chrome->begin_ns : 0;
}

/* An event: its fixed members, then what the format adds. */
__attribute__((format(printf, 5, 6))) static void
put(struct chrome *chrome, const char *kind, uint32_t track, uint64_t ns, const char *format, ...)
{
	uint64_t offset = since(chrome, ns);
	va_list arguments;

	fprintf(chrome->file,
		"%s\n{\"ph\":\"%s\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32 ",\"ts\":%" PRIu64
		".%03u,",
		chrome->any ? "," : "", kind, chrome->pid, track, offset / 1000,
		(unsigned int)(offset % 1000));
	va_start(arguments, format);
	vfprintf(chrome->file, format, arguments);
	va_end(arguments);
	fputc('}', chrome->file);
	chrome->any = true;
}

static void put_name(struct chrome *chrome, const char *what, uint32_t track, const char *name)
{
	json_t *text = gy_out_json_text(name);
	char *dumped = json_dumps(text, JSON_ENCODE_ANY);

	put(chrome, "M", track, 0, "\"name\":\"%s\",\"args\":{\"name\":%s}", what,
	    dumped ? dumped : "\"\"");
	free(dumped);
	json_decref(text);
}

/* ---------------------------------------------------------------- counters */

static void heap_put(struct chrome *chrome)
{
	for (size_t i = 0; i < chrome->recording->heap_count; i++) {
		const struct gy_file_heap *heap = &chrome->recording->heaps[i];

		put(chrome, "C", 0, heap->ns,
		    "\"name\":\"heap bytes\",\"args\":{\"allocated\":%" PRIu64 ",\"idle\":%" PRIu64
		    ",\"given back\":%" PRIu64 "}",
		    heap->alloc_bytes, heap->idle_bytes, heap->released_bytes);
		if (heap->gc_goal_bytes)
			put(chrome, "C", 0, heap->ns,
			    "\"name\":\"collected heap bytes\",\"args\":{\"live\":%" PRIu64
			    ",\"in use\":%" PRIu64 ",\"goal\":%" PRIu64 "}",
			    heap->gc_live_bytes, heap->gc_inuse_bytes,
			    heap->gc_goal_bytes < UINT64_MAX / 8 ? heap->gc_goal_bytes : 0);
	}
}

static void points_put(struct chrome *chrome)
{
	uint64_t bytes = 0, freed = 0;

	for (size_t i = 0; i < POINTS; i++) {
		const struct point *point = &chrome->points[i];
		uint64_t ns = chrome->begin_ns + i * chrome->step_ns;
		double ms = (double)chrome->step_ns / 1e6;

		/* A step in which nothing happens needs a point only behind one in which it did. */
		if (i && !memcmp(point, &point[-1], sizeof(*point)) && !point->allocs &&
		    !point->frees)
			continue;
		bytes += point->alloc_bytes;
		freed += point->free_bytes;
		put(chrome, "C", 0, ns,
		    "\"name\":\"recorded bytes\",\"args\":{\"allocated minus freed\":%" PRId64 "}",
		    (int64_t)(bytes - freed));
		put(chrome, "C", 0, ns,
		    "\"name\":\"events per ms\",\"args\":{\"allocations\":%.1f,\"frees\":%.1f,"
		    "\"barrier\":%.1f}",
		    (double)point->allocs / ms, (double)point->frees / ms,
		    (double)point->barriers / ms);
	}
}

static int on_event(void *context, const struct gy_recorded_event *event)
{
	struct chrome *chrome = context;
	uint64_t step = since(chrome, event->ns) / chrome->step_ns;
	struct point *point = &chrome->points[step < POINTS ? step : POINTS - 1];
	bool alloc = event->operation == GYRE_RECORD_MALLOC || event->operation == GYRE_RECORD_NEW;

	if (alloc) {
		point->allocs++;
		point->alloc_bytes += event->bytes;
	} else if (event->operation == GYRE_RECORD_FREE) {
		point->frees++;
		point->free_bytes += event->bytes;
	} else if (event->operation == GYRE_RECORD_BARRIER) {
		point->barriers++;
	}
	if ((event->operation == GYRE_RECORD_MALLOC || event->operation == GYRE_RECORD_FREE) &&
	    !event->class_index && chrome->large++ < LARGE_MOST)
		put(chrome, "i", chrome->recording->threads[event->thread].thread, event->ns,
		    "\"s\":\"t\",\"name\":\"large %s\",\"args\":{\"bytes\":%" PRIu64
		    ",\"address\":\"0x%" PRIx64 "\"}",
		    gy_trace_operation(event->operation), event->bytes, event->address);
	return ferror(chrome->file) ? -EIO : 0;
}

/* ---------------------------------------------------------------- threads */

static void batches_put(struct chrome *chrome, const struct gy_recorded_thread *thread)
{
	static struct gyre_record records[GYRE_BATCH_RECORDS];
	uint64_t last_ns = 0;

	for (uint64_t i = thread->first_batch; i; i = chrome->recording->batches[i - 1].next) {
		uint32_t count = gy_recording_batch(chrome->recording, i - 1, records);
		struct point sum = {0};
		uint64_t from, to;

		if (!count)
			continue;
		for (uint32_t j = 0; j < count; j++) {
			uint64_t bytes = GYRE_RECORD_BYTES(records[j].bytes);
			uint32_t operation = GYRE_RECORD_OPERATION(records[j].where);

			if (operation == GYRE_RECORD_FREE)
				sum.frees++, sum.free_bytes += bytes;
			else if (operation == GYRE_RECORD_BARRIER)
				sum.barriers++;
			else
				sum.allocs++, sum.alloc_bytes += bytes;
		}
		from = gy_recording_ns(chrome->recording, records[0].ticks);
		to = gy_recording_ns(chrome->recording, records[count - 1].ticks);
		from = from > last_ns ? from : last_ns; /* TC-1 */
		to = to > from ? to : from;
		last_ns = to;
		put(chrome, "X", thread->thread, from,
		    "\"dur\":%" PRIu64 ".%03u,\"name\":\"%" PRIu32
		    " events\",\"args\":{\"allocations\":%" PRIu64 ",\"allocated\":%" PRIu64
		    ",\"frees\":%" PRIu64 ",\"freed\":%" PRIu64 ",\"barrier\":%" PRIu64 "}",
		    (to - from) / 1000, (unsigned int)((to - from) % 1000), count, sum.allocs,
		    sum.alloc_bytes, sum.frees, sum.free_bytes, sum.barriers);
	}
}

/* ---------------------------------------------------------------- the collector */

struct slice {
	uint64_t begin_ns; /* 0: none is open */
	const char *name;
};

static void slice_end(struct chrome *chrome, struct slice *slice, uint64_t ns, const char *kind,
		      uint64_t cycle)
{
	uint64_t length = ns > slice->begin_ns ? ns - slice->begin_ns : 0;

	if (slice->begin_ns)
		put(chrome, "X", COLLECTOR_TRACK, slice->begin_ns,
		    "\"dur\":%" PRIu64 ".%03u,\"cat\":\"%s\",\"name\":\"%s\","
		    "\"args\":{\"cycle\":%" PRIu64 "}",
		    length / 1000, (unsigned int)(length % 1000), kind, slice->name, cycle);
	slice->begin_ns = 0;
}

static const char *phase_name(uint64_t phase)
{
	static const char *const names[] = {"idle", "marking", "ending", "sweeping"};

	return phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "other";
}

/* The steps come in order; a phase ends where the next begins. A cycle's slice is its phases'. */
static void collector_put(struct chrome *chrome)
{
	struct slice phase = {0, ""}, pause = {0, ""};

	for (size_t i = 0; i < chrome->recording->probe_count; i++) {
		const struct gy_file_probe *probe = &chrome->recording->probes[i];
		const uint64_t *a = probe->arguments;

		if (!strcmp(probe->name, "gc_cycle_begin")) {
			slice_end(chrome, &phase, probe->ns, "phase", a[0]);
			phase = (struct slice){probe->ns, "prepare"};
		} else if (!strcmp(probe->name, "gc_pause_begin")) {
			slice_end(chrome, &phase, probe->ns, "phase", a[0]);
			pause = (struct slice){probe->ns, "pause"};
		} else if (!strcmp(probe->name, "gc_pause_end")) {
			slice_end(chrome, &pause, probe->ns, "pause", a[0]);
		} else if (!strcmp(probe->name, "gc_phase")) {
			slice_end(chrome, &phase, probe->ns, "phase", a[0]);
			if (a[1])
				phase = (struct slice){probe->ns, phase_name(a[1])};
		} else if (!strcmp(probe->name, "gc_cycle_end")) {
			put(chrome, "i", COLLECTOR_TRACK, probe->ns,
			    "\"s\":\"t\",\"name\":\"cycle %" PRIu64 "\",\"args\":{\"live\":%" PRIu64
			    ",\"marked\":%" PRIu64 ",\"pause_ns\":%" PRIu64 "}",
			    a[0], a[2], a[3], a[4]);
		}
	}
	slice_end(chrome, &pause, gy_recording_end_ns(chrome->recording), "pause", 0);
	slice_end(chrome, &phase, gy_recording_end_ns(chrome->recording), "phase", 0);
}

int gy_trace_chrome(struct gy_recording *recording, FILE *file)
{
	struct chrome chrome = {.recording = recording,
				.file = file,
				.begin_ns = gy_recording_begin_ns(recording),
				.pid = recording->process.pid ? recording->process.pid : 1};
	int error;

	chrome.step_ns = (gy_recording_end_ns(recording) - chrome.begin_ns) / POINTS + 1;
	chrome.points = calloc(POINTS, sizeof(*chrome.points));
	if (!chrome.points)
		return -ENOMEM;
	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", file);
	put_name(&chrome, "process_name", 0, recording->process.comm);
	if (recording->probe_count)
		put_name(&chrome, "thread_name", COLLECTOR_TRACK, "collector");
	for (size_t i = 0; i < recording->thread_count; i++)
		put_name(&chrome, "thread_name", recording->threads[i].thread,
			 recording->threads[i].name);
	error = gy_recording_each(recording, on_event, &chrome);
	heap_put(&chrome);
	points_put(&chrome);
	collector_put(&chrome);
	for (size_t i = 0; i < recording->thread_count; i++)
		batches_put(&chrome, &recording->threads[i]);
	fprintf(file,
		"\n],\"otherData\":{\"recorder\":\"gyre trace record\",\"records\":%" PRIu64
		",\"complete\":%s,\"begin_wall_ns\":\"%" PRId64 "\"}}\n",
		recording->records, recording->file.damage[0] ? "false" : "true",
		gy_recording_wall_ns(recording, chrome.begin_ns));
	free(chrome.points);
	return error;
}
