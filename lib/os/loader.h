/* loader.h - names looked up in the dynamic loader, where there is one.
 *
 * libgyre.a leaves loader.c out: a statically linked program must not take in dlopen (and ld's
 * warning about it) for the sake of an option. So both functions may be missing: test first.
 */
#ifndef GY_OS_LOADER_H
#define GY_OS_LOADER_H

/* A library by its name, or NULL. May allocate, and takes the loader's locks. */
__attribute__((weak)) void *gy_loader_open(const char *name);
/* A symbol of that library; of the whole program where `library` is NULL. */
__attribute__((weak)) void *gy_loader_symbol(void *library, const char *name);

#endif
