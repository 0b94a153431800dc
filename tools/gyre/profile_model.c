/* profile_model.c - see profile_model.h.
 *
 * Stacks and locations are found by two hash tables of indexes, so that a recording of millions of
 * events with some thousand stacks costs a look-up an event. The tables hold index + 1, 0 is free;
 * they double when they are half full.
 */
#include "profile_model.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

#define INDEX_START 1024u /* a power of 2 */

/* ---------------------------------------------------------------- growing */

static int room(void **array, size_t *capacity, size_t needed, size_t size)
{
	size_t wanted = *capacity ? *capacity : 64;
	void *grown;

	if (needed <= *capacity)
		return 0;
	while (wanted < needed)
		wanted *= 2;
	grown = reallocarray(*array, wanted, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*capacity = wanted;
	return 0;
}

#define ROOM(array, capacity, needed)                                                              \
	room((void **)&(array), &(capacity), (needed), sizeof((array)[0]))

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 29;
}

uint64_t gy_profile_plus(uint64_t a, uint64_t b)
{
	uint64_t sum = a + b;

	return sum < a || sum > INT64_MAX ? INT64_MAX : sum;
}

/* ---------------------------------------------------------------- locations */

static size_t location_slot(const struct gy_profile *profile, uint64_t address)
{
	size_t mask = profile->location_index_size - 1, slot = mix(0, address) & mask;

	while (profile->location_index[slot] &&
	       profile->locations[profile->location_index[slot] - 1].address != address)
		slot = (slot + 1) & mask;
	return slot;
}

static int location_index_grow(struct gy_profile *profile)
{
	size_t size = profile->location_index_size ? profile->location_index_size * 2 : INDEX_START;
	uint32_t *index = calloc(size, sizeof(*index));

	if (!index)
		return -ENOMEM;
	free(profile->location_index);
	profile->location_index = index;
	profile->location_index_size = size;
	for (size_t i = 0; i < profile->location_count; i++)
		index[location_slot(profile, profile->locations[i].address)] = (uint32_t)i + 1;
	return 0;
}

static int location_of(struct gy_profile *profile, uint64_t address, uint32_t *location)
{
	size_t slot;
	int error = 0;

	if (profile->location_count * 2 >= profile->location_index_size)
		error = location_index_grow(profile);
	if (error)
		return error;
	slot = location_slot(profile, address);
	if (!profile->location_index[slot]) {
		error = ROOM(profile->locations, profile->location_capacity,
			     profile->location_count + 1);
		if (error)
			return error;
		profile->locations[profile->location_count++] =
			(struct gy_profile_location){.address = address};
		profile->location_index[slot] = (uint32_t)profile->location_count;
	}
	*location = profile->location_index[slot] - 1;
	return 0;
}

/* ---------------------------------------------------------------- stacks */

static uint64_t stack_hash(const uint32_t *frames, size_t depth, bool cut)
{
	uint64_t hash = depth * 2 + cut;

	for (size_t i = 0; i < depth; i++)
		hash = mix(hash, frames[i]);
	return hash;
}

static size_t stack_slot(const struct gy_profile *profile, const uint32_t *frames, size_t depth,
			 bool cut)
{
	size_t mask = profile->stack_index_size - 1, slot = stack_hash(frames, depth, cut) & mask;

	while (profile->stack_index[slot]) {
		const struct gy_profile_stack *stack =
			&profile->stacks[profile->stack_index[slot] - 1];

		if (stack->depth == depth && stack->cut == cut &&
		    !memcmp(&profile->frames[stack->first], frames, depth * sizeof(*frames)))
			break;
		slot = (slot + 1) & mask;
	}
	return slot;
}

static int stack_index_grow(struct gy_profile *profile)
{
	size_t size = profile->stack_index_size ? profile->stack_index_size * 2 : INDEX_START;
	uint32_t *index = calloc(size, sizeof(*index));

	if (!index)
		return -ENOMEM;
	free(profile->stack_index);
	profile->stack_index = index;
	profile->stack_index_size = size;
	for (size_t i = 0; i < profile->stack_count; i++) {
		const struct gy_profile_stack *stack = &profile->stacks[i];

		index[stack_slot(profile, &profile->frames[stack->first], stack->depth,
				 stack->cut)] = (uint32_t)i + 1;
	}
	return 0;
}

/* The frames are written behind the last; they stay there only if the stack is new. */
static int frames_put(struct gy_profile *profile, const uint64_t *frames, size_t depth)
{
	int error =
		ROOM(profile->frames, profile->frame_capacity, profile->frame_count + depth + 1);

	for (size_t i = 0; i < depth && !error; i++)
		error = location_of(profile, frames[i],
				    &profile->frames[profile->frame_count + i]);
	return error;
}

int gy_profile_add(struct gy_profile *profile, const uint64_t *frames, size_t depth, bool cut,
		   const uint64_t *values, const uint64_t *samples)
{
	static const uint64_t nowhere;
	struct gy_profile_stack *stack;
	size_t slot;
	int error;

	if (!depth) { /* PM-1 */
		frames = &nowhere;
		depth = 1;
	}
	error = frames_put(profile, frames, depth);
	if (!error && profile->stack_count * 2 >= profile->stack_index_size)
		error = stack_index_grow(profile);
	if (!error)
		error = ROOM(profile->stacks, profile->stack_capacity, profile->stack_count + 1);
	if (error)
		return error;
	slot = stack_slot(profile, &profile->frames[profile->frame_count], depth, cut);
	if (!profile->stack_index[slot]) {
		profile->stacks[profile->stack_count++] = (struct gy_profile_stack){
			.first = profile->frame_count, .depth = (uint32_t)depth, .cut = cut};
		profile->frame_count += depth;
		profile->stack_index[slot] = (uint32_t)profile->stack_count;
	}
	stack = &profile->stacks[profile->stack_index[slot] - 1];
	for (size_t type = 0; type < profile->type_count; type++) {
		stack->values[type] = gy_profile_plus(stack->values[type], values[type]);
		if (samples)
			stack->samples[type] = gy_profile_plus(stack->samples[type], samples[type]);
	}
	return 0;
}

struct gy_profile *gy_profile_new(const struct gy_profile_type *types, size_t count)
{
	struct gy_profile *profile = calloc(1, sizeof(*profile));

	if (!profile)
		return NULL;
	profile->type_count = count < GY_PROFILE_TYPES ? count : GY_PROFILE_TYPES;
	memcpy(profile->types, types, profile->type_count * sizeof(*types));
	return profile;
}

void gy_profile_free(struct gy_profile *profile)
{
	if (!profile)
		return;
	for (size_t i = 0; i < profile->mapping_count; i++) {
		free(profile->mappings[i].path);
		free(profile->mappings[i].build_id);
	}
	free(profile->mappings);
	free(profile->stacks);
	free(profile->frames);
	free(profile->locations);
	free(profile->stack_index);
	free(profile->location_index);
	free(profile);
}

uint64_t gy_profile_total(const struct gy_profile *profile, size_t type)
{
	uint64_t total = 0;

	for (size_t i = 0; i < profile->stack_count; i++)
		total = gy_profile_plus(total, profile->stacks[i].values[type]);
	return total;
}

uint64_t gy_profile_samples(const struct gy_profile *profile, size_t type)
{
	uint64_t total = 0;

	for (size_t i = 0; i < profile->stack_count; i++)
		total = gy_profile_plus(total, profile->stacks[i].samples[type]);
	return total;
}

/* ---------------------------------------------------------------- mappings */

int gy_profile_mapping_add(struct gy_profile *profile, uint64_t start, uint64_t limit,
			   uint64_t offset, const char *path, const char *build_id)
{
	struct gy_profile_mapping *mapping;

	if (ROOM(profile->mappings, profile->mapping_capacity, profile->mapping_count + 1))
		return -ENOMEM;
	mapping = &profile->mappings[profile->mapping_count];
	*mapping = (struct gy_profile_mapping){start, limit, offset, strdup(path),
					       strdup(build_id)};
	if (!mapping->path || !mapping->build_id) {
		free(mapping->path);
		free(mapping->build_id);
		return -ENOMEM;
	}
	gy_out_clean(mapping->path);
	gy_out_clean(mapping->build_id);
	profile->mapping_count++;
	return 0;
}

void gy_profile_build_id(const char *path, char text[65])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const void *bits = NULL;
	Elf *elf = NULL;
	ssize_t length;

	text[0] = 0;
	if (fd >= 0 && elf_version(EV_CURRENT) != EV_NONE)
		elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	length = elf ? dwelf_elf_gnu_build_id(elf, &bits) : 0;
	for (ssize_t i = 0; i < length && i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const unsigned char *)bits)[i]);
	if (elf)
		elf_end(elf);
	if (fd >= 0)
		close(fd);
}

struct mapping_reader {
	struct gy_profile *profile;
	int pid, error;
};

static int mapping_visit(const struct gy_mapping *mapping, void *context)
{
	struct mapping_reader *reader = context;
	struct gy_profile *profile = reader->profile;
	char path[PATH_MAX], name[PATH_MAX], build_id[65] = "", *deleted;

	if (!mapping->executable || (!mapping->inode && mapping->path[0] != '['))
		return 0;
	if (mapping->inode && !gy_mapping_open_path(reader->pid, mapping, path))
		gy_profile_build_id(path, build_id);
	snprintf(name, sizeof(name), "%s", mapping->path);
	deleted = strstr(name, " (deleted)");
	if (deleted && deleted != name && !deleted[10])
		*deleted = 0;
	reader->error = gy_profile_mapping_add(profile, mapping->start, mapping->end,
					       mapping->offset, name, build_id);
	return reader->error;
}

int gy_profile_mappings_read(struct gy_profile *profile, int pid)
{
	struct mapping_reader reader = {profile, pid, 0};
	int error = gy_maps_each(pid, mapping_visit, &reader);

	return reader.error ? reader.error : error;
}

void gy_profile_program_first(struct gy_profile *profile, const char *path)
{
	size_t first = 0;

	for (size_t i = 0; i < profile->mapping_count; i++) {
		struct gy_profile_mapping mapping = profile->mappings[i];

		if (strcmp(mapping.path, path))
			continue;
		memmove(&profile->mappings[first + 1], &profile->mappings[first],
			(i - first) * sizeof(mapping));
		profile->mappings[first++] = mapping;
	}
}

/* ---------------------------------------------------------------- symbols */

const struct gy_symbol *gy_profile_find_live(void *symbols, uint64_t return_address)
{
	return gy_symbols_find(symbols, return_address);
}

static uint32_t mapping_of(const struct gy_profile *profile, uint64_t address)
{
	for (size_t i = 0; address && i < profile->mapping_count; i++)
		if (address - 1 >= profile->mappings[i].start &&
		    address - 1 < profile->mappings[i].limit)
			return (uint32_t)i + 1;
	return 0;
}

/* A stack that was as deep as could be kept, and begins where programs and threads do, was kept
 * whole. */
static bool begins_at_start(const struct gy_profile *profile, const struct gy_profile_stack *stack)
{
	static const char *const starts[] = {"_start", "clone3", "clone", "__clone3", "__clone",
					     "_dl_start_user"};
	const struct gy_symbol *symbol =
		profile->locations[profile->frames[stack->first + stack->depth - 1]].symbol;
	const char *function = symbol ? symbol->levels[symbol->level_count - 1].function : NULL;

	for (size_t i = 0; function && i < sizeof(starts) / sizeof(starts[0]); i++)
		if (!strcmp(function, starts[i]))
			return true;
	return false;
}

void gy_profile_resolve(struct gy_profile *profile,
			const struct gy_symbol *(*find)(void *context, uint64_t return_address),
			void *context)
{
	for (size_t i = 0; i < profile->location_count; i++) {
		struct gy_profile_location *location = &profile->locations[i];

		if (location->address)
			location->symbol = find(context, location->address);
		location->mapping = mapping_of(profile, location->address);
	}
	for (size_t i = 0; i < profile->stack_count; i++)
		if (profile->stacks[i].cut && begins_at_start(profile, &profile->stacks[i]))
			profile->stacks[i].cut = false;
}

/* ---------------------------------------------------------------- frames */

size_t gy_profile_unroll(const struct gy_profile *profile, const struct gy_profile_stack *stack,
			 struct gy_profile_frame frames[GY_PROFILE_DEPTH])
{
	size_t count = 0, limit = GY_PROFILE_DEPTH - 1;

	for (uint32_t i = 0; i < stack->depth; i++) {
		const struct gy_profile_location *location =
			&profile->locations[profile->frames[stack->first + i]];
		size_t levels = location->symbol ? location->symbol->level_count : 1;

		for (size_t level = 0; level < levels && count < limit; level++)
			frames[count++] = (struct gy_profile_frame){location, level};
	}
	if (stack->cut)
		frames[count++] = (struct gy_profile_frame){NULL, 0};
	return count;
}

void gy_profile_frame_name(const struct gy_profile_frame *frame, char *name, size_t bytes)
{
	if (!frame->location)
		snprintf(name, bytes, "[deeper]");
	else if (!frame->location->address)
		snprintf(name, bytes, "[no stack]");
	else if (!frame->location->symbol)
		snprintf(name, bytes, "0x%" PRIx64, frame->location->address);
	else
		gy_symbol_text(frame->location->symbol, frame->level, name, bytes);
}
