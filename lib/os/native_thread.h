/* native_thread.h - threads of the library's own: the background thread, the marking workers.
 *
 * Small stack, every signal blocked (a program's handlers must not find themselves in a thread that
 * the program does not know), detached, named "gyre".
 *
 * Made by clone, not by pthread_create, on x86-64: the first pthread_create of a process turns
 * every reference count of libstdc++ and every stdio call into its locked form, for good (glibc's
 * __libc_single_threaded); measured, a third of the speed of a C++ program full of shared_ptr. A
 * program that starts no threads shall not pay for ours.
 *
 * NATIVE-1  The thread has thread-local storage of its own: zeroes, reaching far enough for the C
 *           library's errno and our variables, below a thread control block of zeroes.
 * NATIVE-2  So it may call only what needs no more of the C library: system calls and the memory
 *           and string functions; not malloc, stdio, locale, dlopen, pthread_*, nor anything that
 *           locks.
 * NATIVE-3  The C library does not count it: pthread_exit of the last real thread ends the process,
 *           and setuid does not reach it. It must look for itself
 *           (gy_native_thread_has_process_ids), and end where the process has changed its rights.
 * NATIVE-4  A slot's stack and storage serve the next thread only after the kernel has said that
 *           the one before is gone (it clears the thread's id on exit). With all slots in use a
 *           start is refused with -EAGAIN.
 *
 * Sanitizer builds and other machines use pthread_create. kernel-notes/clone.md
 */
#ifndef GY_OS_NATIVE_THREAD_H
#define GY_OS_NATIVE_THREAD_H

#include "base/compiler.h"

#include <stdbool.h>
#include <sys/types.h>

/* 0 or -errno. May allocate (pthread_create does); the caller holds no lock of ours. Any thread, a
 * native one too, and several at once. */
int gy_native_thread_start_arg(void (*run)(void *argument), void *argument);
int gy_native_thread_start(void (*run)(void));
/* Is this a thread of ours? Not yet, for an instant, of one that is just starting. Signal-safe. */
bool gy_native_thread_is(pid_t tid);
/* In a forked child, before its first start. */
void gy_native_thread_fork_child(void);
/* For such a thread: does it have the effective user and group of the process? */
bool gy_native_thread_has_process_ids(void);
/* Was this address called from the dynamic loader, which may hold its locks? */
bool gy_called_from_loader(uintptr_t caller_pc);

#endif
