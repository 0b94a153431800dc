/* symbols_index.h - from an address to its symbol and its functions within one module, quickly.
 *
 * libdwfl answers such questions one by one, by walking: the whole symbol table, then all of a
 * unit's tree. For the thousands of addresses of a profile that takes minutes. So a module is read
 * once, each part when it is first needed, and then searched:
 *
 *      symbols     of the tables, by start
 *      units       by their ranges; not by .debug_aranges, which clang and rustc leave out
 *      functions   of one unit, by their ranges; below one only inlined functions are walked
 */
#ifndef GYRE_TOOLS_SYMBOLS_INDEX_H
#define GYRE_TOOLS_SYMBOLS_INDEX_H

#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stdint.h>

#include "symbols.h"

struct gy_symbol_index;

/* gy_symbol_index_of - the module's, made at the first call. NULL where memory lacks. */
struct gy_symbol_index *gy_symbol_index_of(Dwfl_Module *module);
/* gy_symbol_index_alternate - what dwz moved out of its debug information has been found. */
void gy_symbol_index_alternate(Dwfl_Module *module);
/* gy_symbol_index_free - before the module goes. */
void gy_symbol_index_free(Dwfl_Module *module);
/* gy_symbol_index_drop - all modules' indexes, and the modules. @dwfl  may be NULL. */
void gy_symbol_index_drop(Dwfl *dwfl);

/* gy_symbol_index_name - the name of the symbol that covers the address, or NULL. */
const char *gy_symbol_index_name(struct gy_symbol_index *index, uint64_t address, uint64_t *offset);
/* gy_symbol_index_levels - fill levels, files and lines of `symbol` from DWARF; names from DWARF
 * are left in place where the caller has none better. */
void gy_symbol_index_levels(struct gy_symbol_index *index, uint64_t address,
			    struct gy_symbol *symbol);

/* gy_symbol_demangle - fill function and linkage from what the tables hold. */
void gy_symbol_demangle(struct gy_symbol_level *level, const char *name);

#endif
