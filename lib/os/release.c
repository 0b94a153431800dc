/* release.c - see release.h; kernel-notes/process_madvise.md, kernel-notes/io_uring.md,
 * kernel-notes/madvise.md. The io_uring back end stands in release_uring.c. */
#include "os/release.h"

#include "base/config.h"
#include "os/release_uring.h"
#include "os/sys.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static int advise_process_madvise(const struct iovec *ranges, unsigned count, int advice,
				  uint64_t *calls)
{
	size_t bytes = 0;
	ssize_t done;
	int pidfd;

	for (unsigned i = 0; i < count; i++)
		bytes += ranges[i].iov_len;
	/* Opened each time: no descriptor is kept that a program might close, or a fork inherit. */
	pidfd = gy_sys_pidfd_open(getpid());
	if (pidfd < 0)
		return pidfd;
	done = gy_sys_process_madvise(pidfd, ranges, count, advice);
	gy_sys_close(pidfd);
	*calls += 1;
	if (done < 0)
		return (int)done;
	return (size_t)done == bytes ? 0 : -EAGAIN;
}

static int advise_madvise(const struct iovec *ranges, unsigned count, int advice, uint64_t *calls)
{
	int first_error = 0;

	for (unsigned i = 0; i < count; i++) {
		int error = gy_sys_madvise(ranges[i].iov_base, ranges[i].iov_len, advice);

		if (error && !first_error)
			first_error = error;
	}
	*calls += count;
	return first_error;
}

const struct gy_release_backend gy_release_backends[GY_RELEASE_BACKENDS] = {
	{"process_madvise", advise_process_madvise},
	{"io_uring", gy_release_uring_advise},
	{"madvise", advise_madvise},
};

#define BACKEND_URING_WORD 2 /* OPTION_WORDS_backend: auto|process_madvise|io_uring|madvise */

static uint8_t backend_broken[GY_RELEASE_BACKENDS]; /* [lock: trim] */

/* Backends in the order in which they are tried. io_uring only on request: it saves the caller's
 * time at the price of more time in all, and nobody waits for our caller. */
static const uint8_t order[4][GY_RELEASE_BACKENDS] = {
	{0, 2, 2}, /* auto */
	{0, 2, 2},
	{1, 0, 2},
	{2, 2, 2},
};

static int advise(const struct iovec *ranges, unsigned count, int advice,
		  struct gy_release_result *result)
{
	const uint8_t *try = order[gy_option(GY_OPT_release_backend)];
	int error = -ENOSYS;

	for (unsigned i = 0; i < GY_RELEASE_BACKENDS; i++) {
		unsigned backend = try[i];

		if (backend_broken[backend])
			continue;
		error = gy_release_backends[backend].advise(ranges, count, advice, &result->calls);
		result->backend = backend;
		if (!error || backend == 2)
			return error;
		if (error == -ENOSYS || error == -EINVAL || error == -EPERM || error == -ENOENT)
			backend_broken[backend] = 1;
	}
	return error;
}

int gy_release(const struct iovec *ranges, unsigned count, bool part,
	       struct gy_release_result *result)
{
	struct gy_release_result ignored = {0, 0, 0};
	int error;

	if (part)
		advise(ranges, count, MADV_COLD, &ignored);
	error = advise(ranges, count, MADV_DONTNEED, result);
	result->calls += ignored.calls;
	if (!error)
		for (unsigned i = 0; i < count; i++)
			result->bytes += ranges[i].iov_len;
	return error;
}

void gy_release_prepare(void)
{
	if (gy_option(GY_OPT_release_backend) == BACKEND_URING_WORD)
		gy_release_uring_open();
}

void gy_release_fork_child(void)
{
	gy_release_uring_forget();
}
