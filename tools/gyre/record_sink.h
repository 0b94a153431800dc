/* record_sink.h - where a recording's bytes go: a file, several writes at once, and to the disk
 * once a second.
 *
 *      append ... append   into a buffer in hand; full, it is written while the next is filled
 *      flush               what is in hand is written, too, and then the disk is asked for
 *
 * By io_uring: registered buffers, SINK_BUFFERS writes on their way at most, fdatasync when the
 * writes before it are done. Where io_uring is refused (a sandbox, an old kernel) or not wanted,
 * by pwrite and fdatasync, in order.
 *
 * SINK-1  A buffer begins with a whole block and holds only whole ones: append never splits.
 * SINK-2  The first error stands. The file is then cut behind the last whole block of what was
 *         written without a gap, so that what is there can be read.
 */
#ifndef GYRE_TOOLS_RECORD_SINK_H
#define GYRE_TOOLS_RECORD_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gy_sink;

enum gy_sink_way { GY_SINK_AUTO, GY_SINK_URING, GY_SINK_PWRITE };

/* gy_sink_open - makes the file, or empties it. NULL with *error (-errno). Auto: io_uring if it can
 * be had; GY_SINK_URING: or fail. */
struct gy_sink *gy_sink_open(const char *path, enum gy_sink_way way, int *error);
bool gy_sink_is_uring(const struct gy_sink *sink);
/* gy_sink_take - room for `bytes` in the buffer in hand, which the caller fills at once; NULL with
 * the error in gy_sink_error. */
void *gy_sink_take(struct gy_sink *sink, size_t bytes);
/* gy_sink_flush - start writing what is in hand; @sync: and have it on the disk. Does not wait. */
int gy_sink_flush(struct gy_sink *sink, bool sync);
int gy_sink_error(const struct gy_sink *sink);
/* gy_sink_close - waits for everything, syncs, cuts where it must. 0 or the first error.
 * @bytes  of the file as it is left */
int gy_sink_close(struct gy_sink *sink, uint64_t *bytes);

#endif
