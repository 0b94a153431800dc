/* world_stop.h - what the halves of stopping the world share: the stop flag, arrivals, the table of
 * threads. See world.c.
 */
#ifndef GY_MUTATOR_WORLD_STOP_H
#define GY_MUTATOR_WORLD_STOP_H

#include "mutator/world.h"

/* Written by the stopper, read by every handler: STOP-1 to STOP-3, STOP-8 in world_signal.c. */
struct gy_world_flag {
	uint32_t state;   /* [atomic] futex; odd: a stop is on; counts up at each change */
	uint32_t arrived; /* [atomic] futex; counts arrivals */
	uint32_t awaited; /* [atomic] at this count of arrivals the stopper is to be woken */
	uint32_t fences;  /* [const] no membarrier */
	uint64_t list;    /* [atomic] arrivals: low 48 bits: the first; above: low bits of state */
} GY_ALIGNED(64);

extern struct gy_world_flag gy_world_flag GY_HIDDEN;

/* Whom to signal yet: STOP-8. */
#define GY_RELAY_MOST 4096u

struct gy_world_relay {
	uint32_t count; /* [atomic] 0: nothing to do */
	uint32_t next;  /* [atomic] taken by adding 1 */
	pid_t tids[GY_RELAY_MOST];
};

extern struct gy_world_relay gy_world_relay GY_HIDDEN;

/* The next that nobody has signalled; 0: all are. Signal-safe. */
GY_INLINE pid_t gy_world_relay_next(void)
{
	uint32_t count = __atomic_load_n(&gy_world_relay.count, __ATOMIC_ACQUIRE), at;

	if (READ_RELAXED(gy_world_relay.next) >= count)
		return 0;
	at = __atomic_fetch_add(&gy_world_relay.next, 1, __ATOMIC_RELAXED);
	return at < count ? READ_RELAXED(gy_world_relay.tids[at]) : 0;
}

GY_INLINE bool gy_world_is_stopping(void)
{
	return __atomic_load_n(&gy_world_flag.state, __ATOMIC_ACQUIRE) & 1;
}

GY_INLINE bool gy_world_needs_fences(void)
{
	return READ_RELAXED(gy_world_flag.fences);
}

GY_INLINE uintptr_t gy_own_fs_base(void)
{
	uintptr_t base;

#if defined(__x86_64__)
	__asm__ volatile("movq %%fs:0, %0" : "=r"(base));
#else
	base = (uintptr_t)__builtin_thread_pointer();
#endif
	return base;
}

/* world_signal.c */
int gy_world_signal_init(void);
int gy_world_signal(void);          /* its number */
bool gy_world_signal_is_ours(void); /* the handler is still installed */
void gy_world_wait_start(void);     /* until no stop is on */
/* Raises the flag: from now on handlers stop their threads. False: who is in a blocking region
 * cannot be told this time (BLOCK-1). */
bool gy_world_flag_raise(void);
void gy_world_flag_lower(void);
/* Takes the arrivals so far, linked by next. */
struct gy_stopped_thread *gy_world_arrivals(void);
/* blocking.c */
void gy_mutators_fork_child(void);

/* world_table.c: the threads of one stop. [lock: world] */
enum gy_task_role {
	GY_TASK_EXPECTED, /* must come; signalled, or about to be */
	GY_TASK_UNSENT,   /* must come, but the signal could not be sent yet */
	GY_TASK_ARRIVED,
	GY_TASK_BLOCKED, /* in a blocking region */
	GY_TASK_EXEMPT,  /* the stopper, a thread of ours, a worker of the kernel's */
	GY_TASK_DEAD,    /* exists, but runs no more: a main thread that ended before the others */
	GY_TASK_GONE,
};

struct gy_task_entry {
	pid_t tid;
	uint32_t seen; /* number of the listing that saw it last */
	enum gy_task_role role;
	bool hurried; /* STOP-11 */
	int policy;   /* hurried: what it is to go back to */
	struct gy_stopped_thread *thread; /* ARRIVED, BLOCKED */
};

struct gy_task_table {
	struct gy_task_entry *entries;
	uint32_t count, capacity;
	uint32_t *index; /* open addressing: number of the entry + 1; twice the capacity */
	bool failed;     /* memory lacked: an entry is missing */
};

void gy_task_table_clear(struct gy_task_table *table);
/* NULL: there is none. */
struct gy_task_entry *gy_task_table_find(const struct gy_task_table *table, pid_t tid);
/* The entry of `tid`, which is not in the table; NULL: memory lacks. Moves the others. */
struct gy_task_entry *gy_task_table_add(struct gy_task_table *table, pid_t tid,
					enum gy_task_role role);

/* world_priority.c. [lock: world] */
void gy_stopper_prefer(void); /* STOP-10: the calling thread, for the time being */
void gy_stopper_prefer_no_more(void);
bool gy_stopper_is_preferred(void);
void gy_stopper_keep_clear_of_tick(void);
bool gy_stopper_may_hurry(void); /* STOP-11 */
bool gy_task_hurry(struct gy_task_entry *entry); /* did it? */
void gy_task_hurry_no_more(struct gy_task_entry *entry);

#endif
