/* record_stacks.c - see record_stacks.h. */
#include "record_stacks.h"

#include <stdlib.h>
#include <string.h>

#include "stack_table.h"
#include "symbols.h"

#define STACK_IDS (1u << 20)
#define TEXT_MOST 4000u
#define SYMBOL_TEXT_MOST ((3 * GY_FILE_LEVELS + 1) * (TEXT_MOST + 1))
#define SYMBOL_BYTES_MOST                                                                          \
	(sizeof(struct gy_file_symbol) + GY_FILE_LEVELS * sizeof(struct gy_file_level))
#define KNOWN 1024u

struct gy_record_stacks {
	int pid;
	struct gy_stack_table *table;
	struct gy_symbols *symbols;
	uint8_t seen[STACK_IDS / 8]; /* a bit for each id */
	uint64_t *addresses;
	size_t address_count, address_capacity;
	unsigned char pending[GY_FILE_PAYLOAD_MAX];
	size_t pending_bytes;
};

struct gy_record_stacks *gy_record_stacks_open(int pid)
{
	struct gy_record_stacks *stacks = calloc(1, sizeof(*stacks));

	if (!stacks)
		return NULL;
	stacks->pid = pid;
	stacks->symbols = gy_symbols_open(pid);
	if (!stacks->symbols) {
		free(stacks);
		return NULL;
	}
	return stacks;
}

void gy_record_stacks_close(struct gy_record_stacks *stacks)
{
	if (!stacks)
		return;
	if (stacks->table)
		gy_stack_table_close(stacks->table);
	gy_symbols_close(stacks->symbols);
	free(stacks->addresses);
	free(stacks);
}

/* ---------------------------------------------------------------- stacks */

int gy_record_stacks_flush(struct gy_record_stacks *stacks, struct gy_file_writer *file)
{
	size_t bytes = stacks->pending_bytes;

	stacks->pending_bytes = 0;
	return bytes ? gy_file_write(file, GY_FILE_STACKS, stacks->pending, bytes, NULL, 0) : 0;
}

static void addresses_add(struct gy_record_stacks *stacks, const uint64_t *frames, uint32_t depth)
{
	if (stacks->address_count + depth > stacks->address_capacity) {
		size_t capacity = stacks->address_capacity ? stacks->address_capacity * 2 : 4096;
		uint64_t *grown = reallocarray(stacks->addresses, capacity, sizeof(*grown));

		if (!grown)
			return; /* the report will find names by the mappings */
		stacks->addresses = grown;
		stacks->address_capacity = capacity;
	}
	memcpy(stacks->addresses + stacks->address_count, frames, depth * sizeof(*frames));
	stacks->address_count += depth;
}

static int stack_add(struct gy_record_stacks *stacks, struct gy_file_writer *file, uint32_t id)
{
	uint64_t frames[GYRE_STACK_FRAMES];
	struct gy_file_stack head = {.id = id};
	int error = 0;
	size_t bytes;

	if (!stacks->table)
		stacks->table = gy_stack_table_open(stacks->pid, &error);
	head.depth = stacks->table ? gy_stack_table_read(stacks->table, id, frames) : 0;
	if (!head.depth)
		return 0;
	stacks->seen[id / 8] |= (uint8_t)(1u << id % 8);
	bytes = head.depth * sizeof(frames[0]);
	if (stacks->pending_bytes + sizeof(head) + bytes > sizeof(stacks->pending)) {
		error = gy_record_stacks_flush(stacks, file);
		if (error)
			return error;
	}
	memcpy(stacks->pending + stacks->pending_bytes, &head, sizeof(head));
	memcpy(stacks->pending + stacks->pending_bytes + sizeof(head), frames, bytes);
	stacks->pending_bytes += sizeof(head) + bytes;
	addresses_add(stacks, frames, head.depth);
	return 0;
}

int gy_record_stacks_note(struct gy_record_stacks *stacks, struct gy_file_writer *file,
			  const struct gyre_record *records, uint32_t count)
{
	int error = 0;

	for (uint32_t i = 0; i < count && !error; i++) {
		uint32_t id = records[i].stack;

		if (id && id < STACK_IDS && !(stacks->seen[id / 8] & 1u << id % 8))
			error = stack_add(stacks, file, id);
	}
	return error;
}

/* ---------------------------------------------------------------- names */

static int by_value(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

struct names {
	struct gy_file_writer *file;
	unsigned char strings[GY_FILE_PAYLOAD_MAX], symbols[GY_FILE_PAYLOAD_MAX];
	size_t string_bytes, symbol_bytes;
	uint32_t string_count; /* written or pending */
	struct {
		const char *text; /* lives as long as the symbols */
		uint32_t number;
	} known[KNOWN]; /* by hash, the last one each: functions of a file follow each other */
};

/* Strings go out before the symbols that name them. */
static int names_flush(struct names *names)
{
	int error = 0;

	if (names->string_bytes)
		error = gy_file_write(names->file, GY_FILE_STRINGS, names->strings,
				      names->string_bytes, NULL, 0);
	if (names->symbol_bytes && !error)
		error = gy_file_write(names->file, GY_FILE_SYMBOLS, names->symbols,
				      names->symbol_bytes, NULL, 0);
	names->string_bytes = names->symbol_bytes = 0;
	return error;
}

static uint32_t string_number(struct names *names, const char *text)
{
	size_t length, slot = 5381;

	if (!text || !*text)
		return 0;
	length = strnlen(text, TEXT_MOST);
	for (size_t i = 0; i < length; i++)
		slot = slot * 33 + (unsigned char)text[i];
	slot %= KNOWN;
	if (names->known[slot].text && !strcmp(names->known[slot].text, text))
		return names->known[slot].number;
	memcpy(names->strings + names->string_bytes, text, length);
	names->strings[names->string_bytes + length] = 0;
	names->string_bytes += length + 1;
	names->known[slot].text = text;
	names->known[slot].number = ++names->string_count;
	return names->string_count;
}

static int name_add(struct names *names, const struct gy_symbol *symbol)
{
	struct gy_file_symbol head = {.address = symbol->address, .offset = symbol->offset};
	int error = 0;

	if (names->string_bytes + SYMBOL_TEXT_MOST > sizeof(names->strings) ||
	    names->symbol_bytes + SYMBOL_BYTES_MOST > sizeof(names->symbols))
		error = names_flush(names);
	head.level_count = (uint32_t)(symbol->level_count < GY_FILE_LEVELS ? symbol->level_count
									   : GY_FILE_LEVELS);
	head.module = string_number(names, symbol->module);
	memcpy(names->symbols + names->symbol_bytes, &head, sizeof(head));
	names->symbol_bytes += sizeof(head);
	for (uint32_t i = 0; i < head.level_count; i++) {
		const struct gy_symbol_level *level = &symbol->levels[i];
		struct gy_file_level entry = {
			.function = string_number(names, level->function),
			.linkage = string_number(names, level->linkage),
			.file = string_number(names, level->file),
			.line = level->line,
			.start_line = level->start_line,
			.inlined = level->inlined,
		};

		memcpy(names->symbols + names->symbol_bytes, &entry, sizeof(entry));
		names->symbol_bytes += sizeof(entry);
	}
	return error;
}

int gy_record_stacks_names(struct gy_record_stacks *stacks, struct gy_file_writer *file)
{
	struct names *names = stacks->address_count ? calloc(1, sizeof(*names)) : NULL;
	uint64_t last = 0;
	int error = 0;

	if (!names)
		return 0;
	names->file = file;
	qsort(stacks->addresses, stacks->address_count, sizeof(*stacks->addresses), by_value);
	for (size_t i = 0; i < stacks->address_count && !error; i++) {
		if (stacks->addresses[i] != last)
			error = name_add(names,
					 gy_symbols_find(stacks->symbols, stacks->addresses[i]));
		last = stacks->addresses[i];
	}
	if (!error)
		error = names_flush(names);
	free(names);
	return error;
}
