/* session.c - see session.h.
 *
 * The poll is adaptive: after a round with events the next comes sooner (down to 1 ms), after an
 * empty one later (up to 50 ms). A slow stream then costs twenty wake-ups a second, and a fast one
 * is bounded by the ring: at a quarter full the programs wake us (BPF-2).
 */
#include "session.h"

#include <errno.h>
#include <linux/bpf.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "events.h"
#include "output.h"
#include "probe.skel.h"
#include "rights.h"

#define POLL_MIN_MS 1
#define POLL_MAX_MS 50
#define CHECK_EVERY 256 /* events between looks at the clock and at signals */

uint64_t gy_monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

int64_t gy_wall_offset_ns(void)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec - (int64_t)gy_monotonic_ns();
}

int gy_session_begin(struct gy_session *session, const struct gy_target *target)
{
	sigset_t signals;

	memset(session, 0, sizeof(*session));
	session->target = target;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	session->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (session->signal_fd < 0)
		return gy_out_error("cannot watch for signals: %s", strerror(errno));
	return 0;
}

void gy_session_prepare(struct bpf_object *object, bool sleepable)
{
	gy_attach_prepare(object, sleepable);
}

void gy_session_pidns(__u64 *device, __u64 *inode)
{
	struct stat status;

	*device = *inode = 0;
	if (!stat("/proc/self/ns/pid", &status)) {
		*device = status.st_dev;
		*inode = status.st_ino;
	}
}

int gy_session_load_error(int error)
{
	const char *lack = gy_rights_load_lack();

	switch (error) {
	case -EPERM:
	case -EACCES:
		if (!*lack)
			return gy_out_error("no right to load eBPF programs, though no capability "
					    "lacks: a container's seccomp filter, or lockdown?");
		return gy_out_error("no right to load eBPF programs: %s", lack);
	case -ENOSYS:
		return gy_out_error("no eBPF here: the kernel, or a sandbox around this command, "
				    "refuses bpf(2)");
	case -ENOMEM:
		return gy_out_error("cannot load the eBPF programs: no memory (RLIMIT_MEMLOCK?)");
	default:
		return gy_out_error("cannot load the eBPF programs: %s; 'gyre feature probe' tells "
				    "what the kernel lacks, -d shows its verifier's log",
				    strerror(-error));
	}
}

static int attach_error(const struct gy_session *session, const char *probe, int error)
{
	const struct gy_target *target = session->target;

	if (gy_target_ended(target))
		return gy_out_error("process %d (%s) has ended", target->pid, target->comm);
	if (error == -ENOENT)
		return gy_out_error(
			"process %d (%s) has no probe '%s'; its Gyre is older than this "
			"command",
			target->pid, target->comm, probe);
	if (error == -ESTALE)
		return gy_out_error("process %d (%s) has started another program, or unloaded the "
				    "file with its probes, just now: try again",
				    target->pid, target->comm);
	if (error == -EPERM || error == -EACCES)
		return gy_out_error("no right to attach to process %d (%s): %s", target->pid,
				    target->comm,
				    gy_rights_have(CAP_SYS_ADMIN)
					    ? strerror(-error)
				    : gy_attach_way() == ATTACH_MULTI
					    ? gy_rights_load_lack()
					    : "CAP_SYS_ADMIN lacks, which uprobes take where the "
					      "kernel has no uprobe_multi (Linux 6.6)");
	if (error == -ENOTSUP)
		return gy_out_error("process %d (%s) passes the arguments of probe '%s' in a way "
				    "that this command does not know, or the kernel has no "
				    "cookies of eBPF programs (Linux 5.15)",
				    target->pid, target->comm, probe);
	return gy_out_error("cannot attach to probe '%s' of process %d (%s): %s", probe,
			    target->pid, target->comm, strerror(-error));
}

/* In one image: how many places it has been attached to, or -errno. */
static int image_attach(struct gy_session *session, const struct bpf_object *object,
			const struct bpf_program *program, const char *path, const char *probe,
			uint64_t cookie)
{
	struct gy_note *notes = calloc(GY_NOTES_MAX, sizeof(*notes));
	int count = notes ? gy_notes_read(path, notes, GY_NOTES_MAX) : -ENOMEM;
	int attached = 0, error = count < 0 ? count : 0;

	if (count == -ENOENT || count == -ESRCH) /* it was there when the target was opened */
		error = -ESTALE;
	for (int i = 0; !error && i < count; i++) {
		if (strcmp(notes[i].name, probe))
			continue;
		error = session->link_count == GY_SESSION_LINKS
				? -E2BIG
				: gy_attach(&session->links[session->link_count], object, program,
					    (uint32_t)session->link_count, session->target->pid,
					    path, &notes[i], cookie);
		session->link_count += !error;
		attached += !error;
	}
	free(notes);
	return error ? error : attached;
}

int gy_session_attach(struct gy_session *session, const struct bpf_object *object,
		      const struct bpf_program *program, const char *probe, uint64_t cookie)
{
	const struct gy_target *target = session->target;
	int error = -ENOENT;
	bool attached = false;

	for (size_t i = 0; i < target->image_count; i++) {
		int got = image_attach(session, object, program, target->images[i].open_path, probe,
				       cookie);

		attached |= got > 0;
		if (got < 0)
			error = got;
	}
	session->start_ns = gy_monotonic_ns();
	return attached ? 0 : attach_error(session, probe, error);
}

static void check_outside(struct gy_session *session)
{
	struct signalfd_siginfo signal_info;

	if (session->stop)
		return;
	if (read(session->signal_fd, &signal_info, sizeof(signal_info)) > 0)
		session->stop = STOP_SIGNAL;
	else if (session->deadline_ns && gy_monotonic_ns() >= session->deadline_ns)
		session->stop = STOP_TIME;
	else if (gy_out_flush())
		session->stop = STOP_OUTPUT;
}

/* SES-2 */
static bool in_window(const struct gy_session *session, const void *data, size_t bytes)
{
	struct gyre_event_head head;

	if (bytes < sizeof(head))
		return false;
	memcpy(&head, data, sizeof(head));
	return head.time_ns >= session->start_ns &&
	       (!session->end_ns || head.time_ns <= session->end_ns);
}

static int on_event(void *context, void *data, size_t bytes)
{
	struct gy_session *session = context;

	if (session->stop == STOP_READER || session->stop == STOP_OUTPUT ||
	    !in_window(session, data, bytes))
		return 0;
	if (session->reader(session->context, data, bytes)) {
		session->stop = STOP_READER;
		return -ECANCELED;
	}
	if (!session->stop && ++session->since_check >= CHECK_EVERY) {
		session->since_check = 0;
		check_outside(session);
		if (session->stop) /* leave the ring, however fast it fills */
			return -ECANCELED;
	}
	return 0;
}

void gy_session_detach(struct gy_session *session, size_t left)
{
	while (session->link_count > left)
		gy_detach(&session->links[--session->link_count]);
}

/* Wait at most `wait_ms`. Returns true when the ring asked for us. */
static bool wait_for_something(struct gy_session *session, int wait_ms)
{
	struct pollfd fds[] = {
		{.fd = session->signal_fd, .events = POLLIN},
		{.fd = session->target->pid_fd, .events = POLLIN},
		{.fd = ring_buffer__epoll_fd(session->ring), .events = POLLIN},
	};

	if (session->deadline_ns) {
		uint64_t now = gy_monotonic_ns();
		uint64_t left_ms =
			session->deadline_ns > now ? (session->deadline_ns - now) / 1000000 + 1 : 0;

		if (left_ms < (uint64_t)wait_ms)
			wait_ms = (int)left_ms;
	}
	poll(fds, 3, wait_ms);
	check_outside(session);
	if (!session->stop && fds[1].revents)
		session->stop = STOP_TARGET;
	return fds[2].revents;
}

int gy_session_run(struct gy_session *session, int ring_fd, uint64_t duration_ns,
		   int (*reader)(void *context, const void *event, size_t bytes), void *context)
{
	int wait_ms = POLL_MIN_MS;

	session->reader = reader;
	session->context = context;
	session->ring = ring_buffer__new(ring_fd, on_event, session, NULL);
	if (!session->ring) {
		gy_session_detach(session, 0);
		return gy_out_error("cannot map the ring buffer: %s", strerror(errno));
	}
	if (duration_ns)
		session->deadline_ns = session->start_ns + duration_ns;
	while (!session->stop) {
		int events = ring_buffer__consume(session->ring);

		if (events < 0 && events != -ECANCELED)
			session->stop = STOP_ERROR;
		if (session->stop)
			break;
		wait_ms = events ? wait_ms / 2 : wait_ms * 2;
		wait_ms = wait_ms < POLL_MIN_MS ? POLL_MIN_MS : wait_ms;
		wait_ms = wait_ms > POLL_MAX_MS ? POLL_MAX_MS : wait_ms;
		wait_for_something(session, wait_ms);
	}
	session->end_ns = gy_monotonic_ns();
	gy_session_detach(session, 0);
	ring_buffer__consume(session->ring);
	ring_buffer__free(session->ring);
	session->ring = NULL;
	return session->stop == STOP_ERROR ? gy_out_error("reading the ring buffer failed") : 0;
}

void gy_session_end(struct gy_session *session)
{
	gy_session_detach(session, 0);
	if (session->ring)
		ring_buffer__free(session->ring);
	session->ring = NULL;
	if (session->signal_fd >= 0)
		close(session->signal_fd);
	session->signal_fd = -1;
}

const char *gy_session_stop_name(const struct gy_session *session)
{
	switch (session->stop) {
	case STOP_SIGNAL:
		return "signal";
	case STOP_TARGET:
		return "process ended";
	case STOP_TIME:
		return "duration";
	case STOP_READER:
		return "count";
	case STOP_OUTPUT:
		return "output closed";
	case STOP_NOT:
	case STOP_ERROR:
		break;
	}
	return "error";
}

int gy_session_load_probes(struct probe_bpf **result, bool sleepable, bool count_only)
{
	struct probe_bpf *programs = probe_bpf__open();
	int error;

	if (!programs)
		return -errno;
	programs->rodata->gyre_sleepable = sleepable;
	programs->rodata->gyre_count_only = count_only;
	gy_session_pidns(&programs->rodata->gyre_pidns_device, &programs->rodata->gyre_pidns_inode);
	gy_session_prepare(programs->obj, sleepable);
	error = probe_bpf__load(programs);
	if (error)
		probe_bpf__destroy(programs);
	else
		*result = programs;
	return error;
}
