/* thread_state_test.c - what the kernel says of a thread that sleeps, of one that runs, of its
 * stack. */
#include "os/thread_state.h"

#include "base/config.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

struct subject {
	int pipe_fd[2];
	uint32_t stop;     /* [atomic] */
	pid_t tid;         /* [atomic] */
	uintptr_t planted; /* a word on its stack */
	uintptr_t frame, ceiling;
	uint64_t turns; /* [atomic] */
};

static void *sleeper(void *argument)
{
	struct subject *subject = argument;
	volatile uintptr_t word = subject->planted;
	char byte;

	subject->frame = (uintptr_t)__builtin_frame_address(0);
	subject->ceiling = gy_stack_ceiling();
	__atomic_store_n(&subject->tid, gy_sys_gettid(), __ATOMIC_RELEASE);
	while (read(subject->pipe_fd[0], &byte, 1) < 0 && errno == EINTR)
		;
	return (void *)word;
}

static void *runner(void *argument)
{
	struct subject *subject = argument;

	__atomic_store_n(&subject->tid, gy_sys_gettid(), __ATOMIC_RELEASE);
	while (!READ_RELAXED(subject->stop))
		ADD_RELAXED(subject->turns, 1u);
	return NULL;
}

static pthread_t start(struct subject *subject, void *(*run)(void *))
{
	pthread_t thread;

	cr_assert_eq(pipe2(subject->pipe_fd, O_CLOEXEC), 0);
	cr_assert_eq(pthread_create(&thread, NULL, run, subject), 0);
	while (!__atomic_load_n(&subject->tid, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	return thread;
}

static void end(struct subject *subject, pthread_t thread)
{
	WRITE_RELAXED(subject->stop, 1u);
	cr_assert_eq(write(subject->pipe_fd[1], "x", 1), (ssize_t)1);
	pthread_join(thread, NULL);
	/* joined, and not yet gone for the kernel */
	for (unsigned i = 0; i < 5000 && gy_thread_switches(subject->tid); i++)
		unit_sleep_ms(1);
}

/* Waits until the thread is seen asleep. */
static uint64_t sleeping_sp(pid_t tid)
{
	uint64_t sp = 0;

	for (unsigned i = 0; i < 5000 && !gy_thread_sleeps(tid, &sp); i++)
		unit_sleep_ms(1);
	cr_assert_neq(sp, 0u);
	return sp;
}

Test(thread_state, a_sleeping_thread_is_seen_with_its_stack_pointer)
{
	struct subject subject = {.planted = 0};
	pthread_t thread = start(&subject, sleeper);
	uint64_t sp = sleeping_sp(subject.tid), again, switches = gy_thread_switches(subject.tid);

	cr_assert_leq(sp, subject.frame);
	cr_assert_lt(subject.frame - sp, (uintptr_t)65536);
	cr_assert_gt(switches, 1u);
	unit_sleep_ms(30);
	cr_assert(gy_thread_sleeps(subject.tid, &again));
	cr_assert_eq(again, sp);
	cr_assert_eq(gy_thread_switches(subject.tid), switches);
	end(&subject, thread);
	cr_assert_eq(gy_thread_switches(subject.tid), 0u);
	cr_assert_not(gy_thread_sleeps(subject.tid, &again));
}

Test(thread_state, a_running_thread_is_not_asleep)
{
	struct subject subject = {.planted = 0};
	pthread_t thread = start(&subject, runner);
	uint64_t sp, turns = 0;

	for (unsigned i = 0; i < 200; i++)
		cr_assert_not(gy_thread_sleeps(subject.tid, &sp));
	/* it did run all the while */
	for (unsigned i = 0; i < 1000 && (turns = READ_RELAXED(subject.turns)) == 0; i++)
		unit_sleep_ms(1);
	cr_assert_gt(turns, 0u);
	end(&subject, thread);
}

/* Every sleep is one more voluntary switch: what step 6 of idle.c stands on. */
static void *napper(void *argument)
{
	struct subject *subject = argument;

	__atomic_store_n(&subject->tid, gy_sys_gettid(), __ATOMIC_RELEASE);
	while (!READ_RELAXED(subject->stop)) {
		char byte;

		if (read(subject->pipe_fd[0], &byte, 1) != 1)
			break;
		ADD_RELAXED(subject->turns, 1u);
	}
	return NULL;
}

Test(thread_state, each_sleep_changes_the_count_of_switches)
{
	struct subject subject = {.planted = 0};
	pthread_t thread = start(&subject, napper);
	uint64_t last;

	sleeping_sp(subject.tid);
	last = gy_thread_switches(subject.tid);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t switches, turns = READ_RELAXED(subject.turns);

		cr_assert_eq(write(subject.pipe_fd[1], "x", 1), (ssize_t)1);
		while (READ_RELAXED(subject.turns) == turns)
			sched_yield();
		sleeping_sp(subject.tid);
		switches = gy_thread_switches(subject.tid);
		cr_assert_gt(switches, last);
		last = switches;
	}
	end(&subject, thread);
}

Test(thread_state, a_planted_word_is_found_on_a_sleeping_stack)
{
	struct subject subject = {.planted = 0x1234567890a0};
	pthread_t thread = start(&subject, sleeper);
	uint64_t sp = sleeping_sp(subject.tid);

	cr_assert_gt(subject.ceiling, (uintptr_t)sp);
	cr_assert(gy_stack_mentions(sp, subject.ceiling, 0x1234567890a0, 0x1234567890a1));
	cr_assert(gy_stack_mentions(sp, subject.ceiling, 0x123456789000, 0x123456789100));
	cr_assert_not(gy_stack_mentions(sp, subject.ceiling, 0x1234567890a1, 0x123456789100));
	cr_assert_not(gy_stack_mentions(sp, subject.ceiling, 0x123456789000, 0x1234567890a0));
	cr_assert_not(gy_stack_mentions(sp, subject.ceiling, 0, 0));
	end(&subject, thread);
}

/* At every place of a stack of many kilobytes: the search reads it in pieces. */
Test(thread_state, a_word_is_found_wherever_it_lies)
{
	size_t words = 3 * 512 + 77;
	uintptr_t *stack =
		mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t i = 0; i < words; i++) {
		stack[i] = 0xabcdef;
		cr_assert(gy_stack_mentions((uintptr_t)stack, (uintptr_t)(stack + words), 0xabcdef,
					    0xabcdf0),
			  "word %zu", i);
		stack[i] = 0;
	}
	cr_assert_not(
		gy_stack_mentions((uintptr_t)stack, (uintptr_t)(stack + words), 1, UINTPTR_MAX));
	munmap(stack, 16384);
}

Test(thread_state, a_stack_that_cannot_be_read_counts_as_mentioning)
{
	char *stack = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t low = (uintptr_t)stack;

	cr_assert_not(gy_stack_mentions(low, low + 16384, 1, 2));
	mprotect(stack + 8192, 4096, PROT_NONE);
	cr_assert(gy_stack_mentions(low, low + 16384, 1, 2));
	munmap(stack, 16384);
	cr_assert(gy_stack_mentions(low, low + 16384, 1, 2));
	gy_option_values[GY_OPT_fault_call] = GY_SYS_process_vm_readv;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	cr_assert(gy_stack_mentions((uintptr_t)&low, (uintptr_t)(&low + 1), 1, 2));
}

Test(thread_state, the_ceiling_is_above_every_frame)
{
	struct subject subject = {.planted = 0};
	pthread_t thread = start(&subject, sleeper);

	cr_assert_gt(gy_stack_ceiling(), (uintptr_t)__builtin_frame_address(0));
	cr_assert_lt(gy_stack_ceiling() - (uintptr_t)__builtin_frame_address(0),
		     (uintptr_t)8 << 20);
	sleeping_sp(subject.tid);
	cr_assert_gt(subject.ceiling, subject.frame);
	cr_assert_lt(subject.ceiling - subject.frame, (uintptr_t)8 << 20);
	end(&subject, thread);
}

Test(thread_state, without_proc_nothing_is_known)
{
	uint64_t sp;

	gy_option_values[GY_OPT_fault_call] = GY_SYS_open;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	cr_assert_eq(gy_thread_switches(getpid()), 0u);
	cr_assert_not(gy_thread_sleeps(getpid(), &sp));
}
