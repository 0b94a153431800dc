/* thread.h - a thread as the collector knows it: its cursors, its barrier buffer, its credit. */
#ifndef GY_GC_THREAD_H
#define GY_GC_THREAD_H

#include "gc/barrier.h"
#include "gc/space.h"
#include "mutator/world.h"

struct gy_gc_thread {
	struct gy_mutator mutator; /* first */
	struct gy_type_slot types[GY_TYPE_SLOTS];
	struct gy_sized_slot sized[GY_SIZED_SLOTS];
	struct gy_layout_slot layouts[GY_LAYOUT_SLOTS];
	struct gy_cursor *chains[GY_CURSOR_CHAINS]; /* by layout and size; by `next_in_chain` */
	struct gy_cursor *cursors;                  /* all of the thread's, by `following` */
	struct gy_barrier barrier;
	int64_t assist_credit; /* bytes it may allocate before it must assist */
	uint64_t taken_seen;
};

/* The calling thread's; NULL before its first use of the collector. */
extern __thread struct gy_gc_thread *gy_gc_self GY_TLS_INITIAL_EXEC GY_HIDDEN;

/* Makes it, once a thread; starts the collector with the first. NULL: memory lacks. */
struct gy_gc_thread *gy_gc_thread_attach(void);

/* For a wait of the program's, once the collector has started: the calling thread's record, made if
 * there is none; NULL: the wait cannot be a blocking region. Async-signal-safe. */
struct gy_mutator *gy_gc_waiter(void);

/* Has any thread used the collector? */
extern uint32_t gy_gc_is_up GY_HIDDEN; /* [atomic: release in collector_start] */

GY_INLINE bool gy_gc_started(void)
{
	return __atomic_load_n(&gy_gc_is_up, __ATOMIC_ACQUIRE);
}

/* Between cycles, by the coordinator: takes back the records of threads that are gone (ATTACH-5).
 */
void gy_gc_threads_reap(void);
void gy_gc_thread_fork_child(void);

GY_INLINE struct gy_gc_thread *gy_gc_thread(void)
{
	struct gy_gc_thread *thread = gy_gc_self;

	return likely(thread != NULL) ? thread : gy_gc_thread_attach();
}

/* Takes the cursor's next slot; NULL: it has none. Why without a look at the collector's phase:
 * what is behind `next` was made black, where that was due, when it was claimed, or in the pause
 * (SPACE-2, SPACE-3). */
GY_INLINE void *gy_cursor_take(struct gy_cursor *cursor)
{
	char *object = cursor->next;

	if (unlikely(object == cursor->limit))
		return NULL;
	if (!object) /* the compiler need not ask again whether we return NULL */
		__builtin_unreachable();
	cursor->next = object + cursor->object_bytes;
	return object;
}

/* gyre_new's fast path: NULL sends the caller to gy_space_new. */
GY_INLINE void *gy_space_fast_new(struct gy_gc_thread *thread, const struct gyre_type *type)
{
	struct gy_type_slot *slot = &thread->types[gy_type_hash(type) % GY_TYPE_SLOTS];

	if (unlikely(slot->type != type || slot->fingerprint != type->fingerprint))
		return NULL;
	return gy_cursor_take(slot->cursor);
}

/* The same for arrays, tails and bytes: NULL sends the caller to gy_space_new_sized. */
GY_INLINE void *gy_space_fast_sized(struct gy_gc_thread *thread, const struct gy_layout *layout,
				    size_t bytes)
{
	struct gy_sized_slot *slot = &thread->sized[gy_sized_hash(layout, bytes)];

	if (unlikely(slot->layout != layout || slot->words != bytes / 8))
		return NULL;
	return gy_cursor_take(slot->cursor);
}

/* gy_layout_of, where the thread has asked for it before; NULL: call that. */
GY_INLINE const struct gy_layout *gy_layout_seen(struct gy_gc_thread *thread,
						 const struct gyre_type *type, bool array)
{
	struct gy_layout_slot *slot = &thread->layouts[gy_type_hash(type) % GY_LAYOUT_SLOTS];

	if (unlikely(slot->type != type || slot->fingerprint != type->fingerprint ||
		     slot->array != array))
		return NULL;
	return slot->layout;
}

#endif
