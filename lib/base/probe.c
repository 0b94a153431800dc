/* probe.c - the one site of each probe (probe.h, PROBE-1). */
#define _SDT_HAS_SEMAPHORES 1
#include "base/probe.h"

#if GYRE_PROBES
#include <sys/sdt.h>
#define SITE1(name, v) STAP_PROBE1(gyre, name, v[0])
#define SITE2(name, v) STAP_PROBE2(gyre, name, v[0], v[1])
#define SITE3(name, v) STAP_PROBE3(gyre, name, v[0], v[1], v[2])
#define SITE4(name, v) STAP_PROBE4(gyre, name, v[0], v[1], v[2], v[3])
#define SITE5(name, v) STAP_PROBE5(gyre, name, v[0], v[1], v[2], v[3], v[4])
#define SITE6(name, v) STAP_PROBE6(gyre, name, v[0], v[1], v[2], v[3], v[4], v[5])
#define SITE7(name, v) STAP_PROBE7(gyre, name, v[0], v[1], v[2], v[3], v[4], v[5], v[6])
#define SITE11(name, v)                                                                            \
	STAP_PROBE11(gyre, name, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10])
#else
#define SITE1(name, v) ((void)(v))
#define SITE2(name, v) ((void)(v))
#define SITE3(name, v) ((void)(v))
#define SITE4(name, v) ((void)(v))
#define SITE5(name, v) ((void)(v))
#define SITE6(name, v) ((void)(v))
#define SITE7(name, v) ((void)(v))
#define SITE11(name, v) ((void)(v))
#endif

#define PROBE(group, name, count, arguments, meaning)                                              \
	volatile unsigned short gyre_##name##_semaphore __attribute__((section(".probes"), used)); \
	GY_NOINLINE GY_COLD void gy_probe_##name(const uint64_t *values)                           \
	{                                                                                          \
		SITE##count(name, values);                                                         \
	}
#include "base/probes.def"
