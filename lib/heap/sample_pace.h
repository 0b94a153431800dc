/* sample_pace.h - how closely a thread's allocations are sampled.
 *
 * A sample costs a third of a microsecond, and samples come by bytes: at one in 512 KiB a program
 * that allocates 2 GB/s spends a thousandth of its time on them, and nobody notices. But one that
 * takes and gives back buffers of 32 KiB without touching them passes terabytes a second, and a
 * third of its time. So each thread has a pace: while it would take more than sample_rate samples
 * a second, the mean number of bytes between them is stretched, to twice, four times ... 64 times
 * the option's; and a sample stands for that many more bytes. (The JVM's allocation samples are
 * throttled in the same way, to fewer still.)
 *
 *   look     after LOOK samples, or, while stretched, once LOOK_TICKS steps of the coarse clock
 *            have passed, the samples and the time since the last look give the pace to come
 *
 * PACE-1  What a sample stands for is told by the stretch that was in force when its interval
 *         began, and that was decided by the past alone. So sums of weights stay unbiased.
 * PACE-2  When the stretch falls, intervals under way begin anew (thread_cache.c): they have no
 *         memory, so that is fair, and no class stays coarse for long.
 * PACE-3  Who asks for samples closer than PACED_FROM bytes gets them all.
 * PACE-4  A sample that a tracer is told of costs two traps, at birth and end: some 4 us. So while
 *         one listens a thread takes a quarter as many, which is a hundredth of its time at most.
 */
#ifndef GY_HEAP_SAMPLE_PACE_H
#define GY_HEAP_SAMPLE_PACE_H

#include "base/compiler.h"

#include <stdbool.h>

#define GY_STRETCH_MAX 6u

struct gy_sample_pace {
	uint64_t look_ns;   /* when it was looked at last, */
	uint32_t look_tick; /* the same by the coarse clock, */
	uint16_t samples;   /* and samples since */
	uint8_t stretch;    /* log2 of how many times the option's mean lies between samples */
};

void gy_sample_pace_begin(struct gy_sample_pace *pace);
/* The thread takes a sample. true: the stretch has fallen (PACE-2). */
bool gy_sample_pace_note(struct gy_sample_pace *pace);

#endif
