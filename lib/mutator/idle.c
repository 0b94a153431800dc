/* idle.c - taking back the caches of threads that sleep.
 *
 * A thread that waits for work for an hour should not keep a few MiB of free blocks from the rest.
 * It cannot be asked (it sleeps), must not be signalled (its system call would fail), and its fast
 * path has neither lock nor atomic that could keep us out. But it can be *proved* to be outside of
 * its cache:
 *
 *   0. a first look: does it sleep at all?
 *   1. lock its owner lock                     it cannot attach or end now
 *   2. point its gy_tls to gy_cache_none       what it begins from now on takes the slow path, and
 *                                              there waits for the owner lock (attach)
 *   3. membarrier                              every running thread of the process sees 2
 *   4. read how often it was switched out, then /proc/self/task/TID/syscall: it must sleep in a
 *      system call, on its own stack
 *   5. no slow path of ours is under way in it (busy; heap.c looks at gy_tls again after setting
 *      it), and no address of gyre_fast_text is on its stack: so no handler sleeps on top of an
 *      interrupted malloc (FAST-1)
 *   6. it was not switched since 4: it slept all the while, so 4 and 5 speak of one moment
 *
 * IDLE-1  At the moment of 4-6 the thread holds no pointer to its cache in a register or frame of
 *         ours, and 2 keeps it from getting one: the cache is ours until the owner lock is let go.
 * IDLE-2  If any step fails, gy_tls is put back under the owner lock; the thread noticed nothing,
 *         or waited shortly in attach.
 * IDLE-3  A taken cache keeps its counters; only its blocks and slot arrays go.
 *
 * How long must it have slept? The option cache_idle says so; but while more than half of what all
 * caches may hold is taken (CACHE-7), a twentieth of a second is enough. A service of thousands of
 * threads, each at work now and then, would otherwise leave all of that sum with sleepers.
 *
 * A false word on the stack, or a stack that is not the thread's own (a coroutine, an alternate
 * signal stack), only means: not now.
 * Not here: what the thread does when it wakes (thread_cache.c, attach).
 * Without membarrier (option, or an old kernel) idle caches are left alone.
 */
#include "mutator/idle.h"

#include "base/config.h"
#include "heap/thread_cache.h"
#include "os/sys.h"
#include "os/thread_state.h"

#include <linux/membarrier.h>
#include <unistd.h>

#define MS 1000000ull
#define TAKEN_MAX 32   /* caches in one look: the registry is locked meanwhile */
#define FEW_BYTES 4096 /* a cache of less capacity is left alone */
#define SCARCE_NS (50 * MS) /* idle for so long is enough where room is scarce */

extern const char __start_gyre_fast_text[] __attribute__((weak, visibility("hidden")));
extern const char __stop_gyre_fast_text[] __attribute__((weak, visibility("hidden")));

static uint64_t taken_total;  /* [atomic: relaxed] */
static uint8_t barrier_state; /* 0 not asked, 1 registered, 2 lacks; [lock: registry] */

static bool barrier_ready(void)
{
	if (!gy_option(GY_OPT_membarrier))
		return false;
	if (!barrier_state)
		barrier_state =
			gy_sys_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) < 0 ? 2 : 1;
	return barrier_state == 1;
}

/* A number that changes whenever the cache is used. */
GY_RACY_READER static uint64_t fingerprint(const struct gy_thread_cache *cache)
{
	uint64_t print = READ_RELAXED(cache->large.kept_pages) +
			 (uint64_t)READ_RELAXED(cache->large.pages);

	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		const struct gy_bin *bin = &cache->bins[c];

		print = print * 31 + (uint32_t)READ_RELAXED(bin->countdown) +
			(uintptr_t)READ_RELAXED(bin->top);
	}
	return print;
}

/* Steps 4 to 6. */
static bool is_outside(const struct gy_thread_cache *cache)
{
	uint64_t switches = gy_thread_switches(cache->tid), sp;

	if (!switches || !gy_thread_sleeps(cache->tid, &sp))
		return false;
	/* Pairs with the release in gy_thread_cache_end, and with the Dekker in
	 * gy_thread_cache_begin. */
	if (__atomic_load_n(&cache->busy, __ATOMIC_ACQUIRE))
		return false;
	if (sp >= cache->stack_top || cache->stack_top - sp > GY_STACK_SCAN_MAX)
		return false;
	if (gy_stack_mentions(sp, cache->stack_top, (uintptr_t)__start_gyre_fast_text,
			      (uintptr_t)__stop_gyre_fast_text))
		return false;
	return gy_thread_switches(cache->tid) == switches;
}

static bool take(struct gy_thread_cache *cache)
{
	bool outside = false;
	uint64_t sp;

	/* Also keeps us from writing to the variables of a thread that left by SYS_exit. */
	if (!gy_thread_sleeps(cache->tid, &sp) || !gy_lock_try(&cache->owner))
		return false;
	if (!cache->taken) {
		gy_tls_point(cache->tls, GY_NO_CACHE);
		outside = !gy_sys_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) && is_outside(cache);
		if (outside) {
			gy_thread_cache_empty(cache, GY_FLUSH_IDLE);
			cache->taken = 1;
			ADD_RELAXED(taken_total, 1);
		} else {
			gy_tls_point(cache->tls, cache); /* IDLE-2 */
		}
	}
	gy_lock_release(&cache->owner);
	return outside;
}

unsigned gy_idle_take(uint64_t now_ns, bool *more)
{
	uint64_t option_ns = gy_option(GY_OPT_cache_idle) * MS;
	unsigned taken = 0;

	*more = false;
	gy_lock_acquire(&gy_registry.lock);
	if (!barrier_ready())
		goto out;
	for (struct gy_thread_cache *cache = gy_registry.first; cache; cache = cache->next) {
		uint64_t print, idle_ns = option_ns;

		if (READ_RELAXED(cache->capacity_bytes) < FEW_BYTES &&
		    !READ_RELAXED(cache->large.room_pages))
			continue;
		if (gy_cache_room_is_scarce())
			idle_ns = MIN(idle_ns, SCARCE_NS);
		print = fingerprint(cache);
		if (print != cache->idle_print) {
			cache->idle_print = print;
			cache->idle_since_ns = now_ns;
			*more = true;
			continue;
		}
		if (now_ns - cache->idle_since_ns < idle_ns) {
			*more = true;
			continue;
		}
		if (take(cache)) {
			taken++;
		} else {
			cache->idle_since_ns = now_ns; /* asked again after as long a time */
			*more = true;
		}
		if (taken == TAKEN_MAX) {
			*more = true;
			break;
		}
	}
out:
	gy_lock_release(&gy_registry.lock);
	return taken;
}

uint64_t gy_idle_taken(void)
{
	return READ_RELAXED(taken_total);
}
