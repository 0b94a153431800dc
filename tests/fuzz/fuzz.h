/* fuzz.h - what the fuzzers share: the bytes under test as a file, and answers that go nowhere.
 *
 * A fuzzer is the target of the command itself: it holds the page, the table or the file that is
 * read, and gyre's own reader looks into this very process. So the reader is tested as it is, with
 * its system calls; only its naps are left out (a page that is torn for ever costs 100 ms).
 */
#ifndef GYRE_TESTS_FUZZ_H
#define GYRE_TESTS_FUZZ_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "output.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* fuzz_must - what the machine refused, not the reader. */
static inline void fuzz_must(bool good)
{
	if (!good) {
		perror("fuzz");
		abort();
	}
}

/* fuzz_file - a file of that name in memory, held open. */
static inline int fuzz_file(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	fuzz_must(fd >= 0);
	return fd;
}

static inline void fuzz_fill(int fd, const void *bytes, size_t length)
{
	fuzz_must(!ftruncate(fd, 0) && !ftruncate(fd, (off_t)length));
	fuzz_must(pwrite(fd, bytes, length, 0) == (ssize_t)length);
}

/* fuzz_quiet - standard output goes nowhere, as JSON in every other process. */
static inline void fuzz_quiet(bool json)
{
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

	fuzz_must(nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0);
	close(nowhere);
	gy_out_init(json, false, false);
}

#endif
