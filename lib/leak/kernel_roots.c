/* kernel_roots.c - pointers that only the kernel has, as far as it tells them.
 *
 * A service hands the kernel a pointer and drops its own: the data of an epoll entry, the value of
 * a timer. No look at the process's memory finds these; /proc does:
 *
 *	/proc/self/fdinfo/FD   "tfd:  5 events:  19 data:  7f..."     of an epoll descriptor
 *	/proc/self/timers      "signal: 34/00007f..."                  of a POSIX timer
 *
 * What it does not tell, no scan can see: the user data of io_uring and aio requests in flight, the
 * value of a signal that is queued. A block that only such a request holds is reported.
 *
 * KROOT-1  The kernel locks an epoll set while it prints it, so they are not read for the mark,
 *          only in looks, and only while there are candidates.
 */
#include "leak/scan.h"

#include "base/format.h"
#include "os/sys.h"

#include <fcntl.h>
#include <string.h>

#define TEXT_BYTES ((size_t)4096)

struct entry { /* the kernel's linux_dirent64 */
	uint64_t inode;
	int64_t offset;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

/* The number in hexadecimal digits behind each `key` in a file of lines. How many. */
static uint64_t words_of(struct gy_leak_scan *scan, const char *path, const char *key, char before)
{
	char text[TEXT_BYTES + 1];
	size_t length = 0;
	uint64_t offset = 0, count = 0;
	ssize_t got;
	int fd = gy_sys_open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	while ((got = gy_sys_read_at(fd, text + length, TEXT_BYTES - length, offset)) > 0) {
		char *line = text, *end;

		offset += (uint64_t)got;
		length += (size_t)got;
		text[length] = '\0';
		while ((end = strchr(line, '\n'))) {
			char *at;

			*end = '\0';
			at = strstr(line, key);
			if (at && before)
				at = strchr(at, before);
			if (at) {
				uintptr_t word;

				at += before ? 1 : strlen(key);
				word = gy_text_number(at + strspn(at, " \t"), 16);
				scan->words(scan, &word, 1, 0);
				count++;
			}
			line = end + 1;
		}
		length -= (size_t)(line - text);
		memmove(text, line, length);
		if (length == TEXT_BYTES)
			break;
	}
	gy_sys_close(fd);
	return count;
}

static uint64_t words_of_epoll(struct gy_leak_scan *scan, unsigned number)
{
	char path[64];
	struct gy_text text = GY_TEXT(path);

	gy_text_add(&text, "/proc/self/fdinfo/");
	gy_text_add_u64(&text, number);
	scan->place = (struct gy_leak_place){.kind = GYRE_LEAK_STEP_EPOLL, .offset = number};
	return words_of(scan, path, " data:", 0);
}

void gy_leak_kernel_roots(struct gy_leak_scan *scan)
{
	uint64_t list[1024];
	uint64_t epoll = 0;
	ssize_t got;
	int fd;

	if (!scan->candidates && !scan->parents) /* KROOT-1 */
		return;
	fd = gy_sys_open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && (got = gy_sys_getdents(fd, list, sizeof(list))) > 0) {
		const char *at = (const char *)list, *end = at + got;

		for (; at < end; at += ((const struct entry *)(const void *)at)->bytes) {
			const struct entry *entry = (const void *)at;

			if (entry->name[0] != '.')
				epoll += words_of_epoll(scan,
					(unsigned)gy_text_number(entry->name, 10));
		}
	}
	if (fd >= 0)
		gy_sys_close(fd);
	scan->epoll_words = epoll;
	scan->place = (struct gy_leak_place){.kind = GYRE_LEAK_STEP_TIMER};
	scan->timer_words = words_of(scan, "/proc/self/timers", "signal:", '/');
}
