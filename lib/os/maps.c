/* maps.c - see maps.h. */
#include "os/maps.h"

#include "os/sys.h"
#include "os/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAPPINGS_FIRST ((size_t)1024)
#define LINE_MOST ((size_t)256) /* what we read of a line stands in its first 100 bytes */

static bool grow(struct gy_maps *maps)
{
	size_t capacity = maps->capacity ? maps->capacity * 2 : MAPPINGS_FIRST;
	void *memory;

	if (gy_vm_map(&memory, capacity * sizeof(*maps->mappings)))
		return false;
	if (maps->mappings) {
		memcpy(memory, maps->mappings, maps->count * sizeof(*maps->mappings));
		gy_vm_unmap(maps->mappings, maps->capacity * sizeof(*maps->mappings));
	}
	maps->mappings = memory;
	maps->capacity = capacity;
	return true;
}

static const char *parse_hex(const char *at, uint64_t *value)
{
	for (*value = 0;; at++) {
		unsigned digit = *at >= '0' && *at <= '9'   ? (unsigned)(*at - '0')
				 : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a' + 10)
							    : 16;

		if (digit == 16)
			return at;
		*value = *value << 4 | digit;
	}
}

/* "start-end rwxp offset major:minor inode path" */
static void parse_line(const char *at, struct gy_mapping *mapping)
{
	uint64_t start, end, ignored;

	at = parse_hex(at, &start);
	at = parse_hex(at + 1, &end);
	mapping->start = start;
	mapping->end = end;
	mapping->readable = at[1] == 'r';
	mapping->writable = at[2] == 'w';
	mapping->shared = at[4] == 's';
	at = parse_hex(at + 6, &mapping->offset);
	at = parse_hex(at + 1, &ignored);
	at = parse_hex(at + 1, &ignored);
	for (mapping->inode = 0, at++; *at >= '0' && *at <= '9'; at++)
		mapping->inode = mapping->inode * 10 + (uint64_t)(*at - '0');
}

/* The whole lines in text[0 .. length); what is left behind them is moved to the front. False:
 * memory lacks. */
static bool parse_lines(struct gy_maps *maps, char *text, size_t *length, bool *skip)
{
	char *at = text, *end;

	while ((end = memchr(at, '\n', *length - (size_t)(at - text)))) {
		if (!*skip) {
			if (maps->count == maps->capacity && !grow(maps))
				return false;
			parse_line(at, &maps->mappings[maps->count++]);
		}
		*skip = false;
		at = end + 1;
	}
	*length -= (size_t)(at - text);
	memmove(text, at, *length);
	if (*length >= LINE_MOST && !*skip) { /* a long path: its rest is nothing to us */
		text[LINE_MOST] = '\0';
		if (maps->count == maps->capacity && !grow(maps))
			return false;
		parse_line(text, &maps->mappings[maps->count++]);
		*skip = true;
	}
	if (*skip)
		*length = 0;
	return true;
}

int gy_maps_read(struct gy_maps *maps)
{
	char text[8192 + 1];
	size_t length = 0;
	bool skip = false; /* in the rest of a long line */
	uint64_t offset = 0;
	ssize_t got;
	int fd = gy_sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fd;
	maps->count = 0;
	while ((got = gy_sys_read_at(fd, text + length, sizeof(text) - 1 - length, offset)) > 0) {
		offset += (uint64_t)got;
		length += (size_t)got;
		if (!parse_lines(maps, text, &length, &skip)) {
			got = -ENOMEM;
			break;
		}
	}
	gy_sys_close(fd);
	return (int)got;
}

const struct gy_mapping *gy_maps_find(const struct gy_maps *maps, uintptr_t address)
{
	size_t low = 0, high = maps->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct gy_mapping *mapping = &maps->mappings[middle];

		if (address < mapping->start)
			high = middle;
		else if (address >= mapping->end)
			low = middle + 1;
		else
			return mapping;
	}
	return NULL;
}

static bool is_anonymous(const struct gy_mapping *mapping)
{
	return mapping->readable && mapping->writable && !mapping->inode;
}

uintptr_t gy_maps_stack_end(const struct gy_maps *maps, uintptr_t address)
{
	const struct gy_mapping *mapping = gy_maps_find(maps, address);
	const struct gy_mapping *last = maps->mappings + maps->count;

	if (!mapping || !mapping->readable)
		return address;
	while (is_anonymous(mapping) && mapping + 1 < last && mapping[1].start == mapping->end &&
	       is_anonymous(&mapping[1]))
		mapping++;
	return mapping->end;
}

bool gy_page_is_readable(uintptr_t address)
{
	int saved = errno;
	/* As gy_sys_readable: the kernel copies the set before it looks at `how`. */
	bool readable = syscall(SYS_rt_sigprocmask, -1, address, NULL, 8) < 0 && errno == EINVAL;

	errno = saved;
	return readable;
}

uintptr_t gy_pages_touched_from(uintptr_t low, uintptr_t high)
{
	uint64_t pages[512]; /* bit 63: present, bit 62: swapped out */
	uintptr_t at = low & ~(GY_KERNEL_PAGE_BYTES - 1);
	int fd = gy_sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return low;
	while (at < high) {
		size_t count = MIN((high - at + GY_KERNEL_PAGE_BYTES - 1) / GY_KERNEL_PAGE_BYTES,
				   ARRAY_SIZE(pages));
		ssize_t got = gy_sys_read_at(fd, pages, count * sizeof(*pages),
					     at / GY_KERNEL_PAGE_BYTES * sizeof(*pages));

		if (got != (ssize_t)(count * sizeof(*pages)))
			break;
		for (size_t i = 0; i < count; i++, at += GY_KERNEL_PAGE_BYTES)
			if (pages[i] >> 62) {
				gy_sys_close(fd);
				return MAX(at, low);
			}
	}
	gy_sys_close(fd);
	return at < high ? MAX(at, low) : high;
}
