/* session.h - one tracing session: eBPF programs on a target's probes, from attach to detach.
 *
 *      begin   signals become readable, so that none ends us between two links
 *      attach  frees before allocations: every block whose birth is shown is watched until its end
 *      run     poll the ring until a signal, the target's end, the time limit or the reader's wish
 *      detach  in the opposite order; what fired until then is still read
 *      end
 *
 * SES-1  Nothing in the target depends on us: probes, their semaphores and the programs belong to
 *        file descriptors, so a CLI that is killed leaves the target as it was.
 * SES-2  The session's window is from the last attach to the stop. Every event in it that reached
 *        the ring is handed to the reader, also after detaching, unless the reader wanted no more.
 *        What fired outside of it, while only some probes were attached, is left out: the kinds of
 *        events can be compared.
 */
#ifndef GYRE_TOOLS_SESSION_H
#define GYRE_TOOLS_SESSION_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attach.h"
#include "target.h"

#define GY_SESSION_LINKS GYRE_PLACES

enum gy_session_stop {
	STOP_NOT,
	STOP_SIGNAL, /* SIGINT, SIGTERM, SIGHUP */
	STOP_TARGET, /* the process has ended */
	STOP_TIME,
	STOP_READER, /* the reader returned non-zero */
	STOP_OUTPUT, /* nobody reads stdout any more */
	STOP_ERROR,
};

struct probe_bpf; /* the skeleton of bpf/probe.bpf.c */

struct gy_session {
	const struct gy_target *target;
	struct gy_link links[GY_SESSION_LINKS];
	size_t link_count;
	struct ring_buffer *ring;
	int (*reader)(void *context, const void *event, size_t bytes);
	void *context;
	int signal_fd;
	uint64_t start_ns, end_ns, deadline_ns; /* CLOCK_MONOTONIC; deadline 0: none */
	enum gy_session_stop stop;
	unsigned int since_check;
};

int gy_session_begin(struct gy_session *session, const struct gy_target *target);
/* gy_session_prepare - before load: sleepable or not (BPF-3), the way to attach (attach.h). */
void gy_session_prepare(struct bpf_object *object, bool sleepable);
void gy_session_pidns(__u64 *device, __u64 *inode);
/* gy_session_load_probes - the programs that send any probe's arguments. 0 or -errno. */
int gy_session_load_probes(struct probe_bpf **programs, bool sleepable, bool count_only);
/* gy_session_load_error - tell why programs could not be opened or loaded. Returns -1. */
int gy_session_load_error(int error);
/* gy_session_attach - attach to a probe in every image of the target. Returns 0, or -1 with the
 * error told; an image that lacks the probe is no error, unless no image has it.
 * @object   of the program; one object per session, since its table of places is the session's */
int gy_session_attach(struct gy_session *session, const struct bpf_object *object,
		      const struct bpf_program *program, const char *probe, uint64_t cookie);
/* gy_session_detach - the last attached first, until so many are left. */
void gy_session_detach(struct gy_session *session, size_t left);
/* gy_session_run - until something stops it, then detach and read the rest. */
int gy_session_run(struct gy_session *session, int ring_fd, uint64_t duration_ns,
		   int (*reader)(void *context, const void *event, size_t bytes), void *context);
void gy_session_end(struct gy_session *session);

/* Why it stopped, as a word for JSON and as words for people. */
const char *gy_session_stop_name(const struct gy_session *session);
uint64_t gy_monotonic_ns(void);
int64_t gy_wall_offset_ns(void); /* CLOCK_REALTIME minus CLOCK_MONOTONIC */

#endif
