/* memory_file.c - see memory_file.h. */
#include "os/memory_file.h"

#include "base/compiler.h"
#include "os/own_memory.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#endif
#define HIGH_FD 1000

static int open_high(const char *name)
{
	struct rlimit limit = {HIGH_FD, HIGH_FD};
	int fd = gy_sys_memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), moved;
	long high = HIGH_FD;

	if (fd < 0)
		return fd;
	if (!gy_sys_getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur <= HIGH_FD)
		high = (long)limit.rlim_cur - 8;
	moved = gy_sys_fcntl(fd, F_DUPFD_CLOEXEC, MAX(high, 3));
	if (moved < 0)
		return fd;
	gy_sys_close(fd);
	return moved;
}

int gy_memory_file_make(struct gy_memory_file *file, const char *name, size_t bytes, void **mapped)
{
	struct stat status;
	int fd = open_high(name);

	if (fd < 0)
		return fd;
	if (gy_sys_ftruncate(fd, (off_t)bytes)) {
		gy_sys_close(fd);
		return -ENOMEM;
	}
	gy_sys_fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL); /* MEMFILE-1 */
	if (gy_sys_mmap(mapped, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd)) {
		gy_sys_close(fd);
		return -ENOMEM;
	}
	gy_own_memory_add(*mapped, bytes);
	*file = (struct gy_memory_file){.fd = fd};
	if (!fstat(fd, &status)) {
		file->device = status.st_dev;
		file->inode = status.st_ino;
	}
	return 0;
}

void gy_memory_file_forget(struct gy_memory_file *file)
{
	struct stat status;

	if (file->fd >= 0 && !fstat(file->fd, &status) && status.st_dev == file->device &&
	    status.st_ino == file->inode)
		gy_sys_close(file->fd); /* MEMFILE-2 */
	file->fd = -1;
}
