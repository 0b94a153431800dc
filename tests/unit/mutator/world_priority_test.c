/* world_priority_test.c - STOP-11: a thread that only lacks a processor is fetched, and has
 * nothing of it afterwards.
 *
 * The thread that lacks one: of policy SCHED_IDLE, on one processor together with a process that
 * never sleeps. Where nobody gives us a real-time priority (no CAP_SYS_NICE), there is only to see
 * that nothing changes. In children: the test runner's process has a thread of its own that blocks
 * all signals.
 */
#include "mutator/world.h"

#include "base/config.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif
#define STOPS_MOST 100u
#define NICE 5

static uint32_t ready, quit, real_time; /* [atomic] */
static pid_t idler_tid;

TestSuite(world_priority, .timeout = 60);

static void bind_to_one(void)
{
	cpu_set_t allowed, one;
	size_t cpu = 0;

	child_check(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
	while (!CPU_ISSET(cpu, &allowed))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	child_check(sched_setaffinity(0, sizeof(one), &one) == 0);
}

static pid_t spinner_start(void)
{
	pid_t pid = fork();

	child_check(pid >= 0);
	if (pid)
		return pid;
	bind_to_one();
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* it holds the pipe whose end the test waits for */
	for (;;)
		__asm__ volatile("" ::: "memory");
}

static void spinner_end(pid_t pid)
{
	kill(pid, SIGKILL);
	child_check(waitpid(pid, NULL, 0) == pid);
}

static void be_idle(void)
{
	struct sched_param none = {0};

	bind_to_one();
	idler_tid = gy_sys_gettid();
	child_check(setpriority(PRIO_PROCESS, (id_t)idler_tid, NICE) == 0);
	child_check(sched_setscheduler(0, SCHED_IDLE, &none) == 0);
	__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
}

static bool goes_on(void)
{
	return !__atomic_load_n(&quit, __ATOMIC_ACQUIRE);
}

static void *run_idle(void *unused)
{
	(void)unused;
	be_idle();
	while (goes_on())
		;
	return NULL;
}

/* A thread that a stop is about to fetch may be so for a moment. */
static void *look_at_own_policy(void *unused)
{
	unsigned tries = 0;

	(void)unused;
	while ((gy_sys_policy() & ~SCHED_RESET_ON_FORK) == SCHED_FIFO && ++tries < 50)
		unit_sleep_ms(1);
	if (tries == 50)
		__atomic_store_n(&real_time, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void *run_starting(void *unused)
{
	(void)unused;
	be_idle();
	while (goes_on()) {
		pthread_t thread;

		child_check(pthread_create(&thread, NULL, look_at_own_policy, NULL) == 0);
		child_check(pthread_join(thread, NULL) == 0);
	}
	return NULL;
}

static bool may_be_preferred(void)
{
	bool may = !gy_sys_policy_set(SCHED_FIFO, 1);

	if (may)
		child_check(gy_sys_policy_set(SCHED_OTHER, 0) == 0);
	return may;
}

static pthread_t begin(void *(*main)(void *), pid_t *spinner)
{
	pthread_t thread;

	child_check(pthread_create(&thread, NULL, main, NULL) == 0);
	while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	*spinner = spinner_start();
	return thread;
}

static void end(pthread_t thread, pid_t spinner)
{
	spinner_end(spinner);
	__atomic_store_n(&quit, 1, __ATOMIC_RELEASE);
	child_check(pthread_join(thread, NULL) == 0);
}

static void fetches(void *off)
{
	bool may = may_be_preferred() && !off;
	struct gy_world_report report;
	uint32_t hurried = 0;
	pthread_t thread;
	pid_t spinner;

	gy_config_init();
	WRITE_RELAXED(gy_option_values[GY_OPT_gc_priority], !off);
	/* Behind a spinner and whatever else runs here it may take long to answer. */
	WRITE_RELAXED(gy_option_values[GY_OPT_gc_stop_timeout], 60000u);
	child_check(gy_world_init() == 0);
	thread = begin(run_idle, &spinner);
	for (unsigned i = 0; i < (may ? STOPS_MOST : 3) && hurried < 3; i++) {
		child_check(gy_world_stop(&report) == 0);
		child_check(report.stopped == 1);
		child_check(gy_sys_policy_of(idler_tid) == SCHED_IDLE);
		child_check(getpriority(PRIO_PROCESS, (id_t)idler_tid) == NICE);
		gy_world_start();
		hurried += report.hurried;
		unit_sleep_ms(2);
	}
	child_check(gy_sys_policy() == SCHED_OTHER);
	child_check(may ? hurried >= 3 : !hurried); /* one that two tries fetched counts twice */
	end(thread, spinner);
}

Test(world_priority, STOP_11_who_lacks_a_processor_is_fetched)
{
	struct unit_child child = unit_child_run(fetches, NULL);

	unit_assert_exit(child, 0);
}

Test(world_priority, STOP_11_nobody_is_fetched_where_the_option_forbids_it)
{
	static char off;
	struct unit_child child = unit_child_run(fetches, &off);

	unit_assert_exit(child, 0);
}

/* Of the calls from now on the `number`th fails, and no other. What has been counted is not to be
 * read, but to be brought up to a number: calls count while one is to fail. */
static void fail_call(uint32_t number)
{
	static uint32_t counted;

	counted += 1000;
	WRITE_RELAXED(gy_option_values[GY_OPT_fault_count], 1u);
	WRITE_RELAXED(gy_option_values[GY_OPT_fault_after], counted);
	WRITE_RELAXED(gy_option_values[GY_OPT_fault_call], (uint64_t)GY_SYS_sched_setscheduler);
	while (!gy_sys_fault(GY_SYS_sched_setscheduler))
		;
	WRITE_RELAXED(gy_option_values[GY_OPT_fault_after], counted + 1 + number);
}

/* Two of its own, two for a thread that it fetches, one more where one of them failed. */
#define CALLS_OF_A_STOP 5u

/* The policies must come back whichever call fails; the flag may stay. */
static void fetches_where_calls_fail(void *unused)
{
	const int but_flag = ~SCHED_RESET_ON_FORK;
	struct gy_world_report report;
	bool may = may_be_preferred();
	uint32_t hurried = 0;
	pthread_t thread;
	pid_t spinner;

	(void)unused;
	gy_config_init();
	WRITE_RELAXED(gy_option_values[GY_OPT_gc_stop_timeout], 60000u);
	child_check(gy_world_init() == 0);
	thread = begin(run_idle, &spinner);
	child_check(gy_world_stop(&report) == 0); /* finds out whether it may */
	gy_world_start();
	for (uint32_t i = 0; i < (may ? STOPS_MOST : CALLS_OF_A_STOP); i++) {
		fail_call(i % CALLS_OF_A_STOP);
		child_check(gy_world_stop(&report) == 0);
		child_check((gy_sys_policy_of(idler_tid) & but_flag) == SCHED_IDLE);
		child_check(getpriority(PRIO_PROCESS, (id_t)idler_tid) == NICE);
		gy_world_start();
		child_check((gy_sys_policy() & but_flag) == SCHED_OTHER);
		hurried += report.hurried;
		if (i >= 2 * CALLS_OF_A_STOP && hurried >= 2 * CALLS_OF_A_STOP)
			break;
		unit_sleep_ms(2);
	}
	child_check(may ? hurried >= CALLS_OF_A_STOP : !hurried);
	WRITE_RELAXED(gy_option_values[GY_OPT_fault_call], 0u);
	end(thread, spinner);
}

Test(world_priority, STOP_11_policies_come_back_whichever_call_fails)
{
	struct unit_child child = unit_child_run(fetches_where_calls_fail, NULL);

	unit_assert_exit(child, 0);
}

static void fetches_those_that_start(void *unused)
{
	uint64_t until_ms = unit_now_ms() + 1000;
	struct gy_world_report report;
	bool may = may_be_preferred();
	pthread_t thread;
	pid_t spinner;

	(void)unused;
	gy_config_init();
	child_check(gy_world_init() == 0);
	thread = begin(run_starting, &spinner);
	/* Without the right, who starts and gets no processor may be given up. */
	for (unsigned i = 0; may && i < 200 && unit_now_ms() < until_ms; i++) {
		child_check(gy_world_stop(&report) == 0);
		gy_world_start();
		child_check(gy_sys_policy_of(idler_tid) == SCHED_IDLE);
		unit_sleep_ms(1);
	}
	end(thread, spinner);
	child_check(!READ_RELAXED(real_time));
}

Test(world_priority, STOP_11_who_is_started_meanwhile_has_no_priority)
{
	struct unit_child child = unit_child_run(fetches_those_that_start, NULL);

	unit_assert_exit(child, 0);
}
