/* symbols_file.h - opening the programs and libraries of a process, and what describes them.
 *
 *      the file itself     /proc/PID/map_files (the very inode; privileged), else by its path as
 *                          the process sees it if that still is the inode, else /proc/PID/exe,
 *                          else out of the process's memory: a deleted library's own symbols
 *      debug information   in the file; else DIR/usr/lib/debug/.build-id/xx/yyy.debug; else what
 *                          .gnu_debuglink names: beside the file, in .debug/, below /usr/lib/debug;
 *                          first with the process's root as DIR, then with our own
 *
 * SYMFILE-1  A path in another root is opened by openat2 with RESOLVE_IN_ROOT: a symbolic link made
 *            in a container must not lead root's debugger to a file outside of it.
 * SYMFILE-2  Only regular files are opened for reading (looked at by O_PATH first): no FIFO, no
 *            device.
 * SYMFILE-3  Debug information is taken only if its build id, or where there is none its checksum,
 *            is the one that the file names.
 */
#ifndef GYRE_TOOLS_SYMBOLS_FILE_H
#define GYRE_TOOLS_SYMBOLS_FILE_H

#include <elfutils/libdwfl.h>

#include "target.h"

struct gy_symbol_files {
	int pid;
	int root; /* O_PATH of the process's root, or -1; good also after it has ended */
};

/* gy_symbol_files_open - never fails; what cannot be opened is -1. */
void gy_symbol_files_open(struct gy_symbol_files *files, int pid);
void gy_symbol_files_close(struct gy_symbol_files *files);

/* gy_symbol_file_open - the file behind a mapping. Returns a descriptor, *path a string to free;
 * or -1. */
int gy_symbol_file_open(const struct gy_symbol_files *files, const struct gy_mapping *mapping,
			char **path);
/* gy_symbol_debug_open - separate debug information, as find_debuginfo of Dwfl_Callbacks. */
int gy_symbol_debug_open(const struct gy_symbol_files *files, Dwfl_Module *module,
			 const char *module_path, const char *link, GElf_Word link_crc,
			 char **path);
/* gy_symbol_open_in - SYMFILE-1, SYMFILE-2. `root` -1: our own. Returns a descriptor or -1. */
int gy_symbol_open_in(int root, const char *path);

#endif
