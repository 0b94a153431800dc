/* interpose.h - what the files of this folder share: the names that libc's headers do not declare.
 *
 * This folder is where C and C++ programs come in. Each public function checks what its own
 * standard asks (alignments, products, errno) and calls heap/heap.h; no policy of the heap is here.
 *
 * MIX-1  Every function through which a program on glibc can get or give back a block is defined
 *        here, the __libc_* names included. One that was left out would hand out a block of glibc's
 *        heap, which our free then has to refuse.
 * MIX-2  libgyre.a holds the library as one object (Makefile), so a static link takes all of these
 *        or none, whatever the order of the archives.
 * MIX-3  The caller's address is taken in the public function itself and passed down: it is the
 *        first frame of a sample, and the place that a report of misuse names.
 *
 * Sources: C11 7.22.3, C23 7.24.3, POSIX.1-2024 (malloc, free, posix_memalign, reallocarray),
 * glibc's manual "Replacing malloc", the Itanium C++ ABI (mangling), C++17 [new.delete].
 */
#ifndef GY_INTERPOSE_INTERPOSE_H
#define GY_INTERPOSE_INTERPOSE_H

#include "base/compiler.h"

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GY_CALLER() ((uintptr_t)__builtin_return_address(0))

/* C23 and old Unix; glibc 2.36's headers have neither. */
void free_sized(void *block, size_t bytes);
void free_aligned_sized(void *block, size_t alignment, size_t bytes);
void cfree(void *block);

/* glibc exports these for programs that wrap malloc themselves. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void __libc_free(void *block);
void *__libc_memalign(size_t alignment, size_t bytes);
void *__libc_valloc(size_t bytes);
void *__libc_pvalloc(size_t bytes);
int __posix_memalign(void **block, size_t alignment, size_t bytes);

#endif
