/* panic.h - the last words of a process: one line on stderr, then abort.
 *
 * Nothing here allocates, takes a lock or needs the heap to be sane. The write goes straight to
 * descriptor 2 (the one system call below os/, because even os/ may be what panics).
 */
#ifndef GY_BASE_PANIC_H
#define GY_BASE_PANIC_H

#include "base/compiler.h"
#include "base/format.h"

/* "gyre: PID COMM: " into `text`; what every message to a person starts with. */
void gy_message_begin(struct gy_text *text);
/* Ends the line and writes it to stderr in one piece; keeps errno. */
void gy_message_write(struct gy_text *text);
/* Prints one line and aborts. */
__attribute__((noreturn, cold)) void gy_panic(const char *what);

#endif
