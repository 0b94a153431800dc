/* memory_file.h - memory that others may look at: a sealed memfd, mapped shared.
 *
 * An observer finds it by its name below /proc/PID/fd, so the kernel's own ptrace check is the
 * access check. Its descriptor is at a high number, where it is in nobody's way.
 *
 * MEMFILE-1  Its size is sealed: no observer can make us fault by truncating it.
 * MEMFILE-2  The descriptor is closed by us only if it still is our file: a program may have closed
 *            every descriptor and opened others since.
 *
 * kernel-notes/memfd.md
 */
#ifndef GY_OS_MEMORY_FILE_H
#define GY_OS_MEMORY_FILE_H

#include <stddef.h>
#include <sys/types.h>

struct gy_memory_file {
	int fd; /* -1: none */
	dev_t device;
	ino_t inode;
};

/* 0, with *mapped zeroed and as long as the process; or -errno. */
int gy_memory_file_make(struct gy_memory_file *file, const char *name, size_t bytes, void **mapped);
/* In a forked child, to whom it does not belong; the mapping stays. */
void gy_memory_file_forget(struct gy_memory_file *file);

#endif
