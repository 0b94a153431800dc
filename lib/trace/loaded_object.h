/* loaded_object.h - which program or library holds an address, and where its unwind tables are.
 *
 * Asked for every frame, from inside malloc, which may be inside the dynamic loader with its locks
 * held. dl_iterate_phdr takes such a lock, and a program may call malloc from one of its
 * callbacks while another thread waits; so it is not for here. glibc 2.35 and later have
 * _dl_find_object: lock-free, async-signal-safe, complete (libraries, the vdso, namespaces), made
 * for unwinders. It is bound weakly. Where it is missing (older libc, static programs), a table
 * is filled once from dl_iterate_phdr; what is loaded later is unknown then, and walked by frame
 * pointers.
 *
 * A program linked with -static has no PT_GNU_EH_FRAME unless the linker is asked for it
 * (-Wl,--eh-frame-hdr; -static-pie has it): then its frame pointers are all there is.
 *
 * What is loaded when the library starts (the program, the libraries it was linked with) stays
 * loaded, and is kept in a table of its own: half the cost, and what is known of its code
 * stays true (unwind.c).
 *
 * OBJECT-1  Looking up takes no lock and allocates nothing.
 * OBJECT-2  A table entry is written before the count that covers it, and never changed after.
 * OBJECT-3  An object is called permanent only if it was there when the library was started. If a
 *           constructor that ran before loads an object that is unloaded and replaced later, walks
 *           through it may show wrong frames; they read nothing that they must not.
 *
 * Sources: <dlfcn.h> and elf/dl-find_object.c of glibc; GCC's unwind-dw2-fde-dip.c as its user.
 */
#ifndef GY_TRACE_LOADED_OBJECT_H
#define GY_TRACE_LOADED_OBJECT_H

#include "base/compiler.h"

#include <stdbool.h>

struct gy_loaded_object {
	uintptr_t start, end;        /* its mapping; start == end: none */
	const uint8_t *eh_frame_hdr; /* PT_GNU_EH_FRAME, NULL if it has none */
	bool permanent;              /* OBJECT-3 */
};

/* The object that holds `pc`; false and an empty one if there is none. */
bool gy_loaded_object_find(uintptr_t pc, struct gy_loaded_object *object);

/* For libcs without _dl_find_object, from a table that the first to ask fills. */
bool gy_loaded_object_find_listed(uintptr_t pc, struct gy_loaded_object *object);

GY_INLINE bool gy_loaded_object_holds(const struct gy_loaded_object *object, uintptr_t pc)
{
	return pc - object->start < object->end - object->start;
}

#endif
