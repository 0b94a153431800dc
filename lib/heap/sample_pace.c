/* sample_pace.c - see sample_pace.h. */
#include "heap/sample_pace.h"

#include "base/config.h"
#include "base/probe.h"
#include "heap/page_heap.h" /* gy_heap_tick */
#include "os/clock.h"

#define LOOK 64u      /* samples */
#define LOOK_TICKS 2u /* while stretched */
#define LOOK_FEW 8u   /* samples, while stretched in a process without a coarse clock */
#define PACED_FROM ((uint64_t)256 << 10)
#define TOLD_MOST 2500u /* samples a second, PACE-4 */
#define SECOND_NS ((uint64_t)1000000000)

static void restart(struct gy_sample_pace *pace, uint64_t now_ns)
{
	pace->look_ns = now_ns;
	pace->look_tick = READ_RELAXED(gy_heap_tick);
	pace->samples = 0;
}

void gy_sample_pace_begin(struct gy_sample_pace *pace)
{
	pace->stretch = 0;
	restart(pace, gy_now_ns());
}

/* The least stretch that keeps the pace; one step down only if it is clearly slower. */
static unsigned wanted_stretch(const struct gy_sample_pace *pace, uint64_t elapsed_ns)
{
	uint64_t most = gy_option(GY_OPT_sample_rate), each_second;
	unsigned wanted = 0;

	if (!most || gy_option(GY_OPT_sample) < PACED_FROM) /* PACE-3 */
		return 0;
	if (GY_PROBE_ENABLED(alloc_sample) || GY_PROBE_ENABLED(free_sample))
		most = MIN(most, TOLD_MOST);
	/* at most 2^16 * 2^6 * 2^30: what it would be without a stretch */
	each_second = ((uint64_t)pace->samples << pace->stretch) * SECOND_NS / MAX(elapsed_ns, 1);
	while (wanted < GY_STRETCH_MAX && each_second >> wanted > most)
		wanted++;
	if (wanted + 1 == pace->stretch && each_second >> wanted > most / 4 * 3)
		wanted++;
	return wanted;
}

static bool look(struct gy_sample_pace *pace)
{
	uint64_t now_ns = gy_now_ns();
	unsigned wanted = wanted_stretch(pace, now_ns - pace->look_ns);
	bool fell = wanted < pace->stretch;

	pace->stretch = (uint8_t)wanted;
	restart(pace, now_ns);
	return fell;
}

static bool is_due(const struct gy_sample_pace *pace)
{
	uint32_t tick = READ_RELAXED(gy_heap_tick);

	return tick ? tick - pace->look_tick >= LOOK_TICKS : pace->samples >= LOOK_FEW;
}

bool gy_sample_pace_note(struct gy_sample_pace *pace)
{
	pace->samples++;
	if (likely(pace->samples < LOOK) && likely(!pace->stretch || !is_due(pace)))
		return false;
	return look(pace);
}
