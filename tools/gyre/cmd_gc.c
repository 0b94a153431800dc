/* cmd_gc.c - `gyre gc`: the collector of a running process.
 *
 *      show      its numbers, from the control page
 *      run       asks for a cycle, waits for it, tells what it freed
 *      trace     a line for each cycle as it ends      gc_trace.c
 *      phases    each cycle as a timeline              gc_phases.c
 *
 * `run` raises a bit of the control page and asks for a snapshot (control_page.h, CTL-6). The
 * answer names the first cycle that begins after the question; from then on snapshots are asked for
 * until that cycle is among the completed, and then until its sweeping is over. The process does
 * nothing for us but what it does for itself, and if this command is killed, it goes on.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control.h"
#include "gc_watch.h"
#include "output.h"
#include "rights.h"
#include "snapshot.h"
#include "target.h"
#include "words.h"

#define WAIT_NS (10ull * 1000000000)
#define POLL_LEAST_MS 1
#define POLL_MOST_MS 50

/* ---------------------------------------------------------------- the control page */

/* A snapshot in which the collector has a part. 0, or -1 with the error told. */
static int snapshot_read(struct gy_target *target, struct gy_snapshot *snapshot)
{
	int error = gy_control_read(target->control, GY_SNAPSHOT_WAIT_MS, snapshot);

	if (error)
		return gy_out_error("process %d (%s): %s", target->pid, target->comm,
				    gy_control_error(error));
	if (snapshot->header.abi >= 2)
		return 0;
	gy_snapshot_free(snapshot);
	return gy_out_error("process %d (%s): its Gyre is older than the collector", target->pid,
			    target->comm);
}

/* ---------------------------------------------------------------- show */

static double growth_rate(const struct gyre_control_gc *gc)
{
	return (double)gc->growth_rate_permille / 1000;
}

static void show_cycles(const struct gyre_control_gc *gc)
{
	char text[GY_OUT_TEXT];

	gy_out_begin("cycles", "Cycles");
	gy_out_u64("completed", "completed", OUT_COUNT, gc->cycles);
	gy_out_u64("forced", "  of these asked for", OUT_COUNT, gc->cycles_forced);
	gy_out_u64("failed", "given up", OUT_COUNT, gc->failed_stops);
	if (gc->failed_stops)
		gy_out_note("a thread did not stop; the process named it on its standard error");
	gy_out_text("phase", "now", gy_gc_phase_name(gc->phase));
	gy_out_u64("pause_max_ns", "longest pause", OUT_NS, gc->pause_max_ns);
	gy_out_u64("pause_last_ns", "last pause", OUT_NS, gc->pause_last_ns);
	gy_out_note("%" PRIu64 " thread%s stopped, %" PRIu64 " found blocked", gc->threads_stopped,
		    gc->threads_stopped == 1 ? "" : "s", gc->threads_blocked);
	gy_out_u64("pause_total_ns", "all pauses", OUT_NS, gc->pause_total_ns);
	if (gc->cycles)
		gy_out_note("%s in the mean", gy_out_ns(text, gc->pause_total_ns / gc->cycles));
	if (gy_out_is_json()) {
		gy_out_u64("threads_stopped", NULL, OUT_COUNT, gc->threads_stopped);
		gy_out_u64("threads_blocked", NULL, OUT_COUNT, gc->threads_blocked);
	}
	gy_out_u64("stack_bytes", "stacks scanned", OUT_BYTES, gc->stack_bytes);
	gy_out_u64("root_bytes", "globals scanned", OUT_BYTES, gc->root_bytes);
	gy_out_note("thread-local and registered memory included");
	gy_out_end();
}

/* Trigger, goal, growth rate; there are none while no cycle is to begin by itself. */
static void show_goal(const struct gyre_control_gc *gc)
{
	char text[32];

	if (!gy_gc_goal_is_set(gc->heap_goal_bytes)) {
		gy_out_null("heap_trigger_bytes", NULL, "");
		gy_out_null("heap_goal_bytes", "goal", "none");
		gy_out_null("heap_growth_rate", NULL, "");
		return;
	}
	gy_out_u64("heap_trigger_bytes", "trigger", OUT_BYTES, gc->heap_trigger_bytes);
	gy_out_note("the next cycle begins here");
	gy_out_u64("heap_goal_bytes", "goal", OUT_BYTES, gc->heap_goal_bytes);
	gy_out_note("and is to be done here");
	snprintf(text, sizeof(text), "%.2f", growth_rate(gc));
	if (gy_out_is_json())
		gy_out_json("heap_growth_rate", json_real(growth_rate(gc)));
	else
		gy_out_text("heap_growth_rate", "growth rate", text);
	gy_out_note("goal / in use");
}

static void show_heap(const struct gyre_control_gc *gc)
{
	gy_out_begin("heap", "Collected heap");
	gy_out_u64("heap_live_bytes", "live", OUT_BYTES, gc->heap_live_bytes);
	gy_out_note("what the last cycle found reachable");
	gy_out_u64("heap_inuse_bytes", "in use", OUT_BYTES, gc->heap_inuse_bytes);
	gy_out_note("with what is new, and garbage not yet swept");
	show_goal(gc);
	gy_out_u64("heap_span_bytes", "in spans", OUT_BYTES, gc->heap_span_bytes);
	if (gy_out_is_json()) {
		gy_out_json("percent", json_integer((json_int_t)gc->percent));
	} else if (gc->percent < 0) {
		gy_out_text("percent", "percent", "off");
	} else {
		gy_out_u64("percent", "percent", OUT_COUNT, (uint64_t)gc->percent);
		gy_out_note("of what is live: how far it may grow");
	}
	if (gc->memory_limit_bytes || gy_out_is_json())
		gy_out_u64("memory_limit_bytes", "memory limit", OUT_BYTES, gc->memory_limit_bytes);
	else
		gy_out_null("memory_limit_bytes", "memory limit", "none");
	gy_out_end();
}

static void show_work(const struct gyre_control_gc *gc)
{
	char text[GY_OUT_TEXT];

	gy_out_begin("marking", "Marking");
	gy_out_u64("workers", "workers", OUT_COUNT, gc->workers);
	gy_out_u64("mark_bytes", "last cycle scanned", OUT_BYTES, gc->mark_bytes);
	gy_out_u64("mark_total_ns", "time marking", OUT_NS, gc->mark_total_ns);
	if (gc->cycles)
		gy_out_note("all cycles; %s in the mean",
			    gy_out_ns(text, gc->mark_total_ns / gc->cycles));
	gy_out_u64("mark_cpu_ns", "CPU of workers", OUT_NS, gc->mark_cpu_ns);
	gy_out_u64("assist_ns", "CPU of assists", OUT_NS, gc->assist_ns);
	gy_out_note("%s assist%s", gy_out_count(text, gc->assists), gc->assists == 1 ? "" : "s");
	if (gy_out_is_json())
		gy_out_u64("assists", NULL, OUT_COUNT, gc->assists);
	gy_out_u64("barrier_shades", "kept by barriers", OUT_COUNT, gc->barrier_shades);
	gy_out_note("overwritten pointers");
	gy_out_end();

	gy_out_begin("objects", "Objects, since start");
	gy_out_u64("objects_allocated", "allocated", OUT_COUNT, gc->objects_allocated);
	gy_out_u64("bytes_allocated", "  bytes", OUT_BYTES, gc->bytes_allocated);
	gy_out_u64("bytes_freed", "freed", OUT_BYTES, gc->bytes_freed);
	gy_out_u64("weak_cleared", "weak references cleared", OUT_COUNT, gc->weak_cleared);
	gy_out_u64("finalisers_run", "finalisers, cleanups run", OUT_COUNT, gc->finalisers_run);
	gy_out_end();
}

/* Of the options only those that set the collector. */
static void show_options(const struct gy_snapshot *snapshot)
{
	gy_out_begin("options", "Options");
	for (size_t i = 0; i < snapshot->option_count; i++)
		if (!strncmp(snapshot->options[i].name, "gc_", 3))
			gy_out_text(snapshot->options[i].name, snapshot->options[i].name,
				    snapshot->options[i].value);
	gy_out_end();
}

static int show_target(struct gy_target *target, void *context)
{
	const bool *options = context;
	const struct gyre_control_gc *gc;
	struct gy_snapshot snapshot;

	if (snapshot_read(target, &snapshot))
		return -1;
	gc = &snapshot.header.gc;
	gy_snapshot_head_out(target, &snapshot);
	if (gy_out_is_json())
		gy_out_bool("used", NULL, gc->used);
	else if (!gc->used)
		gy_out_line("It has asked for no collected object yet.");
	if (gc->used || gy_out_is_json()) {
		show_heap(gc);
		show_cycles(gc);
		show_work(gc);
	}
	if (*options)
		show_options(&snapshot);
	gy_out_end();
	gy_snapshot_free(&snapshot);
	return 0;
}

static int cmd_show(int argc, char **argv)
{
	struct gy_targets targets;
	bool options = false;
	int error = 0;

	if (gy_targets_arguments(&argc, &argv, &targets, TARGET_CONTROL))
		return -1;
	for (; argc && !error; argc--, argv++) {
		if (gy_word_is(*argv, "options"))
			options = true;
		else
			error = gy_out_error("expected 'options', got: '%s'?", *argv);
	}
	if (!error)
		error = gy_targets_each(&targets, show_target, &options);
	gy_targets_close(&targets);
	return error;
}

/* ---------------------------------------------------------------- run */

struct run {
	struct gy_target *target;
	struct gyre_control_gc before, after; /* what the process said, first and last */
	uint64_t wanted, begin_ns, deadline_ns;
	bool swept;
};

static bool over(const struct run *run)
{
	return run->after.cycles + run->after.failed_stops >= run->wanted;
}

/* What is awaited: the cycle, then the end of its sweeping. */
static bool complete(const struct run *run)
{
	return over(run) &&
	       (!run->after.phase || run->after.failed_stops > run->before.failed_stops);
}

static void nap(unsigned int ms)
{
	struct timespec time = {0, (long)ms * 1000000};

	nanosleep(&time, NULL);
}

static int cannot_be_asked(const struct gy_target *target)
{
	return gy_out_error("process %d (%s) cannot be asked: its control page may only be read%s",
			    target->pid, target->comm, gy_rights_ask_lack());
}

/* The question. 0, or -1 with the error told. */
static int run_ask(struct run *run)
{
	struct gy_target *target = run->target;
	struct gy_snapshot snapshot;
	int error;

	if (snapshot_read(target, &snapshot))
		return -1;
	if (!gy_control_may_ask(target->control)) { /* then the numbers are old, too */
		gy_snapshot_free(&snapshot);
		return cannot_be_asked(target);
	}
	run->before = snapshot.header.gc;
	error = snapshot.fresh ? 0 : -1;
	gy_snapshot_free(&snapshot);
	if (!run->before.used) /* of old numbers that says nothing */
		return error ? gy_out_error("process %d (%s) did not answer", target->pid,
					    target->comm)
			     : gy_out_error("process %d (%s) has asked for no collected object "
					    "yet", target->pid, target->comm);
	if (!gy_control_command(target->control, GYRE_CONTROL_COLLECT))
		return cannot_be_asked(target);
	run->begin_ns = gy_monotonic_ns();
	error = gy_control_read(target->control, GY_SNAPSHOT_WAIT_MS, &snapshot);
	while (!error && !snapshot.fresh && gy_monotonic_ns() < run->deadline_ns &&
	       !gy_target_ended(target)) {
		gy_snapshot_free(&snapshot);
		error = gy_control_read(target->control, GY_SNAPSHOT_WAIT_MS, &snapshot);
	}
	if (error)
		return gy_out_error("process %d (%s): %s", target->pid, target->comm,
				    gy_control_error(error));
	run->after = snapshot.header.gc;
	run->wanted = run->after.commanded_cycle;
	error = snapshot.fresh ? 0 : -1;
	gy_snapshot_free(&snapshot);
	return error ? gy_out_error("process %d (%s) did not answer", target->pid, target->comm)
		     : 0;
}

/* The wait. 0, or -1 with the error told. */
static int run_wait(struct run *run)
{
	struct gy_target *target = run->target;
	unsigned int ms = POLL_LEAST_MS;

	while (!complete(run)) {
		struct gy_snapshot snapshot;

		if (gy_target_ended(target))
			return gy_out_error("process %d (%s) has ended", target->pid, target->comm);
		if (gy_monotonic_ns() >= run->deadline_ns)
			break;
		nap(ms);
		ms = ms * 2 < POLL_MOST_MS ? ms * 2 : POLL_MOST_MS;
		if (gy_control_read(target->control, GY_SNAPSHOT_WAIT_MS, &snapshot))
			continue; /* it is ending, or the page is torn: the next look tells */
		run->after = snapshot.header.gc;
		gy_snapshot_free(&snapshot);
	}
	if (!over(run))
		return gy_out_error("process %d (%s): its cycle was not over in time ('wait')",
				    target->pid, target->comm);
	if (run->after.failed_stops > run->before.failed_stops &&
	    run->after.cycles == run->before.cycles)
		return gy_out_error("process %d (%s) gave the cycle up: a thread did not stop; it "
				    "named it on its standard error",
				    target->pid, target->comm);
	run->swept = !run->after.phase;
	return 0;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void run_out(const struct run *run)
{
	const struct gyre_control_gc *before = &run->before, *after = &run->after;
	uint64_t freed = minus(after->bytes_freed, before->bytes_freed);
	uint64_t cycles = minus(after->cycles, before->cycles);

	gy_out_begin(NULL, NULL);
	if (gy_out_is_json()) {
		gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)run->target->pid);
		gy_out_text("comm", NULL, run->target->comm);
		gy_out_u64("cycle", NULL, OUT_COUNT, after->cycles);
		gy_out_u64("cycles", NULL, OUT_COUNT, cycles);
		gy_out_bool("swept", NULL, run->swept);
	} else {
		gy_out_line("%s (pid %d) has collected: cycle %" PRIu64 "%s", run->target->comm,
			    run->target->pid, after->cycles,
			    run->swept ? "" : ", not yet wholly swept");
	}
	gy_out_u64("freed_bytes", "freed", OUT_BYTES, freed);
	if (cycles > 1)
		gy_out_note("by %" PRIu64 " cycles: one was under way", cycles);
	gy_out_u64("heap_before_bytes", "in use before", OUT_BYTES, before->heap_inuse_bytes);
	gy_out_u64("heap_after_bytes", "in use after", OUT_BYTES, after->heap_inuse_bytes);
	gy_out_u64("heap_live_bytes", "live", OUT_BYTES, after->heap_live_bytes);
	if (gy_gc_goal_is_set(after->heap_goal_bytes))
		gy_out_u64("heap_goal_bytes", "next goal", OUT_BYTES, after->heap_goal_bytes);
	else
		gy_out_null("heap_goal_bytes", "next goal", "none");
	gy_out_u64("pause_ns", "pause", OUT_NS, after->pause_last_ns);
	gy_out_u64("mark_ns", "marking", OUT_NS,
		   minus(after->mark_total_ns, before->mark_total_ns));
	gy_out_u64("mark_bytes", "scanned", OUT_BYTES, after->mark_bytes);
	gy_out_u64("duration_ns", "waited", OUT_NS, gy_monotonic_ns() - run->begin_ns);
	gy_out_end();
}

static int cmd_run(int argc, char **argv)
{
	uint64_t wait_ns = WAIT_NS;
	struct gy_target target;
	struct run run = {.target = &target};
	int error = 0;

	if (gy_target_arguments(&argc, &argv, &target, TARGET_CONTROL))
		return -1;
	while (argc && !error) {
		if (gy_word_is(*argv, "wait"))
			error = gy_words_seconds(&argc, &argv, &wait_ns);
		else
			error = gy_out_error("expected 'wait', got: '%s'?", *argv);
	}
	run.deadline_ns = gy_monotonic_ns() + wait_ns;
	if (!error)
		error = run_ask(&run);
	if (!error)
		error = run_wait(&run);
	if (!error)
		run_out(&run);
	gy_target_close(&target);
	return error;
}

/* ---------------------------------------------------------------- the object */

static int cmd_gc_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr, "Usage: gyre gc show PROC... [options]\n"
			"       gyre gc run PROC [wait TIME]\n"
			"       gyre gc trace PROC [duration TIME] [count N]\n"
			"       gyre gc phases PROC [duration TIME] [count N]\n"
			"       gyre gc help\n"
			"\n"
			"       " GY_HELP_PROC "\n"
			"       TIME := seconds, or 250ms, 10s, 5m, 1h\n"
			"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static const struct gy_command commands[] = {
	{"show", cmd_show},       {"run", cmd_run},      {"trace", gy_gc_trace},
	{"phases", gy_gc_phases}, {"help", cmd_gc_help}, {NULL, NULL},
};

int gy_cmd_gc(int argc, char **argv)
{
	return gy_words_run(commands, "gc", argc, argv, cmd_gc_help);
}
