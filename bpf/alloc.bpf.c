/* alloc.bpf.c - the events of `gyre alloc trace`: sampled blocks and large blocks, born and freed.
 *
 *      alloc_sample, free_sample    with the stack of the allocation, which the library captured
 *      large_alloc, large_free      without
 *
 * Each program asks its filters first, then reserves the record in the ring and fills it there: no
 * copy. The stack is the library's array of return addresses in user memory (probes.def); nothing
 * is unwound here. What the argument numbers mean is probes.def's; a test fires each probe with
 * known values and compares.
 */
#include "common.bpf.h"

const volatile __u64 gyre_min_bytes = 0;             /* block_bytes below this are not sent */
const volatile __u32 gyre_depth = GYRE_EVENT_FRAMES; /* frames wanted; 0: none */

#define HEAD_BYTES __builtin_offsetof(struct gyre_event, frames)

/* The head of a record, zero where a probe has nothing to say. */
static __always_inline void head_fill(struct gyre_event *event, __u32 kind)
{
	__builtin_memset(event, 0, HEAD_BYTES);
	event->kind = kind;
	event->time_ns = bpf_ktime_get_ns();
	gyre_who(&event->pid, &event->tid, event->comm);
}

static __always_inline void frames_read(struct gyre_event *event, __u64 from, __u32 depth)
{
	if (depth > gyre_depth)
		depth = gyre_depth;
	if (depth > GYRE_EVENT_FRAMES)
		depth = GYRE_EVENT_FRAMES;
	if (!depth || !from)
		return;
	if (gyre_read_user(event->frames, depth * sizeof(__u64), (const void *)from))
		__sync_fetch_and_add(&gyre_faults, 1);
	else
		event->depth = depth;
}

static __always_inline int sample_send(struct pt_regs *ctx, __u32 kind)
{
	const struct gyre_place *place = gyre_place(ctx);
	__u64 arguments[GYRE_EVENT_ARGUMENTS];
	struct gyre_event *event;

	if (!place)
		return 0;
	gyre_arguments(ctx, place, arguments);
	if (arguments[2] < gyre_min_bytes)
		return 0;
	event = bpf_ringbuf_reserve(&gyre_ring, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&gyre_lost, 1);
		return 0;
	}
	head_fill(event, kind);
	event->block = arguments[0];
	event->requested_bytes = arguments[1];
	event->block_bytes = arguments[2];
	event->weight_bytes = arguments[3];
	if (kind == GYRE_EVENT_FREE)
		event->lifetime_ns = arguments[6];
	frames_read(event, arguments[4], (__u32)arguments[5]);
	bpf_ringbuf_submit(event, gyre_wake(sizeof(*event)));
	return 0;
}

static __always_inline int large_send(struct pt_regs *ctx, __u32 kind)
{
	const struct gyre_place *place = gyre_place(ctx);
	__u64 arguments[GYRE_EVENT_ARGUMENTS], block_bytes;
	struct gyre_event *event;

	if (!place)
		return 0;
	gyre_arguments(ctx, place, arguments);
	block_bytes = arguments[kind == GYRE_EVENT_LARGE_ALLOC ? 2 : 1];
	if (block_bytes < gyre_min_bytes)
		return 0;
	event = bpf_ringbuf_reserve(&gyre_ring, HEAD_BYTES, 0);
	if (!event) {
		__sync_fetch_and_add(&gyre_lost, 1);
		return 0;
	}
	head_fill(event, kind);
	event->block = arguments[0];
	event->requested_bytes = kind == GYRE_EVENT_LARGE_ALLOC ? arguments[1] : 0;
	event->block_bytes = block_bytes;
	bpf_ringbuf_submit(event, gyre_wake(HEAD_BYTES));
	return 0;
}

SEC("uprobe")
int gyre_alloc_sample(struct pt_regs *ctx)
{
	return sample_send(ctx, GYRE_EVENT_ALLOC);
}

SEC("uprobe")
int gyre_free_sample(struct pt_regs *ctx)
{
	return sample_send(ctx, GYRE_EVENT_FREE);
}

SEC("uprobe")
int gyre_large_alloc(struct pt_regs *ctx)
{
	return large_send(ctx, GYRE_EVENT_LARGE_ALLOC);
}

SEC("uprobe")
int gyre_large_free(struct pt_regs *ctx)
{
	return large_send(ctx, GYRE_EVENT_LARGE_FREE);
}
