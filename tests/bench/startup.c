/* startup - the cost of an allocator to a process that hardly uses it.
 *
 *	startup [execs=100] [blocks=10]
 *	startup once=1 [blocks=10]
 *
 * Starts itself `execs` times, one after the other, with the same environment, so with the same
 * preloaded library; each child allocates and frees `blocks` small blocks and ends. A service
 * that forks helpers, or a shell script, pays this for every process. The peak that is printed is that
 * of the children (RUSAGE_CHILDREN), which is what the library's own tables cost.
 */
#include <spawn.h>
#include <sys/wait.h>

#include "bench.h"

extern char **environ;

static int once(uint64_t blocks)
{
	void *block[64];

	for (uint64_t i = 0; i < blocks && i < 64; i++)
		block[i] = malloc((size_t)16 << (i % 6));
	for (uint64_t i = 0; i < blocks && i < 64; i++)
		free(block[i]);
	return 0;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	uint64_t execs = bench_arg_u64(&args, "execs", 100);
	uint64_t blocks = bench_arg_u64(&args, "blocks", 10);
	int is_child = (int)bench_arg_u64(&args, "once", 0);
	char name[] = "startup", child[] = "once=1", count[32];
	char *words[] = { name, child, count, NULL };
	struct timespec from, to;
	struct rusage usage;
	pid_t pid;
	int status;

	bench_args_end(&args);
	if (is_child)
		return once(blocks);
	snprintf(count, sizeof(count), "blocks=%llu", (unsigned long long)blocks);
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (uint64_t i = 0; i < execs; i++) {
		errno = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, words, environ);
		if (errno)
			bench_die("posix_spawn");
		if (waitpid(pid, &status, 0) != pid || status != 0)
			bench_die("waitpid");
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	getrusage(RUSAGE_CHILDREN, &usage);

	double user_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6;
	double system_s = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6;

	printf("wall_s=%.6f cpu_s=%.6f user_s=%.6f system_s=%.6f operations=%.0f peak_kib=%ld\n",
	       (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9,
	       user_s + system_s, user_s, system_s, (double)execs, usage.ru_maxrss);
	return 0;
}
