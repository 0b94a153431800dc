/* sys_test.c - the wrappers: errno stays, failures are -errno, and faults come when they are asked
 * for. */
#include "os/sys.h"

#include "base/config.h"

#include "unit/unit.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>

static const struct {
	int number, error;
	const char *name;
} calls[] = {
#define SYS_CALL(number, name, error, text) {number, error, #name},
#include "os/sys_calls.def"
#undef SYS_CALL
};

static void fail_calls(enum gy_sys_call call, uint64_t after, uint64_t count)
{
	gy_option_values[GY_OPT_fault_call] = (uint64_t)call;
	gy_option_values[GY_OPT_fault_after] = after;
	gy_option_values[GY_OPT_fault_count] = count;
}

Test(sys, the_table_has_each_number_once_within_the_options_bounds)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		cr_assert_eq(calls[i].number, (int)i + 1);
		cr_assert_gt(calls[i].error, 0);
		cr_assert_leq((uint64_t)calls[i].number,
			      gy_option_table[GY_OPT_fault_call].maximum);
	}
	cr_assert_eq((size_t)GY_SYS_COUNT, ARRAY_SIZE(calls) + 1);
}

Test(sys, SYS_3_no_fault_unless_asked_for)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		cr_assert_eq(gy_sys_fault((enum gy_sys_call)calls[i].number), 0);
}

Test(sys, SYS_3_faults_come_after_so_many_calls_and_so_often)
{
	fail_calls(GY_SYS_getrlimit, 3, 2);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert_eq(gy_sys_fault(GY_SYS_mmap), 0); /* another call is not counted */
		cr_assert_eq(gy_sys_fault(GY_SYS_getrlimit), i == 3 || i == 4 ? -EINVAL : 0);
	}
}

Test(sys, SYS_3_every_call_fails_with_the_errno_of_its_row)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		fail_calls((enum gy_sys_call)calls[i].number, 0, UINT64_MAX);
		cr_assert_eq(gy_sys_fault((enum gy_sys_call)calls[i].number), -calls[i].error);
	}
}

/* Each wrapper, made to fail by the kernel or by injection, leaves errno alone (SYS-2). */
Test(sys, SYS_2_failures_are_returned_and_errno_stays)
{
	char buffer[16], *bad = (char *)16;
	uint32_t word = 7;
	void *address = NULL;
	struct rlimit limit;
	struct iovec range = {bad, 4096};

	errno = 4711;
	cr_assert_lt(gy_sys_mmap(&address, 0, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 0);
	cr_assert_eq(gy_sys_munmap(bad, 4096), -EINVAL);
	cr_assert_eq(gy_sys_mprotect(bad, 4096, PROT_READ), -EINVAL);
	cr_assert_lt(gy_sys_madvise((void *)4096, 4096, MADV_DONTNEED), 0);
	cr_assert_eq(gy_sys_process_madvise(-1, &range, 1, MADV_COLD), (ssize_t)-EBADF);
	cr_assert_lt(gy_sys_mremap((void *)4096, 4096, (void *)8192, MREMAP_MAYMOVE | MREMAP_FIXED),
		     0);
	cr_assert_eq(gy_sys_memfd_create("x", ~0u), -EINVAL);
	cr_assert_eq(gy_sys_ftruncate(-1, 0), -EBADF);
	cr_assert_eq(gy_sys_fcntl(-1, F_GETFD, 0), -EBADF);
	cr_assert_eq(gy_sys_membarrier(-1), -EINVAL);
	cr_assert_lt(gy_sys_pidfd_open(-1), 0);
	cr_assert_eq(gy_sys_getrlimit(-1, &limit), -EINVAL);
	cr_assert_eq(gy_sys_futex_wait(&word, 8, NULL, false), -EAGAIN);
	cr_assert_eq(gy_sys_futex_wake(&word, 1, false), 0);
	cr_assert_eq(gy_sys_read_file("/nonesuch", buffer, sizeof(buffer)), (ssize_t)-ENOENT);
	cr_assert_eq(gy_sys_read_own_memory(bad, buffer, sizeof(buffer)), (ssize_t)-EFAULT);
	gy_sys_close(-1);
	cr_assert_eq(errno, 4711);
}

Test(sys, injected_faults_reach_the_callers)
{
	void *address = NULL;
	struct rlimit limit;
	uint32_t word = 0;
	char buffer[64];
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	errno = 0;
	fail_calls(GY_SYS_mmap, 0, UINT64_MAX);
	cr_assert_eq(gy_sys_mmap(&address, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1),
		     -ENOMEM);
	fail_calls(GY_SYS_open, 0, UINT64_MAX);
	cr_assert_eq(gy_sys_read_file("/proc/self/statm", buffer, 64), (ssize_t)-EMFILE);
	fail_calls(GY_SYS_read, 0, UINT64_MAX);
	cr_assert_eq(gy_sys_read_file("/proc/self/statm", buffer, 64), (ssize_t)-EIO);
	fail_calls(GY_SYS_getrlimit, 0, UINT64_MAX);
	cr_assert_eq(gy_sys_getrlimit(RLIMIT_AS, &limit), -EINVAL);
	fail_calls(GY_SYS_futex, 0, UINT64_MAX);
	cr_assert_eq(gy_sys_futex_wait(&word, 0, NULL, false), -EINTR);
	cr_assert_eq(gy_sys_futex_wake(&word, 1, false), 0); /* a wake must never be lost */
	fail_calls(GY_SYS_membarrier, 0, UINT64_MAX);
	cr_assert_eq(gy_sys_membarrier(MEMBARRIER_CMD_QUERY), -EINVAL);
	fail_calls(GY_SYS_fcntl, 0, UINT64_MAX);
	cr_assert_eq(gy_sys_fcntl(fd, F_GETFD, 0), -EMFILE);
	cr_assert_eq(errno, 0);
	close(fd);
}

Test(sys, read_file_ends_its_text_and_stops_at_the_buffer)
{
	char folder[] = P_tmpdir "/gyre-sys-XXXXXX", path[64], buffer[100], content[300];
	int fd;

	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/file", folder);
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (char)('a' + i % 26);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_eq(write(fd, content, sizeof(content)), (ssize_t)sizeof(content));
	close(fd);
	for (size_t capacity = 1; capacity <= sizeof(buffer); capacity += 33) {
		memset(buffer, '#', sizeof(buffer));
		cr_assert_eq(gy_sys_read_file(path, buffer, capacity), (ssize_t)capacity - 1);
		cr_assert_eq(memcmp(buffer, content, capacity - 1), 0);
		cr_assert_eq(buffer[capacity - 1], '\0');
	}
	unlink(path);
	cr_assert_eq(gy_sys_read_file(path, buffer, sizeof(buffer)), (ssize_t)-ENOENT);
	rmdir(folder);
	cr_assert_gt(gy_sys_read_file("/proc/self/stat", buffer, sizeof(buffer)), (ssize_t)10);
}

Test(sys, own_memory_is_read_without_a_fault)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char copy[16] = "";

	cr_assert_neq(page, MAP_FAILED);
	munmap(page + 4096, 4096);
	memcpy(page + 4080, "0123456789abcdef", 16);
	cr_assert_eq(gy_sys_read_own_memory(page + 4080, copy, 16), (ssize_t)16);
	cr_assert_eq(memcmp(copy, "0123456789abcdef", 16), 0);
	cr_assert_neq(gy_sys_read_own_memory(page + 4088, copy, 16), (ssize_t)16);
	cr_assert(gy_sys_readable(page) && gy_sys_readable(page + 4088));
	cr_assert_not(gy_sys_readable(page + 4096));
	cr_assert_not(gy_sys_readable(page + 4092));
	cr_assert_not(gy_sys_readable(NULL));
	mprotect(page, 4096, PROT_NONE);
	cr_assert_not(gy_sys_readable(page));
	munmap(page, 4096);
}

static uint32_t futex_word;

static void *wake_later(void *argument)
{
	(void)argument;
	unit_sleep_ms(20);
	__atomic_store_n(&futex_word, 1, __ATOMIC_RELEASE);
	gy_sys_futex_wake(&futex_word, 1, false);
	return NULL;
}

Test(sys, futex_waits_until_woken_or_until_its_time)
{
	struct timespec timeout = {0, 20000000};
	uint64_t begin = gy_now_ns();
	pthread_t thread;

	cr_assert_eq(gy_sys_futex_wait(&futex_word, 0, &timeout, false), -ETIMEDOUT);
	cr_assert_geq(gy_now_ns() - begin, (uint64_t)20000000);
	cr_assert_eq(pthread_create(&thread, NULL, wake_later, NULL), 0);
	while (__atomic_load_n(&futex_word, __ATOMIC_ACQUIRE) == 0)
		gy_sys_futex_wait(&futex_word, 0, NULL, false);
	pthread_join(thread, NULL);
}

Test(sys, time_goes_forward_and_is_monotonic)
{
	uint64_t last = gy_now_ns();
	struct timespec now;

	for (unsigned i = 0; i < 1000; i++) {
		uint64_t next = gy_now_ns();

		cr_assert_geq(next, last);
		last = next;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	cr_assert_lt((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - last,
		     (uint64_t)1000000000);
	cr_assert_eq(gy_sys_gettid(), getpid());
}
