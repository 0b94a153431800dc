/* output_file.c - see output_file.h. */
#include "output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"

#define NAME_TRIES 100

static int write_all(int fd, const char *bytes, size_t length)
{
	while (length) {
		ssize_t wrote = write(fd, bytes, length);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return -errno;
		bytes += wrote;
		length -= (size_t)wrote;
	}
	return 0;
}

static int failed(const char *path, int error)
{
	return gy_out_error("cannot write '%s': %s", path, strerror(-error));
}

/* Give the nameless file the name `beside`, or make one of that name where the file system has no
 * O_TMPFILE: both fail if it is there already. */
static int name_give(int fd, const char *beside)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, beside, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

static int beside_name(char beside[PATH_MAX], const char *path, int attempt)
{
	return snprintf(beside, PATH_MAX, "%s.%d-%d.new", path, (int)getpid(), attempt) < PATH_MAX
		       ? 0
		       : -ENAMETOOLONG;
}

/* A file in the folder of `path`: without a name, or (beside[0]) with one next to it. */
static int begin(const char *path, char beside[PATH_MAX])
{
	char folder[PATH_MAX], *slash;
	int fd, error;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = 0;
	beside[0] = 0;
	fd = open(slash ? folder : ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return fd < 0 ? -errno : fd;
	for (int attempt = 0; attempt < NAME_TRIES; attempt++) {
		error = beside_name(beside, path, attempt);
		if (error)
			return error;
		fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (fd >= 0 || errno != EEXIST)
			break;
	}
	if (fd < 0)
		beside[0] = 0;
	return fd < 0 ? -errno : fd;
}

static int put_in_place(int fd, const char *path, char beside[PATH_MAX])
{
	int error = -EEXIST;

	for (int attempt = 0; !beside[0] && error == -EEXIST && attempt < NAME_TRIES; attempt++) {
		char name[PATH_MAX];

		error = beside_name(name, path, attempt);
		if (!error)
			error = name_give(fd, name);
		if (!error)
			memcpy(beside, name, sizeof(name));
	}
	if (!beside[0])
		return error;
	return rename(beside, path) ? -errno : 0;
}

static int replace(const char *path, const void *bytes, size_t length)
{
	char beside[PATH_MAX];
	int fd = begin(path, beside), error;

	if (fd < 0)
		return fd;
	error = write_all(fd, bytes, length);
	if (!error)
		error = put_in_place(fd, path, beside);
	if (error && beside[0])
		unlink(beside);
	if (close(fd) && !error)
		error = -errno;
	return error;
}

int gy_output_file(const char *path, const void *bytes, size_t length)
{
	char real[PATH_MAX];
	struct stat status;
	int fd, error;

	if (!*path || path[strlen(path) - 1] == '/')
		return failed(path, -EISDIR);
	if (!stat(path, &status) && !S_ISREG(status.st_mode)) { /* OF-2 */
		fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
		if (fd < 0)
			return failed(path, -errno);
		error = write_all(fd, bytes, length);
		if (close(fd) && !error)
			error = -errno;
		return error ? failed(path, error) : 0;
	}
	error = replace(realpath(path, real) ? real : path, bytes, length);
	return error ? failed(path, error) : 0;
}

int gy_output_stdout(const void *bytes, size_t length, const char *what)
{
	if (isatty(STDOUT_FILENO))
		return gy_out_error("%s is nothing for a terminal: add 'output FILE'", what);
	fwrite(bytes, 1, length, stdout); /* an error is told by gy_out_finish */
	return 0;
}
