/* channel.h - a queue of elements between threads, as channel.c and select.c share it.
 *
 * CHAN-1  Of the three, elements in the buffer, receivers that wait and senders that wait: if a
 *         receiver waits, the buffer is empty; if a sender waits, it is full; not both wait, but on
 *         behalf of selects that have been served elsewhere. [lock]
 * CHAN-2  Who finds the other side waiting serves it: copies the element from or to where that
 *         thread has it, which does not move until it is woken. Elements keep their order: a
 *         receiver that finds a sender waiting at a full buffer takes the first of the buffer, and
 *         puts the sender's at its end.
 * CHAN-3  One thread's wait may stand in several queues (select). It is served once: by whoever
 *         changes `served` from 0, under the lock of the channel where it found it. Places in the
 *         other queues are passed over until their thread takes them out.
 * CHAN-4  A wait that was served is woken, exactly once, by whoever served it. Its thread does not
 *         return before; one whose time is up serves itself by the same change of `served`.
 * CHAN-5  closed goes from false to true once; then nobody waits, and nothing is added.
 * CHAN-8  Who waits is served first come, first served; but for the last who came to an unbuffered
 *         channel, if it still looks: it may go before those who came earlier, and sleep. The first
 *         is passed so at most GY_CHAN_PASSES_MOST times in a row.
 * CHAN-7  A thread whose wait was served does not touch the channel that served it any more: what
 *         it waited for is done, and whoever did it, or has learnt of it, may free the channel.
 * CHAN-6  Elements of a traced channel are stored with the collector's barrier wherever they go,
 *         and taken out of the buffer with it; so the buffer may be scanned at any time. Those that
 *         a waiting thread has lie on its stack or where its stack leads.
 */
#ifndef GY_SYNC_CHANNEL_H
#define GY_SYNC_CHANNEL_H

#include "sync/seal.h"
#include "sync/wait.h"

#include <gyre/gc.h>
#include <string.h>

/* A thread's wait. On its stack. */
struct gy_chan_wait {
	struct gy_waiter waiter; /* state and token only: it is on no queue of wait.h's */
	uint32_t served;	 /* [atomic] CHAN-3: 0, or index + 1 of the place that was served */
	bool looks;		 /* [const] first: whoever serves it learns from that */
};

enum { GY_CHAN_DONE, GY_CHAN_CLOSED }; /* tokens */

#define GY_CHAN_GAVE_UP UINT32_MAX /* served */

/* Its place in a channel's queue. */
struct gy_chan_place {
	struct gy_chan_place *next, *prev; /* [lock] */
	struct gy_chan_wait *wait;
	void *element;
	uint32_t index;		/* of the case */
	uint32_t element_bytes; /* the channel's */
	bool queued;		/* [lock] */
};

#define GY_CHAN_PASSES_MOST 32u

struct gy_chan_queue { /* [lock] */
	struct gy_chan_place *first, *last;
	uint32_t passes; /* of the first, by the last: CHAN-8 */
};

/* How long to look before a sleep, by what it has been worth lately. Zero is a fresh one. */
struct gy_chan_patience { /* [atomic: relaxed]; a race costs a bit of what was learnt */
	uint8_t vain;	  /* looks in a row that were */
	uint8_t waits;	  /* counts on */
};

struct gyre_chan {
	struct gy_lock lock;
	uint32_t element_bytes; /* [const] */
	uint32_t capacity;	/* [const] */
	bool traced, collected; /* [const] */
	bool closed;		/* [lock; also read without] CHAN-5 */
	struct gy_chan_patience patience;
	uint32_t count;		/* [lock; also read without] elements in the buffer */
	uint32_t read_at, write_at; /* [lock] */
	struct gy_chan_queue receivers, senders;
	struct gyre_handle *handle; /* [const] holds a traced one that is not collected */
	char buffer[] GY_ALIGNED(16);
};

/* To a place anywhere: CHAN-6. */
GY_INLINE void gy_chan_copy(const struct gyre_chan *chan, void *to, const void *from)
{
	size_t bytes = chan->element_bytes;

	if (chan->traced) {
		for (size_t i = 0; i < bytes / 8; i++)
			gyre_store_((void **)to + i, ((void *const *)from)[i]);
	} else if (likely(bytes == 8)) {
		memcpy(to, from, 8);
	} else {
		memcpy(to, from, bytes);
	}
}

GY_INLINE void gy_chan_zero(const struct gyre_chan *chan, void *to)
{
	if (chan->traced)
		for (size_t i = 0; i < chan->element_bytes / 8; i++)
			gyre_store_((void **)to + i, NULL);
	else
		memset(to, 0, chan->element_bytes);
}

/* Before any lock is taken: a store with the barrier may need the thread's record. */
void gy_chan_prepare_slow(void);
extern __thread struct gy_gc_thread *gy_gc_self GY_TLS_INITIAL_EXEC GY_HIDDEN;

GY_INLINE void gy_chan_prepare(const struct gyre_chan *chan)
{
	if (unlikely(chan->traced && !gy_gc_self))
		gy_chan_prepare_slow();
}

/* Who finds the lock held steps back, twice as far each time: meanwhile the other side does several
 * operations in a row with the channel in its own cache, instead of one. */
void gy_chan_lock_slow(struct gyre_chan *chan);

GY_INLINE void gy_chan_lock(struct gyre_chan *chan)
{
	if (unlikely(!gy_lock_try(&chan->lock)))
		gy_chan_lock_slow(chan);
}

GY_INLINE void gy_chan_unlock(struct gyre_chan *chan)
{
	gy_lock_release_quick(&chan->lock);
}

/* [lock] all of these. */
void gy_chan_enqueue(struct gy_chan_queue *queue, struct gy_chan_place *place);
void gy_chan_dequeue(struct gy_chan_queue *queue, struct gy_chan_place *place);
/* Whom to wake once the lock is let go, and how. */
struct gy_chan_wake {
	struct gy_waiter *waiter; /* NULL: nobody */
	uint32_t token;
};
/* One step of the protocol: 0; -EAGAIN: it would have to wait; -EPIPE: closed. A send on a closed
 * channel lets the lock go, and does not return. */
int gy_chan_send_locked(struct gyre_chan *chan, const void *element, struct gy_chan_wake *wake);
int gy_chan_recv_locked(struct gyre_chan *chan, void *element, struct gy_chan_wake *wake);

unsigned gy_chan_look_shift(struct gy_chan_patience *patience);
void gy_chan_learn(struct gy_chan_patience *patience, bool worth);

__attribute__((noreturn)) void gy_chan_sent_on_closed(const struct gyre_chan *chan);

enum { GY_CHAN_BUFFERED, GY_CHAN_MET, GY_CHAN_WAITED }; /* how, as the probes tell it */

void gy_chan_tell_sent(const struct gyre_chan *chan, uint32_t element_bytes, unsigned how);
void gy_chan_tell_received(const struct gyre_chan *chan, uint32_t element_bytes, unsigned how);

#endif
