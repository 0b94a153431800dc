/* common.bpf.h - what the eBPF programs share: the ring buffer, who is running, what was lost, and
 * the arguments of a probe.
 *
 * BPF-1  Every event that was seen is either in the ring or in `gyre_lost`; the CLI prints both.
 * BPF-2  The ring does not wake its reader: a wake-up per event costs more than the probe. The
 *        reader polls; only when a quarter of the ring has filled is it woken, once.
 * BPF-3  The same programs load sleepable (user memory that is paged out is read in) and, on
 *        kernels that refuse that, ordinary. `gyre_sleepable` is constant to the verifier, which
 *        drops the branch that the other kind may not call.
 * BPF-4  Process and thread ids are those of the CLI's own pid namespace where the kernel can tell
 *        (gyre_pidns_*), so that they match what the user sees in ps.
 * BPF-5  How a probe's arguments are passed is looked up in gyre_places, by the attachment's own
 *        cookie; what the CLI calls the cookie stands there too. Such a program can be attached by
 *        any kind of link (tools/gyre/attach.h).
 */
#ifndef GYRE_COMMON_BPF_H
#define GYRE_COMMON_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "events.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile bool gyre_sleepable = false;
const volatile __u64 gyre_pidns_device = 0, gyre_pidns_inode = 0;

__u64 gyre_lost = 0;   /* the ring was full */
__u64 gyre_faults = 0; /* a stack could not be read; its event has depth 0 */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} gyre_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GYRE_PLACES);
	__type(key, __u32);
	__type(value, struct gyre_place);
} gyre_places SEC(".maps");

/* BPF-5; NULL is for the verifier. */
static __always_inline const struct gyre_place *gyre_place(struct pt_regs *ctx)
{
	__u32 number = (__u32)bpf_get_attach_cookie(ctx);

	return bpf_map_lookup_elem(&gyre_places, &number);
}

/* A register by its place in pt_regs: no program may read its context at an offset that varies. */
static __always_inline __u64 gyre_register(struct pt_regs *ctx, __u32 place)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value),
			      (const char *)ctx + place);
	return value;
}

/* All arguments, 0 behind the last and where they cannot be read. */
static __always_inline void gyre_arguments(struct pt_regs *ctx, const struct gyre_place *place,
					   __u64 values[GYRE_EVENT_ARGUMENTS])
{
	const struct gyre_argument *first = &place->arguments[0];

	__builtin_memset(values, 0, GYRE_EVENT_ARGUMENTS * sizeof(*values));
	if (place->array) {
		__u32 bytes = place->count * sizeof(*values);

		if (bytes > GYRE_EVENT_ARGUMENTS * sizeof(*values))
			return;
		bpf_probe_read_user(values, bytes,
				    (const void *)(gyre_register(ctx, first->place) +
						   first->value));
		return;
	}
#pragma unroll
	for (__u32 i = 0; i < GYRE_EVENT_ARGUMENTS; i++) {
		const struct gyre_argument *argument = &place->arguments[i];
		__u64 value = argument->value;

		if (i >= place->count)
			break;
		if (argument->kind != GYRE_ARGUMENT_CONSTANT)
			value = gyre_register(ctx, argument->place) +
				(argument->kind == GYRE_ARGUMENT_MEMORY ? value : 0);
		if (argument->kind == GYRE_ARGUMENT_MEMORY)
			bpf_probe_read_user(&values[i], sizeof(values[i]), (const void *)value);
		else
			values[i] = value;
	}
}

static __always_inline void gyre_who(__u32 *pid, __u32 *tid, char comm[GYRE_EVENT_COMM])
{
	struct bpf_pidns_info inside;
	__u64 both = bpf_get_current_pid_tgid();

	if (gyre_pidns_inode && !bpf_get_ns_current_pid_tgid(gyre_pidns_device, gyre_pidns_inode,
							     &inside, sizeof(inside))) {
		*pid = inside.tgid;
		*tid = inside.pid;
	} else {
		*pid = both >> 32;
		*tid = (__u32)both;
	}
	bpf_get_current_comm(comm, GYRE_EVENT_COMM);
}

static __always_inline long gyre_read_user(void *to, __u32 bytes, const void *from)
{
	if (gyre_sleepable)
		return bpf_copy_from_user(to, bytes, from);
	return bpf_probe_read_user(to, bytes, from);
}

/* BPF-2: the window is two events wide: crossing the mark wakes, staying above it does not. */
static __always_inline __u64 gyre_wake(__u64 event_bytes)
{
	__u64 waiting = bpf_ringbuf_query(&gyre_ring, BPF_RB_AVAIL_DATA);
	__u64 mark = bpf_ringbuf_query(&gyre_ring, BPF_RB_RING_SIZE) / 4;

	return waiting >= mark && waiting < mark + 2 * event_bytes ? BPF_RB_FORCE_WAKEUP
								   : BPF_RB_NO_WAKEUP;
}

#endif
