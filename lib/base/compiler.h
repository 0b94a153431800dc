/* compiler.h - what we ask of the compiler, under names of our own.
 *
 * Attributes, branch hints, the three strengths of assertion, and the gates. A gate is a macro that
 * is always 0 or 1 and is used in a plain `if`, so that both sides always compile.
 *
 *   CHECK(cond)          always on: guards what would corrupt memory if it were wrong
 *   ASSERT(cond)         debug builds (CHECK=full)
 *   INVARIANT(ID, cond)  expensive checks, debug builds; ID is the number in a file's essay
 *
 * The off forms still compile the condition.
 */
#ifndef GY_BASE_COMPILER_H
#define GY_BASE_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define GY_EXPORT __attribute__((visibility("default")))
#define GY_HIDDEN __attribute__((visibility("hidden")))
#define GY_NOINLINE __attribute__((noinline))
#define GY_INLINE static inline __attribute__((always_inline))
#define GY_COLD __attribute__((cold))
#define GY_UNUSED __attribute__((unused))
#define GY_ALIGNED(n) __attribute__((aligned(n)))
#define GY_TLS_INITIAL_EXEC __attribute__((tls_model("initial-exec")))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#ifndef GYRE_CHECK_FULL
#define GYRE_CHECK_FULL 0 /* gate: expensive assertions, ranked locks */
#endif
#ifndef GYRE_PROBES
#define GYRE_PROBES 1 /* gate: USDT probes are compiled in */
#endif
#if defined(__SANITIZE_THREAD__)
#define GY_TSAN 1
#else
#define GY_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define GY_ASAN 1
#else
#define GY_ASAN 0
#endif

/* A function that reads what other threads write without a lock and without atomics, by design
 * (numbers and hints, never trusted): ThreadSanitizer must not look at it. */
#if GY_TSAN && defined(__clang__)
#define GY_RACY_READER __attribute__((no_sanitize("thread"), noinline))
#elif GY_TSAN /* noipa: or the load moves into the caller */
#define GY_RACY_READER __attribute__((no_sanitize("thread"), noipa))
#else
#define GY_RACY_READER
#endif

__attribute__((noreturn, cold)) void gy_panic_at(const char *file, unsigned line, const char *what);

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (unlikely(!(cond)))                                                             \
			gy_panic_at(__FILE__, __LINE__, #cond);                                    \
	} while (0)
#define ASSERT(cond)                                                                               \
	do {                                                                                       \
		if (GYRE_CHECK_FULL && unlikely(!(cond)))                                          \
			gy_panic_at(__FILE__, __LINE__, #cond);                                    \
	} while (0)
#define INVARIANT(id, cond)                                                                        \
	do {                                                                                       \
		if (GYRE_CHECK_FULL && unlikely(!(cond)))                                          \
			gy_panic_at(__FILE__, __LINE__, #id ": " #cond);                           \
	} while (0)

/* Racy by design: a number read for statistics or as a hint, never trusted. */
#define READ_RELAXED(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_RELAXED(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define ADD_RELAXED(x, v) ((void)__atomic_fetch_add(&(x), (v), __ATOMIC_RELAXED))
#define SUB_RELAXED(x, v) ((void)__atomic_fetch_sub(&(x), (v), __ATOMIC_RELAXED))

#endif
