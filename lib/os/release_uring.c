/* release_uring.c - MADVISE by io_uring.
 *
 * The library depends on libc alone, so liburing is opened by name when this back end is first
 * used; its header gives the layout and the inline helpers, four functions come by dlsym. Where
 * liburing lacks, or the kernel forbids io_uring, the answer is -ENOSYS and the next back end
 * serves.
 *
 * URING-1  One ring, used by the holder of the trim lock; a forked child forgets it (it is the
 *          parent's, and so are its requests).
 * URING-3  It is opened under no lock, because opening allocates; whoever comes meanwhile uses the
 *          next back end.
 * URING-2  Every request submitted is reaped before the call returns.
 */
#include "os/release_uring.h"

#include "os/loader.h"
#include "os/sys.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>

#define RING_ENTRIES 256u

enum { CLOSED, OPENING, READY, FAILED };

static struct {
	uint32_t state;       /* [atomic: release in open, acquire in advise] */
	struct io_uring ring; /* [lock: trim, once READY] */
	int (*queue_init)(unsigned entries, struct io_uring *ring, unsigned flags);
	struct io_uring_sqe *(*get_sqe)(struct io_uring *ring);
	int (*submit_and_wait)(struct io_uring *ring, unsigned wait_nr);
} uring;

static bool open_ring(void)
{
	void *library;

	if (gy_sys_fault(GY_SYS_io_uring_setup) || !gy_loader_open || !gy_loader_symbol)
		return false;
	library = gy_loader_open("liburing.so.2");
	if (!library)
		return false;
	*(void **)&uring.queue_init = gy_loader_symbol(library, "io_uring_queue_init");
	*(void **)&uring.get_sqe = gy_loader_symbol(library, "io_uring_get_sqe");
	*(void **)&uring.submit_and_wait = gy_loader_symbol(library, "io_uring_submit_and_wait");
	return uring.queue_init && uring.get_sqe && uring.submit_and_wait &&
	       !uring.queue_init(RING_ENTRIES, &uring.ring, 0);
}

void gy_release_uring_open(void)
{
	uint32_t closed = CLOSED;

	/* URING-3 */
	if (READ_RELAXED(uring.state) != CLOSED ||
	    !__atomic_compare_exchange_n(&uring.state, &closed, OPENING, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&uring.state, open_ring() ? READY : FAILED, __ATOMIC_RELEASE);
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
	uint32_t state = __atomic_load_n(&uring.state, __ATOMIC_ACQUIRE);
	int first_error = 0;

	if (state != READY)
		return state == FAILED ? -ENOSYS : -EAGAIN;
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
				WRITE_RELAXED(uring.state, FAILED);
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
	uring.state = CLOSED;
}
