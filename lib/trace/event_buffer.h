/* event_buffer.h - a thread's buffer of records, and the append of one where nothing is special.
 *
 * events.h says what a buffer is and which rules (RING-n) hold for it. Here is what the general
 * way (events.c) and the recorded malloc and free (recorded.c) both need: its layout, and the
 * append itself, inline: it calls nothing, and whatever is not plain it leaves to events.c.
 */
#ifndef GY_TRACE_EVENT_BUFFER_H
#define GY_TRACE_EVENT_BUFFER_H

#include "base/probe.h"
#include "os/lock.h"
#include "os/sys.h"
#include "trace/events.h"
#include "trace/ticks.h"

#pragma GCC visibility push(hidden)

#define RECORDS GY_EVENT_RECORDS
#define HALF GYRE_BATCH_RECORDS
#define SHARED GYRE_RECORD_SHARED
#define QUICK_HZ 250000 /* so many rows of SHARED records a second, and more, are quick */

struct gy_event_buffer {
	uint32_t claimed;   /* [self] RING-1 */
	uint32_t committed; /* [self; atomic: release] RING-2 */
	uint32_t depth;     /* [self; atomic: release] appends under way in this thread */
	uint32_t sent;      /* [lock; atomic: release] RING-4 */
	uint32_t due;       /* [self] RING-8 */
	uint32_t full;      /* [self] RING-5 */
	uint32_t sharing;   /* [self] SHARED - 1 or 0: RING-10 */
	struct gy_lock lock; /* of those who ship */
	uint64_t overrun;   /* [self; atomic: relaxed] dropped since it was found full */
	uint64_t next;      /* [lock] number of the record at `sent` among the thread's */
	uint64_t dropped;   /* [atomic: relaxed] of the thread's */
	uint32_t tid;       /* [lock: registry] 0: nobody's */
	uint32_t seen;      /* [lock: registry] `sent` at the last look for what waits long */
	struct gy_event_buffer *following; /* [const] in the registry, which only grows */
	struct gyre_record records[RECORDS] GY_ALIGNED(64);
};

/* PLAIN: ticks are the counter's, no stacks, and the process is not about to end. */
enum gy_recording { OFF, PLAIN, OTHER };

extern struct gy_events_state {
	uint32_t recording; /* enum gy_recording [atomic] RING-7 */
	uint32_t sharing;   /* [atomic: relaxed] SHARED - 1, or 0: each record has its own ticks */
	uint64_t quick_ticks; /* [atomic: relaxed] RING-10 */
	uint32_t deserted;  /* [atomic: relaxed] when recording stopped, nobody was listening */
	uint32_t exiting;   /* [atomic: relaxed] the library's destructor has run */
} gy_events_state GY_ALIGNED(64);

extern __thread struct gy_events_self {
	struct gy_event_buffer *buffer;
	uint64_t next, dropped; /* of the thread, while it has no buffer */
	uint32_t inside;	/* in the registry: a handler must not wait for its lock */
	bool ended;
} gy_events_self GY_TLS_INITIAL_EXEC;

/* An atomic read: the kernel writes it. */
#define IS_UP(name) (GYRE_PROBES && READ_RELAXED(gyre_##name##_semaphore) != 0)

/* RING-1 */
GY_INLINE uint32_t gy_event_claim(uint32_t *counter)
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
GY_INLINE void gy_event_step(void)
{
	static GY_TLS_INITIAL_EXEC __thread uint32_t steps;

	if (GYRE_CHECK_FULL && (steps = steps * 1664525u + 1013904223u) >> 22 == 0)
		gy_sys_yield();
}

GY_INLINE uint64_t gy_event_where(unsigned operation, unsigned class_index, const void *address)
{
	return ((uint64_t)(operation << 8 | class_index) << 48) + (uintptr_t)address;
}

GY_INLINE void gy_event_begin(struct gy_event_buffer *buffer)
{
	WRITE_RELAXED(buffer->depth, buffer->depth + 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

GY_INLINE void gy_event_fill(struct gy_event_buffer *buffer, uint32_t at, uint64_t ticks,
			     uint64_t where, uint32_t bytes, uint32_t stack)
{
	buffer->records[at % RECORDS] = (struct gyre_record){
		.ticks = ticks, .where = where, .bytes = bytes, .stack = stack};
}

/* RING-10: is the thread quick? Its record `at` begins a row of records, and happens at `ticks`. */
GY_INLINE uint32_t gy_event_quickness(const struct gy_event_buffer *buffer, uint32_t at,
				      uint64_t ticks)
{
	if (unlikely(at - READ_RELAXED(buffer->sent) < SHARED))
		return at % HALF ? 0 : buffer->sharing; /* an idle thread's was shipped for it */
	return ticks - buffer->records[(at - SHARED) % RECORDS].ticks <
			       READ_RELAXED(gy_events_state.quick_ticks)
		       ? SHARED - 1
		       : 0;
}

/* The ticks of a record that is not yet claimed, in the outermost append, by the counter. */
GY_INLINE uint64_t gy_event_ticks(struct gy_event_buffer *buffer)
{
	uint32_t at = READ_RELAXED(buffer->claimed);
	uint64_t ticks;

	if (likely(at & buffer->sharing & READ_RELAXED(gy_events_state.sharing)) &&
	    likely(at != READ_RELAXED(buffer->sent)))
		return buffer->records[(at - 1) % RECORDS].ticks;
	ticks = gy_ticks_counter();
	if (at % SHARED == 0)
		buffer->sharing = gy_event_quickness(buffer, at, ticks);
	return ticks;
}

/* How far the plain append came. */
enum gy_append {
	APPEND_DONE,
	APPEND_PUBLISH, /* the record is in its slot; the append is to be ended */
	APPEND_LEAVE,   /* not recorded, and the append is to be ended */
	APPEND_OTHER    /* nothing was done */
};

/* The first half: APPEND_DONE means that the thread is inside an append, and there is room (RING-8)
 * for a record of this moment. */
GY_INLINE enum gy_append gy_event_open(struct gy_event_buffer *buffer, uint64_t *ticks)
{
	if (unlikely(!IS_UP(events_on)) || unlikely(!buffer) || unlikely(buffer->depth))
		return APPEND_OTHER;
	WRITE_RELAXED(buffer->depth, 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	gy_event_step();
	if (unlikely(__atomic_load_n(&gy_events_state.recording, __ATOMIC_ACQUIRE) != PLAIN))
		return APPEND_LEAVE; /* RING-7 */
	*ticks = gy_event_ticks(buffer); /* RING-6 */
	gy_event_step();
	return APPEND_DONE;
}

/* The second half. */
GY_INLINE enum gy_append gy_event_close(struct gy_event_buffer *buffer, uint64_t ticks,
					uint64_t where, uint32_t bytes)
{
	uint32_t at = gy_event_claim(&buffer->claimed);

	gy_event_step();
	gy_event_fill(buffer, at, ticks, where, bytes, 0);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	gy_event_step();
	if (unlikely(buffer->committed != at) ||
	    unlikely((int32_t)(at + 1 - READ_RELAXED(buffer->due)) >= 0))
		return APPEND_PUBLISH;
	__atomic_store_n(&buffer->committed, at + 1, __ATOMIC_RELEASE);
	gy_event_step();
	__atomic_store_n(&buffer->depth, 0, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	gy_event_step();
	if (likely(READ_RELAXED(buffer->claimed) == at + 1))
		return APPEND_DONE;
	gy_event_begin(buffer);
	return APPEND_PUBLISH;
}

/* What is left to do if either half is not done. Returns `block`. Keeps errno. */
void *gy_event_append_rest(enum gy_append how, void *block, uint64_t where, uint64_t bytes,
			   uintptr_t caller_pc);
/* What was opened is not closed: nothing is recorded. */
void gy_event_leave(void);

#pragma GCC visibility pop

#endif
