/* notes.c - see notes.h.
 *
 * Layout of a note's descriptor: three addresses (site, base, semaphore), then three strings
 * (provider, name, arguments). `base` is where .stapsdt.base was when the file was linked: if a
 * tool moved sections afterwards (prelink), the difference corrects the other two.
 */
#include "notes.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NT_STAPSDT_TYPE 3

struct elf_file {
	int fd;
	Elf *elf;
};

static int elf_open(struct elf_file *file, const char *path)
{
	elf_version(EV_CURRENT);
	/* O_NONBLOCK: were it a pipe in disguise, we would not wait for its writer. */
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file->fd < 0)
		return -errno;
	file->elf = elf_begin(file->fd, ELF_C_READ, NULL);
	if (file->elf && elf_kind(file->elf) == ELF_K_ELF && gelf_getclass(file->elf) == ELFCLASS64)
		return 0;
	elf_end(file->elf);
	close(file->fd);
	return -ENOEXEC;
}

static void elf_close(struct elf_file *file)
{
	elf_end(file->elf);
	close(file->fd);
}

/* One string of a descriptor; NULL where it is not terminated within it. */
static const char *next_string(const char **at, const char *end)
{
	const char *text = *at;
	size_t length = strnlen(text, (size_t)(end - text));

	if (text + length >= end)
		return NULL;
	*at = text + length + 1;
	return text;
}

static int note_parse(const char *descriptor, size_t bytes, uint64_t base_now, struct gy_note *note)
{
	const char *at = descriptor + 3 * sizeof(uint64_t), *end = descriptor + bytes;
	const char *provider, *name, *arguments;
	uint64_t addresses[3];

	if (bytes <= sizeof(addresses))
		return -EINVAL;
	memcpy(addresses, descriptor, sizeof(addresses));
	provider = next_string(&at, end);
	name = provider ? next_string(&at, end) : NULL;
	arguments = name ? next_string(&at, end) : NULL;
	if (!name || strcmp(provider, "gyre"))
		return -ENOENT;
	snprintf(note->name, sizeof(note->name), "%s", name);
	snprintf(note->arguments, sizeof(note->arguments), "%s", arguments ? arguments : "");
	if (base_now && addresses[1]) {
		addresses[0] += base_now - addresses[1];
		if (addresses[2])
			addresses[2] += base_now - addresses[1];
	}
	note->site = addresses[0];
	note->semaphore = addresses[2];
	return 0;
}

static int section_parse(Elf_Data *data, uint64_t base_now, struct gy_note *notes, size_t capacity)
{
	size_t offset = 0, name_at, descriptor_at, found = 0;
	GElf_Nhdr header;

	while (found < capacity &&
	       (offset = gelf_getnote(data, offset, &header, &name_at, &descriptor_at)) > 0) {
		const char *bytes = data->d_buf;

		if (header.n_type != NT_STAPSDT_TYPE || header.n_namesz != sizeof("stapsdt") ||
		    memcmp(bytes + name_at, "stapsdt", sizeof("stapsdt")))
			continue;
		if (!note_parse(bytes + descriptor_at, header.n_descsz, base_now, &notes[found]))
			found++;
	}
	return (int)found;
}

/* Where in the file an address lies; 0 where in no segment. */
static uint64_t file_offset(Elf *elf, uint64_t address)
{
	size_t count = 0;

	if (elf_getphdrnum(elf, &count))
		return 0;
	for (size_t i = 0; i < count; i++) {
		GElf_Phdr header;

		if (gelf_getphdr(elf, (int)i, &header) && header.p_type == PT_LOAD &&
		    address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz)
			return address - header.p_vaddr + header.p_offset;
	}
	return 0;
}

int gy_notes_read(const char *path, struct gy_note *notes, size_t capacity)
{
	struct elf_file file;
	Elf_Data *note_data = NULL;
	Elf_Scn *section = NULL;
	uint64_t base_now = 0;
	size_t names;
	int found = elf_open(&file, path);

	if (found)
		return found;
	if (elf_getshdrstrndx(file.elf, &names)) {
		elf_close(&file);
		return -ENOEXEC;
	}
	while ((section = elf_nextscn(file.elf, section))) {
		GElf_Shdr header;
		const char *name;

		if (!gelf_getshdr(section, &header))
			continue;
		name = elf_strptr(file.elf, names, header.sh_name);
		if (name && !strcmp(name, ".stapsdt.base"))
			base_now = header.sh_addr;
		else if (name && header.sh_type == SHT_NOTE && !strcmp(name, ".note.stapsdt"))
			note_data = elf_getdata(section, NULL);
	}
	if (note_data)
		found = section_parse(note_data, base_now, notes, capacity);
	for (int i = 0; i < found; i++) {
		notes[i].site_offset = file_offset(file.elf, notes[i].site);
		notes[i].semaphore_offset =
			notes[i].semaphore ? file_offset(file.elf, notes[i].semaphore) : 0;
	}
	elf_close(&file);
	return found;
}

bool gy_notes_present(const char *path)
{
	struct gy_note note;

	return gy_notes_read(path, &note, 1) == 1;
}

int gy_notes_bias(const char *path, uint64_t map_start, uint64_t map_offset, uint64_t *bias)
{
	struct elf_file file;
	size_t count = 0;
	int error = elf_open(&file, path);

	if (error)
		return error;
	error = -ENOENT;
	if (elf_getphdrnum(file.elf, &count))
		count = 0;
	for (size_t i = 0; i < count && error; i++) {
		GElf_Phdr header;

		if (!gelf_getphdr(file.elf, (int)i, &header) || header.p_type != PT_LOAD)
			continue;
		if (map_offset < (header.p_offset & ~4095ull) ||
		    map_offset >= header.p_offset + header.p_filesz)
			continue;
		/* Two segments may share a file page; the executable mapping was given to us. */
		if (!(header.p_flags & PF_X))
			continue;
		*bias = map_start - map_offset + header.p_offset - header.p_vaddr;
		error = 0;
	}
	elf_close(&file);
	return error;
}
