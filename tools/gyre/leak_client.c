/* leak_client.c - see leak_client.h. */
#include "leak_client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "leak_registers.h"
#include "output.h"
#include "rights.h"
#include "session.h"
#include "top_screen.h"

#define FILE_NAME "/memfd:" GYRE_LEAK_NAME
#define FILE_BYTES_MAX (1ull << 36)
#define BEGIN_WAIT_MS 5000
#define LEASE_MS 4000 /* we may be stopped for a while, by a debugger or for want of a processor */
#define LOOK_NS 50000000 /* we are woken when something is wanted, and at the end */
#define QUIET_NS 1000000000ull /* between two lines of progress */

struct client {
	struct gy_target *target;
	uint32_t scan;
	int fd;
	uint64_t bytes;
	struct gyre_leak_header *shared; /* the protocol's words */
	void *mapped;
	size_t mapped_bytes;
	struct gyre_leak_thread *threads; /* input, in the mapping */
	uint32_t thread_room;
	struct gy_leak_registers *registers;
	struct gyre_leak_thread *copy;
	bool cancelled, progress;
	uint64_t told_ns;
};

/* ---------------------------------------------------------------- the file */

/* Not too short for a header, nor of a size that no result has. */
static int file_open(const char *path, uint64_t *bytes)
{
	int fd = gy_memory_file_open(path, O_RDWR, bytes);

	if (fd < 0 || (*bytes >= sizeof(struct gyre_leak_header) && *bytes <= FILE_BYTES_MAX))
		return fd;
	close(fd);
	return -1;
}

/* CLIENT-2. From the header to the end of the input area. */
static int file_map(struct client *client)
{
	struct gyre_leak_header header;
	int seals = fcntl(client->fd, F_GET_SEALS);
	uint64_t end;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) ||
	    pread(client->fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
	    memcmp(header.magic, GYRE_LEAK_MAGIC, sizeof(header.magic)))
		return -EBADMSG;
	if (header.abi != GYRE_LEAK_ABI)
		return -EPROTO;
	if (header.thread_bytes != sizeof(struct gyre_leak_thread) || header.thread_offset % 8 ||
	    header.thread_offset < sizeof(header) || header.thread_offset > client->bytes ||
	    header.thread_room > (client->bytes - header.thread_offset) / header.thread_bytes)
		return -EBADMSG;
	end = header.thread_offset + (uint64_t)header.thread_room * header.thread_bytes;
	client->mapped_bytes = end;
	client->mapped =
		mmap(NULL, end, PROT_READ | PROT_WRITE, MAP_SHARED, client->fd, 0);
	if (client->mapped == MAP_FAILED) {
		client->mapped = NULL;
		return -errno;
	}
	client->shared = client->mapped;
	client->threads = (struct gyre_leak_thread *)((char *)client->mapped +
						      header.thread_offset);
	client->thread_room = header.thread_room;
	client->copy = calloc(client->thread_room ? client->thread_room : 1,
			      sizeof(*client->copy));
	return client->copy ? 0 : -ENOMEM;
}

static void file_drop(struct client *client)
{
	if (client->mapped)
		munmap(client->mapped, client->mapped_bytes);
	if (client->fd >= 0)
		close(client->fd);
	free(client->copy);
	client->mapped = NULL;
	client->shared = NULL;
	client->copy = NULL;
	client->fd = -1;
}

static int file_take(struct client *client, const char *path)
{
	int error = -ENOENT;

	client->fd = file_open(path, &client->bytes);
	if (client->fd >= 0)
		error = file_map(client);
	/* A parent's, inherited over fork, has not begun our scan. */
	if (!error && __atomic_load_n(&client->shared->scan, __ATOMIC_ACQUIRE) != client->scan)
		error = -ECHILD;
	if (error)
		file_drop(client);
	return error;
}

static int file_find(struct client *client)
{
	char path[320], link[64];
	struct dirent *entry;
	int error = -ENOENT;
	DIR *descriptors;

	snprintf(path, sizeof(path), "/proc/%d/fd", client->target->pid);
	descriptors = opendir(path);
	if (!descriptors)
		return -errno;
	while (error && (entry = readdir(descriptors))) {
		ssize_t got = readlinkat(dirfd(descriptors), entry->d_name, link, sizeof(link) - 1);

		if (got < (ssize_t)strlen(FILE_NAME) || memcmp(link, FILE_NAME, strlen(FILE_NAME)))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", client->target->pid, entry->d_name);
		error = file_take(client, path);
	}
	closedir(descriptors);
	return error;
}

/* ---------------------------------------------------------------- seeing it through */

static void futex_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void registers_bring(struct client *client, uint32_t wanted)
{
	long count = client->registers ? gy_leak_registers_read(client->registers, client->copy,
								client->thread_room)
				       : 0;

	if (count < 0)
		count = 0;
	memcpy(client->threads, client->copy, (size_t)count * sizeof(*client->copy));
	__atomic_store_n(&client->shared->register_count, (uint32_t)count, __ATOMIC_RELAXED);
	__atomic_store_n(&client->shared->registers_given, wanted, __ATOMIC_RELEASE);
	futex_wake(&client->shared->registers_given);
}

static void progress_tell(struct client *client)
{
	static const char *const phases[] = {"beginning", "counting blocks", "marking",
					     "looking again", "sorting", "looking for a path"};
	const struct gyre_leak_header *shared = client->shared;
	uint64_t now_ns = gy_monotonic_ns();
	uint32_t phase = __atomic_load_n(&shared->phase, __ATOMIC_RELAXED);
	char read[GY_OUT_TEXT];

	if (!client->progress || now_ns - client->told_ns < QUIET_NS)
		return;
	client->told_ns = now_ns;
	gy_out_bytes(read, __atomic_load_n(&shared->root_bytes, __ATOMIC_RELAXED) +
				   __atomic_load_n(&shared->heap_bytes, __ATOMIC_RELAXED));
	fprintf(stderr, "\r%s: %s, %u round%s done, %s read \033[K", client->target->comm,
		phases[phase < sizeof(phases) / sizeof(phases[0]) ? phase : 0],
		__atomic_load_n(&shared->rounds_done, __ATOMIC_RELAXED),
		shared->rounds_done == 1 ? "" : "s", read);
}

/* 0 when it is done; -ESRCH, the process has ended. */
static int drive(struct client *client)
{
	struct gyre_leak_header *shared = client->shared;
	const struct timespec tick = {0, LOOK_NS};

	while (__atomic_load_n(&shared->state, __ATOMIC_ACQUIRE) == GYRE_LEAK_RUNNING) {
		uint32_t wanted = __atomic_load_n(&shared->registers_wanted, __ATOMIC_ACQUIRE);

		__atomic_add_fetch(&shared->lease, 1, __ATOMIC_RELAXED);
		if (wanted != __atomic_load_n(&shared->registers_given, __ATOMIC_RELAXED))
			registers_bring(client, wanted);
		else
			syscall(SYS_futex, &shared->registers_wanted, FUTEX_WAIT, wanted, &tick,
				NULL, 0);
		if (gy_target_ended(client->target))
			return -ESRCH;
		if (gy_top_stopped() && !client->cancelled) { /* CLIENT-3 */
			client->cancelled = true;
			__atomic_store_n(&shared->cancel, client->scan, __ATOMIC_RELEASE);
		}
		progress_tell(client);
	}
	if (client->told_ns)
		fprintf(stderr, "\r\033[K");
	return 0;
}

/* ---------------------------------------------------------------- errors */

static const char *silence_reason(const struct gy_target *target)
{
	struct gy_snapshot snapshot;
	bool alone = !gy_control_read(target->control, 0, &snapshot) &&
		     !snapshot.header.background_tid;

	gy_snapshot_free(&snapshot);
	return alone ? "it sleeps or is stopped, and has no background thread of Gyre's "
		       "to answer; GYRE_OPTIONS=background_start=0 gives it one"
		     : "it hangs or is stopped";
}

static int begin_error(const struct gy_target *target, int error)
{
	switch (error) {
	case -EACCES:
		return gy_out_error("process %d (%s) may not be asked for a scan%s", target->pid,
				    target->comm, gy_rights_ask_lack());
	case -EPROTO:
		return gy_out_error("process %d (%s) runs a Gyre that is older than this command: "
				    "it cannot scan",
				    target->pid, target->comm);
	case -EBUSY:
		return gy_out_error("process %d (%s) is being scanned already; only one scan runs "
				    "at any time",
				    target->pid, target->comm);
	case -ETIMEDOUT:
		return gy_out_error("process %d (%s) does not answer (%s)", target->pid,
				    target->comm, silence_reason(target));
	case -EINVAL:
		return gy_out_error("process %d (%s) does not understand the request", target->pid,
				    target->comm);
	default:
		return gy_out_error("cannot scan process %d (%s): %s", target->pid, target->comm,
				    strerror(-error));
	}
}

static int result_error(const struct client *client, const struct gyre_leak_header *header)
{
	const struct gy_target *target = client->target;

	switch (-header->error) {
	case 0:
		return 0;
	case ETIME:
		if (header->rounds_done)
			return 0;
		return gy_out_error("the time of 'stop-after' was over before the first round");
	case ECANCELED:
		return gy_out_error("the scan of process %d (%s) was given up%s", target->pid,
				    target->comm, client->cancelled ? "" : " by the process");
	case EDEADLK:
		return gy_out_error("a thread of process %d (%s) did not stop; its standard error "
				    "names it. Without 'proof stop' none needs to",
				    target->pid, target->comm);
	case ENOENT:
		return gy_out_error("no block of process %d (%s) is there", target->pid,
				    target->comm);
	case ENOMEM:
		return gy_out_error("the scan of process %d (%s) would take more memory than it "
				    "may",
				    target->pid, target->comm);
	default:
		return gy_out_error("the scan of process %d (%s) failed: %s", target->pid,
				    target->comm, strerror(-header->error));
	}
}

/* ---------------------------------------------------------------- all of it */

static int client_run(struct client *client, struct gy_leak_result *result)
{
	int error = file_find(client);

	if (error)
		return gy_out_error("the result of process %d (%s) cannot be read: %s",
				    client->target->pid, client->target->comm,
				    gy_control_error(error));
	error = drive(client);
	if (!error)
		error = gy_leak_result_read(client->fd, client->bytes, client->scan, result);
	if (error == -ESRCH)
		return gy_out_error("process %d (%s) has ended amid the scan", client->target->pid,
				    client->target->comm);
	if (error)
		return gy_out_error("the result of process %d (%s) makes no sense",
				    client->target->pid, client->target->comm);
	__atomic_store_n(&client->shared->released, client->scan, __ATOMIC_RELEASE);
	futex_wake(&client->shared->released);
	error = result_error(client, &result->header);
	if (error)
		gy_leak_result_free(result);
	return error;
}

int gy_leak_scan_run(struct gy_target *target, const struct gyre_control_leak *request,
		     struct gy_leak_result *result)
{
	struct client client = {.target = target, .fd = -1};
	struct gyre_control_leak asked = *request;
	const char *lack = NULL;
	int error;

	memset(result, 0, sizeof(*result));
	client.progress = !gy_out_is_json() && isatty(STDERR_FILENO);
	client.registers = gy_leak_registers_open(target->pid, &error);
	if (client.registers)
		asked.flags |= GYRE_LEAK_REGISTERS;
	else
		lack = error == -EPERM ? gy_rights_load_lack() : strerror(-error);
	asked.lease_ms = LEASE_MS;
	gy_top_signals_catch();
	error = gy_control_leak(target->control, &asked, BEGIN_WAIT_MS, &client.scan);
	error = error ? begin_error(target, error) : client_run(&client, result);
	if (!error)
		result->registers_lack = lack;
	file_drop(&client);
	gy_leak_registers_close(client.registers);
	return error;
}
