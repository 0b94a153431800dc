/* leak_registers.c - see leak_registers.h. */
#include "leak_registers.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "task_registers.skel.h"
#include "rights.h"

struct gy_leak_registers {
	struct task_registers_bpf *programs;
	struct bpf_link *link;
};

struct gy_leak_registers *gy_leak_registers_open(int pid, int *error)
{
	union bpf_iter_link_info info = {.task.pid = (uint32_t)pid};
	struct gy_leak_registers *registers;
	struct bpf_iter_attach_opts options;

	/* By memset: libbpf refuses options whose padding is not zero, too. */
	memset(&options, 0, sizeof(options));
	options.sz = sizeof(options);
	options.link_info = &info;
	options.link_info_len = sizeof(info);
	*error = -EPERM;
	if (*gy_rights_load_lack())
		return NULL;
	*error = -ENOMEM;
	registers = calloc(1, sizeof(*registers));
	if (!registers)
		return NULL;
	registers->programs = task_registers_bpf__open_and_load();
	if (registers->programs)
		registers->link = bpf_program__attach_iter(
			registers->programs->progs.gyre_task_registers, &options);
	*error = -errno;
	if (registers->link)
		return registers;
	gy_leak_registers_close(registers);
	return NULL;
}

void gy_leak_registers_close(struct gy_leak_registers *registers)
{
	if (!registers)
		return;
	bpf_link__destroy(registers->link);
	task_registers_bpf__destroy(registers->programs);
	free(registers);
}

long gy_leak_registers_read(struct gy_leak_registers *registers, struct gyre_leak_thread *threads,
			    size_t room)
{
	int sequence = bpf_iter_create(bpf_link__fd(registers->link));
	size_t bytes = room * sizeof(*threads), used = 0;
	ssize_t got = 1;

	if (sequence < 0)
		return -errno;
	while (used < bytes && got > 0) {
		got = read(sequence, (char *)threads + used, bytes - used);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			got = 1;
		else if (got > 0)
			used += (size_t)got;
	}
	close(sequence);
	return got < 0 ? -errno : (long)(used / sizeof(*threads));
}
