/* oom.bpf.c - which process the kernel kills for want of memory: the tracepoint oom:mark_victim.
 *
 * It fires for each process that is marked, in a cgroup's or the whole machine's shortage, before
 * the process is sent its SIGKILL. Nothing is read out of the process here: what it knew of itself
 * is in its control page, which whoever holds the page's file open can read afterwards
 * (tools/gyre/leak_guard.c).
 *
 * The numbers are pages and come with Linux 6.8; before, the tracepoint tells the process alone.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "events.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u64 gyre_lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
} gyre_ring SEC(".maps");

SEC("tracepoint/oom/mark_victim")
int gyre_mark_victim(struct trace_event_raw_mark_victim *ctx)
{
	struct gyre_victim *victim = bpf_ringbuf_reserve(&gyre_ring, sizeof(*victim), 0);

	if (!victim) {
		__sync_fetch_and_add(&gyre_lost, 1);
		return 0;
	}
	__builtin_memset(victim, 0, sizeof(*victim));
	victim->kind = GYRE_EVENT_VICTIM;
	victim->time_ns = bpf_ktime_get_ns();
	victim->pid = (__u32)ctx->pid;
	if (bpf_core_field_exists(ctx->anon_rss)) {
		victim->known = 1;
		victim->total_bytes = ctx->total_vm << 10;
		victim->anonymous_bytes = ctx->anon_rss << 10;
		victim->file_bytes = ctx->file_rss << 10;
		victim->shared_bytes = ctx->shmem_rss << 10;
		victim->score_adjust = ctx->oom_score_adj;
	}
	bpf_ringbuf_submit(victim, 0);
	return 0;
}
