/* select.c - do one of several sends and receives, whichever can be done first.
 *
 *	1  look at all channels without their locks; choose by chance among those where something
 *	   can be done; try that one under its lock; again, a few times
 *	2  lock all, in the order of their addresses; choose again, now for certain
 *	3  nothing: a place in each queue; let go of all locks; sleep		(CHAN-3)
 *	4  woken by whoever served one place: take the others out, one lock at a time
 *
 * Why all locks at once in 2 and 3: between the last look and the last place nothing may come to a
 * channel that was looked at first. It would find no place there, and go to sleep itself.
 *
 * SELECT-1  Each of the cases that can be done has the same chance: the k-th that is found takes
 *           the choice with probability 1/k.
 * SELECT-2  A channel that stands in several cases is locked once.
 * SELECT-3  Two cases of one select never serve each other: when it enqueues, none of its
 *           channels could be used, and the others of its places pass `served` only once.
 */
#include "base/probe.h"
#include "os/sys.h"
#include "sync/channel.h"

#include <errno.h>

#define NONE UINT32_MAX
#define TRIES 3

struct choice {
	struct gyre_case *cases;
	uint32_t count;
	uint32_t locked_count;
	struct gyre_chan *locked[GYRE_SELECT_MAX]; /* each channel once, by address */
	struct gy_chan_wait wait;
	struct gy_chan_place places[GYRE_SELECT_MAX];
};

static __thread uint64_t random_state GY_TLS_INITIAL_EXEC;
/* The thread's, not a channel's: which of them will serve it is not known, and the one that has is
 * not touched (CHAN-7). */
static __thread struct gy_chan_patience patience GY_TLS_INITIAL_EXEC;

static uint32_t random_below(uint32_t limit)
{
	uint64_t x = random_state;

	if (unlikely(!x))
		x = gy_now_ns() ^ (uintptr_t)&random_state ^ 0x9e3779b97f4a7c15ull;
	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	random_state = x;
	return (uint32_t)((x >> 32) * limit >> 32);
}

static bool can_go(const struct gyre_case *at)
{
	const struct gyre_chan *chan = at->chan;
	uint32_t count;

	if (!chan)
		return false;
	if (READ_RELAXED(chan->closed))
		return true;
	count = READ_RELAXED(chan->count);
	return at->direction == GYRE_SEND
		       ? count < chan->capacity || READ_RELAXED(chan->receivers.first)
		       : count > 0 || READ_RELAXED(chan->senders.first);
}

/* SELECT-1 */
static uint32_t choose(const struct gyre_case *cases, uint32_t count)
{
	uint32_t chosen = NONE, found = 0;

	for (uint32_t i = 0; i < count; i++)
		if (can_go(&cases[i]) && (++found == 1 || random_below(found) == 0))
			chosen = i;
	return chosen;
}

static int step(struct gyre_case *at, struct gy_chan_wake *wake)
{
	int status = at->direction == GYRE_SEND
			     ? gy_chan_send_locked(at->chan, at->element, wake)
			     : gy_chan_recv_locked(at->chan, at->element, wake);

	at->closed = status == -EPIPE;
	return at->closed ? 0 : status;
}

/* The index; or NONE: nothing can be done, as it seems. */
static uint32_t try(struct gyre_case *cases, uint32_t count)
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint32_t chosen = choose(cases, count);
		struct gy_chan_wake wake = {0};
		int status;

		if (chosen == NONE)
			return NONE;
		gy_chan_lock(cases[chosen].chan);
		status = step(&cases[chosen], &wake);
		gy_chan_unlock(cases[chosen].chan);
		if (wake.waiter)
			gy_waiter_wake(wake.waiter, wake.token);
		if (!status)
			return chosen;
	}
	return NONE;
}

/* SELECT-2: an insertion sort, without doubles. */
static void sort(struct choice *choice)
{
	for (uint32_t i = 0; i < choice->count; i++) {
		struct gyre_chan *chan = choice->cases[i].chan;
		uint32_t at = choice->locked_count;

		if (!chan)
			continue;
		while (at && choice->locked[at - 1] > chan)
			at--;
		if (at && choice->locked[at - 1] == chan)
			continue;
		for (uint32_t j = choice->locked_count++; j > at; j--)
			choice->locked[j] = choice->locked[j - 1];
		choice->locked[at] = chan;
	}
}

static void lock_all(struct choice *choice)
{
	for (uint32_t i = 0; i < choice->locked_count; i++)
		gy_chan_lock(choice->locked[i]);
}

static void unlock_all(struct choice *choice)
{
	for (uint32_t i = choice->locked_count; i--;)
		gy_chan_unlock(choice->locked[i]);
}

static struct gy_chan_queue *queue_of(const struct gyre_case *at)
{
	return at->direction == GYRE_SEND ? &at->chan->senders : &at->chan->receivers;
}

/* Under all locks: done, and its index; or NONE, with places in all queues. */
static uint32_t do_or_enqueue(struct choice *choice, struct gy_chan_wake *wake)
{
	for (;;) {
		uint32_t chosen = choose(choice->cases, choice->count);

		if (chosen == NONE)
			break;
		/* Who waits there may have been served elsewhere: look again, it has gone now. */
		if (!step(&choice->cases[chosen], wake))
			return chosen;
	}
	for (uint32_t i = 0; i < choice->count; i++) {
		struct gyre_case *at = &choice->cases[i];
		struct gy_chan_place *place = &choice->places[i];

		place->queued = false;
		if (!at->chan)
			continue;
		place->wait = &choice->wait;
		place->element = at->element;
		place->index = i;
		place->element_bytes = at->chan->element_bytes;
		gy_chan_enqueue(queue_of(at), place);
	}
	return NONE;
}

/* All but that of the case that was served. */
static void leave_queues(struct choice *choice, uint32_t served)
{
	for (uint32_t i = 0; i < choice->count; i++) {
		struct gyre_case *at = &choice->cases[i];

		if (!at->chan || i == served) /* CHAN-7: whoever served it took its place out */
			continue;
		gy_chan_lock(at->chan);
		if (choice->places[i].queued)
			gy_chan_dequeue(queue_of(at), &choice->places[i]);
		gy_chan_unlock(at->chan);
	}
}

/* Looks for a while, then sleeps; false: the time is up. */
static bool look_and_wait(struct gy_waiter *waiter, uint64_t deadline_ns)
{
	bool worth = gy_waiter_look(waiter, gy_chan_look_shift(&patience));

	gy_chan_learn(&patience, worth);
	return worth || gy_waiter_wait(waiter, deadline_ns);
}

/* The index that was served, or -ETIMEDOUT. */
static int await(struct choice *choice, uint64_t deadline_ns)
{
	struct gy_chan_wait *wait = &choice->wait;
	uint32_t index, element_bytes;
	struct gyre_case *at;

	if (!look_and_wait(&wait->waiter, deadline_ns)) {
		uint32_t unserved = 0;

		if (__atomic_compare_exchange_n(&wait->served, &unserved, GY_CHAN_GAVE_UP, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
			leave_queues(choice, NONE);
			return -ETIMEDOUT;
		}
		gy_waiter_wait(&wait->waiter, GY_NEVER_NS); /* CHAN-4 */
	}
	index = __atomic_load_n(&wait->served, __ATOMIC_ACQUIRE) - 1;
	leave_queues(choice, index);
	at = &choice->cases[index];
	element_bytes = choice->places[index].element_bytes;
	at->closed = wait->waiter.token == GY_CHAN_CLOSED;
	if (at->closed && at->direction == GYRE_SEND)
		gy_chan_sent_on_closed(at->chan);
	if (!at->closed && at->direction == GYRE_SEND)
		gy_chan_tell_sent(at->chan, element_bytes, GY_CHAN_WAITED);
	else if (!at->closed)
		gy_chan_tell_received(at->chan, element_bytes, GY_CHAN_WAITED);
	return (int)index;
}

static GY_NOINLINE int wait(struct gyre_case *cases, uint32_t count, int64_t timeout_ns)
{
	uint64_t deadline_ns = gy_deadline_ns(timeout_ns);
	uint64_t begin_ns = GY_PROBE_ENABLED(chan_block) ? gy_now_ns() : 0;
	struct gy_chan_wake wake = {0};
	struct choice choice;
	uint32_t chosen;
	int status;

	choice.cases = cases;
	choice.count = count;
	choice.locked_count = 0;
	memset(&choice.wait, 0, sizeof(choice.wait));
	sort(&choice);
	gy_sync_step();
	lock_all(&choice);
	chosen = do_or_enqueue(&choice, &wake);
	unlock_all(&choice);
	gy_sync_step();
	if (wake.waiter)
		gy_waiter_wake(wake.waiter, wake.token);
	if (chosen != NONE)
		return (int)chosen;
	status = await(&choice, deadline_ns);
	if (GY_PROBE_ENABLED(chan_block))
		GY_PROBE3(chan_block, (uintptr_t)cases[0].chan, 2,
			  begin_ns ? gy_now_ns() - begin_ns : 0);
	return status;
}

GY_EXPORT int gyre_select(struct gyre_case *cases, size_t count, int64_t timeout_ns)
{
	uint32_t chosen;
	int status;

	if (!count || count > GYRE_SELECT_MAX) {
		errno = EINVAL;
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		cases[i].closed = false;
		if (cases[i].chan)
			gy_chan_prepare(cases[i].chan);
	}
	chosen = try(cases, (uint32_t)count);
	if (chosen != NONE)
		return (int)chosen;
	if (timeout_ns == 0) {
		errno = EAGAIN;
		return -1;
	}
	gy_wait_prepare();
	status = wait(cases, (uint32_t)count, timeout_ns);
	if (status >= 0)
		return status;
	errno = -status;
	return -1;
}
