/* event_session.h - every event of one or more processes, from the first switch to the last batch.
 *
 *      open    load bpf/events.bpf.c; attach `events`, then what else is to be known
 *              (events_stacks, events_clock), then events_on; ask each process for a snapshot
 *              until it says that it records (EVENT-1)
 *      run     hand batches over, tick, until a signal, the end of all targets, the time limit or
 *              the reader's wish; then the way back: switches down, ask again, which makes the
 *              processes tell what their buffers hold, and `events` last
 *      close
 *
 * EVS-1  Detaching takes tens of milliseconds a probe, and batches come meanwhile: it is done by a
 *        second thread, and the ring is emptied all the time.
 * EVS-2  Nothing in the target depends on us: links belong to file descriptors. If we are killed,
 *        its semaphores fall to 0 and it stops recording by itself.
 * EVS-3  The books (struct gy_event_books): what the processes recorded while we were attached is
 *        what arrived, plus what was lost, each loss counted where it happened. A thread's gaps are
 *        found once more, by the numbers of its batches.
 */
#ifndef GYRE_TOOLS_EVENT_SESSION_H
#define GYRE_TOOLS_EVENT_SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/types.h>

#include "events.h"
#include "session.h"
#include "target.h"
#include "trace/event_record.h"

#define GY_EVENT_TARGETS 8
#define GY_EVENT_ALL (~0u)
#define GY_EVENT_RING_BYTES (16ull << 20)

/* What is counted in the kernel: bits. */
enum {
	GY_EVENT_BY_CLASS = 1,
	GY_EVENT_BY_SIZE = 2,
	GY_EVENT_BY_SITE = 4, /* needs stacks */
	GY_EVENT_BY_LIFETIME = 8,
	GY_EVENT_BY_SLOT = 16, /* barrier hits by the slot's address */
};

struct gy_event_filter {
	uint64_t bytes_min, bytes_max; /* bytes_max 0: no bound */
	uint32_t operations;           /* bit n: GYRE_RECORD_ n; 0: all */
	uint32_t class_number;         /* as in records; GY_EVENT_ALL */
	uint32_t thread;               /* as the kernel numbers it for us; 0: all */
};

struct gy_event_plan {
	bool ship, stacks;
	bool shared_clock; /* ticks need not be each record's own: EVENT-3 */
	unsigned int count_by; /* GY_EVENT_BY_ */
	struct gy_event_filter filter;
	uint64_t ring_bytes; /* a power of 2; 0: GY_EVENT_RING_BYTES */
	uint64_t births;     /* by lifetime: blocks alive at once that can be followed; 0: 2^20 */
	uint64_t duration_ns, interval_ns; /* 0: none */
	/* Each returns non-zero to end the session; each may be NULL. `begin` is called when the
	 * processes record, before all others. `batch` gets what is shipped: batch->count
	 * records, valid until it returns. `tick` comes each interval_ns. */
	int (*begin)(void *context);
	int (*batch)(void *context, const struct gyre_batch *batch,
		     const struct gyre_record *records);
	int (*tick)(void *context);
	void *context;
};

struct gy_event_books {
	uint64_t announced; /* records that batches brought to the eBPF program */
	uint64_t received;  /* handed to `batch` */
	uint64_t filtered;  /* left out by a filter */
	uint64_t lost;      /* the ring was full */
	uint64_t unread;    /* the process's memory could not be read */
	uint64_t crowded;   /* too many processors' worth of batches at once */
	uint64_t dropped;   /* by the library, which had no room */
	uint64_t missing;   /* by the numbers of the batches that arrived */
	uint64_t repeated;  /* the same, backwards: never */
	bool early;         /* the reader had enough: what came later is nobody's loss */
	uint64_t recorded;  /* by the library's own account, while attached */
	uint64_t barrier_hits; /* the same, of barriers alone */
	bool recorded_known;
	uint64_t batches;
	/* by lifetime, by slot, by site: what found no room in the kernel's tables */
	uint64_t births_lost, orphans, slots_lost, sites_beyond;
};

struct gy_event_clock {
	uint64_t hz, ticks, ns; /* hz 0: ticks are ns */
};

struct gy_event_session;

/* gy_event_session_open - 0, or -1 with the error told. Close it either way.
 * @targets  opened with TARGET_CONTROL; stay the caller's, and open as long as the session
 * Returns   NULL with the error told */
struct gy_event_session *gy_event_session_open(struct gy_target *targets, size_t count,
					       const struct gy_event_plan *plan);
/* gy_event_session_run - returns after the detach: 0, or -1 with the error told. */
int gy_event_session_run(struct gy_event_session *session);
void gy_event_session_close(struct gy_event_session *session);

/* gy_event_books - good at any time, final after the run. */
void gy_event_books(const struct gy_event_session *session, struct gy_event_books *books);
/* gy_event_books_out - the books as members of the open JSON object, and a line for people about
 * what was lost, if anything was. */
void gy_event_books_out(const struct gy_event_session *session);
/* gy_event_lost - of all kinds; where the reader ended the session, what was lost before. */
uint64_t gy_event_lost(const struct gy_event_books *books);

enum gy_session_stop gy_event_stop(const struct gy_event_session *session);
const char *gy_event_stop_name(const struct gy_event_session *session);
uint64_t gy_event_start_ns(const struct gy_event_session *session);
uint64_t gy_event_end_ns(const struct gy_event_session *session);

/* gy_event_ticks_now - the counter that the records carry (EVENT-3) of a process with this `hz`. */
uint64_t gy_event_ticks_now(uint64_t hz);
/* gy_event_ns - a record's ticks as CLOCK_MONOTONIC. */
uint64_t gy_event_ns(const struct gy_event_session *session, uint32_t target, uint64_t ticks);
const struct gy_event_clock *gy_event_clock(const struct gy_event_session *session,
					    uint32_t target);
/* gy_event_thread - the thread of a batch as we number threads, and its name. */
uint32_t gy_event_thread(struct gy_event_session *session, const struct gyre_batch *batch,
			 const char **comm);

/* What was counted so far; each adds up all processors. Index of a class or a size: row operation,
 * GYRE_CELL_CLASSES or GYRE_CELL_SIZES columns. */
void gy_event_classes(const struct gy_event_session *session, struct gyre_cell *cells);
void gy_event_sizes(const struct gy_event_session *session, struct gyre_cell *cells);
void gy_event_lifetimes(const struct gy_event_session *session, struct gyre_cell *cells);
/* gy_event_sites - GYRE_SITES of them, by stack id. */
void gy_event_sites(const struct gy_event_session *session, struct gyre_site *sites);
/* gy_event_slots - visit every barrier slot; returns how many there were. */
size_t gy_event_slots(const struct gy_event_session *session,
		      void (*visit)(void *context, uint64_t address, const struct gyre_cell *cell),
		      void *context);

#endif
