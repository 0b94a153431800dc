/* sys.h - the system calls, one wrapper each, with fault injection in front.
 *
 * SYS-1  Every system call of the library goes through here (base/panic.c's last write apart).
 * SYS-2  A wrapper returns -errno and leaves errno as it was: free must keep errno, and a slow
 *        path may run anywhere.
 * SYS-3  Fault injection (options fault_call, fault_after, fault_count) costs one test of a
 *        variable that shares its line with nothing hot; no wrapper stands on a fast path.
 * SYS-4  None is a cancellation point, as open, read, close and write of the C library are: a
 *        thread that is cancelled within malloc would take along the lock that it held.
 */
#ifndef GY_OS_SYS_H
#define GY_OS_SYS_H

#include "base/compiler.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

enum gy_sys_call {
#define SYS_CALL(number, name, error, text) GY_SYS_##name = number,
#include "os/sys_calls.def"
#undef SYS_CALL
	GY_SYS_COUNT
};

/* 0, or the -errno that this call must fail with now. */
int gy_sys_fault(enum gy_sys_call call);

int gy_sys_mmap(void **address, size_t bytes, int protection, int flags, int fd);
int gy_sys_munmap(void *address, size_t bytes);
int gy_sys_mprotect(void *address, size_t bytes, int protection);
int gy_sys_madvise(void *address, size_t bytes, int advice);
ssize_t gy_sys_process_madvise(int pidfd, const struct iovec *ranges, size_t count, int advice);
int gy_sys_mremap(void *from, size_t bytes, void *to, int flags);
int gy_sys_memfd_create(const char *name, unsigned flags);
int gy_sys_ftruncate(int fd, off_t bytes);
int gy_sys_fcntl(int fd, int command, long argument);
int gy_sys_membarrier(int command);
int gy_sys_pidfd_open(pid_t pid);
int gy_sys_getrlimit(int resource, struct rlimit *limit);
int gy_sys_futex_wait(uint32_t *word, uint32_t expected, const struct timespec *timeout,
		      bool shared);
int gy_sys_futex_wake(uint32_t *word, int count, bool shared);
void gy_sys_close(int fd);
/* Reads a whole small file into a NUL-ended buffer; bytes read, or -errno. */
ssize_t gy_sys_read_file(const char *path, char *buffer, size_t capacity);
/* Copies memory of this process that may vanish meanwhile; bytes copied, or -errno. */
ssize_t gy_sys_read_own_memory(const void *from, void *to, size_t bytes);
pid_t gy_sys_gettid(void);
void gy_sys_yield(void);
/* What the kernel takes, not the C library's: also under a sanitizer, whose sigaction delays
 * signals, and with the C library's own two signals in the mask. */
struct gy_signal_action {
	void (*handler)(int number, siginfo_t *info, void *context); /* or SIG_DFL, SIG_IGN */
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};
int gy_sys_sigaction(int number, const struct gy_signal_action *action,
		     struct gy_signal_action *before);
/* Signal 0 only asks whether the thread exists: -ESRCH. */
int gy_sys_tgkill(pid_t pid, pid_t tid, int number);
/* The calling thread's scheduling policy; that of the thread `tid`. */
int gy_sys_policy(void);
int gy_sys_policy_set(int policy, int priority);
int gy_sys_policy_of(pid_t tid);
int gy_sys_policy_set_of(pid_t tid, int policy, int priority);
/* The calling thread's signal mask, past the C library, whose function may be our own wrapper
 * (interpose/signal_mask.c); these never fail. _block: all but those of `open` (bit n - 1: signal
 * n) and the C library's own two; returns the mask before, which _restore takes. _open: has the
 * thread take this signal; true if it was blocked. */
uint64_t gy_sys_signals_block(uint64_t open);
void gy_sys_signals_restore(uint64_t mask);
bool gy_sys_signal_open(int number);
int gy_sys_open(const char *path, int flags);
ssize_t gy_sys_read_at(int fd, void *buffer, size_t bytes, uint64_t offset);
ssize_t gy_sys_getdents(int fd, void *buffer, size_t bytes);
/* Regions of [start, end) that have memory, present or swapped out; `anonymous`: and are no file's.
 * `pagemap` is a descriptor of /proc/self/pagemap. How many, by address: fewer than capacity means
 * that there are no more; or -errno (Linux before 6.7). */
struct gy_page_region {
	uint64_t start, end, categories;
};
int gy_sys_populated(int pagemap, uintptr_t start, uintptr_t end, bool anonymous,
		     struct gy_page_region *regions, size_t capacity);
/* Number of links of an open file; or -errno. */
long gy_sys_links(int fd);
/* True if eight bytes at `address` can be read. Touches nothing: the call that copies them in
 * fails. */
bool gy_sys_readable(const void *address);
uint64_t gy_now_ns(void); /* CLOCK_MONOTONIC */

#endif
