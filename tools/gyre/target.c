/* target.c - see target.h.
 *
 * A process "has Gyre" when it publishes a control page, or when a file mapped executable in it
 * carries SystemTap notes of provider gyre (libgyre.so, or a program linked with libgyre.a, also
 * with the option control=off).
 *
 * PIDs are recycled. A pidfd is opened before anything is read and looked at after: what was read
 * in between belongs to one process.
 */
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "control.h"
#include "file_read.h"
#include "output.h"
#include "notes.h"
#include "words.h"

/* ---------------------------------------------------------------- /proc */

static ssize_t proc_read(int pid, const char *name, char *to, size_t bytes)
{
	char path[64];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	got = read(fd, to, bytes - 1);
	if (got < 0)
		got = -errno;
	else
		to[got] = 0;
	close(fd);
	return got;
}

void gy_process_comm(int pid, char comm[GY_COMM_BYTES])
{
	ssize_t got = proc_read(pid, "comm", comm, GY_COMM_BYTES);

	if (got <= 0)
		snprintf(comm, GY_COMM_BYTES, "?");
	else if (comm[got - 1] == '\n')
		comm[got - 1] = 0;
	gy_out_clean(comm);
}

int gy_status_u64(int pid, const char *field, uint64_t *value)
{
	char text[8192], *at;
	ssize_t got = proc_read(pid, "status", text, sizeof(text));

	if (got < 0)
		return (int)got;
	for (at = text; (at = strstr(at, field)); at++)
		if (at == text || at[-1] == '\n') {
			*value = strtoull(at + strlen(field), NULL, 10);
			return 0;
		}
	return -ENOENT;
}

int gy_memory_read(int pid, uint64_t address, void *to, size_t bytes)
{
	struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)address, bytes};
	ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);

	return got < 0 ? -errno : (size_t)got == bytes ? 0 : -EFAULT;
}

static int mapping_parse(char *line, struct gy_mapping *mapping)
{
	char flags[5];
	int path_at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n",
		   &mapping->start, &mapping->end, flags, &mapping->offset, &mapping->device_major,
		   &mapping->device_minor, &mapping->inode, &path_at) < 7)
		return -EINVAL;
	line[strcspn(line, "\n")] = 0;
	mapping->executable = flags[2] == 'x';
	mapping->path = line + path_at;
	return 0;
}

int gy_maps_each(int pid, int (*visit)(const struct gy_mapping *mapping, void *context),
		 void *context)
{
	char path[64], *line = NULL;
	size_t capacity = 0;
	int result = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return -errno;
	while (!result && getline(&line, &capacity, maps) > 0) {
		struct gy_mapping mapping;

		if (!mapping_parse(line, &mapping))
			result = visit(&mapping, context);
	}
	if (!result && ferror(maps))
		result = errno ? -errno : -EIO;
	free(line);
	fclose(maps);
	return result;
}

/* map_files needs privilege and reaches the very inode. Without it, the path as the target sees it,
 * accepted only if it still is that inode. */
int gy_mapping_open_path(int pid, const struct gy_mapping *mapping, char path[PATH_MAX])
{
	struct stat status;

	snprintf(path, PATH_MAX, "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, mapping->start,
		 mapping->end);
	if (!stat(path, &status))
		return S_ISREG(status.st_mode) ? 0 : -EACCES;
	if (mapping->path[0] != '/' ||
	    snprintf(path, PATH_MAX, "/proc/%d/root%s", pid, mapping->path) >= PATH_MAX)
		return -ENOENT;
	if (stat(path, &status))
		return -errno;
	/* The device is not compared: overlay and btrfs show another one in maps than in stat. */
	return S_ISREG(status.st_mode) && status.st_ino == mapping->inode ? 0 : -ESTALE;
}

/* ---------------------------------------------------------------- images */

struct image_search {
	struct gy_target *target;
	uint64_t last_inode;
	unsigned int last_major, last_minor;
	bool only_likely;
};

static bool image_is_likely(const struct gy_target *target, const char *path)
{
	const char *base = strrchr(path, '/');

	return !strcmp(path, target->exe) || (base && !strncmp(base + 1, "libgyre", 7));
}

static int image_visit(const struct gy_mapping *mapping, void *context)
{
	struct image_search *search = context;
	struct gy_target *target = search->target;
	struct gy_image *image = &target->images[target->image_count];

	if (!mapping->inode || !mapping->executable || mapping->path[0] != '/')
		return 0;
	if (mapping->inode == search->last_inode && mapping->device_major == search->last_major &&
	    mapping->device_minor == search->last_minor)
		return 0;
	search->last_inode = mapping->inode;
	search->last_major = mapping->device_major;
	search->last_minor = mapping->device_minor;
	if (search->only_likely != image_is_likely(target, mapping->path))
		return 0;
	if (gy_mapping_open_path(target->pid, mapping, image->open_path) ||
	    !gy_notes_present(image->open_path) ||
	    gy_notes_bias(image->open_path, mapping->start, mapping->offset, &image->bias))
		return 0;
	snprintf(image->name, sizeof(image->name), "%s", mapping->path);
	gy_out_clean(image->name);
	return ++target->image_count == GY_TARGET_IMAGES;
}

static int images_find(struct gy_target *target)
{
	struct image_search search = {.target = target, .only_likely = true};
	int error = gy_maps_each(target->pid, image_visit, &search);

	if (!target->image_count && error >= 0) {
		search = (struct image_search){.target = target, .only_likely = false};
		error = gy_maps_each(target->pid, image_visit, &search);
	}
	return error < 0 ? error : 0;
}

/* ---------------------------------------------------------------- open, close */

static int target_begin(struct gy_target *target, int pid)
{
	char link[64];
	ssize_t got;

	memset(target, 0, sizeof(*target));
	target->pid = pid;
	target->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (target->pid_fd < 0 && errno == EINVAL) {
		/* A thread id: an answer for it would be confusing, it is no process. */
		return -ESRCH;
	}
	if (target->pid_fd < 0)
		return -errno;
	gy_process_comm(pid, target->comm);
	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	got = readlink(link, target->exe, sizeof(target->exe) - 1);
	if (got < 0)
		return errno == ENOENT ? 0 : -errno; /* ENOENT: a kernel thread */
	target->exe[got] = 0;
	return 0;
}

bool gy_target_ended(const struct gy_target *target)
{
	struct pollfd poll_fd = {.fd = target->pid_fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) > 0;
}

int gy_target_open(struct gy_target *target, int pid)
{
	int error = target_begin(target, pid);

	if (!error) {
		target->control = gy_control_open(pid, &target->control_error);
		error = images_find(target);
	}
	if (!error && gy_target_ended(target))
		error = -ESRCH;
	if (error)
		gy_target_close(target);
	return error;
}

void gy_target_close(struct gy_target *target)
{
	if (target->control)
		gy_control_close(target->control);
	target->control = NULL;
	if (target->pid_fd >= 0)
		close(target->pid_fd);
	target->pid_fd = -1;
}

bool gy_target_has_gyre(const struct gy_target *target)
{
	return target->control || target->image_count;
}

static bool is_kernel_thread(int pid)
{
	char text[512], *at;
	unsigned int flags = 0;

	if (proc_read(pid, "stat", text, sizeof(text)) <= 0)
		return false;
	at = strrchr(text, ')'); /* the name may hold blanks and parentheses */
	return at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       flags & 0x00200000; /* PF_KTHREAD */
}

int gy_target_each(int (*visit)(struct gy_target *target, void *context), void *context)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int refused = 0, stop = 0;

	if (!proc)
		return -errno;
	while (!stop && (entry = readdir(proc))) {
		struct gy_target target;
		char *end;
		long pid = strtol(entry->d_name, &end, 10);
		int error;

		if (*end || pid <= 0 || pid == getpid())
			continue;
		error = gy_target_open(&target, (int)pid);
		if ((error == -EACCES || error == -EPERM) && !is_kernel_thread((int)pid))
			refused++;
		if (error)
			continue;
		if (gy_target_has_gyre(&target))
			stop = visit(&target, context);
		gy_target_close(&target);
	}
	closedir(proc);
	return refused;
}

/* ---------------------------------------------------------------- PROC */

int gy_target_open_error(int pid, int error)
{
	char comm[GY_COMM_BYTES];

	if (error == -ESRCH || error == -ENOENT)
		return gy_out_error("no such process: %d", pid);
	gy_process_comm(pid, comm);
	if (error == -EACCES || error == -EPERM)
		return gy_out_error("cannot look into process %d (%s): %s; it takes its owner or "
				    "CAP_SYS_PTRACE",
				    pid, comm, strerror(-error));
	return gy_out_error("cannot look into process %d (%s): %s", pid, comm, strerror(-error));
}

#define TARGETS_MAX 256

struct name_search {
	const char *name;
	int pids[TARGETS_MAX];
	size_t matches;
};

static bool name_matches(const struct gy_target *target, const char *name)
{
	const char *base = strrchr(target->exe, '/');

	/* The kernel keeps 15 characters of a name; the whole one may be asked for. */
	if (!strcmp(target->comm, name) || (base && !strcmp(base + 1, name)))
		return true;
	return strlen(name) > 15 && strlen(target->comm) == 15 && !strncmp(target->comm, name, 15);
}

static int name_visit(struct gy_target *target, void *context)
{
	struct name_search *search = context;

	if (name_matches(target, search->name) && search->matches < TARGETS_MAX)
		search->pids[search->matches++] = target->pid;
	return 0;
}

/* A process of that name without Gyre, for a better error; 0 if there is none. *refused: we may not
 * look into it, so it may have Gyre. */
static int name_without_gyre(const char *name, bool *refused)
{
	DIR *proc = opendir("/proc");
	struct gy_target target;
	struct dirent *entry;
	int found = 0, error;

	while (proc && !found && (entry = readdir(proc))) {
		char *end, comm[GY_COMM_BYTES];
		long pid = strtol(entry->d_name, &end, 10);

		if (*end || pid <= 0)
			continue;
		gy_process_comm((int)pid, comm);
		if (!strcmp(comm, name))
			found = (int)pid;
	}
	if (proc)
		closedir(proc);
	error = found ? gy_target_open(&target, found) : -ESRCH;
	*refused = error == -EACCES || error == -EPERM;
	if (!error)
		gy_target_close(&target);
	return found;
}

/* All that have the name; at least one, or -1 with the error told. */
static int name_to_pids(const char *name, struct name_search *search)
{
	bool refused = false;
	int other;

	*search = (struct name_search){.name = name};
	gy_target_each(name_visit, search);
	if (search->matches)
		return 0;
	other = name_without_gyre(name, &refused);
	if (other && refused)
		return gy_out_error(
			"cannot tell whether '%s' (pid %d) runs on Gyre: no right to look "
			"into it; it takes its owner or CAP_SYS_PTRACE",
			name, other);
	if (other)
		return gy_out_error("process '%s' (pid %d) does not run on Gyre", name, other);
	return gy_out_error("no process is named '%s'", name);
}

static int need_check(const struct gy_target *target, enum gy_target_need need)
{
	if (need == TARGET_ANY)
		return 0;
	if (!gy_target_has_gyre(target)) {
		if (target->control_error == -EACCES || target->control_error == -EPERM)
			return gy_target_open_error(target->pid, target->control_error);
		return gy_out_error("process %d (%s) does not run on Gyre", target->pid,
				    target->comm);
	}
	if (need == TARGET_CONTROL && !target->control)
		return gy_out_error("process %d (%s) runs on Gyre, but %s", target->pid,
				    target->comm, gy_control_error(target->control_error));
	return 0;
}

static int ambiguous(const struct name_search *search)
{
	char pids[160] = "";
	size_t used = 0;

	for (size_t i = 0; i < search->matches && used < sizeof(pids) - 16; i++)
		used += (size_t)snprintf(pids + used, sizeof(pids) - used, "%s%d", i ? ", " : "",
					 search->pids[i]);
	return gy_out_error("name '%s' is ambiguous: %zu processes with Gyre have it (pid %s); use "
			    "'pid PID'",
			    search->name, search->matches, pids);
}

/* One PROC: whom it means. 0, or -1 with the error told. */
static int proc_parse(int *argc, char ***argv, struct name_search *search)
{
	*search = (struct name_search){0};
	if (*argc < 1)
		return gy_out_error("a process is missing: expected 'pid PID' or 'name COMM'");
	if (gy_word_is(**argv, "pid")) {
		char *end;
		long number;

		if (*argc < 2)
			return gy_out_error("'pid' needs a number behind it");
		number = strtol((*argv)[1], &end, 10);
		if (*end || end == (*argv)[1] || number <= 0 || number > INT_MAX)
			return gy_out_error("'%s' is not a process id", (*argv)[1]);
		search->pids[search->matches++] = (int)number;
	} else if (gy_word_is(**argv, "name")) {
		if (*argc < 2)
			return gy_out_error("'name' needs a process name behind it");
		if (name_to_pids((*argv)[1], search))
			return -1;
	} else {
		return gy_out_error("expected 'pid' or 'name', got: '%s'?", **argv);
	}
	*argc -= 2;
	*argv += 2;
	return 0;
}

int gy_target_arguments(int *argc, char ***argv, struct gy_target *target, enum gy_target_need need)
{
	struct name_search search;
	int error;

	target->pid_fd = -1;
	target->control = NULL;
	if (proc_parse(argc, argv, &search))
		return -1;
	if (search.matches > 1)
		return ambiguous(&search);
	error = gy_target_open(target, search.pids[0]);
	if (error)
		return gy_target_open_error(search.pids[0], error);
	if (need_check(target, need)) {
		gy_target_close(target);
		return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- several */

static int targets_add(struct gy_targets *targets, int pid, bool named)
{
	int error;

	for (size_t i = 0; i < targets->count; i++)
		if (targets->list[i].pid == pid)
			return 0;
	if (targets->count == TARGETS_MAX)
		return gy_out_error("more than %d processes", TARGETS_MAX);
	error = gy_target_open(&targets->list[targets->count], pid);
	if (!error)
		targets->count++;
	else if (!named) /* found by name, it was there a moment ago */
		return gy_target_open_error(pid, error);
	return 0;
}

static int pid_compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int gy_targets_arguments(int *argc, char ***argv, struct gy_targets *targets,
			 enum gy_target_need need)
{
	struct name_search *search = calloc(1, sizeof(*search));
	int error = 0;

	*targets = (struct gy_targets){.need = need};
	/* A target is some tens of KiB, mostly never touched. */
	targets->list = calloc(TARGETS_MAX, sizeof(*targets->list));
	if (!search || !targets->list)
		error = gy_out_error("no memory");
	while (!error) {
		error = proc_parse(argc, argv, search);
		if (error)
			break;
		qsort(search->pids, search->matches, sizeof(search->pids[0]), pid_compare);
		for (size_t i = 0; !error && i < search->matches; i++)
			error = targets_add(targets, search->pids[i], search->name != NULL);
		if (!*argc || (!gy_word_is(**argv, "pid") && !gy_word_is(**argv, "name")))
			break;
	}
	if (!error && !targets->count)
		error = gy_out_error("no process is named '%s' any more", search->name);
	free(search);
	if (error)
		gy_targets_close(targets);
	return error;
}

int gy_targets_each(struct gy_targets *targets,
		    int (*one)(struct gy_target *target, void *context), void *context)
{
	bool many = targets->count > 1;
	int result = 0;

	if (many)
		gy_out_many_begin();
	for (size_t i = 0; i < targets->count; i++) {
		struct gy_target *target = &targets->list[i];
		int error;

		if (many)
			gy_out_many_next(target->pid);
		error = need_check(target, targets->need);
		if (!error)
			error = one(target, context);
		if (error)
			result = -1;
	}
	if (many)
		gy_out_many_end();
	return result;
}

void gy_targets_close(struct gy_targets *targets)
{
	for (size_t i = 0; i < targets->count; i++)
		gy_target_close(&targets->list[i]);
	free(targets->list);
	*targets = (struct gy_targets){0};
}

int gy_memory_file_open(const char *path, int flags, uint64_t *bytes)
{
	int look = open(path, O_PATH | O_CLOEXEC), fd = -1;
	struct statfs system;
	struct stat status;
	char again[64];

	if (look < 0)
		return -1;
	if (!fstat(look, &status) && !fstatfs(look, &system) && S_ISREG(status.st_mode) &&
	    system.f_type == TMPFS_MAGIC) {
		snprintf(again, sizeof(again), "/proc/self/fd/%d", look);
		fd = open(again, flags | O_CLOEXEC);
		*bytes = (uint64_t)status.st_size;
	}
	close(look);
	return fd;
}

int gy_memory_file_read(const struct gy_memory_file *file, uint64_t offset, void *to, size_t bytes)
{
	if (offset > file->bytes || bytes > file->bytes - offset)
		return -EBADMSG;
	if (file->fd < 0)
		return gy_memory_read(file->pid, file->remote + offset, to, bytes);
	return gy_file_read_all(file->fd, to, bytes, offset);
}

uint32_t gy_task_inside(int pid, uint32_t tid)
{
	char path[64], line[512];
	uint32_t inside = 0;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/task/%u/status", pid, tid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status)) {
		char *last;

		if (strncmp(line, "NSpid:", 6))
			continue;
		line[strcspn(line, "\n")] = 0;
		last = strrchr(line, '\t');
		if (last)
			inside = (uint32_t)strtoul(last + 1, NULL, 10);
		break;
	}
	if (status)
		fclose(status);
	return inside;
}
