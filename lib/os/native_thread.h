/* native_thread.h - a thread of the library's own.
 *
 * Small stack, every signal blocked (a program's handlers must not find themselves in a thread that
 * the program does not know), detached, named "gyre".
 */
#ifndef GY_OS_NATIVE_THREAD_H
#define GY_OS_NATIVE_THREAD_H

#include "base/compiler.h"

#include <stdbool.h>

/* 0 or -errno. Allocates (the C library does); the caller holds no lock of ours. */
int gy_native_thread_start(void (*run)(void));
/* Was this address called from the dynamic loader, which may hold its locks? */
bool gy_called_from_loader(uintptr_t caller_pc);

#endif
