/* mallinfo.c - what programs ask glibc's malloc about itself, answered from Gyre's own numbers.
 *
 * These are defined because a drop-in needs them: left to glibc they would describe a heap that
 * nobody uses (services export mallinfo2 as metrics), and in a static link they would pull in
 * glibc's malloc and clash. gyre.h's gyre_stats_read tells more; here its numbers are put under
 * glibc's names:
 *
 *   arena          bytes made usable, large blocks left out
 *   uordblks       bytes in allocated blocks that are not large
 *   fordblks       free bytes: arena - uordblks
 *   hblks, hblkhd  large blocks: number, bytes
 *   ordblks        free blocks; unknown here as a number, so 1
 *   keepcost       idle bytes that trim could give back
 *   smblks, fsmblks, usmblks   0: no fast bins
 *
 * INFO-1  arena == uordblks + fordblks, and uordblks + hblkhd is what the program holds, as with
 *         glibc, whatever moment the numbers were read at.
 *
 * mallinfo's fields are int: values above INT_MAX show as INT_MAX rather than wrapped.
 *
 * mallopt(parameter, value): 1 for glibc's tuning parameters, which are hints that this heap does
 * not need (arenas, thresholds, top pad): a program that sets them runs on. 0 for M_PERTURB, whose
 * filling would be a promise, and for numbers that glibc does not know.
 *
 * malloc_info writes the same kind of XML as glibc, told apart by version="gyre-...". malloc_stats
 * prints to stderr. Both use the caller's stdio, so they may allocate: no lock of ours is held.
 */
#include "interpose/interpose.h"

#include "heap/heap.h"

#include <errno.h>
#include <gyre/gyre.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define CLASSES_SHOWN 256 /* at most */

/* Numbers are read while other threads run, so a difference may fall below 0: then it is 0. */
static uint64_t less(uint64_t from, uint64_t what)
{
	return from > what ? from - what : 0;
}

GY_EXPORT struct mallinfo2 mallinfo2(void)
{
	struct gyre_stats stats;
	struct mallinfo2 info;

	memset(&info, 0, sizeof(info));
	if (gyre_stats_read(&stats, sizeof(stats)))
		return info;
	info.arena = less(stats.heap_sys, stats.large_bytes);
	info.uordblks = less(stats.heap_alloc, stats.large_bytes);
	if (info.uordblks > info.arena)
		info.uordblks = info.arena;
	info.fordblks = info.arena - info.uordblks;
	info.ordblks = 1;
	info.hblks = stats.large_blocks;
	info.hblkhd = stats.large_bytes;
	info.keepcost = less(stats.heap_idle, stats.heap_released);
	return info;
}

static int clamp(size_t value)
{
	return value > INT_MAX ? INT_MAX : (int)value;
}

/* Deprecated by glibc for its ints, still called by programs. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
GY_EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 wide = mallinfo2();
	struct mallinfo info;

	info.arena = clamp(wide.arena);
	info.ordblks = clamp(wide.ordblks);
	info.smblks = clamp(wide.smblks);
	info.hblks = clamp(wide.hblks);
	info.hblkhd = clamp(wide.hblkhd);
	info.usmblks = clamp(wide.usmblks);
	info.fsmblks = clamp(wide.fsmblks);
	info.uordblks = clamp(wide.uordblks);
	info.fordblks = clamp(wide.fordblks);
	info.keepcost = clamp(wide.keepcost);
	return info;
}
#pragma GCC diagnostic pop

GY_EXPORT int mallopt(int parameter, int value)
{
	(void)value;
	if (parameter == M_MXFAST || parameter == M_NLBLKS || parameter == M_GRAIN ||
	    parameter == M_KEEP)
		return 1;
	if (parameter == M_PERTURB)
		return 0;
	return parameter < 0 && parameter >= M_ARENA_MAX;
}

GY_EXPORT void malloc_stats(void)
{
	struct gyre_stats stats;

	if (gyre_stats_read(&stats, sizeof(stats)))
		return;
	fprintf(stderr,
		"gyre %s\n"
		"made usable      = %12" PRIu64 " bytes\n"
		"in allocated     = %12" PRIu64 " bytes\n"
		"  large blocks   = %12" PRIu64 " bytes in %" PRIu64 "\n"
		"in thread caches = %12" PRIu64 " bytes, %" PRIu64 " threads\n"
		"in central lists = %12" PRIu64 " bytes\n"
		"idle             = %12" PRIu64 " bytes\n"
		"given back       = %12" PRIu64 " bytes\n",
		gyre_version(), stats.heap_sys, stats.heap_alloc, stats.large_bytes,
		stats.large_blocks, stats.thread_cache_bytes, stats.threads, stats.central_bytes,
		stats.heap_idle, stats.heap_released);
}

static void print_classes(FILE *out)
{
	/* Not on the stack: 26 KiB may be more than a thread has. */
	struct gyre_class_stats *classes =
		gy_heap_alloc(CLASSES_SHOWN * sizeof(*classes), (uintptr_t)&print_classes);
	int count = 0;

	if (classes)
		count = gyre_class_stats_read(classes, CLASSES_SHOWN, sizeof(*classes));
	fprintf(out, "<sizes>\n");
	for (int i = 0; i < count && i < CLASSES_SHOWN; i++) {
		const struct gyre_class_stats *c = &classes[i];
		uint64_t free_blocks = c->thread_cached + c->central_cached + c->span_free;

		if (!c->spans)
			continue;
		fprintf(out,
			"  <size from=\"%u\" to=\"%u\" total=\"%" PRIu64 "\" count=\"%" PRIu64
			"\" live=\"%" PRIu64 "\" spans=\"%" PRIu64 "\"/>\n",
			i ? classes[i - 1].object_bytes + 1 : 1, c->object_bytes,
			free_blocks * c->object_bytes, free_blocks, c->live, c->spans);
	}
	fprintf(out, "</sizes>\n");
	if (classes)
		gy_heap_free(classes, (uintptr_t)&print_classes);
}

GY_EXPORT int malloc_info(int options, FILE *out)
{
	struct gyre_stats stats;

	if (options || gyre_stats_read(&stats, sizeof(stats)))
		return EINVAL;
	fprintf(out, "<malloc version=\"gyre-%s\">\n<heap nr=\"0\">\n", gyre_version());
	print_classes(out);
	fprintf(out,
		"</heap>\n"
		"<total type=\"allocated\" count=\"%" PRIu64 "\" size=\"%" PRIu64 "\"/>\n"
		"<total type=\"large\" count=\"%" PRIu64 "\" size=\"%" PRIu64 "\"/>\n"
		"<total type=\"rest\" count=\"1\" size=\"%" PRIu64 "\"/>\n"
		"<system type=\"current\" size=\"%" PRIu64 "\"/>\n"
		"<system type=\"released\" size=\"%" PRIu64 "\"/>\n"
		"<aspace type=\"total\" size=\"%" PRIu64 "\"/>\n"
		"</malloc>\n",
		less(stats.mallocs, stats.frees), stats.heap_alloc, stats.large_blocks,
		stats.large_bytes, less(stats.heap_sys, stats.heap_alloc), stats.heap_sys,
		stats.heap_released, stats.heap_reserved);
	return ferror(out) ? -1 : 0;
}
