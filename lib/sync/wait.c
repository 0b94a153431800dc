/* wait.c - how a thread waits: the queues, the look, the sleep.
 *
 * A mutex has eight bytes and no room for a queue. Who must wait for one goes on a list that is
 * found by the mutex's address, in a table of 64, as in Go's semaphore table and WebKit's parking
 * lot. That a waiter is there is told by a bit in the primitive's own word, which changes only
 * under the list's lock, so that the fast halves need not look here. Channels have queues of their
 * own.
 *
 * The kernel sees one futex for each waiter, a word on its own stack, and wakes precisely it: order
 * of arrival, handing over and giving up are all decided here.
 *
 * Before it sleeps a waiter looks at its word for a while, if there is another CPU: a wake that
 * comes meanwhile costs neither side a system call, of which there would be two, and a switch. A
 * processor that sleeps takes some 30 us to wake in a virtual machine; to look for less is in vain
 * where two threads meet again and again, for each then waits for the other to wake.
 *
 * Sources: Go's sema.go; Pizlo, "Locking in WebKit" (2016); Drepper, "Futexes are tricky" (2011).
 */
#include "sync/wait.h"

#include "gc/thread.h"
#include "os/sys.h"
#include "sync/seal.h"

#include "base/panic.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#define BUCKETS 64u
#define BUCKET_INIT                                                                                \
	{                                                                                          \
		.lock = GY_LOCK_INIT(GY_RANK_waiters)                                              \
	}
#define SECOND 1000000000ull
#define YIELD_CYCLES 8192 /* of looking; from then on others may have the processor */

static struct gy_wait_bucket buckets[BUCKETS] = {[0 ... BUCKETS - 1] = BUCKET_INIT};

void gy_sync_misuse(const char *what, const void *at)
{
	char buffer[256];
	struct gy_text text = GY_TEXT(buffer);

	gy_message_begin(&text);
	gy_text_add(&text, "misuse: ");
	gy_text_add(&text, what);
	gy_text_add(&text, " at ");
	gy_text_add_hex(&text, (uintptr_t)at);
	gy_message_write(&text);
	abort();
}

/* ---- queues ---- */

struct gy_wait_bucket *gy_wait_lock(const void *address)
{
	uint64_t hash = ((uint64_t)(uintptr_t)address >> 3) * 0x9e3779b97f4a7c15ull;
	struct gy_wait_bucket *bucket = &buckets[hash >> 58];

	gy_sync_step();
	gy_lock_acquire(&bucket->lock);
	return bucket;
}

void gy_wait_unlock(struct gy_wait_bucket *bucket)
{
	gy_lock_release(&bucket->lock);
	gy_sync_step();
}

void gy_wait_push(struct gy_wait_bucket *bucket, struct gy_waiter *waiter, const void *address,
		  bool front)
{
	struct gy_waiter *next = front ? bucket->first : NULL;
	struct gy_waiter *prev = front ? NULL : bucket->last;

	ASSERT(!waiter->address && waiter->state == GY_WAITER_LOOKS); /* WAIT-1, WAIT-2 */
	waiter->address = address;
	waiter->next = next;
	waiter->prev = prev;
	if (prev)
		prev->next = waiter;
	else
		bucket->first = waiter;
	if (next)
		next->prev = waiter;
	else
		bucket->last = waiter;
}

struct gy_waiter *gy_wait_first(struct gy_wait_bucket *bucket, const void *address)
{
	struct gy_waiter *waiter = bucket->first;

	while (waiter && waiter->address != address)
		waiter = waiter->next;
	return waiter;
}

void gy_wait_pop(struct gy_wait_bucket *bucket, struct gy_waiter *waiter)
{
	ASSERT(waiter->address); /* WAIT-1 */
	if (waiter->prev)
		waiter->prev->next = waiter->next;
	else
		bucket->first = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	else
		bucket->last = waiter->prev;
	waiter->address = NULL;
}

/* ---- the wait ---- */

void gy_wait_prepare(void)
{
	if (!gy_gc_self && gy_gc_started())
		gy_gc_thread_attach();
}

uint64_t gy_deadline_ns(int64_t timeout_ns)
{
	uint64_t deadline_ns;

	if (timeout_ns < 0)
		return GY_NEVER_NS;
	if (__builtin_add_overflow(gy_now_ns(), (uint64_t)timeout_ns, &deadline_ns))
		return GY_NEVER_NS;
	return deadline_ns;
}

struct gy_look gy_look_begin(unsigned shift)
{
	static uint32_t cpus; /* [atomic: relaxed] 0: not known yet */
	uint32_t known = READ_RELAXED(cpus);

	if (unlikely(!known)) {
		cpu_set_t set;

		CPU_ZERO(&set);
		known = sched_getaffinity(0, sizeof(set), &set) ? 2 : (uint32_t)CPU_COUNT(&set);
		WRITE_RELAXED(cpus, known);
	}
	if (known < 2)
		return (struct gy_look){0};
	return (struct gy_look){
		.begin = __builtin_ia32_rdtsc(),
		.cycles = gy_option(GY_OPT_sync_look) * 1000 >> shift,
	};
}

bool gy_look_more_slow(struct gy_look *look)
{
	uint64_t passed = __builtin_ia32_rdtsc() - look->begin;

	if (passed >= look->cycles)
		return false;
	if (passed >= YIELD_CYCLES)
		gy_sys_yield();
	return true;
}

/* Until it is woken or the time is up. */
static bool sleep_until(struct gy_waiter *waiter, uint64_t deadline_ns)
{
	for (;;) {
		struct timespec rest, *timeout = NULL;

		if (__atomic_load_n(&waiter->state, __ATOMIC_ACQUIRE) == GY_WAITER_WOKEN)
			return true;
		if (deadline_ns != GY_NEVER_NS) {
			uint64_t now_ns = gy_now_ns();

			if (now_ns >= deadline_ns)
				return false;
			rest.tv_sec = (time_t)((deadline_ns - now_ns) / SECOND);
			rest.tv_nsec = (long)((deadline_ns - now_ns) % SECOND);
			timeout = &rest;
		}
		gy_sys_futex_wait(&waiter->state, GY_WAITER_SLEEPS, timeout, false);
	}
}

bool gy_waiter_look(const struct gy_waiter *waiter, unsigned shift)
{
	struct gy_look look = gy_look_begin(shift);

	while (gy_look_more(&look))
		if (__atomic_load_n(&waiter->state, __ATOMIC_ACQUIRE) == GY_WAITER_WOKEN)
			return true;
	return false;
}

bool gy_waiter_wait(struct gy_waiter *waiter, uint64_t deadline_ns)
{
	uint32_t state = GY_WAITER_LOOKS;
	struct gy_gc_thread *thread;
	bool woken;

	ASSERT(gy_hold.depth == 0); /* WAIT-5 */
	gy_sync_step();
	if (!__atomic_compare_exchange_n(&waiter->state, &state, GY_WAITER_SLEEPS, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
	    state == GY_WAITER_WOKEN)
		return true;
	thread = gy_gc_self;
	if (!thread)
		return sleep_until(waiter, deadline_ns);
	gy_blocking_begin(&thread->mutator);
	woken = sleep_until(waiter, deadline_ns);
	gy_blocking_end(&thread->mutator);
	return woken;
}

void gy_waiter_wake(struct gy_waiter *waiter, uint32_t token)
{
	uint32_t *word = &waiter->state, before;

	waiter->token = token;
	gy_sync_step();
	before = __atomic_exchange_n(word, GY_WAITER_WOKEN, __ATOMIC_ACQ_REL);
	ASSERT(before != GY_WAITER_WOKEN); /* WAIT-1 */
	if (before == GY_WAITER_SLEEPS)
		gy_sys_futex_wake(word, 1, false); /* WAIT-3 */
}

bool gy_wait_give_up(struct gy_waiter *waiter, const void *address)
{
	struct gy_wait_bucket *bucket = gy_wait_lock(address);
	bool queued = waiter->address != NULL;

	if (queued)
		gy_wait_pop(bucket, waiter);
	gy_wait_unlock(bucket);
	if (!queued) /* WAIT-6 */
		gy_waiter_wait(waiter, GY_NEVER_NS);
	return queued;
}

/* ---- tests, fork ---- */

GY_COLD void gy_sync_step_slow(void)
{
	static uint64_t state = 0x2545f4914f6cdd1dull;
	uint64_t x = READ_RELAXED(state);
	struct timespec time = {0, 0};
	uint32_t never = 0;

	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	WRITE_RELAXED(state, x);
	if (x >> 60) { /* one step in sixteen sleeps */
		if (x >> 59 & 1)
			gy_sys_yield();
		return;
	}
	time.tv_nsec = (long)(x % (gy_option(GY_OPT_sync_delay) * 1000 + 1));
	gy_sys_futex_wait(&never, 0, &time, false);
}

void gy_wait_fork_child(void)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		gy_lock_init(&buckets[i].lock, GY_RANK_waiters);
		buckets[i].first = buckets[i].last = NULL;
	}
}
