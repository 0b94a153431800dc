/* wait.h - how a thread waits, and is woken: its place in a queue, and its sleep. See wait.c.
 *
 * WAIT-1  A waiter is on a queue from push until pop or remove, all under the queue's lock. Whoever
 *         pops it wakes it, exactly once; and it does not return before. So a waiter may lie on
 *         its thread's stack.
 * WAIT-2  Its state goes from LOOKS to SLEEPS by itself alone, and to WOKEN by its waker alone, who
 *         exchanges: the kernel is asked for a wake only where the state was SLEEPS.
 * WAIT-3  After that exchange the waker does not touch the waiter. (The kernel is told its address,
 *         where by then anything may be: whoever waits on a futex there looks again.)
 * WAIT-4  What the waker wrote before gy_waiter_wake, its token too, is seen after gy_waiter_wait.
 * WAIT-5  A thread sleeps in a blocking region, and holds no lock of ours.
 * WAIT-6  A wait whose time is up is over only once its waiter has been removed, under the queue's
 *         lock; if it was popped before, it was woken in time.
 */
#ifndef GY_SYNC_WAIT_H
#define GY_SYNC_WAIT_H

#include "base/config.h"
#include "os/lock.h"

#include <stdbool.h>

#define GY_NEVER_NS UINT64_MAX

enum gy_waiter_state { GY_WAITER_LOOKS, GY_WAITER_SLEEPS, GY_WAITER_WOKEN };

struct gy_waiter {
	struct gy_waiter *next, *prev; /* [lock] */
	const void *address;	       /* [lock] what it waits for; NULL: on no queue */
	uint32_t state;		       /* [atomic] futex; WAIT-2 */
	uint32_t token;		       /* what the waker has to say */
	uint32_t want;		       /* semaphore: how many */
	uint64_t since_ns;	       /* began to wait */
};

/* Queues, by address: one of 64 lists with a lock each. */
struct gy_wait_bucket {
	struct gy_lock lock;
	struct gy_waiter *first, *last;
} GY_ALIGNED(64);

struct gy_wait_bucket *gy_wait_lock(const void *address);
void gy_wait_unlock(struct gy_wait_bucket *bucket);
/* [lock] all of these. The waiter is new: zeroes. */
void gy_wait_push(struct gy_wait_bucket *bucket, struct gy_waiter *waiter, const void *address,
		  bool front);
/* The first that waits for this address; NULL: none. */
struct gy_waiter *gy_wait_first(struct gy_wait_bucket *bucket, const void *address);
/* Takes it off its queue: it is the caller's to wake. */
void gy_wait_pop(struct gy_wait_bucket *bucket, struct gy_waiter *waiter);

/* To be called before a wait, under no lock: a blocking region takes a thread that the collector
 * knows. Does nothing in a program without collector. */
void gy_wait_prepare(void);
/* Looks for a while; true: woken. */
bool gy_waiter_look(const struct gy_waiter *waiter, unsigned shift);
/* Sleeps; true: woken. False: the time is up; see WAIT-6. */
bool gy_waiter_wait(struct gy_waiter *waiter, uint64_t deadline_ns);
void gy_waiter_wake(struct gy_waiter *waiter, uint32_t token);
/* Removes one whose time is up; false: it was woken. */
bool gy_wait_give_up(struct gy_waiter *waiter, const void *address);

/* From gyre/sync.h's timeout_ns. */
uint64_t gy_deadline_ns(int64_t timeout_ns);
/* To look again and again before a sleep, for so long as option sync_look says, shifted:
 *	struct gy_look look = gy_look_begin(shift);
 *	while (gy_look_more(&look)) ...
 * On one CPU not at all. Whoever has looked for long lets others have the processor meanwhile. */
struct gy_look {
	uint64_t begin, cycles;
	uint32_t steps;
};

struct gy_look gy_look_begin(unsigned shift);
bool gy_look_more_slow(struct gy_look *look);

GY_INLINE void gy_pause(void)
{
	__builtin_ia32_pause();
}

GY_INLINE bool gy_look_more(struct gy_look *look)
{
	if (!look->cycles)
		return false;
	gy_pause();
	return ++look->steps % 16 ? true : gy_look_more_slow(look);
}

/* Option sync_delay: sleeps at random where a protocol has a step; for tests. */
void gy_sync_step_slow(void);

GY_INLINE void gy_sync_step(void)
{
	if (unlikely(gy_option(GY_OPT_sync_delay)))
		gy_sync_step_slow();
}

/* The waiters exist in the parent only. */
void gy_wait_fork_child(void);

#endif
