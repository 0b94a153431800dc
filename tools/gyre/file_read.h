/* file_read.h - pread() until there is all of it. */
#ifndef GYRE_TOOLS_FILE_READ_H
#define GYRE_TOOLS_FILE_READ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* gy_file_read - how much of `bytes` there was at that place of the file; -errno. */
ssize_t gy_file_read(int fd, void *to, size_t bytes, uint64_t offset);
/* gy_file_read_all - all of them, or -EBADMSG, where the file is shorter, or another -errno. */
int gy_file_read_all(int fd, void *to, size_t bytes, uint64_t offset);

#endif
