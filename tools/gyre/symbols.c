/* symbols.c - see symbols.h. elfutils' libdwfl finds the modules and reads symbols and DWARF;
 * libiberty demangles C++ and Rust.
 *
 * Dwfl asks us for each file by the start of its first mapping; `maps` is the list by which we
 * answer, and tells of code in no file. A new look at the process makes a new Dwfl and drops the
 * old: resolved addresses live in the cache, not in it.
 */
#include "symbols.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "session.h"
#include "symbols_file.h"
#include "symbols_index.h"
#include "target.h"

#define CACHE_START 1024u /* a power of 2 */
#define MAPS_MAX 65536u
#define LOOK_AGAIN_NS 1000000000ull

struct module_map {
	uint64_t start, end, offset, inode;
	bool executable;
	char *path;
};

struct gy_symbols {
	struct gy_symbol_files files;
	Dwfl *dwfl;
	struct module_map *maps;
	size_t map_count, map_capacity;
	struct gy_symbol **cache; /* open addressing, by address; NULL: free */
	size_t cache_size, cache_used;
	char **modules; /* names, each once */
	size_t module_count;
	uint64_t looked_ns;
};

/* Dwfl's callbacks get no pointer of ours. Whoever calls into libdwfl sets this first. */
static struct gy_symbols *current;

/* ---------------------------------------------------------------- modules */

static int map_add(const struct gy_mapping *mapping, void *context)
{
	struct gy_symbols *symbols = context;
	struct module_map *map;

	if (symbols->map_count == MAPS_MAX)
		return 0;
	if (!mapping->inode && !mapping->executable)
		return 0;
	if (symbols->map_count == symbols->map_capacity) {
		size_t capacity = symbols->map_capacity ? symbols->map_capacity * 2 : 64;

		map = reallocarray(symbols->maps, capacity, sizeof(*map));
		if (!map)
			return -ENOMEM;
		symbols->maps = map;
		symbols->map_capacity = capacity;
	}
	map = &symbols->maps[symbols->map_count];
	*map = (struct module_map){mapping->start, mapping->end,	mapping->offset,
				   mapping->inode, mapping->executable, strdup(mapping->path)};
	symbols->map_count += map->path != NULL;
	return 0;
}

static void maps_free(struct gy_symbols *symbols)
{
	for (size_t i = 0; i < symbols->map_count; i++)
		free(symbols->maps[i].path);
	free(symbols->maps);
	symbols->maps = NULL;
	symbols->map_count = symbols->map_capacity = 0;
}

static const struct module_map *map_find(const struct gy_symbols *symbols, uint64_t address)
{
	for (size_t i = 0; i < symbols->map_count; i++)
		if (address >= symbols->maps[i].start && address < symbols->maps[i].end)
			return &symbols->maps[i];
	return NULL;
}

/* An ELF file as the process has it mapped: what it needs to run, so its dynamic symbols, too. */
static int find_in_memory(Dwfl_Module *module, void **userdata, Dwarf_Addr base, char **file_name,
			  Elf **elf)
{
	char vdso[32];

	/* libdwfl reads a whole image from memory for this name. */
	snprintf(vdso, sizeof(vdso), "[vdso: %d]", current->files.pid);
	return dwfl_linux_proc_find_elf(module, userdata, vdso, base, file_name, elf);
}

static int find_elf(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
		    char **file_name, Elf **elf)
{
	const struct module_map *map = current ? map_find(current, base) : NULL;
	int fd = -1;

	if (*name == '[') /* the vdso */
		return dwfl_linux_proc_find_elf(module, userdata, name, base, file_name, elf);
	if (map && map->start == base && map->inode) {
		struct gy_mapping mapping = {.start = map->start,
					     .end = map->end,
					     .inode = map->inode,
					     .path = map->path};

		fd = gy_symbol_file_open(&current->files, &mapping, file_name);
		if (fd < 0)
			fd = find_in_memory(module, userdata, base, file_name, elf);
	}
	return fd;
}

static int find_debuginfo(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
			  const char *file_name, const char *link, GElf_Word link_crc, char **path)
{
	const struct module_map *map = current ? map_find(current, base) : NULL;
	int fd = -1;

	(void)userdata;
	(void)name;
	(void)file_name;
	if (map)
		fd = gy_symbol_debug_open(&current->files, module, map->path, link, link_crc, path);
	if (fd >= 0 && link && !link_crc)
		gy_symbol_index_alternate(module);
	return fd;
}

/* SYM-2: open now what may be gone later. */
static int open_module(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
		       void *context)
{
	GElf_Addr bias;

	(void)userdata;
	(void)name;
	(void)base;
	(void)context;
	dwfl_module_getelf(module, &bias);
	return DWARF_CB_OK;
}

static void look(struct gy_symbols *symbols)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = find_elf,
		.find_debuginfo = find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};
	struct module_map *old = symbols->maps;
	size_t old_count = symbols->map_count, old_capacity = symbols->map_capacity;
	Dwfl *dwfl = dwfl_begin(&callbacks);

	symbols->looked_ns = gy_monotonic_ns();
	if (!dwfl)
		return;
	current = symbols;
	symbols->maps = NULL;
	symbols->map_count = symbols->map_capacity = 0;
	gy_maps_each(symbols->files.pid, map_add, symbols);
	dwfl_report_begin(dwfl);
	if (!symbols->map_count || dwfl_linux_proc_report(dwfl, symbols->files.pid) ||
	    dwfl_report_end(dwfl, NULL, NULL)) {
		dwfl_end(dwfl); /* it has ended: the modules that we have stay */
		maps_free(symbols);
		symbols->maps = old;
		symbols->map_count = old_count;
		symbols->map_capacity = old_capacity;
		return;
	}
	for (size_t i = 0; i < old_count; i++)
		free(old[i].path);
	free(old);
	dwfl_getmodules(dwfl, open_module, NULL, 0);
	gy_symbol_index_drop(symbols->dwfl);
	symbols->dwfl = dwfl;
}

/* ---------------------------------------------------------------- one address */

static const char *module_name(struct gy_symbols *symbols, const char *path)
{
	const char *base = *path == '[' ? NULL : strrchr(path, '/');
	char **names, *name = strdup(base && base[1] ? base + 1 : path), *deleted;

	if (!name)
		return NULL;
	gy_out_clean(name);
	if (!strncmp(name, "[vdso", 5))
		name[5] = ']', name[6] = 0;
	deleted = strstr(name, " (deleted)");
	if (deleted)
		*deleted = 0;
	for (size_t i = 0; i < symbols->module_count; i++)
		if (!strcmp(symbols->modules[i], name)) {
			free(name);
			return symbols->modules[i];
		}
	names = reallocarray(symbols->modules, symbols->module_count + 1, sizeof(*names));
	if (!names) {
		free(name);
		return NULL;
	}
	symbols->modules = names;
	return names[symbols->module_count++] = name;
}

/* Code in no module: made while the program ran, or in a file that is no ELF file. */
static void resolve_map(struct gy_symbols *symbols, uint64_t address, struct gy_symbol *symbol)
{
	const struct module_map *map = map_find(symbols, address);

	if (!map)
		return;
	symbol->module = module_name(symbols, *map->path ? map->path : "[anonymous]");
	symbol->offset = address + 1 - map->start + (map->inode ? map->offset : 0);
}

static void resolve_module(struct gy_symbols *symbols, Dwfl_Module *module, uint64_t address,
			   struct gy_symbol *symbol)
{
	struct gy_symbol_index *index = gy_symbol_index_of(module);
	struct gy_symbol_level *outer;
	Dwarf_Addr start = 0;
	uint64_t offset = 0;
	const char *name;

	name = dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
	symbol->module = module_name(symbols, name ? name : "?");
	symbol->offset = address + 1 - start;
	if (!index)
		return;
	gy_symbol_index_levels(index, address, symbol);
	/* The linker's name before the compiler's: it tells clones apart. */
	name = gy_symbol_index_name(index, address, &offset);
	outer = &symbol->levels[symbol->level_count - 1];
	if (!name)
		return;
	gy_symbol_demangle(outer, name);
	/* The return address's offset, as debuggers print it; without a symbol, the file's. */
	symbol->offset = offset + 1;
}

static struct gy_symbol *resolve(struct gy_symbols *symbols, uint64_t return_address)
{
	struct gy_symbol *symbol = calloc(1, sizeof(*symbol));
	uint64_t address = return_address - 1;
	Dwfl_Module *module;

	if (!symbol)
		return NULL;
	symbol->address = return_address;
	symbol->level_count = 1;
	current = symbols;
	module = symbols->dwfl ? dwfl_addrmodule(symbols->dwfl, address) : NULL;
	if (!module && gy_monotonic_ns() - symbols->looked_ns > LOOK_AGAIN_NS) {
		look(symbols);
		module = symbols->dwfl ? dwfl_addrmodule(symbols->dwfl, address) : NULL;
	}
	if (module)
		resolve_module(symbols, module, address, symbol);
	else
		resolve_map(symbols, address, symbol);
	return symbol;
}

/* ---------------------------------------------------------------- cache */

static size_t slot_of(const struct gy_symbols *symbols, uint64_t address)
{
	size_t slot = (size_t)((address * 0x9e3779b97f4a7c15ull) >> 20) & (symbols->cache_size - 1);

	while (symbols->cache[slot] && symbols->cache[slot]->address != address)
		slot = (slot + 1) & (symbols->cache_size - 1);
	return slot;
}

static bool cache_grow(struct gy_symbols *symbols)
{
	struct gy_symbol **old = symbols->cache;
	size_t old_size = symbols->cache_size, size = old_size ? old_size * 2 : CACHE_START;
	struct gy_symbol **fresh = calloc(size, sizeof(*fresh));

	if (!fresh)
		return false;
	symbols->cache = fresh;
	symbols->cache_size = size;
	for (size_t i = 0; i < old_size; i++)
		if (old[i])
			fresh[slot_of(symbols, old[i]->address)] = old[i];
	free(old);
	return true;
}

const struct gy_symbol *gy_symbols_find(struct gy_symbols *symbols, uint64_t return_address)
{
	static struct gy_symbol unknown;
	size_t slot;

	if (symbols->cache_used * 2 >= symbols->cache_size && !cache_grow(symbols))
		goto out;
	slot = slot_of(symbols, return_address);
	if (!symbols->cache[slot]) {
		symbols->cache[slot] = resolve(symbols, return_address);
		if (!symbols->cache[slot])
			goto out;
		symbols->cache_used++;
	}
	return symbols->cache[slot];
out:
	unknown = (struct gy_symbol){.address = return_address, .level_count = 1};
	return &unknown;
}

struct gy_symbols *gy_symbols_open(int pid)
{
	struct gy_symbols *symbols = calloc(1, sizeof(*symbols));

	if (!symbols)
		return NULL;
	gy_symbol_files_open(&symbols->files, pid);
	look(symbols);
	return symbols;
}

void gy_symbol_free(struct gy_symbol *symbol)
{
	for (size_t level = 0; symbol && level < symbol->level_count; level++) {
		free(symbol->levels[level].function);
		free(symbol->levels[level].linkage);
		free(symbol->levels[level].file);
	}
	free(symbol);
}

void gy_symbols_close(struct gy_symbols *symbols)
{
	if (!symbols)
		return;
	for (size_t i = 0; i < symbols->cache_size; i++)
		gy_symbol_free(symbols->cache[i]);
	for (size_t i = 0; i < symbols->module_count; i++)
		free(symbols->modules[i]);
	free(symbols->modules);
	free(symbols->cache);
	current = symbols;
	gy_symbol_index_drop(symbols->dwfl);
	current = NULL;
	maps_free(symbols);
	gy_symbol_files_close(&symbols->files);
	free(symbols);
}

void gy_symbol_text(const struct gy_symbol *symbol, size_t level, char *text, size_t bytes)
{
	static const char *const clones[] = {".constprop.", ".isra.", ".part.", ".cold",
					     ".lto_priv.", ".llvm."};

	if (symbol->levels[level].function)
		snprintf(text, bytes, "%s", symbol->levels[level].function);
	else if (symbol->module)
		snprintf(text, bytes, "%s+0x%" PRIx64, symbol->module, symbol->offset);
	else
		snprintf(text, bytes, "0x%" PRIx64, symbol->address);
	for (size_t i = 0; i < sizeof(clones) / sizeof(clones[0]); i++) {
		char *clone = symbol->levels[level].function ? strstr(text, clones[i]) : NULL;

		if (clone && clone != text)
			*clone = 0;
	}
}

void gy_symbols_line(struct gy_symbols *symbols, const uint64_t *frames, uint32_t depth, char *line,
		     size_t bytes)
{
	size_t used = 0;

	line[0] = 0;
	for (uint32_t i = 0; i < depth && used + 8 < bytes; i++) {
		const struct gy_symbol *symbol;
		char name[256] = "";

		if (!frames[i]) {
			snprintf(line + used, bytes - used, "%s[not known]", used ? " <- " : "");
			return;
		}
		symbol = gy_symbols_find(symbols, frames[i]);
		for (size_t level = 0; level < symbol->level_count && used + 8 < bytes; level++) {
			int length;

			gy_symbol_text(symbol, level, name, sizeof(name));
			length = snprintf(line + used, bytes - used, "%s%s", used ? " <- " : "",
					  name);
			used += length > 0 ? (size_t)length : 0;
		}
		/* Below these is only libc, the same in every line. */
		if (!strcmp(name, "main") || !strcmp(name, "start_thread"))
			return;
	}
}

json_t *gy_symbols_json(const struct gy_symbol *symbol)
{
	const struct gy_symbol_level *outer = &symbol->levels[symbol->level_count - 1];
	json_t *frame = json_object();

	json_object_set_new(frame, "address", gy_out_json_address(symbol->address));
	json_object_set_new(frame, "function",
			    outer->function ? json_string(outer->function) : json_null());
	json_object_set_new(frame, "offset", gy_out_json_u64(symbol->offset));
	json_object_set_new(frame, "module",
			    symbol->module ? json_string(symbol->module) : json_null());
	json_object_set_new(frame, "file", outer->file ? json_string(outer->file) : json_null());
	json_object_set_new(frame, "line", outer->file ? json_integer(outer->line) : json_null());
	if (symbol->level_count > 1) {
		json_t *inlined = json_array();

		for (size_t i = 0; i + 1 < symbol->level_count; i++) {
			const struct gy_symbol_level *level = &symbol->levels[i];
			json_t *entry = json_object();

			json_object_set_new(entry, "function",
					    level->function ? json_string(level->function)
							    : json_null());
			json_object_set_new(entry, "file",
					    level->file ? json_string(level->file) : json_null());
			json_object_set_new(entry, "line",
					    level->file ? json_integer(level->line) : json_null());
			json_array_append_new(inlined, entry);
		}
		json_object_set_new(frame, "inlined", inlined);
	}
	return frame;
}
