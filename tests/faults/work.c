/* work.c - a bit of everything that makes the library call the kernel, run while those calls fail.
 *
 *   work [recover]
 *
 * Any allocation may be refused: then errno must be ENOMEM, and what was allocated before must be
 * whole. Nothing may crash, hang, or be misreported. With `recover` the faults end by themselves,
 * and then every kind of request must succeed again.
 *
 * Output goes by write(2); the last line is `done refused=N`.
 */
#include "interpose/tap.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#define MIB ((size_t)1 << 20)
enum { KEPT = 300, ATTEMPTS = 400 };

static unsigned long refused;
static unsigned wrong;

static void note(const char *what)
{
	if (wrong++ < 5)
		say("wrong %s\n", what);
}

static void *checked(void *block, size_t bytes, const char *what)
{
	if (!block) {
		__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
		if (errno != ENOMEM)
			note(what);
	} else if (malloc_usable_size(block) < bytes) {
		note("usable size");
	}
	return block;
}

static void fill(unsigned char *block, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i += i < 4096 ? 1 : 4096)
		block[i] = (unsigned char)(seed + i);
}

static void verify(const unsigned char *block, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i += i < 4096 ? 1 : 4096)
		if (block[i] != (unsigned char)(seed + i)) {
			note("contents");
			return;
		}
}

static void small_blocks(unsigned seed)
{
	static const size_t sizes[] = {8, 100, 500, 1000, 3000, 9000, 30000};
	unsigned char *kept[KEPT];

	for (unsigned i = 0; i < KEPT; i++) {
		size_t bytes = sizes[i % 7];

		errno = 0;
		kept[i] = i & 1 ? checked(malloc(bytes), bytes, "malloc's errno")
				: checked(calloc(1, bytes), bytes, "calloc's errno");
		if (kept[i] && !(i & 1) && kept[i][bytes - 1])
			note("calloc is not zero");
		if (kept[i])
			fill(kept[i], bytes, seed + i);
	}
	for (unsigned i = 0; i < KEPT; i++) {
		size_t bytes = sizes[i % 7];
		unsigned char *larger;

		if (!kept[i])
			continue;
		verify(kept[i], bytes, seed + i);
		errno = 0;
		larger = i % 3 ? NULL
			       : checked(realloc(kept[i], bytes * 3), bytes * 3, "realloc's errno");
		if (larger)
			verify(larger, bytes < 4096 ? bytes : 4096, seed + i);
		else
			verify(kept[i], bytes, seed + i);
		errno = 77;
		free(larger ? larger : kept[i]);
		if (errno != 77)
			note("free's errno");
	}
}

static void large_blocks(unsigned seed)
{
	size_t bytes = 300000;
	unsigned char *block, *next;
	void *aligned = NULL;

	errno = 0;
	block = checked(malloc(bytes), bytes, "malloc's errno");
	if (!block)
		return;
	fill(block, bytes, seed);
	while (bytes < 5 * MIB) {
		errno = 0;
		next = checked(realloc(block, bytes * 2), bytes * 2, "realloc's errno");
		if (!next)
			break;
		block = next;
		verify(block, bytes, seed);
		bytes *= 2;
		fill(block, bytes, seed);
	}
	verify(block, bytes, seed);
	errno = 77;
	if (!posix_memalign(&aligned, 4 * MIB, 3 * MIB)) {
		fill(aligned, 3 * MIB, seed);
		if ((uintptr_t)aligned % (4 * MIB))
			note("alignment");
		verify(aligned, 3 * MIB, seed);
	}
	if (errno != 77)
		note("posix_memalign's errno");
	free(aligned);
	next = realloc(block, bytes / 3);
	if (next) {
		verify(next, bytes / 3, seed);
		block = next;
	}
	errno = 0;
	aligned = checked(calloc(1, 9 * MIB), 9 * MIB, "calloc's errno");
	for (size_t i = 0; aligned && i < 9 * MIB; i += 511)
		if (((unsigned char *)aligned)[i]) {
			note("calloc is not zero");
			break;
		}
	free(block);
	free(aligned);
	malloc_trim(0);
}

static void *thread_work(void *argument)
{
	small_blocks((unsigned)(uintptr_t)argument);
	return NULL;
}

static void threads(void)
{
	pthread_t ids[4];
	unsigned started = 0;

	while (started < 4 &&
	       !pthread_create(&ids[started], NULL, thread_work, (void *)(uintptr_t)(started * 50)))
		started++;
	for (unsigned i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
}

static void child(void)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid) {
		small_blocks(9);
		large_blocks(9);
		threads();
		_exit(wrong ? 3 : 0);
	}
	if (pid > 0 && (waitpid(pid, &status, 0) != pid || status))
		note("the child");
}

/* Sleeps long enough that idle caches and idle pages would be taken back (the options say when). */
static void rest(void)
{
	struct timespec nap = {0, 25000000};

	nanosleep(&nap, NULL);
}

static bool all_kinds_succeed(void)
{
	static const size_t sizes[] = {8, 64, 700, 5000, 32768, 100000, 3000000, 30000000};
	bool good = true;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		void *block = malloc(sizes[i]), *aligned = aligned_alloc(8192, sizes[i]);

		good &= block && aligned;
		if (block) {
			void *next = realloc(block, sizes[i] * 2);

			good &= next != NULL;
			block = next ? next : block;
		}
		free(block);
		free(aligned);
	}
	return good;
}

int main(int argc, char **argv)
{
	bool recovered = false;

	(void)argv;
	small_blocks(1);
	large_blocks(2);
	threads();
	rest();
	child();
	small_blocks(3);
	large_blocks(4);
	if (argc > 1) {
		for (unsigned i = 0; i < ATTEMPTS && !recovered; i++)
			recovered = all_kinds_succeed();
		if (!recovered || !all_kinds_succeed())
			note("service did not resume");
	}
	say("done refused=%lu\n", refused);
	return wrong != 0;
}
