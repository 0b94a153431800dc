/* symbols.c - see symbols.h. elfutils' libdwfl finds the modules and reads symbols and DWARF;
 * libiberty demangles C++, Rust and D.
 *
 * Dwfl asks us for each file by the start of its first mapping; `maps` is the list by which we
 * answer. A new look at the process makes a new Dwfl and drops the old: resolved addresses live in
 * the cache, not in it.
 */
#include "symbols.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <libiberty/demangle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "session.h"
#include "target.h"

#define CACHE_START 1024u /* a power of 2 */
#define MODULES_MAX 8192u
#define LOOK_AGAIN_NS 1000000000ull

struct module_map {
	uint64_t start, end, inode;
	char *path;
};

struct gy_symbols {
	int pid;
	Dwfl *dwfl;
	struct module_map *maps;
	size_t map_count, map_capacity;
	struct gy_symbol **cache; /* open addressing, by address; NULL: free */
	size_t cache_size, cache_used;
	char **modules; /* names, each once */
	size_t module_count;
	uint64_t looked_ns;
};

/* Dwfl's callbacks get no pointer of ours before the module exists; one look is in progress at a
 * time. */
static struct gy_symbols *looking;

/* ---------------------------------------------------------------- modules */

static int map_add(const struct gy_mapping *mapping, void *context)
{
	struct gy_symbols *symbols = context;
	struct module_map *map;

	if (!mapping->inode || symbols->map_count == MODULES_MAX)
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
	*map = (struct module_map){mapping->start, mapping->end, mapping->inode,
				   strdup(mapping->path)};
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

static int find_elf(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
		    char **file_name, Elf **elf)
{
	char path[PATH_MAX];

	if (*name == '[') /* the vdso, from the target's memory */
		return dwfl_linux_proc_find_elf(module, userdata, name, base, file_name, elf);
	for (size_t i = 0; looking && i < looking->map_count; i++) {
		struct gy_mapping mapping = {.start = looking->maps[i].start,
					     .end = looking->maps[i].end,
					     .inode = looking->maps[i].inode,
					     .path = looking->maps[i].path};
		int fd;

		if (mapping.start != base)
			continue;
		if (gy_mapping_open_path(looking->pid, &mapping, path))
			return -1;
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd >= 0)
			*file_name = strdup(path);
		return fd;
	}
	return -1;
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
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};
	Dwfl *dwfl = dwfl_begin(&callbacks);

	symbols->looked_ns = gy_monotonic_ns();
	if (!dwfl)
		return;
	looking = symbols;
	maps_free(symbols);
	gy_maps_each(symbols->pid, map_add, symbols);
	dwfl_report_begin(dwfl);
	if (!symbols->map_count || dwfl_linux_proc_report(dwfl, symbols->pid) ||
	    dwfl_report_end(dwfl, NULL, NULL)) {
		dwfl_end(dwfl); /* it has ended: the modules that we have stay */
		looking = NULL;
		return;
	}
	dwfl_getmodules(dwfl, open_module, NULL, 0);
	if (symbols->dwfl)
		dwfl_end(symbols->dwfl);
	symbols->dwfl = dwfl;
}

/* ---------------------------------------------------------------- one address */

static char *text_copy(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (copy)
		gy_out_clean(copy);
	return copy;
}

static char *function_name(const char *name)
{
	char *demangled, *version, *copy;

	if (!name || !*name)
		return NULL;
	demangled = cplus_demangle(name, DMGL_AUTO);
	copy = text_copy(demangled ? demangled : name);
	if (!demangled && copy) {
		version = strchr(copy, '@'); /* symbol@@VERSION */
		if (version && version != copy)
			*version = 0;
	}
	free(demangled);
	return copy;
}

static const char *module_name(struct gy_symbols *symbols, const char *path)
{
	const char *base = strrchr(path, '/');
	char **names, *name = text_copy(base && base[1] ? base + 1 : path), *deleted;

	if (!name)
		return NULL;
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

static const char *die_name(Dwarf_Die *die)
{
	Dwarf_Attribute attribute;
	const char *name = NULL;

	if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) ||
	    dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute))
		name = dwarf_formstring(&attribute);
	return name ? name : dwarf_diename(die);
}

static bool is_function(Dwarf_Die *die)
{
	int tag = dwarf_tag(die);

	return tag == DW_TAG_inlined_subroutine || tag == DW_TAG_subprogram ||
	       tag == DW_TAG_entry_point;
}

/* The file and line from which an inlined function was called: where the next level is. */
static void call_site(Dwarf_Die *inlined, Dwarf_Die *unit, struct gy_symbol_level *caller)
{
	Dwarf_Attribute attribute;
	Dwarf_Word line = 0, file = 0;
	Dwarf_Files *files;
	size_t count;

	if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &line) ||
	    dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &file))
		return;
	caller->line = (int)line;
	if (!dwarf_getsrcfiles(unit, &files, &count) && file < count)
		caller->file = text_copy(dwarf_filesrc(files, file, NULL, NULL));
}

/* The chain of inlined functions at `address`, innermost first, out of the DWARF. */
static void levels_fill(Dwfl_Module *module, Dwarf_Addr address, struct gy_symbol *symbol)
{
	Dwarf_Addr bias = 0;
	Dwarf_Die *unit = dwfl_module_addrdie(module, address, &bias), *scopes = NULL,
		  *chain = NULL;
	int count = unit ? dwarf_getscopes(unit, address - bias, &scopes) : 0, at = 0;
	size_t level = 0;

	while (at < count && !is_function(&scopes[at]))
		at++;
	count = at < count ? dwarf_getscopes_die(&scopes[at], &chain) : 0;
	for (at = 0; at < count && level + 1 < GY_SYMBOL_LEVELS; at++) {
		struct gy_symbol_level *here = &symbol->levels[level];

		if (dwarf_tag(&chain[at]) != DW_TAG_inlined_subroutine)
			continue;
		here->function = function_name(die_name(&chain[at]));
		here->inlined = true;
		level++;
		call_site(&chain[at], unit, &symbol->levels[level]);
	}
	symbol->level_count = level + 1;
	free(scopes);
	free(chain);
}

static struct gy_symbol *resolve(struct gy_symbols *symbols, uint64_t return_address)
{
	struct gy_symbol *symbol = calloc(1, sizeof(*symbol));
	Dwarf_Addr address = return_address - 1, start = 0;
	Dwfl_Module *module;
	const char *name;
	Dwfl_Line *line;
	GElf_Off offset = 0;
	GElf_Sym elf_symbol;

	if (!symbol)
		return NULL;
	symbol->address = return_address;
	symbol->level_count = 1;
	module = symbols->dwfl ? dwfl_addrmodule(symbols->dwfl, address) : NULL;
	if (!module && gy_monotonic_ns() - symbols->looked_ns > LOOK_AGAIN_NS) {
		look(symbols);
		module = symbols->dwfl ? dwfl_addrmodule(symbols->dwfl, address) : NULL;
	}
	if (!module)
		return symbol;
	name = dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
	symbol->module = module_name(symbols, name ? name : "?");
	levels_fill(module, address, symbol);
	line = dwfl_module_getsrc(module, address);
	if (line)
		symbol->levels[0].file = text_copy(
			dwfl_lineinfo(line, NULL, &symbol->levels[0].line, NULL, NULL, NULL));
	name = dwfl_module_addrinfo(module, address, &offset, &elf_symbol, NULL, NULL, NULL);
	/* The return address's offset, as debuggers print it; without a symbol, the file's. */
	symbol->offset = name ? offset + 1 : return_address - start;
	symbol->levels[symbol->level_count - 1].function = function_name(name);
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
	symbols->pid = pid;
	look(symbols);
	return symbols;
}

void gy_symbols_close(struct gy_symbols *symbols)
{
	if (!symbols)
		return;
	for (size_t i = 0; i < symbols->cache_size; i++) {
		struct gy_symbol *symbol = symbols->cache[i];

		for (size_t level = 0; symbol && level < symbol->level_count; level++) {
			free(symbol->levels[level].function);
			free(symbol->levels[level].file);
		}
		free(symbol);
	}
	for (size_t i = 0; i < symbols->module_count; i++)
		free(symbols->modules[i]);
	free(symbols->modules);
	free(symbols->cache);
	maps_free(symbols);
	if (symbols->dwfl)
		dwfl_end(symbols->dwfl);
	looking = NULL;
	free(symbols);
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
