/* thread_state.c - see thread_state.h; kernel-notes/thread_state.md. */
#include "os/thread_state.h"

#include "base/format.h"
#include "os/sys.h"

#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static void task_path(char *path, size_t capacity, pid_t tid, const char *file)
{
	struct gy_text text = {path, capacity, 0};

	gy_text_add(&text, "/proc/self/task/");
	gy_text_add_u64(&text, (uint64_t)tid);
	gy_text_add(&text, file);
}

static uint64_t number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	if (!at)
		return UINT64_MAX;
	at += strlen(key);
	return gy_text_number(at + strspn(at, "\t "), 10);
}

uint64_t gy_thread_switches(pid_t tid)
{
	char path[64], status[4096];
	uint64_t voluntary, forced;

	task_path(path, sizeof(path), tid, "/status");
	if (gy_sys_read_file(path, status, sizeof(status)) <= 0)
		return 0;
	voluntary = number_after(status, "\nvoluntary_ctxt_switches:");
	forced = number_after(status, "\nnonvoluntary_ctxt_switches:");
	if (voluntary == UINT64_MAX || forced == UINT64_MAX)
		return 0;
	return voluntary + forced + 1;
}

/* "NR a b c d e f SP PC", "-1 SP PC" (blocked elsewhere), or "running". */
bool gy_thread_sleeps(pid_t tid, uint64_t *sp)
{
	char path[64], line[256], *field = line;

	task_path(path, sizeof(path), tid, "/syscall");
	if (gy_sys_read_file(path, line, sizeof(line)) <= 0 || line[0] < '0' || line[0] > '9')
		return false;
	for (unsigned i = 0; i < 7; i++) {
		field = strchr(field, ' ');
		if (!field)
			return false;
		field++;
	}
	if (field[0] == '0' && field[1] == 'x')
		field += 2;
	*sp = gy_text_number(field, 16);
	return *sp != 0;
}

bool gy_stack_mentions(uintptr_t low, uintptr_t high, uintptr_t from, uintptr_t to)
{
	uintptr_t words[512];

	/* The thread may end meanwhile: its stack is read through the kernel. */
	for (low &= ~(uintptr_t)7; low < high;) {
		size_t bytes = MIN(sizeof(words), high - low);

		if (gy_sys_read_own_memory((void *)low, words, bytes) != (ssize_t)bytes)
			return true;
		for (size_t i = 0; i < bytes / sizeof(*words); i++)
			if (words[i] >= from && words[i] < to)
				return true;
		low += bytes;
	}
	return false;
}

uintptr_t gy_stack_ceiling(void)
{
	/* glibc puts a thread's control block above its stack, in the same mapping; the main
	 * thread's stack ends in what exec left there. */
	if (gy_sys_gettid() == getpid())
		return (uintptr_t)getauxval(AT_RANDOM);
	return (uintptr_t)pthread_self();
}
