/* leak.c - a scan from its request to its end: the order of the rounds, and what becomes of its
 * result.
 *
 *	state   FREE -> BUSY (a scan, or its result is being dropped) -> FREE
 *	header  IDLE -> RUNNING -> DONE -> IDLE
 *
 * The scan's thread lingers when it is done, until the result was released or its time is over
 * (REPORT-5), and then drops it, unless another scan has come meanwhile.
 *
 * SCAN-4  Who changes state from FREE to BUSY owns the result's memory, until it is FREE again.
 */
#include "leak/leak.h"

#include "gc/cycle.h"
#include "heap/heap.h"
#include "leak/scan.h"
#include "mutator/world.h"
#include "os/native_thread.h"
#include "os/sys.h"
#include "os/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#define MS 1000000ull
#define GAP_NS (50 * MS)	/* between two rounds */
#define LINGER_NS (200 * MS) /* between two looks whether the result was released */
#define QUEUE_FIRST ((size_t)16 << 10)
#define ROUNDS_DEFAULT 3u
#define REGISTERS_WAIT_DEFAULT 1000u

enum { FREE, BUSY };

static struct {
	uint32_t state;	 /* [atomic] SCAN-4 */
	uint32_t number; /* [atomic] of the last scan begun */
	struct gyre_leak_header *header; /* [atomic: release in begin] */
	struct gy_leak_scan *scan;	 /* [owner] */
} leak;

void gy_leak_phase(struct gy_leak_scan *scan, enum gyre_leak_phase phase)
{
	WRITE_RELAXED(scan->header->phase, (uint32_t)phase);
}

/* ------------------------------------------------------------------ rounds */

static void begin_round(struct gy_leak_scan *scan)
{
	scan->round = &scan->header->rounds[scan->rounds_done];
	memset(scan->round, 0, sizeof(*scan->round));
	scan->round->began_ns = gy_now_ns();
	scan->root_bytes = scan->heap_bytes = 0;
}

static void end_round(struct gy_leak_scan *scan)
{
	struct gyre_leak_header *header = scan->header;

	scan->round->candidates = scan->candidates;
	scan->round->taken_off = scan->taken_off;
	scan->round->root_bytes = scan->root_bytes;
	scan->round->heap_bytes = scan->heap_bytes;
	scan->round->ended_ns = gy_now_ns();
	header->root_bytes += scan->root_bytes;
	header->heap_bytes += scan->heap_bytes;
	WRITE_RELAXED(header->rounds_done, ++scan->rounds_done);
}

/* The queue is as long as memory allows: at most an entry a block. */
int gy_leak_make_queue(struct gy_leak_scan *scan)
{
	size_t blocks = scan->frame.words * 64 + 1;
	size_t most = (scan->request.memory_bytes - MIN(scan->request.memory_bytes,
							scan->memory_bytes)) /
		      2 / sizeof(*scan->queue);
	int error = 0;

	scan->queue_room = MIN(blocks, MAX(most, QUEUE_FIRST));
	scan->queue = gy_leak_map(scan, scan->queue_room * sizeof(*scan->queue), &error);
	return error;
}

static int census_and_mark(struct gy_leak_scan *scan)
{
	int error;

	begin_round(scan);
	gy_leak_phase(scan, GYRE_LEAK_PHASE_CENSUS);
	error = gy_leak_census(scan);
	if (!error)
		error = gy_leak_make_queue(scan);
	if (error)
		return error;
	gy_leak_phase(scan, GYRE_LEAK_PHASE_MARK);
	return gy_leak_mark(scan) ? 0 : scan->pace.error;
}

static int first_round(struct gy_leak_scan *scan)
{
	int error = census_and_mark(scan);

	if (error)
		return error;
	gy_leak_candidates(scan);
	end_round(scan);
	return scan->pace.error;
}

/* Rounds until one takes nothing off. */
static int more_rounds(struct gy_leak_scan *scan)
{
	bool settled = false;

	gy_leak_phase(scan, GYRE_LEAK_PHASE_LOOK);
	while (scan->candidates && scan->rounds_done < GYRE_LEAK_ROUNDS &&
	       (!settled || scan->rounds_done < scan->request.rounds)) {
		if (!gy_leak_rest(scan, GAP_NS))
			return scan->pace.error;
		if (!gy_native_thread_has_process_ids()) /* NATIVE-3 */
			return -EPERM;
		begin_round(scan);
		if (!gy_leak_look(scan, scan->rounds_done % 2 == 0))
			return scan->pace.error;
		end_round(scan);
		settled = !scan->taken_off;
	}
	if (scan->candidates && !settled)
		scan->uncertain |= GYRE_LEAK_UNCERTAIN_UNSETTLED;
	return 0;
}

/* Does the program use the collector's signal for something else? The handler of an earlier scan
 * that stopped is ours. */
static int prepare_stop(void)
{
	static bool prepared; /* one scan at a time */
	struct gy_signal_action action;
	int error = 0;

	if (gy_gc_started() || prepared)
		return 0;
	error = gy_sys_sigaction((int)gy_option(GY_OPT_gc_signal), NULL, &action);
	if (!error && action.handler) /* not SIG_DFL */
		return -EBUSY;
	if (!error)
		error = gy_world_init();
	prepared = !error;
	return error;
}

/* Everything in one stop of the world. */
static int stopped_round(struct gy_leak_scan *scan)
{
	bool collector = gy_gc_started();
	struct gy_world_report report;
	int error = prepare_stop();

	if (error)
		return error;
	if (collector)
		gy_cycle_hold();
	error = gy_world_stop(&report);
	if (!error) {
		scan->pace.stopped = true;
		scan->candidates = 1; /* KROOT-1: this is the only round */
		error = census_and_mark(scan);
		if (!error)
			gy_leak_candidates(scan);
		scan->pace.stopped = false;
		gy_world_start();
		scan->header->stopped_ns = gy_now_ns() - report.begin_ns;
		if (!error)
			end_round(scan);
	}
	if (collector)
		gy_cycle_let_go();
	return error;
}

static void note_uncertain(struct gy_leak_scan *scan, int error)
{
	const struct gyre_leak_round *last = &scan->header->rounds[scan->rounds_done - 1];

	if (error == -ETIME)
		scan->uncertain |= GYRE_LEAK_UNCERTAIN_TIME;
	if (last->registers < last->threads)
		scan->uncertain |= GYRE_LEAK_UNCERTAIN_REGISTERS;
}

static int run_scan(struct gy_leak_scan *scan)
{
	int error;

	if (scan->request.operation == GYRE_LEAK_WHY)
		return gy_leak_path(scan);
	if (scan->request.flags & GYRE_LEAK_STOP)
		error = stopped_round(scan);
	else
		error = first_round(scan);
	if (!error && !(scan->request.flags & GYRE_LEAK_STOP))
		error = more_rounds(scan);
	if (!scan->rounds_done || (error && error != -ETIME))
		return error;
	note_uncertain(scan, error);
	if (error) { /* what there is, without another rest */
		scan->pace.error = 0;
		scan->pace.deadline_ns = 0;
	}
	gy_leak_phase(scan, GYRE_LEAK_PHASE_SORT);
	gy_leak_sort(scan);
	return scan->pace.error ? scan->pace.error : error;
}

/* ------------------------------------------------------------------ the thread */

static void clear_header(struct gyre_leak_header *header)
{
	const size_t from = offsetof(struct gyre_leak_header, rounds_done);

	header->class_count = header->group_count = header->block_count = header->step_count = 0;
	memset((char *)header + from, 0, sizeof(*header) - from);
	header->error = 0;
}

static uint64_t real_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void fill_request(struct gyre_leak_header *header, const struct gyre_control_leak *request)
{
	header->operation = request->operation;
	header->flags = request->flags;
	header->share_permille = request->share_permille;
	header->stop_after_ms = request->stop_after_ms;
	header->lease_ms = request->lease_ms;
	header->rounds_asked = request->rounds;
	header->memory_limit_bytes = request->memory_bytes;
	header->tag_mask = request->tag_mask;
	header->address = request->address;
}

/* An observer sleeps on registers_wanted while a scan runs. */
static void set_state(struct gyre_leak_header *header, enum gyre_leak_state state)
{
	__atomic_store_n(&header->state, (uint32_t)state, __ATOMIC_RELEASE);
	gy_sys_futex_wake(&header->state, INT_MAX, true);
	gy_sys_futex_wake(&header->registers_wanted, INT_MAX, true);
}

static void free_scan(struct gy_leak_scan *scan)
{
	gy_leak_frame_free(scan);
	if (scan->queue)
		gy_vm_unmap(scan->queue, gy_round_up(scan->queue_room * sizeof(*scan->queue),
						     GY_KERNEL_PAGE_BYTES));
	if (scan->parents)
		gy_vm_unmap(scan->parents, gy_round_up(MAX(scan->parents_bytes, 1),
						       GY_KERNEL_PAGE_BYTES));
	if (scan->maps.mappings)
		gy_vm_unmap(scan->maps.mappings,
			    scan->maps.capacity * sizeof(*scan->maps.mappings));
	if (scan->pagemap >= 0)
		gy_sys_close(scan->pagemap);
	if (scan->memory >= 0)
		gy_sys_close(scan->memory);
	gy_vm_unmap(scan, gy_round_up(sizeof(*scan), GY_KERNEL_PAGE_BYTES));
}

static void finish(struct gy_leak_scan *scan, int error)
{
	struct gyre_leak_header *header = scan->header;

	header->uncertain = scan->uncertain;
	header->ignored_blocks = scan->ignored;
	header->epoll_words = scan->epoll_words;
	header->timer_words = scan->timer_words;
	header->memory_most_bytes = scan->memory_bytes;
	header->cpu_ns = gy_leak_cpu_ns(scan);
	header->ended_ns = gy_now_ns();
	header->error = error;
	leak.scan = NULL;
	free_scan(scan);
	WRITE_RELAXED(header->phase, (uint32_t)GYRE_LEAK_PHASE_NONE);
}

/* REPORT-5 */
static void linger(struct gyre_leak_header *header, uint32_t number, uint32_t lease_ms)
{
	uint64_t keep_ms = lease_ms ? lease_ms : GYRE_LEAK_KEEP_MS, last_ns = gy_now_ns();
	uint32_t lease = READ_RELAXED(header->lease), released, expected = FREE;

	while ((released = READ_RELAXED(header->released)) != number &&
	       READ_RELAXED(leak.number) == number && gy_now_ns() - last_ns < keep_ms * MS) {
		struct timespec nap = {0, (long)LINGER_NS};

		if (lease_ms && READ_RELAXED(header->lease) != lease) {
			lease = READ_RELAXED(header->lease);
			last_ns = gy_now_ns();
		}
		gy_sys_futex_wait(&header->released, released, &nap, true);
	}
	if (!__atomic_compare_exchange_n(&leak.state, &expected, BUSY, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return;
	if (READ_RELAXED(leak.number) == number) {
		set_state(header, GYRE_LEAK_IDLE);
		gy_leak_report_clear(header);
	}
	__atomic_store_n(&leak.state, FREE, __ATOMIC_RELEASE);
}

static void run(void)
{
	struct gy_leak_scan *scan = leak.scan;
	struct gyre_leak_header *header = scan->header;
	uint32_t number = READ_RELAXED(leak.number), lease_ms = scan->request.lease_ms;

	gy_thread_cache_forbid();
	scan->round = &header->rounds[0];
	gy_leak_pace_begin(scan);
	scan->pagemap = gy_sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	finish(scan, run_scan(scan));
	/* Who waits may begin another scan at once. */
	__atomic_store_n(&leak.state, FREE, __ATOMIC_RELEASE);
	set_state(header, GYRE_LEAK_DONE);
	linger(header, number, lease_ms);
}

/* ------------------------------------------------------------------ beginning */

static bool fill_defaults(struct gyre_control_leak *request)
{
	const uint32_t flags = GYRE_LEAK_EXACT | GYRE_LEAK_STOP | GYRE_LEAK_REGISTERS;
	struct gy_page_heap_stats pages;

	if ((request->operation != GYRE_LEAK_SCAN && request->operation != GYRE_LEAK_WHY) ||
	    request->flags & ~flags || request->share_permille > 1000 ||
	    request->rounds > GYRE_LEAK_ROUNDS || request->rounds == 1 ||
	    (request->lease_ms && (request->lease_ms < 100 || request->lease_ms > 600000)))
		return false;
	if (!request->rounds)
		request->rounds = ROUNDS_DEFAULT;
	if (!request->registers_wait_ms)
		request->registers_wait_ms = REGISTERS_WAIT_DEFAULT;
	gy_page_heap_read_stats(&pages);
	if (!request->memory_bytes)
		request->memory_bytes =
			((uint64_t)64 << 20) + pages.used_pages * GY_PAGE_BYTES / 8;
	return true;
}

static struct gy_leak_scan *new_scan(const struct gyre_control_leak *request,
				     struct gyre_leak_header *header, uint32_t number)
{
	struct gy_leak_scan *scan;
	void *mapped;

	if (!header || gy_vm_map(&mapped, gy_round_up(sizeof(*scan), GY_KERNEL_PAGE_BYTES)))
		return NULL;
	scan = mapped;
	scan->request = *request;
	scan->header = header;
	scan->exact = request->flags & GYRE_LEAK_EXACT;
	scan->tag_mask = request->tag_mask;
	scan->pagemap = scan->memory = -1;
	scan->memory_bytes = sizeof(*scan);
	scan->number = number;
	scan->pace.began_ns = scan->pace.lease_ns = gy_now_ns();
	if (request->stop_after_ms)
		scan->pace.deadline_ns = scan->pace.began_ns + request->stop_after_ms * MS;
	scan->pace.lease = READ_RELAXED(header->lease);
	return scan;
}

/* SCAN-4: state is BUSY. */
static int begin_owned(const struct gyre_control_leak *request, uint32_t *number)
{
	struct gyre_leak_header *header = gy_leak_report_make();
	struct gy_leak_scan *scan;
	int error;

	*number = READ_RELAXED(leak.number) + 1;
	*number += !*number; /* 0 is none */
	scan = new_scan(request, header, *number);
	if (!scan)
		return -ENOMEM;
	gy_leak_report_clear(header);
	clear_header(header);
	fill_request(header, request);
	header->began_ns = scan->pace.began_ns;
	header->began_real_ns = real_ns();
	WRITE_RELAXED(leak.number, *number);
	WRITE_RELAXED(header->scan, *number);
	leak.scan = scan;
	__atomic_store_n(&leak.header, header, __ATOMIC_RELEASE);
	set_state(header, GYRE_LEAK_RUNNING);
	error = gy_native_thread_start(run);
	if (error) {
		leak.scan = NULL;
		free_scan(scan);
		set_state(header, GYRE_LEAK_IDLE);
		return -EAGAIN;
	}
	return 0;
}

int gy_leak_begin(const struct gyre_control_leak *request, uint32_t *number)
{
	struct gyre_control_leak filled = *request;
	uint32_t expected = FREE;
	int error;

	if (!gy_heap_start())
		return -ENOMEM;
	if (!fill_defaults(&filled))
		return -EINVAL;
	for (unsigned i = 0; !__atomic_compare_exchange_n(&leak.state, &expected, BUSY, false,
							  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
	     i++, expected = FREE) {
		const struct gyre_leak_header *header =
			__atomic_load_n(&leak.header, __ATOMIC_ACQUIRE);

		/* A result that is being dropped takes a moment. */
		if (!header || READ_RELAXED(header->state) == GYRE_LEAK_RUNNING || i == 1000)
			return -EBUSY;
		gy_sys_yield();
	}
	error = begin_owned(&filled, number);
	if (error)
		__atomic_store_n(&leak.state, FREE, __ATOMIC_RELEASE);
	return error;
}

const struct gyre_leak_header *gy_leak_report_of(uint32_t number)
{
	return READ_RELAXED(leak.number) == number
		       ? __atomic_load_n(&leak.header, __ATOMIC_ACQUIRE)
		       : NULL;
}

const struct gyre_leak_header *gy_leak_wait(uint32_t number)
{
	struct gyre_leak_header *header = __atomic_load_n(&leak.header, __ATOMIC_ACQUIRE);

	for (;;) {
		struct timespec nap = {1, 0};

		if (!header || READ_RELAXED(leak.number) != number)
			return NULL;
		if (__atomic_load_n(&header->state, __ATOMIC_ACQUIRE) != GYRE_LEAK_RUNNING)
			return header;
		gy_sys_futex_wait(&header->state, GYRE_LEAK_RUNNING, &nap, true);
	}
}

void gy_leak_release(uint32_t number)
{
	struct gyre_leak_header *header = __atomic_load_n(&leak.header, __ATOMIC_ACQUIRE);

	if (!header)
		return;
	__atomic_store_n(&header->released, number, __ATOMIC_RELEASE);
	gy_sys_futex_wake(&header->released, INT_MAX, true);
}

/* LEAK-5. The scan's thread is not here; what it was at stands as it stood. */
void gy_leak_fork_child(void)
{
	if (leak.scan)
		free_scan(leak.scan);
	leak.scan = NULL;
	leak.header = NULL;
	leak.state = FREE;
	gy_leak_report_fork_child();
	gy_leak_ignore_fork_child();
}
