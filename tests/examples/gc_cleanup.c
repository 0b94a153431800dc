/* A resource that the collector does not know, closed when its object has gone.
 *
 * Each object stands for an open file. Nobody closes them; a cleanup does, some time after the object
 * was found unreachable, on a thread of the library's. The descriptor is the cleanup's argument: the
 * object itself must not be, or it would never go.
 *
 * Where it matters when a file is closed, close it: a cleanup is a net, not a habit.
 */
#include <gyre/gc.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILES 200
#define PATH "/dev/null"

struct file {
	struct file *next; /* some structure of the program's */
	int fd;
};

static const struct gyre_type file_type = GYRE_TYPE(struct file, next);

static void close_fd(void *argument)
{
	close((int)(intptr_t)argument);
}

static struct file *file_open(const char *path)
{
	struct file *file = gyre_new(&file_type);

	file->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file->fd >= 0 && gyre_cleanup_add(file, close_fd, (void *)(intptr_t)file->fd))
		perror("gyre_cleanup_add");
	return file;
}

static __attribute__((noinline)) void open_many(void)
{
	struct file *list = NULL;

	for (int i = 0; i < FILES; i++) {
		struct file *file = file_open(PATH);

		gyre_set(&file->next, list);
		list = file;
	}
}

/* Of that path: the library has a file open now and then. */
static int open_files(const char *path)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	char to[256];
	int count = 0;

	while ((entry = readdir(directory))) {
		ssize_t length = readlinkat(dirfd(directory), entry->d_name, to, sizeof(to) - 1);

		to[length > 0 ? length : 0] = '\0';
		count += !strcmp(to, path);
	}
	closedir(directory);
	return count;
}

int main(void)
{
	struct file *kept = file_open(PATH);
	int before = open_files(PATH), at_most, after;
	char byte;

	open_many();
	at_most = open_files(PATH);
	gyre_gc_run();
	gyre_finalisers_wait();
	after = open_files(PATH);
	printf("%d files open, then %d, then %d\n", before, at_most, after);
	/* The one that is held is open. */
	if (read(kept->fd, &byte, 1) != 0)
		return 1;
	return at_most == before + FILES && after <= before + FILES / 100 ? 0 : 1;
}
