/* probe.h - USDT probes, declared in probes.def, fired by GY_PROBEn(name, arguments...).
 *
 * A probe is systemtap's: an ELF note that names a one-byte nop, its arguments and a semaphore. The
 * semaphore is a 16-bit counter in the section .probes that a tracer's uprobe raises while it is
 * attached; the arguments are computed only then. Untraced, a probe is one compare and one branch
 * that is never taken.
 *
 * PROBE-1  One site per name: a probe fires from one out-of-line function (probe.c), so that one
 *          address and one semaphore stand for it whatever the optimiser inlines.
 * PROBE-2  No probe stands on the fast path of malloc or free.
 * PROBE-3  With GYRE_PROBES=0 the arguments still type-check.
 * PROBE-4  A semaphore counts sites times tracers: test it against zero only.
 * PROBE-5  As many arguments as probes.def says: the compiler counts them.
 */
#ifndef GY_BASE_PROBE_H
#define GY_BASE_PROBE_H

#include "base/compiler.h"

#define PROBE(group, name, count, arguments, meaning)                                              \
	enum { gy_probe_count_##name = count };                                                    \
	extern volatile unsigned short gyre_##name##_semaphore;                                    \
	void gy_probe_##name(const uint64_t *values);
#include "base/probes.def"
#undef PROBE

#define GY_PROBE_ENABLED(name) (GYRE_PROBES && unlikely(gyre_##name##_semaphore != 0))

#define GY_PROBE_FIRE(name, ...)                                                                   \
	do {                                                                                       \
		if (GY_PROBE_ENABLED(name)) {                                                      \
			const uint64_t gy_probe_values[] = {__VA_ARGS__};                          \
			_Static_assert(sizeof(gy_probe_values) == 8 * gy_probe_count_##name,       \
				       "PROBE-5: " #name);                                         \
			gy_probe_##name(gy_probe_values);                                          \
		}                                                                                  \
	} while (0)
#define GY_PROBE_U64(x) ((uint64_t)(x))
#define GY_PROBE2(name, a, b) GY_PROBE_FIRE(name, GY_PROBE_U64(a), GY_PROBE_U64(b))
#define GY_PROBE3(name, a, b, c)                                                                   \
	GY_PROBE_FIRE(name, GY_PROBE_U64(a), GY_PROBE_U64(b), GY_PROBE_U64(c))
#define GY_PROBE4(name, a, b, c, d)                                                                \
	GY_PROBE_FIRE(name, GY_PROBE_U64(a), GY_PROBE_U64(b), GY_PROBE_U64(c), GY_PROBE_U64(d))
#define GY_PROBE5(name, a, b, c, d, e)                                                             \
	GY_PROBE_FIRE(name, GY_PROBE_U64(a), GY_PROBE_U64(b), GY_PROBE_U64(c), GY_PROBE_U64(d),    \
		      GY_PROBE_U64(e))
#define GY_PROBE6(name, a, b, c, d, e, f)                                                          \
	GY_PROBE_FIRE(name, GY_PROBE_U64(a), GY_PROBE_U64(b), GY_PROBE_U64(c), GY_PROBE_U64(d),    \
		      GY_PROBE_U64(e), GY_PROBE_U64(f))
#define GY_PROBE7(name, a, b, c, d, e, f, g)                                                       \
	GY_PROBE_FIRE(name, GY_PROBE_U64(a), GY_PROBE_U64(b), GY_PROBE_U64(c), GY_PROBE_U64(d),    \
		      GY_PROBE_U64(e), GY_PROBE_U64(f), GY_PROBE_U64(g))
#define GY_PROBE11(name, a, b, c, d, e, f, g, h, i, j, k)                                          \
	GY_PROBE_FIRE(name, GY_PROBE_U64(a), GY_PROBE_U64(b), GY_PROBE_U64(c), GY_PROBE_U64(d),    \
		      GY_PROBE_U64(e), GY_PROBE_U64(f), GY_PROBE_U64(g), GY_PROBE_U64(h),          \
		      GY_PROBE_U64(i), GY_PROBE_U64(j), GY_PROBE_U64(k))

#endif
