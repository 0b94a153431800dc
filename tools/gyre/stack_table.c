/* stack_table.c - see stack_table.h. */
#include "stack_table.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

#define TABLE_NAME "/memfd:" GYRE_STACKS_NAME
#define BYTES_MAX (1ull << 32)

struct gy_stack_table {
	int pid, fd;     /* fd -1: only the process's memory is within reach */
	uint64_t remote; /* where it has it mapped */
	uint64_t bytes;
	uint32_t entry_bytes, entry_count;
};

static int read_at(const struct gy_stack_table *table, uint64_t offset, void *to, size_t bytes)
{
	struct gy_memory_file file = {table->pid, table->fd, table->remote, table->bytes};

	return gy_memory_file_read(&file, offset, to, bytes);
}

static int map_visit(const struct gy_mapping *mapping, void *context)
{
	struct gy_stack_table *table = context;
	char path[96];

	if (mapping->offset || strncmp(mapping->path, TABLE_NAME, strlen(TABLE_NAME)))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, table->pid,
		 mapping->start, mapping->end);
	table->fd = gy_memory_file_open(path, O_RDONLY, &table->bytes);
	if (table->fd < 0)
		table->bytes = mapping->end - mapping->start;
	table->remote = mapping->start;
	return 1;
}

static int header_check(struct gy_stack_table *table)
{
	struct gyre_stacks_header header;
	int error = -EBADMSG;

	if (table->bytes >= GYRE_STACKS_HEADER && table->bytes <= BYTES_MAX)
		error = read_at(table, 0, &header, sizeof(header));
	if (error)
		return error;
	if (memcmp(header.magic, GYRE_STACKS_MAGIC, sizeof(header.magic)) ||
	    header.entry_bytes < sizeof(struct gyre_stack_entry) || header.entry_bytes > 65536 ||
	    !header.entry_count ||
	    header.entry_count > (table->bytes - GYRE_STACKS_HEADER) / header.entry_bytes)
		return -EBADMSG;
	table->entry_bytes = header.entry_bytes;
	table->entry_count = header.entry_count;
	return 0;
}

struct gy_stack_table *gy_stack_table_open(int pid, int *error)
{
	struct gy_stack_table *table = calloc(1, sizeof(*table));
	int found;

	*error = -ENOMEM;
	if (!table)
		return NULL;
	table->pid = pid;
	table->fd = -1;
	found = gy_maps_each(pid, map_visit, table);
	*error = found < 0 ? found : !found ? -ENOENT : header_check(table);
	if (!*error)
		return table;
	gy_stack_table_close(table);
	return NULL;
}

void gy_stack_table_close(struct gy_stack_table *table)
{
	if (!table)
		return;
	if (table->fd >= 0)
		close(table->fd);
	free(table);
}

uint32_t gy_stack_table_read(const struct gy_stack_table *table, uint32_t id,
			     uint64_t frames[GYRE_STACK_FRAMES])
{
	struct gyre_stack_entry entry;

	if (!table || !id || id >= table->entry_count ||
	    read_at(table, GYRE_STACKS_HEADER + (uint64_t)id * table->entry_bytes, &entry,
		    sizeof(entry)))
		return 0;
	if (entry.depth > GYRE_STACK_FRAMES)
		return 0;
	memcpy(frames, entry.frames, entry.depth * sizeof(frames[0]));
	return entry.depth;
}
