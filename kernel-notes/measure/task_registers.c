/* task_registers.c - what looking at a sleeping thread's registers does to its system call.
 *
 * A child sleeps in epoll_wait with no end, its callee-saved register rbx holding a known word. It
 * is looked at in three ways; after each it is asked whether the call has failed.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared {
	volatile long calls, failed;
};

static void on_signal(int number)
{
	(void)number;
}

static long epoll_wait_with_rbx(int epoll, struct epoll_event *event)
{
	long result;
#if defined(__x86_64__)
	__asm__ volatile("movq $0x5ca1ab1e, %%rbx\n\t"
			 "movl $232, %%eax\n\t"
			 "movq $-1, %%r10\n\t"
			 "syscall"
			 : "=&a"(result)
			 : "D"((long)epoll), "S"(event), "d"(1L)
			 : "rbx", "r10", "rcx", "r11", "memory");
#else
	result = epoll_wait(epoll, event, 1, -1) < 0 ? -errno : 0;
#endif
	return result;
}

static void child(struct shared *shared)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	int epoll = epoll_create1(0);
	struct epoll_event event;

	sigaction(SIGUSR1, &action, NULL);
	for (;;) {
		shared->calls++;
		shared->failed += epoll_wait_with_rbx(epoll, &event) == -EINTR;
	}
}

/* By /proc/PID/syscall: the stack pointer and the program counter, no more. */
static int look_syscall(int pid)
{
	unsigned long long words[9];
	char path[64], text[256] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	file = fopen(path, "re");
	if (!file || !fgets(text, sizeof(text), file))
		text[0] = 0;
	if (file)
		fclose(file);
	return sscanf(text, "%llu %llx %llx %llx %llx %llx %llx %llx %llx", &words[0], &words[1],
		      &words[2], &words[3], &words[4], &words[5], &words[6], &words[7],
		      &words[8]) == 9;
}

static int look_signal(int pid)
{
	return !kill(pid, SIGUSR1);
}

static int look_ptrace(int pid)
{
	struct user_regs_struct registers = {0};
	int status, found = 0;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
		return 0;
	waitpid(pid, &status, 0);
#if defined(__x86_64__)
	found = !ptrace(PTRACE_GETREGS, pid, NULL, &registers) && registers.rbx == 0x5ca1ab1e;
#endif
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	return found;
}

int main(void)
{
	static const struct {
		const char *name;
		int (*look)(int pid);
	} ways[] = {{"/proc/PID/syscall (no registers but sp and pc)", look_syscall},
		    {"a signal with SA_RESTART", look_signal},
		    {"ptrace, interrupted and let go (rbx is seen)", look_ptrace}};
	struct shared *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (shared == MAP_FAILED)
		return 1;
	pid = fork();
	if (!pid)
		child(shared);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		long before, looked = 0;

		usleep(100000);
		before = shared->failed;
		for (int round = 0; round < 10; round++) {
			looked += ways[i].look(pid);
			usleep(20000);
		}
		printf("%-48s %ld of 10 looks, epoll_wait failed with EINTR %ld times\n",
		       ways[i].name, looked, shared->failed - before);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}
