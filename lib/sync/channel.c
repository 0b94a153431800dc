/* channel.c - send, receive, close: each is one step under the channel's lock, or a wait for one.
 *
 *	send	a receiver waits: copy to where it wants the element, wake it	(CHAN-2)
 *		room in the buffer: copy there
 *		else enqueue, let go of the lock, sleep; a receiver takes the element from here
 *	recv	the same, seen from the other side
 *	close	everybody who waits is woken; receivers with nothing, senders to their end
 *
 * One lock for each channel, held for some ten instructions and the copy. Before it waits, a thread
 * looks for a while whether the buffer's count changes, without the lock and without a place in a
 * queue: the other side then fills or empties the buffer undisturbed, and needs to wake nobody. How
 * long that is worth is learnt (`patience`): a channel whose other side comes once a millisecond is
 * not looked at in vain for long. Who has a place in the queue is served before all who look.
 *
 * A channel lies in the malloc'd heap, or is an object of the collector's, held by a handle or by
 * the program (channel.h, CHAN-6).
 *
 * The protocol is modelled in tests/model/channel.pml. Source: Go's runtime/chan.go.
 */
#include "sync/channel.h"

#include "base/probe.h"
#include "gc/finalise.h"
#include "gc/thread.h"
#include "heap/heap.h"
#include "os/sys.h"

#include <errno.h>

#define ELEMENT_BYTES_MAX 65536u
#define BYTES_MAX ((size_t)1 << 30)
#define VAIN_MOST 8u
#define VAIN_WHOLE 4u /* up to here the look is a whole one */
#define LOOK_EVERY 16u
#define BACK_FIRST 8u
#define BACK_MOST 64u
#define CALLER() ((uintptr_t)__builtin_return_address(0))

void gy_chan_lock_slow(struct gyre_chan *chan)
{
	for (unsigned pauses = BACK_FIRST; pauses <= BACK_MOST; pauses *= 2) {
		for (unsigned i = 0; i < pauses; i++)
			gy_pause();
		if (!gy_lock_is_held(&chan->lock) && gy_lock_try(&chan->lock))
			return;
	}
	gy_lock_acquire(&chan->lock);
}

/* ---- queues ---- */

void gy_chan_enqueue(struct gy_chan_queue *queue, struct gy_chan_place *place)
{
	place->next = NULL;
	place->prev = queue->last;
	if (queue->last)
		queue->last->next = place;
	else
		WRITE_RELAXED(queue->first, place);
	queue->last = place;
	place->queued = true;
}

void gy_chan_dequeue(struct gy_chan_queue *queue, struct gy_chan_place *place)
{
	if (place->prev)
		place->prev->next = place->next;
	else
		WRITE_RELAXED(queue->first, place->next);
	if (place->next)
		place->next->prev = place->prev;
	else
		queue->last = place->prev;
	place->queued = false;
}

/* The first that is not served yet, now served by the caller; NULL: none. */
static struct gy_chan_place *take_waiting(struct gy_chan_queue *queue)
{
	struct gy_chan_place *place;

	while ((place = queue->first)) {
		uint32_t unserved = 0;

		gy_chan_dequeue(queue, place);
		if (__atomic_compare_exchange_n(&place->wait->served, &unserved, place->index + 1,
						false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return place; /* CHAN-3 */
	}
	return NULL;
}

static bool still_looks(const struct gy_chan_place *place)
{
	return place->wait->looks &&
	       READ_RELAXED(place->wait->waiter.state) == GY_WAITER_LOOKS;
}

/* The last, served by the caller, if it may go before the first; else NULL. CHAN-8: it has a
 * processor, so it is served at once and comes again soon. To wake the first costs a system call
 * and two switches between threads, which is ten times a meeting; this way the price is paid for
 * one element in GY_CHAN_PASSES_MOST. */
static struct gy_chan_place *take_last(struct gy_chan_queue *queue)
{
	struct gy_chan_place *place = queue->last;
	uint32_t unserved = 0;

	if (place == queue->first || queue->passes >= GY_CHAN_PASSES_MOST || !still_looks(place) ||
	    !__atomic_compare_exchange_n(&place->wait->served, &unserved, place->index + 1, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return NULL;
	gy_chan_dequeue(queue, place);
	queue->passes++;
	return place;
}

/* One to be served with an element; NULL: none. It cannot learn itself what its look was worth:
 * CHAN-7. */
static struct gy_chan_place *take_meeting(struct gyre_chan *chan, struct gy_chan_queue *queue)
{
	struct gy_chan_place *place = take_last(queue);

	if (!place) {
		queue->passes = 0;
		place = take_waiting(queue);
	}
	if (place && place->wait->looks)
		gy_chan_learn(&chan->patience, still_looks(place));
	return place;
}

/* ---- one step ---- */

static char *slot_at(struct gyre_chan *chan, uint32_t *at)
{
	char *slot = chan->buffer + (size_t)*at * chan->element_bytes;

	*at = *at + 1 == chan->capacity ? 0 : *at + 1;
	return slot;
}

void gy_chan_sent_on_closed(const struct gyre_chan *chan)
{
	gy_sync_misuse("send on a closed channel", chan);
}

void gy_chan_tell_sent(const struct gyre_chan *chan, uint32_t element_bytes, unsigned how)
{
	GY_PROBE3(chan_send, (uintptr_t)chan, element_bytes, how);
}

void gy_chan_tell_received(const struct gyre_chan *chan, uint32_t element_bytes, unsigned how)
{
	GY_PROBE3(chan_recv, (uintptr_t)chan, element_bytes, how);
}

int gy_chan_send_locked(struct gyre_chan *chan, const void *element, struct gy_chan_wake *wake)
{
	struct gy_chan_place *receiver;

	if (unlikely(chan->closed)) {
		gy_chan_unlock(chan);
		gy_chan_sent_on_closed(chan);
	}
	receiver = chan->receivers.first ? take_meeting(chan, &chan->receivers) : NULL;
	if (receiver) {
		INVARIANT(CHAN-1, chan->count == 0);
		if (receiver->element)
			gy_chan_copy(chan, receiver->element, element);
		wake->waiter = &receiver->wait->waiter;
		wake->token = GY_CHAN_DONE;
		if (GY_PROBE_ENABLED(chan_send))
			gy_chan_tell_sent(chan, chan->element_bytes, GY_CHAN_MET);
		return 0;
	}
	if (chan->count == chan->capacity)
		return -EAGAIN;
	gy_chan_copy(chan, slot_at(chan, &chan->write_at), element);
	WRITE_RELAXED(chan->count, chan->count + 1);
	if (GY_PROBE_ENABLED(chan_send))
		gy_chan_tell_sent(chan, chan->element_bytes, GY_CHAN_BUFFERED);
	return 0;
}

/* The first element of the buffer. */
static void take_buffered(struct gyre_chan *chan, void *element)
{
	char *slot = slot_at(chan, &chan->read_at);

	if (element)
		gy_chan_copy(chan, element, slot);
	if (chan->traced)
		gy_chan_zero(chan, slot);
}

int gy_chan_recv_locked(struct gyre_chan *chan, void *element, struct gy_chan_wake *wake)
{
	struct gy_chan_place *sender =
		chan->senders.first ? take_meeting(chan, &chan->senders) : NULL;

	if (sender) {
		INVARIANT(CHAN-1, chan->count == chan->capacity);
		if (!chan->capacity) {
			if (element)
				gy_chan_copy(chan, element, sender->element);
		} else { /* CHAN-2 */
			take_buffered(chan, element);
			gy_chan_copy(chan, slot_at(chan, &chan->write_at), sender->element);
		}
		wake->waiter = &sender->wait->waiter;
		wake->token = GY_CHAN_DONE;
	} else if (chan->count) {
		take_buffered(chan, element);
		WRITE_RELAXED(chan->count, chan->count - 1);
	} else if (chan->closed) {
		if (element)
			gy_chan_zero(chan, element);
		return -EPIPE;
	} else {
		return -EAGAIN;
	}
	if (GY_PROBE_ENABLED(chan_recv))
		gy_chan_tell_received(chan, chan->element_bytes,
				      sender ? GY_CHAN_MET : GY_CHAN_BUFFERED);
	return 0;
}

/* ---- send and receive ---- */

/* Tells, while somebody listens, how long a wait was. */
static uint64_t block_begin(void)
{
	return GY_PROBE_ENABLED(chan_block) ? gy_now_ns() : 0;
}

static void block_end(const struct gyre_chan *chan, enum gyre_direction direction, uint64_t begin)
{
	if (GY_PROBE_ENABLED(chan_block))
		GY_PROBE3(chan_block, (uintptr_t)chan, direction, begin ? gy_now_ns() - begin : 0);
}

/* Could the operation be done, as far as can be seen without the lock? */
static bool may_go(const struct gyre_chan *chan, enum gyre_direction direction)
{
	uint32_t count = READ_RELAXED(chan->count);

	if (READ_RELAXED(chan->closed))
		return true;
	return direction == GYRE_SEND
		       ? count < chan->capacity || READ_RELAXED(chan->receivers.first)
		       : count > 0 || READ_RELAXED(chan->senders.first);
}

/* After some waits in a row that were long, looks are shorter; but each 16th is a whole one.
 * Without it two threads that meet again and again, and both sleep in between, would not find out
 * that they need not: each waits for as long as the other takes to wake. */
unsigned gy_chan_look_shift(struct gy_chan_patience *patience)
{
	uint8_t waits = (uint8_t)(READ_RELAXED(patience->waits) + 1);
	uint8_t vain = READ_RELAXED(patience->vain);

	WRITE_RELAXED(patience->waits, waits);
	return waits % 16 && vain > VAIN_WHOLE ? 2 * (vain - VAIN_WHOLE) : 0;
}

void gy_chan_learn(struct gy_chan_patience *patience, bool worth)
{
	uint8_t vain = READ_RELAXED(patience->vain);

	if (worth && vain)
		WRITE_RELAXED(patience->vain, 0);
	else if (!worth && vain < VAIN_MOST)
		WRITE_RELAXED(patience->vain, (uint8_t)(vain + 1));
}

/* Looks for room, or an element, without a place in the queue. Not too often: each look takes the
 * channel's line from the other side, which could have done several steps instead. */
static void look(struct gyre_chan *chan, enum gyre_direction direction)
{
	struct gy_look look = gy_look_begin(gy_chan_look_shift(&chan->patience));
	uint32_t every = MIN(chan->capacity, LOOK_EVERY);
	bool worth = false;

	if (!look.cycles)
		return;
	while (!worth && gy_look_more(&look))
		worth = look.steps % every == 0 && may_go(chan, direction);
	gy_chan_learn(&chan->patience, worth);
}

static int step(struct gyre_chan *chan, void *element, enum gyre_direction direction,
		struct gy_chan_wake *wake)
{
	return direction == GYRE_SEND ? gy_chan_send_locked(chan, element, wake)
				      : gy_chan_recv_locked(chan, element, wake);
}

/* A place in the queue, and the wait. [lock], which it lets go */
static int wait_locked(struct gyre_chan *chan, void *element, enum gyre_direction direction,
		       uint64_t deadline_ns)
{
	/* Unbuffered, both sides come here: who comes first looks for the second. */
	struct gy_chan_wait wait = {.looks = !chan->capacity};
	struct gy_chan_place place = {
		.wait = &wait, .element = element, .element_bytes = chan->element_bytes};
	struct gy_chan_queue *queue =
		direction == GYRE_SEND ? &chan->senders : &chan->receivers;
	unsigned shift = wait.looks ? gy_chan_look_shift(&chan->patience) : 0;

	gy_chan_enqueue(queue, &place);
	gy_chan_unlock(chan); /* CHAN-7: from here on it may be served */
	gy_sync_step();
	if (!(wait.looks && gy_waiter_look(&wait.waiter, shift)) &&
	    !gy_waiter_wait(&wait.waiter, deadline_ns)) {
		uint32_t unserved = 0;

		if (__atomic_compare_exchange_n(&wait.served, &unserved, GY_CHAN_GAVE_UP, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
			gy_chan_lock(chan);
			if (place.queued)
				gy_chan_dequeue(queue, &place);
			gy_chan_unlock(chan);
			return -ETIMEDOUT;
		}
		gy_waiter_wait(&wait.waiter, GY_NEVER_NS); /* CHAN-4 */
	}
	if (wait.waiter.token == GY_CHAN_DONE) {
		if (direction == GYRE_SEND)
			gy_chan_tell_sent(chan, place.element_bytes, GY_CHAN_WAITED);
		else
			gy_chan_tell_received(chan, place.element_bytes, GY_CHAN_WAITED);
		return 0;
	}
	if (direction == GYRE_SEND)
		gy_chan_sent_on_closed(chan);
	return -EPIPE;
}

static GY_NOINLINE int wait(struct gyre_chan *chan, void *element, enum gyre_direction direction,
			    int64_t timeout_ns)
{
	uint64_t deadline_ns = gy_deadline_ns(timeout_ns), begin_ns = block_begin();
	struct gy_chan_wake wake = {0};
	int status;

	gy_wait_prepare();
	if (chan->capacity)
		look(chan, direction);
	gy_sync_step();
	gy_chan_lock(chan);
	status = step(chan, element, direction, &wake);
	if (status == -EAGAIN) {
		status = wait_locked(chan, element, direction, deadline_ns);
		block_end(chan, direction, begin_ns);
		return status;
	}
	gy_chan_unlock(chan);
	if (wake.waiter)
		gy_waiter_wake(wake.waiter, wake.token);
	return status;
}

/* 0, -EAGAIN, -EPIPE */
GY_INLINE int try(struct gyre_chan *chan, void *element, enum gyre_direction direction)
{
	struct gy_chan_wake wake = {0};
	int status;

	gy_chan_prepare(chan);
	gy_chan_lock(chan);
	status = step(chan, element, direction, &wake);
	gy_chan_unlock(chan);
	if (wake.waiter)
		gy_waiter_wake(wake.waiter, wake.token);
	return status;
}

static int result(int status)
{
	if (likely(!status))
		return 0;
	errno = -status;
	return -1;
}

static void no_channel(const char *what)
{
	gy_sync_misuse(what, NULL);
}

GY_EXPORT void gyre_chan_send(struct gyre_chan *chan, const void *element)
{
	void *from = (void *)(uintptr_t)element;

	if (unlikely(!chan))
		no_channel("send on no channel");
	if (!may_go(chan, GYRE_SEND) || try(chan, from, GYRE_SEND) == -EAGAIN)
		wait(chan, from, GYRE_SEND, GYRE_FOREVER);
}

GY_EXPORT int gyre_chan_try_send(struct gyre_chan *chan, const void *element)
{
	if (unlikely(!chan))
		no_channel("send on no channel");
	if (!may_go(chan, GYRE_SEND))
		return result(-EAGAIN);
	return result(try(chan, (void *)(uintptr_t)element, GYRE_SEND));
}

GY_EXPORT int gyre_chan_send_timed(struct gyre_chan *chan, const void *element, int64_t timeout_ns)
{
	void *from = (void *)(uintptr_t)element;
	int status;

	if (unlikely(!chan))
		no_channel("send on no channel");
	status = try(chan, from, GYRE_SEND);
	if (status == -EAGAIN && timeout_ns)
		status = wait(chan, from, GYRE_SEND, timeout_ns);
	return result(status);
}

GY_EXPORT int gyre_chan_recv(struct gyre_chan *chan, void *element)
{
	int status = -EAGAIN;

	if (unlikely(!chan))
		no_channel("receive from no channel");
	if (may_go(chan, GYRE_RECV))
		status = try(chan, element, GYRE_RECV);
	if (status == -EAGAIN)
		status = wait(chan, element, GYRE_RECV, GYRE_FOREVER);
	return result(status);
}

GY_EXPORT int gyre_chan_try_recv(struct gyre_chan *chan, void *element)
{
	if (unlikely(!chan))
		no_channel("receive from no channel");
	if (!may_go(chan, GYRE_RECV))
		return result(-EAGAIN);
	return result(try(chan, element, GYRE_RECV));
}

GY_EXPORT int gyre_chan_recv_timed(struct gyre_chan *chan, void *element, int64_t timeout_ns)
{
	int status;

	if (unlikely(!chan))
		no_channel("receive from no channel");
	status = try(chan, element, GYRE_RECV);
	if (status == -EAGAIN && timeout_ns)
		status = wait(chan, element, GYRE_RECV, timeout_ns);
	return result(status);
}

/* ---- making, closing, freeing ---- */

void gy_chan_prepare_slow(void)
{
	gy_gc_thread();
}

static struct gyre_chan *traced_new(size_t bytes, bool collected)
{
	struct gyre_chan *chan = gyre_new_conservative(bytes);

	if (!chan || collected)
		return chan;
	chan->handle = gy_handle_new(chan);
	return chan->handle ? chan : NULL;
}

GY_EXPORT struct gyre_chan *gyre_chan_new(size_t element_bytes, size_t capacity,
					  enum gyre_contents contents)
{
	bool traced = contents & GYRE_TRACED, collected = contents == GYRE_COLLECTED;
	struct gyre_chan *chan;
	size_t bytes;

	if (element_bytes > ELEMENT_BYTES_MAX || (traced && element_bytes % sizeof(void *)) ||
	    capacity > INT32_MAX || __builtin_mul_overflow(element_bytes, capacity, &bytes) ||
	    bytes > BYTES_MAX) {
		errno = EINVAL;
		return NULL;
	}
	bytes += sizeof(*chan);
	chan = traced ? traced_new(bytes, collected) : gy_heap_alloc_zeroed(bytes, CALLER());
	if (!chan) {
		errno = ENOMEM;
		return NULL;
	}
	gy_lock_init(&chan->lock, GY_RANK_channel);
	chan->element_bytes = (uint32_t)element_bytes;
	chan->capacity = (uint32_t)capacity;
	chan->traced = traced;
	chan->collected = collected;
	return chan;
}

GY_EXPORT void gyre_chan_free(struct gyre_chan *chan)
{
	if (!chan || chan->collected)
		return;
	gy_chan_lock(chan); /* whoever has just used it has left */
	gy_chan_unlock(chan);
	if (chan->receivers.first || chan->senders.first)
		gy_sync_misuse("free of a channel that threads wait for", chan);
	if (chan->handle)
		gy_handle_free(chan->handle);
	else
		gy_heap_free(chan, CALLER());
}

/* [lock] All who wait, served, onto the chain. Receivers' elements are zeroed: CHAN-7. */
static void release_all(struct gyre_chan *chan, struct gy_chan_queue *queue,
			struct gy_chan_place **chain)
{
	struct gy_chan_place *place;

	while ((place = take_waiting(queue))) {
		if (queue == &chan->receivers && place->element)
			gy_chan_zero(chan, place->element);
		place->next = *chain;
		*chain = place;
	}
}

GY_EXPORT void gyre_chan_close(struct gyre_chan *chan)
{
	struct gy_chan_place *chain = NULL;

	if (unlikely(!chan))
		no_channel("close of no channel");
	gy_chan_prepare(chan);
	gy_chan_lock(chan);
	if (chan->closed) {
		gy_chan_unlock(chan);
		gy_sync_misuse("close of a closed channel", chan);
	}
	WRITE_RELAXED(chan->closed, true);
	release_all(chan, &chan->receivers, &chain);
	release_all(chan, &chan->senders, &chain);
	gy_chan_unlock(chan);
	while (chain) {
		struct gy_waiter *waiter = &chain->wait->waiter;

		chain = chain->next; /* WAIT-3 */
		gy_waiter_wake(waiter, GY_CHAN_CLOSED);
	}
}

GY_EXPORT size_t gyre_chan_count(const struct gyre_chan *chan)
{
	return READ_RELAXED(chan->count);
}

GY_EXPORT size_t gyre_chan_capacity(const struct gyre_chan *chan)
{
	return chan->capacity;
}
