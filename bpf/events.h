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

#endif
