/* measure.h - what the measuring programs share: a clock, medians, mappings, one line a result.
 *
 * Each program measures one facility of the kernel that Gyre relies on; the note of the same name
 * quotes its lines. `make kernel-notes` builds and runs all. A figure is the median of repeats on
 * memory that the process has touched before, and the machine's name stands above the first line.
 * A facility that is missing is reported as such, with the error; that is a result, not a failure.
 */
#ifndef KERNEL_NOTES_MEASURE_H
#define KERNEL_NOTES_MEASURE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define KIB 1024ul
#define MIB (1024ul * KIB)
#define GIB (1024ul * MIB)
#define HUGE_BYTES (2 * MIB)
#define REPEATS 15

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

struct samples {
	double values[256];
	size_t count;
};

static inline double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static inline void sample_add(struct samples *samples, double value)
{
	if (samples->count < sizeof(samples->values) / sizeof(samples->values[0]))
		samples->values[samples->count++] = value;
}

static inline int sample_compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static inline double sample_median(struct samples *samples)
{
	if (!samples->count)
		return 0;
	qsort(samples->values, samples->count, sizeof(double), sample_compare);
	return samples->values[samples->count / 2];
}

static inline void report(const char *what, double value, const char *unit)
{
	printf("%-68s %12.2f %s\n", what, value, unit);
}

static inline void report_text(const char *what, const char *answer)
{
	printf("%-68s %s\n", what, answer);
}

/* "works", or the error. */
static inline void report_result(const char *what, long result)
{
	report_text(what, result < 0 ? strerror(errno) : "works");
}

static inline void report_machine(void)
{
	struct utsname name;

	uname(&name);
	printf("kernel %s, %ld CPUs\n", name.release, sysconf(_SC_NPROCESSORS_ONLN));
}

/* Anonymous memory at a multiple of `alignment`; the process ends where there is none. */
static inline char *map_aligned(size_t bytes, size_t alignment, int protection)
{
	char *raw = mmap(NULL, bytes + alignment, protection,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start;

	if (raw == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	start = (char *)(((uintptr_t)raw + alignment - 1) & ~(alignment - 1));
	if (start > raw)
		munmap(raw, (size_t)(start - raw));
	munmap(start + bytes, (size_t)(raw + alignment - start));
	return start;
}

static inline void touch(char *start, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += 4 * KIB)
		((volatile char *)start)[at] = 1;
}

/* A number out of a small file, behind `key` (NULL: at its start); -1 where there is none. */
static inline long long read_number(const char *path, const char *key)
{
	static char text[65536];
	FILE *file = fopen(path, "r");
	const char *at = text;
	size_t bytes;

	if (!file)
		return -1;
	bytes = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[bytes] = 0;
	if (key) {
		at = strstr(text, key);
		if (!at)
			return -1;
		at += strlen(key);
	}
	return strtoll(at, NULL, 10);
}

/* The folder of this process's memory cgroup (v1, else v2) and the name of the file of its use. */
static inline bool own_cgroup(char *folder, size_t bytes, const char **usage)
{
	char line[512];
	bool found = false;
	FILE *file = fopen("/proc/self/cgroup", "r");

	while (file && !found && fgets(line, sizeof(line), file)) {
		char *v1 = strstr(line, ":memory:");

		line[strcspn(line, "\n")] = 0;
		if (!v1 && strncmp(line, "0::", 3) != 0)
			continue;
		snprintf(folder, bytes, "/sys/fs/cgroup%s%s", v1 ? "/memory" : "", v1 ? v1 + 8 : line + 3);
		*usage = v1 ? "memory.usage_in_bytes" : "memory.current";
		found = access(folder, R_OK) == 0;
	}
	if (file)
		fclose(file);
	return found;
}

static inline double resident_mb(void)
{
	return (double)read_number("/proc/self/status", "VmRSS:") / 1024.0;
}

#endif
