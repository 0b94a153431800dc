/* cmd_probe.c - `gyre probe`: what can be watched, where it is in a process, and any of it live.
 *
 *      list, show    probes.def; with a PROC also the site's address and whether the semaphore is
 *                    raised, that is, whether anybody is watching
 *      trace         every hit of chosen probes with its arguments by name (bpf/probe.bpf.c)
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "events.h"
#include "probe.skel.h"
#include "notes.h"
#include "output.h"
#include "probes.h"
#include "session.h"
#include "target.h"
#include "words.h"

/* ---------------------------------------------------------------- probes in a process */

struct placed {
	const struct gy_target *target; /* NULL: no PROC was given */
	struct {
		struct gy_note notes[GY_NOTES_MAX];
		int count;
	} images[GY_TARGET_IMAGES];
};

static struct placed *place(const struct gy_target *target)
{
	struct placed *placed = calloc(1, sizeof(*placed));

	if (!placed)
		return NULL;
	placed->target = target;
	for (size_t i = 0; target && i < target->image_count; i++)
		placed->images[i].count = gy_notes_read(target->images[i].open_path,
							placed->images[i].notes, GY_NOTES_MAX);
	return placed;
}

/* The site'th place of a probe in the process; false when there are no more. */
static bool placed_site(const struct placed *placed, const char *name, size_t site,
			uint64_t *address, uint64_t *semaphore, const char **arguments)
{
	for (size_t i = 0; placed->target && i < placed->target->image_count; i++) {
		uint64_t bias = placed->target->images[i].bias;

		for (int j = 0; j < placed->images[i].count; j++) {
			const struct gy_note *note = &placed->images[i].notes[j];

			if (strcmp(note->name, name) || site--)
				continue;
			*address = note->site + bias;
			*semaphore = note->semaphore ? note->semaphore + bias : 0;
			*arguments = note->arguments;
			return true;
		}
	}
	return false;
}

static int semaphore_read(const struct placed *placed, uint64_t address, uint16_t *value)
{
	if (!address)
		return -ENOENT;
	return gy_memory_read(placed->target->pid, address, value, sizeof(*value));
}

/* ---------------------------------------------------------------- list */

static const struct gy_out_column columns[] = {
	{"group", "GROUP", OUT_TEXT},
	{"name", "NAME", OUT_TEXT},
	{"argument_count", "ARGS", OUT_COUNT},
	{"meaning", "MEANING", OUT_TEXT},
};

static const struct gy_out_column placed_columns[] = {
	{"group", "GROUP", OUT_TEXT},
	{"name", "NAME", OUT_TEXT},
	{"argument_count", "ARGS", OUT_COUNT},
	{"address", "ADDRESS", OUT_ADDRESS},
	{"semaphore", "SEMAPHORE", OUT_ADDRESS},
	{"watchers", "RAISED", OUT_COUNT},
	{"meaning", "MEANING", OUT_TEXT},
};

static void site_out(const struct placed *placed, const char *name, size_t site)
{
	uint64_t address, semaphore;
	const char *arguments;
	uint16_t value;

	if (!placed_site(placed, name, site, &address, &semaphore, &arguments)) {
		gy_out_null("address", "address", "not in this process");
		gy_out_null("semaphore", NULL, "-");
		gy_out_null("watchers", NULL, "-");
		return;
	}
	gy_out_u64("address", "address", OUT_ADDRESS, address);
	if (semaphore)
		gy_out_u64("semaphore", "semaphore", OUT_ADDRESS, semaphore);
	else
		gy_out_null("semaphore", "semaphore", "none");
	if (semaphore_read(placed, semaphore, &value))
		gy_out_null("watchers", "raised", "-");
	else
		gy_out_u64("watchers", "raised", OUT_COUNT, value);
}

static void list_probe(const struct placed *placed, const struct gy_probe *probe)
{
	size_t site = 0;
	uint64_t address, semaphore;
	const char *arguments;

	do { /* a line for each site: one, unless the compiler made copies */
		gy_out_row();
		gy_out_text("group", NULL, probe->group);
		gy_out_text("name", NULL, probe->name);
		gy_out_u64("argument_count", NULL, OUT_COUNT, probe->argument_count);
		if (placed->target)
			site_out(placed, probe->name, site);
		gy_out_text("meaning", NULL, probe->meaning);
		site++;
	} while (placed_site(placed, probe->name, site, &address, &semaphore, &arguments));
}

static int cmd_list(int argc, char **argv)
{
	struct gy_target target;
	struct placed *placed;
	bool with_target = argc > 0;

	if (with_target && gy_target_arguments(&argc, &argv, &target, TARGET_GYRE))
		return -1;
	if (gy_words_end(argc, argv)) {
		if (with_target)
			gy_target_close(&target);
		return -1;
	}
	placed = place(with_target ? &target : NULL);
	if (placed && with_target) {
		gy_out_list(NULL, NULL, placed_columns,
			    sizeof(placed_columns) / sizeof(placed_columns[0]));
		gy_out_list_narrow("semaphore argument_count group");
	} else if (placed) {
		gy_out_list(NULL, NULL, columns, sizeof(columns) / sizeof(columns[0]));
	}
	for (size_t i = 0; placed && i < gy_probe_count; i++)
		list_probe(placed, &gy_probes[i]);
	if (placed)
		gy_out_list_end();
	if (with_target)
		gy_target_close(&target);
	free(placed);
	return placed ? 0 : gy_out_error("no memory");
}

/* ---------------------------------------------------------------- show */

static const struct gy_probe *probe_argument(int *argc, char ***argv)
{
	const struct gy_probe *probe;

	if (!*argc) {
		gy_out_error("a probe's name is missing; 'gyre probe list' shows them");
		return NULL;
	}
	probe = gy_probe_find(**argv);
	if (!probe)
		gy_out_error("no probe is named '%s'; 'gyre probe list' shows them", **argv);
	--*argc;
	++*argv;
	return probe;
}

static void arguments_out(const struct gy_probe *probe)
{
	static const struct gy_out_column argument_columns[] = {{"number", "ARG", OUT_COUNT},
								{"type", "TYPE", OUT_TEXT},
								{"name", "NAME", OUT_TEXT}};
	struct gy_probe_argument arguments[GYRE_EVENT_ARGUMENTS];
	size_t count = gy_probe_arguments(probe, arguments, GYRE_EVENT_ARGUMENTS);

	gy_out_list("arguments", "Arguments", argument_columns, 3);
	for (size_t i = 0; i < count; i++) {
		gy_out_row();
		gy_out_u64("number", NULL, OUT_COUNT, i);
		gy_out_text("type", NULL, arguments[i].type);
		gy_out_text("name", NULL, arguments[i].name);
	}
	gy_out_list_end();
}

static int cmd_show(int argc, char **argv)
{
	const struct gy_probe *probe = probe_argument(&argc, &argv);
	struct gy_target target;
	struct placed *placed;
	bool with_target = argc > 0;
	char usdt[128];

	if (!probe)
		return -1;
	if (with_target && gy_target_arguments(&argc, &argv, &target, TARGET_GYRE))
		return -1;
	if (gy_words_end(argc, argv)) {
		if (with_target)
			gy_target_close(&target);
		return -1;
	}
	placed = place(with_target ? &target : NULL);
	snprintf(usdt, sizeof(usdt), "gyre:%s", probe->name);
	gy_out_begin(NULL, NULL);
	gy_out_text("name", "probe", usdt);
	gy_out_text("group", "group", probe->group);
	gy_out_text("meaning", "fires when", probe->meaning);
	if (placed && with_target)
		site_out(placed, probe->name, 0);
	if (gy_out_is_json()) { /* the name as probe list has it */
		arguments_out(probe);
		gy_out_text("name", NULL, probe->name);
	}
	gy_out_end();
	if (!gy_out_is_json())
		arguments_out(probe);
	if (with_target)
		gy_target_close(&target);
	free(placed);
	return 0;
}

/* ---------------------------------------------------------------- trace */

struct watch {
	struct gy_target target;
	struct gy_session session;
	struct probe_bpf *programs;
	bool chosen[64];
	bool count_only;
	uint64_t duration_ns, count, events;
	int64_t wall_offset_ns;
};

static void argument_text(const struct gy_probe_argument *argument, uint64_t value, char *text,
			  size_t bytes)
{
	size_t length = strlen(argument->name);
	char number[GY_OUT_TEXT];

	if (!strcmp(argument->type, "ptr"))
		snprintf(number, sizeof(number), "0x%" PRIx64, value);
	else if (length > 6 && !strcmp(argument->name + length - 6, "_bytes"))
		gy_out_bytes(number, value);
	else if (length > 3 && !strcmp(argument->name + length - 3, "_ns"))
		gy_out_ns(number, value);
	else
		snprintf(number, sizeof(number), "%" PRIu64, value);
	snprintf(text, bytes, "  %s %s", argument->name, number);
}

static void watch_text(const struct watch *watch, const struct gyre_probe_event *event,
		       const struct gy_probe_argument *arguments, size_t count)
{
	int64_t wall_ns = (int64_t)event->time_ns + watch->wall_offset_ns;
	time_t seconds = (time_t)(wall_ns / 1000000000);
	char comm[GYRE_EVENT_COMM + 1], line[1024];
	struct tm local;
	size_t used;

	snprintf(comm, sizeof(comm), "%.*s", GYRE_EVENT_COMM, event->comm);
	gy_out_clean(comm);
	localtime_r(&seconds, &local);
	used = (size_t)snprintf(line, sizeof(line), "%02d:%02d:%02d.%06d  %7u  %-15s  %-12s",
				local.tm_hour, local.tm_min, local.tm_sec,
				(int)(wall_ns / 1000 % 1000000), event->tid, comm,
				gy_probes[event->probe].name);
	for (size_t i = 0; i < count && used < sizeof(line); i++) {
		argument_text(&arguments[i], event->arguments[i], line + used, sizeof(line) - used);
		used += strlen(line + used);
	}
	gy_out_line("%s", line);
}

static void watch_json(const struct watch *watch, const struct gyre_probe_event *event,
		       const struct gy_probe_argument *arguments, size_t count)
{
	json_t *object = gy_out_json_event(gy_probes[event->probe].name, event->time_ns,
					   watch->wall_offset_ns);
	json_t *values = json_object();
	char comm[GYRE_EVENT_COMM + 1];

	snprintf(comm, sizeof(comm), "%.*s", GYRE_EVENT_COMM, event->comm);
	json_object_set_new(object, "pid", json_integer(event->pid));
	json_object_set_new(object, "tid", json_integer(event->tid));
	json_object_set_new(object, "comm", gy_out_json_text(comm));
	for (size_t i = 0; i < count; i++)
		json_object_set_new(values, arguments[i].name,
				    strcmp(arguments[i].type, "ptr")
					    ? gy_out_json_u64(event->arguments[i])
					    : gy_out_json_address(event->arguments[i]));
	json_object_set_new(object, "arguments", values);
	gy_out_stream_event(object);
}

static int on_hit(void *context, const void *data, size_t bytes)
{
	struct gy_probe_argument arguments[GYRE_EVENT_ARGUMENTS];
	struct watch *watch = context;
	struct gyre_probe_event event;
	size_t count;

	memset(&event, 0, sizeof(event));
	memcpy(&event, data, bytes < sizeof(event) ? bytes : sizeof(event));
	if (event.probe >= gy_probe_count)
		return 0;
	watch->events++;
	count = gy_probe_arguments(&gy_probes[event.probe], arguments, GYRE_EVENT_ARGUMENTS);
	count = count < event.argument_count ? count : event.argument_count;
	if (gy_out_is_json())
		watch_json(watch, &event, arguments, count);
	else
		watch_text(watch, &event, arguments, count);
	return watch->count && watch->events >= watch->count;
}

static int watch_load(struct watch *watch, bool sleepable)
{
	return gy_session_load_probes(&watch->programs, sleepable, watch->count_only);
}

static void watch_sum_up(struct watch *watch)
{
	uint64_t duration_ns = watch->session.end_ns - watch->session.start_ns;
	uint64_t lost = watch->programs->bss->gyre_lost, hits = 0;
	char duration[GY_OUT_TEXT], hits_text[GY_OUT_TEXT], lost_text[GY_OUT_TEXT];

	gy_out_stream_end();
	gy_out_begin("hits", watch->count_only ? "Hits" : NULL);
	for (size_t i = 0; i < gy_probe_count; i++) {
		uint64_t count = watch->programs->bss->gyre_hits[i];

		hits += count;
		if (watch->chosen[i])
			gy_out_u64(gy_probes[i].name, watch->count_only ? gy_probes[i].name : NULL,
				   OUT_COUNT, count);
	}
	gy_out_end();
	gy_out_u64("event_count", NULL, OUT_COUNT, watch->events);
	gy_out_u64("lost", NULL, OUT_COUNT, lost);
	gy_out_u64("duration_ns", NULL, OUT_NS, duration_ns);
	gy_out_text("ended_by", NULL, gy_session_stop_name(&watch->session));
	gy_out_end();
	gy_out_count(hits_text, watch->count_only ? hits : watch->events);
	gy_out_count(lost_text, lost);
	gy_out_ns(duration, duration_ns);
	gy_out_line("\n%s hit%s in %s, %s lost", hits_text, strcmp(hits_text, "1") ? "s" : "",
		    duration, lost_text);
	if (watch->session.stop == STOP_TARGET)
		gy_out_line("The process has ended.");
}

static int watch_run(struct watch *watch)
{
	int error = watch_load(watch, true);

	if (error && error != -EPERM && error != -EACCES && error != -ENOSYS)
		error = watch_load(watch, false);
	if (error)
		return gy_session_load_error(error);
	if (gy_session_begin(&watch->session, &watch->target))
		return -1;
	for (size_t i = 0; i < gy_probe_count; i++)
		if (watch->chosen[i] &&
		    gy_session_attach(&watch->session, watch->programs->obj,
				      watch->programs->progs.gyre_probe_hit,
				      gy_probes[i].name, i))
			return -1;
	watch->wall_offset_ns = gy_wall_offset_ns();
	gy_out_begin(NULL, NULL);
	gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)watch->target.pid);
	gy_out_text("comm", NULL, watch->target.comm);
	gy_out_stream("events");
	gy_out_info("Tracing process %d (%s), Ctrl-C ends it", watch->target.pid,
		    watch->target.comm);
	if (!watch->count_only)
		gy_out_line("%-15s  %7s  %-15s  %-12s  %s", "TIME", "TID", "COMM", "PROBE",
			    "ARGUMENTS");
	error = gy_session_run(&watch->session, bpf_map__fd(watch->programs->maps.gyre_ring),
			       watch->duration_ns, on_hit, watch);
	if (!error)
		watch_sum_up(watch);
	return error;
}

static int watch_words(struct watch *watch, int argc, char **argv)
{
	bool any = false;
	int error = 0;

	while (argc && !error) {
		if (gy_word_is(*argv, "probe")) {
			const struct gy_probe *probe;

			argc--;
			argv++;
			probe = probe_argument(&argc, &argv);
			if (!probe)
				return -1;
			watch->chosen[probe - gy_probes] = any = true;
		} else if (gy_word_is(*argv, "duration")) {
			error = gy_words_seconds(&argc, &argv, &watch->duration_ns);
		} else if (gy_word_is(*argv, "count")) {
			error = gy_words_u64(&argc, &argv, false, 1, UINT64_MAX, &watch->count);
		} else if (gy_word_is(*argv, "sum")) {
			watch->count_only = true;
			argc--;
			argv++;
		} else {
			error = gy_out_error("expected 'probe', 'duration', 'count' or 'sum', got: "
					     "'%s'?",
					     *argv);
		}
	}
	/* All but those that would switch the recording of every event on: these must be named. */
	for (size_t i = 0; !any && i < gy_probe_count; i++)
		watch->chosen[i] = strncmp(gy_probes[i].name, "events", 6) != 0;
	return error;
}

static int cmd_trace(int argc, char **argv)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	int error;

	if (!watch)
		return gy_out_error("no memory");
	watch->session.signal_fd = -1;
	error = gy_target_arguments(&argc, &argv, &watch->target, TARGET_GYRE);
	if (!error) {
		error = watch_words(watch, argc, argv);
		if (!error && !watch->target.image_count)
			error = gy_out_error(
				"process %d (%s) runs on Gyre, but no file with its probes "
				"can be read",
				watch->target.pid, watch->target.comm);
		if (!error)
			error = watch_run(watch);
		gy_session_end(&watch->session);
		gy_target_close(&watch->target);
	}
	if (watch->programs)
		probe_bpf__destroy(watch->programs);
	free(watch);
	return error;
}

static int cmd_probe_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr,
		"Usage: gyre probe list [PROC]\n"
		"       gyre probe show NAME [PROC]\n"
		"       gyre probe trace PROC [probe NAME]... [duration TIME] [count N] [sum]\n"
		"       gyre probe help\n"
		"\n"
		"       " GY_HELP_PROC "\n"
		"       TIME := seconds, or 250ms, 10s, 5m, 1h\n"
		"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static const struct gy_command commands[] = {
	{"list", cmd_list},       {"show", cmd_show}, {"trace", cmd_trace},
	{"help", cmd_probe_help}, {NULL, NULL},
};

int gy_cmd_probe(int argc, char **argv)
{
	return gy_words_run(commands, "probe", argc, argv, cmd_probe_help);
}
