/* fixed - malloc and free of one size: the pair in a loop, and batches.
 *
 *	fixed [size=64] [batch=1] [order=same|reverse|random] [pairs=20000000] [touch=none|word|pages]
 *
 * batch=1 is the tightest loop there is: the same block goes out and comes back, and what is timed
 * is the fast path alone. A batch of 100 asks whether the cache of the class is deep enough, which is where
 * caches that are bounded in bytes fall down at 1 KiB and above; a batch of 10,000 leaves every
 * cache behind and times the batches between the cache and the central lists.
 *
 * order   the order of the frees: as allocated, last first, or one random permutation that is
 *         drawn once, before the clock starts.
 * touch   word: write the first word of each block, as a program would; without it the allocator that
 *         keeps its links inside the blocks would pay alone for fetching their lines. pages: write a
 *         word in each 4 KiB, the least that a program does with a large buffer that it uses. A large block
 *         with touch=word is one that a program asks for and hardly uses: there huge pages show as
 *         memory.
 *
 * One operation is one malloc and one free.
 */
#include "bench.h"

enum order { ORDER_SAME, ORDER_REVERSE, ORDER_RANDOM };
enum touch { TOUCH_NONE, TOUCH_WORD, TOUCH_PAGES };

static void shuffle(uint32_t *turn, size_t count, enum order order)
{
	struct bench_rng rng = bench_rng_begin(1);

	for (size_t i = 0; i < count; i++)
		turn[i] = (uint32_t)(order == ORDER_REVERSE ? count - 1 - i : i);
	if (order != ORDER_RANDOM)
		return;
	for (size_t i = count - 1; i > 0; i--) {
		size_t j = bench_below(&rng, i + 1);
		uint32_t other = turn[i];

		turn[i] = turn[j];
		turn[j] = other;
	}
}

static inline void use(void *block, size_t size, enum touch touch)
{
	size_t reach = touch == TOUCH_NONE ? 0 : touch == TOUCH_WORD ? 1 : size;

	for (size_t at = 0; at < reach; at += 4096)
		*(uint64_t *)(void *)((char *)block + at) = at;
}

static void run_pairs(size_t size, uint64_t pairs, enum touch touch)
{
	for (uint64_t i = 0; i < pairs; i++) {
		void *block = malloc(size);

		bench_keep(block);
		use(block, size, touch);
		free(block);
	}
}

static void run_batches(void **blocks, const uint32_t *turn, size_t batch, size_t size,
			uint64_t pairs, enum touch touch)
{
	for (uint64_t done = 0; done < pairs; done += batch) {
		for (size_t i = 0; i < batch; i++) {
			blocks[i] = malloc(size);
			use(blocks[i], size, touch);
		}
		for (size_t i = 0; i < batch; i++)
			free(blocks[turn[i]]);
	}
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	size_t size = bench_arg_u64(&args, "size", 64);
	size_t batch = bench_arg_u64(&args, "batch", 1);
	enum order order = (enum order)bench_arg_word(&args, "order", "same|reverse|random", 0);
	uint64_t pairs = bench_arg_u64(&args, "pairs", 20000000);
	enum touch touch = (enum touch)bench_arg_word(&args, "touch", "none|word|pages", 1);
	void **blocks = bench_map(batch * sizeof(*blocks));
	uint32_t *turn = bench_map(batch * sizeof(*turn));
	struct bench_clock clock;

	bench_args_end(&args);
	shuffle(turn, batch, order);
	clock = bench_begin();
	if (batch == 1)
		run_pairs(size, pairs, touch);
	else
		run_batches(blocks, turn, batch, size, pairs, touch);
	bench_end(&clock, (double)pairs);
	return 0;
}
