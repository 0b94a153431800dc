/* stack_names.c - see stack_names.h. */
#include "stack_names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "output.h"
#include "session.h"
#include "stack_table.h"

#define LINE_BYTES 1024
#define LOOK_EVERY_NS (100ull * 1000000)

struct gy_stack_names {
	int pid;
	struct gy_symbols *symbols;
	struct gy_stack_table *table;
	uint64_t looked_ns;
	char *lines[GYRE_SITES]; /* by id; those above are made each time */
	char last[LINE_BYTES];
};

struct gy_stack_names *gy_stack_names_open(int pid)
{
	struct gy_stack_names *names = calloc(1, sizeof(*names));

	if (names)
		names->symbols = gy_symbols_open(pid);
	if (!names || !names->symbols) {
		free(names);
		gy_out_error("no memory for symbols");
		return NULL;
	}
	names->pid = pid;
	return names;
}

void gy_stack_names_close(struct gy_stack_names *names)
{
	if (!names)
		return;
	for (size_t i = 0; i < GYRE_SITES; i++)
		free(names->lines[i]);
	gy_stack_table_close(names->table);
	gy_symbols_close(names->symbols);
	free(names);
}

void gy_stack_names_look(struct gy_stack_names *names)
{
	uint64_t now = gy_monotonic_ns();
	int error;

	if (names->table || (names->looked_ns && now - names->looked_ns < LOOK_EVERY_NS))
		return;
	names->looked_ns = now;
	names->table = gy_stack_table_open(names->pid, &error);
}

uint32_t gy_stack_names_frames(struct gy_stack_names *names, uint32_t id,
			       const struct gy_symbol **frames)
{
	uint64_t addresses[GYRE_STACK_FRAMES];
	uint32_t depth;

	gy_stack_names_look(names);
	depth = gy_stack_table_read(names->table, id, addresses);
	for (uint32_t i = 0; i < depth; i++)
		frames[i] = gy_symbols_find(names->symbols, addresses[i]);
	return depth;
}

static size_t text_add(char *line, size_t used, const char *text)
{
	size_t length = strlen(text);

	if (length > LINE_BYTES - 1 - used)
		length = LINE_BYTES - 1 - used;
	memcpy(line + used, text, length);
	line[used + length] = 0;
	return used + length;
}

static void line_make(struct gy_stack_names *names, uint32_t id, char line[LINE_BYTES])
{
	const struct gy_symbol *frames[GYRE_STACK_FRAMES];
	uint32_t depth = gy_stack_names_frames(names, id, frames);
	char name[512] = "";
	size_t used = 0;

	line[0] = 0;
	for (uint32_t i = 0; i < depth; i++) {
		for (size_t level = 0; level < frames[i]->level_count; level++) {
			gy_symbol_text(frames[i], level, name, sizeof(name));
			if (used)
				used = text_add(line, used, " <- ");
			used = text_add(line, used, name);
		}
		/* Below these is only libc, the same in every line. */
		if (!strcmp(name, "main") || !strcmp(name, "start_thread"))
			break;
	}
	if (!depth)
		snprintf(line, LINE_BYTES, "%s", id ? "(unknown)" : "(no stack)");
}

const char *gy_stack_names_line(struct gy_stack_names *names, uint32_t id)
{
	if (id < GYRE_SITES && names->lines[id])
		return names->lines[id];
	line_make(names, id, names->last);
	/* A table that was not there yet may be there next time. */
	if (id < GYRE_SITES && (names->table || !id))
		names->lines[id] = strdup(names->last);
	/* `last` is overwritten by the next: only what cannot be kept is told from there. */
	return id < GYRE_SITES && names->lines[id] ? names->lines[id] : names->last;
}

json_t *gy_stack_names_json(struct gy_stack_names *names, uint32_t id)
{
	const struct gy_symbol *frames[GYRE_STACK_FRAMES];
	uint32_t depth = gy_stack_names_frames(names, id, frames);
	json_t *array = json_array();

	for (uint32_t i = 0; i < depth; i++)
		json_array_append_new(array, gy_symbols_json(frames[i]));
	return array;
}
