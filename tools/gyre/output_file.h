/* output_file.h - results that go to a file: all of it, or nothing.
 *
 * OF-1  A file of that name is replaced when the new one is complete, in one step; a reader never
 *       sees half of it, and neither does anybody after an error, a full disk or a kill -9: until
 *       then the bytes have no name (O_TMPFILE), or one beside it that is removed.
 * OF-2  What is not a regular file (a pipe, a terminal, /dev/null) is written to, never replaced;
 *       a symbolic link stays, what it leads to is replaced.
 */
#ifndef GYRE_TOOLS_OUTPUT_FILE_H
#define GYRE_TOOLS_OUTPUT_FILE_H

#include <stddef.h>

/* gy_output_file - write `bytes` to a file of that path. 0, or -1 with the error told. */
int gy_output_file(const char *path, const void *bytes, size_t length);
/* gy_output_stdout - to standard output, if that is no terminal. @what  it is. */
int gy_output_stdout(const void *bytes, size_t length, const char *what);

#endif
