/* trace_export.c - `gyre trace export`: a recording in the forms of other programs.
 *
 *      chrome   Trace Event Format, for Perfetto and chrome://tracing     trace_chrome.c
 *      pprof    allocations by stack, for `go tool pprof`                 pprof.c
 *      folded   the same as lines for flame graphs                        folded.c
 *      json     one document: the process, and every event in order
 *      csv      a line for each event, with a heading
 *
 * The file is written beside its place and renamed over it when it is whole: who watches it never
 * sees half of one.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folded.h"
#include "output.h"
#include "pprof.h"
#include "trace.h"
#include "words.h"

/* ---------------------------------------------------------------- as a profile */

enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE, VALUES };

struct collect {
	struct gy_recording *recording;
	struct gy_trace_live *live;
	uint64_t (*values)[VALUES]; /* by stack id */
};

static uint64_t *values_of(struct collect *collect, uint32_t stack)
{
	return collect->values[stack < collect->recording->stack_count ? stack : 0];
}

static int collect_event(void *context, const struct gy_recorded_event *event)
{
	struct collect *collect = context;
	struct gy_trace_block block = {event->address, event->bytes, event->ns, event->stack,
				       event->class_index};
	uint64_t *values;

	if (event->operation == GYRE_RECORD_FREE)
		gy_trace_live_end(collect->live, event->address, &block);
	if (event->operation != GYRE_RECORD_MALLOC && event->operation != GYRE_RECORD_NEW)
		return 0;
	values = values_of(collect, event->stack);
	values[ALLOC_OBJECTS]++;
	values[ALLOC_SPACE] += event->bytes;
	return event->operation == GYRE_RECORD_MALLOC ? gy_trace_live_add(collect->live, &block)
						      : 0;
}

static void collect_live(void *context, const struct gy_trace_block *block)
{
	uint64_t *values = values_of(context, block->stack);

	values[INUSE_OBJECTS]++;
	values[INUSE_SPACE] += block->bytes;
}

static int profile_mappings(struct gy_profile *profile, const struct gy_recording *recording)
{
	int error = 0;

	for (size_t i = 0; i < recording->mapping_count && !error; i++) {
		const struct gy_file_mapping *mapping = &recording->mappings[i];
		char build_id[65] = "", path[sizeof(mapping->path)];
		bool known = false;

		for (size_t j = 0; j < profile->mapping_count && !known; j++)
			known = profile->mappings[j].start == mapping->start;
		if (known) /* they are written at both ends of a recording */
			continue;
		for (uint32_t j = 0; j < mapping->build_id_bytes; j++)
			snprintf(build_id + 2 * j, 3, "%02x", mapping->build_id[j]);
		memcpy(path, mapping->path, sizeof(path));
		gy_out_clean(path);
		error = gy_profile_mapping_add(profile, mapping->start, mapping->end,
					       mapping->offset, path, build_id);
	}
	return error;
}

struct gy_profile *gy_trace_profile(struct gy_recording *recording)
{
	static const struct gy_profile_type types[VALUES] = {{"alloc_objects", "count"},
							     {"alloc_space", "bytes"},
							     {"inuse_objects", "count"},
							     {"inuse_space", "bytes"}};
	struct collect collect = {recording, gy_trace_live_new(), NULL};
	struct gy_profile *profile = gy_profile_new(types, VALUES);
	uint64_t begin = gy_recording_begin_ns(recording);
	int error = -ENOMEM;

	collect.values = calloc(recording->stack_count + 1, sizeof(*collect.values));
	if (profile && collect.live && collect.values)
		error = gy_recording_each(recording, collect_event, &collect);
	if (!error) {
		gy_trace_live_each(collect.live, collect_live, &collect);
		profile->default_type = ALLOC_SPACE;
		profile->pid = (int)recording->process.pid;
		snprintf(profile->comm, sizeof(profile->comm), "%s", recording->process.comm);
		profile->time_ns = gy_recording_wall_ns(recording, begin);
		profile->duration_ns = (int64_t)(gy_recording_end_ns(recording) - begin);
		error = profile_mappings(profile, recording);
	}
	for (size_t i = 0; i <= recording->stack_count && !error; i++) {
		const struct gy_recorded_stack *stack = gy_recording_stack(recording, (uint32_t)i);
		const uint64_t nowhere = 0; /* PM-1 */

		if (collect.values[i][ALLOC_OBJECTS])
			error = gy_profile_add(profile, stack ? stack->frames : &nowhere,
					       stack ? stack->depth : 1,
					       stack && stack->depth == GYRE_STACK_FRAMES,
					       collect.values[i], NULL);
	}
	if (!error)
		gy_profile_resolve(profile, gy_recording_find, recording);
	gy_trace_live_free(collect.live);
	free(collect.values);
	if (!error)
		return profile;
	if (profile)
		gy_profile_free(profile);
	gy_out_error("cannot read '%s': %s", recording->path, strerror(-error));
	return NULL;
}

static int export_pprof(struct gy_recording *recording, FILE *file)
{
	struct gy_profile *profile = gy_trace_profile(recording);
	uint8_t *bytes = NULL;
	size_t length = 0;
	int error = profile ? gy_pprof_make(profile, &bytes, &length) : -ECANCELED;

	if (!error && fwrite(bytes, 1, length, file) != length)
		error = errno ? -errno : -EIO;
	free(bytes);
	if (profile)
		gy_profile_free(profile);
	return error;
}

static int export_folded(struct gy_recording *recording, FILE *file)
{
	struct gy_profile *profile = gy_trace_profile(recording);
	char *text = profile ? gy_folded_make(profile, ALLOC_SPACE) : NULL;
	int error = profile ? text ? 0 : -ENOMEM : -ECANCELED;

	if (!error && fputs(text, file) == EOF)
		error = errno ? -errno : -EIO;
	free(text);
	if (profile)
		gy_profile_free(profile);
	return error;
}

/* ---------------------------------------------------------------- event by event */

struct lines {
	const struct gy_recording *recording;
	FILE *file;
	uint64_t begin_ns, written;
};

static int csv_event(void *context, const struct gy_recorded_event *event)
{
	struct lines *lines = context;
	const struct gy_recording *recording = lines->recording;

	fprintf(lines->file,
		"%" PRIu64 ",%" PRIu32 ",%s,0x%" PRIx64 ",%" PRIu64 ",%" PRIu32 ",%" PRIu32 "\n",
		event->ns > lines->begin_ns ? event->ns - lines->begin_ns : 0,
		recording->threads[event->thread].thread, gy_trace_operation(event->operation),
		event->address, event->bytes, event->class_index, event->stack);
	return ferror(lines->file) ? -EIO : 0;
}

static int export_csv(struct gy_recording *recording, FILE *file)
{
	struct lines lines = {recording, file, gy_recording_begin_ns(recording), 0};

	fputs("time_ns,thread,operation,address,bytes,class,stack\n", file);
	return gy_recording_each(recording, csv_event, &lines);
}

static int json_event(void *context, const struct gy_recorded_event *event)
{
	struct lines *lines = context;
	const struct gy_recording *recording = lines->recording;

	fprintf(lines->file,
		"%s\n{\"time_ns\":%" PRIu64 ",\"thread\":%" PRIu32
		",\"operation\":\"%s\",\"address\":\"0x%" PRIx64 "\",\"bytes\":%" PRIu64
		",\"class\":%" PRIu32 ",\"stack\":%" PRIu32 "}",
		lines->written++ ? "," : "",
		event->ns > lines->begin_ns ? event->ns - lines->begin_ns : 0,
		recording->threads[event->thread].thread, gy_trace_operation(event->operation),
		event->address, event->bytes, event->class_index, event->stack);
	return ferror(lines->file) ? -EIO : 0;
}

static void json_put(FILE *file, const char *before, json_t *value)
{
	fputs(before, file);
	if (json_dumpf(value, file, JSON_COMPACT | JSON_ENCODE_ANY))
		fputs("null", file);
	json_decref(value);
}

static int export_json(struct gy_recording *recording, FILE *file)
{
	struct lines lines = {recording, file, gy_recording_begin_ns(recording), 0};
	uint64_t written = 0;
	int error;

	fprintf(file, "{\"pid\":%" PRIu32, recording->process.pid);
	json_put(file, ",\"comm\":", gy_out_json_text(recording->process.comm));
	fprintf(file, ",\"begin_wall_ns\":%" PRId64 ",\"complete\":%s",
		gy_recording_wall_ns(recording, lines.begin_ns),
		recording->file.damage[0] ? "false" : "true");
	fputs(",\"stacks\":{", file);
	for (size_t i = 1; i < recording->stack_count; i++) {
		const struct gy_recorded_stack *stack = gy_recording_stack(recording, (uint32_t)i);
		json_t *frames;

		if (!stack)
			continue;
		frames = json_array();
		for (uint32_t j = 0; j < stack->depth; j++)
			json_array_append_new(frames, gy_symbols_json(gy_recording_find(
							      recording, stack->frames[j])));
		fprintf(file, "%s\n\"%zu\":", written++ ? "," : "", i);
		json_put(file, "", frames);
	}
	fputs("},\"events\":[", file);
	error = gy_recording_each(recording, json_event, &lines);
	fputs("]}\n", file);
	return error;
}

/* ---------------------------------------------------------------- the command */

static const struct {
	const char *name;
	int (*make)(struct gy_recording *recording, FILE *file);
} formats[] = {
	{"chrome", gy_trace_chrome}, {"pprof", export_pprof}, {"folded", export_folded},
	{"json", export_json},       {"csv", export_csv},
};
#define FORMATS (sizeof(formats) / sizeof(formats[0]))

static int write_whole(struct gy_recording *recording, size_t format, const char *path,
		       uint64_t *bytes)
{
	char *beside = NULL;
	struct stat status;
	FILE *file = NULL;
	int fd = -1, error = -ENOMEM;

	/* A device or a pipe is written as it is. */
	if (!stat(path, &status) && !S_ISREG(status.st_mode)) {
		file = fopen(path, "we");
		error = file ? 0 : -errno;
	} else if (asprintf(&beside, "%s.XXXXXX", path) > 0) {
		fd = mkstemp(beside);
		file = fd < 0 ? NULL : fdopen(fd, "w");
		error = file ? 0 : -errno;
	}
	if (!error)
		error = formats[format].make(recording, file);
	if (file) {
		*bytes = (uint64_t)ftell(file);
		if ((fflush(file) || ferror(file)) && !error)
			error = errno ? -errno : -EIO;
		if (fclose(file) && !error)
			error = -errno;
	}
	if (beside && fd >= 0 && (error || (rename(beside, path) && (error = -errno))))
		unlink(beside);
	free(beside);
	if (error && error != -ECANCELED) /* told already */
		gy_out_error("cannot write '%s': %s", path, strerror(-error));
	return error ? -1 : 0;
}

static int export(const char *from, size_t format, const char *path)
{
	struct gy_recording recording;
	char size[GY_OUT_TEXT], count[GY_OUT_TEXT];
	uint64_t bytes = 0;
	int error;

	if (gy_recording_open(&recording, from))
		return -1;
	error = write_whole(&recording, format, path, &bytes);
	if (!error) {
		gy_out_begin(NULL, NULL);
		if (gy_out_is_json()) {
			gy_out_text("file", NULL, from);
			gy_out_text("output", NULL, path);
			gy_out_text("format", NULL, formats[format].name);
			gy_out_u64("bytes", NULL, OUT_BYTES, bytes);
			gy_out_u64("records", NULL, OUT_COUNT, recording.records);
		} else {
			gy_out_line("%s events as %s: %s in %s",
				    gy_out_count(count, recording.records), formats[format].name,
				    gy_out_bytes(size, bytes), path);
		}
		gy_trace_damage_out(&recording);
		gy_out_end();
	}
	gy_recording_close(&recording);
	return error;
}

int gy_trace_export(int argc, char **argv)
{
	const char *from = argc ? argv[0] : NULL, *path = NULL;
	size_t format = FORMATS;

	if (!argc)
		return gy_out_error("a recording is missing: expected 'export FILE'");
	for (argc--, argv++; argc; argc -= 2, argv += 2) {
		bool is_format = gy_word_is(*argv, "format");

		if (!is_format && !gy_word_is(*argv, "output"))
			return gy_out_error("expected 'format' or 'output', got: '%s'?", *argv);
		if (argc < 2)
			return gy_out_error("'%s' needs a value behind it", *argv);
		if (!is_format) {
			path = argv[1];
			continue;
		}
		for (format = 0; format < FORMATS && !gy_word_is(argv[1], formats[format].name);)
			format++;
		if (format == FORMATS)
			return gy_out_error("expected 'chrome', 'pprof', 'folded', 'json' or "
					    "'csv', got: '%s'?",
					    argv[1]);
	}
	if (format == FORMATS)
		return gy_out_error("a format is missing: expected 'format FORMAT'");
	if (!path)
		return gy_out_error("a file is missing: expected 'output FILE'");
	return export(from, format, path);
}
