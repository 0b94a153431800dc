/* world_table.c - the threads of one stop, by tid.
 *
 * Memory comes from mmap alone, and is kept: a stop in the middle of which threads show up may have
 * to make it larger while no lock of the heap can be taken (WORLD-2).
 */
#include "mutator/world_stop.h"

#include "os/vm.h"

#include <string.h>

#define ENTRIES_FIRST 512u /* a power of 2 */

static uint32_t slot_of(const struct gy_task_table *table, pid_t tid)
{
	uint32_t mask = table->capacity * 2 - 1;
	uint32_t slot = (uint32_t)tid * 2654435761u >> 7 & mask;

	while (table->index[slot] && table->entries[table->index[slot] - 1].tid != tid)
		slot = (slot + 1) & mask;
	return slot;
}

static bool grow(struct gy_task_table *table)
{
	struct gy_task_table larger = {.capacity = MAX(table->capacity * 2, ENTRIES_FIRST)};
	void *entries, *index;

	if (gy_vm_map(&entries, larger.capacity * sizeof(*larger.entries)))
		return false;
	if (gy_vm_map(&index, larger.capacity * 2 * sizeof(*larger.index))) {
		gy_vm_unmap(entries, larger.capacity * sizeof(*larger.entries));
		return false;
	}
	larger.entries = entries;
	larger.index = index;
	for (uint32_t i = 0; i < table->count; i++) {
		larger.entries[i] = table->entries[i];
		larger.index[slot_of(&larger, table->entries[i].tid)] = i + 1;
	}
	larger.count = table->count;
	if (table->entries) {
		gy_vm_unmap(table->entries, table->capacity * sizeof(*table->entries));
		gy_vm_unmap(table->index, table->capacity * 2 * sizeof(*table->index));
	}
	*table = larger;
	return true;
}

void gy_task_table_clear(struct gy_task_table *table)
{
	if (table->index)
		memset(table->index, 0, table->capacity * 2 * sizeof(*table->index));
	table->count = 0;
	table->failed = false;
}

struct gy_task_entry *gy_task_table_find(const struct gy_task_table *table, pid_t tid)
{
	uint32_t number = table->count ? table->index[slot_of(table, tid)] : 0;

	return number ? &table->entries[number - 1] : NULL;
}

struct gy_task_entry *gy_task_table_add(struct gy_task_table *table, pid_t tid,
					enum gy_task_role role)
{
	struct gy_task_entry *entry;

	if (table->count == table->capacity && !grow(table)) {
		table->failed = true;
		return NULL;
	}
	entry = &table->entries[table->count++];
	*entry = (struct gy_task_entry){.tid = tid, .role = role};
	table->index[slot_of(table, tid)] = table->count;
	return entry;
}
