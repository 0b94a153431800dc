/* tasks_test.c - the list and the number of threads, and what is told of each. */
#include "os/tasks.h"

#include "base/config.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <pthread.h>
#include <sys/syscall.h>

struct task {
	pthread_t thread;
	pid_t tid;
	uint32_t ready, quit; /* [atomic] */
	bool blocks;
};

static void *task_main(void *argument)
{
	struct task *task = argument;
	sigset_t set;

	if (task->blocks) {
		sigemptyset(&set);
		sigaddset(&set, SIGPWR);
		sigaddset(&set, SIGRTMAX);
		pthread_sigmask(SIG_BLOCK, &set, NULL);
		pthread_setname_np(pthread_self(), "a) b (c\n d");
	}
	task->tid = gy_sys_gettid();
	__atomic_store_n(&task->ready, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&task->quit, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	return NULL;
}

static void task_start(struct task *task)
{
	cr_assert_eq(pthread_create(&task->thread, NULL, task_main, task), 0);
	while (!__atomic_load_n(&task->ready, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
}

static void task_end(struct task *task)
{
	__atomic_store_n(&task->quit, 1, __ATOMIC_RELEASE);
	cr_assert_eq(pthread_join(task->thread, NULL), 0);
	/* joined, and not yet gone for the kernel */
	for (unsigned i = 0; i < 2000 && syscall(SYS_tgkill, getpid(), task->tid, 0) == 0; i++)
		unit_sleep_ms(1);
}

struct seen {
	pid_t tids[2048];
	unsigned count;
};

static void see(pid_t tid, void *argument)
{
	struct seen *seen = argument;

	cr_assert_lt(seen->count, ARRAY_SIZE(seen->tids));
	seen->tids[seen->count++] = tid;
}

static bool has(const struct seen *seen, pid_t tid)
{
	for (unsigned i = 0; i < seen->count; i++)
		if (seen->tids[i] == tid)
			return true;
	return false;
}

/* TASK-1. More than fit into one reading of the directory. */
Test(tasks, TASK_1_list_and_number_agree)
{
	enum { MANY = UNIT_SLOW ? 50 : 600 };
	static struct task tasks[MANY];
	static struct seen seen;
	static struct task first; /* with it a sanitizer starts a thread of its own */
	int fd = gy_tasks_open();
	long before;

	cr_assert_geq(fd, 0);
	task_start(&first);
	unit_sleep_ms(20);
	before = gy_tasks_count(fd);
	cr_assert_geq(before, 1);
	for (unsigned i = 0; i < MANY; i++)
		task_start(&tasks[i]);
	cr_assert_eq(gy_tasks_count(fd), before + MANY);
	for (unsigned round = 0; round < 2; round++) {
		seen.count = 0;
		cr_assert_eq(gy_tasks_list(fd, see, &seen), 0);
		cr_assert_eq((long)seen.count, before + MANY);
		cr_assert(has(&seen, getpid()));
		for (unsigned i = 0; i < MANY; i++)
			cr_assert(has(&seen, tasks[i].tid), "%u", i);
	}
	for (unsigned i = 0; i < MANY; i++)
		task_end(&tasks[i]);
	cr_assert_eq(gy_tasks_count(fd), before);
	task_end(&first);
	gy_sys_close(fd);
}

Test(tasks, what_is_told_of_one)
{
	static struct task plain, blocking = {.blocks = true};
	struct gy_task told;

	task_start(&plain);
	task_start(&blocking);
	cr_assert_eq(gy_task_read(plain.tid, &told), 0);
	cr_assert(told.state == 'S' || told.state == 'R', "%c", told.state);
	cr_assert_not(told.kernel);
	cr_assert_eq(told.blocked_signals >> (SIGPWR - 1) & 1, 0u);
	cr_assert_gt(strlen(told.name), 0u);
	cr_assert_eq(gy_task_read(blocking.tid, &told), 0);
	cr_assert_eq(told.blocked_signals, 1ull << (SIGPWR - 1) | 1ull << (SIGRTMAX - 1));
	cr_assert_str_eq(told.name, "a) b (c\\n d");
	cr_assert(told.state == 'S' || told.state == 'R', "%c", told.state);
	task_end(&blocking);
	cr_assert_eq(gy_task_read(blocking.tid, &told), -ESRCH);
	cr_assert_eq(gy_task_read(0x3fffffff, &told), -ESRCH);
	task_end(&plain);
}

Test(tasks, calls_that_fail)
{
	static struct seen seen;
	struct gy_task told;
	int fd = gy_tasks_open();

	gy_option_values[GY_OPT_fault_call] = GY_SYS_getdents64;
	gy_option_values[GY_OPT_fault_count] = 1ull << 40;
	cr_assert_eq(gy_tasks_list(fd, see, &seen), -ENOMEM);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_fstat;
	cr_assert_eq(gy_tasks_count(fd), -EACCES);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_open;
	cr_assert_eq(gy_tasks_open(), -EMFILE);
	cr_assert_eq(gy_task_read(getpid(), &told), -EMFILE);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_read;
	cr_assert_eq(gy_task_read(getpid(), &told), -EIO);
	gy_option_values[GY_OPT_fault_call] = 0;
	cr_assert_eq(gy_tasks_list(-1, see, &seen), -EBADF);
	gy_sys_close(fd);
}
