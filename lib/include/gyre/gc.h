/* gc.h - objects that nobody frees: the public contract of Gyre's collector.
 *
 *	struct node { struct node *left, *right; long value; };
 *	static const struct gyre_type node_type = GYRE_TYPE(struct node, left, right);
 *
 *	struct node *n = gyre_new(&node_type);		// zeroed; collected when unreachable
 *	gyre_set(&n->left, gyre_new(&node_type));	// every store of a pointer INTO an object
 *
 * Objects are found through stacks, registers, global and thread-local variables of every loaded
 * object, registered ranges, handles, and other objects. Any thread may use all of this; none need
 * register. The rules in one place, with their reasons: gyre_gc(7).
 *
 * RULE-1  A pointer to an object that is stored into an object goes through gyre_set (or the
 *         atomic and bulk forms below). Stores to local, global and thread-local variables, and
 *         stores of anything into a leaf, are plain C.
 * RULE-2  malloc'd memory and mmap'd memory are not looked at: a pointer that lies only there keeps
 *         nothing alive. Use gyre_root_add, a handle, or a gyre_new_conservative block.
 * RULE-3  A pointer that is hidden (XOR, compressed, in a file) keeps nothing alive. One that
 *         points anywhere into an object keeps the whole object.
 *
 * Errors are NULL or -1 with errno set. No function runs code of the program's; those that allocate
 * may do a slice of the collector's work (an assist). x86-64 only.
 */
#ifndef GYRE_GC_H
#define GYRE_GC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- types ---------------------------------------------------------------------------------- */

#define GYRE_TYPE_FIELDS_MAX 16
#define GYRE_TYPE_MAP_WORDS 4 /* types of up to 2 KiB by macro; larger ones by gyre_type_make */

/* Where the pointers are in an object. Constant after its making; made by GYRE_TYPE or
 * gyre_type_make only. Bit i of the map: the i-th word of the object is a pointer. An object with a
 * tail goes on with elements of tail_bytes each, whose words the tail_map tells. */
struct gyre_type {
	uint64_t fingerprint;		     /* of what follows, for quick comparison */
	uint32_t bytes;			     /* size of the object, without its tail */
	uint32_t alignment;		     /* a power of 2, up to 4096 */
	uint32_t tail_bytes;		     /* size of an element of the tail; 0: no tail */
	uint32_t field_count;		     /* named below */
	uint64_t map[GYRE_TYPE_MAP_WORDS];   /* words 0 to 255 */
	uint64_t tail_map;		     /* words of one tail element: up to 64 */
	const uint64_t *long_map;	     /* instead of map, for objects above 2 KiB; or NULL */
	const char *name;		     /* for reports */
	const char *field_names;	     /* "left, right" */
	uint16_t field_offsets[GYRE_TYPE_FIELDS_MAX];
};

/* GYRE_TYPE, GYRE_TYPE_LEAF, GYRE_TYPE_TAIL, GYRE_TYPE_TAIL_ONLY, GYRE_TYPE_TAIL_LEAF - a type.
 * Each is the initialiser of a constant: static const struct gyre_type t = GYRE_TYPE(struct node,
 * left, right). GYRE_TYPE is for a struct with pointers in the named fields, GYRE_TYPE_LEAF for
 * one without pointers. The last member of a struct with a tail is a flexible array: of pointers
 * (GYRE_TYPE_TAIL; GYRE_TYPE_TAIL_ONLY, where there are no others), or of anything else
 * (GYRE_TYPE_TAIL_LEAF). What is not named is not looked at.
 * @T           the struct
 * @tail        its flexible array
 * @fields      1 to 16 of them, within the first 2 KiB. Each is a pointer, an array of pointers,
 *              or a struct of nothing but pointers; nested ones are named as in offsetof
 *              (list.next)
 * Returns      an initialiser
 * Errors       a field that can be none of these does not compile: array size is negative
 * Threads, Signals   a constant; of any
 * Since 0.1    Source  gc/layout.c */
#define GYRE_TYPE(T, ...) GYRE_TYPE_(T, sizeof(T), 0, 0, __VA_ARGS__)
#define GYRE_TYPE_LEAF(T)                                                                         \
	{                                                                                         \
		0x2545f4914f6cdd1dull * sizeof(T) + __alignof__(T), (uint32_t)sizeof(T),          \
			(uint32_t)__alignof__(T), 0, 0, {0}, 0, NULL, #T, "", {0}                 \
	}
#define GYRE_TYPE_TAIL(T, tail, ...)                                                              \
	GYRE_TYPE_(T, offsetof(T, tail), sizeof(((T *)0)->tail[0]),                               \
		   (2ull << (sizeof(((T *)0)->tail[0]) / 8 + 63) % 64) - 1, __VA_ARGS__)
#define GYRE_TYPE_TAIL_ONLY(T, tail)                                                              \
	{                                                                                         \
		0x2545f4914f6cdd1dull * offsetof(T, tail) + __alignof__(T) + 1,                   \
			(uint32_t)offsetof(T, tail), (uint32_t)__alignof__(T),                    \
			(uint32_t)sizeof(((T *)0)->tail[0]), 0, {0},                              \
			(2ull << (sizeof(((T *)0)->tail[0]) / 8 + 63) % 64) - 1, NULL, #T, "", {0} \
	}
#define GYRE_TYPE_TAIL_LEAF(T, tail, ...)                                                         \
	GYRE_TYPE_(T, offsetof(T, tail), sizeof(((T *)0)->tail[0]), 0, __VA_ARGS__)

/* gyre_type_make - a type made at run time, from a size and a bitmap.
 * Equal types share one record, which lives for ever.
 * @name        for reports; copied
 * @bytes       of the object, up to 1 GiB
 * @alignment   of the object: a power of 2, up to 4096
 * @bitmap      bit i of bitmap[i / 64] for each word of the object that is a pointer; NULL: none is
 * Returns      the type
 * Errors       EINVAL  name NULL, bytes or alignment out of bounds
 *              ENOMEM
 * Threads      any thread                 Signals  not async-signal-safe
 * Fork         allowed in the child
 * Cost         a lock and a comparison with the types there are
 * Since 0.1    Source  gc/layout.c */
const struct gyre_type *gyre_type_make(const char *name, size_t bytes, size_t alignment,
				       const uint64_t *bitmap);

/* ---- objects -------------------------------------------------------------------------------- */

/* gyre_new, gyre_new_array, gyre_new_tail - a zeroed object of a type, or several in a row.
 * gyre_new_array makes `count` of them in a row; a pointer anywhere into them, or just behind,
 * holds all. gyre_new_tail makes one whose flexible array has `count` elements.
 * @type        of GYRE_TYPE or gyre_type_make; must stay as it is for ever
 * @count       0 too
 * Returns      the object, aligned as its type says
 * Errors       ENOMEM  memory lacks, even after a cycle; or the size overflows
 *              EINVAL  array: the type has a tail; tail: it has none
 * Threads      any thread; none registers     Signals  not async-signal-safe
 * Fork         allowed in the child
 * Cost         some 15 instructions, and a share of the collection
 * Since 0.1    Source  gc/space.c */
void *gyre_new(const struct gyre_type *type);
void *gyre_new_array(const struct gyre_type *type, size_t count);
void *gyre_new_tail(const struct gyre_type *type, size_t count);

/* gyre_new_leaf, gyre_new_conservative - an object without a type.
 * A leaf is bytes that are NOT zeroed and never looked into. Of a conservative object, which is
 * zeroed, every aligned word may be a pointer; stores of pointers into it go through gyre_set all
 * the same.
 * @bytes       0 too
 * Returns      the object, aligned to 16; a pointer anywhere into it, or just behind, holds it
 * Errors       ENOMEM  memory lacks, even after a cycle
 * Threads      any thread                 Signals  not async-signal-safe
 * Fork         allowed in the child       Cost     as gyre_new_array
 * Since 0.1    Source  gc/space.c */
void *gyre_new_leaf(size_t bytes);
void *gyre_new_conservative(size_t bytes);

/* gyre_object_bytes - the bytes that an object really has.
 * @object      a pointer to it, or into it; or anything else
 * Returns      its bytes, at least as many as were asked for; 0 if it points to no live object
 * Errors       none
 * Threads      any thread                 Signals  async-signal-safe
 * Fork         allowed in the child       Cost     a few loads
 * Since 0.1    Source  gc/record.h */
size_t gyre_object_bytes(const void *object);

/* ---- stores --------------------------------------------------------------------------------- */

/* While not 0 a cycle marks, and stores must shade what they overwrite. For gyre_set only. */
extern uint32_t gyre_gc_marking;
extern void gyre_store_slow(void **slot, void *value);

/* gyre_set - store a pointer into an object: the barrier.
 * A macro: gyre_set(&object->field, value). Idle it is a flag test and the store, with one no-op
 * before them by which the collector knows the place: should it stop a thread between test and
 * store, it sets the thread back to the test. Against other threads it is a relaxed atomic store.
 * Also right, if not needed, on slots outside of the heap. In C++ a template.
 * @slot        address of a pointer in an object
 * @value       what it shall be
 * Returns      nothing
 * Errors       none
 * Threads      any thread                 Signals  async-signal-safe while no cycle marks
 * Cost         3 instructions; while a cycle marks some 5 ns more
 * Since 0.1    Source  gc/barrier.c */
#if defined(__x86_64__)
static inline __attribute__((always_inline)) void gyre_store_(void **slot, void *value)
{
	__asm__ goto("1: .byte 0x0f, 0x1f, 0x80, 0x47, 0x79, 0x72, 0x65\n\t" /* nopl "Gyre"(%rax) */
		     "cmpl $0, %[marking]\n\t"
		     "jne %l[slow]\n\t"
		     "movq %[value], (%[slot])"
		     :
		     : [marking] "m"(gyre_gc_marking), [slot] "r"(slot), [value] "r"(value)
		     : "memory", "cc"
		     : slow);
	return;
slow:
	gyre_store_slow(slot, value);
}
#else
#error "gyre/gc.h: x86-64 only"
#endif

#ifdef __cplusplus
} /* extern "C": templates follow */
template <typename T> struct gyre_same_ { typedef T type; };
template <typename T, typename V> struct gyre_from_void_ {};
template <typename T> struct gyre_from_void_<T, void> { typedef void type; };
template <> struct gyre_from_void_<void, void> {};
/* What converts to the slot's type. */
template <typename T> inline void gyre_set(T **slot, typename gyre_same_<T>::type *value)
{
	gyre_store_((void **)slot, (void *)value);
}
/* What gyre_new and its like return needs no cast. */
template <typename T, typename V>
inline typename gyre_from_void_<T, V>::type gyre_set(T **slot, V *value)
{
	gyre_store_((void **)slot, value);
}
extern "C" {
#else
#define gyre_set(slot, value)                                                                     \
	do {                                                                                      \
		__typeof__(*(slot)) *gyre_slot_ = (slot);                                         \
		__typeof__(*(slot)) gyre_value_ = (value);                                        \
		gyre_store_((void **)(void *)gyre_slot_, (void *)(uintptr_t)gyre_value_);         \
	} while (0)
#endif

/* gyre_atomic_load, gyre_atomic_store - a pointer that threads share without a lock.
 * Sequentially consistent. The store has the barrier in it.
 * @slot        address of a pointer in an object; outside of the heap too
 * Returns      load: the pointer
 * Errors       none
 * Threads      any thread                 Signals  load alone is async-signal-safe
 * Cost         a load; a locked instruction, and what gyre_set costs
 * Since 0.1    Source  gc/barrier.c */
void *gyre_atomic_load(void *const *slot);
void gyre_atomic_store(void **slot, void *value);

/* gyre_atomic_exchange, gyre_atomic_compare_exchange - swap a pointer that threads share.
 * Sequentially consistent. They shade what they replace.
 * @slot        address of a pointer in an object; outside of the heap too
 * @expected    as in C11: updated where the slot held something else
 * Returns      exchange: what was there; compare_exchange: whether it stored
 * Errors       none
 * Threads      any thread                 Signals  not async-signal-safe
 * Cost         a locked instruction, and what gyre_set costs
 * Since 0.1    Source  gc/barrier.c */
void *gyre_atomic_exchange(void **slot, void *value);
bool gyre_atomic_compare_exchange(void **slot, void **expected, void *value);

/* gyre_copy - copy pointers into an object.
 * Each is stored as by gyre_set.
 * @to          slots of an object
 * @from        as many pointers, anywhere; the two may overlap
 * @count       of pointers
 * Returns      nothing
 * Errors       none
 * Threads      any thread                 Signals  not async-signal-safe
 * Cost         some nanoseconds a pointer
 * Since 0.1    Source  gc/barrier.c */
void gyre_copy(void **to, void *const *from, size_t count);

/* ---- roots ---------------------------------------------------------------------------------- */

/* gyre_root_add, gyre_root_remove - memory of malloc or mmap that holds pointers to objects.
 * Every aligned word of [start, start + bytes) may be a pointer until the range is removed. It
 * must stay readable that long. It is scanned in the pause: keep ranges small.
 * @start       aligned to 8; to remove, the very start that was added
 * @bytes       at least 8
 * Returns      0, or -1
 * Errors       EINVAL  not aligned, or overlaps a root; remove: no such start
 *              ENOMEM
 * Threads      any thread                 Signals  not async-signal-safe
 * Fork         the child has the same roots
 * Cost         a lock, and a search
 * Since 0.1    Source  gc/roots.c */
int gyre_root_add(void *start, size_t bytes);
int gyre_root_remove(void *start);

struct gyre_handle;

/* gyre_handle_new, gyre_handle_get, gyre_handle_set, gyre_handle_free - a root anywhere.
 * A handle is memory of the library's; its address may lie in malloc'd memory, in a file, in
 * another language.
 * @object      what it holds; may be NULL
 * @handle      of free: NULL is nothing
 * Returns      new: the handle, or NULL; get: the object
 * Errors       ENOMEM
 * Threads      any thread; get and set are atomic     Signals  not async-signal-safe
 * Fork         the child has the same handles
 * Cost         new and free a lock; get a load; set as gyre_atomic_exchange. A share of marking
 * Since 0.1    Source  gc/weak.c */
struct gyre_handle *gyre_handle_new(void *object);
void *gyre_handle_get(const struct gyre_handle *handle);
void gyre_handle_set(struct gyre_handle *handle, void *object);
void gyre_handle_free(struct gyre_handle *handle);

/* ---- the end of an object ------------------------------------------------------------------- */

struct gyre_weak;

/* gyre_weak_new, gyre_weak_get, gyre_weak_free - a reference that does not hold its object.
 * It yields the object until a cycle found nothing else that holds it, then NULL for ever. What it
 * yields is held as any pointer is. A finaliser that saves the object does not bring its weak
 * references back.
 * @object      a pointer to an object, or into it: get yields the same
 * @weak        of free: NULL is nothing
 * Returns      new: the reference, or NULL; get: the object, or NULL
 * Errors       EINVAL  not an object
 *              ENOMEM
 * Threads      any thread                 Signals  not async-signal-safe
 * Fork         the child has the same references
 * Cost         get: five loads; while a cycle marks, a lock. No part of the pause
 * Since 0.1    Source  gc/weak.c */
struct gyre_weak *gyre_weak_new(void *object);
void *gyre_weak_get(const struct gyre_weak *weak);
void gyre_weak_free(struct gyre_weak *weak);

/* gyre_cleanup_add - have a function called when an object has gone.
 * Once, some time after the object was found unreachable and its weak references were cleared.
 * More than one may be added to an object. All cleanups and finalisers run one after the other on
 * a thread of their own, under no lock; they may do what any thread may.
 * @object      a pointer to an object, or into it
 * @run         what to call
 * @argument    its argument: held until the call has returned. It must not lead to the object
 * Returns      0, or -1
 * Errors       EINVAL  not an object, or run is NULL
 *              ENOMEM
 * Threads      any thread; the first call makes that thread     Signals  not async-signal-safe
 * Fork         the child has the same cleanups, and its own thread
 * Cost         a lock. No part of the pause
 * Since 0.1    Source  gc/finalise.c; Go's runtime.AddCleanup */
int gyre_cleanup_add(void *object, void (*run)(void *argument), void *argument);

/* gyre_finaliser_set - have a function called with an object that nothing holds any more.
 * The object, and what it leads to, stay for the call, and longer if the call saves them. Of
 * objects that lead to one another the outermost comes first; those in a ring of finalised objects
 * never run. One per object: a new one replaces the old. It runs where cleanups run, before those
 * of the same object. Prefer gyre_cleanup_add, which keeps nothing.
 * @object      a pointer to an object, or into it; the call gets the same
 * @finalise    what to call; NULL removes
 * @argument    held until the call has returned
 * Returns      0, or -1
 * Errors       EINVAL  not an object
 *              ENOMEM
 * Threads      any thread                 Signals  not async-signal-safe
 * Fork, Cost   as gyre_cleanup_add
 * Since 0.1    Source  gc/finalise.c; Go's runtime.SetFinalizer */
int gyre_finaliser_set(void *object, void (*finalise)(void *object, void *argument),
		       void *argument);

/* gyre_finalisers_wait - wait until every cleanup and finaliser that is due has returned.
 * Due are those whose object a finished cycle has found unreachable. Called from one of them it
 * returns at once.
 * Where the thread that runs them cannot be made, it returns without.
 * Returns      nothing
 * Errors       none
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Since 0.1    Source  gc/finalise.c */
void gyre_finalisers_wait(void);

/* ---- threads that wait ---------------------------------------------------------------------- */

/* gyre_blocking_begin, gyre_blocking_end - the calling thread waits, and touches no objects.
 * Between the two it neither reads nor writes objects, nor pointers to them in memory. It then
 * counts as stopped without a signal, so that a system call in it is not cut short by EINTR. Calls
 * nest. The function that calls begin calls end too, and does not return in between: registers are
 * saved as they are in its frame. The library's own waits do this by themselves.
 * Returns      nothing
 * Errors       none
 * Threads      each for itself; end waits while the world is stopped
 * Signals      not async-signal-safe
 * Cost         some 5 ns
 * Since 0.1    Source  mutator/world.c */
void gyre_blocking_begin(void);
void gyre_blocking_end(void);

/* ---- cycles --------------------------------------------------------------------------------- */

/* gyre_gc_run - a whole cycle, from its start to swept, in this call.
 * One that was asked for while another is under way waits for one that starts after the call.
 * Returns      0, or -1
 * Errors       EDEADLK  a thread cannot be stopped; it is named on stderr, with the reason
 *              EBUSY    the program has taken the collector's signal (option gc_signal); so told
 *              EAGAIN   the collector's thread cannot be made; or libraries were being loaded each
 *                       time it looked
 *              ENOMEM
 *              EMFILE, ENFILE, EIO   /proc/self/task cannot be read
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Fork         allowed in the child
 * Cost         marking what lives: some 100 ms a GiB
 * Since 0.1    Source  gc/cycle.c; Go's runtime.GC */
int gyre_gc_run(void);

/* gyre_gc_set_percent - by how much the heap may grow between cycles.
 * @percent     of what was live; 75 at first (GYRE_OPTIONS gc_percent). Below 0: no cycle by
 *              itself, but at the memory limit
 * Returns      the old one
 * Errors       none
 * Threads      any thread                 Signals  not async-signal-safe
 * Since 0.1    Source  gc/pacer.c; Go's debug.SetGCPercent */
int gyre_gc_set_percent(int percent);

/* gyre_gc_set_memory_limit - bytes above which cycles come sooner.
 * A soft limit on all of the library's memory.
 * @bytes       0: the cgroup's limit
 * Returns      the old one
 * Errors       none
 * Threads      any thread                 Signals  not async-signal-safe
 * Since 0.1    Source  gc/pacer.c; Go's debug.SetMemoryLimit */
uint64_t gyre_gc_set_memory_limit(uint64_t bytes);

/* gyre_gc_pause, gyre_gc_resume - no cycle starts by itself between the two.
 * Calls nest. A cycle under way goes on, and gyre_gc_run runs one all the same.
 * Returns      nothing
 * Errors       none
 * Threads      any thread, for all        Signals  not async-signal-safe
 * Since 0.1    Source  gc/cycle.c */
void gyre_gc_pause(void);
void gyre_gc_resume(void);

/* struct gyre_gc_stats - the collector in numbers, after Go's MemStats and runtime/metrics. */
struct gyre_gc_stats {
	uint64_t cycles;		   /* completed (NumGC) */
	uint64_t cycles_forced;		   /* of these, by gyre_gc_run (NumForcedGC) */
	uint64_t pause_max_ns;		   /* longest stop of the world */
	uint64_t pause_total_ns;	   /* all of them together (PauseTotalNs) */
	uint64_t pause_last_ns;
	uint64_t heap_live_bytes;	   /* marked by the last cycle (/gc/heap/live) */
	uint64_t heap_inuse_bytes;	   /* in objects now; garbage not yet swept too */
	uint64_t heap_goal_bytes;	   /* size at which the cycle should be done (NextGC) */
	double heap_growth_rate;	   /* heap goal / heap in use */
	uint64_t heap_span_bytes;	   /* in spans of objects */
	uint64_t objects_allocated;	   /* since start (Mallocs); as blocks fill */
	uint64_t bytes_allocated;	   /* since start (TotalAlloc) */
	uint64_t bytes_freed;		   /* since start, as sweeping finds them */
	uint64_t mark_bytes;		   /* scanned by the last cycle */
	uint64_t mark_total_ns;		   /* time from pause to flip, all cycles */
	uint64_t mark_cpu_ns;		   /* CPU time of workers */
	uint64_t assist_ns;		   /* CPU time of assists */
	uint64_t assists;
	uint64_t barrier_shades;	   /* overwritten pointers that barriers kept */
	uint64_t stack_bytes;		   /* scanned in the last pause */
	uint64_t root_bytes;		   /* globals, registered, thread-local; last pause */
	uint64_t threads_stopped;	   /* in the last pause, by a signal */
	uint64_t threads_blocked;	   /* in the last pause, found in a blocking region */
	uint64_t weak_cleared;
	uint64_t finalisers_run;	   /* and cleanups */
	uint64_t memory_limit_bytes;	   /* 0: none */
	uint64_t phase;			   /* 0 idle, 1 marking, 2 ending, 3 sweeping */
	uint64_t failed_stops;		   /* cycles given up: a thread did not stop */
	uint64_t heap_trigger_bytes;	   /* size at which the next cycle begins */
	int64_t percent;		   /* gyre_gc_set_percent's; below 0: no cycle by itself */
	uint64_t workers;		   /* marking threads */
};

/* gyre_gc_stats_read, gyre_gc_stats - the collector's numbers, now.
 * gyre_gc_stats(stats) is gyre_gc_stats_read(stats, sizeof *stats).
 * @stats       filled
 * @bytes       its size: a library that knows more fields leaves them out, one that knows fewer
 *              zeroes the rest
 * Returns      nothing
 * Errors       none
 * Threads      any thread                 Signals  not async-signal-safe
 * Fork         allowed in the child       Cost     a microsecond
 * Since 0.1    Source  gc/cycle.c; Go's runtime.ReadMemStats */
void gyre_gc_stats_read(struct gyre_gc_stats *stats, size_t bytes);
#define gyre_gc_stats(stats) gyre_gc_stats_read((stats), sizeof *(stats))

/* gyre_gc_verify - runs a cycle, then stops the world and checks it.
 * Every object that can be reached from the roots must have been marked, or be new. A line on
 * stderr tells of each lost one, up to 20: its type, and the field and slot that point to it. It
 * is lost because a store did without gyre_set, or by a fault of the collector's.
 * Returns      how many are lost; -1 where the world did not stop, or memory lacks
 * Errors       none
 * Threads      any thread; all others stand still while it looks     Signals  not async-signal-safe
 * Cost         a pause of some 100 ns an object: for tests
 * Since 0.1    Source  gc/verify.c */
long gyre_gc_verify(void);

/* ---- the macros' inner parts ---------------------------------------------------------------- */

#define GYRE_FIRST_(T, f) (offsetof(T, f) / 8)
#define GYRE_END_(T, f) ((offsetof(T, f) + sizeof(((T *)0)->f)) / 8)
#define GYRE_LOW_(T, f, w) (GYRE_FIRST_(T, f) > 64u * (w) ? GYRE_FIRST_(T, f) - 64u * (w) : 0)
#define GYRE_HIGH_(T, f, w)                                                                       \
	(GYRE_END_(T, f) >= 64u * (w) + 64 ? 64                                                   \
	 : GYRE_END_(T, f) > 64u * (w)	   ? GYRE_END_(T, f) - 64u * (w)                          \
					   : 0)
#define GYRE_BITS_(T, f, w)                                                                       \
	(GYRE_LOW_(T, f, w) < GYRE_HIGH_(T, f, w)                                                 \
		 ? ((2ull << (GYRE_HIGH_(T, f, w) - GYRE_LOW_(T, f, w) + 63) % 64) - 1)           \
			   << GYRE_LOW_(T, f, w) % 64                                             \
		 : 0)
/* A field that is no pointer, array of pointers or struct of these: a negative array size here. */
#define GYRE_SOUND_(T, f)                                                                         \
	(0 * sizeof(char[sizeof(((T *)0)->f) % 8 == 0 && offsetof(T, f) % 8 == 0 &&               \
					 offsetof(T, f) + sizeof(((T *)0)->f) <=                  \
						 8u * 64 * GYRE_TYPE_MAP_WORDS                    \
				 ? 1                                                              \
				 : -1]))

#define GYRE_OR_0_(T, f) GYRE_BITS_(T, f, 0) |
#define GYRE_OR_1_(T, f) GYRE_BITS_(T, f, 1) |
#define GYRE_OR_2_(T, f) GYRE_BITS_(T, f, 2) |
#define GYRE_OR_3_(T, f) GYRE_BITS_(T, f, 3) |
#define GYRE_PLUS_1_(T, f) +1 + GYRE_SOUND_(T, f)
#define GYRE_OFFSET_(T, f) (uint16_t)offsetof(T, f),
#define GYRE_MIX_(T, f) +(GYRE_FIRST_(T, f) + 1) * 0x9e3779b97f4a7c15ull * GYRE_END_(T, f)

#define GYRE_TYPE_(T, head, tail, tailmap, ...)                                                   \
	{                                                                                         \
		(0x2545f4914f6cdd1dull * (head) + 0xd6e8feb86659fd93ull * (tail) + (tailmap) +    \
		 __alignof__(T) GYRE_EACH_(GYRE_MIX_, T, __VA_ARGS__)),                           \
			(uint32_t)(head), (uint32_t)__alignof__(T), (uint32_t)(tail),             \
			(uint32_t)(0 GYRE_EACH_(GYRE_PLUS_1_, T, __VA_ARGS__)),                   \
			{GYRE_EACH_(GYRE_OR_0_, T, __VA_ARGS__) 0ull,                             \
			 GYRE_EACH_(GYRE_OR_1_, T, __VA_ARGS__) 0ull,                             \
			 GYRE_EACH_(GYRE_OR_2_, T, __VA_ARGS__) 0ull,                             \
			 GYRE_EACH_(GYRE_OR_3_, T, __VA_ARGS__) 0ull},                            \
			(uint64_t)(tailmap), NULL, #T, #__VA_ARGS__,                              \
		{                                                                                 \
			GYRE_EACH_(GYRE_OFFSET_, T, __VA_ARGS__)                                  \
		}                                                                                 \
	}
#define GYRE_EACH_(m, T, ...)                                                                     \
	GYRE_PICK_(__VA_ARGS__, GYRE_E16_, GYRE_E15_, GYRE_E14_, GYRE_E13_, GYRE_E12_, GYRE_E11_, \
		   GYRE_E10_, GYRE_E9_, GYRE_E8_, GYRE_E7_, GYRE_E6_, GYRE_E5_, GYRE_E4_,         \
		   GYRE_E3_, GYRE_E2_, GYRE_E1_, )                                                \
	(m, T, __VA_ARGS__)
#define GYRE_PICK_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, pick, ...) pick
#define GYRE_E1_(m, T, a) m(T, a)
#define GYRE_E2_(m, T, a, ...) m(T, a) GYRE_E1_(m, T, __VA_ARGS__)
#define GYRE_E3_(m, T, a, ...) m(T, a) GYRE_E2_(m, T, __VA_ARGS__)
#define GYRE_E4_(m, T, a, ...) m(T, a) GYRE_E3_(m, T, __VA_ARGS__)
#define GYRE_E5_(m, T, a, ...) m(T, a) GYRE_E4_(m, T, __VA_ARGS__)
#define GYRE_E6_(m, T, a, ...) m(T, a) GYRE_E5_(m, T, __VA_ARGS__)
#define GYRE_E7_(m, T, a, ...) m(T, a) GYRE_E6_(m, T, __VA_ARGS__)
#define GYRE_E8_(m, T, a, ...) m(T, a) GYRE_E7_(m, T, __VA_ARGS__)
#define GYRE_E9_(m, T, a, ...) m(T, a) GYRE_E8_(m, T, __VA_ARGS__)
#define GYRE_E10_(m, T, a, ...) m(T, a) GYRE_E9_(m, T, __VA_ARGS__)
#define GYRE_E11_(m, T, a, ...) m(T, a) GYRE_E10_(m, T, __VA_ARGS__)
#define GYRE_E12_(m, T, a, ...) m(T, a) GYRE_E11_(m, T, __VA_ARGS__)
#define GYRE_E13_(m, T, a, ...) m(T, a) GYRE_E12_(m, T, __VA_ARGS__)
#define GYRE_E14_(m, T, a, ...) m(T, a) GYRE_E13_(m, T, __VA_ARGS__)
#define GYRE_E15_(m, T, a, ...) m(T, a) GYRE_E14_(m, T, __VA_ARGS__)
#define GYRE_E16_(m, T, a, ...) m(T, a) GYRE_E15_(m, T, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
