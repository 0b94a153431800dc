/* stacks.c - see stacks.h. */
#include "trace/stacks.h"

#include "base/config.h"
#include "os/memory_file.h"
#include "trace/event_record.h"
#include "trace/profile.h"
#include "trace/unwind.h"

#include <string.h>

#define PROBES_MOST 64u

_Static_assert(sizeof(struct gyre_stacks_header) <= GYRE_STACKS_HEADER, "layout");

static struct {
	struct gyre_stacks_header *header; /* [atomic: release in make] NULL: no table */
	uint32_t entry_count;		   /* [const] once there is a table */
	uint32_t generation;		   /* STACKS-4; [const] but in a forked child */
	struct gy_memory_file file;
} table = {.generation = 1, .file = {.fd = -1}};

static struct gyre_stack_entry *entries_of(struct gyre_stacks_header *header)
{
	return (void *)((char *)header + GYRE_STACKS_HEADER);
}

void gy_stacks_make(void)
{
	uint32_t count = (uint32_t)gy_option(GY_OPT_event_stacks);
	size_t bytes = GYRE_STACKS_HEADER + count * sizeof(struct gyre_stack_entry);
	struct gyre_stacks_header *header;
	uint64_t magic;
	void *mapped;

	if (table.header || !gy_stack_memo_many() ||
	    gy_memory_file_make(&table.file, GYRE_STACKS_NAME, (bytes + 4095) & ~(size_t)4095,
				&mapped))
		return;
	header = mapped;
	header->entry_bytes = sizeof(struct gyre_stack_entry);
	header->entry_count = count;
	memcpy(&magic, GYRE_STACKS_MAGIC, sizeof(magic));
	__atomic_store_n((uint64_t *)(void *)header->magic, magic, __ATOMIC_RELEASE);
	table.entry_count = count;
	__atomic_store_n(&table.header, header, __ATOMIC_RELEASE);
}

static bool is_same(const struct gyre_stack_entry *entry, const uintptr_t *frames, unsigned depth)
{
	uint32_t theirs = __atomic_load_n(&entry->depth, __ATOMIC_ACQUIRE);

	return !theirs || /* STACKS-1 */
	       (theirs == depth && !memcmp(entry->frames, frames, depth * sizeof(*frames)));
}

/* The entry of a stack, made if need be; 0: no room. */
static uint32_t find(struct gyre_stacks_header *header, const uintptr_t *frames, unsigned depth)
{
	struct gyre_stack_entry *entries = entries_of(header);
	uint64_t hash = gy_profile_hash(frames, depth) | 1; /* 0 is nobody's */

	_Static_assert(sizeof(*frames) == sizeof(entries->frames[0]), "frames are copied");
	for (uint32_t probe = 0; probe < MIN(PROBES_MOST, table.entry_count - 1); probe++) {
		uint32_t at = (uint32_t)((hash >> 1) + probe) % (table.entry_count - 1) + 1;
		struct gyre_stack_entry *entry = &entries[at];
		uint64_t theirs = __atomic_load_n(&entry->hash, __ATOMIC_ACQUIRE);

		if (!theirs &&
		    __atomic_compare_exchange_n(&entry->hash, &theirs, hash, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			memcpy(entry->frames, frames, depth * sizeof(*frames));
			__atomic_store_n(&entry->depth, depth, __ATOMIC_RELEASE);
			ADD_RELAXED(header->used, 1u);
			return at;
		}
		if (theirs == hash && is_same(entry, frames, depth))
			return at;
	}
	ADD_RELAXED(header->full, 1u);
	return 0;
}

GY_NOINLINE uint32_t gy_stacks_id(uintptr_t caller_pc)
{
	struct gyre_stacks_header *header = __atomic_load_n(&table.header, __ATOMIC_ACQUIRE);
	struct gy_stack_seen seen = {.use_note = true, .many = true};
	uintptr_t frames[GYRE_STACK_FRAMES];
	unsigned depth;
	uint32_t id;

	if (unlikely(!header))
		return 0;
	depth = gy_stack_capture(frames, ARRAY_SIZE(frames), caller_pc, &seen);
	if (likely(seen.note >> 32 == table.generation))
		return (uint32_t)seen.note;
	if (seen.note) { /* STACKS-4 */
		seen = (struct gy_stack_seen){.many = true};
		depth = gy_stack_capture(frames, ARRAY_SIZE(frames), caller_pc, &seen);
	}
	id = depth ? find(header, frames, depth) : 0;
	if (id)
		gy_stack_memo_note(&seen, (uint64_t)table.generation << 32 | id);
	return id;
}

void gy_stacks_read_stats(struct gy_stacks_stats *stats)
{
	const struct gyre_stacks_header *header = __atomic_load_n(&table.header, __ATOMIC_ACQUIRE);

	memset(stats, 0, sizeof(*stats));
	if (!header)
		return;
	stats->entries = table.entry_count;
	stats->used = READ_RELAXED(header->used);
	stats->full = READ_RELAXED(header->full);
}

void gy_stacks_fork_child(void)
{
	table.header = NULL;
	table.generation++;
	gy_memory_file_forget(&table.file);
}
