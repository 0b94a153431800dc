/* world_test.c - every thread stands still while the world is stopped, whatever it was doing; and
 * those that cannot are named.
 *
 * What is counted: each thread of a test counts up while it runs. While the world is stopped no
 * counter moves. tests/stress/world_stress_internal.c does the same with many threads for long.
 */
#include "mutator/world.h"

#include "base/config.h"
#include "os/native_thread.h"
#include "os/sys.h"
#include "os/tasks.h"

#include "unit/unit.h"

#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define SIGNAL_OF_TESTS SIGPWR

static struct gy_world_report report;

static void start(void)
{
	gy_config_init();
	cr_assert_eq(gy_world_init(), 0);
}

TestSuite(world, .init = start, .timeout = 60);

/* ---- threads of tests ---- */

struct runner {
	pthread_t thread;
	pid_t tid;
	uint32_t ready, quit; /* [atomic] */
	uint64_t count;       /* [atomic] */
	struct gy_mutator mutator;
	int error_number;
	int fd;
};

static void runner_ready(struct runner *runner)
{
	runner->tid = gy_sys_gettid();
	__atomic_store_n(&runner->ready, 1, __ATOMIC_RELEASE);
}

static bool runner_goes_on(struct runner *runner)
{
	__atomic_add_fetch(&runner->count, 1, __ATOMIC_RELAXED);
	return !__atomic_load_n(&runner->quit, __ATOMIC_ACQUIRE);
}

static void *run_counting(void *argument)
{
	struct runner *runner = argument;

	runner_ready(runner);
	while (runner_goes_on(runner))
		;
	return NULL;
}

static void runner_start(struct runner *runner, void *(*main)(void *))
{
	cr_assert_eq(pthread_create(&runner->thread, NULL, main, runner), 0);
	while (!__atomic_load_n(&runner->ready, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
}

static void runner_end(struct runner *runner)
{
	__atomic_store_n(&runner->quit, 1, __ATOMIC_RELEASE);
	cr_assert_eq(pthread_join(runner->thread, NULL), 0);
}

static void assert_stands(const struct runner *runner, unsigned ms)
{
	uint64_t before = READ_RELAXED(runner->count);

	unit_sleep_ms(ms);
	cr_assert_eq(READ_RELAXED(runner->count), before, "it runs");
}

static void assert_runs(const struct runner *runner)
{
	uint64_t before = READ_RELAXED(runner->count);

	for (unsigned i = 0; i < 5000 && READ_RELAXED(runner->count) == before; i++)
		unit_sleep_ms(1);
	cr_assert_neq(READ_RELAXED(runner->count), before, "it does not run");
}

static struct gy_stopped_thread *stopped_thread(pid_t tid)
{
	for (unsigned i = 0; i < gy_world_count(); i++)
		if (gy_world_thread(i)->tid == tid)
			return gy_world_thread(i);
	return NULL;
}

/* ---- threads that run ---- */

Test(world, WORLD_1_nobody_runs_while_it_is_stopped)
{
	enum { COUNT = 5 };
	static struct runner runners[COUNT];

	for (unsigned i = 0; i < COUNT; i++)
		runner_start(&runners[i], run_counting);
	for (unsigned round = 0; round < 20; round++) {
		cr_assert_eq(gy_world_stop(&report), 0);
		cr_assert_eq(report.stopped, (uint32_t)COUNT);
		cr_assert_eq(report.blocked, 0u);
		cr_assert_eq(gy_world_count(), (unsigned)COUNT);
		for (unsigned i = 0; i < COUNT; i++) {
			assert_stands(&runners[i], 1);
			cr_assert_not_null(stopped_thread(runners[i].tid));
		}
		gy_world_start();
		for (unsigned i = 0; i < COUNT; i++)
			assert_runs(&runners[i]);
	}
	for (unsigned i = 0; i < COUNT; i++)
		runner_end(&runners[i]);
}

Test(world, alone_there_is_nobody_to_stop)
{
	cr_assert_eq(gy_world_stop(&report), 0);
	cr_assert_eq(gy_world_count(), 0u);
	gy_world_start();
}

/* What is found: the stack pointer lies on the thread's stack, registers hold what they held. */
struct known_register {
	struct runner runner;
	char *low, *high;
};

GY_NOINLINE static void spin_with_value(struct runner *runner)
{
#if defined(__x86_64__)
	__asm__ volatile("1:	lock addq $1, %[count]\n"
			 "	cmpl $0, %[quit]\n"
			 "	je 1b\n"
			 : [count] "+m"(runner->count)
			 : [quit] "m"(runner->quit), "r"((uintptr_t)0x1234567812345678)
			 : "memory", "cc");
#else
	while (runner_goes_on(runner))
		;
#endif
}

static void *run_known_register(void *argument)
{
	struct known_register *known = argument;
	char local[64];

	known->low = (char *)((uintptr_t)local - 65536);
	known->high = local + sizeof(local);
	runner_ready(&known->runner);
	spin_with_value(&known->runner);
	return local[0] == 'x' ? argument : NULL;
}

Test(world, registers_and_stack_pointer_are_told)
{
	static struct known_register known;
	struct gy_stopped_thread *stopped;
	bool found = false;

	runner_start(&known.runner, run_known_register);
	assert_runs(&known.runner);
	cr_assert_eq(gy_world_stop(&report), 0);
	stopped = stopped_thread(known.runner.tid);
	cr_assert_not_null(stopped);
	cr_assert(stopped->sp > (uintptr_t)known.low && stopped->sp < (uintptr_t)known.high);
	cr_assert_eq(stopped->fs_base, (uintptr_t)known.runner.thread);
	for (unsigned i = 0; i < stopped->register_count; i++)
		found |= stopped->registers[i] == 0x1234567812345678;
	cr_assert(found, "the register's value");
	cr_assert_geq(*stopped->pc, (uintptr_t)spin_with_value);
	cr_assert_lt(*stopped->pc, (uintptr_t)spin_with_value + 256);
	cr_assert_null(stopped->mutator);
	gy_world_start();
	runner_end(&known.runner);
}

/* ROOT-6's first half: an interrupted PC is set back. */
static uintptr_t loop_start;

static uintptr_t back_to_start(uintptr_t pc)
{
	return pc - loop_start < 256 ? loop_start : 0;
}

GY_NOINLINE static void spin_restartable(struct runner *runner)
{
#if defined(__x86_64__)
	uint64_t zero = 0;

	/* Were it not set back it would leave the inner loop by and by, and count. */
	__asm__ volatile("	leaq 1f(%%rip), %%rax\n"
			 "	movq %%rax, %[start]\n"
			 "1:	movl $0x7fffffff, %%eax\n"
			 "2:	cmpl $0, %[quit]\n"
			 "	jne 3f\n"
			 "	decl %%eax\n"
			 "	jne 2b\n"
			 "	incq %[count]\n"
			 "	jmp 1b\n"
			 "3:\n"
			 : [start] "=m"(loop_start), [count] "+m"(zero)
			 : [quit] "m"(runner->quit)
			 : "rax", "memory", "cc");
#else
	(void)runner;
#endif
}

static void *run_restartable(void *argument)
{
	runner_ready(argument);
	spin_restartable(argument);
	return NULL;
}

Test(world, an_interrupted_pc_is_set_back)
{
	static struct runner runner;

	if (!GY_TSAN)
		gy_world_fixup = back_to_start;
	runner_start(&runner, run_restartable);
	while (!GY_TSAN && !READ_RELAXED(loop_start)) /* it is in the loop from then on */
		unit_sleep_ms(1);
	cr_assert_eq(gy_world_stop(&report), 0);
	if (!GY_TSAN)
		cr_assert_eq(*stopped_thread(runner.tid)->pc, loop_start);
	gy_world_start();
	runner_end(&runner);
}

/* ---- threads that sleep ---- */

static void *run_in_read(void *argument)
{
	struct runner *runner = argument;
	char byte;

	runner_ready(runner);
	errno = 0;
	if (read(runner->fd, &byte, 1) < 0)
		runner->error_number = errno;
	return NULL;
}

Test(world, WORLD_5_a_read_goes_on_after_the_stop)
{
	static struct runner runner;
	int pipe_fd[2];

	cr_assert_eq(pipe(pipe_fd), 0);
	runner.fd = pipe_fd[0];
	runner_start(&runner, run_in_read);
	for (unsigned i = 0; i < 10; i++) {
		unit_sleep_ms(2);
		cr_assert_eq(gy_world_stop(&report), 0);
		cr_assert_eq(report.stopped, 1u);
		gy_world_start();
	}
	cr_assert_eq(write(pipe_fd[1], "x", 1), 1);
	runner_end(&runner);
	cr_assert_eq(runner.error_number, 0);
}

/* BLOCK-1: epoll_wait, which SA_RESTART does not restart, is not cut short in a region. */
static void *run_in_region(void *argument)
{
	struct runner *runner = argument;
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(epoll, EPOLL_CTL_ADD, runner->fd, &event);
	gy_mutator_add(&runner->mutator);
	runner_ready(runner);
	do {
		gy_blocking_begin(&runner->mutator);
		gy_blocking_begin(&runner->mutator); /* they nest */
		gy_blocking_end(&runner->mutator);
		errno = 0;
		if (epoll_wait(epoll, &event, 1, 3) < 0 && !runner->error_number)
			runner->error_number = errno;
		gy_blocking_end(&runner->mutator);
	} while (runner_goes_on(runner));
	gy_mutator_remove(&runner->mutator);
	close(epoll);
	return NULL;
}

static void region_test(void)
{
	static struct runner runner;
	unsigned blocked = 0;
	int pipe_fd[2];

	cr_assert_eq(pipe(pipe_fd), 0);
	runner.fd = pipe_fd[0];
	runner_start(&runner, run_in_region);
	for (unsigned i = 0; i < 500; i++) {
		cr_assert_eq(gy_world_stop(&report), 0);
		cr_assert_eq(report.stopped + report.blocked, 1u);
		blocked += report.blocked;
		if (i % 50 == 0)
			assert_stands(&runner, 10);
		gy_world_start();
		if (i % 7 == 0)
			unit_sleep_ms(1);
	}
	assert_runs(&runner);
	runner_end(&runner);
	cr_assert_eq(runner.error_number, 0, "%s", strerror(runner.error_number));
	cr_assert_gt(blocked, 100u);
}

Test(world, BLOCK_1_a_region_is_not_signalled)
{
	region_test();
}

Test(world, BLOCK_1_without_membarrier)
{
	gy_option_values[GY_OPT_membarrier] = 0;
	cr_assert_eq(gy_world_init(), 0);
	region_test();
}

/* BLOCK-1: what the caller keeps in registers is in the record. */
static void *run_with_register(void *argument)
{
	struct runner *runner = argument;

	gy_mutator_add(&runner->mutator);
#if defined(__x86_64__)
	__asm__ volatile(
		"	movq %[value], %%r13\n"
		"	movq %[mutator], %%rdi\n"
		"	call gy_blocking_begin\n"
		:
		: [value] "r"((uintptr_t)0x8765432187654321), [mutator] "r"(&runner->mutator)
		: "r13", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory",
		  "cc");
#endif
	runner_ready(runner);
	while (!__atomic_load_n(&runner->quit, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	gy_blocking_end(&runner->mutator);
	gy_mutator_remove(&runner->mutator);
	return NULL;
}

Test(world, BLOCK_1_registers_are_kept_for_the_stopper)
{
	static struct runner runner;
	struct gy_stopped_thread *stopped;
	bool found = false;

	runner_start(&runner, run_with_register);
	cr_assert_eq(gy_world_stop(&report), 0);
	cr_assert_eq(report.blocked, 1u);
	stopped = stopped_thread(runner.tid);
	cr_assert(stopped->blocked);
	cr_assert_eq(stopped->mutator, &runner.mutator);
	cr_assert(stopped->sp > runner.mutator.stack_low &&
		  stopped->sp < runner.mutator.stack_high);
	for (unsigned i = 0; i < stopped->register_count; i++)
		found |= stopped->registers[i] == 0x8765432187654321;
	cr_assert(found);
	gy_world_start();
	runner_end(&runner);
}

/* ---- threads that hold a lock ---- */

static struct gy_lock held_lock = GY_LOCK_INIT(GY_RANK_metadata);
static struct gy_lock outer_lock = GY_LOCK_INIT(GY_RANK_cycle);

static void take_and_release(struct runner *runner, struct gy_lock *lock)
{
	gy_lock_acquire(lock);
	for (unsigned i = 0; i < 2000; i++)
		__atomic_add_fetch(&runner->count, 1, __ATOMIC_RELAXED);
	gy_lock_release(lock);
}

static void *run_with_lock(void *argument)
{
	struct runner *runner = argument;

	runner_ready(runner);
	do {
		take_and_release(runner, &held_lock);
	} while (runner_goes_on(runner));
	return NULL;
}

static void *run_with_outer_lock(void *argument)
{
	struct runner *runner = argument;

	runner_ready(runner);
	do {
		take_and_release(runner, &outer_lock);
	} while (runner_goes_on(runner));
	return NULL;
}

Test(world, BUSY_1_locks_are_free_while_it_is_stopped)
{
	enum { COUNT = 4 };
	static struct runner runners[COUNT];
	uint64_t end_ms = unit_now_ms() + 20000;

	for (unsigned i = 0; i < COUNT; i++)
		runner_start(&runners[i], run_with_lock);
	/* Where four that spin wait long for a processor each time, fewer rounds will do. */
	for (unsigned round = 0; round < (unit_now_ms() < end_ms ? 300u : 20u); round++) {
		cr_assert_eq(gy_world_stop(&report), 0);
		cr_assert_eq(report.stopped, (uint32_t)COUNT);
		cr_assert(gy_lock_try(&held_lock), "round %u", round);
		gy_lock_release(&held_lock);
		gy_world_start();
	}
	for (unsigned i = 0; i < COUNT; i++)
		runner_end(&runners[i]);
}

/* The stopper holds a lock that another thread waits for: that one is stopped all the same. */
Test(world, BUSY_1_who_waits_for_a_lock_is_stopped)
{
	static struct runner runner;

	gy_lock_acquire(&outer_lock);
	runner_start(&runner, run_with_outer_lock);
	unit_sleep_ms(20);
	cr_assert_eq(gy_world_stop(&report), 0);
	cr_assert_eq(report.stopped, 1u);
	gy_world_start();
	gy_lock_release(&outer_lock);
	assert_runs(&runner);
	runner_end(&runner);
}

/* ---- threads of our own, of the kernel, and a main thread that has ended ---- */

static struct {
	uint32_t ready, quit; /* [atomic] */
	uint64_t count;       /* [atomic] */
	int error;
	uint32_t done;
} native;

static void native_main(void)
{
	__atomic_store_n(&native.ready, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&native.quit, __ATOMIC_ACQUIRE))
		__atomic_add_fetch(&native.count, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&native.done, 1, __ATOMIC_RELEASE);
}

Test(world, our_own_threads_are_left_alone)
{
	uint64_t before;

	cr_assert_eq(gy_native_thread_start(native_main), 0);
	while (!__atomic_load_n(&native.ready, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	cr_assert_eq(gy_world_stop(&report), 0);
	cr_assert_eq(report.stopped, 0u);
	before = READ_RELAXED(native.count);
	for (unsigned i = 0; i < 5000 && READ_RELAXED(native.count) == before; i++)
		unit_sleep_ms(1);
	cr_assert_neq(READ_RELAXED(native.count), before);
	gy_world_start();
	__atomic_store_n(&native.quit, 1, __ATOMIC_RELEASE);
}

/* One of ours as the stopper: the tests' main thread is stopped like any other. */
static struct runner stopped_by_native;

static void native_stopper(void)
{
	uint64_t before;

	native.error = gy_world_stop(&report);
	if (!native.error) {
		struct timespec brief = {0, 5000000};
		uint32_t nobody = 0;

		before = READ_RELAXED(stopped_by_native.count);
		gy_sys_futex_wait(&nobody, 0, &brief, false);
		if (READ_RELAXED(stopped_by_native.count) != before || report.stopped != 2)
			native.error = 1;
		gy_world_start();
	}
	__atomic_store_n(&native.done, 1, __ATOMIC_RELEASE);
}

Test(world, a_native_thread_may_stop_it)
{
	runner_start(&stopped_by_native, run_counting);
	for (unsigned i = 0; i < 20; i++) {
		int error = -EAGAIN;

		__atomic_store_n(&native.done, 0, __ATOMIC_RELEASE);
		for (unsigned n = 0; n < 2000 && error; n++)
			error = gy_native_thread_start(native_stopper);
		cr_assert_eq(error, 0);
		while (!__atomic_load_n(&native.done, __ATOMIC_ACQUIRE))
			;
		cr_assert_eq(native.error, 0);
	}
	runner_end(&stopped_by_native);
}

/* Workers of io_uring are threads of the process that run no program code and take no signal. */
static bool start_kernel_worker(void)
{
	static char byte[16];
	struct io_uring_params parameters = {0};
	struct io_uring_sqe *entries;
	unsigned *tail, *array;
	int pipe_fd[2];
	int ring = (int)syscall(SYS_io_uring_setup, 4, &parameters);
	char *rings;

	if (ring < 0 || pipe(pipe_fd))
		return false;
	rings = mmap(NULL, parameters.sq_off.array + 4 * sizeof(unsigned), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	entries = mmap(NULL, 4 * sizeof(*entries), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	if (rings == MAP_FAILED || entries == MAP_FAILED)
		return false;
	tail = (unsigned *)(void *)(rings + parameters.sq_off.tail);
	array = (unsigned *)(void *)(rings + parameters.sq_off.array);
	memset(&entries[0], 0, sizeof(entries[0]));
	entries[0].opcode = IORING_OP_READ;
	entries[0].flags = IOSQE_ASYNC; /* a worker waits for it */
	entries[0].fd = pipe_fd[0];
	entries[0].addr = (uintptr_t)byte;
	entries[0].len = 1;
	array[0] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1;
}

static unsigned thread_count(void)
{
	char status[4096], *at;

	cr_assert_gt(gy_sys_read_file("/proc/self/status", status, sizeof(status)), 0);
	at = strstr(status, "\nThreads:\t");
	return at ? (unsigned)atoi(at + 10) : 0;
}

Test(world, workers_of_the_kernel_are_left_alone)
{
	static struct runner runner;

	if (!start_kernel_worker())
		cr_skip("no io_uring here");
	for (unsigned i = 0; i < 1000 && thread_count() < 2; i++)
		unit_sleep_ms(1);
	cr_assert_geq(thread_count(), 2u, "no worker was made");
	runner_start(&runner, run_counting);
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(gy_world_stop(&report), 0);
		cr_assert_eq(report.stopped, 1u);
		cr_assert(i == 0 || report.stop_ns < 1000000000);
		gy_world_start();
	}
	runner_end(&runner);
}

static void *run_after_main(void *argument)
{
	struct runner *runner = argument;
	struct gy_task main_task = {0};

	for (unsigned i = 0; i < 20000 && main_task.state != 'Z'; i++) {
		unit_sleep_ms(1);
		child_check(gy_task_read(getpid(), &main_task) == 0);
	}
	child_check(main_task.state == 'Z');
	for (unsigned i = 0; i < 5; i++) {
		child_check(gy_world_stop(&report) == 0);
		child_check(report.stopped == 1);
		gy_world_start();
	}
	__atomic_store_n(&runner->quit, 1, __ATOMIC_RELEASE);
	_exit(0);
}

static void main_leaves(void *argument)
{
	static struct runner runners[2];
	pthread_t thread;

	(void)argument;
	child_check(gy_world_init() == 0);
	runner_start(&runners[0], run_counting);
	child_check(!pthread_create(&thread, NULL, run_after_main, &runners[1]));
	pthread_exit(NULL);
}

Test(world, WORLD_3_a_main_thread_that_has_ended)
{
	struct unit_child child;

	child = unit_child_run(main_leaves, NULL);
	unit_assert_exit(child, 0);
}

/* ---- threads that come and go ---- */

static void *run_briefly(void *argument)
{
	__atomic_add_fetch((uint64_t *)argument, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void *run_starting_others(void *argument)
{
	struct runner *runner = argument;
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	runner_ready(runner);
	do {
		if (pthread_create(&thread, &attributes, run_briefly, &runner->count))
			unit_sleep_ms(1);
	} while (!__atomic_load_n(&runner->quit, __ATOMIC_ACQUIRE));
	pthread_attr_destroy(&attributes);
	return NULL;
}

Test(world, WORLD_3_threads_start_and_end_meanwhile)
{
	static struct runner runners[2];

	if (GY_TSAN)
		cr_skip("a thread that starts another holds locks of the sanitizer");
	for (unsigned i = 0; i < 2; i++)
		runner_start(&runners[i], run_starting_others);
	for (unsigned round = 0; round < (UNIT_SLOW ? 50u : 500u); round++) {
		cr_assert_eq(gy_world_stop(&report), 0, "round %u", round);
		if (round % 10 == 0) {
			assert_stands(&runners[0], 1);
			assert_stands(&runners[1], 1);
		}
		gy_world_start();
	}
	for (unsigned i = 0; i < 2; i++)
		runner_end(&runners[i]);
	unit_sleep_ms(20);
}

/* ---- WORLD-4 ---- */

static void *run_deaf(void *argument)
{
	struct runner *runner = argument;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGNAL_OF_TESTS);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_setname_np(pthread_self(), "deaf one");
	runner_ready(runner);
	while (runner_goes_on(runner))
		unit_sleep_ms(1);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* the late signal comes here */
	for (unsigned i = 0; i < 20; i++) {
		runner_goes_on(runner);
		unit_sleep_ms(1);
	}
	return NULL;
}

static void names_deaf(void *argument)
{
	static struct runner deaf, other;
	uint64_t best_ms = UINT64_MAX;
	char line[128];

	(void)argument;
	child_check(gy_world_init() == 0);
	gy_option_values[GY_OPT_gc_stop_timeout] = GY_TSAN ? 1500 : 200;
	runner_start(&deaf, run_deaf);
	runner_start(&other, run_counting);
	for (unsigned i = 0; i < 3 || (i < 50 && best_ms >= 100); i++) {
		uint64_t before_ms = unit_now_ms(), count;

		child_check(gy_world_stop(&report) == -EDEADLK);
		if (i > 0)
			best_ms = MIN(best_ms, unit_now_ms() - before_ms);
		count = READ_RELAXED(other.count);
		for (unsigned n = 0; n < 5000 && READ_RELAXED(other.count) == count; n++)
			unit_sleep_ms(1);
		child_check(READ_RELAXED(other.count) != count); /* it was let go */
	}
	child_check(best_ms < 100); /* named once; from then on it costs no time */
	__atomic_store_n(&deaf.quit, 1, __ATOMIC_RELEASE);
	pthread_join(deaf.thread, NULL);
	child_check(gy_world_stop(&report) == 0);
	child_check(report.stopped == 1);
	gy_world_start();
	snprintf(line, sizeof(line), "tid %d\n", deaf.tid);
	child_check(write(STDERR_FILENO, line, strlen(line)) > 0);
}

Test(world, WORLD_4_a_thread_that_blocks_the_signal_is_named)
{
	struct unit_child child;
	const char *at, *tid;
	char line[128];

	child = unit_child_run(names_deaf, NULL);
	unit_assert_exit(child, 0);
	tid = strstr(child.text, "tid ");
	cr_assert_not_null(tid, "%s", child.text);
	snprintf(line, sizeof(line),
		 ": thread %d (deaf one) blocks signal %d (SIGPWR): collection "
		 "given up\n",
		 atoi(tid + 4), SIGPWR);
	at = strstr(child.text, line);
	cr_assert_not_null(at, "%s", child.text);
	cr_assert_null(strstr(at + strlen(line), "blocks"), "named twice: %s", child.text);
}

/* One that blocks it for a while only is waited for: the world goes on in between. */
static void *run_deaf_for_a_while(void *argument)
{
	struct runner *runner = argument;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGNAL_OF_TESTS);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	runner_ready(runner);
	unit_sleep_ms(300);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	while (runner_goes_on(runner))
		;
	return NULL;
}

Test(world, WORLD_4_a_thread_that_blocks_the_signal_for_a_while)
{
	static struct runner deaf, other;
	uint64_t count, before_ms;

	runner_start(&other, run_counting);
	runner_start(&deaf, run_deaf_for_a_while);
	count = READ_RELAXED(other.count);
	before_ms = unit_now_ms();
	cr_assert_eq(gy_world_stop(&report), 0);
	cr_assert_eq(report.stopped, 2u);
	if (unit_now_ms() - before_ms > 100)
		cr_assert_neq(READ_RELAXED(other.count), count);
	assert_stands(&deaf, 5);
	gy_world_start();
	runner_end(&deaf);
	runner_end(&other);
}

static void someone_elses(int number)
{
	(void)number;
}

static void takes_signal(void *argument)
{
	(void)argument;
	child_check(gy_world_init() == 0);
	signal(SIGNAL_OF_TESTS, someone_elses);
	child_check(gy_world_stop(&report) == -EBUSY);
	child_check(gy_world_stop(&report) == -EBUSY);
}

Test(world, a_program_that_takes_our_signal_is_told)
{
	struct unit_child child = unit_child_run(takes_signal, NULL);

	unit_assert_exit(child, 0);
	cr_assert_not_null(strstr(child.text,
				  "the program handles signal 30 (SIGPWR), which the "
				  "collector needs (option gc_signal): collection given up\n"),
			   "%s", child.text);
}

/* ---- signals that are not ours ---- */

static uint32_t foreign_signals;

static void count_foreign(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (number == SIGNAL_OF_TESTS && info->si_code == SI_USER)
		foreign_signals++;
}

static void gets_foreign(void *argument)
{
	struct sigaction action = {.sa_sigaction = count_foreign, .sa_flags = SA_SIGINFO};

	(void)argument;
	sigaction(SIGNAL_OF_TESTS, &action, NULL);
	child_check(gy_world_init() == 0);
	kill(getpid(), SIGNAL_OF_TESTS);
	child_check(foreign_signals == 1);
	syscall(SYS_tgkill, getpid(), gettid(), SIGNAL_OF_TESTS); /* as a late one of ours */
	child_check(foreign_signals == 1);
}

static void dies_of_foreign(void *argument)
{
	(void)argument;
	signal(SIGNAL_OF_TESTS, SIG_DFL);
	child_check(gy_world_init() == 0);
	kill(getpid(), SIGNAL_OF_TESTS);
	unit_sleep_ms(1000);
}

static void ignores_foreign(void *argument)
{
	(void)argument;
	signal(SIGNAL_OF_TESTS, SIG_IGN);
	child_check(gy_world_init() == 0);
	kill(getpid(), SIGNAL_OF_TESTS);
}

Test(world, other_peoples_signals_go_where_they_went_before)
{
	struct unit_child child;

	/* Criterion's own init has installed our handler: the children set what was before anew. */
	child = unit_child_run(gets_foreign, NULL);
	unit_assert_exit(child, 0);
	child = unit_child_run(ignores_foreign, NULL);
	unit_assert_exit(child, 0);
	child = unit_child_run(dies_of_foreign, NULL);
	cr_assert(WIFSIGNALED(child.status) && WTERMSIG(child.status) == SIGNAL_OF_TESTS,
		  "status %#x", (unsigned)child.status);
}

/* ---- other signals, other stacks ---- */

static uint32_t handled; /* [atomic] */

static void busy_handler(int number)
{
	(void)number;
	for (unsigned i = 0; i < 100000; i++)
		__asm__ volatile("" ::: "memory");
	__atomic_add_fetch(&handled, 1, __ATOMIC_RELAXED);
}

Test(world, STOP_4_a_programs_own_signals_come_after_the_stop)
{
	static struct runner runner;
	struct sigaction action = {.sa_handler = busy_handler, .sa_flags = SA_RESTART};
	uint32_t before;

	sigaction(SIGUSR1, &action, NULL);
	runner_start(&runner, run_counting);
	for (unsigned i = 0; i < 50; i++) {
		pthread_kill(runner.thread, SIGUSR1);
		cr_assert_eq(gy_world_stop(&report), 0);
		before = __atomic_load_n(&handled, __ATOMIC_RELAXED);
		pthread_kill(runner.thread, SIGUSR1);
		unit_sleep_ms(1);
		cr_assert_eq(__atomic_load_n(&handled, __ATOMIC_RELAXED), before);
		gy_world_start();
		for (unsigned n = 0; n < 5000 && READ_RELAXED(handled) == before; n++)
			unit_sleep_ms(1);
		cr_assert_gt(READ_RELAXED(handled), before);
	}
	runner_end(&runner);
}

static void *run_with_signal_stack(void *argument)
{
	struct runner *runner = argument;
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};

	cr_assert_eq(sigaltstack(&stack, NULL), 0);
	runner->fd = 0;
	runner->error_number = (int)((uintptr_t)stack.ss_sp >> 16);
	runner_ready(runner);
	while (runner_goes_on(runner))
		;
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	free(stack.ss_sp);
	return NULL;
}

Test(world, an_alternate_signal_stack_is_told)
{
	static struct runner runner;
	struct gy_stopped_thread *stopped;

	if (UNIT_SLOW)
		cr_skip("a sanitizer has a signal stack of its own for each thread");
	runner_start(&runner, run_with_signal_stack);
	cr_assert_eq(gy_world_stop(&report), 0);
	stopped = stopped_thread(runner.tid);
	cr_assert_eq(stopped->signal_stack_high - stopped->signal_stack_low, 65536u);
	cr_assert_eq((int)(stopped->signal_stack_low >> 16), runner.error_number);
	/* The handler runs there; what it interrupted does not. */
	cr_assert(stopped->sp < stopped->signal_stack_low ||
		  stopped->sp >= stopped->signal_stack_high);
	gy_world_start();
	runner_end(&runner);
}

/* ---- faults ---- */

/* All kinds of calls are counted together, from the first fault on. */
static void fault(unsigned call, uint64_t after, uint64_t count)
{
	gy_option_values[GY_OPT_fault_call] = call;
	gy_option_values[GY_OPT_fault_after] = after;
	gy_option_values[GY_OPT_fault_count] = count;
}

Test(world, calls_that_fail)
{
	static struct runner runner, in_region;

	runner_start(&runner, run_counting);
	runner_start(&in_region, run_with_register);
	fault(GY_SYS_open, 0, 1);
	cr_assert_eq(gy_world_stop(&report), -EMFILE);
	cr_assert_eq(gy_world_stop(&report), 0);
	gy_world_start();
	fault(GY_SYS_getdents64, 0, 1000);
	cr_assert_eq(gy_world_stop(&report), -ENOMEM);
	fault(GY_SYS_fstat, 0, 1000);
	cr_assert_eq(gy_world_stop(&report), 0);
	gy_world_start();
	fault(GY_SYS_tgkill, 0, 1);
	cr_assert_eq(gy_world_stop(&report), 0);
	gy_world_start();
	fault(GY_SYS_membarrier, 0, 1ull << 40);
	cr_assert_eq(gy_world_stop(&report), 0);
	cr_assert_eq(report.blocked, GY_TSAN ? 1u : 0u); /* they were signalled */
	gy_world_start();
	fault(GY_SYS_futex, 0, 1ull << 40);
	cr_assert_eq(gy_world_stop(&report), 0);
	assert_stands(&runner, 5);
	gy_world_start();
	assert_runs(&runner);
	fault(GY_SYS_rt_sigaction, 0, 1ull << 40);
	cr_assert_eq(gy_world_init(), -EINVAL);
	fault(0, 0, 0);
	runner_end(&runner);
	runner_end(&in_region);
}

/* ---- fork ---- */

static void *run_stopping(void *argument)
{
	struct runner *runner = argument;
	struct gy_world_report own;

	runner_ready(runner);
	do {
		if (!gy_world_stop(&own))
			gy_world_start();
		unit_sleep_ms(1); /* the lock is not fair */
	} while (runner_goes_on(runner));
	return NULL;
}

Test(world, a_fork_falls_between_stops)
{
	static struct runner runner;
	static struct gy_mutator mutator;

	gy_mutator_add(&mutator);
	runner_start(&runner, run_stopping);
	for (unsigned i = 0; i < 30; i++) {
		int status = -1;
		pid_t pid;

		gy_world_fork_prepare();
		pid = fork();
		if (pid == 0) {
			gy_world_fork_child();
			if (mutator.tid != getpid() || gy_mutators != &mutator || mutator.next)
				_exit(2);
			if (gy_world_stop(&report) || report.stopped)
				_exit(3);
			gy_world_start();
			_exit(0);
		}
		gy_world_fork_parent();
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert_eq(status, 0, "%#x", (unsigned)status);
	}
	runner_end(&runner);
	gy_mutator_remove(&mutator);
	cr_assert_null(gy_mutators);
}
