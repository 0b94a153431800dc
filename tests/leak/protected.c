/* protected.c - pointers in memory that was made read-only after it had been filled. */
/* truth: none */
#include "corpus.h"

#include <sys/mman.h>

static NOINLINE void *fill(void)
{
	void **region = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);

	for (unsigned i = 0; i < 8192 / sizeof(*region); i++)
		region[i] = made(32);
	mprotect(region, 8192, PROT_READ);
	return region;
}

int main(void)
{
	static void *held;

	held = fill();
	ESCAPE(&held);
	return stay();
}
