/* probe.bpf.c - the events of `gyre probe trace`: any probe of probes.def, with its arguments.
 *
 * One program serves all: the probe's number in probes.def comes as the cookie. Hits
 * are counted before the ring is tried, so that a count is exact even when the ring overflows.
 */
#include "common.bpf.h"

#define PROBES_MAX 64

__u64 gyre_hits[PROBES_MAX] = {};
const volatile bool gyre_count_only = false;

SEC("uprobe")
int gyre_probe_hit(struct pt_regs *ctx)
{
	const struct gyre_place *place = gyre_place(ctx);
	struct gyre_probe_event *event;
	__u64 probe;

	if (!place)
		return 0;
	probe = place->cookie;
	if (probe < PROBES_MAX)
		__sync_fetch_and_add(&gyre_hits[probe], 1);
	if (gyre_count_only)
		return 0;
	event = bpf_ringbuf_reserve(&gyre_ring, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&gyre_lost, 1);
		return 0;
	}
	event->kind = GYRE_EVENT_PROBE;
	event->probe = (__u32)probe;
	event->time_ns = bpf_ktime_get_ns();
	gyre_who(&event->pid, &event->tid, event->comm);
	event->argument_count = place->count;
	event->spare = 0;
	gyre_arguments(ctx, place, event->arguments);
	bpf_ringbuf_submit(event, gyre_wake(sizeof(*event)));
	return 0;
}
