/* leak_places.h - what lies at an address of a process: a variable, a stack frame, a mapping.
 *
 * PLACE-1  Files are reached through /proc/PID (SYM-1); what is damaged in one has no names, and
 *          does no harm: libelf checks what it reads.
 */
#ifndef GYRE_TOOLS_LEAK_PLACES_H
#define GYRE_TOOLS_LEAK_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbols.h"

struct gy_place {
	char symbol[256]; /* a variable's, clean (OUT-3); "" where there is none */
	uint64_t offset;  /* into the variable, or into the file's image */
	char module[128]; /* base name of the file; "" where there is none */
};

/* gy_place_of_data - the variable at an address: of a file's data, .bss included. */
struct gy_place gy_place_of_data(int pid, uint64_t address);
/* gy_place_of_stack - the function in whose frame a word of a stack most likely lies: that of the
 * nearest return address below it. A guess: stacks hold old return addresses, too.
 * Returns  false where none is near */
bool gy_place_of_stack(int pid, struct gy_symbols *symbols, uint64_t address, char *text,
		       size_t bytes);

#endif
