/* tail.c - releases of spans whose tail is whole kernel pages, while the spans come and go.
 *
 *   tail SECONDS
 *
 * Some classes leave 4 KiB and more behind a span's last block. A release once took such a tail in
 * hand without one of the span's blocks: the span could go meanwhile, its pages become a large
 * block, and what came back to a span went to that block (central.c, CENTRAL-6). Here three threads
 * fill and empty such spans and put large blocks in their place, and a fourth trims without end.
 */
#include "interpose/tap.h"

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { BLOCKS = 64, LARGE = 20 };

static const size_t sizes[] = {7168, 9216, 11264, 13312, 15360, 18432, 22528, 26624, 30720};
static volatile bool stop;
static unsigned changed, refused;

static void *trimmer(void *argument)
{
	while (!stop)
		malloc_trim(0);
	return argument;
}

static void *worker(void *argument)
{
	struct rng rng = {(uintptr_t)argument};

	while (!stop) {
		size_t bytes = sizes[rng_below(&rng, sizeof(sizes) / sizeof(sizes[0]))];
		unsigned char *blocks[BLOCKS], *large[LARGE];

		for (unsigned i = 0; i < BLOCKS; i++) {
			blocks[i] = malloc(bytes);
			if (blocks[i])
				memset(blocks[i], 1, bytes);
		}
		for (unsigned i = 0; i < BLOCKS; i++)
			free(blocks[i]);
		malloc_trim(0);
		for (unsigned i = 0; i < LARGE; i++) {
			large[i] = malloc(40000 + i * 8192);
			if (large[i])
				memset(large[i], (int)i + 1, 40000 + i * 8192);
			else
				__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
		}
		for (unsigned i = 0; i < LARGE; i++) {
			for (size_t k = 0; large[i] && k < 40000 + i * 8192; k += 512)
				if (large[i][k] != i + 1) {
					__atomic_add_fetch(&changed, 1, __ATOMIC_RELAXED);
					break;
				}
			free(large[i]);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[4];

	group("spans with a long tail come and go under releases");
	for (unsigned i = 0; i < 4; i++)
		EXPECT(!pthread_create(&threads[i], NULL, i ? worker : trimmer,
				       (void *)(uintptr_t)i),
		       "thread %u", i);
	sleep(argc > 1 ? (unsigned)atoi(argv[1]) : 3);
	stop = true;
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	EXPECT(!changed, "%u blocks changed", changed);
	EXPECT(!refused, "%u requests refused", refused);
	group_end();
	return tap_all_failures != 0;
}
