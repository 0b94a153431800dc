/* layout.h - types as the collector knows them: what to scan in a block's objects.
 *
 * Equal types share a layout, wherever they are declared: it is made from the contents of a struct
 * gyre_type, kind and alignment, and never goes away. Names are those of the first that came.
 */
#ifndef GY_GC_LAYOUT_H
#define GY_GC_LAYOUT_H

#include "base/compiler.h"

#include <gyre/gc.h>

#define GY_LAYOUTS_MAX 65535u

enum gy_layout_kind {
	GY_LAYOUT_LEAF,		/* nothing to scan */
	GY_LAYOUT_CONSERVATIVE, /* every word may be a pointer */
	GY_LAYOUT_TYPED,	/* head once, then tail elements to the object's end (if tail_words) */
	GY_LAYOUT_ARRAY,	/* head again and again to the object's end */
};

struct gy_layout {
	uint8_t kind; /* enum gy_layout_kind */
	uint8_t map_is_short; /* head_words <= 64: map[0] is all */
	uint16_t index;	      /* [const] its number */
	uint32_t alignment;
	uint32_t head_words;
	uint32_t tail_words; /* per element; 0: none */
	uint64_t tail_map;
	const uint64_t *map; /* head_words bits, whole 64-bit words */
	const char *name, *field_names;
	uint32_t field_count;
	const uint16_t *field_offsets;
};

/* Kept here for ever: [0] leaf, [1] conservative. Grows; entries never move. */
extern struct gy_layout **gy_layouts GY_HIDDEN; /* [atomic: acquire on an entry] */

/* The layout of a type's objects (`array`: of arrays of it); NULL where memory lacks. Takes the
 * layout lock. Any thread. */
const struct gy_layout *gy_layout_of(const struct gyre_type *type, bool array);
/* Name of the field of an object of this layout that holds byte `offset`, into `text`. */
void gy_layout_field_name(const struct gy_layout *layout, size_t offset, char *text, size_t bytes);
int gy_layout_init(void);
void gy_layout_fork_child(void);

#endif
