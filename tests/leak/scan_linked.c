/* scan_linked.c - loses what it is told to, for the tests of `gyre leak`.
 *
 *	lose N       N blocks of 200 bytes, each with one of 96 behind it, from lose_some
 *	known N      N blocks of 300 bytes, from lose_known
 *	keep N       N blocks of 400 bytes in a list; says the address of the last
 *	fill N       N MiB of blocks that point to each other, for a scan that takes a while
 *
 * Answers `done ...` to each line; ends with its input.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

struct node {
	struct node *next;
	char bytes[392];
};

struct node *kept_list; /* found by name */

static NOINLINE void *made(size_t bytes)
{
	void **block = malloc(bytes);

	if (!block)
		exit(1);
	memset(block, 0, bytes);
	__asm__ volatile("" : : "r"(block) : "memory");
	return block;
}

static NOINLINE void lose_some(long count)
{
	while (count-- > 0) {
		void **block = made(200);

		block[3] = made(96);
	}
}

static NOINLINE void lose_known(long count)
{
	while (count-- > 0)
		made(300);
}

static NOINLINE void keep(long count)
{
	while (count-- > 0) {
		struct node *node = made(sizeof(*node));

		node->next = kept_list;
		kept_list = node;
	}
}

static NOINLINE void fill(long mebibytes)
{
	static void *chain;

	for (long i = 0; i < mebibytes * 8192; i++) {
		void **block = made(128);

		block[0] = chain;
		chain = block;
	}
}

static NOINLINE unsigned long address_of_last(void)
{
	const struct node *last = kept_list;

	while (last && last->next)
		last = last->next;
	return (unsigned long)(uintptr_t)last;
}

static NOINLINE void wipe(void)
{
	volatile char area[16384];

	for (size_t i = 0; i < sizeof(area); i++)
		area[i] = 0;
}

int main(void)
{
	char line[128];

	printf("ready %d\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		long number = strchr(line, ' ') ? atol(strchr(line, ' ')) : 0;
		unsigned long hidden;

		if (!strncmp(line, "lose", 4))
			lose_some(number);
		else if (!strncmp(line, "known", 5))
			lose_known(number);
		else if (!strncmp(line, "keep", 4))
			keep(number);
		else if (!strncmp(line, "fill", 4))
			fill(number);
		hidden = ~address_of_last();
		wipe();
		printf("done 0x%lx\n", ~hidden);
		fflush(stdout);
	}
	return 0;
}
