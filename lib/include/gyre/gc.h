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
 * RULE-3  A pointer that is hidden (XOR, compressed, in a file) keeps nothing alive. One that points
 *         anywhere into an object keeps the whole object.
 *
 * Unless said otherwise: functions may be called from any thread, not from signal handlers; they
 * may allocate, run a slice of the collector's work (an assist), and never run user code.
 * x86-64 only. Errors are NULL or -1 with errno set.
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
	uint64_t tail_map;		     /* words of one tail element; an element has up to 64 */
	const uint64_t *long_map;	     /* instead of map, for objects above 2 KiB; or NULL */
	const char *name;		     /* for reports */
	const char *field_names;	     /* "left, right" */
	uint16_t field_offsets[GYRE_TYPE_FIELDS_MAX];
};

/* GYRE_TYPE(type, field...) - a type with pointers in the named fields, 1 to 16 of them. A field may
 * be a pointer, an array of pointers, or a struct of nothing but pointers; nested ones are named as
 * in offsetof (`list.next`). For a type without pointers use GYRE_TYPE_LEAF.
 * GYRE_TYPE_TAIL(type, tail, field...) - its last member is a flexible array: of pointers. */
#define GYRE_TYPE(T, ...) GYRE_TYPE_(T, sizeof(T), 0, 0, __VA_ARGS__)
#define GYRE_TYPE_TAIL(T, tail, ...)                                                              \
	GYRE_TYPE_(T, offsetof(T, tail), sizeof(((T *)0)->tail[0]),                               \
		   (2ull << (sizeof(((T *)0)->tail[0]) / 8 + 63) % 64) - 1, __VA_ARGS__)
/* The tail holds no pointers: bytes, numbers. */
#define GYRE_TYPE_TAIL_LEAF(T, tail, ...)                                                         \
	GYRE_TYPE_(T, offsetof(T, tail), sizeof(((T *)0)->tail[0]), 0, __VA_ARGS__)

/* A type made at run time: `bytes` and `alignment` of the object, bit i of bitmap[i / 64] for each
 * word that is a pointer (NULL: none). Equal ones share one record, which lives for ever. NULL and
 * EINVAL (bytes 0 or above 1 GiB, alignment no power of 2 or above 4096), ENOMEM. `name` is copied. */
const struct gyre_type *gyre_type_make(const char *name, size_t bytes, size_t alignment,
				       const uint64_t *bitmap);

/* ---- objects -------------------------------------------------------------------------------- */

/* A zeroed object. NULL and ENOMEM. Cost: some 15 instructions, and a share of the collection. */
void *gyre_new(const struct gyre_type *type);
/* `count` objects in a row, zeroed. One pointer anywhere into them, or just behind, holds all. NULL
 * and ENOMEM (also where count * bytes overflows). */
void *gyre_new_array(const struct gyre_type *type, size_t count);
/* One object with a flexible tail of `count` elements. NULL and ENOMEM; EINVAL without a tail. */
void *gyre_new_tail(const struct gyre_type *type, size_t count);
/* Pointer-free bytes, NOT zeroed, never looked into. Aligned to 16. */
void *gyre_new_leaf(size_t bytes);
/* Zeroed bytes, every aligned word of which may be a pointer. Stores of pointers into it go through
 * gyre_set all the same. Aligned to 16. */
void *gyre_new_conservative(size_t bytes);
/* Bytes that the object at (or around) `object` really has; 0 if it is not a live object's. */
size_t gyre_object_bytes(const void *object);

/* ---- stores --------------------------------------------------------------------------------- */

/* While not 0 a cycle marks, and stores must shade what they overwrite. Read by gyre_set only. */
extern uint32_t gyre_gc_marking;
void gyre_store_slow(void **slot, void *value);

/* gyre_set(&object->field, value) - the store barrier. Idle: a flag test and the store, with one
 * no-op before them by which the collector knows the place: should it stop a thread between test and
 * store, it sets the thread back to the test. Safe against other threads' stores as a plain aligned
 * store is (relaxed). Also right, if not needed, on slots outside of the heap. */
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
template <typename T, typename V> static inline void gyre_set(T **slot, V value)
{
	T *typed = value;

	gyre_store_((void **)slot, (void *)typed);
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

/* The same on slots that threads share without a lock. All are sequentially consistent; exchange and
 * compare-and-swap shade what they replace. `expected` is updated on failure, as in C11. */
void *gyre_atomic_load(void *const *slot);
void gyre_atomic_store(void **slot, void *value);
void *gyre_atomic_exchange(void **slot, void *value);
bool gyre_atomic_compare_exchange(void **slot, void **expected, void *value);
/* Copies `count` pointers from `from` to slots of an object; may overlap. */
void gyre_copy(void **to, void *const *from, size_t count);

/* ---- roots ---------------------------------------------------------------------------------- */

/* Every aligned word of [start, start + bytes) may be a pointer from now on: memory of malloc or
 * mmap that the collector would not look at. It must stay readable until removed. Scanned in the
 * pause: keep ranges small. 0, or -1 with EINVAL (not aligned, overlaps a root), ENOMEM. */
int gyre_root_add(void *start, size_t bytes);
/* The very start that was added; -1 and EINVAL where it was not. */
int gyre_root_remove(void *start);

/* A handle holds one object from anywhere, malloc'd memory for instance. */
struct gyre_handle;
struct gyre_handle *gyre_handle_new(void *object); /* NULL and ENOMEM */
void *gyre_handle_get(const struct gyre_handle *handle);
void gyre_handle_set(struct gyre_handle *handle, void *object);
void gyre_handle_free(struct gyre_handle *handle); /* NULL is nothing */

/* ---- the end of an object ------------------------------------------------------------------- */

/* A weak reference yields its object until a cycle found nothing else that holds it, then NULL for
 * ever. What it yields is held as any pointer is. A finaliser that saves the object does not bring
 * its weak references back. */
struct gyre_weak;
struct gyre_weak *gyre_weak_new(void *object); /* NULL and ENOMEM; EINVAL: not an object */
void *gyre_weak_get(const struct gyre_weak *weak);
void gyre_weak_free(struct gyre_weak *weak); /* NULL is nothing */

/* Calls run(argument) once, some time after the object has gone. The argument must not lead to the
 * object. More than one may be added. 0, or -1 with EINVAL (no object of ours), ENOMEM. */
int gyre_cleanup_add(void *object, void (*run)(void *argument), void *argument);
/* Calls finalise(object, argument) once the object was found unreachable; it, and what it leads to,
 * stay for the call, and longer if the call saves them. Of objects that lead to one another the
 * outermost comes first; those in a cycle of finalised objects never run. One per object: a new one
 * replaces the old, NULL removes it. 0, or -1 with EINVAL, ENOMEM.
 * Both kinds run one after the other on a thread of their own, under no lock. */
int gyre_finaliser_set(void *object, void (*finalise)(void *object, void *argument),
		       void *argument);
/* Waits until every cleanup and finaliser that is due has returned. Not from one of them. */
void gyre_finalisers_wait(void);

/* ---- threads that wait ---------------------------------------------------------------------- */

/* Between the two the calling thread does not touch objects, or pointers to them, in memory. It then
 * counts as stopped without a signal, so a wait in it is not cut short by EINTR. Cost: some 5 ns.
 * Calls nest. The library's own waits do this by themselves. */
void gyre_blocking_begin(void);
void gyre_blocking_end(void);

/* ---- cycles --------------------------------------------------------------------------------- */

/* A whole cycle from start to swept, in this call. 0, or -1 and EDEADLK where a thread blocks the
 * collector's signal (named on stderr), ENOMEM. A run that was asked for while another is under way
 * waits for one that starts after the call. */
int gyre_gc_run(void);
/* The heap may grow by this share of what was live; default 100 (GYRE_OPTIONS gc_percent). Below 0:
 * no cycle by itself, but at the memory limit. Returns the old one. */
int gyre_gc_set_percent(int percent);
/* Soft limit on the bytes of all of the library's memory, above which cycles come sooner; 0: the
 * cgroup's. Returns the old one. */
uint64_t gyre_gc_set_memory_limit(uint64_t bytes);
/* No cycle starts between the two; calls nest. One under way goes on. */
void gyre_gc_pause(void);
void gyre_gc_resume(void);

/* The collector in numbers, after Go's MemStats and runtime/metrics. */
struct gyre_gc_stats {
	uint64_t cycles;		   /* completed (NumGC) */
	uint64_t cycles_forced;		   /* of these, by gyre_gc_run (NumForcedGC) */
	uint64_t pause_max_ns;		   /* longest stop of the world */
	uint64_t pause_total_ns;	   /* all of them together (PauseTotalNs) */
	uint64_t pause_last_ns;
	uint64_t heap_live_bytes;	   /* marked by the last cycle (/gc/heap/live) */
	uint64_t heap_inuse_bytes;	   /* in objects now: live, new, and garbage not yet swept */
	uint64_t heap_goal_bytes;	   /* size at which the cycle should be done (NextGC) */
	double heap_growth_rate;	   /* heap goal / heap in use */
	uint64_t heap_span_bytes;	   /* in spans of objects */
	uint64_t objects_allocated;	   /* since start (Mallocs); counted by spans as they fill */
	uint64_t bytes_allocated;	   /* since start (TotalAlloc) */
	uint64_t bytes_freed;		   /* since start, as sweeping finds them */
	uint64_t mark_bytes;		   /* scanned by the last cycle */
	uint64_t mark_total_ns;		   /* time from pause to flip, all cycles */
	uint64_t mark_cpu_ns;		   /* CPU time of workers */
	uint64_t assist_ns;		   /* CPU time of assists */
	uint64_t assists;
	uint64_t barrier_shades;	   /* overwritten pointers that barriers kept */
	uint64_t stack_bytes;		   /* scanned in the last pause */
	uint64_t root_bytes;		   /* globals, thread-local and registered, in the last pause */
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
/* Fills *stats; bytes is sizeof *stats: a library that knows more fields leaves them out, one that
 * knows fewer zeroes the rest. */
void gyre_gc_stats_read(struct gyre_gc_stats *stats, size_t bytes);
#define gyre_gc_stats(stats) gyre_gc_stats_read((stats), sizeof *(stats))

/* Stops the world and marks again from the roots, after a cycle: every object that can be reached
 * must have been marked or be new. Prints a line for each lost object (its type, and the field
 * and slot that still point to it), up to 20. Returns how many; -1 where the world did not stop.
 * Pauses as long as it takes: for tests. */
long gyre_gc_verify(void);

/* ---- the macros' inner parts ---------------------------------------------------------------- */

#define GYRE_FIRST_(T, f) (offsetof(T, f) / 8)
#define GYRE_END_(T, f) ((offsetof(T, f) + sizeof(((T *)0)->f)) / 8)
#define GYRE_LOW_(T, f, w) (GYRE_FIRST_(T, f) > 64u * (w) ? GYRE_FIRST_(T, f) - 64u * (w) : 0)
#define GYRE_HIGH_(T, f, w)                                                                       \
	(GYRE_END_(T, f) >= 64u * (w) + 64 ? 64                                                   \
					   : GYRE_END_(T, f) > 64u * (w) ? GYRE_END_(T, f) - 64u * (w) : 0)
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
		 __alignof__(T) GYRE_EACH_(GYRE_MIX_, T, __VA_ARGS__)),                              \
			(uint32_t)(head), (uint32_t)__alignof__(T), (uint32_t)(tail),                \
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
/* GYRE_TYPE_LEAF(type) - a type without pointers. */
#define GYRE_TYPE_LEAF(T)                                                                         \
	{                                                                                         \
		0x2545f4914f6cdd1dull * sizeof(T) + __alignof__(T), (uint32_t)sizeof(T),             \
			(uint32_t)__alignof__(T), 0, 0, {0}, 0, NULL, #T, "", {0}                    \
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
