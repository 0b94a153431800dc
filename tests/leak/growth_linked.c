/* growth_linked.c - a service that does four things at once, for `gyre leak watch` to tell apart:
 *
 *	grow_leak      loses a block now and then, amid blocks that it frees
 *	fill_cache     keeps what it makes until the cache is full, then replaces the oldest
 *	serve_load     takes and gives back, a sawtooth
 *	turn_over      a steady number of blocks, each replaced after a while
 *
 * One step each 5 ms, in one thread. Says `ready PID`; ends with its input.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CACHE 1500  /* full after about two seconds */
#define TEETH 1000u
#define TURNS 2000u

static unsigned long seed = 1;

static unsigned random_below(unsigned bound)
{
	seed = seed * 6364136223846793005ul + 1442695040888963407ul;
	return (unsigned)(seed >> 33) % bound;
}

static void *made(size_t bytes)
{
	char *block = malloc(bytes);

	if (!block)
		exit(1);
	memset(block, 1, bytes);
	return block;
}

static __attribute__((noinline)) void grow_leak(void)
{
	static void *kept[16], **lost;
	void **block;

	for (int i = 0; i < 4; i++) {
		unsigned slot = random_below(16);

		free(kept[slot]);
		kept[slot] = made(900);
	}
	block = made(1200 + random_below(400));
	*block = lost;
	lost = block; /* reachable: it grows, it is not lost */
}

static __attribute__((noinline)) void fill_cache(void)
{
	static void *cache[CACHE];
	static unsigned next;

	for (int i = 0; i < 4; i++) {
		free(cache[next]);
		cache[next] = made(1100);
		next = (next + 1) % CACHE;
	}
}

static __attribute__((noinline)) void serve_load(void)
{
	static void *held[TEETH];
	static unsigned count;

	for (int i = 0; i < 5 && count < TEETH; i++)
		held[count++] = made(1300);
	if (count == TEETH) /* after a second */
		while (count)
			free(held[--count]);
}

static __attribute__((noinline)) void turn_over(void)
{
	static void *held[TURNS];

	for (int i = 0; i < 8; i++) {
		unsigned slot = random_below(TURNS);

		free(held[slot]);
		held[slot] = made(1000);
	}
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	double next_s;
	char byte;

	for (unsigned i = 0; i < 2000; i++)
		turn_over();
	printf("ready %d\n", getpid());
	fflush(stdout);
	for (next_s = now_s();; next_s += 0.005) {
		double left_s = next_s - now_s(); /* what a busy machine held up is made good */

		if (poll(&input, 1, left_s > 0 ? (int)(left_s * 1000 + 1) : 0) > 0 &&
		    read(STDIN_FILENO, &byte, 1) <= 0)
			return 0;
		grow_leak();
		fill_cache();
		serve_load();
		turn_over();
	}
}
