/* heap.h - the allocator as the layers above see it: out-of-line halves of malloc and its family.
 *
 * The inline fast paths stand in interpose/malloc.c; whatever they cannot do ends here. `caller_pc`
 * is the return address of the public function: it heads a sample's stack and names the culprit
 * of misuse.
 */
#ifndef GY_HEAP_HEAP_H
#define GY_HEAP_HEAP_H

#include "heap/thread_cache.h"

#pragma GCC visibility push(hidden)

/* NULL and errno = ENOMEM where memory lacks. */
void *gy_heap_alloc(size_t bytes, uintptr_t caller_pc);
/* `alignment` a power of 2. */
void *gy_heap_alloc_aligned(size_t alignment, size_t bytes, uintptr_t caller_pc);
void *gy_heap_alloc_zeroed(size_t bytes, uintptr_t caller_pc);
/* block not NULL, bytes not 0 */
void *gy_heap_realloc(void *block, size_t bytes, uintptr_t caller_pc);
/* Any pointer; misuse is reported. Keeps errno. */
void gy_heap_free(void *block, uintptr_t caller_pc);
/* Also checks that the block can have come from such a request; alignment 0: none was given. */
void gy_heap_free_sized(void *block, size_t bytes, size_t alignment, uintptr_t caller_pc);
/* 0 for NULL. */
size_t gy_heap_usable_size(const void *block, uintptr_t caller_pc);
/* What gy_heap_hooks.alloc_recorded and free_recorded leave to do: a block of this class, and its
 * record; a record of the block, and its free; its free alone, by whoever has told of it. */
void *gy_heap_alloc_told(unsigned class_index, size_t bytes, uintptr_t caller_pc);
void gy_heap_free_told(void *block, uintptr_t caller_pc);
void gy_heap_push(unsigned class_index, void *block, uintptr_t caller_pc);
/* Gives idle memory back now; bytes given. */
size_t gy_heap_trim(size_t keep_bytes);

/* Gives back the calling thread's cached blocks; bytes given. */
size_t gy_heap_flush(void);

/* Starts the heap; first called by whoever allocates first. Any thread, any time. */
bool gy_heap_start(void);
bool gy_heap_started(void);

/* CHECK=full, tests: every structure's check. */
void gy_heap_check(void);

#pragma GCC visibility pop

#endif
