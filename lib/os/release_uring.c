/* release_uring.c - MADVISE by io_uring.
 *
 * The library depends on libc alone, so liburing is opened by name when this back end is first
 * used; its header gives the layout and the inline helpers, four functions come by dlsym. Where
 * liburing lacks, or the kernel forbids io_uring, the answer is -ENOSYS and the next back end serves.
 *
 * URING-1  One ring, used by the holder of the trim lock; a forked child forgets it (it is the
 *          parent's, and so are its requests).
 * URING-2  Every request submitted is reaped before the call returns.
 */
#include "os/release_uring.h"

#include "os/sys.h"

#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <string.h>

/* Weak: a statically linked program need not take the loader in for an option it does not use. */
#pragma weak dlopen
#pragma weak dlsym

#define RING_ENTRIES 256u

static struct {
	bool tried, ready;
	struct io_uring ring;
	int (*queue_init)(unsigned entries, struct io_uring *ring, unsigned flags);
	struct io_uring_sqe *(*get_sqe)(struct io_uring *ring);
	int (*submit_and_wait)(struct io_uring *ring, unsigned wait_nr);
} uring; /* [lock: trim] */

static int uring_open(void)
{
	void *library;
	int error;

	if (uring.ready)
		return 0;
	if (uring.tried)
		return -ENOSYS;
	uring.tried = true;
	error = gy_sys_fault(GY_SYS_io_uring_setup);
	if (error)
		return error;
	if (!dlopen || !dlsym)
		return -ENOSYS;
	library = dlopen("liburing.so.2", RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return -ENOSYS;
	*(void **)&uring.queue_init = dlsym(library, "io_uring_queue_init");
	*(void **)&uring.get_sqe = dlsym(library, "io_uring_get_sqe");
	*(void **)&uring.submit_and_wait = dlsym(library, "io_uring_submit_and_wait");
	if (!uring.queue_init || !uring.get_sqe || !uring.submit_and_wait)
		return -ENOSYS;
	error = uring.queue_init(RING_ENTRIES, &uring.ring, 0);
	if (error)
		return -ENOSYS;
	uring.ready = true;
	return 0;
}

/* Takes finished requests off the ring; returns how many, and the first failure. */
static unsigned reap(int *first_error)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;

	io_uring_for_each_cqe(&uring.ring, head, cqe)
	{
		if (cqe->res < 0 && !*first_error)
			*first_error = cqe->res;
		seen++;
	}
	io_uring_cq_advance(&uring.ring, seen);
	return seen;
}

int gy_release_uring_advise(const struct iovec *ranges, unsigned count, int advice, uint64_t *calls)
{
	int error = uring_open(), first_error = 0;

	if (error)
		return error;
	for (unsigned done = 0; done < count;) {
		unsigned batch = 0, reaped = 0;

		while (batch < RING_ENTRIES && done + batch < count) {
			struct io_uring_sqe *sqe = uring.get_sqe(&uring.ring);

			if (!sqe)
				break;
			io_uring_prep_madvise(sqe, ranges[done + batch].iov_base,
					      (off_t)ranges[done + batch].iov_len, advice);
			batch++;
		}
		if (!batch)
			return -EAGAIN;
		while (reaped < batch) { /* URING-2 */
			int submitted = gy_sys_fault(GY_SYS_io_uring_enter);

			if (!submitted)
				submitted = uring.submit_and_wait(&uring.ring, batch - reaped);
			*calls += 1;
			if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN) {
				uring.ready = false;
				return -ENOSYS;
			}
			reaped += reap(&first_error);
		}
		done += batch;
	}
	return first_error;
}

void gy_release_uring_forget(void)
{
	uring.ready = uring.tried = false;
}
