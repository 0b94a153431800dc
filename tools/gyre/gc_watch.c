/* gc_watch.c - see gc_watch.h.
 *
 * The eBPF program is that of `gyre probe trace` (bpf/probe.bpf.c): it sends a probe's number in
 * probes.def and its arguments. Here they get names again; a test fires each with known values.
 */
#include "gc_watch.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "events.h"
#include "probe.skel.h"
#include "output.h"
#include "probes.h"
#include "words.h"

const char *gy_gc_reason_name(uint32_t reason)
{
	static const char *const names[] = {"heap", "forced", "limit", "stress"};

	return reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "other";
}

bool gy_gc_goal_is_set(uint64_t goal_bytes)
{
	return goal_bytes < 1ull << 60;
}

const char *gy_gc_phase_name(uint64_t phase)
{
	static const char *const names[] = {"idle", "marking", "ending", "sweeping"};

	return phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "other";
}

const char *gy_gc_error_name(uint64_t error)
{
	switch (error) {
	case EDEADLK: /* the process named it on its standard error */
		return "a thread did not stop";
	case EAGAIN:
		return "libraries were loaded all the time";
	default:
		return error < 4096 ? strerror((int)error) : "unknown error";
	}
}

const char *gy_gc_part_name(const struct gy_gc_part *part)
{
	static const char *const pauses[] = {"pause", "verify"};

	if (part->kind == PART_PREPARE)
		return "prepare";
	if (part->kind == PART_PHASE)
		return gy_gc_phase_name(part->which);
	return part->which < sizeof(pauses) / sizeof(pauses[0]) ? pauses[part->which] : "pause";
}

/* ---------------------------------------------------------------- a cycle from its events */

static struct gy_gc_part *part_begin(struct gy_gc_cycle *cycle, uint32_t which, uint64_t now_ns)
{
	struct gy_gc_part *part;

	if (cycle->part_count == GY_GC_PARTS)
		return NULL;
	part = &cycle->parts[cycle->part_count++];
	*part = (struct gy_gc_part){.which = which, .begin_ns = now_ns};
	return part;
}

/* Ends the last open part of that kind. */
static void part_end(struct gy_gc_cycle *cycle, int kind, uint64_t now_ns)
{
	for (unsigned int i = cycle->part_count; i--;) {
		struct gy_gc_part *part = &cycle->parts[i];

		if ((int)part->kind != kind)
			continue;
		if (!part->end_ns)
			part->end_ns = now_ns;
		return;
	}
}

static void hand_over(struct gy_gc_watch *watch)
{
	struct gy_gc_cycle *cycle = &watch->cycle;

	watch->open = false;
	if (!cycle->ended || (watch->until_swept && !cycle->begun))
		return;
	watch->totals.cycles += !cycle->error;
	watch->totals.failed += cycle->error != 0;
	watch->totals.pause_ns += cycle->pause_ns;
	watch->totals.marked_bytes += cycle->marked_bytes;
	watch->totals.assist_ns += cycle->assist_ns;
	watch->totals.worker_cpu_ns += cycle->worker_cpu_ns;
	if (cycle->pause_max_ns > watch->totals.pause_max_ns)
		watch->totals.pause_max_ns = cycle->pause_max_ns;
	watch->shown++;
	watch->show(watch, cycle);
}

/* The cycle that an event is about; what came before is over. */
static struct gy_gc_cycle *cycle_of(struct gy_gc_watch *watch, uint64_t number, uint64_t now_ns)
{
	if (watch->open && watch->cycle.number != number) {
		part_end(&watch->cycle, PART_PHASE, now_ns);
		hand_over(watch);
	}
	if (!watch->open) {
		memset(&watch->cycle, 0, sizeof(watch->cycle));
		watch->cycle.number = number;
		watch->open = true;
	}
	return &watch->cycle;
}

static void on_cycle_begin(struct gy_gc_watch *watch, uint64_t now_ns, const __u64 *a)
{
	struct gy_gc_cycle *cycle = cycle_of(watch, a[0], now_ns);
	struct gy_gc_part *part = part_begin(cycle, 0, now_ns);

	cycle->begun = true;
	cycle->begin_ns = now_ns;
	cycle->reason = (uint32_t)a[1];
	cycle->begin_inuse_bytes = a[2];
	cycle->begin_goal_bytes = a[3];
	cycle->begin_live_bytes = a[4];
	if (part)
		part->kind = PART_PREPARE;
}

static void on_phase(struct gy_gc_watch *watch, uint64_t now_ns, const __u64 *a)
{
	struct gy_gc_cycle *cycle = cycle_of(watch, a[0], now_ns);
	struct gy_gc_part *part;

	part_end(cycle, PART_PHASE, now_ns);
	part_end(cycle, PART_PREPARE, now_ns);
	if (!a[1]) {
		if (cycle->ended && watch->until_swept)
			hand_over(watch);
		return;
	}
	part = part_begin(cycle, (uint32_t)a[1], now_ns);
	if (part)
		part->kind = PART_PHASE;
}

static void on_pause_begin(struct gy_gc_watch *watch, uint64_t now_ns, const __u64 *a)
{
	struct gy_gc_cycle *cycle = cycle_of(watch, a[0], now_ns);
	struct gy_gc_part *part;

	part_end(cycle, PART_PREPARE, now_ns);
	part = part_begin(cycle, (uint32_t)a[1], now_ns);
	if (part)
		part->kind = PART_PAUSE;
}

static void on_pause_end(struct gy_gc_watch *watch, uint64_t now_ns, const __u64 *a)
{
	struct gy_gc_cycle *cycle = cycle_of(watch, a[0], now_ns);

	part_end(cycle, PART_PAUSE, now_ns);
	cycle->pauses++;
	if (a[2] > cycle->pause_max_ns)
		cycle->pause_max_ns = a[2];
	if (a[6] > cycle->stop_max_ns)
		cycle->stop_max_ns = a[6];
	cycle->threads_stopped = a[3];
	cycle->threads_blocked = a[4];
	cycle->root_bytes += a[5];
}

static void on_pace(struct gy_gc_watch *watch, uint64_t now_ns, const __u64 *a)
{
	struct gy_gc_cycle *cycle;

	(void)now_ns;
	/* The pacer also speaks between cycles, when percent or limit change. */
	if (!watch->open || watch->cycle.number != a[0])
		return;
	cycle = &watch->cycle;
	cycle->paced = true;
	cycle->goal_bytes = a[1];
	cycle->trigger_bytes = a[2];
	cycle->growth_rate_permille = a[5];
	cycle->memory_limit_bytes = a[6];
}

static void on_cycle_end(struct gy_gc_watch *watch, uint64_t now_ns, const __u64 *a)
{
	struct gy_gc_cycle *cycle = cycle_of(watch, a[0], now_ns);

	cycle->ended = true;
	cycle->end_ns = now_ns;
	cycle->duration_ns = a[1];
	cycle->live_bytes = a[2];
	cycle->marked_bytes = a[3];
	cycle->pause_ns = a[4];
	if (!cycle->pauses) /* attached after it: a cycle has one, so the sum is the longest */
		cycle->pause_max_ns = cycle->pause_ns;
	cycle->assist_ns = a[5];
	cycle->worker_cpu_ns = a[6];
	cycle->inuse_bytes = a[7];
	cycle->assists = a[8];
	cycle->barrier_shades = a[9];
	cycle->error = a[10];
	if (!watch->until_swept || cycle->error)
		hand_over(watch);
}

static const struct {
	const char *name;
	bool timeline; /* `phases` alone needs it */
	void (*take)(struct gy_gc_watch *watch, uint64_t now_ns, const __u64 *arguments);
} probes[] = {
	/* the last one attached opens the session's window (SES-2) */
	{"gc_pause_begin", true, on_pause_begin}, {"gc_phase", true, on_phase},
	{"gc_pause_end", false, on_pause_end},    {"gc_pace", false, on_pace},
	{"gc_cycle_end", false, on_cycle_end},    {"gc_cycle_begin", false, on_cycle_begin},
};
#define PROBES (sizeof(probes) / sizeof(probes[0]))

static int on_event(void *context, const void *data, size_t bytes)
{
	struct gy_gc_watch *watch = context;
	struct gyre_probe_event event;

	memset(&event, 0, sizeof(event));
	memcpy(&event, data, bytes < sizeof(event) ? bytes : sizeof(event));
	if (event.kind == GYRE_EVENT_PROBE && event.probe < PROBES)
		probes[event.probe].take(watch, event.time_ns, event.arguments);
	return watch->count && watch->shown >= watch->count;
}

/* ---------------------------------------------------------------- load, attach, run */

static int load(struct gy_gc_watch *watch, bool sleepable)
{
	return gy_session_load_probes(&watch->programs, sleepable, false);
}

static unsigned int cpus_of(int pid)
{
	cpu_set_t set;
	int count;

	CPU_ZERO(&set);
	if (sched_getaffinity(pid, sizeof(set), &set))
		return 1;
	count = CPU_COUNT(&set);
	return count > 0 ? (unsigned int)count : 1;
}

static int attach_and_run(struct gy_gc_watch *watch, void (*begin)(struct gy_gc_watch *watch))
{
	int error = load(watch, true);

	if (error && error != -EPERM && error != -EACCES && error != -ENOSYS)
		error = load(watch, false);
	if (error)
		return gy_session_load_error(error);
	if (gy_session_begin(&watch->session, &watch->target))
		return -1;
	for (size_t i = 0; i < PROBES; i++)
		if ((watch->until_swept || !probes[i].timeline) &&
		    gy_session_attach(&watch->session, watch->programs->obj,
				      watch->programs->progs.gyre_probe_hit,
				      probes[i].name, i))
			return -1;
	watch->wall_offset_ns = gy_wall_offset_ns();
	watch->cpus = cpus_of(watch->target.pid);
	begin(watch);
	error = gy_session_run(&watch->session, bpf_map__fd(watch->programs->maps.gyre_ring),
			       watch->duration_ns, on_event, watch);
	if (!error && watch->open && watch->session.stop != STOP_READER)
		hand_over(watch); /* marked, and not swept before the end */
	return error;
}

static int words_read(struct gy_gc_watch *watch, int argc, char **argv)
{
	int error = 0;

	while (argc && !error) {
		if (gy_word_is(*argv, "duration"))
			error = gy_words_seconds(&argc, &argv, &watch->duration_ns);
		else if (gy_word_is(*argv, "count"))
			error = gy_words_u64(&argc, &argv, false, 1, UINT64_MAX, &watch->count);
		else
			error = gy_out_error("expected 'duration' or 'count', got: '%s'?", *argv);
	}
	return error;
}

int gy_gc_watch_run(struct gy_gc_watch *watch, int argc, char **argv,
		    void (*begin)(struct gy_gc_watch *watch))
{
	int error;

	watch->session.signal_fd = -1;
	watch->target.pid_fd = -1;
	if (gy_target_arguments(&argc, &argv, &watch->target, TARGET_GYRE)) {
		watch->target.pid = 0; /* nothing was opened */
		return -1;
	}
	error = words_read(watch, argc, argv);
	if (!error && !watch->target.image_count)
		error = gy_out_error("process %d (%s) runs on Gyre, but no file with its probes "
				     "can be read",
				     watch->target.pid, watch->target.comm);
	return error ? error : attach_and_run(watch, begin);
}

void gy_gc_watch_close(struct gy_gc_watch *watch)
{
	if (watch->target.pid) {
		gy_session_end(&watch->session);
		gy_target_close(&watch->target);
	}
	if (watch->programs)
		probe_bpf__destroy(watch->programs);
	free(watch);
}

uint64_t gy_gc_watch_lost(const struct gy_gc_watch *watch)
{
	return watch->programs->bss->gyre_lost;
}

void gy_gc_watch_wall(const struct gy_gc_watch *watch, uint64_t time_ns, char text[32])
{
	int64_t wall_ns = (int64_t)time_ns + watch->wall_offset_ns;
	time_t seconds = (time_t)(wall_ns / 1000000000);
	struct tm local;

	localtime_r(&seconds, &local);
	snprintf(text, 32, "%02d:%02d:%02d.%03d", local.tm_hour, local.tm_min, local.tm_sec,
		 (int)(wall_ns / 1000000 % 1000));
}
