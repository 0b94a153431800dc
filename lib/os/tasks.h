/* tasks.h - the threads of this process, as the kernel tells them: /proc/self/task.
 *
 * Reads into the caller's memory, allocates nothing, takes no lock: usable while all other threads
 * are stopped, and on a native thread.
 *
 * TASK-1  The number of links of /proc/self/task is 2 and one for each thread that exists. So who
 *         knows of as many threads as that knows them all, for a fraction of the cost of listing.
 * TASK-2  A listing during which threads start or end may miss some. What is certain is the count
 *         (TASK-1), or a second listing that says the same.
 */
#ifndef GY_OS_TASKS_H
#define GY_OS_TASKS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <sys/types.h>

#define GY_TASK_NAME_BYTES 16

/* A descriptor for the two functions below, to be closed with gy_sys_close; or -errno. It stays
 * that of the process which opened it, also in a forked child. */
int gy_tasks_open(void);
/* Calls visit for each thread; 0 or -errno. */
int gy_tasks_list(int fd, void (*visit)(pid_t tid, void *argument), void *argument);
long gy_tasks_count(int fd); /* TASK-1; or -errno */

struct gy_task {
	char state;               /* of ps: R S D T t Z X */
	bool kernel;              /* a worker of the kernel's (io_uring): never runs program code */
	uint64_t blocked_signals; /* bit n - 1: signal n */
	char name[GY_TASK_NAME_BYTES + 1];
};

/* 0; -ESRCH: there is no such thread; or another -errno. */
int gy_task_read(pid_t tid, struct gy_task *task);

#endif
