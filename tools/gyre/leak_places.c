/* leak_places.c - see leak_places.h. */
#include "leak_places.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <libiberty/demangle.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "target.h"

#define STACK_WORDS 512 /* looked at below the word */

/* ---------------------------------------------------------------- variables */

struct search {
	int pid;
	uint64_t address;
	struct gy_place *place;
	uint64_t inode; /* of the file last looked at: its first mapping is the lowest */
	bool found;
};

/* The image of an ELF file whose mapping begins at `start` from the file's byte `offset`: is the
 * address in it, and where? */
static bool image_holds(Elf *elf, uint64_t start, uint64_t offset, uint64_t address,
			uint64_t *linked)
{
	uint64_t bias = 0, low = UINT64_MAX, high = 0;
	bool placed = false;
	size_t count = 0;

	if (elf_getphdrnum(elf, &count))
		return false;
	for (size_t i = 0; i < count; i++) {
		GElf_Phdr header;
		uint64_t page_offset;

		if (!gelf_getphdr(elf, (int)i, &header) || header.p_type != PT_LOAD)
			continue;
		page_offset = header.p_offset & ~4095ull;
		if (!placed && offset >= page_offset &&
		    offset < header.p_offset + header.p_filesz) {
			bias = start - ((header.p_vaddr & ~4095ull) + (offset - page_offset));
			placed = true;
		}
		low = header.p_vaddr < low ? header.p_vaddr : low;
		high = header.p_vaddr + header.p_memsz > high ? header.p_vaddr + header.p_memsz
							      : high;
	}
	*linked = address - bias;
	return placed && *linked >= low && *linked < high;
}

static void name_put(struct gy_place *place, const char *name)
{
	char *plain = cplus_demangle(name, DMGL_PARAMS | DMGL_ANSI);

	snprintf(place->symbol, sizeof(place->symbol), "%s", plain ? plain : name);
	free(plain);
	gy_out_clean(place->symbol);
}

static bool table_find(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, uint64_t linked,
		       struct gy_place *place)
{
	Elf_Data *data = elf_getdata(section, NULL);
	size_t count = data && header->sh_entsize ? header->sh_size / header->sh_entsize : 0;

	for (size_t i = 0; i < count && i < INT_MAX; i++) {
		const char *name;
		GElf_Sym symbol;

		if (!gelf_getsym(data, (int)i, &symbol) ||
		    GELF_ST_TYPE(symbol.st_info) != STT_OBJECT || symbol.st_shndx == SHN_UNDEF ||
		    linked < symbol.st_value || linked - symbol.st_value >= symbol.st_size)
			continue;
		name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (!name || !*name)
			continue;
		name_put(place, name);
		place->offset = linked - symbol.st_value;
		return true;
	}
	return false;
}

static void elf_find(Elf *elf, uint64_t linked, struct gy_place *place)
{
	Elf_Scn *section = NULL;

	place->offset = linked;
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;

		if (gelf_getshdr(section, &header) &&
		    (header.sh_type == SHT_SYMTAB || header.sh_type == SHT_DYNSYM) &&
		    table_find(elf, section, &header, linked, place))
			return;
	}
}

static int mapping_visit(const struct gy_mapping *mapping, void *context)
{
	struct search *search = context;
	const char *base = strrchr(mapping->path, '/');
	char path[PATH_MAX];
	uint64_t linked;
	Elf *elf;
	int fd;

	if (!mapping->inode || !base || mapping->inode == search->inode)
		return 0;
	search->inode = mapping->inode;
	if (mapping->start > search->address ||
	    gy_mapping_open_path(search->pid, mapping, path))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	elf = fd >= 0 ? elf_begin(fd, ELF_C_READ_MMAP, NULL) : NULL;
	if (elf && elf_kind(elf) == ELF_K_ELF &&
	    image_holds(elf, mapping->start, mapping->offset, search->address, &linked)) {
		snprintf(search->place->module, sizeof(search->place->module), "%s", base + 1);
		gy_out_clean(search->place->module);
		elf_find(elf, linked, search->place);
		search->found = true;
	}
	elf_end(elf);
	if (fd >= 0)
		close(fd);
	return search->found;
}

struct gy_place gy_place_of_data(int pid, uint64_t address)
{
	struct gy_place place = {.symbol = ""};
	struct search search = {.pid = pid, .address = address, .place = &place};

	elf_version(EV_CURRENT);
	gy_maps_each(pid, mapping_visit, &search);
	return place;
}

/* ---------------------------------------------------------------- stacks */

/* Does a call stand before this address? The forms of call on x86-64; elsewhere a symbol will do.
 */
static bool behind_call(int pid, uint64_t address)
{
#if defined(__x86_64__)
	unsigned char code[8];

	if (address < 4096 || gy_memory_read(pid, address - sizeof(code), code, sizeof(code)))
		return false;
	return code[3] == 0xe8 || (code[6] == 0xff && (code[7] & 0x38) == 0x10) ||
	       (code[5] == 0xff && (code[6] & 0x38) == 0x10) ||
	       (code[2] == 0xff && (code[3] & 0x38) == 0x10);
#else
	return address >= 4096 && pid > 0;
#endif
}

struct code_search {
	uint64_t address;
	bool executable;
};

static int code_visit(const struct gy_mapping *mapping, void *context)
{
	struct code_search *search = context;

	if (search->address < mapping->start || search->address >= mapping->end)
		return 0;
	search->executable = mapping->executable;
	return 1;
}

bool gy_place_of_stack(int pid, struct gy_symbols *symbols, uint64_t address, char *text,
		       size_t bytes)
{
	for (uint64_t i = 1; i <= STACK_WORDS && address > 8 * i; i++) {
		uint64_t at = address - 8 * i, word;
		struct code_search code;

		if (gy_memory_read(pid, at, &word, sizeof(word)))
			return false;
		code = (struct code_search){.address = word};
		if (word < 4096 || !behind_call(pid, word))
			continue;
		gy_maps_each(pid, code_visit, &code);
		if (!code.executable)
			continue;
		gy_symbol_text(gy_symbols_find(symbols, word), 0, text, bytes);
		return true;
	}
	return false;
}
