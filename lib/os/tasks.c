/* tasks.c - see tasks.h; kernel-notes/thread_state.md. */
#include "os/tasks.h"

#include "base/format.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Flags of a task in /proc/PID/stat (include/linux/sched.h): PF_IO_WORKER, PF_USER_WORKER. */
#define TASK_FLAGS_WORKER 0x4010u
#define LIST_BYTES ((size_t)8 << 10)

struct directory_entry { /* the kernel's linux_dirent64 */
	uint64_t inode;
	int64_t offset;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

int gy_tasks_open(void)
{
	return gy_sys_open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int gy_tasks_list(int fd, void (*visit)(pid_t tid, void *argument), void *argument)
{
	uint64_t buffer[LIST_BYTES / sizeof(uint64_t)];
	ssize_t got;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return -EBADF;
	while ((got = gy_sys_getdents(fd, buffer, sizeof(buffer))) > 0) {
		const char *at = (const char *)buffer, *end = at + got;

		while (at < end) {
			const struct directory_entry *entry = (const void *)at;

			if (entry->name[0] != '.')
				visit((pid_t)gy_text_number(entry->name, 10), argument);
			at += entry->bytes;
		}
	}
	return (int)got;
}

long gy_tasks_count(int fd)
{
	long links = gy_sys_links(fd);

	return links < 0 ? links : links - 2;
}

static ssize_t read_task_file(pid_t tid, const char *file, char *buffer, size_t capacity)
{
	char path[64];
	struct gy_text text = GY_TEXT(path);
	ssize_t got;

	gy_text_add(&text, "/proc/self/task/");
	gy_text_add_u64(&text, (uint64_t)tid);
	gy_text_add(&text, file);
	got = gy_sys_read_file(path, buffer, capacity);
	return got == -ENOENT || got == 0 ? -ESRCH : got;
}

int gy_task_read(pid_t tid, struct gy_task *task)
{
	char text[2048], *at;
	size_t length;
	ssize_t got = read_task_file(tid, "/stat", text, sizeof(text));

	memset(task, 0, sizeof(*task));
	if (got < 0)
		return (int)got;
	/* "TID (NAME) S ppid pgrp session tty tpgid flags ...": a name may hold anything. */
	at = strrchr(text, ')');
	if (!at || at[1] != ' ')
		return -EIO;
	task->state = at[2];
	for (unsigned i = 0; i < 7 && at; i++)
		at = strchr(at + 1, ' ');
	if (!at)
		return -EIO;
	task->kernel = gy_text_number(at + 1, 10) & TASK_FLAGS_WORKER;

	got = read_task_file(tid, "/status", text, sizeof(text));
	if (got < 0)
		return (int)got;
	at = strstr(text, "\nSigBlk:\t");
	task->blocked_signals = at ? gy_text_number(at + 9, 16) : 0;
	if (!strncmp(text, "Name:\t", 6)) {
		length = strcspn(text + 6, "\n");
		memcpy(task->name, text + 6, MIN(length, (size_t)GY_TASK_NAME_BYTES));
	}
	return 0;
}
