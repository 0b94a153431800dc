/* gc_watch.h - the cycles of a running process's collector, put together from its probes.
 *
 *      gc_cycle_begin ─ gc_pause_begin ─ gc_pause_end ─ gc_phase ... ─ gc_pace ─ gc_cycle_end ─
 *      gc_phase └───────────────────────────── struct gy_gc_cycle ──────────────────────┘
 *      │
 *        `trace` is handed it here ────────────────────────────────────────────┘              │
 *        `phases` is handed it here, swept ───────────────────────────────────────────────────┘
 *
 * A handful of hits for each cycle, so that watching costs the process nothing that can be
 * measured; gc_assist, which may come often, is not attached: gc_cycle_end brings the sum.
 *
 * GCW-1  A cycle whose begin was not seen (it was under way when the watching began) has `begun`
 *        false: what only the begin tells is unknown, and is shown so.
 * GCW-2  Numbers of the process are taken as they come; none is an index here.
 */
#ifndef GYRE_TOOLS_GC_WATCH_H
#define GYRE_TOOLS_GC_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "session.h"
#include "target.h"

#define GY_GC_PARTS 24

/* A stretch of a cycle, on CLOCK_MONOTONIC. */
struct gy_gc_part {
	enum { PART_PHASE, PART_PAUSE, PART_PREPARE } kind;
	uint32_t which; /* number of the phase, kind of the pause */
	uint64_t begin_ns, end_ns;
};

struct gy_gc_cycle {
	uint64_t number;
	bool begun, ended, paced;
	uint64_t begin_ns, end_ns; /* of the probes; end: the flip */
	/* gc_cycle_begin */
	uint32_t reason;
	uint64_t begin_inuse_bytes, begin_goal_bytes, begin_live_bytes;
	/* gc_pause_end, of the pauses in which nothing ran */
	uint64_t pauses, pause_max_ns, stop_max_ns, root_bytes;
	uint64_t threads_stopped, threads_blocked;
	/* gc_pace */
	uint64_t goal_bytes, trigger_bytes, growth_rate_permille, memory_limit_bytes;
	/* gc_cycle_end */
	uint64_t duration_ns, live_bytes, marked_bytes, pause_ns, assist_ns, worker_cpu_ns;
	uint64_t inuse_bytes, assists, barrier_shades, error;
	struct gy_gc_part parts[GY_GC_PARTS];
	unsigned int part_count;
};

struct gy_gc_watch {
	struct gy_target target;
	struct gy_session session;
	struct probe_bpf *programs;
	/* set by the command */
	bool until_swept; /* hand a cycle over when it is swept, not when it has marked */
	void (*show)(struct gy_gc_watch *watch, const struct gy_gc_cycle *cycle);
	uint64_t duration_ns, count;
	/* so far */
	uint64_t shown;
	int64_t wall_offset_ns;
	unsigned int cpus; /* that the process may use */
	struct gy_gc_cycle cycle;
	bool open;
	struct {
		uint64_t cycles, failed, pause_max_ns, pause_ns, marked_bytes, assist_ns,
			worker_cpu_ns;
	} totals;
};

/* gy_gc_watch_run - reads PROC [duration TIME] [count N] from the words, attaches, calls `begin`
 * once the document may begin, `show` for each cycle, and returns after the detach: 0, or -1 with
 * the error told. Close it either way. */
int gy_gc_watch_run(struct gy_gc_watch *watch, int argc, char **argv,
		    void (*begin)(struct gy_gc_watch *watch));
void gy_gc_watch_close(struct gy_gc_watch *watch);
uint64_t gy_gc_watch_lost(const struct gy_gc_watch *watch);
/* gy_gc_watch_wall - a CLOCK_MONOTONIC time as the time of day. */
void gy_gc_watch_wall(const struct gy_gc_watch *watch, uint64_t time_ns, char text[32]);

const char *gy_gc_reason_name(uint32_t reason);
const char *gy_gc_phase_name(uint64_t phase);
const char *gy_gc_error_name(uint64_t error);
const char *gy_gc_part_name(const struct gy_gc_part *part);

/* gy_gc_goal_is_set - with a percent below 0 the goal is as far away as can be. */
bool gy_gc_goal_is_set(uint64_t goal_bytes);

/* The commands: gc_trace.c, gc_phases.c. */
int gy_gc_trace(int argc, char **argv);
int gy_gc_phases(int argc, char **argv);

#endif
