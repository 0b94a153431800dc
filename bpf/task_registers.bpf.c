/* task_registers.bpf.c - the registers of every thread of a process, without touching any thread.
 *
 * A thread that sleeps in epoll_wait for weeks may hold the only pointer to a block in a register
 * that its callees must preserve. ptrace would make its system call fail with EINTR; a signal, too.
 * The kernel has saved all of its registers where it entered (the frame at the top of its kernel
 * stack), and a task iterator may read them there: nobody is stopped or woken.
 *
 * Each read of the iterator is a sequence of struct gyre_leak_thread (lib/leak/leak_report.h).
 *
 * REG-1  ASLEEP means: off the processor before and after the registers were copied, and not
 *        scheduled in between (its counts of switches are the same). Then they are those of that
 *        moment, in user mode or in a system call alike. Otherwise they are of its last entry.
 * REG-2  The process is chosen where the link is made (bpf_iter_link_info); a program that sees
 *        another's threads would leave them out, by gyre_process, all the same.
 *
 * Linux 5.15 for bpf_task_pt_regs, 6.1 for links of one process.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

typedef __u64 uint64_t;
typedef __u32 uint32_t;
typedef __s32 int32_t;

#include "../lib/leak/leak_report.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 gyre_process; /* as the first pid namespace numbers it; 0: all */

struct gyre_copy {
	__u32 on_processor;
	__u64 switches;
};

static __always_inline void moment_read(struct task_struct *task, struct gyre_copy *moment)
{
	moment->on_processor = (__u32)BPF_CORE_READ(task, on_cpu);
	moment->switches = BPF_CORE_READ(task, nvcsw) + BPF_CORE_READ(task, nivcsw);
}

/* The number that the thread knows itself by: that of the innermost pid namespace. */
static __always_inline __u32 inner_number(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level), number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &pid->numbers[level & 31].nr);
	return number;
}

static __always_inline void registers_fill(struct gyre_leak_thread *thread,
					   struct task_struct *task)
{
	struct pt_regs registers;

	if (bpf_probe_read_kernel(&registers, sizeof(registers), (void *)bpf_task_pt_regs(task)))
		return;
#if defined(__TARGET_ARCH_x86)
	thread->stack_pointer = registers.sp;
	thread->fs_base = BPF_CORE_READ(task, thread.fsbase);
	thread->registers[0] = registers.ax;
	thread->registers[1] = registers.bx;
	thread->registers[2] = registers.cx;
	thread->registers[3] = registers.dx;
	thread->registers[4] = registers.si;
	thread->registers[5] = registers.di;
	thread->registers[6] = registers.bp;
	thread->registers[7] = registers.ip;
	thread->registers[8] = registers.r8;
	thread->registers[9] = registers.r9;
	thread->registers[10] = registers.r10;
	thread->registers[11] = registers.r11;
	thread->registers[12] = registers.r12;
	thread->registers[13] = registers.r13;
	thread->registers[14] = registers.r14;
	thread->registers[15] = registers.r15;
#elif defined(__TARGET_ARCH_arm64)
	/* What callees preserve, then arguments: there is no room for all. */
	thread->stack_pointer = registers.sp;
#pragma unroll
	for (int i = 0; i < 12; i++)
		thread->registers[i] = registers.regs[19 + i];
#pragma unroll
	for (int i = 0; i < 4; i++)
		thread->registers[12 + i] = registers.regs[i];
#endif
}

SEC("iter/task")
int gyre_task_registers(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct gyre_leak_thread thread;
	struct gyre_copy before, after;

	if (!task || (gyre_process && (__u32)BPF_CORE_READ(task, tgid) != gyre_process))
		return 0;
	__builtin_memset(&thread, 0, sizeof(thread));
	moment_read(task, &before);
	registers_fill(&thread, task);
	moment_read(task, &after);
	thread.tid = inner_number(task);
	if (!before.on_processor && !after.on_processor && before.switches == after.switches)
		thread.flags = GYRE_LEAK_THREAD_ASLEEP; /* REG-1 */
	if (thread.stack_pointer) /* one that is ending has none */
		bpf_seq_write(ctx->meta->seq, &thread, sizeof(thread));
	return 0;
}
