/* sync_unit.h - what the unit tests of lib/sync share: threads, delays, misuse.
 *
 * Each race is run twice: as it comes, and with random delays at each step of the protocols (option
 * sync_delay), which bring about the interleavings that are rare otherwise.
 */
#ifndef GYRE_TESTS_UNIT_SYNC_UNIT_H
#define GYRE_TESTS_UNIT_SYNC_UNIT_H

#include "base/config.h"
#include "heap/heap.h"
#include "unit/unit.h"

#include <gyre/sync.h>
#include <pthread.h>

#define MS 1000000ll
#define THREADS_MAX 8

GY_UNUSED static void delays(uint64_t us)
{
	cr_assert(gy_heap_start());
	WRITE_RELAXED(gy_option_values[GY_OPT_sync_delay], us);
}

/* So many threads run `body`, each with its number. */
GY_UNUSED static void together(unsigned threads, void *(*body)(void *number))
{
	pthread_t handles[THREADS_MAX];

	for (unsigned i = 0; i < threads; i++)
		cr_assert_eq(pthread_create(&handles[i], NULL, body, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(handles[i], NULL);
}

/* Rounds of a race: fewer where each takes long. */
GY_UNUSED static unsigned rounds(unsigned plain)
{
	return UNIT_SLOW || gy_option(GY_OPT_sync_delay) ? plain / 20 + 1 : plain;
}

/* A test of a race: RACE(suite, name) { ... }, run without and with delays. */
#define RACE(suite, name)                                                                          \
	static void race_##suite##_##name(void);                                                   \
	Test(suite, name)                                                                          \
	{                                                                                          \
		delays(0);                                                                         \
		race_##suite##_##name();                                                           \
	}                                                                                          \
	Test(suite, name##_delayed)                                                                \
	{                                                                                          \
		delays(100);                                                                       \
		race_##suite##_##name();                                                           \
	}                                                                                          \
	static void race_##suite##_##name(void)

/* The misuse ends the process, and says so. */
#define MISUSE(suite, name, text)                                                                  \
	static void misuse_##suite##_##name(void *unused);                                         \
	Test(suite, name)                                                                          \
	{                                                                                          \
		struct unit_child child = unit_child_run(misuse_##suite##_##name, NULL);           \
                                                                                                   \
		unit_assert_abort(child, "misuse: " text " at 0x");                                \
	}                                                                                          \
	static void misuse_##suite##_##name(GY_UNUSED void *unused)

#endif
