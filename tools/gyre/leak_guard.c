/* leak_guard.c - `gyre leak guard`: what did it hold when the kernel killed it for want of memory?
 *
 *      each interval     processes with a control page are found, and their pages held open
 *      oom:mark_victim   one of them is the victim: its page is read, and its profile saved
 *
 * The page is shared memory (a memfd), which the process keeps up to date to its last allocation;
 * who holds its file can read it when the process is gone. So nothing is copied in a hurry out of
 * a dying process, and no kprobe is needed.
 *
 * GUARD-1  Held before: a process that began and died between two intervals is not among them, and
 *          is told as such, with what the kernel said of it.
 * GUARD-2  The profile is whole: each stack's numbers are consistent (CTL-3), at most the one that
 *          was being written is off by one sample, and is counted as torn. The totals beside it
 *          are as old as the last snapshot, which is asked for at each interval.
 * GUARD-3  The file of a process that has ended is let go at the next interval: its pages stay
 *          charged to the cgroup that they were taken in as long as anybody holds it.
 * GUARD-4  The guard is needed most when memory is short: it asks to be spared (oom_score_adj),
 *          where it may.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "events.h"
#include "leak.h"
#include "oom.skel.h"
#include "output.h"
#include "output_file.h"
#include "pprof.h"
#include "profile_page.h"
#include "session.h"
#include "snapshot.h"
#include "top_screen.h"
#include "words.h"

#define INTERVAL_NS 5000000000ull
#define PAGE_PREFIX "/memfd:" GYRE_CONTROL_NAME
#define STACKS_SHOWN 5
#define NAMES_BYTES 2048

struct held {
	struct held *next;
	struct gy_target target;
	struct gy_symbols *symbols;
	struct gy_profile *mappings; /* no stacks: what was mapped at the last interval */
	unsigned long files;	     /* executable mappings; others by now: look again */
	bool dead;
};

struct guard {
	struct oom_bpf *programs;
	struct bpf_link *link;
	struct ring_buffer *ring;
	struct held *held;
	const char *directory;
	int only; /* pid; 0: all */
	uint64_t interval_ns, duration_ns, count, victims;
	size_t held_count;
	int error;
};

/* ---------------------------------------------------------------- who is held */

struct page_search {
	bool page;
	unsigned long files;
};

static int page_visit(const struct gy_mapping *mapping, void *context)
{
	struct page_search *search = context;

	search->page |= !strncmp(mapping->path, PAGE_PREFIX, strlen(PAGE_PREFIX));
	search->files += mapping->executable && mapping->inode;
	return 0;
}

static struct held *held_find(const struct guard *guard, int pid)
{
	for (struct held *held = guard->held; held; held = held->next)
		if (held->target.pid == pid)
			return held;
	return NULL;
}

static void held_free(struct held *held)
{
	gy_symbols_close(held->symbols);
	gy_profile_free(held->mappings);
	gy_target_close(&held->target);
	free(held);
}

/* What a dead process cannot tell any more: its files and their places. */
static void files_take(struct held *held, unsigned long files)
{
	struct gy_symbols *symbols = gy_symbols_open(held->target.pid);

	if (symbols) {
		gy_symbols_close(held->symbols);
		held->symbols = symbols;
	}
	gy_profile_free(held->mappings);
	held->mappings = gy_profile_new(gy_heap_types, 4);
	if (held->mappings)
		gy_profile_mappings_read(held->mappings, held->target.pid);
	held->files = files;
}

static void held_add(struct guard *guard, int pid, unsigned long files)
{
	struct held *held = calloc(1, sizeof(*held));

	if (!held || gy_target_open(&held->target, pid)) {
		free(held);
		return;
	}
	if (!held->target.control) {
		gy_target_close(&held->target);
		free(held);
		return;
	}
	files_take(held, files);
	held->next = guard->held;
	guard->held = held;
	guard->held_count++;
}

static void process_look(struct guard *guard, int pid)
{
	struct held *held = held_find(guard, pid);
	struct page_search search = {.page = false};
	struct gy_snapshot snapshot;

	if (held && gy_target_ended(&held->target))
		return; /* another process with its number is met at the next interval */
	gy_maps_each(pid, page_visit, &search);
	if (!held && search.page)
		held_add(guard, pid, search.files);
	else if (held && search.page && search.files != held->files)
		files_take(held, search.files);
	if (held && !gy_control_read(held->target.control, 1, &snapshot)) /* GUARD-2 */
		gy_snapshot_free(&snapshot);
}

static void processes_look(struct guard *guard)
{
	struct dirent *entry;
	DIR *proc;

	for (struct held **at = &guard->held; *at;) { /* GUARD-3 */
		struct held *held = *at;

		if (!held->dead || !gy_target_ended(&held->target)) {
			held->dead = gy_target_ended(&held->target);
			at = &held->next;
			continue;
		}
		*at = held->next;
		guard->held_count--;
		held_free(held);
	}
	if (guard->only) {
		process_look(guard, guard->only);
		return;
	}
	proc = opendir("/proc");
	while (proc && (entry = readdir(proc))) {
		int pid = atoi(entry->d_name);

		if (pid > 0 && pid != getpid())
			process_look(guard, pid);
	}
	if (proc)
		closedir(proc);
}

/* ---------------------------------------------------------------- a victim */

static void mappings_lend(struct gy_profile *profile, const struct held *held)
{
	const struct gy_profile *from = held->mappings;

	for (size_t i = 0; from && !profile->mapping_count && i < from->mapping_count; i++) {
		const struct gy_profile_mapping *mapping = &from->mappings[i];

		if (gy_profile_mapping_add(profile, mapping->start, mapping->limit,
					   mapping->offset, mapping->path, mapping->build_id))
			return;
	}
}

static int profile_write(const struct gy_profile *profile, const char *path)
{
	uint8_t *bytes = NULL;
	size_t length = 0;
	int error = gy_pprof_make(profile, &bytes, &length);

	error = error ? gy_out_error("cannot make the profile: %s", strerror(-error))
		      : gy_output_file(path, bytes, length);
	free(bytes);
	return error;
}

static int stack_order(const void *a, const void *b, void *context)
{
	const struct gy_profile *profile = context;
	uint64_t x = profile->stacks[*(const size_t *)a].values[HEAP_INUSE_SPACE];
	uint64_t y = profile->stacks[*(const size_t *)b].values[HEAP_INUSE_SPACE];

	return x < y ? 1 : x > y ? -1 : 0;
}

/* The stacks that held most, as text and as JSON. */
static json_t *most_out(const struct held *held, const struct gy_profile *profile)
{
	size_t *order = calloc(profile->stack_count + 1, sizeof(*order));
	uint64_t frames[GYRE_CONTROL_FRAMES];
	char names[NAMES_BYTES], size[GY_OUT_TEXT];
	json_t *list = json_array();

	for (size_t i = 0; order && i < profile->stack_count; i++)
		order[i] = i;
	if (order)
		qsort_r(order, profile->stack_count, sizeof(*order), stack_order,
			(void *)(uintptr_t)profile);
	for (size_t i = 0; order && i < profile->stack_count && i < STACKS_SHOWN; i++) {
		const struct gy_profile_stack *stack = &profile->stacks[order[i]];
		uint64_t bytes = stack->values[HEAP_INUSE_SPACE];
		uint32_t depth = 0;
		json_t *row = json_object();

		for (; depth < stack->depth && depth < GYRE_CONTROL_FRAMES; depth++)
			frames[depth] = profile->locations[profile->frames[stack->first + depth]]
						.address;
		gy_symbols_line(held->symbols, frames, depth, names, sizeof(names));
		gy_out_line("  %10s  %s", gy_out_bytes(size, bytes), names);
		json_object_set_new(row, "inuse_space", gy_out_json_u64(bytes));
		json_object_set_new(row, "names", gy_out_json_text(names));
		json_array_append_new(list, row);
	}
	free(order);
	return list;
}

static void kernel_json(json_t *object, const struct gyre_victim *victim)
{
	json_object_set_new(object, "anonymous_bytes",
			    victim->known ? gy_out_json_u64(victim->anonymous_bytes)
					  : json_null());
	json_object_set_new(object, "file_bytes",
			    victim->known ? gy_out_json_u64(victim->file_bytes) : json_null());
	json_object_set_new(object, "shared_bytes",
			    victim->known ? gy_out_json_u64(victim->shared_bytes) : json_null());
}

static int held_save(struct guard *guard, struct held *held, const struct gyre_victim *victim)
{
	char path[PATH_MAX], name[GY_COMM_BYTES], resident[GY_OUT_TEXT], inuse[GY_OUT_TEXT];
	struct gy_profile *profile = NULL;
	struct gy_snapshot snapshot;
	json_t *object, *most;
	int error = gy_control_read(held->target.control, 0, &snapshot);

	if (!error) {
		error = gy_profile_from_page(&held->target, &snapshot, &profile);
		gy_snapshot_free(&snapshot);
	}
	if (error)
		return gy_out_error("process %d (%s), which the kernel killed: %s",
				    held->target.pid, held->target.comm, gy_control_error(error));
	mappings_lend(profile, held);
	gy_profile_resolve(profile, gy_profile_find_live, held->symbols);
	snprintf(name, sizeof(name), "%s", held->target.comm);
	for (char *at = name; *at; at++)
		if (*at == '/' || *at <= ' ')
			*at = '_';
	snprintf(path, sizeof(path), "%s/%s%s.%d.oom.pb.gz", guard->directory,
		 name[0] == '.' ? "_" : "", name, held->target.pid);
	error = profile_write(profile, path);
	gy_out_line("%s (pid %d) killed for want of memory, %s resident; in use %s; wrote %s",
		    held->target.comm, held->target.pid,
		    victim->known ? gy_out_bytes(resident, victim->anonymous_bytes +
								   victim->file_bytes +
								   victim->shared_bytes)
				  : "?",
		    gy_out_bytes(inuse, gy_profile_total(profile, HEAP_INUSE_SPACE)), path);
	most = most_out(held, profile);
	if (gy_out_is_json()) {
		object = json_object();
		json_object_set_new(object, "pid", json_integer(held->target.pid));
		json_object_set_new(object, "comm", gy_out_json_text(held->target.comm));
		json_object_set_new(object, "time_ns", gy_out_json_u64(victim->time_ns));
		kernel_json(object, victim);
		json_object_set_new(object, "inuse_space",
				    gy_out_json_u64(gy_profile_total(profile, HEAP_INUSE_SPACE)));
		json_object_set_new(object, "torn", gy_out_json_u64(profile->torn));
		json_object_set_new(object, "profile", gy_out_json_text(path));
		json_object_set(object, "most", most);
		gy_out_stream_event(object);
	}
	json_decref(most);
	gy_profile_free(profile);
	return error;
}

static void stranger_tell(const struct gyre_victim *victim)
{
	json_t *object;

	gy_out_line("process %u killed for want of memory; it was not held: it has no control "
		    "page, or is younger than an interval",
		    victim->pid);
	if (!gy_out_is_json())
		return;
	object = json_object();
	json_object_set_new(object, "pid", json_integer(victim->pid));
	json_object_set_new(object, "comm", json_null());
	json_object_set_new(object, "time_ns", gy_out_json_u64(victim->time_ns));
	kernel_json(object, victim);
	json_object_set_new(object, "profile", json_null());
	gy_out_stream_event(object);
}

static int on_event(void *context, void *data, size_t bytes)
{
	struct guard *guard = context;
	struct gyre_victim victim;
	struct held *held;

	memset(&victim, 0, sizeof(victim));
	memcpy(&victim, data, bytes < sizeof(victim) ? bytes : sizeof(victim));
	if (victim.kind != GYRE_EVENT_VICTIM || (guard->only && (int)victim.pid != guard->only))
		return 0;
	held = held_find(guard, (int)victim.pid);
	if (!held)
		stranger_tell(&victim);
	else if (held_save(guard, held, &victim))
		guard->error = -1;
	guard->victims++;
	gy_out_flush();
	return 0;
}

/* ---------------------------------------------------------------- the command */

static int attach(struct guard *guard)
{
	guard->programs = oom_bpf__open_and_load();
	if (!guard->programs)
		return gy_session_load_error(-errno);
	guard->link = bpf_program__attach(guard->programs->progs.gyre_mark_victim);
	if (!guard->link)
		return gy_out_error("cannot attach to the tracepoint oom:mark_victim: %s (it takes "
				    "CAP_BPF, CAP_PERFMON and a readable tracefs)",
				    strerror(errno));
	guard->ring = ring_buffer__new(bpf_map__fd(guard->programs->maps.gyre_ring), on_event,
				       guard, NULL);
	return guard->ring ? 0 : gy_out_error("cannot map the ring: %s", strerror(errno));
}

/* GUARD-4 */
static void ask_to_be_spared(void)
{
	int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (file < 0)
		return;
	if (write(file, "-1000", 5) < 0)
		gy_out_info("This guard may itself be killed for want of memory: it takes "
			    "CAP_SYS_RESOURCE to be spared");
	close(file);
}

static int run(struct guard *guard)
{
	uint64_t now_ns = gy_monotonic_ns(), next_ns = now_ns;
	uint64_t end_ns = guard->duration_ns ? now_ns + guard->duration_ns : UINT64_MAX;
	int error = attach(guard);

	if (error)
		return error;
	ask_to_be_spared();
	gy_top_signals_catch();
	gy_out_begin(NULL, NULL);
	gy_out_stream("victims");
	processes_look(guard);
	gy_out_info("Guarding %zu process%s, Ctrl-C ends it", guard->held_count,
		    guard->held_count == 1 ? "" : "es");
	while (!gy_top_stopped() && now_ns < end_ns && !guard->error && !gy_out_flush() &&
	       (!guard->count || guard->victims < guard->count)) {
		ring_buffer__poll(guard->ring, 100);
		now_ns = gy_monotonic_ns();
		if (now_ns < next_ns)
			continue;
		processes_look(guard);
		next_ns = now_ns + guard->interval_ns;
	}
	gy_out_stream_end();
	gy_out_u64("lost", NULL, OUT_COUNT, guard->programs->bss->gyre_lost);
	gy_out_end();
	return guard->error;
}

static int words_read(struct guard *guard, int argc, char **argv)
{
	int error = 0;

	while (argc && !error) {
		if (gy_leak_word(*argv, "directory")) {
			if (argc < 2 || !*argv[1])
				return gy_out_error("'directory' needs a path behind it");
			guard->directory = argv[1];
			argc -= 2;
			argv += 2;
		} else if (gy_leak_word(*argv, "interval")) {
			error = gy_words_seconds(&argc, &argv, &guard->interval_ns);
		} else if (gy_leak_word(*argv, "duration")) {
			error = gy_words_seconds(&argc, &argv, &guard->duration_ns);
		} else if (gy_leak_word(*argv, "count")) {
			error = gy_words_u64(&argc, &argv, false, 1, UINT64_MAX, &guard->count);
		} else {
			return gy_out_error("expected 'directory', 'interval', 'duration' or "
					    "'count', got: '%s'?",
					    *argv);
		}
	}
	if (!error && access(guard->directory, W_OK | X_OK))
		return gy_out_error("cannot write to '%s': %s", guard->directory, strerror(errno));
	return error;
}

int gy_leak_guard(int argc, char **argv)
{
	struct guard guard = {.directory = ".", .interval_ns = INTERVAL_NS};
	struct gy_target target;
	int error = 0;

	if (argc && (gy_word_is(*argv, "pid") || gy_word_is(*argv, "name"))) {
		error = gy_target_arguments(&argc, &argv, &target, TARGET_CONTROL);
		if (error)
			return error;
		guard.only = target.pid;
		gy_target_close(&target);
	}
	error = words_read(&guard, argc, argv);
	if (!error)
		error = run(&guard);
	if (guard.ring)
		ring_buffer__free(guard.ring);
	bpf_link__destroy(guard.link);
	if (guard.programs)
		oom_bpf__destroy(guard.programs);
	while (guard.held) {
		struct held *held = guard.held;

		guard.held = held->next;
		held_free(held);
	}
	return error;
}
