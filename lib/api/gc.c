/* gc.c - the functions of gyre/gc.h: validate, call down, say why in errno.
 *
 * Allocation has its fast half here, inline from gc/space.h: the thread's cursor for the type, a
 * compare, an add. Where memory lacks, one cycle is run and the request tried once more: garbage
 * may be all that is in the way. Stores are in gc/barrier.c, and inline in the header.
 */
#include <gyre/gc.h>

#include "gc/cycle.h"
#include "gc/finalise.h"
#include "gc/roots.h"
#include "gc/thread.h"
#include "heap/gate.h"
#include "trace/events.h"

#include <errno.h>
#include <string.h>

#define TYPE_BYTES_MAX ((size_t)1 << 30)
#define TYPE_ALIGNMENT_MAX 4096u

/* The public convention: 0, or -1 with errno. */
static int result(int status)
{
	if (!status)
		return 0;
	errno = -status;
	return -1;
}

GY_EXPORT const struct gyre_type *gyre_type_make(const char *name, size_t bytes, size_t alignment,
						 const uint64_t *bitmap)
{
	const struct gyre_type *type = NULL;

	if (!name || !bytes || bytes > TYPE_BYTES_MAX || !alignment ||
	    alignment > TYPE_ALIGNMENT_MAX || (alignment & (alignment - 1))) {
		errno = EINVAL;
		return NULL;
	}
	if (gy_gc_thread())
		type = gy_type_make(name, bytes, alignment, bitmap);
	if (!type)
		errno = ENOMEM;
	return type;
}

/* ---- objects --------------------------------------------------------------------------------- */

#define CALLER() ((uintptr_t)__builtin_return_address(0))

/* While events are recorded every request takes its slow half, which tells of the object. */
static GY_NOINLINE void record_new(const void *object, uintptr_t caller_pc)
{
	struct gy_object found;

	if (gy_object_find((uintptr_t)object, &found))
		gy_events_record(GYRE_RECORD_NEW, 0, object, gy_object_bytes(found), caller_pc);
}

/* This thread, where the fast half may serve; else NULL. */
static inline struct gy_gc_thread *fast_thread(void)
{
	return unlikely(gy_gate_is_closed()) ? NULL : gy_gc_self;
}

/* What the sized forms ask for: a layout, or a type whose layout is looked up at each try. */
struct request {
	const struct gyre_type *type; /* NULL: `layout` is given */
	const struct gy_layout *layout;
	bool array;
	size_t bytes;
};

static void *try_sized(const struct request *request)
{
	struct gy_gc_thread *thread = gy_gc_thread();
	const struct gy_layout *layout = request->layout;

	if (!thread)
		return NULL;
	if (request->type)
		layout = gy_layout_of(request->type, request->array);
	return layout ? gy_space_new_sized(thread, layout, request->bytes) : NULL;
}

static GY_NOINLINE void *new_sized(const struct request *request, uintptr_t caller_pc)
{
	void *object = try_sized(request);

	if (unlikely(!object) && gy_gc_self && !gy_cycle_run())
		object = try_sized(request);
	if (unlikely(!object))
		errno = ENOMEM;
	else if (unlikely(gy_gate_is_closed()))
		record_new(object, caller_pc);
	return object;
}

static GY_NOINLINE void *new_slow(const struct gyre_type *type, uintptr_t caller_pc)
{
	struct gy_gc_thread *thread = gy_gc_thread();
	void *object = NULL;

	if (thread) {
		object = gy_space_new(thread, type);
		if (unlikely(!object) && !gy_cycle_run())
			object = gy_space_new(thread, type);
	}
	if (unlikely(!object))
		errno = ENOMEM;
	else if (unlikely(gy_gate_is_closed()))
		record_new(object, caller_pc);
	return object;
}

GY_EXPORT void *gyre_new(const struct gyre_type *type)
{
	struct gy_gc_thread *thread = fast_thread();
	void *object;

	if (likely(thread != NULL)) {
		object = gy_space_fast_new(thread, type);
		if (likely(object != NULL))
			return object;
	}
	return new_slow(type, CALLER());
}

/* The fast half of the sized forms, for a type that this thread has used so before. */
static inline void *fast_sized(const struct gyre_type *type, bool array, size_t bytes)
{
	struct gy_gc_thread *thread = fast_thread();
	const struct gy_layout *layout;

	if (unlikely(!thread))
		return NULL;
	layout = gy_layout_seen(thread, type, array);
	return likely(layout != NULL) ? gy_space_fast_sized(thread, layout, bytes) : NULL;
}

GY_EXPORT void *gyre_new_array(const struct gyre_type *type, size_t count)
{
	struct request request = {.type = type, .array = true};
	void *object;

	if (unlikely(type->tail_bytes)) {
		errno = EINVAL; /* elements would differ in size */
		return NULL;
	}
	if (unlikely(__builtin_mul_overflow((size_t)type->bytes, count, &request.bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	object = fast_sized(type, true, request.bytes);
	return likely(object != NULL) ? object : new_sized(&request, CALLER());
}

GY_EXPORT void *gyre_new_tail(const struct gyre_type *type, size_t count)
{
	struct request request = {.type = type};
	void *object;

	if (unlikely(!type->tail_bytes)) {
		errno = EINVAL;
		return NULL;
	}
	if (unlikely(__builtin_mul_overflow((size_t)type->tail_bytes, count, &request.bytes) ||
		     __builtin_add_overflow(request.bytes, (size_t)type->bytes, &request.bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	object = fast_sized(type, false, request.bytes);
	return likely(object != NULL) ? object : new_sized(&request, CALLER());
}

/* The two layouts without a type are there once the collector has started. */
static GY_NOINLINE void *new_plain_slow(enum gy_layout_kind kind, size_t bytes,
					 uintptr_t caller_pc)
{
	struct request request = {.bytes = bytes};

	if (!gy_gc_thread()) {
		errno = ENOMEM;
		return NULL;
	}
	request.layout = gy_layouts[kind];
	return new_sized(&request, caller_pc);
}

static inline void *new_plain(enum gy_layout_kind kind, size_t bytes, uintptr_t caller_pc)
{
	struct gy_gc_thread *thread = fast_thread();
	void *object = thread ? gy_space_fast_sized(thread, gy_layouts[kind], bytes) : NULL;

	return likely(object != NULL) ? object : new_plain_slow(kind, bytes, caller_pc);
}

GY_EXPORT void *gyre_new_leaf(size_t bytes)
{
	return new_plain(GY_LAYOUT_LEAF, bytes, CALLER());
}

GY_EXPORT void *gyre_new_conservative(size_t bytes)
{
	return new_plain(GY_LAYOUT_CONSERVATIVE, bytes, CALLER());
}

GY_EXPORT size_t gyre_object_bytes(const void *object)
{
	struct gy_object found;

	if (!gy_gc_started() || !gy_object_find((uintptr_t)object, &found) ||
	    !gy_object_is_allocated(found))
		return 0;
	return gy_object_bytes(found);
}

/* ---- stores ---------------------------------------------------------------------------------- */

GY_EXPORT void *gyre_atomic_load(void *const *slot)
{
	return __atomic_load_n(slot, __ATOMIC_SEQ_CST);
}

GY_EXPORT void gyre_atomic_store(void **slot, void *value)
{
	gy_barrier_exchange(slot, value);
}

GY_EXPORT void *gyre_atomic_exchange(void **slot, void *value)
{
	return gy_barrier_exchange(slot, value);
}

GY_EXPORT bool gyre_atomic_compare_exchange(void **slot, void **expected, void *value)
{
	return gy_barrier_compare_exchange(slot, expected, value);
}

GY_EXPORT void gyre_copy(void **to, void *const *from, size_t count)
{
	gy_barrier_copy(to, from, count);
}

/* ---- roots ----------------------------------------------------------------------------------- */

GY_EXPORT int gyre_root_add(void *start, size_t bytes)
{
	if (!start || (uintptr_t)start % sizeof(void *) || bytes < sizeof(void *) ||
	    (uintptr_t)start + bytes < (uintptr_t)start)
		return result(-EINVAL);
	return result(gy_gc_thread() ? gy_root_range_add(start, bytes) : -ENOMEM);
}

GY_EXPORT int gyre_root_remove(void *start)
{
	return result(gy_gc_started() && gy_gc_thread() ? gy_root_range_remove(start) : -EINVAL);
}

GY_EXPORT struct gyre_handle *gyre_handle_new(void *object)
{
	struct gyre_handle *handle = gy_gc_thread() ? gy_handle_new(object) : NULL;

	if (!handle)
		errno = ENOMEM;
	return handle;
}

GY_EXPORT void *gyre_handle_get(const struct gyre_handle *handle)
{
	return gy_handle_get(handle);
}

GY_EXPORT void gyre_handle_set(struct gyre_handle *handle, void *object)
{
	gy_handle_set(handle, object);
}

GY_EXPORT void gyre_handle_free(struct gyre_handle *handle)
{
	if (handle)
		gy_handle_free(handle);
}

/* ---- the end of an object -------------------------------------------------------------------- */

static bool is_object(const void *object)
{
	struct gy_object found;

	return gy_gc_started() && gy_object_find((uintptr_t)object, &found) &&
	       gy_object_is_allocated(found);
}

GY_EXPORT struct gyre_weak *gyre_weak_new(void *object)
{
	struct gyre_weak *weak;

	if (!is_object(object)) {
		errno = EINVAL;
		return NULL;
	}
	weak = gy_gc_thread() ? gy_weak_new(object) : NULL;
	if (!weak)
		errno = ENOMEM;
	return weak;
}

GY_EXPORT void *gyre_weak_get(const struct gyre_weak *weak)
{
	return gy_weak_get(weak);
}

GY_EXPORT void gyre_weak_free(struct gyre_weak *weak)
{
	if (weak)
		gy_weak_free(weak);
}

GY_EXPORT int gyre_cleanup_add(void *object, void (*run)(void *argument), void *argument)
{
	if (!run || !is_object(object))
		return result(-EINVAL);
	return result(gy_gc_thread() ? gy_cleanup_add(object, run, argument) : -ENOMEM);
}

GY_EXPORT int gyre_finaliser_set(void *object, void (*finalise)(void *object, void *argument),
				 void *argument)
{
	if (!is_object(object))
		return result(-EINVAL);
	return result(gy_gc_thread() ? gy_finaliser_set(object, finalise, argument) : -ENOMEM);
}

GY_EXPORT void gyre_finalisers_wait(void)
{
	if (gy_gc_started() && gy_gc_thread())
		gy_finalise_wait();
}

/* ---- threads that wait ----------------------------------------------------------------------- */

/* The call is the last thing done, so that it becomes a jump: what gy_blocking_begin saves of the
 * registers is then what the program had in them. */
GY_EXPORT void gyre_blocking_begin(void)
{
	struct gy_gc_thread *thread = gy_gc_thread();

	if (likely(thread != NULL))
		gy_blocking_begin(&thread->mutator);
}

GY_EXPORT void gyre_blocking_end(void)
{
	struct gy_gc_thread *thread = gy_gc_self;

	if (likely(thread != NULL))
		gy_blocking_end(&thread->mutator);
}

/* ---- cycles ---------------------------------------------------------------------------------- */

/* Overwrites what returned calls have left below: the frames of the wait, which do not write all of
 * themselves, will be scanned. Without it the last objects that were used seem to be held. */
static GY_NOINLINE void clear_dead_frames(void)
{
	volatile uintptr_t dead[256];

	for (size_t i = 0; i < ARRAY_SIZE(dead); i++)
		dead[i] = 0;
}

GY_EXPORT int gyre_gc_run(void)
{
	clear_dead_frames();
	return result(gy_gc_thread() ? gy_cycle_run() : -ENOMEM);
}

GY_EXPORT int gyre_gc_set_percent(int percent)
{
	/* Without memory for the collector there is no cycle, and nothing to set. */
	return gy_gc_thread() ? gy_cycle_set_percent(percent) : -1;
}

GY_EXPORT uint64_t gyre_gc_set_memory_limit(uint64_t bytes)
{
	return gy_gc_thread() ? gy_cycle_set_memory_limit(bytes) : 0;
}

GY_EXPORT void gyre_gc_pause(void)
{
	if (gy_gc_thread())
		gy_cycle_pause(true);
}

GY_EXPORT void gyre_gc_resume(void)
{
	if (gy_gc_thread())
		gy_cycle_pause(false);
}

GY_EXPORT void gyre_gc_stats_read(struct gyre_gc_stats *stats, size_t bytes)
{
	struct gyre_gc_stats now;

	memset(&now, 0, sizeof(now));
	if (gy_gc_started())
		gy_cycle_read_stats(&now);
	memset(stats, 0, bytes);
	memcpy(stats, &now, MIN(bytes, sizeof(now)));
}

GY_EXPORT long gyre_gc_verify(void)
{
	clear_dead_frames();
	return gy_gc_thread() ? gy_cycle_verify() : -1;
}
