/* mixed - blocks of many sizes that live for random times, on one thread or several.
 *
 *	mixed [threads=1] [slots=10000] [min=16] [max=1024] [dist=log|uniform] [steps=5000000]
 *	      [call=malloc|calloc|realloc] [fill=0] [bursts=0]
 *
 * Each thread owns `slots` pointers. A step picks one at random, frees what is there and puts a new
 * block of a random size in its place; so lifetimes are geometric, with a mean of `slots` steps, and the heap
 * holds about slots * mean size throughout. Sizes are drawn before the clock starts, into a table
 * of 65,536 that is walked from a random place, because exp2 would cost more than malloc.
 *
 * call=realloc resizes the block of the slot instead of replacing it. fill=1 writes the whole block
 * instead of its ends. bursts=N empties every slot N times on the way, as a service does between
 * requests.
 *
 * One operation is one step.
 */
#include <pthread.h>

#include "bench.h"

enum call { CALL_MALLOC, CALL_CALLOC, CALL_REALLOC };

#define SIZES 65536u

struct work {
	pthread_t thread;
	size_t slots;
	uint64_t steps;
	uint64_t bursts;
	enum call call;
	int fill;
	const uint32_t *sizes;
	struct bench_rng rng;
};

static void *one_block(const struct work *work, void *old, size_t size)
{
	char *block;

	if (work->call == CALL_REALLOC) {
		block = realloc(old, size);
	} else {
		free(old);
		block = work->call == CALL_CALLOC ? calloc(1, size) : malloc(size);
	}
	if (!block)
		bench_die("malloc");
	if (work->fill)
		memset(block, 1, size);
	block[0] = 1;
	block[size - 1] = 1;
	return block;
}

static void *run(void *argument)
{
	struct work *work = argument;
	void **slot = bench_map(work->slots * sizeof(*slot));
	uint32_t next_size = (uint32_t)bench_next(&work->rng);
	uint64_t burst = work->bursts ? work->steps / work->bursts : 0;

	for (uint64_t i = 0; i < work->steps; i++) {
		size_t at = bench_below(&work->rng, work->slots);

		slot[at] = one_block(work, slot[at], work->sizes[next_size++ % SIZES]);
		if (burst && i % burst == burst - 1) {
			for (size_t j = 0; j < work->slots; j++) {
				free(slot[j]);
				slot[j] = NULL;
			}
		}
	}
	for (size_t j = 0; j < work->slots; j++)
		free(slot[j]);
	return NULL;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	size_t threads = bench_arg_u64(&args, "threads", 1);
	size_t min = bench_arg_u64(&args, "min", 16), max = bench_arg_u64(&args, "max", 1024);
	int is_uniform = (int)bench_arg_word(&args, "dist", "log|uniform", 0);
	struct work plan = {
		.slots = bench_arg_u64(&args, "slots", 10000),
		.steps = bench_arg_u64(&args, "steps", 5000000) / threads,
		.call = (enum call)bench_arg_word(&args, "call", "malloc|calloc|realloc", 0),
		.fill = (int)bench_arg_u64(&args, "fill", 0),
		.bursts = bench_arg_u64(&args, "bursts", 0),
	};
	struct work *work = bench_map(threads * sizeof(*work));
	uint32_t *sizes = bench_map(SIZES * sizeof(*sizes));
	struct bench_rng rng = bench_rng_begin(7);
	struct bench_clock clock;

	bench_args_end(&args);
	for (size_t i = 0; i < SIZES; i++)
		sizes[i] = (uint32_t)(is_uniform ? min + bench_below(&rng, max - min + 1) :
						   bench_log_uniform(&rng, min, max));
	clock = bench_begin();
	for (size_t i = 0; i < threads; i++) {
		work[i] = plan;
		work[i].sizes = sizes;
		work[i].rng = bench_rng_begin(100 + i);
		if (threads > 1 && pthread_create(&work[i].thread, NULL, run, &work[i]) != 0)
			bench_die("pthread_create");
	}
	if (threads == 1)
		run(&work[0]);
	for (size_t i = 0; threads > 1 && i < threads; i++)
		pthread_join(work[i].thread, NULL);
	bench_end(&clock, (double)(plan.steps * threads));
	return 0;
}
