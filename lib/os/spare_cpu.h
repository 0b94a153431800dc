/* spare_cpu.h - how much processor time nobody wants at the moment.
 *
 * For work that has time: it may take what would be idle otherwise, and little where the processors
 * are wanted. Three bounds, of which the least counts:
 *
 *	idle      of the machine, /proc/uptime, and what the caller itself used
 *	affinity  processors that this thread may not run on may be all that is idle
 *	quota     cpu.max of the process's cgroups (v2), less what the process uses: who is over it
 *	          is throttled, with all threads
 *
 * SPARE-1  What cannot be read counts as nothing to spare, but for a quota: then there is none.
 * SPARE-2  Idle time is told in hundredths of a second: a reading is of GY_SPARE_CPU_NS at least.
 */
#ifndef GY_OS_SPARE_CPU_H
#define GY_OS_SPARE_CPU_H

#include "base/compiler.h"

#define GY_SPARE_CPU_NS 200000000ull

struct gy_spare_cpu {
	uint64_t wall_ns, idle_ns, process_ns, thread_ns; /* when it was read last */
	uint32_t quota_permille; /* of one processor; UINT32_MAX: none */
	uint32_t away;		 /* processors that this thread may not run on */
	uint32_t permille;	 /* the answer; 0 at first */
};

/* One thread, which is the caller of both. */
void gy_spare_cpu_begin(struct gy_spare_cpu *spare);
/* Spare time in thousandths of one processor, of the last GY_SPARE_CPU_NS or a little more. */
uint32_t gy_spare_cpu_read(struct gy_spare_cpu *spare);

/* For tests: the second number of /proc/uptime's text in ns, 0: it is none; how many processors a
 * list of ranges has; and the tightest quota below `root`, of the group that the text of
 * /proc/self/cgroup names. */
uint64_t gy_spare_cpu_idle_ns(const char *uptime);
uint32_t gy_spare_cpu_count(const char *list);
uint32_t gy_spare_cpu_quota(const char *root, const char *self);

#endif
