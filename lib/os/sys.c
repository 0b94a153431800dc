/* sys.c - see sys.h. */
#include "os/sys.h"

#include "base/config.h"
#include "os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

static uint64_t fault_calls_seen; /* [atomic: relaxed] */

static const int fault_errno[GY_SYS_COUNT] = {
#define SYS_CALL(number, name, error, text) [number] = error,
#include "os/sys_calls.def"
#undef SYS_CALL
};

GY_RACY_READER int gy_sys_fault(enum gy_sys_call call)
{
	uint64_t seen, after;

	if (likely(gy_option(GY_OPT_fault_call) != (uint64_t)call))
		return 0;
	seen = __atomic_fetch_add(&fault_calls_seen, 1, __ATOMIC_RELAXED);
	after = gy_option(GY_OPT_fault_after);
	if (seen < after || seen - after >= gy_option(GY_OPT_fault_count))
		return 0;
	return -fault_errno[call];
}

/* Runs `call` with errno kept; its failure becomes -errno (SYS-2). */
#define SYS_RUN(name, result, call)                                                                \
	do {                                                                                       \
		int sys_saved = errno;                                                             \
                                                                                                   \
		result = gy_sys_fault(GY_SYS_##name);                                              \
		if (!result) {                                                                     \
			result = call;                                                             \
			if (result < 0)                                                            \
				result = -errno;                                                   \
		}                                                                                  \
		errno = sys_saved;                                                                 \
	} while (0)

int gy_sys_mmap(void **address, size_t bytes, int protection, int flags, int fd)
{
	int saved = errno, result = gy_sys_fault(GY_SYS_mmap);
	void *mapped;

	if (result)
		return result;
	mapped = mmap(*address, bytes, protection, flags, fd, 0);
	if (mapped == MAP_FAILED)
		result = -errno;
	else
		*address = mapped;
	errno = saved;
	return result;
}

int gy_sys_munmap(void *address, size_t bytes)
{
	int result;

	SYS_RUN(munmap, result, munmap(address, bytes));
	return result;
}

int gy_sys_mprotect(void *address, size_t bytes, int protection)
{
	int result;

	SYS_RUN(mprotect, result, mprotect(address, bytes, protection));
	return result;
}

int gy_sys_madvise(void *address, size_t bytes, int advice)
{
	int result;

	SYS_RUN(madvise, result, madvise(address, bytes, advice));
	return result;
}

ssize_t gy_sys_process_madvise(int pidfd, const struct iovec *ranges, size_t count, int advice)
{
	ssize_t result;

	SYS_RUN(process_madvise, result,
		syscall(SYS_process_madvise, pidfd, ranges, count, advice, 0));
	return result;
}

int gy_sys_mremap(void *from, size_t bytes, void *to, int flags)
{
	int saved = errno, result = gy_sys_fault(GY_SYS_mremap);

	if (result)
		return result;
	if (mremap(from, bytes, bytes, flags, to) == MAP_FAILED)
		result = -errno;
	errno = saved;
	return result;
}

int gy_sys_memfd_create(const char *name, unsigned flags)
{
	int result;

	SYS_RUN(memfd_create, result, memfd_create(name, flags));
	return result;
}

int gy_sys_ftruncate(int fd, off_t bytes)
{
	int result;

	SYS_RUN(ftruncate, result, ftruncate(fd, bytes));
	return result;
}

int gy_sys_fcntl(int fd, int command, long argument)
{
	int result;

	SYS_RUN(fcntl, result, fcntl(fd, command, argument));
	return result;
}

int gy_sys_membarrier(int command)
{
	long result;

	SYS_RUN(membarrier, result, syscall(SYS_membarrier, command, 0, 0));
	return (int)result;
}

int gy_sys_pidfd_open(pid_t pid)
{
	long result;

	SYS_RUN(pidfd_open, result, syscall(SYS_pidfd_open, pid, 0));
	return (int)result;
}

int gy_sys_getrlimit(int resource, struct rlimit *limit)
{
	int result;

	SYS_RUN(getrlimit, result, getrlimit((__rlimit_resource_t)resource, limit));
	return result;
}

GY_RACY_READER int gy_sys_futex_wait(uint32_t *word, uint32_t expected,
				     const struct timespec *timeout, bool shared)
{
	int operation = shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE;
	long result;

	SYS_RUN(futex, result, syscall(SYS_futex, word, operation, expected, timeout, NULL, 0));
	return (int)result;
}

GY_RACY_READER int gy_sys_futex_wake(uint32_t *word, int count, bool shared)
{
	int operation = shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE;
	int saved = errno;
	long result = syscall(SYS_futex, word, operation, count, NULL, NULL, 0);

	/* A wake must never be lost: no fault is injected here. */
	errno = saved;
	return result < 0 ? -EINVAL : (int)result;
}

/* SYS-4: in place of the C library's. */
static int open_file(const char *path, int flags)
{
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
}

void gy_sys_close(int fd)
{
	int saved = errno;

	syscall(SYS_close, fd);
	errno = saved;
}

ssize_t gy_sys_read_file(const char *path, char *buffer, size_t capacity)
{
	ssize_t result;
	size_t length = 0;
	int fd;

	SYS_RUN(open, fd, open_file(path, O_RDONLY | O_CLOEXEC));
	if (fd < 0)
		return fd;
	do {
		SYS_RUN(read, result,
			syscall(SYS_read, fd, buffer + length, capacity - 1 - length));
		if (result > 0)
			length += (size_t)result;
	} while (result > 0 && length < capacity - 1);
	gy_sys_close(fd);
	buffer[length] = '\0';
	return result < 0 ? result : (ssize_t)length;
}

ssize_t gy_sys_read_own_memory(const void *from, void *to, size_t bytes)
{
	struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)from, bytes};
	ssize_t result;

	SYS_RUN(process_vm_readv, result, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	return result;
}

GY_RACY_READER pid_t gy_sys_gettid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

void gy_sys_yield(void)
{
	int saved = errno;

	syscall(SYS_sched_yield);
	errno = saved;
}

#if defined(__x86_64__)
/* Where a handler returns to. The bytes are what debuggers and unwinders know a signal frame by. */
void gy_sys_restorer(void) GY_HIDDEN;
__asm__(".text\n"
	".p2align 4\n"
	".globl gy_sys_restorer\n"
	".hidden gy_sys_restorer\n"
	".type gy_sys_restorer, @function\n"
	"nop\n" /* unwinders look up the address before */
	"gy_sys_restorer:\n"
	"	movq $15, %rax\n" /* SYS_rt_sigreturn */
	"	syscall\n"
	".size gy_sys_restorer, . - gy_sys_restorer\n");
#define KERNEL_SA_RESTORER 0x04000000ul
#endif

int gy_sys_sigaction(int number, const struct gy_signal_action *action,
		     struct gy_signal_action *before)
{
	struct gy_signal_action with_restorer;
	long result;

	if (action) {
		with_restorer = *action;
#if defined(__x86_64__)
		with_restorer.flags |= KERNEL_SA_RESTORER;
		with_restorer.restorer = gy_sys_restorer;
#endif
		action = &with_restorer;
	}
	SYS_RUN(rt_sigaction, result,
		syscall(SYS_rt_sigaction, number, action, before, sizeof(action->mask)));
	return (int)result;
}

int gy_sys_tgkill(pid_t pid, pid_t tid, int number)
{
	long result;

	SYS_RUN(tgkill, result, syscall(SYS_tgkill, pid, tid, number));
	return (int)result;
}

int gy_sys_policy_of(pid_t tid)
{
	int saved = errno;
	long policy = syscall(SYS_sched_getscheduler, tid);

	errno = saved;
	return (int)policy;
}

int gy_sys_policy_set_of(pid_t tid, int policy, int priority)
{
	struct sched_param parameter = {.sched_priority = priority};
	long result;

	SYS_RUN(sched_setscheduler, result,
		syscall(SYS_sched_setscheduler, tid, policy, &parameter));
	return (int)result;
}

int gy_sys_policy(void)
{
	return gy_sys_policy_of(0);
}

int gy_sys_policy_set(int policy, int priority)
{
	return gy_sys_policy_set_of(0, policy, priority);
}

/* Those that the C library sends itself: a thread that does not get them holds up setuid. */
#define SIGNALS_OF_LIBC ((uint64_t)3 << 31)

static uint64_t set_signals(int how, uint64_t mask)
{
	uint64_t before = 0;
	int saved = errno;

	syscall(SYS_rt_sigprocmask, how, &mask, &before, sizeof(mask));
	errno = saved;
	return before;
}

uint64_t gy_sys_signals_block(uint64_t open)
{
	return set_signals(SIG_SETMASK, ~(open | SIGNALS_OF_LIBC));
}

void gy_sys_signals_restore(uint64_t mask)
{
	set_signals(SIG_SETMASK, mask);
}

bool gy_sys_signal_open(int number)
{
	uint64_t bit = 1ull << (number - 1);

	return set_signals(SIG_UNBLOCK, bit) & bit;
}

int gy_sys_open(const char *path, int flags)
{
	int result;

	SYS_RUN(open, result, open_file(path, flags));
	return result;
}

ssize_t gy_sys_read_at(int fd, void *buffer, size_t bytes, uint64_t offset)
{
	ssize_t result;

	SYS_RUN(read, result, syscall(SYS_pread64, fd, buffer, bytes, offset));
	return result;
}

ssize_t gy_sys_getdents(int fd, void *buffer, size_t bytes)
{
	ssize_t result;

	SYS_RUN(getdents64, result, syscall(SYS_getdents64, fd, buffer, bytes));
	return result;
}

long gy_sys_links(int fd)
{
	struct stat status;
	int result;

	SYS_RUN(fstat, result, fstat(fd, &status));
	return result < 0 ? result : (long)status.st_nlink;
}

/* Linux 6.7: PAGEMAP_SCAN and its argument, which older headers do not have. */
struct scan_argument {
	uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN_REQUEST _IOWR('f', 16, struct scan_argument)
#define PAGE_CATEGORY_FILE 4u
#define PAGE_CATEGORY_PRESENT 8u
#define PAGE_CATEGORY_SWAPPED 16u

int gy_sys_populated(int pagemap, uintptr_t start, uintptr_t end, bool anonymous,
		     struct gy_page_region *regions, size_t capacity)
{
	struct scan_argument argument = {
		.size = sizeof(argument),
		.start = start,
		.end = end,
		.regions = (uintptr_t)regions,
		.region_count = capacity,
		.category_inverted = anonymous ? PAGE_CATEGORY_FILE : 0,
		.category_mask = anonymous ? PAGE_CATEGORY_FILE : 0,
		.category_anyof_mask = PAGE_CATEGORY_PRESENT | PAGE_CATEGORY_SWAPPED,
		.return_mask = PAGE_CATEGORY_PRESENT,
	};
	int result;

	SYS_RUN(ioctl, result, ioctl(pagemap, PAGEMAP_SCAN_REQUEST, &argument));
	return result;
}

bool gy_sys_readable(const void *address)
{
	long result;

	/* The kernel copies the set before it looks at `how`, and there is no how of -1. */
	SYS_RUN(rt_sigprocmask, result, syscall(SYS_rt_sigprocmask, -1, address, NULL, 8));
	return result == -EINVAL;
}

uint64_t gy_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
