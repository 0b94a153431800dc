/* symbols_file.c - see symbols_file.h. */
#include "symbols_file.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

#define DEBUG_FOLDER "/usr/lib/debug"

void gy_symbol_files_open(struct gy_symbol_files *files, int pid)
{
	char path[64];

	files->pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	files->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void gy_symbol_files_close(struct gy_symbol_files *files)
{
	if (files->root >= 0)
		close(files->root);
	files->root = -1;
}

/* What an O_PATH descriptor stands for, opened for reading if it is a regular file. Takes it. */
static int reopen_regular(int look)
{
	struct stat status;
	char path[64];
	int fd = -1;

	if (look < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", look);
	if (!fstat(look, &status) && S_ISREG(status.st_mode))
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	close(look);
	return fd;
}

int gy_symbol_open_in(int root, const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};

	if (root < 0)
		return reopen_regular(open(path, O_PATH | O_CLOEXEC));
	return reopen_regular((int)syscall(SYS_openat2, root, path, &how, sizeof(how)));
}

/* ---------------------------------------------------------------- the file itself */

/* /proc/PID/exe needs the right to look into the process only, and reaches the very inode. */
static int exe_open(int pid, const struct gy_mapping *mapping, char *path)
{
	struct stat status;

	snprintf(path, PATH_MAX, "/proc/%d/exe", pid);
	if (stat(path, &status) || status.st_ino != mapping->inode)
		return -1;
	return gy_symbol_open_in(-1, path);
}

int gy_symbol_file_open(const struct gy_symbol_files *files, const struct gy_mapping *mapping,
			char **path)
{
	char buffer[PATH_MAX];
	int fd = -1;

	if (!gy_mapping_open_path(files->pid, mapping, buffer))
		fd = gy_symbol_open_in(-1, buffer);
	if (fd < 0)
		fd = exe_open(files->pid, mapping, buffer);
	if (fd >= 0)
		*path = strdup(buffer);
	return fd;
}

/* ---------------------------------------------------------------- debug information */

static bool has_build_id(int fd, const void *wanted, size_t length)
{
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	const void *found;
	bool same = elf && dwelf_elf_gnu_build_id(elf, &found) == (ssize_t)length &&
		    !memcmp(found, wanted, length);

	if (elf)
		elf_end(elf);
	return same;
}

static bool has_checksum(int fd, GElf_Word wanted)
{
	struct stat status;
	void *bytes;
	uLong crc;

	if (fstat(fd, &status) || status.st_size <= 0)
		return false;
	bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return false;
	crc = crc32_z(0, bytes, (size_t)status.st_size);
	munmap(bytes, (size_t)status.st_size);
	return crc == wanted;
}

struct wanted {
	int root;
	const unsigned char *build_id;
	size_t build_id_length;
	GElf_Word crc;
};

/* SYMFILE-3 */
static int try_path(const struct wanted *wanted, const char *path)
{
	int fd = gy_symbol_open_in(wanted->root, path);

	if (fd < 0)
		return -1;
	if (wanted->build_id_length
		    ? has_build_id(fd, wanted->build_id, wanted->build_id_length)
		    : has_checksum(fd, wanted->crc))
		return fd;
	close(fd);
	return -1;
}

static int try_build_id(const struct wanted *wanted, char *path)
{
	int used;

	if (wanted->build_id_length < 2 || wanted->build_id_length > 64)
		return -1;
	used = snprintf(path, PATH_MAX, DEBUG_FOLDER "/.build-id/%02x/", wanted->build_id[0]);
	for (size_t i = 1; i < wanted->build_id_length; i++)
		used += snprintf(path + used, PATH_MAX - (size_t)used, "%02x", wanted->build_id[i]);
	snprintf(path + used, PATH_MAX - (size_t)used, ".debug");
	return try_path(wanted, path);
}

/* .gnu_debuglink: a name without a folder. */
static int try_link(const struct wanted *wanted, const char *module_path, const char *link,
		    char *path)
{
	static const struct {
		const char *before, *behind;
	} places[] = {{"", "/"}, {"", "/.debug/"}, {DEBUG_FOLDER, "/"}};
	const char *slash = strrchr(module_path, '/');
	int folder = slash ? (int)(slash - module_path) : 0, fd = -1;

	if (*module_path != '/' || strchr(link, '/'))
		return -1;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && fd < 0; i++)
		if (snprintf(path, PATH_MAX, "%s%.*s%s%s", places[i].before, folder, module_path,
			     places[i].behind, link) < PATH_MAX)
			fd = try_path(wanted, path);
	return fd;
}

/* dwz moves what several debug files have in common into one, named by a path from the debug file
 * and known by its build id. */
static int try_alternate(struct wanted *wanted, Dwfl_Module *module, const char *link, char *path)
{
	const char *name = NULL, *relative = strstr(link, ".dwz/");
	const void *build_id = NULL;
	Dwarf_Addr bias;
	Dwarf *dwarf = dwfl_module_getdwarf(module, &bias);
	ssize_t length = dwarf ? dwelf_dwarf_gnu_debugaltlink(dwarf, &name, &build_id) : -1;
	int fd;

	if (length <= 0)
		return -1;
	wanted->build_id = build_id;
	wanted->build_id_length = (size_t)length;
	fd = try_build_id(wanted, path);
	if (fd < 0 && *link == '/') {
		snprintf(path, PATH_MAX, "%s", link);
		fd = try_path(wanted, path);
	}
	if (fd < 0 && relative) {
		snprintf(path, PATH_MAX, DEBUG_FOLDER "/%s", relative);
		fd = try_path(wanted, path);
	}
	return fd;
}

int gy_symbol_debug_open(const struct gy_symbol_files *files, Dwfl_Module *module,
			 const char *module_path, const char *link, GElf_Word link_crc, char **path)
{
	const unsigned char *bits = NULL;
	GElf_Addr where;
	int length = dwfl_module_build_id(module, &bits, &where), fd = -1;
	int roots[] = {files->root, -1};
	char buffer[PATH_MAX];

	for (size_t i = files->root < 0; i < 2 && fd < 0; i++) {
		struct wanted wanted = {.root = roots[i], .crc = link_crc};

		if (length > 0) {
			wanted.build_id = bits;
			wanted.build_id_length = (size_t)length;
		}
		if (link && !link_crc) {
			fd = try_alternate(&wanted, module, link, buffer);
			continue;
		}
		fd = try_build_id(&wanted, buffer);
		if (fd < 0 && link)
			fd = try_link(&wanted, module_path, link, buffer);
	}
	if (fd >= 0)
		*path = strdup(buffer);
	return fd;
}
