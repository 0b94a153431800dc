/* elf_fuzz.c - ELF files: the probes' notes, and symbols, functions and lines by address. */
#include "fuzz.h"
#include "notes.h"
#include "symbols_index.h"

static int file = -1;
static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet(true);
	file = fuzz_file("elf");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return 0;
}

static int no_debug_file(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
			 const char *file_name, const char *link, GElf_Word link_crc, char **found)
{
	(void)module;
	(void)userdata;
	(void)name;
	(void)base;
	(void)file_name;
	(void)link;
	(void)link_crc;
	(void)found;
	return -1;
}

static void symbol_free(struct gy_symbol *symbol)
{
	for (size_t i = 0; i < GY_SYMBOL_LEVELS; i++) {
		free(symbol->levels[i].function);
		free(symbol->levels[i].linkage);
		free(symbol->levels[i].file);
	}
}

static void symbols(Dwfl_Module *module)
{
	struct gy_symbol_index *index = gy_symbol_index_of(module);
	Dwarf_Addr start = 0, end = 0;

	dwfl_module_info(module, NULL, &start, &end, NULL, NULL, NULL, NULL);
	for (uint64_t i = 0; index && i < 16; i++) {
		uint64_t address = start + (end - start) / 16 * i + i, offset = 0;
		struct gy_symbol symbol = {.address = address, .level_count = 1};
		const char *name = gy_symbol_index_name(index, address, &offset);

		if (name)
			gy_symbol_demangle(&symbol.levels[0], name);
		symbol_free(&symbol);
		memset(symbol.levels, 0, sizeof(symbol.levels));
		gy_symbol_index_levels(index, address, &symbol);
		fuzz_must(symbol.level_count <= GY_SYMBOL_LEVELS);
		symbol_free(&symbol);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = no_debug_file,
		.section_address = dwfl_offline_section_address,
	};
	struct gy_note *notes = calloc(GY_NOTES_MAX, sizeof(*notes));
	Dwfl_Module *module;
	uint64_t bias;
	Dwfl *dwfl;

	fuzz_must(notes != NULL);
	fuzz_fill(file, bytes, length);
	gy_notes_read(path, notes, GY_NOTES_MAX);
	gy_notes_bias(path, 0x400000, length & 0x1000, &bias);
	free(notes);
	dwfl = dwfl_begin(&callbacks);
	fuzz_must(dwfl != NULL);
	module = dwfl_report_elf(dwfl, "fuzz", path, -1, 0x10000000, false);
	if (module) {
		symbols(module);
		gy_symbol_index_free(module);
	}
	dwfl_end(dwfl);
	return 0;
}
