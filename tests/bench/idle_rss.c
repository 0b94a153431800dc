/* idle_rss - what a process keeps after a burst of small objects.
 *
 * The program allocates `burst` MiB of small objects, frees all but one in ten, and then does
 * nothing at all for a while: no allocation, no call into the allocator. What remains resident is
 * what the allocator's own background work did or did not give back. Then malloc_trim is called
 * (every allocator here answers to its own name for it, see trim()), and the figure is read again.
 *
 *	idle_rss [mib=1024] [dist=uniform] [min=16] [max=1024] [keep=random|run] [run_kib=64]
 *	         [keep_percent=10] [idle_s=5] [touch=1] [seed=1] [trim=1] [threads=1]
 *
 * What is under our control and must not be the allocator's:
 *  - the array of pointers is mapped by mmap and unmapped before the pause, except for the slots of
 *    the survivors, so that its pages are not counted; `harness_kib` is what still remains of it;
 *  - the order of the frees: a random permutation would touch the array in random order and is not
 *    what a service does; frees go in the order of allocation, each with its own coin (keep=random),
 *    or whole runs of consecutive allocations survive (keep=run);
 *  - every object is written in full (touch=1), as a program would.
 *
 * Output: one line of name=value pairs in KiB, which run-idle.sh turns into a table. RSS is the
 * second field of /proc/self/statm; pss and anon_huge come from smaps_rollup, swap is zero here.
 *
 * Distributions (dist=): fixed (min), uniform (min..max), log (log-uniform min..max), pow2 (a power
 * of two, each as likely), pow2bytes (powers of two, each with the same share of the bytes).
 */
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum distribution { DIST_FIXED, DIST_UNIFORM, DIST_LOG, DIST_POW2, DIST_POW2BYTES,
		    DIST_MIX, DIST_LOGMIX };

struct settings {
	size_t mib;
	enum distribution dist;
	size_t min_bytes;
	size_t max_bytes;
	size_t big_bytes;
	unsigned small_percent;
	int keep_runs;
	size_t run_bytes;
	unsigned keep_percent;
	unsigned idle_s;
	int touch;
	int trim;
	uint64_t seed;
};

struct block {
	void *pointer;
};

static size_t draw_size(const struct settings *set, struct bench_rng *rng)
{
	size_t span;
	unsigned steps;

	switch (set->dist) {
	case DIST_UNIFORM:
		span = set->max_bytes - set->min_bytes + 1;
		return set->min_bytes + bench_below(rng, span);
	case DIST_LOG:
		return bench_log_uniform(rng, set->min_bytes, set->max_bytes);
	case DIST_POW2:
		steps = (unsigned)__builtin_ctzl(set->max_bytes / set->min_bytes) + 1;
		return set->min_bytes << bench_below(rng, steps);
	case DIST_POW2BYTES: {
		/* A class of twice the size is drawn half as often. */
		steps = (unsigned)__builtin_ctzl(set->max_bytes / set->min_bytes) + 1;
		uint64_t ticket = bench_below(rng, (1ull << steps) - 1) + 1;
		unsigned high = 63u - (unsigned)__builtin_clzll(ticket);

		return set->min_bytes << (steps - 1 - high);
	}
	case DIST_MIX:
		if (bench_below(rng, 100) < set->small_percent)
			return set->min_bytes +
			       bench_below(rng, set->max_bytes - set->min_bytes + 1);
		return set->max_bytes + 1 + bench_below(rng, set->big_bytes - set->max_bytes);
	case DIST_LOGMIX:
		if (bench_below(rng, 100) < set->small_percent)
			return bench_log_uniform(rng, set->min_bytes, set->max_bytes);
		return bench_log_uniform(rng, set->max_bytes, set->big_bytes);
	case DIST_FIXED:
		break;
	}
	return set->min_bytes;
}

struct memory {
	long rss_kib;
	long pss_kib;
	long huge_kib;
};

/* Reads with plain system calls into buffers on the stack: stdio would allocate. */
static struct memory memory_now(void)
{
	struct memory now;

	now.rss_kib = bench_statm_rss_kib();
	now.pss_kib = bench_smaps_kib("Pss:");
	now.huge_kib = bench_smaps_kib("AnonHugePages:");
	return now;
}

static void print_memory(const char *when, struct memory now)
{
	printf("%s_kib=%ld %s_pss_kib=%ld %s_huge_kib=%ld ", when, now.rss_kib, when, now.pss_kib,
	       when, now.huge_kib);
}

/* Whatever the allocator that is loaded calls "give it all back". */
static void trim(void)
{
	void (*release)(void);
	int (*mallctl)(const char *, void *, size_t *, void *, size_t);
	void (*collect)(_Bool);
	int (*pad)(size_t);

	*(void **)&release = dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory");
	*(void **)&mallctl = dlsym(RTLD_DEFAULT, "mallctl");
	*(void **)&collect = dlsym(RTLD_DEFAULT, "mi_collect");
	*(void **)&pad = dlsym(RTLD_DEFAULT, "malloc_trim");
	if (release) {
		release();
	} else if (mallctl) {
		mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
		mallctl("arena.4096.purge", NULL, NULL, NULL, 0);
	} else if (collect) {
		collect(1);
	} else if (pad) {
		pad(0);
	}
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct settings set = {
		.mib = bench_arg_u64(&args, "mib", 1024),
		.dist = (enum distribution)bench_arg_word(&args, "dist",
							  "fixed|uniform|log|pow2|pow2bytes|mix|logmix", 1),
		.min_bytes = bench_arg_u64(&args, "min", 16),
		.max_bytes = bench_arg_u64(&args, "max", 1024),
		.big_bytes = bench_arg_u64(&args, "big", 8192),
		.small_percent = (unsigned)bench_arg_u64(&args, "small_percent", 90),
		.keep_runs = (int)bench_arg_word(&args, "keep", "random|run", 0),
		.run_bytes = bench_arg_u64(&args, "run_kib", 64) << 10,
		.keep_percent = (unsigned)bench_arg_u64(&args, "keep_percent", 10),
		.idle_s = (unsigned)bench_arg_u64(&args, "idle_s", 5),
		.touch = (int)bench_arg_u64(&args, "touch", 1),
		.trim = (int)bench_arg_u64(&args, "trim", 1),
		.seed = bench_arg_u64(&args, "seed", 1),
	};
	struct bench_rng rng = bench_rng_begin(set.seed);
	size_t want_bytes = set.mib << 20, have_bytes = 0, live_bytes = 0, live = 0, count = 0;
	size_t slots = want_bytes / set.min_bytes + 1;
	struct block *blocks;
	struct memory start, peak, idle, trimmed;
	size_t run_left = 0;
	int run_kept = 0;

	bench_args_end(&args);
	blocks = mmap(NULL, slots * sizeof(*blocks), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (blocks == MAP_FAILED)
		bench_die("mmap of the pointer array");
	madvise(blocks, slots * sizeof(*blocks), MADV_NOHUGEPAGE);
	start = memory_now();

	for (count = 0; have_bytes < want_bytes; count++) {
		size_t bytes = draw_size(&set, &rng);
		void *block = malloc(bytes);

		if (!block)
			bench_die("malloc");
		if (set.touch)
			memset(block, (int)count | 1, bytes);
		blocks[count].pointer = block;
		have_bytes += bytes;
	}
	peak = memory_now();

	/* The sizes are drawn again with the same seed: storing them would double the array. */
	rng = bench_rng_begin(set.seed);
	struct bench_rng coin = bench_rng_begin(set.seed + 1);

	for (size_t i = 0; i < count; i++) {
		size_t bytes = draw_size(&set, &rng);
		int keep;

		if (set.keep_runs) {
			if (run_left == 0) {
				run_left = set.run_bytes;
				run_kept = bench_below(&coin, 100) < set.keep_percent;
			}
			keep = run_kept;
			run_left = bytes < run_left ? run_left - bytes : 0;
		} else {
			keep = bench_below(&coin, 100) < set.keep_percent;
		}
		if (keep) {
			live_bytes += bytes;
			blocks[live++].pointer = blocks[i].pointer;
		} else {
			free(blocks[i].pointer);
		}
	}
	/* Slots past the survivors go back, so that what is counted is the allocator's. */
	size_t used = (live * sizeof(*blocks) + 4095) & ~4095ul;

	munmap((char *)blocks + used, slots * sizeof(*blocks) - used);
	long freed_kib = bench_statm_rss_kib();

	struct timespec pause = { .tv_sec = set.idle_s };

	while (nanosleep(&pause, &pause) != 0 && errno == EINTR)
		;
	idle = memory_now();
	if (set.trim)
		trim();
	trimmed = memory_now();

	printf("objects=%zu live_kib=%zu harness_kib=%zu start_kib=%ld freed_kib=%ld ", count,
	       live_bytes >> 10, used >> 10, start.rss_kib, freed_kib);
	print_memory("peak", peak);
	print_memory("idle", idle);
	print_memory("trim", trimmed);
	printf("\n");
	return 0;
}
