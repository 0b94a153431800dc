/* trace_report.c - `gyre trace report`: what a recording holds.
 *
 *      (nothing)   an overview: how much of what, the collector, the largest classes and sites
 *      by class    each size class: allocated, freed, still there at the end
 *      by site     each stack, the same, and how long its blocks lived
 *      by thread   each thread, and what is missing of it
 *      by time     the recording in twenty parts
 *
 * One pass over the events, merged by time, fills all tables: which block an end belongs to is only
 * known in that order. "Still there" is what was allocated in the recording and not freed in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "output.h"
#include "trace.h"
#include "words.h"

#define PARTS 20
#define TOP 10

enum view { VIEW_SUMMARY, VIEW_CLASS, VIEW_SITE, VIEW_THREAD, VIEW_TIME };

struct sum {
	uint64_t allocs, alloc_bytes, frees, free_bytes;
	uint64_t live, live_bytes;
	uint64_t ends, lived_ns; /* of blocks whose birth was seen */
};

struct report {
	struct gy_recording recording;
	enum view view;
	uint64_t count; /* rows; 0: all */
	struct gy_trace_live *live;
	struct sum all, classes[256], parts[PARTS];
	struct sum *sites; /* by stack id */
	struct sum *threads;
	uint64_t operations[GYRE_RECORD_OPERATIONS], odd;
	uint64_t begin_ns, span_ns;
	size_t *order; /* of sites, classes or threads that have something */
	size_t order_count;
};

const char *gy_trace_operation(uint32_t operation)
{
	static const char *const names[] = {"none", "malloc", "free", "new", "barrier"};

	return operation < sizeof(names) / sizeof(names[0]) ? names[operation] : "unknown";
}

void gy_trace_damage_out(const struct gy_recording *recording)
{
	const struct gy_file_reader *file = &recording->file;

	if (gy_out_is_json()) {
		gy_out_bool("complete", NULL, !file->damage[0]);
		gy_out_u64("read_bytes", NULL, OUT_BYTES, file->offset);
		gy_out_u64("file_bytes", NULL, OUT_BYTES, file->file_bytes);
		if (file->damage[0])
			gy_out_text("damage", NULL, file->damage);
		else
			gy_out_null("damage", NULL, "");
		return;
	}
	if (file->damage[0])
		gy_out_line("Read up to where the recording is good, %s.", file->damage);
}

/* ---------------------------------------------------------------- adding up */

static void sum_alloc(struct sum *sum, uint64_t bytes)
{
	sum->allocs++;
	sum->alloc_bytes += bytes;
}

static void sum_free(struct sum *sum, uint64_t bytes)
{
	sum->frees++;
	sum->free_bytes += bytes;
}

static struct sum *site_of(struct report *report, uint32_t stack)
{
	return &report->sites[stack < report->recording.stack_count ? stack : 0];
}

static size_t part_of(const struct report *report, uint64_t ns)
{
	uint64_t offset = ns > report->begin_ns ? ns - report->begin_ns : 0;
	size_t part =
		report->span_ns ? (size_t)((double)offset / (double)report->span_ns * PARTS) : 0;

	return part < PARTS ? part : PARTS - 1;
}

static int on_alloc(struct report *report, const struct gy_recorded_event *event)
{
	struct gy_trace_block block = {event->address, event->bytes, event->ns, event->stack,
				       event->class_index};

	sum_alloc(&report->all, event->bytes);
	sum_alloc(&report->classes[event->class_index], event->bytes);
	sum_alloc(&report->parts[part_of(report, event->ns)], event->bytes);
	sum_alloc(&report->threads[event->thread], event->bytes);
	sum_alloc(site_of(report, event->stack), event->bytes);
	/* The collector's objects end in no event. */
	if (event->operation == GYRE_RECORD_MALLOC)
		return gy_trace_live_add(report->live, &block);
	return 0;
}

static void on_free(struct report *report, const struct gy_recorded_event *event)
{
	struct gy_trace_block block;
	struct sum *site;

	sum_free(&report->all, event->bytes);
	sum_free(&report->classes[event->class_index], event->bytes);
	sum_free(&report->parts[part_of(report, event->ns)], event->bytes);
	sum_free(&report->threads[event->thread], event->bytes);
	if (!gy_trace_live_end(report->live, event->address, &block))
		return;
	site = site_of(report, block.stack);
	sum_free(site, block.bytes);
	site->ends++;
	site->lived_ns += event->ns > block.ns ? event->ns - block.ns : 0;
	report->all.ends++;
	report->all.lived_ns += event->ns > block.ns ? event->ns - block.ns : 0;
}

static int on_event(void *context, const struct gy_recorded_event *event)
{
	struct report *report = context;

	if (event->operation >= GYRE_RECORD_OPERATIONS) {
		report->odd++;
		return 0;
	}
	report->operations[event->operation]++;
	switch (event->operation) {
	case GYRE_RECORD_MALLOC:
	case GYRE_RECORD_NEW:
		return on_alloc(report, event);
	case GYRE_RECORD_FREE:
		on_free(report, event);
		return 0;
	default:
		return 0;
	}
}

static void on_live(void *context, const struct gy_trace_block *block)
{
	struct report *report = context;
	struct sum *sums[] = {&report->all, &report->classes[block->class_index & 255],
			      site_of(report, block->stack)};

	for (size_t i = 0; i < 3; i++) {
		sums[i]->live++;
		sums[i]->live_bytes += block->bytes;
	}
}

static int add_up(struct report *report)
{
	struct gy_recording *recording = &report->recording;
	int error;

	report->begin_ns = gy_recording_begin_ns(recording);
	report->span_ns = gy_recording_end_ns(recording) - report->begin_ns;
	report->live = gy_trace_live_new();
	report->sites = calloc(recording->stack_count + 1, sizeof(*report->sites));
	report->threads = calloc(recording->thread_count + 1, sizeof(*report->threads));
	if (!report->live || !report->sites || !report->threads)
		return gy_out_error("no memory");
	error = gy_recording_each(recording, on_event, report);
	if (error)
		return gy_out_error("cannot read '%s': %s", recording->path, strerror(-error));
	gy_trace_live_each(report->live, on_live, report);
	return 0;
}

/* ---------------------------------------------------------------- order */

static const struct sum *sorted; /* qsort takes no context */

static int by_bytes(const void *left, const void *right)
{
	const struct sum *a = &sorted[*(const size_t *)left], *b = &sorted[*(const size_t *)right];

	if (a->alloc_bytes != b->alloc_bytes)
		return a->alloc_bytes > b->alloc_bytes ? -1 : 1;
	return *(const size_t *)left < *(const size_t *)right ? -1 : 1;
}

/* The sums that have something, the most allocated bytes first. False where memory lacks. */
static bool order_make(struct report *report, const struct sum *sums, size_t count, bool by_size)
{
	free(report->order);
	report->order = reallocarray(NULL, count + 1, sizeof(*report->order));
	report->order_count = 0;
	if (!report->order)
		return false;
	for (size_t i = 0; i < count; i++)
		if (sums[i].allocs || sums[i].frees)
			report->order[report->order_count++] = i;
	sorted = sums;
	if (by_size && report->order_count)
		qsort(report->order, report->order_count, sizeof(*report->order), by_bytes);
	if (report->count && report->order_count > report->count)
		report->order_count = report->count;
	return true;
}

/* ---------------------------------------------------------------- tables */

static void sum_out(const struct sum *sum)
{
	gy_out_u64("allocs", NULL, OUT_COUNT, sum->allocs);
	gy_out_u64("alloc_bytes", NULL, OUT_BYTES, sum->alloc_bytes);
	gy_out_u64("frees", NULL, OUT_COUNT, sum->frees);
	gy_out_u64("free_bytes", NULL, OUT_BYTES, sum->free_bytes);
}

static void live_out(const struct sum *sum)
{
	gy_out_u64("live", NULL, OUT_COUNT, sum->live);
	gy_out_u64("live_bytes", NULL, OUT_BYTES, sum->live_bytes);
}

#define SUM_COLUMNS                                                                                \
	{"allocs", "ALLOCS", OUT_COUNT}, {"alloc_bytes", "BYTES", OUT_BYTES},                      \
		{"frees", "FREES", OUT_COUNT},                                                     \
	{                                                                                          \
		"free_bytes", "BYTES", OUT_BYTES                                                   \
	}
#define LIVE_COLUMNS                                                                               \
	{"live", "LIVE", OUT_COUNT},                                                               \
	{                                                                                          \
		"live_bytes", "BYTES", OUT_BYTES                                                   \
	}
#define LIST(key, title, columns)                                                                  \
	gy_out_list(key, title, columns, sizeof(columns) / sizeof(*columns))

static int classes_out(struct report *report, const char *title)
{
	static const struct gy_out_column columns[] = {
		{"class", "CLASS", OUT_TEXT}, SUM_COLUMNS, LIVE_COLUMNS};

	if (!order_make(report, report->classes, 256, report->view == VIEW_SUMMARY))
		return gy_out_error("no memory");
	LIST("classes", title, columns);
	for (size_t i = 0; i < report->order_count; i++) {
		size_t number = report->order[i];
		char name[GY_OUT_TEXT];

		gy_out_row();
		if (gy_out_is_json()) {
			gy_out_u64("class", NULL, OUT_COUNT, number);
			gy_out_u64("object_bytes", NULL, OUT_BYTES,
				   report->recording.classes[number]);
		} else {
			gy_out_bytes(name, report->recording.classes[number]);
			gy_out_text("class", NULL, number ? name : "large, collected");
		}
		sum_out(&report->classes[number]);
		live_out(&report->classes[number]);
	}
	gy_out_list_end();
	return 0;
}

/* "f <- g <- h": down to main. */
static void stack_text(struct gy_recording *recording, uint32_t id, char *text, size_t bytes)
{
	const struct gy_recorded_stack *stack = gy_recording_stack(recording, id);
	size_t used = 0;

	snprintf(text, bytes, "%s", stack ? "" : "(no stack)");
	for (uint32_t i = 0; stack && i < stack->depth && used + 4 < bytes; i++) {
		const struct gy_symbol *symbol = gy_recording_find(recording, stack->frames[i]);
		char name[512] = "";

		for (size_t level = 0; level < symbol->level_count && used + 4 < bytes; level++) {
			gy_symbol_text(symbol, level, name, sizeof(name));
			used += (size_t)snprintf(text + used, bytes - used, "%s%s",
						 used ? " <- " : "", name);
		}
		if (!strcmp(name, "main") || !strcmp(name, "start_thread"))
			break;
	}
}

static json_t *stack_json(struct gy_recording *recording, uint32_t id)
{
	const struct gy_recorded_stack *stack = gy_recording_stack(recording, id);
	json_t *frames = json_array();

	for (uint32_t i = 0; stack && i < stack->depth; i++)
		json_array_append_new(
			frames, gy_symbols_json(gy_recording_find(recording, stack->frames[i])));
	return frames;
}

static int sites_out(struct report *report, const char *title)
{
	static const struct gy_out_column columns[] = {
		{"allocs", "ALLOCS", OUT_COUNT},       {"alloc_bytes", "BYTES", OUT_BYTES},
		{"frees", "FREES", OUT_COUNT},         LIVE_COLUMNS,
		{"mean_lifetime_ns", "LIVED", OUT_NS}, {"stack", "STACK", OUT_TEXT}};
	static char text[8192];

	if (!order_make(report, report->sites, report->recording.stack_count + 1, true))
		return gy_out_error("no memory");
	LIST("sites", title, columns);
	for (size_t i = 0; i < report->order_count; i++) {
		uint32_t id = (uint32_t)report->order[i];
		const struct sum *sum = &report->sites[id];

		gy_out_row();
		if (gy_out_is_json())
			gy_out_u64("stack_id", NULL, OUT_COUNT, id);
		sum_out(sum);
		live_out(sum);
		if (sum->ends)
			gy_out_u64("mean_lifetime_ns", NULL, OUT_NS, sum->lived_ns / sum->ends);
		else
			gy_out_null("mean_lifetime_ns", NULL, "-");
		if (gy_out_is_json()) {
			gy_out_json("stack", stack_json(&report->recording, id));
		} else {
			stack_text(&report->recording, id, text, sizeof(text));
			gy_out_text("stack", NULL, text);
		}
	}
	gy_out_list_end();
	return 0;
}

static int threads_out(struct report *report)
{
	static const struct gy_out_column columns[] = {{"thread", "THREAD", OUT_TEXT},
						       {"name", "NAME", OUT_TEXT},
						       {"events", "EVENTS", OUT_COUNT},
						       SUM_COLUMNS,
						       {"missing", "MISSING", OUT_COUNT}};

	LIST("threads", NULL, columns);
	for (size_t i = 0; i < report->recording.thread_count; i++) {
		const struct gy_recorded_thread *thread = &report->recording.threads[i];
		char number[16];

		if (report->count && i >= report->count)
			break;
		gy_out_row();
		if (gy_out_is_json()) {
			gy_out_u64("thread", NULL, OUT_COUNT, thread->thread);
		} else {
			snprintf(number, sizeof(number), "%" PRIu32, thread->thread);
			gy_out_text("thread", NULL, number);
		}
		gy_out_text("name", NULL, thread->name);
		gy_out_u64("events", NULL, OUT_COUNT, thread->records);
		sum_out(&report->threads[i]);
		gy_out_u64("missing", NULL, OUT_COUNT, thread->missing);
	}
	gy_out_list_end();
	return 0;
}

static int parts_out(struct report *report)
{
	static const struct gy_out_column columns[] = {
		{"begin_ns", "FROM", OUT_NS}, SUM_COLUMNS, {"net_bytes", "NET", OUT_TEXT}};

	LIST("parts", NULL, columns);
	for (size_t i = 0; i < PARTS; i++) {
		const struct sum *part = &report->parts[i];
		bool more = part->alloc_bytes >= part->free_bytes;
		uint64_t net = more ? part->alloc_bytes - part->free_bytes
				    : part->free_bytes - part->alloc_bytes;
		char size[GY_OUT_TEXT], text[GY_OUT_TEXT + 1];

		gy_out_row();
		gy_out_u64("begin_ns", NULL, OUT_NS, report->span_ns / PARTS * i);
		sum_out(part);
		snprintf(text, sizeof(text), "%s%s", more ? "+" : "-", gy_out_bytes(size, net));
		if (gy_out_is_json())
			gy_out_json("net_bytes",
				    json_integer(more ? (json_int_t)net : -(json_int_t)net));
		else
			gy_out_text("net_bytes", NULL, text);
	}
	gy_out_list_end();
	return 0;
}

/* ---------------------------------------------------------------- overview */

static void head_out(struct report *report)
{
	const struct gy_recording *recording = &report->recording;
	int64_t wall = gy_recording_wall_ns(recording, report->begin_ns);
	char span[GY_OUT_TEXT], when[48] = "";
	time_t seconds = (time_t)(wall / 1000000000);
	struct tm local;

	if (gy_out_is_json()) {
		gy_out_text("file", NULL, recording->path);
		gy_out_u64("pid", NULL, OUT_COUNT, recording->process.pid);
		gy_out_text("comm", NULL, recording->process.comm);
		gy_out_text("exe", NULL, recording->process.exe);
		gy_out_text("version", NULL, recording->process.version);
		gy_out_json("begin_wall_ns", json_integer(wall));
		gy_out_u64("duration_ns", NULL, OUT_NS, report->span_ns);
		gy_out_text("ended_by", NULL, gy_recording_reason(recording));
	} else {
		if (localtime_r(&seconds, &local))
			strftime(when, sizeof(when), "%F %T", &local);
		gy_out_line("%s (pid %" PRIu32 ") on Gyre %s, recorded at %s for %s; ended by: %s",
			    recording->process.comm, recording->process.pid,
			    recording->process.version, when, gy_out_ns(span, report->span_ns),
			    gy_recording_reason(recording));
	}
	gy_trace_damage_out(recording);
}

static void events_out(struct report *report)
{
	const struct gy_recording *recording = &report->recording;
	double seconds = (double)report->span_ns / 1e9;
	char rate[GY_OUT_TEXT];

	gy_out_begin("events", "Events");
	gy_out_u64("total", "all", OUT_COUNT, recording->records);
	gy_out_count(rate, seconds > 0 ? (uint64_t)((double)recording->records / seconds) : 0);
	gy_out_note("%s a second, %zu thread%s", rate, recording->thread_count,
		    recording->thread_count == 1 ? "" : "s");
	for (uint32_t i = GYRE_RECORD_MALLOC; i < GYRE_RECORD_OPERATIONS; i++)
		if (report->operations[i] || gy_out_is_json())
			gy_out_u64(gy_trace_operation(i), gy_trace_operation(i), OUT_COUNT,
				   report->operations[i]);
	if (report->odd || gy_out_is_json())
		gy_out_u64("unknown", "unknown", OUT_COUNT, report->odd + report->operations[0]);
	gy_out_u64("alloc_bytes", "allocated", OUT_BYTES, report->all.alloc_bytes);
	gy_out_u64("free_bytes", "freed", OUT_BYTES, report->all.free_bytes);
	gy_out_u64("live", "live", OUT_COUNT, report->all.live);
	gy_out_note("allocated in the recording, and not freed in it");
	gy_out_u64("live_bytes", "live bytes", OUT_BYTES, report->all.live_bytes);
	if (report->all.ends)
		gy_out_u64("mean_lifetime_ns", "mean lifetime", OUT_NS,
			   report->all.lived_ns / report->all.ends);
	else
		gy_out_null("mean_lifetime_ns", NULL, "");
	gy_out_end();
}

static void losses_out(struct report *report)
{
	const struct gy_file_loss *loss = &report->recording.loss;
	uint64_t missing = 0;

	for (size_t i = 0; i < report->recording.thread_count; i++)
		missing += report->recording.threads[i].missing;
	if (!gy_out_is_json() && !missing && !loss->ring_records && !loss->unread_records &&
	    !loss->dropped_records && !loss->probes) {
		gy_out_line("\nNothing was lost.");
		return;
	}
	gy_out_begin("lost", "Lost");
	gy_out_u64("ring", "no room in the ring", OUT_COUNT, loss->ring_records);
	gy_out_u64("unread", "could not be read", OUT_COUNT, loss->unread_records);
	gy_out_u64("library", "no room in the library", OUT_COUNT, loss->dropped_records);
	gy_out_u64("missing", "gaps in the recording", OUT_COUNT, missing);
	gy_out_note("by the numbers of the batches");
	gy_out_u64("probes", "steps of the collector", OUT_COUNT, loss->probes);
	gy_out_end();
}

static void collector_out(const struct gy_recording *recording)
{
	uint64_t cycles = 0, pause_most = 0, pause_sum = 0;

	for (size_t i = 0; i < recording->probe_count; i++) {
		const struct gy_file_probe *probe = &recording->probes[i];

		cycles += !strcmp(probe->name, "gc_cycle_end");
		if (!strcmp(probe->name, "gc_pause_end")) {
			pause_sum += probe->arguments[2];
			if (probe->arguments[2] > pause_most)
				pause_most = probe->arguments[2];
		}
	}
	if (!recording->probe_count && !gy_out_is_json())
		return;
	gy_out_begin("collector", "Collector");
	gy_out_u64("cycles", "cycles", OUT_COUNT, cycles);
	gy_out_u64("pause_max_ns", "longest pause", OUT_NS, pause_most);
	gy_out_u64("pause_total_ns", "all pauses", OUT_NS, pause_sum);
	gy_out_end();
}

static int summary_out(struct report *report)
{
	bool stacks = report->recording.file.header.flags & GY_FILE_STACKS_WANTED;
	int error;

	events_out(report);
	collector_out(&report->recording);
	report->count = report->count ? report->count : TOP;
	error = classes_out(report, "Size classes, the most bytes first");
	if (!error && (stacks || gy_out_is_json()))
		error = sites_out(report, "Sites, the most bytes first");
	if (!error)
		losses_out(report);
	return error;
}

static int out(struct report *report)
{
	int error = 0;

	gy_out_begin(NULL, NULL);
	head_out(report);
	switch (report->view) {
	case VIEW_SUMMARY:
		error = summary_out(report);
		break;
	case VIEW_CLASS:
		error = classes_out(report, NULL);
		break;
	case VIEW_SITE:
		error = sites_out(report, NULL);
		break;
	case VIEW_THREAD:
		error = threads_out(report);
		break;
	case VIEW_TIME:
		error = parts_out(report);
		break;
	}
	if (!error)
		gy_out_end();
	return error;
}

static int words_read(struct report *report, int argc, char **argv)
{
	static const char *const views[] = {"class", "site", "thread", "time"};
	int error = 0;

	while (argc && !error) {
		if (gy_word_is(*argv, "by") && argc > 1) {
			report->view = VIEW_SUMMARY;
			for (int i = 0; i < 4 && report->view == VIEW_SUMMARY; i++)
				if (gy_word_is(argv[1], views[i]))
					report->view = (enum view)(i + 1);
			if (report->view == VIEW_SUMMARY)
				error = gy_out_error("expected 'class', 'site', 'thread' or "
						     "'time', got: '%s'?",
						     argv[1]);
			argc -= 2, argv += 2;
		} else if (gy_word_is(*argv, "by")) {
			error = gy_out_error("'by' needs a value behind it");
		} else if (gy_word_is(*argv, "count")) {
			error = gy_words_u64(&argc, &argv, false, 1, UINT64_MAX, &report->count);
		} else {
			error = gy_out_error("expected 'by' or 'count', got: '%s'?", *argv);
		}
	}
	return error;
}

int gy_trace_report(int argc, char **argv)
{
	struct report *report = calloc(1, sizeof(*report));
	int error;

	if (!report)
		return gy_out_error("no memory");
	if (!argc)
		error = gy_out_error("a recording is missing: expected 'report FILE'");
	else
		error = words_read(report, argc - 1, argv + 1);
	if (!error && !gy_recording_open(&report->recording, argv[0])) {
		error = add_up(report);
		if (!error)
			error = out(report);
		gy_recording_close(&report->recording);
	} else {
		error = -1;
	}
	gy_trace_live_free(report->live);
	free(report->sites);
	free(report->threads);
	free(report->order);
	free(report);
	return error;
}
