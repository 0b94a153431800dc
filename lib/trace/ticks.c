/* ticks.c - see ticks.h. */
#include "trace/ticks.h"

#include <stdbool.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define CPUID_POWER 0x80000007u
#define CPUID_INVARIANT_TSC (1u << 8)

uint32_t gy_ticks_kind;
static uint64_t start_ticks, start_ns; /* [const] after the library's start */

static bool have_counter(void)
{
#if defined(__x86_64__)
	unsigned a, b, c, d;

	return __get_cpuid(CPUID_POWER, &a, &b, &c, &d) && (d & CPUID_INVARIANT_TSC);
#elif defined(__aarch64__)
	return true;
#else
	return false;
#endif
}

uint32_t gy_ticks_find_kind(void)
{
	uint32_t kind = have_counter() ? GY_TICKS_COUNTER : GY_TICKS_CLOCK;

	WRITE_RELAXED(gy_ticks_kind, kind);
	return kind;
}

/* Lifetimes of samples taken before this ran come out a little wrong; there are none, or few. */
__attribute__((constructor)) static void start_counter(void)
{
	start_ns = gy_now_ns();
	start_ticks = gy_ticks_counter();
}

/* TICKS-3 */
static uint64_t coarse_since_ns(uint32_t tick)
{
	const uint64_t step_ns = GY_TICK_MS * (uint64_t)1000000;
	uint64_t now_ns = gy_now_ns();
	uint32_t steps = (uint32_t)(now_ns / step_ns) - tick;

	return (int32_t)steps < 0 ? 0 : steps * step_ns + now_ns % step_ns;
}

uint64_t gy_ticks_since_ns(uint64_t then)
{
	uint64_t now = gy_ticks(), passed = now - then;

	if (then & GY_TICKS_COARSE)
		return coarse_since_ns((uint32_t)then);
	if (now <= then)
		return 0;
	if (READ_RELAXED(gy_ticks_kind) != GY_TICKS_COUNTER)
		return passed;
	if (now <= start_ticks)
		return 0;
	return (uint64_t)((double)passed *
			  ((double)(gy_now_ns() - start_ns) / (double)(now - start_ticks)));
}

uint64_t gy_ticks_hz(uint64_t *ticks, uint64_t *ns)
{
	*ticks = gy_ticks();
	*ns = gy_now_ns();
	if (READ_RELAXED(gy_ticks_kind) != GY_TICKS_COUNTER || *ticks <= start_ticks ||
	    *ns <= start_ns)
		return 0;
	return (uint64_t)((double)(*ticks - start_ticks) * 1e9 / (double)(*ns - start_ns));
}
