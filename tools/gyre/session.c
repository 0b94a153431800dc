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
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) if (sleepable)
		bpf_program__set_flags(program, BPF_F_SLEEPABLE);
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
	if (error == -EPERM || error == -EACCES)
		return gy_out_error("no right to attach to process %d (%s): %s", target->pid,
				    target->comm,
				    gy_rights_have(CAP_SYS_ADMIN)
					    ? strerror(-error)
					    : "CAP_SYS_ADMIN lacks, which uprobes take");
	if (error == -ENOTSUP || error == -EOPNOTSUPP)
		return gy_out_error(
			"this kernel has no uprobe semaphores (ref_ctr_offset, Linux 4.20)");
	return gy_out_error("cannot attach to probe '%s' of process %d (%s): %s", probe,
			    target->pid, target->comm, strerror(-error));
}

int gy_session_attach(struct gy_session *session, const struct bpf_program *program,
		      const char *probe, uint64_t cookie)
{
	LIBBPF_OPTS(bpf_usdt_opts, options, .usdt_cookie = cookie);
	int last_error = -ENOENT;
	size_t attached = 0;

	for (size_t i = 0; i < session->target->image_count; i++) {
		struct bpf_link *link;

		if (session->link_count == GY_SESSION_LINKS)
			return gy_out_error("too many probes for one session");
		link = bpf_program__attach_usdt(program, session->target->pid,
						session->target->images[i].open_path, "gyre", probe,
						&options);
		if (link) {
			session->links[session->link_count++] = link;
			attached++;
		} else if (errno != ENOENT) {
			last_error = -errno;
		}
	}
	session->start_ns = gy_monotonic_ns();
	return attached ? 0 : attach_error(session, probe, last_error);
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

static void detach(struct gy_session *session)
{
	while (session->link_count)
		bpf_link__destroy(session->links[--session->link_count]);
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
		detach(session);
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
	detach(session);
	ring_buffer__consume(session->ring);
	ring_buffer__free(session->ring);
	session->ring = NULL;
	return session->stop == STOP_ERROR ? gy_out_error("reading the ring buffer failed") : 0;
}

void gy_session_end(struct gy_session *session)
{
	detach(session);
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
