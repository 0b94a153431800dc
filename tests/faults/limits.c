/* limits.c - a program that meets a limit of the kernel's, or the heap's own, and goes on.
 *
 *   limits KIND [MIB]
 *
 *   as         RLIMIT_AS set by the program while it runs, MIB above what it uses
 *   data       RLIMIT_DATA likewise
 *   inherited  a limit from before the start: ulimit, a cgroup, the option memory_limit
 *   absurd     requests that no machine can serve
 *
 * Takes blocks of several sizes and writes to them until one is refused: that must be NULL with
 * ENOMEM. Then frees half, takes again, frees all, takes as much again as the first time. Contents
 * are checked throughout; threads start and end while nothing can be had. MIB for `inherited` is
 * the limit, so that reaching it can be told from giving up early.
 */
#include "interpose/tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)
enum { CEILING_MIB = 512 }; /* where nothing is refused, enough is enough */

struct block {
	struct block *next;
	size_t bytes;
	unsigned char data[];
};

static struct block *blocks;
static size_t taken_bytes, taken_blocks;

static struct block *take(size_t bytes)
{
	struct block *block;

	errno = 0;
	block = malloc(sizeof(*block) + bytes);
	if (!block) {
		EXPECT(errno == ENOMEM, "errno %d", errno);
		return NULL;
	}
	block->bytes = bytes;
	for (size_t i = 0; i < bytes; i += 1024)
		block->data[i] = (unsigned char)(bytes + i / 1024);
	block->next = blocks;
	blocks = block;
	taken_bytes += sizeof(*block) + bytes;
	taken_blocks++;
	return block;
}

static void give(struct block **place)
{
	struct block *block = *place;

	for (size_t i = 0; i < block->bytes; i += 1024)
		if (block->data[i] != (unsigned char)(block->bytes + i / 1024)) {
			EXPECT(0, "byte %zu of %zu changed", i, block->bytes);
			break;
		}
	*place = block->next;
	taken_bytes -= sizeof(*block) + block->bytes;
	taken_blocks--;
	free(block);
}

/* Until refused: large blocks first, then smaller ones into what is left. */
static size_t take_all(size_t largest)
{
	for (size_t bytes = largest; bytes >= 64; bytes /= 8)
		while (taken_bytes < (size_t)CEILING_MIB * MIB && take(bytes))
			;
	return taken_bytes;
}

static void give_every_second(void)
{
	for (struct block **place = &blocks; *place;) {
		give(place);
		if (*place)
			place = &(*place)->next;
	}
}

static void give_all(void)
{
	while (blocks)
		give(&blocks);
}

/* A thread at the limit: it gets blocks or NULL, and ends well. */
static void *thread_at_limit(void *argument)
{
	for (unsigned i = 0; i < 200; i++) {
		void *block = malloc(i * 50), *resized;

		resized = realloc(block, i * 100 + 1);
		free(resized ? resized : block);
	}
	return argument;
}

static void test_limit(size_t largest, size_t limit_mib, bool must_refuse)
{
	size_t first, second, half;

	first = take_all(largest);
	say("# %zu MiB in %zu blocks of at most %zu bytes before the first refusal\n", first / MIB,
	    taken_blocks, largest);
	if (must_refuse)
		EXPECT(first < (size_t)CEILING_MIB * MIB, "%zu MiB and no refusal", first / MIB);
	if (limit_mib) {
		EXPECT(first <= limit_mib * MIB, "%zu MiB above the limit of %zu", first / MIB,
		       limit_mib);
		EXPECT(first >= limit_mib * MIB / 3, "only %zu MiB of a limit of %zu", first / MIB,
		       limit_mib);
	}
	for (unsigned i = 0; i < 8; i++) {
		pthread_t thread;

		if (!pthread_create(&thread, NULL, thread_at_limit, NULL))
			pthread_join(thread, NULL);
	}
	EXPECT(!realloc(blocks, (size_t)1 << 60), "an absurd size was given");
	give_every_second();
	half = taken_bytes;
	for (unsigned i = 0; i < 10 && half > 20 * largest; i++)
		EXPECT(take(largest) || !first, "no block after half was freed");
	take_all(largest);
	give_all();
	second = take_all(largest);
	EXPECT(second >= first - first / 5, "%zu MiB the first time, then %zu", first / MIB,
	       second / MIB);
	give_all();
	EXPECT(taken_blocks == 0, "%zu blocks", taken_blocks);
}

static size_t status_kib(const char *name)
{
	char line[200];
	size_t kib = 0;
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			kib = strtoul(line + strlen(name) + 1, NULL, 10);
	if (file)
		fclose(file);
	return kib;
}

static void test_resource(const char *name, int resource, const char *counter, size_t above_mib)
{
	struct rlimit old, limit;
	char title[100];

	snprintf(title, sizeof(title), "%s set while running, %zu MiB above what is used", name,
		 above_mib);
	group(title);
	free(malloc(20 * MIB));
	getrlimit((__rlimit_resource_t)resource, &old);
	limit = old;
	limit.rlim_cur = status_kib(counter) * 1024 + above_mib * MIB;
	EXPECT(!setrlimit((__rlimit_resource_t)resource, &limit), "errno %d", errno);
	/* RLIMIT_AS counts what was reserved long ago, so the heap need not meet it. */
	test_limit(4 * MIB, 0, resource == RLIMIT_DATA);
	test_limit(20000, 0, resource == RLIMIT_DATA);
	setrlimit((__rlimit_resource_t)resource, &old);
	EXPECT(take(100 * MIB), "no block after the limit was lifted");
	give_all();
	group_end();
}

static void test_absurd(void)
{
	size_t before = status_kib("VmRSS:");

	group("requests beyond the machine are refused and do no harm");
	for (unsigned bits = 36; bits < 64; bits++) {
		unsigned char *block;

		errno = 0;
		block = malloc((size_t)1 << bits);
		EXPECT(block || errno == ENOMEM, "2^%u: errno %d", bits, errno);
		if (block) {
			block[0] = 1;
			block[((size_t)1 << bits) - 1] = 1;
			errno = 0;
			EXPECT(!realloc(block, SIZE_MAX / 2) && errno == ENOMEM, "realloc of 2^%u",
			       bits);
		}
		free(block);
		EXPECT(take(10000), "no block after 2^%u", bits);
		give_all();
	}
	EXPECT(status_kib("VmRSS:") < before + (64 << 10), "%zu KiB resident before, %zu after",
	       before, status_kib("VmRSS:"));
	group_end();
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "absurd";
	size_t mib = argc > 2 ? (size_t)atoi(argv[2]) : 64;

	if (!strcmp(kind, "as"))
		test_resource("RLIMIT_AS", RLIMIT_AS, "VmSize:", mib);
	else if (!strcmp(kind, "data"))
		test_resource("RLIMIT_DATA", RLIMIT_DATA, "VmData:", mib);
	else if (!strcmp(kind, "inherited")) {
		char title[100];

		snprintf(title, sizeof(title), "under a limit of %zu MiB", mib);
		group(title);
		test_limit(MIB, mib, true);
		test_limit(3000, mib, true);
		test_limit(100, mib, true);
		group_end();
	} else {
		test_absurd();
	}
	return tap_all_failures != 0;
}
