/* symbols.h - from a return address in a target to function, file and line.
 *
 * SYM-1  Files are reached through /proc/PID (map_files, else root): deleted programs, replaced
 *        libraries and containers with file systems of their own resolve like any other.
 * SYM-2  They are opened when the table is made, so that a process that has ended since still
 *        resolves. Libraries loaded later are found by looking again, at most once a second.
 * SYM-3  Every address is resolved once. Names are cleaned for the terminal (OUT-3).
 * SYM-4  Debug information may be wrong, damaged or hostile: what is followed is counted, and ends.
 *
 *      symbols.c         the table: one cache, one Dwfl for each process
 *      symbols_file.c    SYM-1: opening programs, libraries and separate debug files
 *      symbols_index.c   address to symbol, unit, function and inlined functions, by binary search
 */
#ifndef GYRE_TOOLS_SYMBOLS_H
#define GYRE_TOOLS_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#define GY_SYMBOL_LEVELS 16

/* One function at an address; the compiler may have inlined several into one another. */
struct gy_symbol_level {
	char *function; /* demangled; NULL: unknown */
	char *linkage;  /* as the linker knows it; NULL: the same, or unknown */
	char *file;     /* NULL: no line information */
	int line;
	int start_line; /* at which the function is declared; 0: unknown */
	bool inlined; /* into the next level */
};

struct gy_symbol {
	uint64_t address;
	uint64_t offset;    /* within the outermost function */
	const char *module; /* base name of the file, "[anonymous]" (a JIT's code); NULL: nowhere */
	size_t level_count; /* at least 1; innermost first */
	struct gy_symbol_level levels[GY_SYMBOL_LEVELS];
};

struct gy_symbols;

struct gy_symbols *gy_symbols_open(int pid);
void gy_symbols_close(struct gy_symbols *symbols);
/* gy_symbols_find - never NULL; valid until gy_symbols_close. Not thread-safe.
 * @return_address  the call before it is what is resolved */
const struct gy_symbol *gy_symbols_find(struct gy_symbols *symbols, uint64_t return_address);
/* gy_symbol_free - one that is in no gy_symbols, with its names; NULL will do. */
void gy_symbol_free(struct gy_symbol *symbol);
/* gy_symbol_text - a name for a level, never empty: the function (a compiler's copy of one is that
 * function: "lookup.constprop.0" is "lookup"), or MODULE+0xOFFSET, or the address. */
void gy_symbol_text(const struct gy_symbol *symbol, size_t level, char *text, size_t bytes);
/* gy_symbols_line - "f <- g <- main" of return addresses, inlined functions included, as far as
 * `bytes` go. */
void gy_symbols_line(struct gy_symbols *symbols, const uint64_t *frames, uint32_t depth, char *line,
		     size_t bytes);
/* gy_symbols_json - one frame as an object; a new reference. */
json_t *gy_symbols_json(const struct gy_symbol *symbol);

#endif
