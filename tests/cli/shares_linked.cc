// shares_linked.cc - a service whose allocations are known: who holds how much, and who allocated how much.
//
// Blocks are of exact size classes. Nobody
// allocates through another's function. After `fill` it tells the truth in bytes and blocks of each
// function, one line for each, as the allocator's own rounding has it (malloc_usable_size).
//
//      fill N    N rounds: each keeps and frees what the functions below say;  done
//      truth     NAME ALLOC_BYTES ALLOC_BLOCKS INUSE_BYTES INUSE_BLOCKS on one line, `;` between
//      quit
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <new>
#include <string>
#include <unistd.h>
#include <vector>

#define OUT_OF_LINE __attribute__((noinline, noclone))

struct tally {
	const char *name;
	uint64_t alloc_bytes, alloc_blocks, inuse_bytes, inuse_blocks;
};

static tally tallies[] = {{"keep_pages", 0, 0, 0, 0},	{"keep_nodes", 0, 0, 0, 0},
			  {"keep_records", 0, 0, 0, 0}, {"churn_buffers", 0, 0, 0, 0},
			  {"mixed_strings", 0, 0, 0, 0}};

static void *noted(int who, void *block, bool kept)
{
	uint64_t bytes = malloc_usable_size(block);

	tallies[who].alloc_bytes += bytes;
	tallies[who].alloc_blocks++;
	if (kept) {
		tallies[who].inuse_bytes += bytes;
		tallies[who].inuse_blocks++;
	}
	return block;
}

static void *volatile sink;

/* half of what is held */
extern "C" OUT_OF_LINE void keep_pages()
{
	for (int i = 0; i < 8; i++)
		sink = noted(0, malloc(4096), true);
}

/* a C++ name, and operator new */
namespace store
{
struct node {
	char bytes[256];
};
OUT_OF_LINE void keep_nodes()
{
	for (int i = 0; i < 64; i++)
		sink = noted(1, new node, true);
}
} // namespace store

static inline __attribute__((always_inline)) void *record_make()
{
	return malloc(64);
}

/* the allocation is in a function that is inlined here */
extern "C" OUT_OF_LINE void keep_records(int depth)
{
	if (depth) {
		keep_records(depth - 1);
		asm volatile("");
		return;
	}
	for (int i = 0; i < 128; i++)
		sink = noted(2, record_make(), true);
}

/* nothing is held: in `alloc` only */
extern "C" OUT_OF_LINE void churn_buffers()
{
	for (int i = 0; i < 20; i++) {
		sink = noted(3, malloc(2048), false);
		free(sink);
	}
}

/* half is freed */
extern "C" OUT_OF_LINE void mixed_strings()
{
	for (int i = 0; i < 32; i++) {
		sink = noted(4, malloc(512), i % 2);
		if (!(i % 2))
			free(sink);
	}
}

extern "C" OUT_OF_LINE void serve(long rounds)
{
	for (long i = 0; i < rounds; i++) {
		keep_pages();
		store::keep_nodes();
		keep_records(3);
		churn_buffers();
		mixed_strings();
		asm volatile("");
	}
}

int main()
{
	char line[128];

	setvbuf(stdout, nullptr, _IONBF, 0);
	printf("ready %d\n", getpid());
	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "fill ", 5)) {
			serve(atol(line + 5));
			puts("done");
		} else if (!strncmp(line, "truth", 5)) {
			for (const tally &tally : tallies)
				printf("%s %lu %lu %lu %lu;", tally.name, tally.alloc_bytes,
				       tally.alloc_blocks, tally.inuse_bytes, tally.inuse_blocks);
			putchar('\n');
		} else if (!strncmp(line, "quit", 4)) {
			break;
		}
	}
	return 0;
}
