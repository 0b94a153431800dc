/* events.c - see events.h. */
#include "trace/event_buffer.h"

#include "base/config.h"
#include "base/probe.h"
#include "heap/gate.h"
#include "heap/hooks.h"
#include "os/sys.h"
#include "trace/stacks.h"
#include "trace/ticks.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define ALMOST (RECORDS - 64) /* so many unsent records are worth waiting for the lock */
#define WAIT_SPINS 200u
#define WAIT_NAPS 2000u /* of 0.2 ms, at most, for those who are appending */
#define DRAIN_NS 10000000 /* without membarrier: by then every store is seen */

_Static_assert((RECORDS & (RECORDS - 1)) == 0, "counters are taken modulo RECORDS");
_Static_assert((int)GY_BLOCK_TAKEN == (int)GYRE_RECORD_MALLOC &&
		       (int)GY_BLOCK_GIVEN == (int)GYRE_RECORD_FREE,
	       "hooks.h");

enum ship_reason { /* as the probe tells them (probes.def) */
	SHIP_HALF,
	SHIP_ASKED,
	SHIP_THREAD_EXIT,
	SHIP_FORK,
	SHIP_PROCESS_EXIT,
	SHIP_END
};

static struct {
	struct gy_lock lock;
	struct gy_event_buffer *first; /* [lock] */
	uint32_t begun;	      /* [lock; atomic: relaxed] buffers are in use */
	uint64_t recorded, dropped, shipped, buffers; /* [atomic: relaxed] */
} registry = {.lock = GY_LOCK_INIT(GY_RANK_events)};

struct gy_events_state gy_events_state;
static struct gy_events_state *const state = &gy_events_state;
__thread struct gy_events_self gy_events_self GY_TLS_INITIAL_EXEC;

static pthread_key_t end_key;
static bool end_key_made;

static void count_dropped(struct gy_event_buffer *buffer, uint64_t count)
{
	ADD_RELAXED(registry.dropped, count);
	ADD_RELAXED(buffer->dropped, count);
}

/* ------------------------------------------------------------------ shipping */

/* A row of records that does not wrap. [lock: buffer] */
static void tell(struct gy_event_buffer *buffer, const struct gyre_record *records, uint32_t count,
		 enum ship_reason reason)
{
	const uint64_t values[] = {(uintptr_t)records,
				   count,
				   buffer->next,
				   buffer->tid,
				   READ_RELAXED(buffer->dropped),
				   (uint64_t)reason};

	_Static_assert(sizeof(values) == 8 * gy_probe_count_events, "probes.def");
	buffer->next += count;
	if (unlikely(!IS_UP(events))) {
		count_dropped(buffer, count);
		return;
	}
	gy_probe_events(values);
	ADD_RELAXED(registry.recorded, count);
	ADD_RELAXED(registry.shipped, 1u);
}

/* All that is committed; `told`: to the tracer, else it is dropped. [lock: buffer] */
static void ship_locked(struct gy_event_buffer *buffer, enum ship_reason reason, bool told)
{
	uint32_t committed = __atomic_load_n(&buffer->committed, __ATOMIC_ACQUIRE);
	uint32_t sent = buffer->sent;

	INVARIANT(RING-3, committed - sent <= RECORDS);
	while (sent != committed) {
		uint32_t at = sent % RECORDS;
		uint32_t count = MIN(MIN(committed - sent, RECORDS - at), HALF);

		if (told) {
			tell(buffer, &buffer->records[at], count, reason);
		} else {
			buffer->next += count;
			count_dropped(buffer, count);
		}
		sent += count;
		gy_event_step();
		__atomic_store_n(&buffer->sent, sent, __ATOMIC_RELEASE);
	}
}

static void ship(struct gy_event_buffer *buffer, enum ship_reason reason, bool told)
{
	gy_lock_acquire(&buffer->lock);
	ship_locked(buffer, reason, told);
	gy_lock_release(&buffer->lock);
}

/* RING-8: at the end of the half that the next record goes to. */
static void due_later(struct gy_event_buffer *buffer)
{
	WRITE_RELAXED(buffer->due, (READ_RELAXED(buffer->claimed) / HALF + 1) * HALF);
}

/* Compare and exchange, by one instruction as RING-1 asks. */
static bool claim_if(uint32_t *counter, uint32_t from, uint32_t to)
{
#if defined(__x86_64__) && !GY_TSAN
	bool same;

	__asm__ volatile("cmpxchgl %3, %1"
			 : "+a"(from), "+m"(*counter), "=@ccz"(same)
			 : "r"(to)
			 : "memory");
	return same;
#else
	return __atomic_compare_exchange_n(counter, &from, to, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED);
#endif
}

/* RING-9: all is sent, so the next record may as well lie at the buffer's beginning. [lock:
 * buffer] */
static void rewind_locked(struct gy_event_buffer *buffer)
{
	uint32_t claimed = buffer->sent, to = (claimed + RECORDS - 1) / RECORDS * RECORDS;

	if (claimed == to || buffer->committed != claimed ||
	    !claim_if(&buffer->claimed, claimed, to))
		return;
	gy_event_step();
	__atomic_store_n(&buffer->committed, to, __ATOMIC_RELEASE);
	__atomic_store_n(&buffer->sent, to, __ATOMIC_RELEASE);
}

/* The outermost append's, of the thread's own buffer (RING-4). */
static void ship_own(struct gy_event_buffer *buffer)
{
	uint32_t unsent = buffer->claimed - __atomic_load_n(&buffer->sent, __ATOMIC_ACQUIRE);

	if (!gy_lock_try(&buffer->lock)) {
		if (unsent < ALMOST && !READ_RELAXED(buffer->full)) {
			/* Somebody ships; there is room meanwhile. */
			WRITE_RELAXED(buffer->due, READ_RELAXED(buffer->claimed) + 16);
			return;
		}
		gy_lock_acquire(&buffer->lock);
	}
	ship_locked(buffer, SHIP_HALF, true);
	rewind_locked(buffer);
	due_later(buffer);
	if (unlikely(READ_RELAXED(buffer->full)) &&
	    buffer->sent == READ_RELAXED(buffer->claimed)) { /* RING-5 */
		WRITE_RELAXED(buffer->full, 0);
		buffer->next += __atomic_exchange_n(&buffer->overrun, 0, __ATOMIC_RELAXED);
	}
	gy_lock_release(&buffer->lock);
}

/* Every buffer's; `waited`: of those only where nothing was sent since the last such look. [lock:
 * registry] */
static void ship_all_locked(enum ship_reason reason, bool waited, bool told)
{
	for (struct gy_event_buffer *buffer = registry.first; buffer; buffer = buffer->following) {
		uint32_t sent = READ_RELAXED(buffer->sent);

		if (sent == READ_RELAXED(buffer->committed))
			continue;
		if (!waited || buffer->seen == sent)
			ship(buffer, reason, told);
		else
			buffer->seen = sent;
	}
}

/* ------------------------------------------------------------------ appending */

/* RING-6: handlers came between. */
static GY_NOINLINE void order_ticks(struct gy_event_buffer *buffer, uint32_t from, uint32_t to)
{
	for (uint32_t at = from + 1; at != to; at++) {
		const struct gyre_record *before = &buffer->records[(at - 1) % RECORDS];
		struct gyre_record *record = &buffer->records[at % RECORDS];

		record->ticks = MAX(record->ticks, before->ticks);
	}
}

GY_INLINE bool is_due(const struct gy_event_buffer *buffer, uint32_t claimed)
{
	return (int32_t)(claimed - READ_RELAXED(buffer->due)) >= 0 ||
	       unlikely(READ_RELAXED(state->exiting));
}

/* RING-2, of the outermost append. */
static GY_NOINLINE void publish(struct gy_event_buffer *buffer)
{
	for (;;) {
		uint32_t claimed = READ_RELAXED(buffer->claimed), committed = buffer->committed;

		if (claimed - committed > 1)
			order_ticks(buffer, committed, claimed);
		__atomic_store_n(&buffer->committed, claimed, __ATOMIC_RELEASE);
		gy_event_step();
		if (is_due(buffer, claimed))
			ship_own(buffer);
		__atomic_store_n(&buffer->depth, 0, __ATOMIC_RELEASE);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		gy_event_step();
		if (likely(READ_RELAXED(buffer->claimed) == buffer->committed))
			return;
		gy_event_begin(buffer);
	}
}

static void append_end(struct gy_event_buffer *buffer)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(buffer->depth != 1))
		WRITE_RELAXED(buffer->depth, buffer->depth - 1);
	else
		publish(buffer);
}

/* Room for one more record and one for each append that this one interrupted: RING-5. */
static bool has_room(struct gy_event_buffer *buffer)
{
	uint32_t sent = __atomic_load_n(&buffer->sent, __ATOMIC_ACQUIRE); /* RING-3 */

	if (likely(READ_RELAXED(buffer->claimed) - sent + buffer->depth <= RECORDS &&
		   !READ_RELAXED(buffer->full)))
		return true;
	ASSERT(buffer->depth > 1); /* RING-8 */
	WRITE_RELAXED(buffer->full, 1);
	WRITE_RELAXED(buffer->due, READ_RELAXED(buffer->claimed));
	ADD_RELAXED(buffer->overrun, 1u);
	count_dropped(buffer, 1);
	return false;
}

/* In full: perhaps inside another, with whatever clock. */
static void append(struct gy_event_buffer *buffer, uint64_t where, uint32_t bytes, uint32_t stack)
{
	uint64_t ticks;

	gy_event_begin(buffer);
	/* RING-6 */
	if (likely(buffer->depth == 1) && likely(READ_RELAXED(gy_ticks_kind) == GY_TICKS_COUNTER))
		ticks = gy_event_ticks(buffer);
	else
		ticks = gy_ticks();
	if (likely(__atomic_load_n(&state->recording, __ATOMIC_ACQUIRE) != OFF) && /* RING-7 */
	    likely(has_room(buffer)))
		gy_event_fill(buffer, gy_event_claim(&buffer->claimed), ticks, where, bytes,
			      stack);
	append_end(buffer);
}

/* ------------------------------------------------------------------ buffers of threads */

/* Who is there counts as inside an append of its own (RING-4); not who waits for the lock: its
 * holder may be waiting for appends. */
static void registry_enter(void)
{
	gy_events_self.inside++;
	gy_lock_acquire(&registry.lock);
	if (gy_events_self.buffer)
		gy_event_begin(gy_events_self.buffer);
}

static void registry_leave(void)
{
	gy_lock_release(&registry.lock);
	if (gy_events_self.buffer)
		append_end(gy_events_self.buffer);
	gy_events_self.inside--;
}

/* [lock: registry] */
static struct gy_event_buffer *buffer_make_locked(void)
{
	struct gy_event_buffer *buffer = gy_metadata_take(sizeof(*buffer));

	if (!buffer)
		return NULL;
	gy_lock_init(&buffer->lock, GY_RANK_event_buffer);
	buffer->following = registry.first;
	registry.first = buffer;
	ADD_RELAXED(registry.buffers, 1u);
	return buffer;
}

/* For this thread, not yet in its hand; NULL: memory lacks. */
static struct gy_event_buffer *buffer_take(void)
{
	struct gy_event_buffer *buffer;

	registry_enter();
	for (buffer = registry.first; buffer && buffer->tid; buffer = buffer->following)
		;
	if (!buffer)
		buffer = buffer_make_locked();
	if (buffer) {
		buffer->tid = (uint32_t)gy_sys_gettid();
		buffer->next = gy_events_self.next;
		due_later(buffer);
		WRITE_RELAXED(buffer->dropped, gy_events_self.dropped);
	}
	registry_leave();
	return buffer;
}

/* The thread has it no more in its hand; what waits in it is shipped. */
static void buffer_give(struct gy_event_buffer *buffer)
{
	registry_enter();
	ship(buffer, SHIP_THREAD_EXIT, true);
	gy_events_self.next = buffer->next;
	gy_events_self.dropped = READ_RELAXED(buffer->dropped);
	buffer->tid = 0;
	registry_leave();
}

/* Handlers that come from here on until the end find no buffer, and may not wait for one. */
static void thread_end(void *value)
{
	gy_events_self.inside++;
	gy_events_self.ended = true;
	gy_events_self.buffer = NULL;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	buffer_give(value);
	gy_events_self.inside--;
}

/* A thread's first record, or one behind its end. */
static GY_NOINLINE void record_first(uint64_t where, uint32_t bytes, uint32_t stack)
{
	struct gy_event_buffer *buffer = NULL;

	if (!gy_events_self.inside && READ_RELAXED(state->recording)) {
		gy_events_self.inside++;
		buffer = buffer_take();
		if (!gy_events_self.ended)
			gy_events_self.buffer = buffer;
		gy_events_self.inside--;
	}
	if (!buffer) {
		ADD_RELAXED(registry.dropped, 1u);
		return;
	}
	append(buffer, where, bytes, stack);
	if (gy_events_self.ended)
		buffer_give(buffer);
	else if (end_key_made)
		pthread_setspecific(end_key, buffer); /* may allocate */
}

/* The switch is down; the carrier too, where a tracer was killed. */
static GY_NOINLINE void stop(void)
{
	if (!IS_UP(events))
		WRITE_RELAXED(state->deserted, 1);
	WRITE_RELAXED(state->recording, OFF);
	gy_gate_try_open();
}

/* Whatever is not plain. */
static GY_NOINLINE void record_other(uint64_t where, uint64_t bytes, uintptr_t caller_pc)
{
	uint32_t size = (uint32_t)bytes, stack = 0;
	int saved = errno;

	if (bytes >= GYRE_RECORD_PAGES)
		size = GYRE_RECORD_PAGES | (uint32_t)((bytes + 8191) >> 13);
	if (IS_UP(events_stacks))
		stack = gy_stacks_id(caller_pc);
	if (!IS_UP(events_on))
		stop();
	else if (likely(gy_events_self.buffer))
		append(gy_events_self.buffer, where, size, stack);
	else
		record_first(where, size, stack);
	errno = saved;
}

GY_NOINLINE void *gy_event_append_rest(enum gy_append how, void *block, uint64_t where,
				       uint64_t bytes, uintptr_t caller_pc)
{
	if (how != APPEND_OTHER)
		publish(gy_events_self.buffer);
	if (how != APPEND_PUBLISH)
		record_other(where, bytes, caller_pc);
	return block;
}

void gy_event_leave(void)
{
	publish(gy_events_self.buffer);
}

void gy_events_record(unsigned operation, unsigned class_index, const void *address, size_t bytes,
		      uintptr_t caller_pc)
{
	uint64_t where = gy_event_where(operation, class_index, NULL) |
			 GYRE_RECORD_ADDRESS((uintptr_t)address);
	struct gy_event_buffer *buffer = gy_events_self.buffer;
	enum gy_append how = APPEND_OTHER;
	uint64_t ticks;

	if (likely(bytes < GYRE_RECORD_PAGES))
		how = gy_event_open(buffer, &ticks);
	if (likely(how == APPEND_DONE))
		how = gy_event_close(buffer, ticks, where, (uint32_t)bytes);
	if (unlikely(how != APPEND_DONE))
		gy_event_append_rest(how, NULL, where, bytes, caller_pc);
}

/* ------------------------------------------------------------------ begin and end */

static uint32_t kind_of_recording(void)
{
	gy_ticks(); /* finds out */
	if (READ_RELAXED(gy_ticks_kind) != GY_TICKS_COUNTER || IS_UP(events_stacks) ||
	    READ_RELAXED(state->exiting))
		return OTHER;
	return PLAIN;
}

/* RING-10, if nobody asks for more, and it is known how long a tick is. */
static void sharing_set(void)
{
	uint64_t ticks, ns, hz = IS_UP(events_clock) ? 0 : gy_ticks_hz(&ticks, &ns);

	WRITE_RELAXED(state->quick_ticks, hz / QUICK_HZ);
	WRITE_RELAXED(state->sharing, hz ? SHARED - 1 : 0);
}

/* What an earlier tracer left behind is nobody's. [lock: registry] */
static void begin_locked(void)
{
	ship_all_locked(SHIP_END, false, false);
	WRITE_RELAXED(state->deserted, 0);
	WRITE_RELAXED(registry.begun, 1);
	sharing_set();
	__atomic_store_n(&state->recording, kind_of_recording(), __ATOMIC_RELEASE);
	gy_gate_close();
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void nap(long ns)
{
	static uint32_t never;
	struct timespec time = {.tv_nsec = ns};

	gy_sys_futex_wait(&never, 0, &time, false);
}

/* RING-7: every thread has seen what recording is, or is in an append that its buffer shows. */
static void let_all_see(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!gy_option(GY_OPT_membarrier) ||
	    gy_sys_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) ||
	    gy_sys_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
		nap(DRAIN_NS);
}

/* A thread that stands in an append for ever (it left a handler by a jump) is not waited for.
 * [lock: registry] */
static void wait_for_appends_locked(void)
{
	const struct gy_event_buffer *own = gy_events_self.buffer;
	unsigned naps = 0;

	for (const struct gy_event_buffer *buffer = registry.first; buffer;
	     buffer = buffer->following) {
		for (unsigned spins = 0; buffer != own && naps < WAIT_NAPS; spins++) {
			if (!__atomic_load_n(&buffer->depth, __ATOMIC_ACQUIRE))
				break;
			if (spins < WAIT_SPINS)
				continue;
			nap(200000);
			naps++;
		}
	}
}

static void end_locked(void)
{
	__atomic_store_n(&state->recording, OFF, __ATOMIC_RELEASE);
	gy_gate_open();
	let_all_see();
	wait_for_appends_locked();
	ship_all_locked(SHIP_END, false, !READ_RELAXED(state->deserted));
	WRITE_RELAXED(registry.begun, 0);
}

static void go_on_locked(enum ship_reason reason, bool waited)
{
	uint32_t recording = READ_RELAXED(state->recording);

	sharing_set();
	/* Not where a thread has just said that it is over. */
	if (recording != OFF)
		__atomic_compare_exchange_n(&state->recording, &recording, kind_of_recording(),
					    false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	ship_all_locked(reason, waited, true);
}

/* A switch without its carrier is nobody's (EVENT-1). */
static bool is_wanted(void)
{
	return IS_UP(events_on) && IS_UP(events);
}

bool gy_events_need_follow(void)
{
	return gy_option(GY_OPT_events) && (is_wanted() || READ_RELAXED(registry.begun));
}

bool gy_events_follow(bool asked)
{
	bool recording;

	if (!gy_events_need_follow() || gy_events_self.inside)
		return false;
	registry_enter();
	if (IS_UP(events_stacks))
		gy_stacks_make();
	if (registry.begun && !(is_wanted() && READ_RELAXED(state->recording)))
		end_locked();
	if (is_wanted() && !registry.begun)
		begin_locked();
	else if (registry.begun)
		go_on_locked(SHIP_ASKED, !asked);
	recording = registry.begun;
	registry_leave();
	return recording;
}

void gy_events_read_stats(struct gy_events_stats *stats)
{
	*stats = (struct gy_events_stats){
		.available = GYRE_PROBES && gy_option(GY_OPT_events),
		.recording = READ_RELAXED(registry.begun) && READ_RELAXED(state->recording),
		.dropped = READ_RELAXED(registry.dropped),
		.shipped = READ_RELAXED(registry.shipped),
		.buffers = READ_RELAXED(registry.buffers)};
	if (gy_events_self.inside)
		return;
	registry_enter();
	for (struct gy_event_buffer *buffer = registry.first; buffer; buffer = buffer->following) {
		gy_lock_acquire(&buffer->lock); /* RING-9 */
		stats->waiting += READ_RELAXED(buffer->committed) - buffer->sent;
		gy_lock_release(&buffer->lock);
	}
	stats->recorded = READ_RELAXED(registry.recorded) + stats->waiting;
	registry_leave();
}

/* ------------------------------------------------------------------ start, end, fork */

void gy_events_init(void)
{
	end_key_made = !pthread_key_create(&end_key, thread_end);
}

/* exit, or a return from main: what other destructors still do is told one by one. */
__attribute__((destructor)) static void process_end(void)
{
	if (!READ_RELAXED(registry.begun) || gy_events_self.inside)
		return;
	WRITE_RELAXED(state->exiting, 1);
	registry_enter();
	go_on_locked(SHIP_PROCESS_EXIT, false);
	registry_leave();
}

void gy_events_fork_prepare(void)
{
	registry_enter();
	if (gy_events_self.buffer)
		ship(gy_events_self.buffer, SHIP_FORK, true);
}

void gy_events_fork_parent(void)
{
	registry_leave();
}

/* The threads of the other buffers are not here, and neither is a tracer, unless it says so. */
static void forget_locked(struct gy_event_buffer *buffer)
{
	gy_lock_init(&buffer->lock, GY_RANK_event_buffer);
	buffer->claimed = buffer->committed = buffer->sent = buffer->seen = buffer->full = 0;
	buffer->sharing = 0;
	due_later(buffer);
	buffer->overrun = buffer->next = buffer->dropped = 0;
	buffer->tid = buffer == gy_events_self.buffer ? (uint32_t)gy_sys_gettid() : 0;
	if (buffer != gy_events_self.buffer)
		buffer->depth = 0;
}

/* A semaphore that is up here may be a copy of the parent's. Where only the parent is traced, the
 * kernel takes its breakpoint, and the count, out of the child when the child comes by: let it. */
static void ask_switches(void)
{
	static const uint64_t none[1];

	if (IS_UP(events_on))
		gy_probe_events_on(none);
	if (IS_UP(events_stacks))
		gy_probe_events_stacks(none);
	if (IS_UP(events_clock))
		gy_probe_events_clock(none);
}

void gy_events_fork_child(void)
{
	for (struct gy_event_buffer *buffer = registry.first; buffer; buffer = buffer->following)
		forget_locked(buffer);
	registry.begun = 0;
	registry.recorded = registry.dropped = registry.shipped = 0;
	state->recording = OFF;
	gy_events_self.next = gy_events_self.dropped = 0;
	gy_stacks_fork_child();
	gy_gate_open();
	registry_leave();
	gy_lock_init(&registry.lock, GY_RANK_events);
	ask_switches();
	gy_events_follow(false);
}

void gy_events_check(void)
{
	registry_enter();
	for (struct gy_event_buffer *buffer = registry.first; buffer; buffer = buffer->following) {
		gy_lock_acquire(&buffer->lock);
		CHECK(READ_RELAXED(buffer->committed) - buffer->sent <= RECORDS); /* RING-3 */
		gy_lock_release(&buffer->lock);
	}
	registry_leave();
}
