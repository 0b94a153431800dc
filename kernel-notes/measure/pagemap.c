/* pagemap.c - which pages of a mapping have memory: by the file, and by PAGEMAP_SCAN, on a mapping
 * of 1 GiB of which one page in 1,000 was touched, and on one of 1 TiB with as many pages.
 */
#include "measure.h"

#include <fcntl.h>
#include <sys/ioctl.h>

struct region {
	uint64_t start, end, categories;
};

struct scan_argument {
	uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN _IOWR('f', 16, struct scan_argument)
#define PRESENT 8u
#define SWAPPED 16u
#define TOUCHED 262ul

static int file;

/* Regions found; below 0: not supported. */
static long by_scan(uint64_t start, uint64_t bytes)
{
	struct region regions[64];
	const uint64_t end = start + bytes;
	long found = 0, count = 64;

	while (count == 64 && start < end) {
		struct scan_argument argument = {.size = sizeof(argument),
						 .start = start,
						 .end = end,
						 .regions = (uintptr_t)regions,
						 .region_count = 64,
						 .category_anyof_mask = PRESENT | SWAPPED,
						 .return_mask = PRESENT};

		count = ioctl(file, SCAN, &argument);
		if (count < 0)
			return -1;
		found += count;
		if (count)
			start = regions[count - 1].end;
	}
	return found;
}

static long by_file(uint64_t start, uint64_t bytes)
{
	static uint64_t entries[512];
	long found = 0;

	for (uint64_t at = start; at < start + bytes; at += sizeof(entries) / 8 * 4096) {
		if (pread(file, entries, sizeof(entries), (off_t)(at / 4096 * 8)) !=
		    (ssize_t)sizeof(entries))
			return -1;
		for (unsigned i = 0; i < 512; i++)
			found += entries[i] >> 62 != 0;
	}
	return found;
}

static void measure(const char *name, uint64_t bytes, bool file_too)
{
	char *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	double began;
	long found;

	if (start == MAP_FAILED) {
		printf("%s: %s\n", name, strerror(errno));
		return;
	}
	madvise(start, bytes, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < TOUCHED; i++)
		start[bytes / TOUCHED / 4096 * 4096 * i] = 1;
	began = now_us();
	found = by_scan((uintptr_t)start, bytes);
	printf("%s, PAGEMAP_SCAN: %ld regions, %.0f us\n", name, found, now_us() - began);
	if (file_too) {
		began = now_us();
		found = by_file((uintptr_t)start, bytes);
		printf("%s, pread: %ld pages, %.0f us\n", name, found, now_us() - began);
	}
	munmap(start, bytes);
}

int main(void)
{
	file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (file < 0) {
		printf("/proc/self/pagemap: %s\n", strerror(errno));
		return 0;
	}
	measure("1 GiB", GIB, true);
	measure("1 TiB", 1024 * GIB, false);
	close(file);
	return 0;
}
