/* events.c - see events.h. */
#include "trace/events.h"

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

#define RECORDS GY_EVENT_RECORDS
#define HALF GYRE_BATCH_RECORDS
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

struct buffer {
	uint32_t claimed;	  /* [self] RING-1 */
	uint32_t committed;	  /* [self; atomic: release] RING-2 */
	uint32_t depth;		  /* [self; atomic: release] appends under way in this thread */
	uint32_t sent;		  /* [lock; atomic: release] RING-4 */
	uint32_t due;		  /* [self] RING-8 */
	uint32_t full;		  /* [self] RING-5 */
	struct gy_lock lock;	  /* of those who ship */
	uint64_t overrun;	  /* [self; atomic: relaxed] dropped since it was found full */
	uint64_t next;		  /* [lock] number of the record at `sent` among the thread's */
	uint64_t dropped;	  /* [atomic: relaxed] of the thread's */
	uint32_t tid;		  /* [lock: registry] 0: nobody's */
	uint32_t seen;		  /* [lock: registry] `sent` at the last look for what waits long */
	struct buffer *following; /* [const] in the registry, which only grows */
	struct gyre_record records[RECORDS] GY_ALIGNED(64);
};

static struct {
	struct gy_lock lock;
	struct buffer *first; /* [lock] */
	uint32_t begun;	      /* [lock; atomic: relaxed] buffers are in use */
	uint64_t recorded, dropped, shipped, buffers; /* [atomic: relaxed] */
} registry = {.lock = GY_LOCK_INIT(GY_RANK_events)};

/* PLAIN: ticks are the counter's, no stacks, and the process is not about to end. */
enum recording { OFF, PLAIN, OTHER };

static struct {
	uint32_t recording; /* enum recording [atomic] RING-7 */
	uint32_t deserted;  /* [atomic: relaxed] when recording stopped, nobody was listening */
	uint32_t exiting;   /* [atomic: relaxed] the library's destructor has run */
} events GY_ALIGNED(64);

static __thread GY_TLS_INITIAL_EXEC struct {
	struct buffer *buffer;
	uint64_t next, dropped; /* of the thread, while it has no buffer */
	uint32_t inside;	/* in the registry: a handler must not wait for its lock */
	bool ended;
} self;

static pthread_key_t end_key;
static bool end_key_made;

/* RING-1 */
GY_INLINE uint32_t claim(uint32_t *counter)
{
#if defined(__x86_64__) && !GY_TSAN
	uint32_t value = 1;

	__asm__ volatile("xaddl %0, %1" : "+r"(value), "+m"(*counter) : : "memory", "cc");
	return value;
#else
	return __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
#endif
}

/* CHECK=full: now and then a thread stands still here, for others and for signals to come by. */
GY_INLINE void step(void)
{
	static GY_TLS_INITIAL_EXEC __thread uint32_t steps;

	if (GYRE_CHECK_FULL && (steps = steps * 1664525u + 1013904223u) >> 22 == 0)
		gy_sys_yield();
}

/* An atomic read: the kernel writes it. */
#define IS_UP(name) (GYRE_PROBES && READ_RELAXED(gyre_##name##_semaphore) != 0)

static void count_dropped(struct buffer *buffer, uint64_t count)
{
	ADD_RELAXED(registry.dropped, count);
	ADD_RELAXED(buffer->dropped, count);
}

/* ------------------------------------------------------------------ shipping */

/* A row of records that does not wrap. [lock: buffer] */
static void tell(struct buffer *buffer, const struct gyre_record *records, uint32_t count,
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
static void ship_locked(struct buffer *buffer, enum ship_reason reason, bool told)
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
		step();
		__atomic_store_n(&buffer->sent, sent, __ATOMIC_RELEASE);
	}
}

static void ship(struct buffer *buffer, enum ship_reason reason, bool told)
{
	gy_lock_acquire(&buffer->lock);
	ship_locked(buffer, reason, told);
	gy_lock_release(&buffer->lock);
}

/* RING-8: at the end of the half that the next record goes to. */
static void due_later(struct buffer *buffer)
{
	WRITE_RELAXED(buffer->due, (READ_RELAXED(buffer->claimed) / HALF + 1) * HALF);
}

/* The outermost append's, of the thread's own buffer (RING-4). */
static void ship_own(struct buffer *buffer)
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
	for (struct buffer *buffer = registry.first; buffer; buffer = buffer->following) {
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

GY_INLINE void append_begin(struct buffer *buffer)
{
	WRITE_RELAXED(buffer->depth, buffer->depth + 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* RING-6: handlers came between. */
static GY_NOINLINE void order_ticks(struct buffer *buffer, uint32_t from, uint32_t to)
{
	for (uint32_t at = from + 1; at != to; at++) {
		const struct gyre_record *before = &buffer->records[(at - 1) % RECORDS];
		struct gyre_record *record = &buffer->records[at % RECORDS];

		record->ticks = MAX(record->ticks, before->ticks);
	}
}

GY_INLINE bool is_due(const struct buffer *buffer, uint32_t claimed)
{
	return (int32_t)(claimed - READ_RELAXED(buffer->due)) >= 0 ||
	       unlikely(READ_RELAXED(events.exiting));
}

/* RING-2, of the outermost append. */
static GY_NOINLINE void publish(struct buffer *buffer)
{
	for (;;) {
		uint32_t claimed = READ_RELAXED(buffer->claimed), committed = buffer->committed;

		if (claimed - committed > 1)
			order_ticks(buffer, committed, claimed);
		__atomic_store_n(&buffer->committed, claimed, __ATOMIC_RELEASE);
		step();
		if (is_due(buffer, claimed))
			ship_own(buffer);
		__atomic_store_n(&buffer->depth, 0, __ATOMIC_RELEASE);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		step();
		if (likely(READ_RELAXED(buffer->claimed) == buffer->committed))
			return;
		append_begin(buffer);
	}
}

static void append_end(struct buffer *buffer)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(buffer->depth != 1))
		WRITE_RELAXED(buffer->depth, buffer->depth - 1);
	else
		publish(buffer);
}

/* Room for one more record and one for each append that this one interrupted: RING-5. */
static bool has_room(struct buffer *buffer)
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

GY_INLINE void fill(struct buffer *buffer, uint32_t at, uint64_t ticks, uint64_t where,
		    uint32_t bytes, uint32_t stack)
{
	buffer->records[at % RECORDS] = (struct gyre_record){
		.ticks = ticks, .where = where, .bytes = bytes, .stack = stack};
}

/* In full: perhaps inside another, with whatever clock. */
static void append(struct buffer *buffer, uint64_t where, uint32_t bytes, uint32_t stack)
{
	uint64_t ticks;

	append_begin(buffer);
	ticks = gy_ticks(); /* RING-6 */
	if (likely(__atomic_load_n(&events.recording, __ATOMIC_ACQUIRE) != OFF) && /* RING-7 */
	    likely(has_room(buffer)))
		fill(buffer, claim(&buffer->claimed), ticks, where, bytes, stack);
	append_end(buffer);
}

/* ------------------------------------------------------------------ buffers of threads */

/* Who is there counts as inside an append of its own (RING-4); not who waits for the lock: its
 * holder may be waiting for appends. */
static void registry_enter(void)
{
	self.inside++;
	gy_lock_acquire(&registry.lock);
	if (self.buffer)
		append_begin(self.buffer);
}

static void registry_leave(void)
{
	gy_lock_release(&registry.lock);
	if (self.buffer)
		append_end(self.buffer);
	self.inside--;
}

/* [lock: registry] */
static struct buffer *buffer_make_locked(void)
{
	struct buffer *buffer = gy_metadata_take(sizeof(*buffer));

	if (!buffer)
		return NULL;
	gy_lock_init(&buffer->lock, GY_RANK_event_buffer);
	buffer->following = registry.first;
	registry.first = buffer;
	ADD_RELAXED(registry.buffers, 1u);
	return buffer;
}

/* For this thread, not yet in its hand; NULL: memory lacks. */
static struct buffer *buffer_take(void)
{
	struct buffer *buffer;

	registry_enter();
	for (buffer = registry.first; buffer && buffer->tid; buffer = buffer->following)
		;
	if (!buffer)
		buffer = buffer_make_locked();
	if (buffer) {
		buffer->tid = (uint32_t)gy_sys_gettid();
		buffer->next = self.next;
		due_later(buffer);
		WRITE_RELAXED(buffer->dropped, self.dropped);
	}
	registry_leave();
	return buffer;
}

/* The thread has it no more in its hand; what waits in it is shipped. */
static void buffer_give(struct buffer *buffer)
{
	registry_enter();
	ship(buffer, SHIP_THREAD_EXIT, true);
	self.next = buffer->next;
	self.dropped = READ_RELAXED(buffer->dropped);
	buffer->tid = 0;
	registry_leave();
}

/* Handlers that come from here on until the end find no buffer, and may not wait for one. */
static void thread_end(void *value)
{
	self.inside++;
	self.ended = true;
	self.buffer = NULL;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	buffer_give(value);
	self.inside--;
}

/* A thread's first record, or one behind its end. */
static GY_NOINLINE void record_first(uint64_t where, uint32_t bytes, uint32_t stack)
{
	struct buffer *buffer = NULL;

	if (!self.inside && READ_RELAXED(events.recording)) {
		self.inside++;
		buffer = buffer_take();
		if (!self.ended)
			self.buffer = buffer;
		self.inside--;
	}
	if (!buffer) {
		ADD_RELAXED(registry.dropped, 1u);
		return;
	}
	append(buffer, where, bytes, stack);
	if (self.ended)
		buffer_give(buffer);
	else if (end_key_made)
		pthread_setspecific(end_key, buffer); /* may allocate */
}

/* The switch is down; the carrier too, where a tracer was killed. */
static GY_NOINLINE void stop(void)
{
	if (!IS_UP(events))
		WRITE_RELAXED(events.deserted, 1);
	WRITE_RELAXED(events.recording, OFF);
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
	else if (likely(self.buffer))
		append(self.buffer, where, size, stack);
	else
		record_first(where, size, stack);
	errno = saved;
}

/* As append() does it, where nothing is special: calls nothing, but at its end. */
void gy_events_record(unsigned operation, unsigned class_index, const void *address, size_t bytes,
		      uintptr_t caller_pc)
{
	uint64_t where = (uint64_t)operation << 56 | (uint64_t)class_index << 48 |
			 GYRE_RECORD_ADDRESS((uintptr_t)address);
	struct buffer *buffer = self.buffer;
	uint64_t ticks;
	uint32_t at;

	if (unlikely(!IS_UP(events_on)) || unlikely(!buffer) || unlikely(buffer->depth) ||
	    unlikely(bytes >= GYRE_RECORD_PAGES)) { /* RING-8 holds */
		record_other(where, bytes, caller_pc);
		return;
	}
	WRITE_RELAXED(buffer->depth, 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	step();
	if (unlikely(__atomic_load_n(&events.recording, __ATOMIC_ACQUIRE) != PLAIN)) { /* RING-7 */
		publish(buffer);
		record_other(where, bytes, caller_pc);
		return;
	}
	ticks = gy_ticks_counter();
	step();
	at = claim(&buffer->claimed);
	step();
	fill(buffer, at, ticks, where, (uint32_t)bytes, 0);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	step();
	if (unlikely(buffer->committed != at) ||
	    unlikely((int32_t)(at + 1 - READ_RELAXED(buffer->due)) >= 0)) {
		publish(buffer);
		return;
	}
	__atomic_store_n(&buffer->committed, at + 1, __ATOMIC_RELEASE);
	step();
	__atomic_store_n(&buffer->depth, 0, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	step();
	if (unlikely(READ_RELAXED(buffer->claimed) != at + 1)) {
		append_begin(buffer);
		publish(buffer);
	}
}

/* ------------------------------------------------------------------ begin and end */

static uint32_t kind_of_recording(void)
{
	gy_ticks(); /* finds out */
	if (READ_RELAXED(gy_ticks_kind) != GY_TICKS_COUNTER || IS_UP(events_stacks) ||
	    READ_RELAXED(events.exiting))
		return OTHER;
	return PLAIN;
}

/* What an earlier tracer left behind is nobody's. [lock: registry] */
static void begin_locked(void)
{
	ship_all_locked(SHIP_END, false, false);
	WRITE_RELAXED(events.deserted, 0);
	WRITE_RELAXED(registry.begun, 1);
	__atomic_store_n(&events.recording, kind_of_recording(), __ATOMIC_RELEASE);
	gy_gate_close();
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void nap(long ns)
{
	static uint32_t never;
	struct timespec time = {.tv_nsec = ns};

	gy_sys_futex_wait(&never, 0, &time, false);
}

/* RING-7: every thread has seen events.recording, or is in an append that its buffer shows. */
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
	unsigned naps = 0;

	for (const struct buffer *buffer = registry.first; buffer; buffer = buffer->following) {
		for (unsigned spins = 0; buffer != self.buffer && naps < WAIT_NAPS; spins++) {
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
	__atomic_store_n(&events.recording, OFF, __ATOMIC_RELEASE);
	gy_gate_open();
	let_all_see();
	wait_for_appends_locked();
	ship_all_locked(SHIP_END, false, !READ_RELAXED(events.deserted));
	WRITE_RELAXED(registry.begun, 0);
}

static void go_on_locked(enum ship_reason reason, bool waited)
{
	uint32_t recording = READ_RELAXED(events.recording);

	/* Not where a thread has just said that it is over. */
	if (recording != OFF)
		__atomic_compare_exchange_n(&events.recording, &recording, kind_of_recording(),
					    false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	ship_all_locked(reason, waited, true);
}

bool gy_events_need_follow(void)
{
	return gy_option(GY_OPT_events) && (IS_UP(events_on) || READ_RELAXED(registry.begun));
}

bool gy_events_follow(bool asked)
{
	bool recording;

	if (!gy_events_need_follow() || self.inside)
		return false;
	registry_enter();
	if (IS_UP(events_stacks))
		gy_stacks_make();
	if (registry.begun && !(IS_UP(events_on) && READ_RELAXED(events.recording)))
		end_locked();
	if (IS_UP(events_on) && !registry.begun)
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
		.recording = READ_RELAXED(registry.begun) && READ_RELAXED(events.recording),
		.dropped = READ_RELAXED(registry.dropped),
		.shipped = READ_RELAXED(registry.shipped),
		.buffers = READ_RELAXED(registry.buffers)};
	if (self.inside)
		return;
	registry_enter();
	for (const struct buffer *buffer = registry.first; buffer; buffer = buffer->following)
		stats->waiting += READ_RELAXED(buffer->committed) - READ_RELAXED(buffer->sent);
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
	if (!READ_RELAXED(registry.begun) || self.inside)
		return;
	WRITE_RELAXED(events.exiting, 1);
	registry_enter();
	go_on_locked(SHIP_PROCESS_EXIT, false);
	registry_leave();
}

void gy_events_fork_prepare(void)
{
	registry_enter();
	if (self.buffer)
		ship(self.buffer, SHIP_FORK, true);
}

void gy_events_fork_parent(void)
{
	registry_leave();
}

/* The threads of the other buffers are not here, and neither is a tracer, unless it says so. */
static void forget_locked(struct buffer *buffer)
{
	gy_lock_init(&buffer->lock, GY_RANK_event_buffer);
	buffer->claimed = buffer->committed = buffer->sent = buffer->seen = buffer->full = 0;
	due_later(buffer);
	buffer->overrun = buffer->next = buffer->dropped = 0;
	buffer->tid = buffer == self.buffer ? (uint32_t)gy_sys_gettid() : 0;
	if (buffer != self.buffer)
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
}

void gy_events_fork_child(void)
{
	for (struct buffer *buffer = registry.first; buffer; buffer = buffer->following)
		forget_locked(buffer);
	registry.begun = 0;
	registry.recorded = registry.dropped = registry.shipped = 0;
	events.recording = OFF;
	self.next = self.dropped = 0;
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
	for (struct buffer *buffer = registry.first; buffer; buffer = buffer->following) {
		gy_lock_acquire(&buffer->lock);
		CHECK(READ_RELAXED(buffer->committed) - buffer->sent <= RECORDS); /* RING-3 */
		gy_lock_release(&buffer->lock);
	}
	registry_leave();
}
