/* traced - the mixed workload, a piece at a time, so that a tracer can come and go in between.
 *
 *	traced [slots=10000] [min=16] [max=1024] [cpu=N]
 *
 * A step picks one of `slots` pointers at random, frees what is there and puts a new block of a random
 * size in its place (as `mixed` does): two events. The blocks live on from one piece to the next. One
 * command a line on stdin:
 *
 *	run STEPS	done WALL_NS CPU_NS	of this thread, what probes cost in it included
 *	quit
 *
 * Nothing but the workload allocates: lines are read and written by system calls into static buffers.
 */
#include <sched.h>
#include <time.h>

#include "bench.h"

#define SIZES 65536u

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct work {
	void **slot;
	const uint32_t *sizes;
	uint64_t slots;
	uint32_t next_size;
	struct bench_rng rng;
};

__attribute__((noinline)) static void run(struct work *work, uint64_t steps)
{
	for (uint64_t i = 0; i < steps; i++) {
		size_t at = bench_below(&work->rng, work->slots);
		size_t size = work->sizes[work->next_size++ % SIZES];
		char *block;

		free(work->slot[at]);
		block = malloc(size);
		if (!block)
			bench_die("malloc");
		block[0] = 1;
		block[size - 1] = 1;
		work->slot[at] = block;
	}
}

static void obey(struct work *work, uint64_t steps)
{
	uint64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	char line[96];
	int length;

	run(work, steps);
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	wall = clock_ns(CLOCK_MONOTONIC) - wall;
	length = snprintf(line, sizeof(line), "done %lu %lu\n", wall, cpu);
	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		bench_die("write");
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	uint64_t slots = bench_arg_u64(&args, "slots", 10000);
	size_t min = bench_arg_u64(&args, "min", 16), max = bench_arg_u64(&args, "max", 1024);
	uint64_t cpu = bench_arg_u64(&args, "cpu", 1000);
	struct work work = {.slots = slots, .rng = bench_rng_begin(100)};
	struct bench_rng rng = bench_rng_begin(7);
	uint32_t *sizes = bench_map(SIZES * sizeof(*sizes));
	static char line[96];
	size_t used = 0;
	cpu_set_t set;

	bench_args_end(&args);
	for (size_t i = 0; i < SIZES; i++)
		sizes[i] = (uint32_t)bench_log_uniform(&rng, min, max);
	work.slot = bench_map(slots * sizeof(*work.slot));
	work.sizes = sizes;
	CPU_ZERO(&set);
	CPU_SET(cpu % CPU_SETSIZE, &set);
	if (cpu < 1000)
		sched_setaffinity(0, sizeof(set), &set);
	run(&work, 10 * slots);
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		bench_die("write");
	while (used < sizeof(line) - 1 && read(STDIN_FILENO, line + used, 1) == 1) {
		uint64_t steps = 0;

		if (line[used++] != '\n')
			continue;
		line[used] = 0;
		used = 0;
		if (sscanf(line, "run %lu", &steps) != 1)
			return 0;
		obey(&work, steps);
	}
	return 0;
}
