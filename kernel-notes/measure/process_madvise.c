/* process_madvise.c - three ways to give many ranges back: which is cheapest.
 *
 * A loop of madvise; process_madvise on the own process, 512 ranges in a call (one pidfd, no
 * privilege since 6.13; before that the advice DONTNEED is refused); io_uring's MADVISE, raw, without
 * liburing. The ranges are 64 KiB in every 128, or whole huge pages.
 */
#include "measure.h"

#include <linux/io_uring.h>
#include <linux/types.h>
#include <stdatomic.h>
#include <sys/resource.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

enum { RANGES = 512 };

struct ring {
	int fd;
	_Atomic unsigned int *sq_tail, *cq_head, *cq_tail;
	unsigned int *sq_array, sq_mask, cq_mask;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *completions;
};

static double process_cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static long release_loop(void *handle, struct iovec *ranges)
{
	(void)handle;
	for (int i = 0; i < RANGES; i++)
		if (madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED))
			return -1;
	return 0;
}

static long release_process(void *handle, struct iovec *ranges)
{
	return syscall(SYS_process_madvise, *(int *)handle, ranges, (long)RANGES, MADV_DONTNEED, 0);
}

static long release_ring(void *handle, struct iovec *ranges)
{
	struct ring *ring = handle;
	unsigned int tail = *ring->sq_tail, head;
	long error = 0;

	for (unsigned int i = 0; i < RANGES; i++) {
		unsigned int slot = (tail + i) & ring->sq_mask;

		memset(&ring->entries[slot], 0, sizeof(ring->entries[slot]));
		ring->entries[slot].opcode = IORING_OP_MADVISE;
		ring->entries[slot].fd = -1;
		ring->entries[slot].addr = (uintptr_t)ranges[i].iov_base;
		ring->entries[slot].len = (unsigned int)ranges[i].iov_len;
		ring->entries[slot].fadvise_advice = MADV_DONTNEED;
		ring->sq_array[slot] = slot;
	}
	atomic_store_explicit(ring->sq_tail, tail + RANGES, memory_order_release);
	if (syscall(SYS_io_uring_enter, ring->fd, RANGES, RANGES, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -1;
	for (head = *ring->cq_head; head != atomic_load_explicit(ring->cq_tail, memory_order_acquire); head++)
		if (ring->completions[head & ring->cq_mask].res < 0)
			error = -1;
	atomic_store_explicit(ring->cq_head, head, memory_order_release);
	return error;
}

static int ring_open(struct ring *ring)
{
	struct io_uring_params params = {0};
	char *rings;

	ring->fd = (int)syscall(SYS_io_uring_setup, RANGES, &params);
	if (ring->fd < 0)
		return -1;
	rings = mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(unsigned int) +
				   params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
		     PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe),
			     PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
	if (rings == MAP_FAILED || ring->entries == MAP_FAILED)
		return -1;
	ring->sq_tail = (void *)(rings + params.sq_off.tail);
	ring->sq_array = (void *)(rings + params.sq_off.array);
	ring->sq_mask = *(unsigned int *)(void *)(rings + params.sq_off.ring_mask);
	ring->cq_head = (void *)(rings + params.cq_off.head);
	ring->cq_tail = (void *)(rings + params.cq_off.tail);
	ring->cq_mask = *(unsigned int *)(void *)(rings + params.cq_off.ring_mask);
	ring->completions = (void *)(rings + params.cq_off.cqes);
	return 0;
}

static void measure(const char *name, long (*release)(void *, struct iovec *), void *handle, char *start,
		    size_t range, size_t stride, int kind)
{
	struct iovec ranges[RANGES];
	struct samples wall = {0}, cpu = {0};
	char text[96];

	for (int i = 0; i < RANGES; i++)
		ranges[i] = (struct iovec){start + (size_t)i * stride, range};
	madvise(start, RANGES * stride, kind);
	for (int round = 0; round < 7; round++) {
		double begin, begin_cpu;

		touch(start, RANGES * stride);
		begin = now_us();
		begin_cpu = process_cpu_us();
		if (release(handle, ranges) < 0) {
			snprintf(text, sizeof(text), "%s", name);
			report_text(text, strerror(errno));
			return;
		}
		sample_add(&wall, (now_us() - begin) / RANGES);
		sample_add(&cpu, (process_cpu_us() - begin_cpu) / RANGES);
	}
	snprintf(text, sizeof(text), "%s, %lu KiB ranges: wall time per range", name, range / KIB);
	report(text, sample_median(&wall), "us");
	snprintf(text, sizeof(text), "%s, %lu KiB ranges: CPU of the process per range", name, range / KIB);
	report(text, sample_median(&cpu), "us");
}

int main(void)
{
	size_t bytes = RANGES * 128 * KIB;
	char *start = map_aligned(bytes, HUGE_BYTES, PROT_READ | PROT_WRITE);
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct ring ring;
	bool have_ring = ring_open(&ring) == 0;
	int ring_error = errno;

	report_machine();
	measure("loop of madvise", release_loop, NULL, start, 64 * KIB, 128 * KIB, MADV_NOHUGEPAGE);
	measure("process_madvise", release_process, &self, start, 64 * KIB, 128 * KIB, MADV_NOHUGEPAGE);
	if (have_ring)
		measure("io_uring MADVISE", release_ring, &ring, start, 64 * KIB, 128 * KIB, MADV_NOHUGEPAGE);
	else
		report_text("io_uring_setup", strerror(ring_error));
	measure("loop of madvise", release_loop, NULL, start, 8 * KIB, 16 * KIB, MADV_NOHUGEPAGE);
	measure("process_madvise", release_process, &self, start, 8 * KIB, 16 * KIB, MADV_NOHUGEPAGE);
	if (have_ring)
		measure("io_uring MADVISE", release_ring, &ring, start, 8 * KIB, 16 * KIB, MADV_NOHUGEPAGE);
	return 0;
}
