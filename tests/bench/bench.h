/* bench.h - what every program of tests/bench shares.
 *
 * The programs here are children: a runner starts the same binary again and again, each time with
 * another allocator preloaded, and only the time between bench_begin() and bench_end() counts, by
 * CLOCK_MONOTONIC and getrusage of the child itself. So the cost of exec, of relocating the library and
 * of preparing the inputs is outside, except in the workload that measures just that.
 *
 * The rules that keep the allocators comparable:
 *  - a deterministic generator (bench_rng, splitmix64), so that every allocator sees the same
 *    requests in the same order; no libc function that allocates stands inside a measured region;
 *  - arrays of pointers come from bench_map(), never from the allocator under test;
 *  - compilers may not remove a malloc/free pair: build with -fno-builtin, and pointers pass
 *    through bench_keep();
 *  - peak memory is VmHWM of the child (the kernel's own high-water mark).
 *
 * Everything is `static inline` and costs nothing where unused; the header is C and C++.
 */
#ifndef GYRE_TESTS_BENCH_H
#define GYRE_TESTS_BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static inline void bench_die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- random numbers ---- */

struct bench_rng {
	uint64_t state;
};

static inline struct bench_rng bench_rng_begin(uint64_t seed)
{
	struct bench_rng rng;

	rng.state = seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull;
	return rng;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t bench_next(struct bench_rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* Uniform below `bound`, by the high half of a product (Lemire); the bias is below 2^-32. */
static inline uint64_t bench_below(struct bench_rng *rng, uint64_t bound)
{
	return (uint64_t)(((unsigned __int128)bench_next(rng) * bound) >> 64);
}

/* Log-uniform in min..max: the octave by a fraction of log2, then linear within it. */
static inline size_t bench_log_uniform(struct bench_rng *rng, size_t min_bytes, size_t max_bytes)
{
	double unit = (double)(bench_next(rng) >> 11) * 0x1p-53;
	double low = (double)min_bytes, high = (double)max_bytes;

	return (size_t)(low * exp2(unit * log2(high / low)));
}

/* ---- arguments: name=value ---- */

struct bench_args {
	int count;
	char **words;
	unsigned used;
};

static inline struct bench_args bench_args_begin(int argc, char **argv)
{
	struct bench_args args;

	args.count = argc - 1;
	args.words = argv + 1;
	args.used = 0;
	return args;
}

static inline const char *bench_arg_text(struct bench_args *args, const char *name)
{
	size_t length = strlen(name);

	for (int i = 0; i < args->count; i++) {
		if (strncmp(args->words[i], name, length) == 0 && args->words[i][length] == '=') {
			args->used++;
			return args->words[i] + length + 1;
		}
	}
	return NULL;
}

static inline uint64_t bench_arg_u64(struct bench_args *args, const char *name, uint64_t fallback)
{
	const char *text = bench_arg_text(args, name);
	char *end;
	uint64_t value;

	if (!text)
		return fallback;
	value = strtoull(text, &end, 0);
	if (*end == 'k' || *end == 'K')
		value <<= 10, end++;
	else if (*end == 'm' || *end == 'M')
		value <<= 20, end++;
	if (*end || end == text) {
		fprintf(stderr, "bench: %s=%s is not a number\n", name, text);
		exit(2);
	}
	return value;
}

/* Index of the argument's word among "a|b|c". */
static inline unsigned bench_arg_word(struct bench_args *args, const char *name, const char *words,
				      unsigned fallback)
{
	const char *text = bench_arg_text(args, name);
	unsigned index = 0;

	if (!text)
		return fallback;
	for (const char *word = words; word; index++) {
		const char *bar = strchr(word, '|');
		size_t length = bar ? (size_t)(bar - word) : strlen(word);

		if (strlen(text) == length && strncmp(text, word, length) == 0)
			return index;
		word = bar ? bar + 1 : NULL;
	}
	fprintf(stderr, "bench: %s=%s: one of %s is wanted\n", name, text, words);
	exit(2);
}

/* A misspelt argument would silently measure something else. */
static inline void bench_args_end(const struct bench_args *args)
{
	if ((int)args->used != args->count) {
		fprintf(stderr, "bench: an argument is unknown or given twice\n");
		exit(2);
	}
}

/* ---- memory ---- */

/* Memory that is the harness's own: mapped, so the allocator under test never sees it. */
static inline void *bench_map(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		bench_die("mmap");
	return at;
}

static inline size_t bench_read(const char *path, char *text, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t got;

	if (fd < 0)
		bench_die(path);
	while (have + 1 < bytes && (got = read(fd, text + have, bytes - 1 - have)) > 0)
		have += (size_t)got;
	close(fd);
	text[have] = 0;
	return have;
}

static inline long bench_field_kib(const char *path, const char *field)
{
	char text[8192];
	const char *at;

	bench_read(path, text, sizeof(text));
	at = strstr(text, field);
	return at ? strtol(at + strlen(field), NULL, 10) : -1;
}

static inline long bench_smaps_kib(const char *field)
{
	return bench_field_kib("/proc/self/smaps_rollup", field);
}

static inline long bench_peak_kib(void)
{
	return bench_field_kib("/proc/self/status", "VmHWM:");
}

static inline long bench_statm_rss_kib(void)
{
	char text[256], *at;

	bench_read("/proc/self/statm", text, sizeof(text));
	at = strchr(text, ' ');
	return at ? strtol(at, NULL, 10) * (sysconf(_SC_PAGESIZE) >> 10) : -1;
}

/* ---- time ---- */

struct bench_clock {
	struct timespec wall;
	struct rusage usage;
};

static inline void bench_keep(const void *pointer)
{
	__asm__ volatile("" : : "r"(pointer) : "memory");
}

static inline struct bench_clock bench_begin(void)
{
	struct bench_clock clock;

	getrusage(RUSAGE_SELF, &clock.usage);
	clock_gettime(CLOCK_MONOTONIC, &clock.wall);
	return clock;
}

static inline double bench_timeval_s(struct timeval from, struct timeval to)
{
	return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_usec - from.tv_usec) * 1e-6;
}

/* Prints the child's one line, for the time between two clocks; the runner reads it by name. */
static inline void bench_print(const struct bench_clock *begin, const struct bench_clock *end,
			       double operations)
{
	double wall_s, user_s, system_s;

	wall_s = (double)(end->wall.tv_sec - begin->wall.tv_sec) +
		 (double)(end->wall.tv_nsec - begin->wall.tv_nsec) * 1e-9;
	user_s = bench_timeval_s(begin->usage.ru_utime, end->usage.ru_utime);
	system_s = bench_timeval_s(begin->usage.ru_stime, end->usage.ru_stime);
	printf("wall_s=%.6f cpu_s=%.6f user_s=%.6f system_s=%.6f operations=%.0f peak_kib=%ld\n",
	       wall_s, user_s + system_s, user_s, system_s, operations, bench_peak_kib());
}

static inline void bench_end(const struct bench_clock *begin, double operations)
{
	struct bench_clock end = bench_begin();

	bench_print(begin, &end, operations);
}

#endif
