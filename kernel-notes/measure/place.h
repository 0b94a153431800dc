/* place.h - where in its file a function of this program lies: what a uprobe is attached by. */
#ifndef KERNEL_NOTES_PLACE_H
#define KERNEL_NOTES_PLACE_H

#include <link.h>
#include <stdint.h>

struct place {
	uintptr_t address;
	uint64_t offset; /* in the file; 0: not found */
};

static int find_place(struct dl_phdr_info *info, size_t bytes, void *context)
{
	struct place *place = context;

	(void)bytes;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_LOAD && place->address - start < header->p_filesz) {
			place->offset = place->address - start + header->p_offset;
			return 1;
		}
	}
	return 0;
}

static uint64_t file_offset(const volatile void *address)
{
	struct place place = {(uintptr_t)address, 0};

	dl_iterate_phdr(find_place, &place);
	return place.offset;
}

#endif
