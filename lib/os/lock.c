/* lock.c - see lock.h. */
#include "os/lock.h"

#include "base/panic.h"
#include "os/sys.h"

#define SPINS 100
#define HELD_MAX 1024 /* fork holds the locks of every class and of every bin */

__thread struct gy_hold gy_hold;
void (*gy_hold_late)(void);

static const char *const rank_names[] = {
#define RANK_NAME(name, text) #name,
	GY_LOCK_RANKS(RANK_NAME)
#undef RANK_NAME
};

static __thread GY_TLS_INITIAL_EXEC struct {
	unsigned count;
	const struct gy_lock *locks[GYRE_CHECK_FULL ? HELD_MAX : 1];
} held; /* [self] */

static void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

void gy_lock_acquire_slow(struct gy_lock *lock)
{
	static const struct timespec nap = {.tv_nsec = GY_LOCK_NAP_NS};
	bool naps = GY_LOCK_IS_QUICK(lock->rank); /* LOCK-4 */

	for (unsigned i = 0; i < SPINS; i++) {
		uint32_t free_state = 0;

		if (READ_RELAXED(lock->state) == 0 &&
		    __atomic_compare_exchange_n(&lock->state, &free_state, 1, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return;
		cpu_relax();
	}
	while (__atomic_exchange_n(&lock->state, 2, __ATOMIC_ACQUIRE) != 0) {
		/* The stopper may hold the lock while it waits for us: LOCK-3. */
		gy_hold_end();
		gy_sys_futex_wait(&lock->state, 2, naps ? &nap : NULL, false);
		gy_hold_begin();
	}
}

void gy_lock_release_slow(struct gy_lock *lock)
{
	gy_sys_futex_wake(&lock->state, 1, false);
}

void gy_lock_fork_child(void)
{
	held.count = 0;
	gy_hold.depth = 0;
	gy_hold.pending = 0;
}

static void panic_rank(const struct gy_lock *outer, const struct gy_lock *inner)
{
	char buffer[160];
	struct gy_text text = GY_TEXT(buffer);

	gy_text_add(&text, "LOCK-1: '");
	gy_text_add(&text, rank_names[inner->rank]);
	gy_text_add(&text, "' taken while '");
	gy_text_add(&text, rank_names[outer->rank]);
	gy_text_add(&text, "' is held");
	gy_panic(buffer);
}

void gy_lock_note_acquire(const struct gy_lock *lock)
{
	for (unsigned i = 0; i < held.count; i++) {
		const struct gy_lock *outer = held.locks[i];

		if (outer->rank > lock->rank || (outer->rank == lock->rank && outer >= lock))
			panic_rank(outer, lock);
	}
	CHECK(held.count < ARRAY_SIZE(held.locks));
	held.locks[held.count++] = lock;
}

void gy_lock_note_release(const struct gy_lock *lock)
{
	for (unsigned i = held.count; i-- > 0;) {
		if (held.locks[i] != lock)
			continue;
		held.count--;
		for (; i + 1 < ARRAY_SIZE(held.locks) && i < held.count; i++)
			held.locks[i] = held.locks[i + 1];
		return;
	}
	gy_panic("LOCK-1: a lock is released that this thread does not hold");
}
