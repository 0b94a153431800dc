/* file_read.c - see file_read.h. */
#include "file_read.h"

#include <errno.h>
#include <unistd.h>

ssize_t gy_file_read(int fd, void *to, size_t bytes, uint64_t offset)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t got = pread(fd, (char *)to + done, bytes - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int gy_file_read_all(int fd, void *to, size_t bytes, uint64_t offset)
{
	ssize_t got = gy_file_read(fd, to, bytes, offset);

	if (got < 0)
		return (int)got;
	return (size_t)got == bytes ? 0 : -EBADMSG;
}
