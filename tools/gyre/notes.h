/* notes.h - Gyre's probes as an ELF file describes them: SystemTap notes (.note.stapsdt).
 *
 * A note gives, as addresses in the file as it was linked, the site of the nop, the semaphore, and
 * how the arguments are passed. Files come from a target and are read by libelf, which checks its
 * bounds; counts are limited here.
 */
#ifndef GYRE_TOOLS_NOTES_H
#define GYRE_TOOLS_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GY_NOTES_MAX 256
#define GY_NOTES_TEXT 160

struct gy_note {
	char name[48];
	char arguments[GY_NOTES_TEXT];
	uint64_t site, semaphore; /* addresses as linked; semaphore 0: none */
	uint64_t site_offset, semaphore_offset; /* the same, from the file's begin */
};

/* gy_notes_read - the notes of provider gyre. Returns their number, or -errno. */
int gy_notes_read(const char *path, struct gy_note *notes, size_t capacity);
bool gy_notes_present(const char *path);
/* gy_notes_bias - where a file is loaded, from one of its mappings. 0 or -errno. */
int gy_notes_bias(const char *path, uint64_t map_start, uint64_t map_offset, uint64_t *bias);

#endif
