/* event_session.c - see event_session.h.
 *
 *      main thread      opens, then empties the ring until the closer is done
 *      closer           begun when something stops the session: lowers the switches, asks every
 *                       process for its last batches, detaches `events`
 *
 * The order matters (EVENT-1): with the carrier gone first, what the threads still record would be
 * told to nobody.
 */
#include "event_session.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "control.h"
#include "events.skel.h"
#include "event_threads.h"
#include "output.h"
#include "rights.h"

#define POLL_MIN_MS 1
#define POLL_MAX_MS 50
#define CHECK_EVERY 4       /* batches between looks at the clock and at signals */
#define ANSWER_MS 20u       /* for one question */
#define ANSWER_FIRST_NS (2ull * 1000000000)
#define ANSWER_LAST_NS (2ull * 1000000000)
#define CLOCK_BASE_NS 10000000 /* tells how fast a counter runs to 1 in 100,000 */
#define SITE_ROWS ((GYRE_SITE_TABLES + 1) * (size_t)GYRE_SITES)
#define BIRTHS (1u << 20)
#define BARRIER_SLOTS (1u << 16)

struct watched {
	struct gy_target *target;
	struct gy_event_clock clock;
	struct gyre_control_events before, after;
	bool answered; /* before and after are fresh */
	bool ended;
};

struct gy_event_session {
	struct gy_event_plan plan;
	struct watched watched[GY_EVENT_TARGETS];
	size_t count;
	struct gy_session links; /* its links and its signals */
	size_t carriers;         /* the first so many links are `events` */
	struct events_bpf *programs;
	struct ring_buffer *ring;
	struct gy_event_threads *threads;
	struct gyre_scratch *scratch;
	size_t scratch_bytes, scratch_count;
	struct gyre_site *sites;
	uint64_t received, missing, repeated;
	uint64_t start_ns, end_ns, deadline_ns, tick_ns;
	_Atomic enum gy_session_stop stop;
	pthread_t closer;
	atomic_bool closed;
	unsigned int since_check;
	bool filtered;
	bool mute; /* the reader wants no more */
};

/* As in events.bpf.c, which says what is in it. */
struct gyre_scratch {
	uint64_t busy, kept, sites, spare;
	struct gyre_cell classes[GYRE_CELL_OPERATIONS * GYRE_CELL_CLASSES];
	struct gyre_cell sizes[GYRE_CELL_OPERATIONS * GYRE_CELL_SIZES];
	struct gyre_cell lifetimes[GYRE_CELL_SIZES];
	struct gyre_batch head;
	struct gyre_record records[GYRE_BATCH_RECORDS];
};

/* ---------------------------------------------------------------- load */

static bool has_filter(const struct gy_event_filter *filter)
{
	return filter->bytes_min || filter->bytes_max || filter->operations ||
	       filter->class_number != GY_EVENT_ALL;
}

static void constants_set(struct gy_event_session *session, struct events_bpf *programs,
			  bool sleepable)
{
	const struct gy_event_plan *plan = &session->plan;
	const struct gy_event_filter *filter = &plan->filter;

	programs->rodata->gyre_sleepable = sleepable;
	programs->rodata->gyre_ship = plan->ship;
	programs->rodata->gyre_filter = has_filter(filter);
	programs->rodata->gyre_by_class = plan->count_by & GY_EVENT_BY_CLASS;
	programs->rodata->gyre_by_size = plan->count_by & GY_EVENT_BY_SIZE;
	programs->rodata->gyre_by_site = plan->count_by & GY_EVENT_BY_SITE;
	programs->rodata->gyre_by_lifetime = plan->count_by & GY_EVENT_BY_LIFETIME;
	programs->rodata->gyre_by_slot = plan->count_by & GY_EVENT_BY_SLOT;
	programs->rodata->gyre_bytes_min = filter->bytes_min;
	programs->rodata->gyre_bytes_max = filter->bytes_max ? filter->bytes_max : UINT64_MAX;
	programs->rodata->gyre_operations = filter->operations ? filter->operations : ~0u;
	programs->rodata->gyre_class = filter->class_number;
	programs->rodata->gyre_thread = filter->thread;
	gy_session_pidns(&programs->rodata->gyre_pidns_device, &programs->rodata->gyre_pidns_inode);
}

static void sizes_set(struct gy_event_session *session, struct events_bpf *programs)
{
	const struct gy_event_plan *plan = &session->plan;
	uint64_t ring_bytes = plan->ring_bytes ? plan->ring_bytes : GY_EVENT_RING_BYTES;
	int processors = libbpf_num_possible_cpus();

	session->scratch_count = (size_t)(processors > 0 ? processors : 1) * GYRE_SLOTS_PER_CPU;
	bpf_map__set_max_entries(programs->maps.gyre_scratch, (uint32_t)session->scratch_count);
	bpf_map__set_max_entries(programs->maps.gyre_ring,
				 plan->ship ? (uint32_t)ring_bytes
					    : (uint32_t)sysconf(_SC_PAGESIZE));
	if (plan->count_by & GY_EVENT_BY_SITE)
		bpf_map__set_max_entries(programs->maps.gyre_sites,
					 (uint32_t)SITE_ROWS);
	if (plan->count_by & GY_EVENT_BY_LIFETIME)
		bpf_map__set_max_entries(programs->maps.gyre_births,
					 plan->births ? (uint32_t)plan->births : BIRTHS);
	if (plan->count_by & GY_EVENT_BY_SLOT)
		bpf_map__set_max_entries(programs->maps.gyre_barrier_slots, BARRIER_SLOTS);
}

static int load(struct gy_event_session *session, bool sleepable)
{
	struct events_bpf *programs = events_bpf__open();
	int error;

	if (!programs)
		return -errno;
	constants_set(session, programs, sleepable);
	sizes_set(session, programs);
	gy_session_prepare(programs->obj, sleepable);
	error = events_bpf__load(programs);
	if (error) {
		events_bpf__destroy(programs);
		return error;
	}
	session->programs = programs;
	return 0;
}

static void *map_read_only(struct bpf_map *map, size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *at = mmap(NULL, (bytes + page - 1) & ~(page - 1), PROT_READ, MAP_SHARED,
			      bpf_map__fd(map), 0);

	return at == MAP_FAILED ? NULL : at;
}

/* An array's entries stand one behind the other, each rounded up to 8 bytes. */
static int tables_map(struct gy_event_session *session)
{
	if (bpf_map__value_size(session->programs->maps.gyre_scratch) !=
	    sizeof(struct gyre_scratch))
		return gy_out_error("the eBPF programs are not of this command");
	session->scratch_bytes = session->scratch_count * sizeof(struct gyre_scratch);
	session->scratch = map_read_only(session->programs->maps.gyre_scratch,
					 session->scratch_bytes);
	if (session->plan.count_by & GY_EVENT_BY_SITE)
		session->sites = map_read_only(session->programs->maps.gyre_sites,
					       SITE_ROWS * sizeof(struct gyre_site));
	if (!session->scratch || (session->plan.count_by & GY_EVENT_BY_SITE && !session->sites))
		return gy_out_error("cannot map the eBPF programs' tables: %s", strerror(errno));
	return 0;
}

/* ---------------------------------------------------------------- the ring */

/* After the first signal all that is in the ring is still shown, which takes its time where events
 * are written as they are; who signals again wants none of it. */
static void look_for_impatience(struct gy_event_session *session)
{
	struct signalfd_siginfo signal_info;

	if (session->mute || session->stop != STOP_SIGNAL || !session->plan.batch ||
	    read(session->links.signal_fd, &signal_info, sizeof(signal_info)) <= 0)
		return;
	session->mute = true;
	gy_out_info("What was still to be shown is left out");
}

static void look_outside(struct gy_event_session *session)
{
	struct signalfd_siginfo signal_info;
	enum gy_session_stop stop = STOP_NOT;

	if (session->stop)
		return;
	if (read(session->links.signal_fd, &signal_info, sizeof(signal_info)) > 0)
		stop = STOP_SIGNAL;
	else if (session->deadline_ns && gy_monotonic_ns() >= session->deadline_ns)
		stop = STOP_TIME;
	else if (gy_out_flush())
		stop = STOP_OUTPUT;
	session->stop = stop;
}

uint64_t gy_event_ticks_now(uint64_t hz)
{
	if (!hz)
		return gy_monotonic_ns();
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t value;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
	return value;
#else
	return gy_monotonic_ns();
#endif
}

/* What the clocks are, by the first page that was read, answered or not, and never again: two pages
 * differ by as much as a reading of two clocks may be off, and events that were translated by one
 * and by the other would go back in time. A page that was not answered may be of the process's
 * first moment, when nobody could tell how fast the counter runs: it has run on since then. */
static void clock_take(struct gy_event_session *session, struct watched *watched,
		       const struct gyre_control_events *events, bool fresh)
{
	struct gy_event_clock now = {events->ticks_hz, gy_event_ticks_now(events->ticks_hz),
				     gy_monotonic_ns()};

	if (watched->clock.ns || !events->ticks_then_ns)
		return;
	watched->clock = (struct gy_event_clock){events->ticks_hz, events->ticks_then,
						 events->ticks_then_ns};
	if (!fresh && now.hz && now.ticks > events->ticks_then &&
	    now.ns >= events->ticks_then_ns + CLOCK_BASE_NS) {
		now.hz = (uint64_t)((double)(now.ticks - events->ticks_then) * 1e9 /
				    (double)(now.ns - events->ticks_then_ns));
		watched->clock = now;
	}
	if (watched->clock.hz && session->programs)
		session->programs->data->gyre_tick_ns =
			(uint64_t)(1e9 * (double)(1 << 20) / (double)watched->clock.hz);
}

/* A process that has not answered yet and records all the same. */
static void clock_look(struct gy_event_session *session, struct watched *watched)
{
	struct gy_snapshot snapshot;

	if (gy_control_read(watched->target->control, 0, &snapshot))
		return;
	clock_take(session, watched, &snapshot.header.events, false);
	gy_snapshot_free(&snapshot);
}

static int on_batch(void *context, void *data, size_t bytes)
{
	struct gy_event_session *session = context;
	const struct gyre_batch *batch = data;
	enum gy_event_order order = EVENT_ORDER_GOOD;
	uint64_t gap;

	/* Our own program's, but a record of the wrong size is cheaply refused. */
	if (bytes < sizeof(*batch) || batch->kind != GYRE_EVENT_BATCH ||
	    batch->count > (bytes - sizeof(*batch)) / sizeof(struct gyre_record) ||
	    batch->target >= session->count)
		return 0;
	/* A batch that a filter leaves nothing of does not come: gaps mean nothing then. */
	if (!session->filtered && !session->mute)
		order = gy_event_threads_order(session->threads, batch, &gap);
	if (order == EVENT_ORDER_GAP)
		session->missing += gap;
	else if (order == EVENT_ORDER_BACK)
		session->repeated += gap;
	session->received += batch->count;
	if (!session->watched[batch->target].clock.ns)
		clock_look(session, &session->watched[batch->target]);
	if (!session->mute && session->plan.batch &&
	    session->plan.batch(session->plan.context, batch,
				(const struct gyre_record *)(batch + 1))) {
		session->mute = true;
		if (!session->stop)
			session->stop = STOP_READER;
	}
	/* Leave a ring that fills as fast as it is emptied, now and then. */
	if (++session->since_check >= CHECK_EVERY) {
		session->since_check = 0;
		look_for_impatience(session);
		look_outside(session);
		if (session->stop == STOP_OUTPUT)
			session->mute = true;
		if (session->tick_ns && gy_monotonic_ns() >= session->tick_ns)
			return -ECANCELED;
	}
	return 0;
}

static int ring_empty(struct gy_event_session *session)
{
	int batches = session->ring ? ring_buffer__consume(session->ring) : 0;

	if (batches < 0 && batches != -ECANCELED && !session->stop)
		session->stop = STOP_ERROR;
	return batches;
}

/* ---------------------------------------------------------------- asking */

/* One question; true if it was answered. */
static bool ask(struct gy_event_session *session, struct watched *watched,
		struct gyre_control_events *events)
{
	struct gy_snapshot snapshot;
	bool fresh;

	if (gy_control_read(watched->target->control, ANSWER_MS, &snapshot))
		return false;
	*events = snapshot.header.events;
	fresh = snapshot.fresh && !snapshot.torn;
	clock_take(session, watched, events, fresh);
	gy_snapshot_free(&snapshot);
	return fresh;
}

/* What its counts were before we raised anything. */
static int before_ask(struct gy_event_session *session, struct watched *watched)
{
	const struct gy_target *target = watched->target;

	if (!target->control || !gy_control_may_ask(target->control))
		return gy_out_error("process %d (%s): its control page may only be read, and "
				    "recording must be asked for%s",
				    target->pid, target->comm, gy_rights_ask_lack());
	watched->answered = ask(session, watched, &watched->before);
	if (watched->answered && !watched->before.events_available)
		return gy_out_error("process %d (%s) does not record events: its option 'events' "
				    "is off, or its Gyre is older than this command",
				    target->pid, target->comm);
	return 0;
}

/* EVENT-1, the first half. A process that does not answer (stopped, or idle without a background
 * thread) begins to record when it next allocates: that is told, and no error. */
static void recording_await(struct gy_event_session *session, struct watched *watched)
{
	uint64_t end_ns = gy_monotonic_ns() + ANSWER_FIRST_NS;
	struct gyre_control_events events;

	while (gy_monotonic_ns() < end_ns && !gy_target_ended(watched->target)) {
		if (ask(session, watched, &events) && events.events_recording)
			return;
		look_outside(session);
		if (session->stop)
			return;
	}
	if (!gy_target_ended(watched->target))
		gy_out_info("Process %d (%s) does not answer yet: it records from its next "
			    "allocation on",
			    watched->target->pid, watched->target->comm);
}

/* ---------------------------------------------------------------- the way back (EVS-1) */

static void *closer_run(void *argument)
{
	struct gy_event_session *session = argument;
	uint64_t end_ns;

	gy_session_detach(&session->links, session->carriers);
	end_ns = gy_monotonic_ns() + ANSWER_LAST_NS;
	for (size_t i = 0; i < session->count; i++) {
		struct watched *watched = &session->watched[i];
		bool answered = false;

		/* Another tracer may keep it recording: it tells what it holds, and goes on. */
		while (!answered && gy_monotonic_ns() < end_ns &&
		       !gy_target_ended(watched->target))
			answered = ask(session, watched, &watched->after);
		if (!answered)
			ask(session, watched, &watched->after); /* an ended one's last words */
		watched->answered &= answered;
	}
	session->end_ns = gy_monotonic_ns();
	gy_session_detach(&session->links, 0);
	atomic_store(&session->closed, true);
	return NULL;
}

static void way_back(struct gy_event_session *session)
{
	struct timespec nap = {0, 1000000};

	if (pthread_create(&session->closer, NULL, closer_run, session)) {
		closer_run(session); /* what does not fit into the ring meanwhile is counted */
	} else {
		while (!atomic_load(&session->closed))
			if (!ring_empty(session))
				nanosleep(&nap, NULL);
		pthread_join(session->closer, NULL);
	}
	while (ring_empty(session) > 0)
		;
}

/* ---------------------------------------------------------------- open */

static int switches_attach(struct gy_event_session *session, const struct bpf_program *program,
			   const char *probe)
{
	for (size_t i = 0; i < session->count; i++) {
		session->links.target = session->watched[i].target;
		if (gy_session_attach(&session->links, session->programs->obj, program, probe,
				      i))
			return -1;
	}
	return 0;
}

static int attach(struct gy_event_session *session)
{
	struct events_bpf *programs = session->programs;

	if (switches_attach(session, programs->progs.gyre_events, "events"))
		return -1;
	session->carriers = session->links.link_count;
	if (session->plan.stacks &&
	    switches_attach(session, programs->progs.gyre_switch, "events_stacks"))
		return -1;
	if (!session->plan.shared_clock &&
	    switches_attach(session, programs->progs.gyre_switch, "events_clock"))
		return -1;
	return switches_attach(session, programs->progs.gyre_switch, "events_on");
}

static int session_begin(struct gy_event_session *session)
{
	int error = load(session, true);

	if (error && error != -EPERM && error != -EACCES && error != -ENOSYS)
		error = load(session, false);
	if (error)
		return gy_session_load_error(error);
	if (gy_session_begin(&session->links, session->watched[0].target) || tables_map(session))
		return -1;
	session->ring = ring_buffer__new(bpf_map__fd(session->programs->maps.gyre_ring), on_batch,
					 session, NULL);
	if (!session->ring)
		return gy_out_error("cannot map the ring buffer: %s", strerror(errno));
	for (size_t i = 0; i < session->count; i++)
		if (before_ask(session, &session->watched[i]))
			return -1;
	session->start_ns = gy_monotonic_ns();
	return attach(session);
}

struct gy_event_session *gy_event_session_open(struct gy_target *targets, size_t count,
					       const struct gy_event_plan *plan)
{
	struct gy_event_session *session = calloc(1, sizeof(*session));

	if (session)
		session->threads = gy_event_threads_open(targets, count);
	if (!session || !session->threads || count > GY_EVENT_TARGETS) {
		free(session);
		gy_out_error("no memory");
		return NULL;
	}
	session->plan = *plan;
	session->filtered = has_filter(&plan->filter) || plan->filter.thread;
	session->links.signal_fd = -1;
	session->count = count;
	for (size_t i = 0; i < count; i++)
		session->watched[i].target = &targets[i];
	if (plan->filter.thread)
		session->plan.filter.thread =
			gy_event_threads_inside(session->threads, plan->filter.thread);
	if (!session_begin(session))
		return session;
	gy_event_session_close(session);
	return NULL;
}

/* ---------------------------------------------------------------- run */

static void targets_look(struct gy_event_session *session)
{
	size_t ended = 0;

	for (size_t i = 0; i < session->count; i++) {
		if (!session->watched[i].ended)
			session->watched[i].ended = gy_target_ended(session->watched[i].target);
		ended += session->watched[i].ended;
	}
	if (ended == session->count && !session->stop)
		session->stop = STOP_TARGET;
}

static void wait_for_something(struct gy_event_session *session, int wait_ms)
{
	struct pollfd fds[GY_EVENT_TARGETS + 2] = {
		{.fd = session->links.signal_fd, .events = POLLIN},
		{.fd = ring_buffer__epoll_fd(session->ring), .events = POLLIN},
	};
	const uint64_t ends_ns[] = {session->deadline_ns, session->tick_ns};
	uint64_t now = gy_monotonic_ns();
	nfds_t count = 2;

	for (size_t i = 0; i < 2; i++)
		if (ends_ns[i]) {
			uint64_t left_ms =
				ends_ns[i] > now ? (ends_ns[i] - now) / 1000000 + 1 : 0;

			if (left_ms < (uint64_t)wait_ms)
				wait_ms = (int)left_ms;
		}
	for (size_t i = 0; i < session->count; i++)
		if (!session->watched[i].ended)
			fds[count++] = (struct pollfd){
				.fd = session->watched[i].target->pid_fd, .events = POLLIN};
	poll(fds, count, wait_ms);
	look_outside(session);
	targets_look(session);
}

static void tick(struct gy_event_session *session)
{
	uint64_t now = gy_monotonic_ns();

	if (!session->tick_ns || now < session->tick_ns)
		return;
	while (session->tick_ns <= now)
		session->tick_ns += session->plan.interval_ns;
	if (session->plan.tick && session->plan.tick(session->plan.context) && !session->stop)
		session->stop = STOP_READER;
	if (gy_out_flush() && !session->stop)
		session->stop = STOP_OUTPUT;
}

int gy_event_session_run(struct gy_event_session *session)
{
	/* Without shipping there is nothing to look after between ticks. */
	int wait_ms = POLL_MIN_MS, max_ms = session->plan.ship ? POLL_MAX_MS : 1000;

	for (size_t i = 0; i < session->count; i++)
		recording_await(session, &session->watched[i]);
	if (!session->stop && session->plan.begin && session->plan.begin(session->plan.context))
		session->stop = STOP_READER;
	if (session->plan.duration_ns)
		session->deadline_ns = gy_monotonic_ns() + session->plan.duration_ns;
	if (session->plan.interval_ns)
		session->tick_ns = gy_monotonic_ns() + session->plan.interval_ns;
	while (!session->stop) {
		int batches = ring_empty(session);

		tick(session);
		if (session->stop)
			break;
		if (batches == -ECANCELED)
			continue;
		wait_ms = batches > 0 ? wait_ms / 2 : wait_ms * 2;
		wait_ms = wait_ms < POLL_MIN_MS ? POLL_MIN_MS : wait_ms;
		wait_ms = wait_ms > max_ms ? max_ms : wait_ms;
		wait_for_something(session, wait_ms);
	}
	session->tick_ns = 0;
	way_back(session);
	return session->stop == STOP_ERROR ? gy_out_error("reading the ring buffer failed") : 0;
}

void gy_event_session_close(struct gy_event_session *session)
{
	if (!session)
		return;
	gy_session_detach(&session->links, 0);
	gy_session_end(&session->links);
	if (session->ring)
		ring_buffer__free(session->ring);
	if (session->scratch)
		munmap(session->scratch, session->scratch_bytes);
	if (session->sites)
		munmap(session->sites, SITE_ROWS * sizeof(struct gyre_site));
	if (session->programs)
		events_bpf__destroy(session->programs);
	gy_event_threads_close(session->threads);
	free(session);
}

/* ---------------------------------------------------------------- what it knows */

void gy_event_books(const struct gy_event_session *session, struct gy_event_books *books)
{
	const struct events_bpf__bss *counts = session->programs->bss;

	*books = (struct gy_event_books){
		.announced = counts->gyre_records,
		.received = session->received,
		.filtered = counts->gyre_filtered,
		.lost = counts->gyre_lost,
		.unread = counts->gyre_unread,
		.crowded = counts->gyre_crowded,
		.missing = session->missing,
		.repeated = session->repeated,
		.early = session->stop == STOP_READER && session->plan.batch,
		.recorded_known = true,
		.batches = counts->gyre_batches,
		.births_lost = counts->gyre_births_lost,
		.orphans = counts->gyre_orphans,
		.slots_lost = counts->gyre_slots_lost,
		.sites_beyond = counts->gyre_sites_beyond,
	};
	for (size_t i = 0; i < session->count; i++) {
		const struct gyre_control_events *before = &session->watched[i].before,
						 *after = &session->watched[i].after;

		books->recorded_known &= session->watched[i].answered;
		books->recorded += after->events_recorded - after->events_waiting -
				   (before->events_recorded - before->events_waiting);
		books->barrier_hits += after->barrier_hits - before->barrier_hits;
		if (after->events_dropped > before->events_dropped)
			books->dropped += after->events_dropped - before->events_dropped;
	}
}

uint64_t gy_event_lost(const struct gy_event_books *books)
{
	if (books->early)
		return books->missing;
	return books->lost + books->unread + books->crowded + books->dropped;
}

void gy_event_books_out(const struct gy_event_session *session)
{
	struct gy_event_books books;
	char lost[GY_OUT_TEXT], recorded[GY_OUT_TEXT];

	gy_event_books(session, &books);
	gy_out_u64("lost", NULL, OUT_COUNT, gy_event_lost(&books));
	if (gy_out_is_json()) {
		gy_out_begin("books", NULL);
		gy_out_u64("batches", NULL, OUT_COUNT, books.batches);
		gy_out_u64("announced", NULL, OUT_COUNT, books.announced);
		gy_out_u64("received", NULL, OUT_COUNT, books.received);
		gy_out_u64("filtered", NULL, OUT_COUNT, books.filtered);
		gy_out_u64("lost_ring", NULL, OUT_COUNT, books.lost);
		gy_out_u64("lost_unread", NULL, OUT_COUNT, books.unread);
		gy_out_u64("lost_crowded", NULL, OUT_COUNT, books.crowded);
		gy_out_u64("lost_library", NULL, OUT_COUNT, books.dropped);
		gy_out_u64("missing", NULL, OUT_COUNT, books.missing);
		gy_out_u64("repeated", NULL, OUT_COUNT, books.repeated);
		if (books.recorded_known)
			gy_out_u64("recorded", NULL, OUT_COUNT, books.recorded);
		else
			gy_out_null("recorded", NULL, "");
		if (books.recorded_known)
			gy_out_u64("barrier_hits", NULL, OUT_COUNT, books.barrier_hits);
		else
			gy_out_null("barrier_hits", NULL, "");
		gy_out_end();
		return;
	}
	if (!gy_event_lost(&books))
		return;
	gy_out_count(lost, gy_event_lost(&books));
	gy_out_count(recorded, books.announced + books.dropped);
	gy_out_line("%s of %s events were lost%s", lost, recorded,
		    books.lost ? ": the reader was too slow (see ring, filters)" : "");
}

enum gy_session_stop gy_event_stop(const struct gy_event_session *session)
{
	return session->stop;
}

const char *gy_event_stop_name(const struct gy_event_session *session)
{
	const struct gy_session stop = {.stop = session->stop};

	return gy_session_stop_name(&stop);
}

uint64_t gy_event_start_ns(const struct gy_event_session *session)
{
	return session->start_ns;
}

uint64_t gy_event_end_ns(const struct gy_event_session *session)
{
	return session->end_ns ? session->end_ns : gy_monotonic_ns();
}

uint64_t gy_event_ns(const struct gy_event_session *session, uint32_t target, uint64_t ticks)
{
	const struct gy_event_clock *clock = &session->watched[target].clock;

	if (!clock->hz)
		return ticks;
	return (uint64_t)((int64_t)clock->ns + (int64_t)((double)(int64_t)(ticks - clock->ticks) *
							 1e9 / (double)clock->hz));
}

const struct gy_event_clock *gy_event_clock(const struct gy_event_session *session, uint32_t target)
{
	return &session->watched[target].clock;
}

uint32_t gy_event_thread(struct gy_event_session *session, const struct gyre_batch *batch,
			 const char **comm)
{
	return gy_event_threads_outside(session->threads, batch, comm);
}

/* ---------------------------------------------------------------- what was counted */

static void cells_add(struct gyre_cell *to, const struct gyre_cell *from, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		to[i].count += from[i].count;
		to[i].bytes += from[i].bytes;
	}
}

void gy_event_classes(const struct gy_event_session *session, struct gyre_cell *cells)
{
	size_t count = GYRE_CELL_OPERATIONS * GYRE_CELL_CLASSES;

	memset(cells, 0, count * sizeof(*cells));
	for (size_t i = 0; i < session->scratch_count; i++)
		cells_add(cells, session->scratch[i].classes, count);
}

void gy_event_sizes(const struct gy_event_session *session, struct gyre_cell *cells)
{
	size_t count = GYRE_CELL_OPERATIONS * GYRE_CELL_SIZES;

	memset(cells, 0, count * sizeof(*cells));
	for (size_t i = 0; i < session->scratch_count; i++)
		cells_add(cells, session->scratch[i].sizes, count);
}

void gy_event_lifetimes(const struct gy_event_session *session, struct gyre_cell *cells)
{
	memset(cells, 0, GYRE_CELL_SIZES * sizeof(*cells));
	for (size_t i = 0; i < session->scratch_count; i++)
		cells_add(cells, session->scratch[i].lifetimes, GYRE_CELL_SIZES);
}

void gy_event_sites(const struct gy_event_session *session, struct gyre_site *sites)
{
	memcpy(sites, session->sites, GYRE_SITES * sizeof(*sites));
	for (size_t table = 1; table <= GYRE_SITE_TABLES; table++) {
		const struct gyre_site *more = session->sites + table * GYRE_SITES;

		for (size_t i = 0; i < GYRE_SITES; i++)
			cells_add(sites[i].operations, more[i].operations, 4);
	}
}

size_t gy_event_slots(const struct gy_event_session *session,
		      void (*visit)(void *context, uint64_t address, const struct gyre_cell *cell),
		      void *context)
{
	int map = bpf_map__fd(session->programs->maps.gyre_barrier_slots);
	uint64_t key, next, *previous = NULL;
	struct gyre_cell cell;
	size_t count = 0;

	/* Bounded: entries that come while we walk could keep us going. */
	while (count < BARRIER_SLOTS && !bpf_map_get_next_key(map, previous, &next)) {
		key = next;
		previous = &key;
		if (bpf_map_lookup_elem(map, &key, &cell))
			continue;
		visit(context, key, &cell);
		count++;
	}
	return count;
}
