/* target.h - processes that run on Gyre: finding them, naming them, what of Gyre is loaded in them.
 *
 * Everything that comes from a target is untrusted: another user's process may make its memory, its
 * file names and its control page say anything, while we may be root. So: fixed limits, private
 * copies before checks, no path opened that is not reached through /proc/PID.
 *
 *      PROC := { pid PID | name COMM }
 *
 * Commands that show what there is take several, and a name that several processes have; those that
 * trace take one (gy_target_arguments), and list the processes of an ambiguous name.
 */
#ifndef GYRE_TOOLS_TARGET_H
#define GYRE_TOOLS_TARGET_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GY_TARGET_IMAGES 4
#define GY_COMM_BYTES 64

/* struct gy_mapping - one line of /proc/PID/maps. */
struct gy_mapping {
	uint64_t start, end, offset, inode;
	unsigned int device_major, device_minor;
	bool executable;
	const char *path; /* "" where anonymous */
};

/* struct gy_image - an ELF file in the target that carries Gyre's probes: libgyre.so, or the
 * program itself when it is linked with libgyre.a. */
struct gy_image {
	char name[PATH_MAX];      /* as the target sees it */
	char open_path[PATH_MAX]; /* as we can open it, in any mount namespace, deleted or not */
	uint64_t bias;            /* address in the target minus address in the file */
};

struct gy_target {
	int pid, pid_fd; /* pid_fd: -1, or readable when the process has ended */
	char comm[GY_COMM_BYTES];
	char exe[PATH_MAX];
	struct gy_image images[GY_TARGET_IMAGES];
	size_t image_count;
	struct gy_control *control; /* NULL: no control page found; see control.h */
	int control_error;          /* why, -errno; -ENOENT where it publishes none */
};

enum gy_target_need {
	TARGET_ANY,     /* any process will do */
	TARGET_GYRE,    /* must have Gyre in it */
	TARGET_CONTROL, /* must publish a control page */
};

/* gy_target_arguments - read a PROC from the words of the command line and open it.
 * @argc, @argv  advanced past what was read
 * Returns       0, or -1 with the error told */
int gy_target_arguments(int *argc, char ***argv, struct gy_target *target,
			enum gy_target_need need);
/* struct gy_targets - of a command that takes several: PROC again and again, and a name that
 * several have. */
struct gy_targets {
	struct gy_target *list;
	size_t count;
	enum gy_target_need need;
};

/* gy_targets_arguments - as gy_target_arguments; close it where 0 was returned. */
int gy_targets_arguments(int *argc, char ***argv, struct gy_targets *targets,
			 enum gy_target_need need);
/* gy_targets_each - run `one` for each: alone as it is, else each with a place of its own in the
 * output (gy_out_many_next). One that cannot be served does not keep the others from it.
 * Returns       0, or -1 if any failed, with the errors told */
int gy_targets_each(struct gy_targets *targets,
		    int (*one)(struct gy_target *target, void *context), void *context);
void gy_targets_close(struct gy_targets *targets);

/* gy_target_open - 0, or -errno: -ESRCH no such process, -EACCES no right to look into it. */
int gy_target_open(struct gy_target *target, int pid);
void gy_target_close(struct gy_target *target);
bool gy_target_has_gyre(const struct gy_target *target);
bool gy_target_ended(const struct gy_target *target);
int gy_target_open_error(int pid, int error);

/* gy_target_each - visit every process with Gyre that we may look into.
 * Returns       processes that we may not look into; stops when visit returns non-zero */
int gy_target_each(int (*visit)(struct gy_target *target, void *context), void *context);

/* gy_maps_each - visit the mappings of a process; stops when visit returns non-zero.
 * Returns       0, -errno, or what visit returned */
int gy_maps_each(int pid, int (*visit)(const struct gy_mapping *mapping, void *context),
		 void *context);
/* gy_mapping_open_path - a path by which we can open the file behind a mapping. 0 or -errno. */
int gy_mapping_open_path(int pid, const struct gy_mapping *mapping, char path[PATH_MAX]);

/* gy_status_u64 - a number from /proc/PID/status ("VmRSS:", in its own unit). 0 or -errno. */
int gy_status_u64(int pid, const char *field, uint64_t *value);
/* gy_process_comm - the name of a process or thread, cleaned for printing. */
void gy_process_comm(int pid, char comm[GY_COMM_BYTES]);
/* gy_memory_read - read a target's memory. 0 or -errno. */
int gy_memory_read(int pid, uint64_t address, void *to, size_t bytes);

/* struct gy_memory_file - a memfd of a target's that it keeps mapped. */
struct gy_memory_file {
	int pid, fd;     /* fd -1: only the process's memory is within reach */
	uint64_t remote; /* where it has it mapped */
	uint64_t bytes;
};

/* gy_memory_file_open - opens it by its path below /proc; only a regular file of tmpfs will do.
 * Looked at by O_PATH before it is opened: opening a pipe or a device has effects.
 * Returns      a descriptor, and *bytes its size; or -1 */
int gy_memory_file_open(const char *path, int flags, uint64_t *bytes);

/* gy_memory_file_read - 0, -errno, or -EBADMSG where it has no such bytes. */
int gy_memory_file_read(const struct gy_memory_file *file, uint64_t offset, void *to, size_t bytes);
/* gy_task_inside - a thread's number in its innermost pid namespace, as the process itself knows
 * it: the last column of NSpid. 0 where it cannot be read. */
uint32_t gy_task_inside(int pid, uint32_t tid);

#endif
