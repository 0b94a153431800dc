/* trace_record.c - `gyre trace record`: every event of a process into a file (record_file.h).
 *
 *      begin   header, process, classes, mappings; the collector's probes, if it is used
 *      batch   the thread's name if it is new, the batch, the stacks that it names first
 *      tick    stacks, collector's steps, clock, heap, losses; then all to the disk (FILE-4)
 *      end     names for the stacks' addresses, the last numbers, index, END
 *
 * REC-3  What is written is never waited for, but for room: with every buffer on its way to a slow
 *        disk, the ring fills, and what it then loses is counted.
 * REC-4  A full disk ends the recording with an error; what was written before is whole. A signal,
 *        the end of the process, the duration and the size limit end it in order.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control.h"
#include "event_session.h"
#include "notes.h"
#include "output.h"
#include "probe.skel.h"
#include "record_sink.h"
#include "record_stacks.h"
#include "snapshot.h"
#include "trace.h"
#include "words.h"

#define TICK_NS 250000000ull
#define SYNC_TICKS 4        /* a second */
#define THREADS_KNOWN 4096u /* a power of 2; more are named again and again */
#define SIZE_LEAST (1ull << 20)
#define TAIL_BYTES (256u << 10) /* kept free of a size limit for names and the index */

struct recorder {
	struct gy_target target;
	struct gy_event_session *session;
	const char *path;
	uint64_t duration_ns, size_limit;
	bool stacks;
	enum gy_sink_way way;
	struct gy_sink *sink;
	struct gy_file_writer file;
	struct gy_file_header header;
	enum gy_file_reason reason; /* ENDED_NOT: what the session says */
	int error;                  /* of the file */
	uint32_t threads[THREADS_KNOWN];
	struct gy_record_stacks *names; /* NULL: no stacks */
	/* the collector */
	struct probe_bpf *probes;
	struct gy_session probe_session;
	struct ring_buffer *probe_ring;
	unsigned int ticks;
};

static const char *const probe_names[] = {
	"gc_pause_begin", "gc_phase", "gc_pause_end", "gc_pace", "gc_cycle_end", "gc_cycle_begin",
};
#define PROBES (sizeof(probe_names) / sizeof(probe_names[0]))

static uint64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* Non-zero once the file has failed: the session then ends (REC-4). */
static int put(struct recorder *recorder, enum gy_file_type type, const void *head, size_t bytes,
	       const void *rest, size_t rest_bytes)
{
	int error;

	if (recorder->error)
		return recorder->error;
	error = gy_file_write(&recorder->file, type, head, bytes, rest, rest_bytes);
	if (error)
		recorder->error = error;
	return error;
}

/* ---------------------------------------------------------------- what a batch refers to */

static void put_clock(struct recorder *recorder)
{
	struct gy_file_clock clock = {gy_event_ticks_now(recorder->header.ticks_hz),
				      gy_monotonic_ns(), wall_ns()};

	recorder->file.now_ns = clock.ns;
	put(recorder, GY_FILE_CLOCK, &clock, sizeof(clock), NULL, 0);
}

static void put_process(struct recorder *recorder, const struct gyre_control *header)
{
	struct gy_file_process process = {.pid = (uint32_t)recorder->target.pid,
					  .pid_inside = header->pid,
					  .start_ns = header->start_ns,
					  .sample_bytes = header->sample_bytes};

	memcpy(process.comm, recorder->target.comm, sizeof(process.comm));
	process.comm[sizeof(process.comm) - 1] = 0;
	memcpy(process.version, header->version, sizeof(process.version));
	memcpy(process.exe, recorder->target.exe, sizeof(process.exe) - 1);
	put(recorder, GY_FILE_PROCESS, &process, sizeof(process), NULL, 0);
}

static void put_classes(struct recorder *recorder, const struct gy_snapshot *snapshot)
{
	uint32_t classes[256] = {0};
	size_t count = snapshot->class_count < 256 ? snapshot->class_count : 256;

	for (size_t i = 0; i < count; i++)
		classes[i] = snapshot->classes[i].object_bytes;
	put(recorder, GY_FILE_CLASSES, classes, count * sizeof(classes[0]), NULL, 0);
}

struct mappings {
	const struct recorder *recorder;
	struct gy_file_mapping *list;
	size_t count;
};

#define MAPPINGS_MOST (GY_FILE_PAYLOAD_MAX / sizeof(struct gy_file_mapping))

static int mapping_visit(const struct gy_mapping *mapping, void *context)
{
	struct mappings *mappings = context;
	struct gy_file_mapping *entry = &mappings->list[mappings->count];
	char path[PATH_MAX], build_id[65] = "";

	if (!mapping->executable || !mapping->inode || mappings->count == MAPPINGS_MOST)
		return 0;
	memset(entry, 0, sizeof(*entry));
	entry->start = mapping->start;
	entry->end = mapping->end;
	entry->offset = mapping->offset;
	if (!gy_mapping_open_path(mappings->recorder->target.pid, mapping, path)) {
		gy_profile_build_id(path, build_id);
		gy_notes_bias(path, mapping->start, mapping->offset, &entry->bias);
	}
	for (const char *at = build_id; at[0] && at[1]; at += 2) {
		unsigned int byte;

		if (sscanf(at, "%2x", &byte) == 1)
			entry->build_id[entry->build_id_bytes++] = (uint8_t)byte;
	}
	entry->path_bytes = (uint32_t)strlen(mapping->path);
	strncpy(entry->path, mapping->path, sizeof(entry->path) - 1);
	mappings->count++;
	return 0;
}

static void put_mappings(struct recorder *recorder)
{
	struct mappings mappings = {.recorder = recorder, .list = malloc(GY_FILE_PAYLOAD_MAX)};

	if (mappings.list && gy_maps_each(recorder->target.pid, mapping_visit, &mappings) >= 0 &&
	    mappings.count)
		put(recorder, GY_FILE_MAPPINGS, mappings.list,
		    mappings.count * sizeof(*mappings.list), NULL, 0);
	free(mappings.list);
}

static void put_heap(struct recorder *recorder, const struct gy_snapshot *snapshot)
{
	const struct gyre_control_totals *totals = &snapshot->header.totals;
	const struct gyre_control_gc *gc = &snapshot->header.gc;
	struct gy_file_heap heap = {
		.ns = snapshot->header.snapshot_ns,
		.alloc_bytes = totals->heap_alloc,
		.inuse_bytes = totals->heap_inuse,
		.idle_bytes = totals->heap_idle,
		.released_bytes = totals->heap_released,
		.mallocs = totals->mallocs,
		.frees = totals->frees,
		.threads = totals->threads,
	};

	if (gc->used) {
		heap.gc_live_bytes = gc->heap_live_bytes;
		heap.gc_inuse_bytes = gc->heap_inuse_bytes;
		heap.gc_goal_bytes = gc->heap_goal_bytes;
		heap.gc_cycles = gc->cycles;
	}
	put(recorder, GY_FILE_HEAP, &heap, sizeof(heap), NULL, 0);
}

static void put_thread(struct recorder *recorder, const struct gyre_batch *batch)
{
	uint32_t *known = &recorder->threads[batch->thread * 0x9e3779b1u / (1u << 20)];
	struct gy_file_thread thread = {.thread = batch->thread};
	const char *name = "";

	if (*known == batch->thread)
		return;
	*known = batch->thread;
	gy_event_thread(recorder->session, batch, &name);
	strncpy(thread.name, name ? name : "", sizeof(thread.name) - 1);
	put(recorder, GY_FILE_THREADS, &thread, sizeof(thread), NULL, 0);
}

static void put_stacks(struct recorder *recorder)
{
	if (recorder->names && !recorder->error)
		recorder->error = gy_record_stacks_flush(recorder->names, &recorder->file);
}

/* ---------------------------------------------------------------- the collector's probes */

static int on_probe(void *context, void *data, size_t bytes)
{
	struct recorder *recorder = context;
	struct gyre_probe_event event;
	struct gy_file_probe probe = {0};

	memset(&event, 0, sizeof(event));
	memcpy(&event, data, bytes < sizeof(event) ? bytes : sizeof(event));
	if (event.kind != GYRE_EVENT_PROBE || event.probe >= PROBES)
		return 0;
	probe.ns = event.time_ns;
	probe.thread = event.tid;
	probe.argument_count =
		event.argument_count < GY_FILE_ARGUMENTS ? event.argument_count : GY_FILE_ARGUMENTS;
	strncpy(probe.name, probe_names[event.probe], sizeof(probe.name) - 1);
	for (uint32_t i = 0; i < probe.argument_count; i++)
		probe.arguments[i] = event.arguments[i];
	put(recorder, GY_FILE_PROBE, &probe, sizeof(probe), NULL, 0);
	return 0;
}

static int probes_load(struct recorder *recorder, bool sleepable)
{
	return gy_session_load_probes(&recorder->probes, sleepable, false);
}

static int probes_begin(struct recorder *recorder)
{
	int error = probes_load(recorder, true);

	if (error && error != -EPERM && error != -EACCES && error != -ENOSYS)
		error = probes_load(recorder, false);
	if (error)
		return gy_session_load_error(error);
	if (gy_session_begin(&recorder->probe_session, &recorder->target))
		return -1;
	for (size_t i = 0; i < PROBES; i++)
		if (gy_session_attach(&recorder->probe_session, recorder->probes->obj,
				      recorder->probes->progs.gyre_probe_hit, probe_names[i], i))
			return -1;
	recorder->probe_ring = ring_buffer__new(bpf_map__fd(recorder->probes->maps.gyre_ring),
						on_probe, recorder, NULL);
	return recorder->probe_ring
		       ? 0
		       : gy_out_error("cannot map the ring buffer: %s", strerror(errno));
}

static void probes_end(struct recorder *recorder)
{
	if (recorder->probe_session.target)
		gy_session_end(&recorder->probe_session);
	recorder->probe_session.target = NULL;
}

/* ---------------------------------------------------------------- what the session calls */

static void put_loss(struct recorder *recorder)
{
	struct gy_event_books books;
	struct gy_file_loss loss;

	gy_event_books(recorder->session, &books);
	loss = (struct gy_file_loss){.ring_records = books.lost + books.crowded,
				     .unread_records = books.unread,
				     .dropped_records = books.dropped};
	if (recorder->probes)
		loss.probes = recorder->probes->bss->gyre_lost;
	put(recorder, GY_FILE_LOSS, &loss, sizeof(loss), NULL, 0);
}

static int on_begin(void *context)
{
	struct recorder *recorder = context;
	const struct gy_event_clock *clock = gy_event_clock(recorder->session, 0);
	struct gy_snapshot snapshot;
	int error;

	recorder->header.ticks_hz = clock->hz;
	recorder->header.start_ns = gy_monotonic_ns();
	recorder->header.start_ticks = gy_event_ticks_now(recorder->header.ticks_hz);
	recorder->header.start_wall_ns = wall_ns();
	recorder->header.flags = recorder->stacks ? GY_FILE_STACKS_WANTED : 0;
#if defined(__x86_64__)
	recorder->header.machine = EM_X86_64;
#elif defined(__aarch64__)
	recorder->header.machine = EM_AARCH64;
#endif
	recorder->error = gy_file_write_begin(&recorder->file, recorder->sink, &recorder->header);
	error = gy_control_read(recorder->target.control, GY_SNAPSHOT_WAIT_MS, &snapshot);
	if (!error) {
		put_process(recorder, &snapshot.header);
		put_classes(recorder, &snapshot);
		put_heap(recorder, &snapshot);
		gy_snapshot_free(&snapshot);
	}
	put_mappings(recorder);
	put_clock(recorder);
	gy_sink_flush(recorder->sink, true);
	gy_out_info("Recording every event of %s (pid %d) into %s. Ctrl-C ends.",
		    recorder->target.comm, recorder->target.pid, recorder->path);
	return recorder->error;
}

static int on_batch(void *context, const struct gyre_batch *batch,
		    const struct gyre_record *records)
{
	struct recorder *recorder = context;
	struct gy_file_batch head = {.thread = batch->thread,
				     .count = batch->count,
				     .first = batch->first,
				     .dropped = batch->dropped,
				     .reason = batch->reason,
				     .recorded = batch->recorded};

	if (recorder->error || recorder->reason)
		return 1;
	if (recorder->size_limit && recorder->file.bytes + TAIL_BYTES > recorder->size_limit) {
		recorder->reason = GY_FILE_ENDED_SIZE;
		return 1;
	}
	recorder->file.now_ns = batch->time_ns;
	put_thread(recorder, batch);
	if (recorder->names && !recorder->error)
		recorder->error = gy_record_stacks_note(recorder->names, &recorder->file, records,
							batch->count);
	if (!recorder->error)
		recorder->error = gy_file_write_batch(&recorder->file, &head, records);
	return recorder->error;
}

static int on_tick(void *context)
{
	struct recorder *recorder = context;
	bool second = ++recorder->ticks % SYNC_TICKS == 0;
	struct gy_snapshot snapshot;

	put_clock(recorder);
	if (recorder->probe_ring)
		ring_buffer__consume(recorder->probe_ring);
	put_stacks(recorder);
	if (second) {
		/* The process publishes once a second while anything happens; it is not asked. */
		if (!gy_control_read(recorder->target.control, 0, &snapshot)) {
			put_heap(recorder, &snapshot);
			gy_snapshot_free(&snapshot);
		}
		put_loss(recorder);
	}
	if (!recorder->error)
		recorder->error = gy_sink_flush(recorder->sink, second); /* FILE-4 */
	return recorder->error;
}

/* ---------------------------------------------------------------- from begin to end */

static enum gy_file_reason reason_of(const struct recorder *recorder)
{
	if (recorder->reason)
		return recorder->reason;
	switch (gy_event_stop(recorder->session)) {
	case STOP_SIGNAL:
		return GY_FILE_ENDED_SIGNAL;
	case STOP_TARGET:
		return GY_FILE_ENDED_TARGET;
	case STOP_TIME:
		return GY_FILE_ENDED_TIME;
	case STOP_NOT:
	case STOP_READER:
	case STOP_OUTPUT:
	case STOP_ERROR:
		break;
	}
	return GY_FILE_ENDED_ERROR;
}

static void tail_write(struct recorder *recorder)
{
	struct gy_file_end end = {.reason = reason_of(recorder)};
	struct gy_snapshot snapshot;

	if (recorder->probe_ring)
		ring_buffer__consume(recorder->probe_ring);
	probes_end(recorder);
	if (recorder->probe_ring)
		ring_buffer__consume(recorder->probe_ring);
	put_stacks(recorder);
	if (!gy_target_ended(&recorder->target)) {
		put_mappings(recorder);
		if (!gy_control_read(recorder->target.control, GY_SNAPSHOT_WAIT_MS, &snapshot)) {
			put_heap(recorder, &snapshot);
			gy_snapshot_free(&snapshot);
		}
	}
	put_loss(recorder);
	put_clock(recorder);
	if (recorder->names && !recorder->error)
		recorder->error = gy_record_stacks_names(recorder->names, &recorder->file);
	end.ticks = gy_event_ticks_now(recorder->header.ticks_hz);
	end.ns = gy_monotonic_ns();
	end.wall_ns = wall_ns();
	recorder->file.now_ns = end.ns;
	if (!recorder->error)
		recorder->error = gy_file_write_end(&recorder->file, &end);
}

static const char *reason_text(enum gy_file_reason reason)
{
	switch (reason) {
	case GY_FILE_ENDED_SIGNAL:
		return "signal";
	case GY_FILE_ENDED_TARGET:
		return "process ended";
	case GY_FILE_ENDED_TIME:
		return "duration";
	case GY_FILE_ENDED_SIZE:
		return "size";
	case GY_FILE_ENDED_NOT:
	case GY_FILE_ENDED_DISK:
	case GY_FILE_ENDED_ERROR:
	case GY_FILE_ENDED_REASONS:
		break;
	}
	return "error";
}

static void result_out(const struct recorder *recorder, bool uring, uint64_t bytes)
{
	uint64_t ns = gy_event_end_ns(recorder->session) - gy_event_start_ns(recorder->session);
	char count[GY_OUT_TEXT], size[GY_OUT_TEXT], time[GY_OUT_TEXT];
	enum gy_file_reason reason = reason_of(recorder);

	gy_out_begin(NULL, NULL);
	if (gy_out_is_json()) {
		gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)recorder->target.pid);
		gy_out_text("comm", NULL, recorder->target.comm);
		gy_out_text("output", NULL, recorder->path);
		gy_out_u64("bytes", NULL, OUT_BYTES, bytes);
		gy_out_text("writer", NULL, uring ? "io_uring" : "pwrite");
		gy_out_u64("records", NULL, OUT_COUNT, recorder->file.records);
		gy_out_u64("duration_ns", NULL, OUT_NS, ns);
		gy_out_text("ended_by", NULL, reason_text(reason));
	} else {
		gy_out_line("%s events in %s, %s in %s",
			    gy_out_count(count, recorder->file.records), gy_out_ns(time, ns),
			    gy_out_bytes(size, bytes), recorder->path);
		if (reason == GY_FILE_ENDED_TARGET)
			gy_out_line("The process has ended.");
		else if (reason == GY_FILE_ENDED_SIZE)
			gy_out_line("The size that was asked for is reached.");
	}
	gy_event_books_out(recorder->session);
	gy_out_end();
}

static int file_error(const struct recorder *recorder, int error, uint64_t bytes)
{
	char size[GY_OUT_TEXT];

	return gy_out_error("recording stopped: cannot write '%s': %s; what it holds (%s) can be "
			    "read",
			    recorder->path, strerror(-error), gy_out_bytes(size, bytes));
}

static int run(struct recorder *recorder)
{
	struct gy_event_plan plan = {
		.ship = true,
		.stacks = recorder->stacks,
		.duration_ns = recorder->duration_ns,
		.interval_ns = TICK_NS,
		.begin = on_begin,
		.batch = on_batch,
		.tick = on_tick,
		.context = recorder,
		.filter = {.class_number = GY_EVENT_ALL},
		.ring_bytes = 32ull << 20,
	};
	struct gy_snapshot snapshot;
	uint64_t bytes = 0;
	bool uring, collects = false;
	int error;

	if (!gy_control_read(recorder->target.control, GY_SNAPSHOT_WAIT_MS, &snapshot)) {
		collects = snapshot.header.gc.used;
		gy_snapshot_free(&snapshot);
	}
	if (recorder->stacks) {
		recorder->names = gy_record_stacks_open(recorder->target.pid);
		if (!recorder->names)
			return gy_out_error("no memory");
	}
	if (collects && probes_begin(recorder))
		return -1;
	recorder->session = gy_event_session_open(&recorder->target, 1, &plan);
	if (!recorder->session)
		return -1;
	/* A file limit (ulimit -f) is an error of write like any other. */
	signal(SIGXFSZ, SIG_IGN);
	recorder->sink = gy_sink_open(recorder->path, recorder->way, &error);
	if (!recorder->sink && recorder->way == GY_SINK_URING)
		return gy_out_error("cannot write '%s' by io_uring: %s", recorder->path,
				    strerror(-error));
	if (!recorder->sink)
		return gy_out_error("cannot write '%s': %s", recorder->path, strerror(-error));
	uring = gy_sink_is_uring(recorder->sink);
	error = gy_event_session_run(recorder->session);
	if (recorder->file.bytes)
		tail_write(recorder);
	recorder->file.sink = NULL;
	recorder->error = gy_sink_close(recorder->sink, &bytes);
	if (error)
		return -1;
	if (recorder->error)
		return file_error(recorder, recorder->error, bytes);
	result_out(recorder, uring, bytes);
	return 0;
}

static int words_read(struct recorder *recorder, int argc, char **argv)
{
	static const char *const ways[] = {"auto", "uring", "pwrite"};
	int error = 0;

	while (argc && !error) {
		if (gy_word_is(*argv, "duration")) {
			error = gy_words_seconds(&argc, &argv, &recorder->duration_ns);
		} else if (gy_word_is(*argv, "size")) {
			error = gy_words_u64(&argc, &argv, true, SIZE_LEAST, UINT64_MAX / 2,
					     &recorder->size_limit);
		} else if (gy_word_is(*argv, "stacks")) {
			recorder->stacks = true;
			argc--, argv++;
		} else if (gy_word_is(*argv, "output") && argc > 1) {
			recorder->path = argv[1];
			argc -= 2, argv += 2;
		} else if (gy_word_is(*argv, "writer") && argc > 1) {
			error = -1;
			for (int i = 0; i < 3 && error; i++)
				if (gy_word_is(argv[1], ways[i])) {
					recorder->way = (enum gy_sink_way)i;
					error = 0;
				}
			if (error)
				gy_out_error("expected 'auto', 'uring' or 'pwrite', got: '%s'?",
					     argv[1]);
			argc -= 2, argv += 2;
		} else if (argc == 1 &&
			   (gy_word_is(*argv, "output") || gy_word_is(*argv, "writer"))) {
			error = gy_out_error("'%s' needs a value behind it", *argv);
		} else {
			error = gy_out_error("expected 'output', 'duration', 'stacks', 'size' or "
					     "'writer', got: '%s'?",
					     *argv);
		}
	}
	if (!error && !recorder->path)
		error = gy_out_error("a file is missing: expected 'output FILE'");
	return error;
}

int gy_trace_record(int argc, char **argv)
{
	struct recorder *recorder = calloc(1, sizeof(*recorder));
	int error;

	if (!recorder)
		return gy_out_error("no memory");
	if (gy_target_arguments(&argc, &argv, &recorder->target, TARGET_CONTROL)) {
		free(recorder);
		return -1;
	}
	error = words_read(recorder, argc, argv);
	if (!error)
		error = run(recorder);
	probes_end(recorder);
	if (recorder->probe_ring)
		ring_buffer__free(recorder->probe_ring);
	if (recorder->probes)
		probe_bpf__destroy(recorder->probes);
	gy_event_session_close(recorder->session);
	gy_record_stacks_close(recorder->names);
	gy_target_close(&recorder->target);
	free(recorder);
	return error;
}
