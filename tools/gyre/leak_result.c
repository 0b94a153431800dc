/* leak_result.c - the copy of a scan's result (leak_client.h, CLIENT-1). */
#include "leak_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_read.h"

#define ENTRIES_MAX (1u << 24)

static int read_at(int fd, uint64_t bytes, uint64_t offset, void *to, size_t wanted)
{
	if (wanted > bytes || offset > bytes - wanted)
		return -EBADMSG;
	return gy_file_read_all(fd, to, wanted, offset);
}

/* `count` entries of `entry_bytes` there, `own_bytes` here; what a shorter entry lacks is 0. */
static int table_read(int fd, uint64_t bytes, uint64_t offset, uint32_t entry_bytes, uint32_t room,
		      uint32_t count, size_t own_bytes, void **table, size_t *table_count)
{
	size_t copied = entry_bytes < own_bytes ? entry_bytes : own_bytes;
	uint64_t all = (uint64_t)count * entry_bytes;
	char *raw, *own;
	int error;

	*table = NULL;
	*table_count = 0;
	if (count > room || count > ENTRIES_MAX || entry_bytes < 16 || entry_bytes > 4096)
		return -EBADMSG;
	if (!count)
		return 0;
	if (all > bytes)
		return -EBADMSG;
	raw = malloc(all);
	own = calloc(count, own_bytes);
	error = raw && own ? read_at(fd, bytes, offset, raw, all) : -ENOMEM;
	for (uint32_t i = 0; !error && i < count; i++)
		memcpy(own + i * own_bytes, raw + (uint64_t)i * entry_bytes, copied);
	free(raw);
	if (error) {
		free(own);
		return error;
	}
	*table = own;
	*table_count = count;
	return 0;
}

static int header_read(int fd, uint64_t bytes, uint32_t scan, struct gyre_leak_header *header)
{
	int error;

	memset(header, 0, sizeof(*header));
	error = read_at(fd, bytes, 0, header, bytes < sizeof(*header) ? bytes : sizeof(*header));
	if (error)
		return error;
	if (memcmp(header->magic, GYRE_LEAK_MAGIC, sizeof(header->magic)) ||
	    header->header_bytes < sizeof(*header) - sizeof(header->spare) ||
	    header->header_bytes > bytes || header->total_bytes > bytes)
		return -EBADMSG;
	return header->state == GYRE_LEAK_DONE && header->scan == scan ? 0 : -EAGAIN;
}

/* Indexes into other tables are cut to what there is. */
static void links_check(struct gy_leak_result *result)
{
	struct gyre_leak_header *header = &result->header;

	if (header->rounds_done > GYRE_LEAK_ROUNDS)
		header->rounds_done = GYRE_LEAK_ROUNDS;
	if (header->why_group > result->group_count)
		header->why_group = 0;
	for (size_t i = 0; i < result->group_count; i++)
		if (result->groups[i].depth > GYRE_LEAK_FRAMES)
			result->groups[i].depth = GYRE_LEAK_FRAMES;
	for (size_t i = 0; i < result->block_count; i++)
		if (result->blocks[i].group > result->group_count)
			result->blocks[i].group = 0;
	for (size_t i = 0; i < result->step_count; i++)
		if (result->steps[i].group > result->group_count)
			result->steps[i].group = 0;
}

int gy_leak_result_read(int fd, uint64_t bytes, uint32_t scan, struct gy_leak_result *result)
{
	struct gyre_leak_header *header = &result->header, again;
	void *classes = NULL, *groups = NULL, *blocks = NULL, *steps = NULL;
	int error;

	memset(result, 0, sizeof(*result));
	error = header_read(fd, bytes, scan, header);
	if (!error)
		error = table_read(fd, bytes, header->class_offset, header->class_bytes,
				   header->class_room, header->class_count,
				   sizeof(*result->classes), &classes, &result->class_count);
	result->classes = classes;
	if (!error)
		error = table_read(fd, bytes, header->group_offset, header->group_bytes,
				   header->group_room, header->group_count,
				   sizeof(*result->groups), &groups, &result->group_count);
	result->groups = groups;
	if (!error)
		error = table_read(fd, bytes, header->block_offset, header->block_bytes,
				   header->block_room, header->block_count,
				   sizeof(*result->blocks), &blocks, &result->block_count);
	result->blocks = blocks;
	if (!error)
		error = table_read(fd, bytes, header->step_offset, header->step_bytes,
				   header->step_room, header->step_count, sizeof(*result->steps),
				   &steps, &result->step_count);
	result->steps = steps;
	if (!error) /* REPORT-2 */
		error = header_read(fd, bytes, scan, &again);
	if (error)
		gy_leak_result_free(result);
	else
		links_check(result);
	return error;
}

void gy_leak_result_free(struct gy_leak_result *result)
{
	free(result->classes);
	free(result->groups);
	free(result->blocks);
	free(result->steps);
	memset(result, 0, sizeof(*result));
}
