/* pace.c - how much of a processor a scan takes, and when it gives up.
 *
 * A scan is work that has time, in a process that has none. So it works in slices of a quarter of a
 * millisecond, each followed by a rest that makes its share of one processor what was asked for.
 * Where nothing was asked for, that is as much as nobody else wants:
 *
 *	a processor and more would be idle   SHARE_MOST
 *	half of one, or less                 SHARE_LEAST
 *
 * and in between in proportion. Processors that are wanted are never wholly busy: threads that
 * hand each other work leave gaps, and a slice that begins in such a gap ends behind it. Below half
 * of a processor, what is idle is therefore counted as such gaps.
 *
 * PACE-1  The thread is of the batch kind (SCHED_BATCH): waking up it takes no processor from a
 *         thread that runs, but waits until that one sleeps or has had its turn. Its weight stays
 *         that of any thread, so that one that has a lock of the heap when it is interrupted goes
 *         on in its turn; as idle work, or with a nice value, it could be kept from it for long,
 *         and the service with it.
 * PACE-2  Who asked is looked for after each slice, so a scan ends within a rest and a slice.
 */
#include "leak/scan.h"

#include "os/sys.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#define MS 1000000ull
#define WORK_BYTES ((size_t)64 << 10) /* between two looks at the clock */
#define SLICE_NS (MS / 4)	      /* of CPU time between two rests */
#define REST_MOST_NS (200 * MS)	      /* between two looks for the asker */
#define SHARE_MOST 250u
#define SHARE_LEAST 30u
#define SPARE_MUCH 1000u /* thousandths of a processor */
#define SPARE_LITTLE 500u

static uint64_t thread_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void gy_leak_pace_begin(struct gy_leak_scan *scan)
{
	struct gy_leak_pace *pace = &scan->pace;

	pace->cpu_began_ns = pace->cpu_seen_ns = thread_ns();
	if (!(scan->request.flags & GYRE_LEAK_STOP) && gy_sys_policy() == SCHED_OTHER)
		gy_sys_policy_set(SCHED_BATCH, 0); /* PACE-1; refused: then not */
	if (!scan->request.share_permille)
		gy_spare_cpu_begin(&pace->spare);
}

uint64_t gy_leak_cpu_ns(const struct gy_leak_scan *scan)
{
	return thread_ns() - scan->pace.cpu_began_ns;
}

/* Why the scan must end now; 0: it need not. */
static int reason_to_end(struct gy_leak_scan *scan)
{
	struct gy_leak_pace *pace = &scan->pace;
	uint64_t now_ns = gy_now_ns();
	uint32_t lease = READ_RELAXED(scan->header->lease);

	if (lease != pace->lease) {
		pace->lease = lease;
		pace->lease_ns = now_ns;
	}
	if (READ_RELAXED(scan->header->cancel) == scan->number ||
	    (scan->request.lease_ms && now_ns - pace->lease_ns > scan->request.lease_ms * MS))
		return -ECANCELED;
	return pace->deadline_ns && now_ns >= pace->deadline_ns ? -ETIME : 0;
}

bool gy_leak_rest(struct gy_leak_scan *scan, uint64_t ns)
{
	uint64_t end_ns = gy_now_ns() + ns;

	while (!scan->pace.stopped && !scan->pace.error) {
		uint32_t cancel = READ_RELAXED(scan->header->cancel);
		uint64_t now_ns = gy_now_ns(), left_ns;
		struct timespec nap;

		scan->pace.error = reason_to_end(scan);
		if (scan->pace.error || now_ns >= end_ns)
			break;
		left_ns = MIN(end_ns - now_ns, REST_MOST_NS);
		nap = (struct timespec){0, (long)left_ns};
		gy_sys_futex_wait(&scan->header->cancel, cancel, &nap, true);
	}
	return !scan->pace.error;
}

uint32_t gy_leak_share(uint32_t spare)
{
	const uint32_t range = SPARE_MUCH - SPARE_LITTLE;
	uint32_t much = MIN(MAX(spare, SPARE_LITTLE) - SPARE_LITTLE, range);

	return SHARE_LEAST + (SHARE_MOST - SHARE_LEAST) * much / range;
}

bool gy_leak_pace(struct gy_leak_scan *scan, size_t bytes)
{
	struct gy_leak_pace *pace = &scan->pace;
	uint64_t used_ns, share;

	pace->work += bytes;
	if (likely(pace->work < WORK_BYTES))
		return !pace->error && !scan->enough;
	pace->work = 0;
	if (pace->error || pace->stopped)
		return !pace->error;
	used_ns = thread_ns() - pace->cpu_seen_ns;
	if (used_ns < SLICE_NS)
		return !scan->enough;
	share = scan->request.share_permille;
	if (!share)
		share = gy_leak_share(gy_spare_cpu_read(&pace->spare));
	gy_leak_rest(scan, used_ns * (1000 - share) / share); /* PACE-2 */
	pace->cpu_seen_ns = thread_ns();
	WRITE_RELAXED(scan->header->cpu_ns, pace->cpu_seen_ns - pace->cpu_began_ns);
	return !pace->error && !scan->enough;
}
