/* mmap_region.c - pointers in memory of mmap alone: private, shared, and of a file in memory. */
/* truth: none */
#include "corpus.h"

#include <sys/mman.h>

static KEPT void **regions[3];

static NOINLINE void fill(void)
{
	int file = memfd_create("held", 0);

	if (file < 0 || ftruncate(file, 1 << 20))
		_exit(3);
	regions[0] = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	regions[1] = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);
	regions[2] = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned at = 0; at < 1u << 17; at += 4099)
			regions[i][at] = made(64);
}

int main(void)
{
	fill();
	return stay();
}
