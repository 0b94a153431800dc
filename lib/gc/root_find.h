/* root_find.h - the parts of finding roots: roots.c keeps the pieces, root_objects.c and
 * root_threads.c find them. All of it runs in the pause.
 */
#ifndef GY_GC_ROOT_FIND_H
#define GY_GC_ROOT_FIND_H

#include "mutator/world.h"
#include "os/maps.h"

#include <stdbool.h>

enum gy_root_kind {
	GY_ROOT_STACK, /* of a thread: may hold signal frames (ROOT-6) */
	GY_ROOT_DATA,
	GY_ROOT_CHECKED, /* may have holes: each page is asked for first (ROOT-5) */
};

/* What a function needs that reads other threads' stacks, or whatever else. */
#if GY_TSAN
#define GY_ROOT_READER GY_RACY_READER
#else
#define GY_ROOT_READER __attribute__((no_sanitize("address", "undefined")))
#endif

/* The stretches of stack that one thread has: a signal frame's saved SP lies in one of them. */
struct gy_root_stack {
	uintptr_t low[3], high[3];
	unsigned count;
};

/* Adds [start, end), made whole words. `stack`: number of its gy_root_stack. */
void gy_root_add(uintptr_t start, uintptr_t end, enum gy_root_kind kind, uint32_t stack);
/* The record of a new thread; its number in *number. NULL: memory lacks. */
struct gy_root_stack *gy_root_stack_new(uint32_t *number);
/* Mappings, read once a pause; NULL: cannot be read. */
const struct gy_maps *gy_root_maps(void);

/* root_objects.c */
void gy_root_objects_init(void);
/* Outside the pause: is no library being loaded or unloaded at this moment? */
bool gy_root_objects_settled(void);
/* Adds the segments of all loaded objects; false: start over. */
bool gy_root_objects_find(void);
/* At least the bytes of static thread-local storage, and those of the largest dynamic block. */
size_t gy_root_tls_static_most(void);
size_t gy_root_tls_block_most(void);

/* root_threads.c */
void gy_root_threads_init(void);
/* Asks for what gy_root_thread_find will read. */
void gy_root_thread_ahead(const struct gy_stopped_thread *thread);
void gy_root_thread_find(const struct gy_stopped_thread *thread);

/* Sets the PCs back in signal frames in [start, end), words of this stack (ROOT-6). */
void gy_root_fix_frames(uintptr_t start, uintptr_t end, const struct gy_root_stack *stack);

#endif
