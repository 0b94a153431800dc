/* control.c - see control.h.
 *
 * The order of a read: ask (if we may), wait, copy the header, copy the tables, compare the
 * sequence number before and after (CTL-2), check. Everything after the copy works on private
 * memory.
 */
#include "control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "output.h"
#include "target.h"

#define PAGE_NAME "/memfd:" GYRE_CONTROL_NAME
#define BYTES_MAX (64ull << 20)
#define CLASSES_MAX 1024u
#define OPTIONS_MAX 256u
#define BUCKETS_MAX 65536u
#define BUCKET_TRIES 20   /* of one bucket, without a pause */
#define BUCKET_PAUSES 400 /* of half a millisecond, for all of them: a page may lie */
#define STABLE_TRIES 200
#define SETTING_STALE_NS 3000000000ull /* longer than anybody waits for an answer */

struct gy_control {
	int pid;
	uint32_t inside; /* the same as the process itself knows it; kept, since it may end */
	enum gy_control_way way;
	int fd;          /* -1 for CONTROL_MEMORY */
	uint64_t remote; /* CONTROL_MEMORY: where the target has it mapped */
	uint64_t bytes;
	struct gyre_control *shared; /* NULL: we may not ask */
	size_t shared_bytes;
};

/* ---------------------------------------------------------------- reading bytes */

static int read_at(const struct gy_control *control, uint64_t offset, void *to, size_t bytes)
{
	struct gy_memory_file file = {control->pid, control->fd, control->remote, control->bytes};

	return gy_memory_file_read(&file, offset, to, bytes);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* ---------------------------------------------------------------- finding the page */

/* Open what `path` (a link below /proc/PID) leads to, if it is a regular file of tmpfs. A file with
 * the right name could be a FIFO or lie on a file system whose reads never return: look first, by
 * O_PATH, which opens nothing. */
static int memfd_open(const char *path, struct gy_control *control)
{
	int look = open(path, O_PATH | O_CLOEXEC);
	struct stat status;
	struct statfs system;
	char again[64];
	int error = 0;

	if (look < 0)
		return -errno;
	if (fstat(look, &status) || fstatfs(look, &system))
		error = -errno;
	else if (!S_ISREG(status.st_mode) || system.f_type != TMPFS_MAGIC)
		error = -ENOENT;
	else if (status.st_size < (off_t)sizeof(struct gyre_control) ||
		 (uint64_t)status.st_size > BYTES_MAX)
		error = -EBADMSG;
	if (!error) {
		snprintf(again, sizeof(again), "/proc/self/fd/%d", look);
		control->fd = open(again, O_RDWR | O_CLOEXEC);
		if (control->fd < 0)
			control->fd = open(again, O_RDONLY | O_CLOEXEC);
		if (control->fd < 0)
			error = -errno;
		control->bytes = (uint64_t)status.st_size;
	}
	close(look);
	return error;
}

/* The page says its pid as the process itself knows it. */
static uint32_t pid_inside(int pid)
{
	uint32_t inside = gy_task_inside(pid, (uint32_t)pid);

	return inside ? inside : (uint32_t)pid;
}

static size_t header_least(uint32_t abi)
{
	return abi == 1	  ? GYRE_CONTROL_HEADER_1
	       : abi == 2 ? GYRE_CONTROL_HEADER_2
	       : abi == 3 ? GYRE_CONTROL_HEADER_3
			  : sizeof(struct gyre_control);
}

static int header_check(const struct gyre_control *header, uint64_t bytes, uint32_t inside)
{
	static const char zero[8];

	if (!memcmp(header->magic, zero, sizeof(zero)))
		return -EAGAIN;
	if (memcmp(header->magic, GYRE_CONTROL_MAGIC, sizeof(header->magic)))
		return -EBADMSG;
	if (header->abi < GYRE_CONTROL_ABI_OLDEST || header->abi > GYRE_CONTROL_ABI)
		return -EPROTO;
	if (header->header_bytes < header_least(header->abi) || header->header_bytes > bytes ||
	    header->total_bytes > bytes)
		return -EBADMSG;
	if (header->pid != inside)
		return -ECHILD;
	return 0;
}

static int control_check(struct gy_control *control)
{
	struct gyre_control header;
	int error = read_at(control, 0, &header, sizeof(header));

	return error ? error : header_check(&header, control->bytes, control->inside);
}

static int find_descriptor(struct gy_control *control)
{
	char path[320], link[64];
	struct dirent *entry;
	int result = -ENOENT;
	DIR *descriptors;

	snprintf(path, sizeof(path), "/proc/%d/fd", control->pid);
	descriptors = opendir(path);
	if (!descriptors)
		return -errno;
	while (result && (entry = readdir(descriptors))) {
		ssize_t got = readlinkat(dirfd(descriptors), entry->d_name, link, sizeof(link) - 1);
		int error;

		if (got < (ssize_t)strlen(PAGE_NAME) || memcmp(link, PAGE_NAME, strlen(PAGE_NAME)))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", control->pid, entry->d_name);
		error = memfd_open(path, control);
		if (!error)
			error = control_check(control);
		if (error && control->fd >= 0) {
			close(control->fd);
			control->fd = -1;
		}
		/* Several may be inherited; the last complaint stands if none is good. */
		result = error;
	}
	closedir(descriptors);
	control->way = CONTROL_DESCRIPTOR;
	return result;
}

struct map_search {
	struct gy_control *control;
	int error;
};

static int map_visit(const struct gy_mapping *mapping, void *context)
{
	struct map_search *search = context;
	struct gy_control *control = search->control;
	char path[96];

	if (mapping->offset || strncmp(mapping->path, PAGE_NAME, strlen(PAGE_NAME)) ||
	    mapping->end - mapping->start > BYTES_MAX)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, control->pid,
		 mapping->start, mapping->end);
	control->way = CONTROL_MAP_FILES;
	search->error = memfd_open(path, control);
	if (search->error) {
		control->way = CONTROL_MEMORY;
		control->fd = -1;
		control->remote = mapping->start;
		control->bytes = mapping->end - mapping->start;
	}
	search->error = control_check(control);
	if (!search->error)
		return 1;
	if (control->fd >= 0)
		close(control->fd);
	control->fd = -1;
	return 0;
}

static int find_mapping(struct gy_control *control)
{
	struct map_search search = {control, -ENOENT};
	int error = gy_maps_each(control->pid, map_visit, &search);

	return error < 0 ? error : search.error;
}

/* CR-2 */
static void shared_map(struct gy_control *control)
{
	int seals = control->fd < 0 ? -1 : fcntl(control->fd, F_GET_SEALS);
	size_t bytes = (sizeof(struct gyre_control) + 4095) & ~4095ul;
	void *at;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || bytes > control->bytes)
		return;
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, control->fd, 0);
	if (at == MAP_FAILED)
		return;
	control->shared = at;
	control->shared_bytes = bytes;
}

struct gy_control *gy_control_open(int pid, int *error)
{
	struct gy_control *control = calloc(1, sizeof(*control));

	if (!control) {
		*error = -ENOMEM;
		return NULL;
	}
	control->pid = pid;
	control->inside = pid_inside(pid);
	control->fd = -1;
	*error = find_descriptor(control);
	/* CAP_SYS_PTRACE alone opens maps and memory, but not another user's folder of descriptors.
	 * */
	if (*error == -ENOENT || *error == -EACCES || *error == -EPERM)
		*error = find_mapping(control);
	if (*error) {
		free(control);
		return NULL;
	}
	shared_map(control);
	return control;
}

void gy_control_close(struct gy_control *control)
{
	if (control->shared)
		munmap(control->shared, control->shared_bytes);
	if (control->fd >= 0)
		close(control->fd);
	free(control);
}

const char *gy_control_error(int error)
{
	switch (error) {
	case -ENOENT:
		return "publishes no control page (control=off, or nothing allocated yet)";
	case -EACCES:
	case -EPERM:
		return "its control page may not be read; it takes its owner or CAP_SYS_PTRACE";
	case -EPROTO:
		return "its control page is of another version of Gyre than this command";
	case -EBADMSG:
		return "its control page makes no sense (corrupted, or not Gyre's)";
	case -ECHILD:
		return "has only its parent's control page yet (it forked and has not allocated "
		       "since)";
	case -EAGAIN:
		return "its control page is still being made";
	case -ESRCH:
		return "it has ended";
	default:
		return strerror(-error);
	}
}

const char *gy_control_error_brief(int error)
{
	switch (error) {
	case -ENOENT:
		return "no control page";
	case -EACCES:
	case -EPERM:
		return "may not be read";
	case -EPROTO:
		return "another version";
	case -EBADMSG:
		return "makes no sense";
	case -ECHILD:
		return "only its parent's";
	case -EAGAIN:
		return "being made";
	default:
		return strerror(-error);
	}
}

enum gy_control_way gy_control_way(const struct gy_control *control)
{
	return control->way;
}

const char *gy_control_way_name(const struct gy_control *control)
{
	static const char *const names[] = {"descriptor", "map_files", "memory"};

	return names[control->way];
}

bool gy_control_may_ask(const struct gy_control *control)
{
	return control->shared;
}

/* ---------------------------------------------------------------- snapshots */

bool gy_control_command(struct gy_control *control, uint32_t commands)
{
	struct gyre_control header;

	/* The words behind an older page's header are another thing's. */
	if (!control->shared || read_at(control, 0, &header, sizeof(header)) ||
	    header_check(&header, control->bytes, control->inside) || header.abi < 2)
		return false;
	__atomic_or_fetch(&control->shared->commands, commands, __ATOMIC_ACQ_REL);
	return true;
}

/* Ask and wait; returns whether the process answered. Several observers may ask at once: each adds
 * 1 and takes any answer that is not older than its own question. */
static bool ask(struct gy_control *control, unsigned int wait_ms)
{
	struct gyre_control *page = control->shared;
	uint64_t end_ns = now_ns() + wait_ms * 1000000ull;
	uint32_t mine = __atomic_add_fetch(&page->request, 1, __ATOMIC_ACQ_REL), answered;

	syscall(SYS_futex, &page->request, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
	for (;;) {
		struct timespec tick = {0, 2000000};

		answered = __atomic_load_n(&page->answered, __ATOMIC_ACQUIRE);
		if ((int32_t)(answered - mine) >= 0)
			return true;
		if (now_ns() >= end_ns)
			return false;
		/* An answer may come without a wake-up (from a slow path of malloc): sleep little.
		 * */
		syscall(SYS_futex, &page->answered, FUTEX_WAIT, answered, &tick, NULL, 0);
	}
}

/* Claim the mailbox: the odd number that is ours, or 0. A claim that has not moved for so long was
 * left by somebody who died. */
static uint32_t mailbox_claim(uint32_t *mailbox, const uint32_t *heard)
{
	uint64_t now = now_ns(), give_up_ns = now + 10000000000ull, stale_ns = 0;
	uint32_t last = 0;

	for (; now < give_up_ns; now = now_ns()) {
		uint32_t seq = __atomic_load_n(mailbox, __ATOMIC_ACQUIRE);
		bool free = !(seq & 1) && seq == __atomic_load_n(heard, __ATOMIC_ACQUIRE);

		if (seq != last || !stale_ns) {
			last = seq;
			stale_ns = now + SETTING_STALE_NS;
		}
		if ((free || now >= stale_ns) &&
		    __atomic_compare_exchange_n(mailbox, &seq, (seq | 1) + (seq & 1) * 2,
						false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return (seq | 1) + (seq & 1) * 2;
		usleep(500);
	}
	return 0;
}

/* Take a request back that nobody has answered: an option that changes at some later time would be
 * worse than one that does not. -ETIMEDOUT; or 0, it was answered meanwhile; or -EBUSY, another
 * one's is there by now. */
static int setting_withdraw(struct gyre_control_setting *setting, uint32_t seq)
{
	uint32_t seen = seq;

	if (!__atomic_compare_exchange_n(&setting->seq, &seen, seq + 1, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return -EBUSY;
	usleep(20000); /* whoever had just looked is through by then */
	if (__atomic_load_n(&setting->done, __ATOMIC_ACQUIRE) == seq)
		return 0;
	memset(setting->name, 0, sizeof(setting->name));
	__atomic_store_n(&setting->done, seq + 2, __ATOMIC_RELEASE);
	__atomic_store_n(&setting->heard, seq + 2, __ATOMIC_RELEASE);
	__atomic_store_n(&setting->seq, seq + 2, __ATOMIC_RELEASE);
	return -ETIMEDOUT;
}

int gy_control_set(struct gy_control *control, const char *name, const char *value,
		   unsigned int wait_ms, int *refused)
{
	struct gyre_control header;
	struct gyre_control_setting *setting;
	uint32_t seq;
	int error = 0;

	*refused = 0;
	if (!control->shared)
		return -EACCES;
	if (read_at(control, 0, &header, sizeof(header)) ||
	    header_check(&header, control->bytes, control->inside) || header.abi < 3)
		return -EPROTO;
	setting = &control->shared->setting;
	if (strlen(name) >= sizeof(setting->name) || strlen(value) >= sizeof(setting->value))
		return -ENAMETOOLONG;
	seq = mailbox_claim(&setting->seq, &setting->heard);
	if (!seq)
		return -EBUSY;
	memset(setting->name, 0, sizeof(setting->name));
	memset(setting->value, 0, sizeof(setting->value));
	memcpy(setting->name, name, strlen(name));
	memcpy(setting->value, value, strlen(value));
	__atomic_store_n(&setting->seq, ++seq, __ATOMIC_RELEASE);
	for (uint64_t end_ns = now_ns() + wait_ms * 1000000ull; now_ns() < end_ns;) {
		ask(control, wait_ms);
		if (__atomic_load_n(&setting->done, __ATOMIC_ACQUIRE) == seq)
			break;
	}
	if (__atomic_load_n(&setting->done, __ATOMIC_ACQUIRE) != seq)
		error = setting_withdraw(setting, seq);
	if (error)
		return error;
	*refused = __atomic_load_n(&setting->result, __ATOMIC_RELAXED);
	__atomic_store_n(&setting->heard, seq, __ATOMIC_RELEASE);
	if (*refused > 0 || *refused < -4095) /* CTL-5 */
		*refused = -EBADMSG;
	return 0;
}

/* As for a setting, but a scan that nobody has begun yet need not be withdrawn with care: its lease
 * would end it. */
int gy_control_leak(struct gy_control *control, const struct gyre_control_leak *request,
		    unsigned int wait_ms, uint32_t *scan)
{
	const size_t from = offsetof(struct gyre_control_leak, operation);
	struct gyre_control_leak *leak;
	struct gyre_control header;
	uint32_t seq;
	int result;

	if (!control->shared)
		return -EACCES;
	if (read_at(control, 0, &header, sizeof(header)) ||
	    header_check(&header, control->bytes, control->inside) || header.abi < 4)
		return -EPROTO;
	leak = &control->shared->leak;
	seq = mailbox_claim(&leak->seq, &leak->heard);
	if (!seq)
		return -EBUSY;
	memcpy((char *)leak + from, (const char *)request + from, sizeof(*leak) - from);
	__atomic_store_n(&leak->seq, ++seq, __ATOMIC_RELEASE);
	for (uint64_t end_ns = now_ns() + wait_ms * 1000000ull; now_ns() < end_ns;) {
		ask(control, wait_ms);
		if (__atomic_load_n(&leak->done, __ATOMIC_ACQUIRE) == seq)
			break;
	}
	if (__atomic_load_n(&leak->done, __ATOMIC_ACQUIRE) != seq)
		return -ETIMEDOUT;
	result = __atomic_load_n(&leak->result, __ATOMIC_RELAXED);
	*scan = __atomic_load_n(&leak->scan, __ATOMIC_RELAXED);
	__atomic_store_n(&leak->heard, seq, __ATOMIC_RELEASE);
	return result > 0 || result < -4095 ? -EBADMSG : result; /* CTL-5 */
}

/* Copy `count` entries of a table, each `entry_bytes` there and `own_bytes` here. */
static int table_read(const struct gy_control *control, uint64_t offset, uint32_t *count,
		      uint32_t count_max, uint32_t entry_bytes, size_t own_bytes, void **table)
{
	size_t copied = entry_bytes < own_bytes ? entry_bytes : own_bytes;
	uint64_t bytes = (uint64_t)*count * entry_bytes;
	char *raw, *own;
	int error;

	*table = NULL;
	if (!*count)
		return 0;
	if (*count > count_max || entry_bytes < 16 || entry_bytes > 4096)
		return -EBADMSG;
	raw = malloc(bytes);
	own = calloc(*count, own_bytes);
	error = raw && own ? read_at(control, offset, raw, bytes) : -ENOMEM;
	for (uint32_t i = 0; !error && i < *count; i++)
		memcpy(own + i * own_bytes, raw + (uint64_t)i * entry_bytes, copied);
	free(raw);
	if (error)
		free(own);
	else
		*table = own;
	return error;
}

static int copy_once(struct gy_control *control, struct gy_snapshot *snapshot)
{
	struct gyre_control *header = &snapshot->header;
	void *classes, *options;
	int error = read_at(control, 0, header, sizeof(*header));

	if (!error)
		error = header_check(header, control->bytes, control->inside);
	if (error)
		return error;
	if (header->header_bytes < sizeof(*header)) /* CTL-7 */
		memset((char *)header + header->header_bytes, 0,
		       sizeof(*header) - header->header_bytes);
	error = table_read(control, header->class_offset, &header->class_count, CLASSES_MAX,
			   header->class_bytes, sizeof(*snapshot->classes), &classes);
	if (error)
		return error;
	snapshot->classes = classes;
	snapshot->class_count = header->class_count;
	error = table_read(control, header->option_offset, &header->option_count, OPTIONS_MAX,
			   header->option_bytes, sizeof(*snapshot->options), &options);
	if (error)
		return error;
	snapshot->options = options;
	snapshot->option_count = header->option_count;
	return 0;
}

static void texts_clean(struct gy_snapshot *snapshot)
{
	snapshot->header.version[sizeof(snapshot->header.version) - 1] = 0;
	gy_out_clean(snapshot->header.version);
	for (size_t i = 0; i < snapshot->option_count; i++) {
		struct gyre_control_option *option = &snapshot->options[i];

		option->name[sizeof(option->name) - 1] = 0;
		option->value[sizeof(option->value) - 1] = 0;
		gy_out_clean(option->name);
		gy_out_clean(option->value);
		option->initial[sizeof(option->initial) - 1] = 0;
		gy_out_clean(option->initial);
	}
}

int gy_control_read(struct gy_control *control, unsigned int wait_ms, struct gy_snapshot *snapshot)
{
	uint64_t now;
	int error = -EAGAIN;

	memset(snapshot, 0, sizeof(*snapshot));
	if (wait_ms && control->shared)
		snapshot->fresh = ask(control, wait_ms);
	for (int attempt = 0; attempt < STABLE_TRIES; attempt++) {
		uint32_t after = 0;

		gy_snapshot_free(snapshot);
		error = copy_once(control, snapshot);
		if (!error)
			error = read_at(control, offsetof(struct gyre_control, snapshot_seq),
					&after, sizeof(after));
		if (error) {
			gy_snapshot_free(snapshot);
			return error;
		}
		snapshot->torn =
			snapshot->header.snapshot_seq & 1 || after != snapshot->header.snapshot_seq;
		if (!snapshot->torn)
			break;
		usleep(500);
	}
	texts_clean(snapshot);
	now = now_ns();
	snapshot->age_ns =
		now > snapshot->header.snapshot_ns ? now - snapshot->header.snapshot_ns : 0;
	return 0;
}

void gy_snapshot_free(struct gy_snapshot *snapshot)
{
	free(snapshot->classes);
	free(snapshot->options);
	snapshot->classes = NULL;
	snapshot->options = NULL;
	snapshot->class_count = snapshot->option_count = 0;
}

/* ---------------------------------------------------------------- the sampled profile */

/* Two copies in a row that agree and are not in the middle of a change: had one begun or ended
 * between their first and last byte, seq would tell. */
static bool bucket_settle(const struct gy_control *control, uint64_t offset, size_t bytes,
			  struct gyre_control_bucket *bucket, int *pauses)
{
	struct gyre_control_bucket again;

	for (int attempt = 0; attempt < BUCKET_TRIES || *pauses; attempt++) {
		memset(&again, 0, sizeof(again));
		if (read_at(control, offset, &again, bytes))
			return false;
		if (!(again.seq & 1) && !memcmp(bucket, &again, sizeof(again)))
			return true;
		*bucket = again;
		if (attempt >= BUCKET_TRIES) { /* its writer does not run just now */
			usleep(500);
			--*pauses;
		}
	}
	return false;
}

int gy_control_buckets(struct gy_control *control, const struct gy_snapshot *snapshot,
		       struct gyre_control_bucket **buckets, size_t *count, size_t *torn)
{
	const struct gyre_control *header = &snapshot->header;
	size_t entry = header->bucket_bytes, own = sizeof(**buckets);
	size_t copied = entry < own ? entry : own;
	uint32_t entries = header->bucket_count;
	int pauses = BUCKET_PAUSES;
	void *table;
	int error = table_read(control, header->bucket_offset, &entries, BUCKETS_MAX,
			       header->bucket_bytes, own, &table);

	*buckets = table;
	*count = *torn = 0;
	if (error)
		return error;
	for (uint32_t i = 0; i < entries; i++) {
		struct gyre_control_bucket *bucket = &(*buckets)[i];

		if (!bucket->depth)
			continue;
		*torn += !bucket_settle(control, header->bucket_offset + (uint64_t)i * entry,
					copied, bucket, &pauses);
		if (bucket->depth > GYRE_CONTROL_FRAMES)
			bucket->depth = GYRE_CONTROL_FRAMES;
		(*buckets)[(*count)++] = *bucket;
	}
	return 0;
}
