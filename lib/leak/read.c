/* read.c - memory of the process that may vanish while it is read.
 *
 * A program unmaps, protects and truncates as it likes. So whatever is not a small block of the
 * heap is copied by the kernel (process_vm_readv on ourselves; where that is forbidden, pread of
 * /proc/self/mem), which fails where nothing is there, and never touches a device's registers.
 *
 * READ-1  Only pages that have memory are read: the page table says so (/proc/self/pagemap: present
 *         or swapped out). A large calloc'd array, or a reserved range, costs neither time nor
 *         memory. Where that file cannot be read, everything is.
 * READ-2  Of mappings that cannot be written, only anonymous pages are read (bit 61 not set): what
 *         was written before it was protected, and not what comes from a file.
 *         Of long ranges it is asked where there is memory (PAGEMAP_SCAN, Linux 6.7): page by page
 *         a sanitizer's shadow, or another runtime's reserve, would take hours.
 * READ-3  A word that straddles the end of a mapping is none.
 */
#include "leak/scan.h"

#include "os/sys.h"
#include "os/vm.h"

#include <errno.h>
#include <fcntl.h>

#define PRESENT_OR_SWAPPED (3ull << 62)
#define OF_FILE (1ull << 61)
#define PAGE_MASK (GY_KERNEL_PAGE_BYTES - 1)
#define SPARSE_BYTES ((uintptr_t)4 << 20) /* shorter ranges are asked for page by page */
#define REGIONS 64u

ssize_t gy_leak_copy(struct gy_leak_scan *scan, uintptr_t from, void *to, size_t bytes)
{
	ssize_t got;

	if (!scan->read_refused) {
		got = gy_sys_read_own_memory((const void *)from, to, bytes);
		if (got != -EPERM && got != -ENOSYS)
			return got;
		scan->read_refused = true;
	}
	if (scan->memory < 0)
		scan->memory = gy_sys_open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	return scan->memory < 0 ? -EPERM : gy_sys_read_at(scan->memory, to, bytes, from);
}

bool gy_leak_pagemap(struct gy_leak_scan *scan, uintptr_t start, uint64_t *entries, size_t count)
{
	ssize_t got = -EBADF;

	if (scan->pagemap >= 0)
		got = gy_sys_read_at(scan->pagemap, entries, count * sizeof(*entries),
				     start / GY_KERNEL_PAGE_BYTES * sizeof(*entries));
	return got == (ssize_t)(count * sizeof(*entries));
}

/* [start, end) has memory: words() for it, a buffer at a time. */
static bool read_run(struct gy_leak_scan *scan, uintptr_t start, uintptr_t end)
{
	while (start < end) {
		size_t bytes = MIN(end - start, GY_LEAK_BUFFER_BYTES);
		ssize_t got = gy_leak_copy(scan, start, scan->buffer, bytes);

		if (got <= 0) { /* not this page; perhaps the next */
			uintptr_t next = (start | (GY_KERNEL_PAGE_BYTES - 1)) + 1;

			scan->header->unreadable_bytes += MIN(next, end) - start;
			start = next;
			continue;
		}
		scan->words(scan, scan->buffer, (size_t)got / sizeof(uintptr_t), start);
		start += (size_t)got;
		if (!gy_leak_pace(scan, (size_t)got))
			return false;
	}
	return true;
}

/* The same for a long range, of which the kernel tells what is there without going through what is
 * not: a sparse mapping may have terabytes. False: it cannot tell. */
static bool read_sparse(struct gy_leak_scan *scan, uintptr_t start, uintptr_t end,
			bool anonymous_only, bool *whole)
{
	struct gy_page_region regions[REGIONS];
	int count = REGIONS;

	*whole = true;
	while (count == (int)REGIONS && start < end) { /* kernel-notes/pagemap.md */
		count = scan->pagemap < 0 || scan->scan_refused
				? -EBADF
				: gy_sys_populated(scan->pagemap, start & ~PAGE_MASK,
						   gy_round_up(end, GY_KERNEL_PAGE_BYTES),
						   anonymous_only, regions, REGIONS);
		if (count < 0) {
			scan->scan_refused = true;
			return false;
		}
		for (int i = 0; i < count; i++) {
			uintptr_t low = MAX(start, regions[i].start);
			uintptr_t high = MIN(end, regions[i].end);

			if (low < high && !read_run(scan, low, high)) {
				*whole = false;
				return true;
			}
			start = MAX(start, regions[i].end);
		}
		if (!gy_leak_pace(scan, (size_t)64 << 10)) {
			*whole = false;
			return true;
		}
	}
	return true;
}

bool gy_leak_read(struct gy_leak_scan *scan, uintptr_t start, uintptr_t end, bool anonymous_only)
{
	bool whole;

	start = gy_round_up(start, sizeof(uintptr_t));
	end &= ~(sizeof(uintptr_t) - 1);
	if (end > start && end - start >= SPARSE_BYTES &&
	    read_sparse(scan, start, end, anonymous_only, &whole))
		return whole;
	while (start < end) {
		uintptr_t low = start & ~(GY_KERNEL_PAGE_BYTES - 1), run = start;
		size_t count = MIN((end - low + GY_KERNEL_PAGE_BYTES - 1) / GY_KERNEL_PAGE_BYTES,
				   GY_LEAK_PAGEMAP_ENTRIES);
		uintptr_t stop = MIN(end, low + count * GY_KERNEL_PAGE_BYTES);
		bool known = gy_leak_pagemap(scan, low, scan->pagemap_entries, count);

		for (size_t i = 0; known && i < count; i++) {
			uint64_t entry = scan->pagemap_entries[i];
			uintptr_t page = low + i * GY_KERNEL_PAGE_BYTES;

			if (entry & PRESENT_OR_SWAPPED && !(anonymous_only && entry & OF_FILE))
				continue;
			if (run < page && !read_run(scan, run, page))
				return false;
			run = page + GY_KERNEL_PAGE_BYTES;
		}
		if (run < stop && !read_run(scan, run, stop))
			return false;
		if (!gy_leak_pace(scan, count * 16))
			return false;
		start = stop;
	}
	return true;
}
