/* ticks.h - how long a sample lived, at a cost that every sample can bear.
 *
 * A sample's lifetime is asked for only while somebody looks, but its birth must be noted always.
 * clock_gettime would cost more there than most of the book-keeping: its page and code are cold
 * whenever a sample comes. The processor's counter needs neither; what a tick is worth is found
 * out when a lifetime is asked for, from how far clock and counter have moved since the library
 * was started.
 *
 * Even the counter is a fifth of what a sample costs where a hypervisor stands in between. So while
 * nobody traces the ends of samples, the heap's coarse clock will do, which is a load: a sample
 * that is born before the tracer came lived as long as that clock says.
 *
 * TICKS-1  Without a counter that runs at one rate on all processors (x86-64: CPUID's invariant
 *          TSC), ticks are the clock's nanoseconds.
 *          Which it is, the first sample asks: CPUID leaves a virtual machine, 10-20 us, and most
 *          processes never take a sample.
 * TICKS-2  A lifetime is never negative, and off by a microsecond at most where the counter is
 *          what it says; a virtual machine that was moved to another host may show a wrong one.
 * TICKS-3  By the coarse clock it is too long by as much as that clock was behind: 50 ms, or up to
 *          a second in a process that hardly allocates. Without that clock (no background thread),
 *          the counter is read.
 */
#ifndef GY_TRACE_TICKS_H
#define GY_TRACE_TICKS_H

#include "base/compiler.h"
#include "heap/page_heap.h" /* gy_heap_tick */
#include "os/clock.h"

#include <stdbool.h>

enum gy_ticks_kind { GY_TICKS_UNKNOWN, GY_TICKS_COUNTER, GY_TICKS_CLOCK };

/* enum gy_ticks_kind [atomic: relaxed; every writer writes the same] */
extern uint32_t gy_ticks_kind;

uint32_t gy_ticks_find_kind(void);

/* The counter itself, whatever it is worth. */
GY_INLINE uint64_t gy_ticks_counter(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t value;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
	return value;
#else
	return 0;
#endif
}

GY_INLINE uint64_t gy_ticks(void)
{
	uint32_t kind = READ_RELAXED(gy_ticks_kind);

	if (unlikely(kind == GY_TICKS_UNKNOWN))
		kind = gy_ticks_find_kind();
	return likely(kind == GY_TICKS_COUNTER) ? gy_ticks_counter() : gy_now_ns();
}

#define GY_TICKS_COARSE ((uint64_t)1 << 63) /* steps of the coarse clock */

/* Now; `exact`: somebody will ask. */
GY_INLINE uint64_t gy_ticks_of_birth(bool exact)
{
	uint32_t tick = READ_RELAXED(gy_heap_tick);

	return likely(!exact && tick) ? GY_TICKS_COARSE | tick : gy_ticks();
}

/* Ticks a second, and this moment by both clocks; 0: ticks are the clock's nanoseconds. */
uint64_t gy_ticks_hz(uint64_t *ticks, uint64_t *ns);

/* Nanoseconds from then, which gy_ticks or gy_ticks_of_birth returned, until now. */
uint64_t gy_ticks_since_ns(uint64_t then);

#endif
