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
#include <unistd.h>

#define FILES 200

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
		struct file *file = file_open("/dev/null");

		gyre_set(&file->next, list);
		list = file;
	}
}

static int open_files(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = -1; /* the directory's own */

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

int main(void)
{
	struct file *kept = file_open("/dev/null");
	int before = open_files(), at_most, after;
	char byte;

	open_many();
	at_most = open_files();
	gyre_gc_run();
	gyre_finalisers_wait();
	after = open_files();
	printf("%d files open, then %d, then %d\n", before, at_most, after);
	/* The one that is held is open. */
	if (read(kept->fd, &byte, 1) != 0)
		return 1;
	return at_most == before + FILES && after <= before + FILES / 100 ? 0 : 1;
}
