/* weak.c - weak references and handles: words outside the heap that know an object.
 *
 * A handle's word is a root, scanned while marking; a store to it goes through the barrier (FIN-5).
 *
 * A weak reference's word is not a root, so gy_weak_get may turn up an object that nothing else
 * holds, and must not while its end is being decided. When no cycle is under way that is simple:
 * the pause finds what get has handed out, in the caller's registers. The fast half reads the word
 * between two looks at the flag and the epoch; the flip changes the epoch before it takes the flag
 * down (SPACE-7), so equal looks mean that no part of a cycle lay between them.
 *
 * While a cycle is under way get takes a lock, one of a few that threads share out among
 * themselves, and goes by `state`:
 *
 *	OPEN	  marking: shade the object, so that the cycle keeps it
 *	CLOSING   a try at termination is being made: a marked object may be had; for another, wait
 *		  until it is known how the try went
 *	CLEARING  marking is over: an unmarked object is gone
 *
 * WEAK-1  Who has written `state` then takes and releases each lock once. After that, whoever acted
 *	   by the old state has finished: what it shaded is marked, before marking is found to be
 *	   over; what it read of mark bits, it read before the flip.
 * WEAK-2  While CLEARING mark bits of unmarked objects that a weak reference knows do not change
 *	   until all are cleared: finalisers mark later.
 * WEAK-3  A thread that holds one of the locks is not stopped (LOCK-3): the pause does not fall
 *	   between get's look at the flag and at the word.
 *
 * A million weak references cost a cycle no pause: they are walked by the coordinator after
 * termination, while the program runs.
 */
#include "gc/cycle.h"
#include "gc/finalise.h"
#include "gc/table.h"

#include <sched.h>

#define GET_LOCKS 16
#define PREFETCH_AHEAD 8u

struct gyre_weak {
	void *object; /* [atomic: release in new, acquire in get; 0: cleared, or free] */
	struct gy_table_record *next;
};

struct gyre_handle {
	void *object; /* [atomic: relaxed] */
	struct gy_table_record *next;
};

enum { OPEN, CLOSING, CLEARING };

static struct {
	struct gy_table weaks, handles;
	uint32_t state; /* [atomic] WEAK-1 */
	uint64_t cleared; /* [atomic] */
	struct {
		struct gy_lock lock;
	} GY_ALIGNED(64) get[GET_LOCKS];
} weak_state = {
	.weaks = GY_TABLE_INIT(struct gyre_weak),
	.handles = GY_TABLE_INIT(struct gyre_handle),
};

static void *take_record(struct gy_table *table)
{
	void *record;

	gy_lock_acquire(&gy_finalise_lock);
	record = gy_table_take(table);
	gy_lock_release(&gy_finalise_lock);
	return record;
}

static void give_record(struct gy_table *table, void *record)
{
	gy_lock_acquire(&gy_finalise_lock);
	gy_table_give(table, record);
	gy_lock_release(&gy_finalise_lock);
}

/* ---- handles --------------------------------------------------------------------------------- */

struct gyre_handle *gy_handle_new(void *object)
{
	struct gyre_handle *handle = take_record(&weak_state.handles);

	if (handle)
		__atomic_store_n(&handle->object, object, __ATOMIC_RELEASE);
	return handle;
}

void *gy_handle_get(const struct gyre_handle *handle)
{
	return __atomic_load_n(&handle->object, __ATOMIC_ACQUIRE);
}

void gy_handle_set(struct gyre_handle *handle, void *object)
{
	gy_barrier_exchange(&handle->object, object);
}

void gy_handle_free(struct gyre_handle *handle)
{
	gy_barrier_exchange(&handle->object, NULL);
	give_record(&weak_state.handles, handle);
}

static void scan_handle(void *record, void *marker)
{
	void *object = READ_RELAXED(((struct gyre_handle *)record)->object);

	if (object)
		gy_mark_word(marker, (uintptr_t)object);
}

void gy_handle_scan_roots(struct gy_marker *marker)
{
	gy_table_each(&weak_state.handles, scan_handle, marker);
}

struct word_visit {
	void (*visit)(uintptr_t word, void *argument);
	void *argument;
};

static void visit_handle(void *record, void *argument)
{
	const struct word_visit *each = argument;

	each->visit((uintptr_t)((struct gyre_handle *)record)->object, each->argument);
}

void gy_handle_each(void (*visit_word)(uintptr_t word, void *argument), void *argument)
{
	struct word_visit each = {visit_word, argument};

	gy_table_each(&weak_state.handles, visit_handle, &each);
}

/* ---- weak references ------------------------------------------------------------------------- */

struct gyre_weak *gy_weak_new(void *object)
{
	struct gyre_weak *weak = take_record(&weak_state.weaks);

	if (weak)
		__atomic_store_n(&weak->object, object, __ATOMIC_RELEASE);
	return weak;
}

void gy_weak_free(struct gyre_weak *weak)
{
	__atomic_store_n(&weak->object, NULL, __ATOMIC_RELAXED);
	give_record(&weak_state.weaks, weak);
}

static bool is_marked(const void *address)
{
	struct gy_object object;

	return gy_object_find((uintptr_t)address, &object) && gy_object_is_marked(object);
}

/* One look under a lock; false: ask again. The state is read before the word: who reads OPEN, after
 * CLEARING, must find the word cleared. */
static bool get_locked(const struct gyre_weak *weak, void **object)
{
	uint32_t state = __atomic_load_n(&weak_state.state, __ATOMIC_ACQUIRE);

	*object = __atomic_load_n(&weak->object, __ATOMIC_ACQUIRE);
	if (!*object)
		return true;
	switch (state) {
	case OPEN:
		if (__atomic_load_n(&gyre_gc_marking, __ATOMIC_ACQUIRE) && !is_marked(*object))
			gy_barrier_shade(*object);
		return true;
	case CLOSING:
		return is_marked(*object);
	default:
		if (!is_marked(*object))
			*object = NULL;
		return true;
	}
}

/* No cycle under way, neither before nor after the look: false if that is not sure. */
static inline bool get_idle(const struct gyre_weak *weak, void **object)
{
	uint32_t epoch = __atomic_load_n(&gy_gc_epoch, __ATOMIC_ACQUIRE);

	if (unlikely(__atomic_load_n(&gyre_gc_marking, __ATOMIC_ACQUIRE)))
		return false;
	*object = __atomic_load_n(&weak->object, __ATOMIC_ACQUIRE);
	return likely(!__atomic_load_n(&gyre_gc_marking, __ATOMIC_ACQUIRE) &&
		      epoch == __atomic_load_n(&gy_gc_epoch, __ATOMIC_ACQUIRE));
}

static GY_NOINLINE void *get_slow(const struct gyre_weak *weak)
{
	struct gy_gc_thread *thread = gy_gc_self;
	struct gy_lock *lock = &weak_state.get[thread ? thread->mutator.tid % GET_LOCKS : 0].lock;
	void *object = NULL;
	bool answered;

	for (;;) {
		gy_lock_acquire(lock);
		answered = get_locked(weak, &object);
		gy_lock_release(lock);
		if (answered)
			return object;
		sched_yield();
	}
}

void *gy_weak_get(const struct gyre_weak *weak)
{
	void *object;

	return get_idle(weak, &object) ? object : get_slow(weak);
}

/* WEAK-1 */
static void set_state(uint32_t state)
{
	__atomic_store_n(&weak_state.state, state, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < GET_LOCKS; i++) {
		gy_lock_acquire(&weak_state.get[i].lock);
		gy_lock_release(&weak_state.get[i].lock);
	}
}

void gy_weak_close(void)
{
	set_state(CLOSING);
}

void gy_weak_open(void)
{
	set_state(OPEN);
}

/* What is walked next, so that its mark bits are on their way. */
struct clearing {
	struct gyre_weak *ahead[PREFETCH_AHEAD];
	unsigned at;
};

static void clear_if_dead(struct gyre_weak *weak)
{
	void *object = weak ? READ_RELAXED(weak->object) : NULL;

	/* Freed meanwhile, or given to another object: that one is marked, its maker held it. */
	if (object && !is_marked(object) &&
	    __atomic_compare_exchange_n(&weak->object, &object, NULL, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		ADD_RELAXED(weak_state.cleared, 1);
}

static void clear_visit(void *record, void *argument)
{
	struct clearing *clearing = argument;
	struct gyre_weak *weak = record, *due = clearing->ahead[clearing->at];
	size_t page = gy_page_of(READ_RELAXED(weak->object));

	clearing->ahead[clearing->at] = weak;
	clearing->at = (clearing->at + 1) % PREFETCH_AHEAD;
	if (page < READ_RELAXED(gy_gc_covered))
		__builtin_prefetch(&gy_gc_pages[page]);
	clear_if_dead(due);
}

void gy_weak_clear_dead(void)
{
	struct clearing clearing = {{NULL}, 0};

	set_state(CLEARING);
	gy_table_each(&weak_state.weaks, clear_visit, &clearing);
	for (unsigned i = 0; i < PREFETCH_AHEAD; i++)
		clear_if_dead(clearing.ahead[i]);
	set_state(OPEN);
}

uint64_t gy_weak_cleared_count(void)
{
	return READ_RELAXED(weak_state.cleared);
}

/* Also in a forked child, whose other threads are gone. */
void gy_weak_init(void)
{
	weak_state.state = OPEN;
	for (unsigned i = 0; i < GET_LOCKS; i++)
		gy_lock_init(&weak_state.get[i].lock, GY_RANK_finalise);
}
