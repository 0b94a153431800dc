/* symbols_index.c - see symbols_index.h.
 *
 * All three tables are the same structure: spans of addresses, sorted by start, which may nest and
 * overlap (an alias, a function inside a function, damaged input):
 *
 *      start    10   20   30   90
 *      end      60   25   35   95
 *      reach    60   60   60   95       the largest end so far
 *
 * The innermost span around an address is the last by start that has not ended before it; a walk to
 * the left from the address stops where `reach` says that nothing covers it any more.
 *
 * INDEX-1  The reading of one module visits at most ENTRIES_MAX tree entries, whatever it says, and
 *          DEPTH_MAX levels of them (SYM-4).
 * INDEX-2  A name that is shown has at most NAME_MAX_BYTES, whatever it was mangled from.
 */
#include "symbols_index.h"

#include <dwarf.h>
#include <elfutils/libdwelf.h>
#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

#define ENTRIES_MAX 100000000u
#define DEPTH_MAX 128
#define RANGES_MAX 1000000
#define NAME_MAX_BYTES 1024 /* of a name that is shown */
#define TEXT_MAX 4096	    /* of a path, or of a mangled name */

struct span {
	uint64_t start, end, reach;
	union {
		const char *name;
		struct unit *unit;
		Dwarf_Off die;
	};
	uint8_t rank; /* of symbols at one place: the better name */
};

struct spans {
	struct span *span;
	size_t count, capacity;
};

struct unit {
	struct unit *next;
	Dwarf_Die die;
	bool functions_read;
	struct spans functions;
};

struct gy_symbol_index {
	Dwfl_Module *module;
	bool symbols_read, units_read, alternate;
	struct spans symbols, units;
	struct unit *unit_list;
	Dwarf *dwarf;
	Dwarf_Addr bias;
	uint64_t entries; /* visited so far, INDEX-1 */
};

/* ---------------------------------------------------------------- spans */

static struct span *span_add(struct spans *spans, uint64_t start, uint64_t end)
{
	if (spans->count == spans->capacity) {
		size_t capacity = spans->capacity ? spans->capacity * 2 : 64;
		struct span *span = reallocarray(spans->span, capacity, sizeof(*span));

		if (!span)
			return NULL;
		spans->span = span;
		spans->capacity = capacity;
	}
	spans->span[spans->count] = (struct span){.start = start, .end = end};
	return &spans->span[spans->count++];
}

/* By start; of those that start together the longest first, the highest rank last. */
static int span_order(const void *a, const void *b)
{
	const struct span *left = a, *right = b;

	if (left->start != right->start)
		return left->start < right->start ? -1 : 1;
	if (left->end != right->end)
		return left->end > right->end ? -1 : 1;
	return left->rank - right->rank;
}

/* The same of symbols, whose names decide in the end: the order must not be the sort's. */
static int symbol_order(const void *a, const void *b)
{
	int order = span_order(a, b);

	return order ? order
		     : -strcmp(((const struct span *)a)->name, ((const struct span *)b)->name);
}

static void spans_sort(struct spans *spans, int (*compare)(const void *, const void *))
{
	uint64_t reach = 0;

	if (spans->count)
		qsort(spans->span, spans->count, sizeof(*spans->span), compare);
	for (size_t i = 0; i < spans->count; i++) {
		if (spans->span[i].end > reach)
			reach = spans->span[i].end;
		spans->span[i].reach = reach;
	}
}

/* The number of spans that start at or before the address. */
static size_t spans_before(const struct spans *spans, uint64_t address)
{
	size_t low = 0, high = spans->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (spans->span[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct span *spans_find(const struct spans *spans, uint64_t address)
{
	for (size_t i = spans_before(spans, address); i-- && spans->span[i].reach > address;)
		if (spans->span[i].end > address)
			return &spans->span[i];
	return NULL;
}

/* ---------------------------------------------------------------- symbols */

/* Which of several names for one place a reader would use: functions before bare labels, `puts`
 * before `_IO_puts` and `__GI__IO_puts`, then what others can link to. */
static uint8_t symbol_rank(const char *name, int type, int binding)
{
	size_t underscores = strncmp(name, "_Z", 2) && strncmp(name, "_R", 2) ? strspn(name, "_")
									      : 0;

	if (!strncmp(name, "__GI_", 5))
		underscores = 4;
	return (uint8_t)((type != STT_NOTYPE ? 32 : 0) +
			 4 * (4 - (underscores < 4 ? underscores : 4)) +
			 (binding == STB_GLOBAL ? 2
			  : binding == STB_WEAK ? 1
						: 0));
}

static void symbols_read(struct gy_symbol_index *index)
{
	int count = dwfl_module_getsymtab(index->module);

	for (int i = 1; i < count; i++) {
		GElf_Addr address;
		GElf_Word section;
		GElf_Sym symbol;
		const char *name = dwfl_module_getsym_info(index->module, i, &symbol, &address,
							   &section, NULL, NULL);
		int type = GELF_ST_TYPE(symbol.st_info), binding = GELF_ST_BIND(symbol.st_info);
		struct span *span;

		if (!name || !*name || section == SHN_UNDEF || section == SHN_ABS)
			continue;
		if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
			continue;
		span = span_add(&index->symbols, address,
				symbol.st_size > UINT64_MAX - address ? UINT64_MAX
								      : address + symbol.st_size);
		if (!span)
			break;
		span->name = name;
		span->rank = symbol_rank(name, type, binding);
	}
	spans_sort(&index->symbols, symbol_order);
}

const char *gy_symbol_index_name(struct gy_symbol_index *index, uint64_t address, uint64_t *offset)
{
	const struct span *span;
	size_t before;

	if (!index->symbols_read)
		symbols_read(index);
	index->symbols_read = true;
	span = spans_find(&index->symbols, address);
	if (!span) {
		/* Assembler often gives no size: then the nearest label, if nothing with a size
		 * stands between. */
		before = spans_before(&index->symbols, address);
		if (before && index->symbols.span[before - 1].end ==
				      index->symbols.span[before - 1].start)
			span = &index->symbols.span[before - 1];
	}
	if (!span)
		return NULL;
	*offset = address - span->start;
	return span->name;
}

/* ---------------------------------------------------------------- units and functions */

/* Add the ranges of an entry, in the addresses of the file. */
static bool ranges_add(struct spans *spans, Dwarf_Die *die, Dwarf_Off die_offset, struct unit *unit)
{
	Dwarf_Addr base, start, end;
	ptrdiff_t at = 0;

	for (int i = 0; i < RANGES_MAX; i++) {
		struct span *span;

		at = dwarf_ranges(die, at, &base, &start, &end);
		if (at <= 0)
			return true;
		if (end <= start || !start) /* 0: a function that the linker dropped */
			continue;
		span = span_add(spans, start, end);
		if (!span)
			return false;
		if (unit)
			span->unit = unit;
		else
			span->die = die_offset;
	}
	return true;
}

/* libdw looks for dwz's file by itself if we found none, and opens whatever path the program names:
 * tell it that it has looked. (This is how it notes that itself.) */
static void alternate_forbid(const struct gy_symbol_index *index)
{
	const void *build_id;
	const char *name;

	if (index->dwarf && !index->alternate &&
	    dwelf_dwarf_gnu_debugaltlink(index->dwarf, &name, &build_id) > 0)
		dwarf_setalt(index->dwarf, (Dwarf *)(intptr_t)-1);
}

static void units_read(struct gy_symbol_index *index)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die die;
	uint8_t type;

	index->dwarf = dwfl_module_getdwarf(index->module, &index->bias);
	alternate_forbid(index);
	/* Split units are not looked for: libdw would open whatever path the program names. Their
	 * lines are in the program. */
	while (index->dwarf && index->entries++ < ENTRIES_MAX &&
	       dwarf_get_units(index->dwarf, cu, &cu, NULL, &type, &die, NULL) == 0) {
		struct unit *unit;

		if (type == DW_UT_type || type == DW_UT_split_type)
			continue;
		unit = calloc(1, sizeof(*unit));
		if (!unit)
			break;
		unit->die = die;
		unit->next = index->unit_list;
		index->unit_list = unit;
		if (!ranges_add(&index->units, &die, 0, unit))
			break;
	}
	spans_sort(&index->units, span_order);
}

static bool may_hold_functions(int tag)
{
	switch (tag) {
	case DW_TAG_subprogram:
	case DW_TAG_namespace:
	case DW_TAG_module:
	case DW_TAG_lexical_block:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
	case DW_TAG_enumeration_type: /* Rust */
		return true;
	default:
		return false;
	}
}

static void functions_read(struct gy_symbol_index *index, struct unit *unit, Dwarf_Die *parent,
			   int depth)
{
	Dwarf_Die die;

	if (depth == DEPTH_MAX || dwarf_child(parent, &die))
		return;
	do {
		int tag = dwarf_tag(&die);

		if (index->entries++ > ENTRIES_MAX)
			return;
		if (tag == DW_TAG_subprogram || tag == DW_TAG_entry_point)
			ranges_add(&unit->functions, &die, dwarf_dieoffset(&die), NULL);
		if (may_hold_functions(tag) && dwarf_haschildren(&die) > 0)
			functions_read(index, unit, &die, depth + 1);
	} while (!dwarf_siblingof(&die, &die));
}

static struct unit *unit_find(struct gy_symbol_index *index, uint64_t address)
{
	const struct span *span;

	if (!index->units_read)
		units_read(index);
	index->units_read = true;
	span = spans_find(&index->units, address - index->bias);
	if (!span)
		return NULL;
	if (!span->unit->functions_read) {
		functions_read(index, span->unit, &span->unit->die, 0);
		spans_sort(&span->unit->functions, span_order);
	}
	span->unit->functions_read = true;
	return span->unit;
}

/* ---------------------------------------------------------------- names */

static char *text_copy(const char *text)
{
	char *copy = text ? strndup(text, TEXT_MAX) : NULL;

	if (copy)
		gy_out_clean(copy);
	return copy;
}

/* A mangled name refers back to its own parts, so a short one may stand for gigabytes: what it
 * says is taken piece by piece, and left when it is enough. The demanglers own no memory then. */
struct demangled {
	char text[NAME_MAX_BYTES + 4];
	size_t used;
	jmp_buf enough;
};

static void demangled_piece(const char *piece, size_t length, void *context)
{
	struct demangled *demangled = context;
	size_t room = NAME_MAX_BYTES - demangled->used, taken = length < room ? length : room;

	if (taken) /* an empty piece may have no address */
		memcpy(demangled->text + demangled->used, piece, taken);
	demangled->used += taken;
	if (taken < length)
		longjmp(demangled->enough, 1);
}

/* Rust's names begin as C++'s do (the old way) or with _R. False: it is neither's. */
static bool demangle(const char *name, struct demangled *demangled)
{
	demangled->used = 0;
	if (*name != '_' || strlen(name) > TEXT_MAX)
		return false;
	if (setjmp(demangled->enough)) {
		strcpy(demangled->text + demangled->used, "...");
		return true;
	}
	if (!rust_demangle_callback(name, 0, demangled_piece, demangled)) {
		demangled->used = 0;
		if (strncmp(name, "_Z", 2) ||
		    !cplus_demangle_v3_callback(name, 0, demangled_piece, demangled))
			return false;
	}
	demangled->text[demangled->used] = 0;
	return demangled->used;
}

void gy_symbol_demangle(struct gy_symbol_level *level, const char *name)
{
	struct demangled demangled;
	char *version;
	bool found;

	if (!name || !*name)
		return;
	free(level->function);
	free(level->linkage);
	level->linkage = NULL;
	found = demangle(name, &demangled);
	if (!found)
		snprintf(demangled.text, sizeof(demangled.text), "%s", name);
	level->function = strdup(demangled.text);
	if (level->function)
		gy_out_clean(level->function);
	if (found)
		level->linkage = text_copy(name);
	version = level->function ? strchr(level->function, '@') : NULL; /* symbol@@VERSION */
	if (!level->linkage && version && version != level->function)
		*version = 0;
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

static void level_name(struct gy_symbol_level *level, Dwarf_Die *die)
{
	gy_symbol_demangle(level, die_name(die));
	if (dwarf_decl_line(die, &level->start_line))
		level->start_line = 0;
}

/* ---------------------------------------------------------------- inlined functions */

/* A file as the compiler was told it: made absolute, as far as the unit says where it ran. */
static char *file_name(Dwarf_Die *unit, const char *name)
{
	Dwarf_Attribute attribute;
	const char *folder = NULL;
	char *path = NULL;

	if (name && *name != '/')
		folder = dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attribute));
	if (folder && *folder == '/' && asprintf(&path, "%s/%s", folder, name) > 0)
		gy_out_clean(path);
	else
		path = text_copy(name);
	return path;
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
	caller->line = line < INT32_MAX ? (int)line : 0;
	if (!dwarf_getsrcfiles(unit, &files, &count) && file < count)
		caller->file = file_name(unit, dwarf_filesrc(files, file, NULL, NULL));
}

/* The chain of inlined functions around an address, the outermost first. */
static size_t inlined_chain(struct gy_symbol_index *index, Dwarf_Die function, Dwarf_Addr address,
			    Dwarf_Die *chain, size_t room)
{
	Dwarf_Die parent = function, die;
	size_t count = 0;

	for (int depth = 0; depth < DEPTH_MAX && !dwarf_child(&parent, &die); depth++) {
		bool found = false;

		do {
			int tag = dwarf_tag(&die);

			if (index->entries++ > ENTRIES_MAX)
				return count;
			found = (tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block ||
				 tag == DW_TAG_try_block || tag == DW_TAG_catch_block) &&
				dwarf_haspc(&die, address) == 1;
		} while (!found && !dwarf_siblingof(&die, &die));
		if (!found)
			break;
		if (dwarf_tag(&die) == DW_TAG_inlined_subroutine && count < room)
			chain[count++] = die;
		parent = die;
	}
	return count;
}

static void line_fill(Dwarf_Die *unit, Dwarf_Addr address, struct gy_symbol_level *level)
{
	Dwarf_Line *line = dwarf_getsrc_die(unit, address);

	if (!line)
		return;
	level->file = file_name(unit, dwarf_linesrc(line, NULL, NULL));
	if (dwarf_lineno(line, &level->line))
		level->line = 0;
}

void gy_symbol_index_levels(struct gy_symbol_index *index, uint64_t address,
			    struct gy_symbol *symbol)
{
	struct unit *unit = unit_find(index, address);
	Dwarf_Die chain[DEPTH_MAX], function;
	const struct span *span;
	size_t count = 0, level = 0;

	if (!unit)
		return;
	address -= index->bias;
	line_fill(&unit->die, address, &symbol->levels[0]);
	span = spans_find(&unit->functions, address);
	if (!span || !dwarf_offdie(dwarf_cu_getdwarf(unit->die.cu), span->die, &function))
		return;
	count = inlined_chain(index, function, address, chain, DEPTH_MAX);
	while (count) {
		Dwarf_Die *inlined = &chain[--count];
		bool last = level + 2 == GY_SYMBOL_LEVELS; /* of a deeper chain the middle lacks */

		level_name(&symbol->levels[level], inlined);
		symbol->levels[level].inlined = true;
		call_site(last ? &chain[0] : inlined, &unit->die, &symbol->levels[++level]);
		if (last)
			break;
	}
	symbol->level_count = level + 1;
	level_name(&symbol->levels[level], &function);
}

/* ---------------------------------------------------------------- life */

struct gy_symbol_index *gy_symbol_index_of(Dwfl_Module *module)
{
	void **userdata = NULL;
	struct gy_symbol_index *index;

	dwfl_module_info(module, &userdata, NULL, NULL, NULL, NULL, NULL, NULL);
	if (!userdata)
		return NULL;
	if (*userdata)
		return *userdata;
	index = calloc(1, sizeof(*index));
	if (index)
		index->module = module;
	*userdata = index;
	return index;
}

void gy_symbol_index_alternate(Dwfl_Module *module)
{
	struct gy_symbol_index *index = gy_symbol_index_of(module);

	if (index)
		index->alternate = true;
}

void gy_symbol_index_free(Dwfl_Module *module)
{
	void **userdata = NULL;
	struct gy_symbol_index *index;

	dwfl_module_info(module, &userdata, NULL, NULL, NULL, NULL, NULL, NULL);
	index = userdata ? *userdata : NULL;
	if (!index)
		return;
	*userdata = NULL;
	for (struct unit *unit = index->unit_list, *next; unit; unit = next) {
		next = unit->next;
		free(unit->functions.span);
		free(unit);
	}
	free(index->symbols.span);
	free(index->units.span);
	free(index);
}

static int index_free(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
		      void *context)
{
	(void)userdata;
	(void)name;
	(void)base;
	(void)context;
	gy_symbol_index_free(module);
	return DWARF_CB_OK;
}

void gy_symbol_index_drop(Dwfl *dwfl)
{
	if (!dwfl)
		return;
	dwfl_getmodules(dwfl, index_free, NULL, 0);
	dwfl_end(dwfl);
}
