/* record_symbols.c - names for the addresses of a recording that it does not name itself.
 *
 * A recording that was ended in order holds the names of its stacks (struct gy_file_symbol). One
 * whose recorder was killed holds only the mappings of the process, with their files' build ids.
 * A file on this machine at that path is taken if its build id is the one in the recording, so that
 * another version of a program never gives names to this one's addresses.
 */
#include "recording.h"

#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "symbols_file.h"
#include "symbols_index.h"

#define MODULES_MOST 4096u

struct gy_recording_files {
	Dwfl *dwfl;
	struct gy_symbol **symbols; /* made so far; found by address, open addressing */
	size_t size, used;
	char *modules[MODULES_MOST];
	size_t module_count;
};

static bool same_build(int fd, const struct gy_file_mapping *mapping)
{
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	const void *bits = NULL;
	ssize_t bytes = elf ? dwelf_elf_gnu_build_id(elf, &bits) : -1;
	bool same = mapping->build_id_bytes && bytes == (ssize_t)mapping->build_id_bytes &&
		    !memcmp(bits, mapping->build_id, mapping->build_id_bytes);

	elf_end(elf);
	return same;
}

static void module_report(struct gy_recording_files *files, const struct gy_file_mapping *mapping)
{
	int fd;

	if (!mapping->build_id_bytes || mapping->path[0] != '/' ||
	    files->module_count == MODULES_MOST)
		return;
	for (size_t i = 0; i < files->module_count; i++)
		if (!strcmp(files->modules[i], mapping->path))
			return;
	fd = gy_symbol_open_in(-1, mapping->path);
	if (fd < 0)
		return;
	files->modules[files->module_count] = strdup(mapping->path);
	if (!files->modules[files->module_count] || !same_build(fd, mapping) ||
	    !dwfl_report_elf(files->dwfl, mapping->path, mapping->path, fd, mapping->bias, true)) {
		free(files->modules[files->module_count]);
		close(fd);
		return;
	}
	files->module_count++; /* and fd is libdwfl's */
}

struct gy_recording_files *gy_recording_files_open(const struct gy_recording *recording)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};
	struct gy_recording_files *files = calloc(1, sizeof(*files));

	if (!files || elf_version(EV_CURRENT) == EV_NONE)
		return files;
	files->dwfl = dwfl_begin(&callbacks);
	if (!files->dwfl)
		return files;
	dwfl_report_begin(files->dwfl);
	for (size_t i = 0; i < recording->mapping_count; i++)
		module_report(files, &recording->mappings[i]);
	dwfl_report_end(files->dwfl, NULL, NULL);
	return files;
}

void gy_recording_files_close(struct gy_recording_files *files)
{
	if (!files)
		return;
	for (size_t i = 0; i < files->size; i++)
		gy_symbol_free(files->symbols[i]);
	free(files->symbols);
	gy_symbol_index_drop(files->dwfl);
	for (size_t i = 0; i < files->module_count; i++)
		free(files->modules[i]);
	free(files);
}

/* ---------------------------------------------------------------- one address */

static struct gy_symbol *resolve(struct gy_recording_files *files, uint64_t return_address)
{
	struct gy_symbol *symbol = calloc(1, sizeof(*symbol));
	uint64_t address = return_address - 1, offset = 0;
	struct gy_symbol_level *outer;
	struct gy_symbol_index *index;
	Dwfl_Module *module;
	const char *name;
	Dwarf_Addr start;

	if (!symbol)
		return NULL;
	symbol->address = return_address;
	symbol->level_count = 1;
	module = files->dwfl ? dwfl_addrmodule(files->dwfl, address) : NULL;
	index = module ? gy_symbol_index_of(module) : NULL;
	if (!index)
		return symbol;
	name = dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
	for (size_t i = 0; name && i < files->module_count; i++)
		if (!strcmp(files->modules[i], name))
			symbol->module = strrchr(files->modules[i], '/') + 1;
	gy_symbol_index_levels(index, address, symbol);
	name = gy_symbol_index_name(index, address, &offset);
	symbol->offset = name ? offset + 1 : return_address - start;
	outer = &symbol->levels[symbol->level_count - 1];
	if (name)
		gy_symbol_demangle(outer, name);
	return symbol;
}

static size_t slot_of(const struct gy_recording_files *files, uint64_t address)
{
	size_t mask = files->size - 1;
	size_t slot = (size_t)((address * 0x9e3779b97f4a7c15ull) >> 20) & mask;

	while (files->symbols[slot] && files->symbols[slot]->address != address)
		slot = (slot + 1) & mask;
	return slot;
}

static bool room(struct gy_recording_files *files)
{
	struct gy_symbol **old = files->symbols;
	size_t old_size = files->size;

	if (files->used * 2 < old_size)
		return true;
	files->symbols = calloc(old_size ? old_size * 2 : 256, sizeof(struct gy_symbol *));
	if (!files->symbols) {
		files->symbols = old;
		return false;
	}
	files->size = old_size ? old_size * 2 : 256;
	for (size_t i = 0; i < old_size; i++)
		if (old[i])
			files->symbols[slot_of(files, old[i]->address)] = old[i];
	free(old);
	return true;
}

const struct gy_symbol *gy_recording_files_find(struct gy_recording_files *files,
						uint64_t return_address)
{
	static struct gy_symbol unknown;
	size_t slot;

	unknown = (struct gy_symbol){.address = return_address, .level_count = 1};
	if (!files || !room(files))
		return &unknown;
	slot = slot_of(files, return_address);
	if (!files->symbols[slot]) {
		files->symbols[slot] = resolve(files, return_address);
		if (!files->symbols[slot])
			return &unknown;
		files->used++;
	}
	return files->symbols[slot];
}
