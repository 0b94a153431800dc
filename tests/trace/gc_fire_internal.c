/* gc_fire_internal.c - fires the collector's probes with values that a test knows.
 *
 * No collector runs: what `gyre gc trace` and `gyre gc phases` make of a probe's arguments is told
 * apart from what the collector puts into them (gc_linked.c). Commands on stdin, a line `done` back:
 *
 *      cycle NUMBER REASON     a cycle of a pause and three phases, 2 ms each
 *      failed NUMBER           one that is given up, ESRCH
 *      end NUMBER              the end of a cycle whose begin was not seen
 *      overrun NUMBER          a cycle that the next one's begin finds still sweeping
 *      every COUNT             each probe of the groups gc and barrier, COUNT times, argument i = i + 1
 *      quit
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/probe.h"

#define MIB (1ull << 20)

static void nap(void)
{
	struct timespec time = {0, 2000000};

	nanosleep(&time, NULL);
}

static void begin(uint64_t number, uint64_t reason)
{
	GY_PROBE5(gc_cycle_begin, number, reason, 300 * MIB, 320 * MIB, 150 * MIB);
}

static void end(uint64_t number, uint64_t error)
{
	GY_PROBE11(gc_cycle_end, number, 8000000, 160 * MIB, 155 * MIB, 180000, 500000, 1500000,
		   310 * MIB, 7, 99, error);
}

static void mark(uint64_t number)
{
	GY_PROBE2(gc_pause_begin, number, 0);
	nap();
	GY_PROBE7(gc_pause_end, number, 0, 180000, 5, 32, 70000, 90000);
	GY_PROBE3(gc_phase, number, 1, 0);
	nap();
	GY_PROBE3(gc_phase, number, 2, 2000000);
	nap();
	GY_PROBE7(gc_pace, number, 320 * MIB, 290 * MIB, 160 * MIB, 310 * MIB, 1032, 1ull << 30);
	end(number, 0);
	GY_PROBE3(gc_phase, number, 3, 2000000);
	nap();
}

static void cycle(uint64_t number, uint64_t reason)
{
	begin(number, reason);
	nap();
	mark(number);
	GY_PROBE3(gc_phase, number, 0, 2000000);
}

static void every(uint64_t count)
{
	static const uint64_t values[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

	for (uint64_t i = 0; i < count; i++) {
		gy_probe_gc_cycle_begin(values);
		gy_probe_gc_phase(values);
		gy_probe_gc_pause_begin(values);
		gy_probe_gc_pause_end(values);
		gy_probe_gc_assist(values);
		gy_probe_gc_pace(values);
		gy_probe_gc_finalise(values);
		gy_probe_gc_cycle_end(values);
		gy_probe_barrier_flush(values);
	}
}

static void obey(const char *command, uint64_t a, uint64_t b)
{
	if (!strcmp(command, "cycle")) {
		cycle(a, b);
	} else if (!strcmp(command, "failed")) {
		begin(a, 0);
		nap();
		end(a, ESRCH);
	} else if (!strcmp(command, "end")) {
		end(a, 0);
	} else if (!strcmp(command, "overrun")) {
		begin(a, 0);
		mark(a);
		cycle(a + 1, 0);
	} else if (!strcmp(command, "every")) {
		every(a);
	}
}

int main(void)
{
	char line[256];

	printf("ready %d\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		char command[16] = "";
		unsigned long a = 0, b = 0;

		if (sscanf(line, "%15s %lu %lu", command, &a, &b) < 1 || !strcmp(command, "quit"))
			break;
		obey(command, a, b);
		puts("done");
		fflush(stdout);
	}
	return 0;
}
