/* events.h - the records that eBPF programs send to the CLI.
 *
 * Shared by bpf/ (which has vmlinux.h's types) and tools/ (which has libc's). Fixed-size fields,
 * no pointers, no padding that is not named. The frames are user addresses of the traced process.
 */
#ifndef GYRE_EVENTS_H
#define GYRE_EVENTS_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define GYRE_EVENT_FRAMES 32
#define GYRE_EVENT_COMM 16
#define GYRE_EVENT_ARGUMENTS 12

enum gyre_event_kind {
	GYRE_EVENT_ALLOC = 1, /* alloc_sample */
	GYRE_EVENT_FREE = 2,  /* free_sample */
	GYRE_EVENT_LARGE_ALLOC = 3,
	GYRE_EVENT_LARGE_FREE = 4,
	GYRE_EVENT_PROBE = 5, /* any probe, shown raw: struct gyre_probe_event */
	GYRE_EVENT_BATCH = 6, /* records of the probe `events`: struct gyre_batch */
	GYRE_EVENT_VICTIM = 7, /* struct gyre_victim */
};

/* How every record begins. */
struct gyre_event_head {
	__u32 kind, number;
	__u64 time_ns;
};

struct gyre_event {
	__u32 kind, depth;
	__u64 time_ns;  /* CLOCK_MONOTONIC, as bpf_ktime_get_ns */
	__u32 pid, tid; /* in the CLI's pid namespace; the initial one on kernels before 5.7 */
	__u64 block, requested_bytes, block_bytes, weight_bytes;
	__u64 lifetime_ns; /* GYRE_EVENT_FREE */
	char comm[GYRE_EVENT_COMM];
	__u64 frames[GYRE_EVENT_FRAMES]; /* large blocks are sent without this array */
};

struct gyre_probe_event {
	__u32 kind, probe; /* probe: its place in probes.def, from 0 */
	__u64 time_ns;
	__u32 pid, tid;
	__u32 argument_count, spare;
	char comm[GYRE_EVENT_COMM];
	__u64 arguments[GYRE_EVENT_ARGUMENTS];
};

/* A batch of every-event tracing: this head, then `count` of struct gyre_record
 * (lib/trace/event_record.h). What a filter left out is in `recorded` and not in `count`. */
struct gyre_batch {
	__u32 kind, target; /* target: the cookie of the attachment */
	__u64 time_ns;
	__u32 thread; /* whose events, as the process itself numbers its threads */
	__u32 count, recorded;
	__u32 reason;        /* as the probe's */
	__u64 first;         /* number of the first of `recorded` (EVENT-2) */
	__u64 dropped;       /* of this thread, by the library, so far */
	__u32 pid, tid;      /* who fired the probe, in the CLI's pid namespace */
};

/* What is counted in the kernel: how often, and bytes in all. */
struct gyre_cell {
	__u64 count, bytes;
};

#define GYRE_CELL_OPERATIONS 8 /* above GYRE_RECORD_OPERATIONS, a power of 2 */
#define GYRE_CELL_CLASSES 256
#define GYRE_CELL_SIZES 64    /* by power of two: cell n holds [2^n, 2^(n+1)), cell 0 also 0 */
#define GYRE_SITES 65536      /* stacks whose ids are below this have a cell of their own */
#define GYRE_SITE_TABLES 4    /* of one run at a time each; behind them one that is shared */
#define GYRE_SLOTS_PER_CPU 4

/* The four operations at one stack id; index: operation - 1. */
struct gyre_site {
	struct gyre_cell operations[4];
};

/* How a place of a probe passes its arguments (tools/gyre/attach.h): 64-bit integers, each a
 * constant, a register, or memory at a register. */
enum gyre_argument_kind {
	GYRE_ARGUMENT_CONSTANT = 0,
	GYRE_ARGUMENT_REGISTER = 1,
	GYRE_ARGUMENT_MEMORY = 2,
};

struct gyre_argument {
	__u64 value;       /* the constant, or what is added to the register */
	__u16 kind, place; /* place: of the register, in struct pt_regs */
	__u32 spare;
};

#define GYRE_PLACES 128 /* that one program's object can be attached to */

struct gyre_place {
	__u64 cookie;
	__u32 count;
	__u32 array; /* they lie in memory, one behind the other */
	struct gyre_argument arguments[GYRE_EVENT_ARGUMENTS];
};

/* A process that the kernel kills for want of memory. */
struct gyre_victim {
	__u32 kind, pid; /* pid: in the first pid namespace */
	__u64 time_ns;
	__u32 known; /* 1: the rest is */
	__s32 score_adjust;
	__u64 total_bytes, anonymous_bytes, file_bytes, shared_bytes;
};

/* A birth that waits for its end, or (ended) an end that came before its birth. */
struct gyre_birth {
	__u64 ticks;
	__u32 bytes, ended;
};

#endif
