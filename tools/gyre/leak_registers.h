/* leak_registers.h - the registers of all threads of a process, by a task iterator
 * (bpf/task_registers.bpf.c). Nobody is stopped. */
#ifndef GYRE_TOOLS_LEAK_REGISTERS_H
#define GYRE_TOOLS_LEAK_REGISTERS_H

#include <stddef.h>
#include <stdint.h>

#include "leak/leak_report.h"

struct gy_leak_registers;

/* gy_leak_registers_open - NULL with *error: -EPERM we may not, others: the kernel cannot. */
struct gy_leak_registers *gy_leak_registers_open(int pid, int *error);
void gy_leak_registers_close(struct gy_leak_registers *registers);
/* gy_leak_registers_read - of each thread, up to `room`; returns how many, or -errno. */
long gy_leak_registers_read(struct gy_leak_registers *registers, struct gyre_leak_thread *threads,
			    size_t room);

#endif
