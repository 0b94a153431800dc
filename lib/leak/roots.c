/* roots.c - every word of the process that is not in the heap and not our own.
 *
 *	/proc/self/maps   what can be written: all that has memory
 *	                  what cannot: anonymous pages alone (READ-2): relocated constants, and
 *	                  what a program protected after it had filled it
 *	less              the heap and its side arrays, our metadata, threads' stacks and files
 *	                  (os/own_memory.h), the data of libgyre.so, the unused parts of stacks
 *	more              registers (threads.c), what the kernel keeps (kernel_roots.c), objects of
 *	                  the collector's, blocks that the program has marked (ignore.c)
 *
 * So globals, stacks, thread-local storage, memory-mapped files and regions need no knowledge of
 * the C library or the loader, and none can be missed for want of it.
 *
 * LROOT-1  What we remember of blocks is no root: bins and transfer arrays, samples, events, this
 *          scan's own tables and its stack are in own memory, and the rest of our variables hold
 *          addresses of free blocks only, but for the heap's base. (Linked statically, these lie
 *          among the program's.)
 * LROOT-2  Objects of the collector's are roots as a whole: each that is allocated, swept or not.
 *          One that is garbage may hide a lost block until it is collected.
 */
#include "leak/scan.h"

#include "gc/record.h"
#include "heap/metadata.h"
#include "os/vm.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

extern const ElfW(Ehdr) __ehdr_start __attribute__((weak, visibility("hidden")));

/* ------------------------------------------------------------------ what is left out */

static void sort_ranges(struct gy_own_range *ranges, size_t count)
{
	size_t gap = 1;

	while (gap < count / 3)
		gap = gap * 3 + 1;
	for (; gap; gap /= 3)
		for (size_t i = gap; i < count; i++) {
			struct gy_own_range range = ranges[i];
			size_t at = i;

			for (; at >= gap && ranges[at - gap].start > range.start; at -= gap)
				ranges[at] = ranges[at - gap];
			ranges[at] = range;
		}
}

static void add_hole(struct gy_leak_scan *scan, uintptr_t start, uintptr_t end)
{
	if (start < end && scan->hole_count < ARRAY_SIZE(scan->holes))
		scan->holes[scan->hole_count++] = (struct gy_own_range){start, end};
}

/* The variables of libgyre.so; of a program that has us in it, nothing. */
static void add_own_data(struct gy_leak_scan *scan)
{
	const ElfW(Ehdr) *header = &__ehdr_start;
	const ElfW(Phdr) * segments;
	uintptr_t bias;

	if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) ||
	    (uintptr_t)header + header->e_phoff == getauxval(AT_PHDR))
		return;
	segments = (const ElfW(Phdr) *)(const void *)((const char *)header + header->e_phoff);
	bias = (uintptr_t)header;
	for (unsigned i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD && segments[i].p_flags & PF_W)
			add_hole(scan, bias + segments[i].p_vaddr,
				 bias + segments[i].p_vaddr + segments[i].p_memsz);
}

/* This thread's stack. It is own memory but where a sanitizer has the C library make the thread:
 * then it is a mapping by itself, between guards. */
static void add_own_stack(struct gy_leak_scan *scan)
{
	const struct gy_mapping *mapping;

	if (!GY_ASAN && !GY_TSAN)
		return;
	mapping = gy_maps_find(&scan->maps, (uintptr_t)__builtin_frame_address(0));
	if (mapping)
		add_hole(scan, mapping->start, mapping->end);
}

static void find_holes(struct gy_leak_scan *scan)
{
	scan->hole_count = MIN(gy_own_memory_copy(scan->holes, GY_LEAK_OWN_MOST),
			       (size_t)GY_LEAK_OWN_MOST);
	add_own_data(scan);
	add_own_stack(scan);
	add_hole(scan, (uintptr_t)&gy_map, (uintptr_t)(&gy_map + 1)); /* the heap's base */
	for (size_t i = 0; i < scan->task_count; i++)
		add_hole(scan, scan->tasks[i].dead_low, scan->tasks[i].dead_high);
	sort_ranges(scan->holes, scan->hole_count);
}

/* ------------------------------------------------------------------ mappings */

static void set_place(struct gy_leak_scan *scan, const struct gy_mapping *mapping)
{
	scan->place = (struct gy_leak_place){
		.kind = mapping->inode ? GYRE_LEAK_STEP_GLOBAL : GYRE_LEAK_STEP_MAPPING,
		.start = mapping->start,
		.end = mapping->end,
	};
	for (size_t i = 0; i < scan->task_count; i++) {
		const struct gy_leak_task *task = &scan->tasks[i];

		if (task->stack_top > mapping->start && task->stack_top < mapping->end) {
			scan->place.kind = GYRE_LEAK_STEP_STACK;
			scan->place.tid = task->tid;
			return;
		}
	}
	/* A .bss goes on behind its file's mapping. */
	for (const struct gy_mapping *at = mapping;
	     scan->place.kind == GYRE_LEAK_STEP_MAPPING && at > scan->maps.mappings &&
	     at[-1].end == at->start && at > mapping - 2;
	     at--)
		if (at[-1].inode && !at[-1].shared && at[-1].writable)
			scan->place.kind = GYRE_LEAK_STEP_GLOBAL;
}

/* What of a mapping no hole covers. */
static bool read_mapping(struct gy_leak_scan *scan, const struct gy_mapping *mapping)
{
	uintptr_t at = mapping->start;

	set_place(scan, mapping);
	for (size_t i = 0; i <= scan->hole_count && at < mapping->end; i++) {
		uintptr_t low = mapping->end, high = mapping->end;

		if (i < scan->hole_count) {
			low = scan->holes[i].start;
			high = scan->holes[i].end;
		}
		if (high <= at)
			continue;
		if (low > at && !gy_leak_read(scan, at, MIN(low, mapping->end), !mapping->writable))
			return false;
		at = MAX(at, high);
	}
	return true;
}

static bool read_mappings(struct gy_leak_scan *scan)
{
	for (size_t i = 0; i < scan->maps.count; i++) {
		const struct gy_mapping *mapping = &scan->maps.mappings[i];

		if (!mapping->readable || (!mapping->writable && mapping->shared))
			continue;
		if (!read_mapping(scan, mapping))
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------ collected objects */

/* The allocated objects of the block that begins at `page`; its pages. */
static bool read_objects(struct gy_leak_scan *scan, size_t page, size_t *pages)
{
	const struct gy_gc_page *record = &gy_gc_pages[page];
	uintptr_t start = (uintptr_t)gy_page_start(page);

	*pages = 1;
	if (__atomic_load_n(&record->kind, __ATOMIC_ACQUIRE) == GY_BLOCK_NONE ||
	    record->first_page != page)
		return true;
	*pages = MAX(record->pages, 1u);
	if (record->kind == GY_BLOCK_LARGE || record->object_bytes >= GY_KERNEL_PAGE_BYTES)
		return gy_leak_read(scan, start, start + (*pages << GY_PAGE_SHIFT), false);
	for (unsigned w = 0; w * 64 < record->objects; w++) {
		uint64_t bits = READ_RELAXED(gy_gc_bits[page].allocated[w]);

		for (; bits; bits &= bits - 1) {
			uintptr_t object = start + (w * 64 + (unsigned)__builtin_ctzll(bits)) *
							   (uintptr_t)record->object_bytes;

			scan->words(scan, (const uintptr_t *)object, record->object_bytes / 8,
				    object);
		}
	}
	return gy_leak_pace(scan, *pages << GY_PAGE_SHIFT);
}

bool gy_leak_collected(struct gy_leak_scan *scan, const struct gy_span_look *look)
{
	size_t end = MIN((size_t)look->first_page + look->pages,
			 __atomic_load_n(&gy_gc_covered, __ATOMIC_ACQUIRE)),
	       pages;

	scan->place = (struct gy_leak_place){.kind = GYRE_LEAK_STEP_OBJECT};
	for (size_t page = look->first_page; page < end; page += pages)
		if (!read_objects(scan, page, &pages))
			return false;
	return true;
}

bool gy_leak_collected_all(struct gy_leak_scan *scan)
{
	bool whole = true;

	if (!READ_RELAXED(gy_gc_covered))
		return true;
	scan->in_heap = true;
	for (size_t i = 0; whole && i < gy_page_heap_hugepage_count(); i++) {
		unsigned count = gy_page_heap_look(i, scan->looks);

		for (unsigned at = 0; whole && at < count; at++)
			if (scan->looks[at].kind == GY_SPAN_COLLECTED)
				whole = gy_leak_collected(scan, &scan->looks[at]);
	}
	scan->in_heap = false;
	return whole;
}

/* ------------------------------------------------------------------ in all */

bool gy_leak_roots(struct gy_leak_scan *scan)
{
	if (gy_maps_read(&scan->maps)) {
		scan->uncertain |= GYRE_LEAK_UNCERTAIN_ROOTS;
		scan->maps.count = 0;
	}
	gy_leak_threads(scan);
	gy_leak_registers(scan);
	gy_leak_find_dead(scan);
	find_holes(scan);
	scan->ignored = gy_leak_ignored(scan);
	gy_leak_kernel_roots(scan);
	return read_mappings(scan) && gy_leak_dead_again(scan);
}
