/* instr - loops whose instructions are counted, not timed.
 *
 *	instr CALL SIZE COUNT
 *
 * run-instr.sh runs this under callgrind twice, with a small COUNT and a big one; the difference of the
 * two totals over the difference of the counts is the cost of one operation in steady state, to
 * a hundredth of an instruction, and start-up, warm-up and the printing cancel out.
 *
 * CALL pair    p = malloc(SIZE), free(p)            calloc   p = calloc(1, SIZE), free(p)
 *      batch   100 mallocs, then 100 frees; an operation is one of the hundred pairs
 *      realloc p = malloc(SIZE), realloc(p, SIZE + 8), free
 *      aligned aligned_alloc(64, SIZE), free
 * new/delete are counted by instr_new.cc, whose loop is the same.
 *
 * The pair's loop is the one that the published figures of this project mean: the pointer is
 * volatile, so it is stored and loaded again, and these instructions are counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void run_pair(size_t size, long count)
{
	for (long i = 0; i < count; i++) {
		void *volatile p = malloc(size);

		free(p);
	}
}

static void run_calloc(size_t size, long count)
{
	for (long i = 0; i < count; i++) {
		void *volatile p = calloc(1, size);

		free(p);
	}
}

static void run_batch(size_t size, long count)
{
	static void *volatile block[100];

	for (long i = 0; i < count; i += 100) {
		for (int k = 0; k < 100; k++)
			block[k] = malloc(size);
		for (int k = 0; k < 100; k++)
			free(block[k]);
	}
}

static void run_realloc(size_t size, long count)
{
	for (long i = 0; i < count; i++) {
		void *volatile p = malloc(size);

		p = realloc(p, size + 8);
		free(p);
	}
}

static void run_aligned(size_t size, long count)
{
	for (long i = 0; i < count; i++) {
		void *volatile p = aligned_alloc(64, size);

		free(p);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(size_t size, long count);
	} calls[] = {
		{ "pair", run_pair },	    { "calloc", run_calloc },	{ "batch", run_batch },
		{ "realloc", run_realloc }, { "aligned", run_aligned },
	};

	for (size_t i = 0; argc == 4 && i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(argv[1], calls[i].name) == 0) {
			calls[i].run(strtoul(argv[2], NULL, 10), strtol(argv[3], NULL, 10));
			return 0;
		}
	}
	fprintf(stderr, "usage: instr pair|calloc|batch|realloc|aligned SIZE COUNT\n");
	return 2;
}
