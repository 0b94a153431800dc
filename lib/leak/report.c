/* report.c - the memory of a scan's result (leak_report.h), and the groups in it.
 *
 * RESULT-1  The file is made at the first scan and kept; its size is sealed. In a process that
 *           cannot have one it is plain memory: gyre_leak_scan works, no observer does.
 * RESULT-2  What lies in it may be scribbled on by observers: the library keeps counts and offsets
 *           for itself, reads back nothing that it would index by, and words of the protocol are
 *           compared.
 */
#include "leak/scan.h"

#include "os/memory_file.h"
#include "os/sys.h"
#include "os/vm.h"
#include "trace/live.h"
#include "trace/profile.h"
#include "trace/ticks.h"

#include <string.h>
#include <sys/mman.h>

#define GROUPS GY_LEAK_GROUPS_MOST
#define BLOCKS GY_LEAK_BLOCKS_MOST
#define STEPS GY_LEAK_STEPS_MOST

_Static_assert(sizeof(struct gyre_leak_header) <= 4096, "a page");

static struct gy_memory_file file = {.fd = -1};
static struct gyre_leak_header *made;

static size_t class_offset(void)
{
	return 4096;
}

static size_t group_offset(void)
{
	return gy_round_up(class_offset() + GY_CLASS_COUNT * sizeof(struct gyre_leak_class), 4096);
}

static size_t block_offset(void)
{
	return gy_round_up(group_offset() + GROUPS * sizeof(struct gyre_leak_group), 4096);
}

static size_t step_offset(void)
{
	return gy_round_up(block_offset() + BLOCKS * sizeof(struct gyre_leak_block), 4096);
}

static size_t thread_offset(void)
{
	return gy_round_up(step_offset() + STEPS * sizeof(struct gyre_leak_step), 4096);
}

static size_t total_bytes(void)
{
	return gy_round_up(thread_offset() +
				   GY_LEAK_THREADS_MOST * sizeof(struct gyre_leak_thread),
			   4096);
}

static void *at(struct gyre_leak_header *header, size_t offset)
{
	return (char *)header + offset;
}

struct gyre_leak_class *gy_leak_report_classes(struct gyre_leak_header *header)
{
	return at(header, class_offset());
}

struct gyre_leak_group *gy_leak_report_groups(struct gyre_leak_header *header)
{
	return at(header, group_offset());
}

struct gyre_leak_block *gy_leak_report_blocks(struct gyre_leak_header *header)
{
	return at(header, block_offset());
}

struct gyre_leak_step *gy_leak_report_steps(struct gyre_leak_header *header)
{
	return at(header, step_offset());
}

struct gyre_leak_thread *gy_leak_report_threads(struct gyre_leak_header *header)
{
	return at(header, thread_offset());
}

static void fill_constants(struct gyre_leak_header *header)
{
	uint64_t magic;

	header->abi = GYRE_LEAK_ABI;
	header->header_bytes = sizeof(*header);
	header->total_bytes = total_bytes();
	header->class_offset = class_offset();
	header->group_offset = group_offset();
	header->block_offset = block_offset();
	header->step_offset = step_offset();
	header->thread_offset = thread_offset();
	header->class_bytes = sizeof(struct gyre_leak_class);
	header->group_bytes = sizeof(struct gyre_leak_group);
	header->block_bytes = sizeof(struct gyre_leak_block);
	header->step_bytes = sizeof(struct gyre_leak_step);
	header->thread_bytes = sizeof(struct gyre_leak_thread);
	header->class_room = GY_CLASS_COUNT;
	header->group_room = GROUPS;
	header->block_room = BLOCKS;
	header->step_room = STEPS;
	header->thread_room = GY_LEAK_THREADS_MOST;
	memcpy(&magic, GYRE_LEAK_MAGIC, sizeof(magic));
	/* REPORT-1 */
	__atomic_store_n((uint64_t *)(void *)header->magic, magic, __ATOMIC_RELEASE);
}

struct gyre_leak_header *gy_leak_report_make(void)
{
	void *mapped;

	if (made)
		return made;
	if (gy_memory_file_make(&file, GYRE_LEAK_NAME, total_bytes(), &mapped) &&
	    gy_vm_map(&mapped, total_bytes())) /* RESULT-1 */
		return NULL;
	fill_constants(mapped);
	made = mapped;
	return made;
}

void gy_leak_report_clear(struct gyre_leak_header *header)
{
	size_t tables = total_bytes() - class_offset();

	if (file.fd < 0)
		gy_sys_madvise(at(header, class_offset()), tables, MADV_DONTNEED);
	else if (gy_sys_madvise(at(header, class_offset()), tables, MADV_REMOVE))
		memset(at(header, class_offset()), 0, group_offset() - class_offset());
}

void gy_leak_report_fork_child(void)
{
	gy_memory_file_forget(&file);
	if (made)
		gy_vm_unmap(made, total_bytes());
	made = NULL;
}

/* ------------------------------------------------------------------ samples and their groups */

/* The group of a stack, made if need be; index + 1, or 0. The scan alone writes to the table; what
 * it reads back is compared, and bounded by GROUPS. */
static uint32_t group_of(struct gy_leak_scan *scan, const uint64_t *frames, unsigned depth,
			 uint64_t hash)
{
	struct gyre_leak_group *groups = gy_leak_report_groups(scan->header);

	for (uint32_t i = 0; i < scan->group_count; i++)
		if (READ_RELAXED(groups[i].hash) == hash)
			return i + 1;
	if (scan->group_count == GROUPS)
		return 0;
	groups[scan->group_count] = (struct gyre_leak_group){
		.hash = hash, .depth = depth, .youngest_ns = UINT64_MAX};
	memcpy(groups[scan->group_count].frames, frames, depth * sizeof(*frames));
	return ++scan->group_count;
}

bool gy_leak_sample_of(struct gy_leak_scan *scan, uintptr_t block, struct gy_leak_sample *sample)
{
	uint64_t frames[GYRE_LEAK_FRAMES] = {0}, birth = 0;
	uintptr_t narrow[GYRE_LEAK_FRAMES];
	const struct gy_live_sample *live;
	unsigned depth = 0;

	gy_lock_acquire(&gy_sampler_lock);
	live = gy_live_find_locked(block);
	if (live) {
		const uint64_t *from = gy_profile_frames_locked(live->bucket, &depth);

		*sample = (struct gy_leak_sample){
			.weight_bytes = live->weight_bytes,
			.weight_sixteenths = live->weight_sixteenths,
			.block_bytes = live->block_bytes,
			.requested_bytes = live->requested_bytes,
		};
		birth = live->birth_ticks;
		depth = MIN(depth, (unsigned)GYRE_LEAK_FRAMES);
		if (from)
			memcpy(frames, from, depth * sizeof(*frames));
	}
	gy_lock_release(&gy_sampler_lock);
	if (!live)
		return false;
	for (unsigned i = 0; i < depth; i++)
		narrow[i] = frames[i];
	sample->age_ns = gy_ticks_since_ns(birth);
	sample->group = group_of(scan, frames, depth, gy_profile_hash(narrow, depth));
	return true;
}

struct find_group {
	struct gy_leak_scan *scan;
	struct gyre_leak_group *groups;
};

static int add_live(const struct gyre_profile_entry *entry, void *context)
{
	struct find_group *find = context;

	for (uint32_t i = 0; i < find->scan->group_count; i++) {
		struct gyre_leak_group *group = &find->groups[i];

		if (group->depth == MIN(entry->depth, (uint32_t)GYRE_LEAK_FRAMES) &&
		    !memcmp(group->frames, entry->frames,
			    group->depth % (GYRE_LEAK_FRAMES + 1) * sizeof(*group->frames)))
			group->live_bytes = entry->inuse_bytes;
	}
	return 0;
}

void gy_leak_report_live(struct gy_leak_scan *scan)
{
	struct find_group find = {scan, gy_leak_report_groups(scan->header)};

	if (scan->group_count)
		gy_profile_each(add_live, &find);
}
