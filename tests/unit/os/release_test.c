/* release_test.c - the three back ends on real memory, and one standing in for another.
 *
 * Memory given back reads as zero, and is not resident any more (mincore). A back end that fails
 * hands the batch on; one that says it never will is not asked again.
 */
#include "os/release.h"
#include "os/release_uring.h"

#include "base/config.h"
#include "os/sys.h"
#include "os/vm.h"

#include "unit/unit.h"

#include <dlfcn.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* Not by os/loader.h, which says that it may be missing: this reference takes it out of the
 * archive. */
void *gy_loader_open(const char *name);

#define MB ((size_t)1 << 20)
#define AREA (16 * MB)

static char *area;

static void make_area(void)
{
	void *start = NULL;

	cr_assert_eq(gy_vm_reserve(&start, AREA, 2 * MB), 0);
	cr_assert_eq(gy_vm_commit(start, AREA), 0);
	area = start;
	memset(area, 0x77, AREA);
	cr_assert_eq(unit_resident(area, AREA), AREA);
}

TestSuite(release, .init = make_area);

enum { AUTO, PROCESS_MADVISE, IO_URING, MADVISE };

static void choose(uint64_t backend)
{
	gy_option_values[GY_OPT_release_backend] = backend;
}

static void fail_calls(enum gy_sys_call call, uint64_t count)
{
	gy_option_values[GY_OPT_fault_call] = (uint64_t)call;
	gy_option_values[GY_OPT_fault_count] = count;
}

/* Every second unit of `step` bytes. */
static unsigned alternate(struct iovec *ranges, size_t step, unsigned most)
{
	unsigned count = 0;

	for (size_t at = 0; at + step <= AREA && count < most; at += 2 * step)
		ranges[count++] = (struct iovec){area + at, step};
	return count;
}

static void assert_gone(const struct iovec *ranges, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const char *start = ranges[i].iov_base;

		cr_assert_eq(unit_resident(start, ranges[i].iov_len), 0u, "range %u", i);
		for (size_t at = 0; at < ranges[i].iov_len; at += 64)
			cr_assert_eq(start[at], 0, "range %u byte %zu", i, at);
		memset(ranges[i].iov_base, 0x77, ranges[i].iov_len);
	}
	/* nothing else was touched */
	for (size_t at = 0; at < AREA; at += 64)
		cr_assert_eq(area[at], 0x77);
}

static void release_by(uint64_t backend, size_t step, unsigned most, bool part)
{
	static const unsigned expected[] = {0, 0, 1, 2};
	struct gy_release_result result = {0, 0, 99};
	struct iovec ranges[GY_RELEASE_BATCH];
	unsigned count = alternate(ranges, step, most);

	choose(backend);
	gy_release_prepare();
	cr_assert_eq(gy_release(ranges, count, part, &result), 0);
	cr_assert_eq(result.bytes, count * step);
	cr_assert_gt(result.calls, 0u);
	cr_assert_eq(result.backend, expected[backend], "%u served", result.backend);
	assert_gone(ranges, count);
}

/* Does the kernel allow it at all? Old kernels refuse process_madvise(MADV_DONTNEED) on oneself. */
static bool backend_works(uint64_t backend)
{
	struct iovec range = {area, 4096};
	uint64_t calls = 0;
	int error;

	choose(backend);
	gy_release_prepare();
	error = gy_release_backends[backend - 1].advise(&range, 1, MADV_DONTNEED, &calls);

	area[0] = 0x77;
	memset(area, 0x77, 4096);
	return !error;
}

/* Skips a test of io_uring where there is none; where there is, the back end has to work. */
static void need_io_uring(void)
{
	struct io_uring_params parameters;
	long ring;

	memset(&parameters, 0, sizeof(parameters));
	if (!dlopen("liburing.so.2", RTLD_NOW))
		cr_skip("liburing.so.2 is not installed");
	ring = syscall(SYS_io_uring_setup, 1, &parameters);
	if (ring < 0)
		cr_skip("the kernel does not allow io_uring");
	close((int)ring);
	cr_assert_not_null(gy_loader_open("liburing.so.2"));
	cr_assert(backend_works(IO_URING));
}

static const size_t steps[] = {4096, 8192, 65536, 2 * MB};

Test(release, the_table_names_its_back_ends_in_the_order_of_the_option)
{
	const char *words = gy_option_table[GY_OPT_release_backend].words;

	cr_assert_eq(strncmp(words, "auto|", 5), 0);
	words += 5;
	for (unsigned i = 0; i < GY_RELEASE_BACKENDS; i++) {
		size_t length = strlen(gy_release_backends[i].name);

		cr_assert_eq(strncmp(words, gy_release_backends[i].name, length), 0);
		words += length + 1;
	}
}

Test(release, madvise_gives_back_and_reads_zero)
{
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++)
		for (unsigned part = 0; part < 2; part++)
			release_by(MADVISE, steps[i], 200, part);
}

Test(release, process_madvise_gives_back_and_reads_zero)
{
	if (!backend_works(PROCESS_MADVISE))
		cr_skip("process_madvise on the process itself needs Linux 6.13");
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++)
		for (unsigned part = 0; part < 2; part++)
			release_by(PROCESS_MADVISE, steps[i], GY_RELEASE_BATCH, part);
	release_by(AUTO, 8192, GY_RELEASE_BATCH, false);
}

Test(release, io_uring_gives_back_and_reads_zero)
{
	need_io_uring();
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++)
		for (unsigned part = 0; part < 2; part++)
			release_by(IO_URING, steps[i], GY_RELEASE_BATCH, part);
}

/* One call for a whole batch, where that is the point. */
Test(release, process_madvise_needs_one_call_for_a_batch)
{
	struct gy_release_result result = {0, 0, 0};
	struct iovec ranges[GY_RELEASE_BATCH];
	unsigned count = alternate(ranges, 8192, GY_RELEASE_BATCH);

	if (!backend_works(PROCESS_MADVISE))
		cr_skip("process_madvise on the process itself needs Linux 6.13");
	choose(PROCESS_MADVISE);
	cr_assert_eq(count, GY_RELEASE_BATCH);
	cr_assert_eq(gy_release(ranges, count, false, &result), 0);
	cr_assert_eq(result.calls, 1u);
	choose(MADVISE);
	memset(area, 0x77, AREA);
	result = (struct gy_release_result){0, 0, 0};
	cr_assert_eq(gy_release(ranges, count, false, &result), 0);
	cr_assert_eq(result.calls, (uint64_t)count);
}

Test(release, part_of_a_transparent_huge_page_leaves_the_rest)
{
	struct iovec ranges[256];
	unsigned count = 0;

	if (gy_vm_want_hugepages(area, AREA))
		cr_skip("no transparent huge pages here");
	madvise(area, AREA, MADV_DONTNEED);
	memset(area, 0x77, AREA);
	gy_vm_no_hugepages(area, AREA); /* or khugepaged puts together what is taken apart here */
	for (size_t at = 0; at < AREA; at += 8 * 8192)
		ranges[count++] = (struct iovec){area + at, 3 * 8192};
	for (uint64_t backend = AUTO; backend <= MADVISE; backend++) {
		struct gy_release_result result = {0, 0, 0};

		choose(backend);
		gy_release_prepare();
		cr_assert_eq(gy_release(ranges, count, true, &result), 0);
		assert_gone(ranges, count);
	}
}

/* ---- one for the other ---- */
static const struct {
	uint64_t backend;
	enum gy_sys_call call;
	unsigned serves; /* index of the back end that must do it instead */
} failures[] = {
	{AUTO, GY_SYS_process_madvise, 2},
	{AUTO, GY_SYS_pidfd_open, 2},
	{PROCESS_MADVISE, GY_SYS_process_madvise, 2},
	{PROCESS_MADVISE, GY_SYS_pidfd_open, 2},
	{IO_URING, GY_SYS_io_uring_setup, 0},
	{IO_URING, GY_SYS_io_uring_enter, 0},
};

static void fails_over(void *argument)
{
	unsigned which = *(const unsigned *)argument;
	struct gy_release_result result = {0, 0, 99};
	struct iovec ranges[GY_RELEASE_BATCH];
	unsigned count = alternate(ranges, 8192, 300);

	choose(failures[which].backend);
	fail_calls(failures[which].call, UINT64_MAX);
	gy_release_prepare();
	child_check(gy_release(ranges, count, false, &result) == 0);
	child_check(result.bytes == count * 8192);
	dprintf(STDERR_FILENO, "served by %u", result.backend);
	child_check(result.backend == failures[which].serves || result.backend == 2);
	child_check(unit_resident(area, AREA) == AREA - count * 8192);
	/* not asked again: it would succeed now */
	gy_option_values[GY_OPT_fault_call] = 0;
	gy_release_prepare();
	memset(area, 1, AREA);
	child_check(gy_release(ranges, count, false, &result) == 0);
	child_check(result.backend == failures[which].serves || result.backend == 2);
	child_check(unit_resident(area, AREA) == AREA - count * 8192);
}

Test(release, a_failing_back_end_hands_on_and_is_not_asked_again)
{
	for (unsigned i = 0; i < ARRAY_SIZE(failures); i++) {
		struct unit_child child = unit_child_run(fails_over, &i);

		unit_assert_exit(child, 0);
	}
}

Test(release, when_all_fail_the_error_comes_back_and_nothing_is_counted)
{
	struct gy_release_result result = {0, 0, 0};
	struct iovec range = {area, 8192};

	choose(MADVISE);
	fail_calls(GY_SYS_madvise, UINT64_MAX);
	cr_assert_lt(gy_release(&range, 1, false, &result), 0);
	cr_assert_eq(result.bytes, 0u);
	cr_assert_eq(area[0], 0x77);
	cr_assert_eq(unit_resident(area, AREA), AREA);
	gy_option_values[GY_OPT_fault_call] = 0; /* the loop of madvise is never given up */
	cr_assert_eq(gy_release(&range, 1, false, &result), 0);
	assert_gone(&range, 1);
}

/* A loop that fails in the middle does the rest, and says that not all was done. */
Test(release, a_failure_in_the_middle_is_told)
{
	struct gy_release_result result = {0, 0, 0};
	struct iovec ranges[10];
	unsigned count = alternate(ranges, 8192, 10);

	choose(MADVISE);
	gy_option_values[GY_OPT_fault_after] = 4;
	fail_calls(GY_SYS_madvise, 1);
	cr_assert_eq(gy_release(ranges, count, false, &result), -EINVAL);
	cr_assert_eq(result.bytes, 0u);
	cr_assert_eq(unit_resident(area, AREA), AREA - 9 * 8192);
}

/* What must be opened is opened by gy_release_prepare alone: a release may run where nothing may be
 * allocated. */
Test(release, a_release_opens_nothing)
{
	struct gy_release_result result = {0, 0, 0};
	struct iovec range = {area, 65536};

	choose(IO_URING);
	cr_assert_eq(gy_release(&range, 1, false, &result), 0);
	cr_assert_neq(result.backend, 1u);
	assert_gone(&range, 1);
}

/* URING-1: the ring is the parent's; the child opens its own and does not disturb it. */
static void child_uses_its_own_ring(void *argument)
{
	struct iovec range = {area, 65536};
	uint64_t calls = 0;

	(void)argument;
	gy_release_fork_child();
	gy_release_prepare();
	child_check(gy_release_uring_advise(&range, 1, MADV_DONTNEED, &calls) == 0);
	child_check(unit_resident(area, 65536) == 0);
}

Test(release, URING_1_a_forked_child_has_a_ring_of_its_own)
{
	struct unit_child child;
	struct iovec range = {area, 65536};
	uint64_t calls = 0;

	need_io_uring();
	child = unit_child_run(child_uses_its_own_ring, NULL);
	unit_assert_exit(child, 0);
	choose(IO_URING);
	cr_assert_eq(unit_resident(area, AREA), AREA, "the child's release reached the parent");
	cr_assert_eq(gy_release_uring_advise(&range, 1, MADV_DONTNEED, &calls), 0);
	cr_assert_eq(unit_resident(area, AREA), AREA - 65536);
}

/* URING-2: more requests than the ring has entries, all done when the call returns. */
Test(release, URING_2_more_ranges_than_entries)
{
	struct iovec ranges[GY_RELEASE_BATCH];
	unsigned count = alternate(ranges, 8192, GY_RELEASE_BATCH);
	uint64_t calls = 0;

	need_io_uring();
	for (unsigned n = 0; n < 5; n++) {
		cr_assert_eq(gy_release_uring_advise(ranges, count, MADV_DONTNEED, &calls), 0);
		assert_gone(ranges, count);
	}
}
