/* control.h - reading a target's control page (lib/control/control_page.h).
 *
 * The page is a memfd in the target. Ways to it, in this order:
 *
 *      descriptor    /proc/PID/fd/N -> "/memfd:gyre-control": the normal case
 *      map_files     the program closed the descriptor; the mapping is still there (privileged)
 *      memory        neither: process_vm_readv of the mapping; read only, so nothing fresh
 *
 * CR-1  Nothing is parsed in the shared page: bytes are copied out, then checked, then used.
 * CR-2  The page is mapped only if it is sealed against shrinking; otherwise a target could raise
 *       SIGBUS in us. Without the seal we read by pread and ask for nothing.
 * CR-3  A page whose `pid` is not the target's was inherited over fork, and is not the target's.
 */
#ifndef GYRE_TOOLS_CONTROL_H
#define GYRE_TOOLS_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/control_page.h"

struct gy_control;

enum gy_control_way { CONTROL_DESCRIPTOR, CONTROL_MAP_FILES, CONTROL_MEMORY };

/* struct gy_snapshot - a private copy of what a page said, checked. */
struct gy_snapshot {
	struct gyre_control header;
	struct gyre_control_class *classes;
	struct gyre_control_option *options;
	size_t class_count, option_count;
	bool fresh; /* the process answered our request */
	bool torn;  /* it died or hangs in the middle of writing this */
	uint64_t age_ns;
};

/* gy_control_open - find and check a process's page.
 * Returns  NULL with *error: -ENOENT none, -EACCES, -EPROTO (another ABI), -EBADMSG (nonsense),
 *          -ECHILD (a parent's page), -EAGAIN (being made) */
struct gy_control *gy_control_open(int pid, int *error);
void gy_control_close(struct gy_control *control);
/* gy_control_error - such an error as the end of a sentence about the process; brief: for a table.
 * */
const char *gy_control_error(int error);
const char *gy_control_error_brief(int error);

enum gy_control_way gy_control_way(const struct gy_control *control);
const char *gy_control_way_name(const struct gy_control *control);
bool gy_control_may_ask(const struct gy_control *control);

/* gy_control_read - a snapshot.
 * @wait_ms  ask for a fresh one and wait that long for it; 0: take the last one
 * Returns   0, or -errno as above (-ESRCH when the process is gone) */
int gy_control_read(struct gy_control *control, unsigned int wait_ms, struct gy_snapshot *snapshot);
/* gy_control_command - raise GYRE_CONTROL_ bits; the process takes them when it answers the next
 * gy_control_read that asks. False where it may not, or cannot, be asked. */
bool gy_control_command(struct gy_control *control, uint32_t commands);
/* gy_control_set - ask for an option's change, and wait for what comes of it (CTL-8).
 * Returns   0, or why it was not asked: -EACCES its page may only be read, -EPROTO its Gyre is too
 *           old, -EBUSY others ask all the time, -ETIMEDOUT it does not answer, and nothing was
 *           changed; -ENAMETOOLONG
 * @refused  0, or the process's own answer: -ENOENT, -EPERM, -EINVAL, -ERANGE */
int gy_control_set(struct gy_control *control, const char *name, const char *value,
		   unsigned int wait_ms, int *refused);
/* gy_control_leak - ask for a scan (CTL-9), and wait until it is begun or refused.
 * @request  from `operation` on
 * @scan     its number
 * Returns   0, or -errno: as gy_control_set, and what the process answers: -EBUSY a scan is on */
int gy_control_leak(struct gy_control *control, const struct gyre_control_leak *request,
		    unsigned int wait_ms, uint32_t *scan);
void gy_snapshot_free(struct gy_snapshot *snapshot);
/* gy_control_buckets - the sampled profile: a copy of the buckets, each consistent (CTL-3).
 * @snapshot  of the same process; says where they are
 * @buckets   to be freed; depth is at most GYRE_CONTROL_FRAMES
 * @torn      how many could not be caught between two changes (the process hangs in one)
 * Returns    0, or -errno as above */
int gy_control_buckets(struct gy_control *control, const struct gy_snapshot *snapshot,
		       struct gyre_control_bucket **buckets, size_t *count, size_t *torn);

#endif
