/* layout.h - types as the collector knows them: what to scan in a block's objects.
 *
 * Types of equal contents share a layout, wherever they are declared: it is made from pointer maps,
 * kind, alignment and names, and never goes away. Names count, so that a report names the right
 * one. Everything is copied: the library that declared the type may be unloaded.
 */
#ifndef GY_GC_LAYOUT_H
#define GY_GC_LAYOUT_H

#include "base/compiler.h"

#include "trace/event_record.h"

#include <gyre/gc.h>

#define GY_LAYOUTS_MAX 65535u

enum gy_layout_kind {
	GY_LAYOUT_LEAF,         /* nothing to scan */
	GY_LAYOUT_CONSERVATIVE, /* every word may be a pointer */
	GY_LAYOUT_TYPED, /* head once, then tail elements to the object's end (if tail_words) */
	GY_LAYOUT_ARRAY, /* head again and again to the object's end */
};

struct gy_layout {            /* [const] once in gy_layouts */
	uint8_t kind;         /* enum gy_layout_kind */
	uint8_t map_is_short; /* head_words <= 64: map[0] is all */
	uint16_t index;       /* its number */
	uint32_t alignment;
	uint32_t head_words; /* TYPED without a tail: up to its last pointer */
	uint32_t tail_words; /* per element; 0: none */
	uint64_t tail_map;
	const uint64_t *map; /* head_words bits, whole 64-bit words; never NULL */
	const char *name, *field_names;
	uint32_t field_count;
	const uint16_t *field_offsets;
};

/* Kept here for ever: [0] bytes of gyre_new_leaf, the only ones that are not zeroed; [1]
 * conservative. Grows; entries never move. */
extern struct gy_layout **gy_layouts GY_HIDDEN; /* [atomic: acquire on an entry] */

/* The layout of a type's objects (`array`: of arrays of it); NULL where memory lacks. Any thread;
 * takes the layout lock if the type is new. */
const struct gy_layout *gy_layout_of(const struct gyre_type *type, bool array);
/* A type made at run time (gyre_type_make, whose arguments were checked), for ever; equal ones
 * share a record. NULL: memory lacks. */
const struct gyre_type *gy_type_make(const char *name, size_t bytes, size_t alignment,
				     const uint64_t *bitmap);
/* Name of the field of an object of this layout that holds byte `offset`, into `text`. */
void gy_layout_field_name(const struct gy_layout *layout, size_t offset, char *text, size_t bytes);
/* A type's number in records of barrier hits (trace/event_record.h): GYRE_TYPE_NONE where there is
 * no object. */
unsigned gy_layout_type_number(uintptr_t address);
/* The names of types, from number 1 on. Returns how many. */
unsigned gy_layout_type_names(const struct gyre_type_name **names);

int gy_layout_init(void);
void gy_layout_fork_child(void);

/* What a thread has looked up last, by the address of the type. */
#define GY_LAYOUT_SLOTS 32u
struct gy_layout_slot {
	const struct gyre_type *type;
	uint64_t fingerprint;
	const struct gy_layout *layout;
	bool array;
};

#endif
