/* native_thread_test.c - the library's own threads: all signals blocked, detached, named, small. */
#include "os/native_thread.h"

#include "base/config.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/single_threaded.h>

static struct {
	sigset_t blocked;
	char name[16];
	pid_t tid;
	uintptr_t stack;
	bool same_ids;
	int error_number;
} seen;
static uint32_t done; /* [atomic: release in look_around, acquire in wait_done] */

/* Calls only what NATIVE-2 allows. */
static void look_around(void)
{
	char local = 0;

	sigprocmask(SIG_SETMASK, NULL, &seen.blocked);
	prctl(PR_GET_NAME, seen.name);
	seen.tid = gy_sys_gettid();
	seen.stack = (uintptr_t)&local;
	seen.same_ids = gy_native_thread_has_process_ids();
	errno = 77; /* its own */
	seen.error_number = errno;
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
}

static uint32_t again; /* [atomic: release in the test, acquire in look_twice] */

static void look_twice(void)
{
	look_around();
	while (!__atomic_load_n(&again, __ATOMIC_ACQUIRE))
		gy_sys_futex_wait(&again, 0, NULL, false);
	look_around();
}

static void wait_done(void)
{
	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
}

Test(native_thread, blocks_every_signal_and_has_its_name)
{
	sigset_t before, after;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	cr_assert_eq(gy_native_thread_start(look_around), 0);
	wait_done();
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int signal = 1; signal < 65; signal++) {
		cr_assert_eq(sigismember(&before, signal), sigismember(&after, signal),
			     "the caller's mask of %d changed", signal);
		/* SIGKILL, SIGSTOP cannot be; 32 and 33 are the C library's own. */
		if (signal != SIGKILL && signal != SIGSTOP && signal != 32 && signal != 33)
			cr_assert_eq(sigismember(&seen.blocked, signal), 1, "signal %d", signal);
	}
	cr_assert_str_eq(seen.name, "gyre");
	cr_assert_neq(seen.tid, getpid());
	cr_assert(seen.same_ids);
}

Test(native_thread, a_refusal_is_returned)
{
	gy_option_values[GY_OPT_fault_call] = GY_SYS_thread_create;
	gy_option_values[GY_OPT_fault_count] = 1;
	cr_assert_eq(gy_native_thread_start(look_around), -EAGAIN);
	cr_assert_eq(gy_native_thread_start(look_around), 0);
	wait_done();
}

/* NATIVE-1: errno is the thread's own; the C library goes on as if there were no thread (but in
 * sanitizer builds, whose run time must know of every thread). */
Test(native_thread, NATIVE_1_the_c_library_does_not_notice)
{
	char single = __libc_single_threaded;

	errno = 5;
	cr_assert_eq(gy_native_thread_start(look_around), 0);
	wait_done();
	cr_assert_eq(errno, 5);
	cr_assert_eq(seen.error_number, 77);
	if (!GY_TSAN && !GY_ASAN)
		cr_assert_eq(__libc_single_threaded, single);
}

/* NATIVE-3: after the process gave its rights away, the thread sees that it still has them. */
Test(native_thread, NATIVE_3_it_notices_a_change_of_user)
{
	if (geteuid() != 0)
		cr_skip("it takes root to change the user");
	if (GY_TSAN || GY_ASAN)
		cr_skip("a sanitizer build's thread is one of the C library's, which setuid "
			"reaches");
	cr_assert_eq(gy_native_thread_start(look_twice), 0);
	wait_done();
	cr_assert(seen.same_ids);
	__atomic_store_n(&done, 0, __ATOMIC_RELEASE);
	cr_assert_eq(setegid(65534), 0);
	__atomic_store_n(&again, 1, __ATOMIC_RELEASE);
	gy_sys_futex_wake(&again, 1, false);
	wait_done();
	cr_assert_not(seen.same_ids);
}

/* NATIVE-4: as many as there are slots, each with its argument, stack and errno; then a refusal; a
 * slot whose thread has gone serves again. */
enum { MANY = 64, MOST = 200 };
static struct crowd {
	uintptr_t stack;
	pid_t tid;
	uint32_t ready; /* [atomic: release in crowd_main] */
	int error_number;
} crowd[MOST];
static uint32_t crowd_go;   /* [atomic] a futex */
static uint32_t crowd_left; /* [atomic: release in crowd_main] */

static void crowd_main(void *argument)
{
	struct crowd *self = argument;
	char local = 0;

	errno = (int)(self - crowd) + 1;
	self->stack = (uintptr_t)&local;
	self->tid = gy_sys_gettid();
	__atomic_store_n(&self->ready, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&crowd_go, __ATOMIC_ACQUIRE))
		gy_sys_futex_wait(&crowd_go, 0, NULL, false);
	self->error_number = errno;
	__atomic_add_fetch(&crowd_left, 1, __ATOMIC_RELEASE);
}

static void crowd_wait(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		while (!__atomic_load_n(&crowd[i].ready, __ATOMIC_ACQUIRE))
			unit_sleep_ms(1);
}

static void crowd_leave(unsigned count)
{
	__atomic_store_n(&crowd_go, 1, __ATOMIC_RELEASE);
	gy_sys_futex_wake(&crowd_go, MOST, false);
	while (__atomic_load_n(&crowd_left, __ATOMIC_ACQUIRE) < count)
		unit_sleep_ms(1);
}

Test(native_thread, NATIVE_4_many_live_at_once)
{
	for (unsigned i = 0; i < MANY; i++)
		cr_assert_eq(gy_native_thread_start_arg(crowd_main, &crowd[i]), 0, "thread %u", i);
	crowd_wait(MANY);
	for (unsigned i = 0; i < MANY; i++) {
		cr_assert(gy_native_thread_is(crowd[i].tid));
		for (unsigned n = 0; n < i; n++) {
			uintptr_t a = crowd[i].stack, b = crowd[n].stack;

			cr_assert_gt(a > b ? a - b : b - a, 4096u, "%u and %u share a stack", i, n);
			cr_assert_neq(crowd[i].tid, crowd[n].tid);
		}
	}
	cr_assert_not(gy_native_thread_is(getpid()));
	cr_assert_not(gy_native_thread_is(0)); /* a free slot is nobody's */
	crowd_leave(MANY);
	for (unsigned i = 0; i < MANY; i++)
		cr_assert_eq(crowd[i].error_number, (int)i + 1);
}

/* In a forked child all slots are free; their memory serves again. */
static void starts_its_own(void *argument)
{
	(void)argument;
	gy_native_thread_fork_child();
	__atomic_store_n(&done, 0, __ATOMIC_RELEASE);
	child_check(gy_native_thread_start(look_around) == 0);
	wait_done();
	child_check(!strcmp(seen.name, "gyre"));
	child_check(seen.stack >> 16 == crowd[0].stack >> 16 ||
		    seen.stack - crowd[0].stack + 65536 < 131072);
}

Test(native_thread, NATIVE_4_a_slot_serves_again_when_its_thread_is_gone)
{
	struct unit_child child;
	unsigned started = 0;
	int error = -EAGAIN;

	if (GY_TSAN || GY_ASAN)
		cr_skip("a sanitizer build's thread is one of the C library's, with a stack of its "
			"own");
	while (started < MOST && !gy_native_thread_start_arg(crowd_main, &crowd[started]))
		started++;
	cr_assert_geq(started, (unsigned)MANY);
	cr_assert_lt(started, (unsigned)MOST, "never refused");
	crowd_wait(started);
	cr_assert_eq(gy_native_thread_start(look_around), -EAGAIN);
	child = unit_child_run(starts_its_own, NULL);
	unit_assert_exit(child, 0);
	crowd_leave(started);
	for (unsigned i = 0; i < 2000 && error; i++) {
		error = gy_native_thread_start(look_around);
		unit_sleep_ms(1);
	}
	cr_assert_eq(error, 0);
	wait_done();
	cr_assert_lt(seen.stack - crowd[0].stack + 65536, 131072u, "the first slot's stack");
}

/* An address of the loader: its code starts where AT_BASE says, with an ELF header. */
Test(native_thread, callers_in_the_loader_are_known)
{
	uintptr_t base = getauxval(AT_BASE);

	cr_assert_neq(base, 0u);
	for (unsigned i = 0; i < 2; i++) { /* the second time from what was kept */
		cr_assert(gy_called_from_loader(base));
		cr_assert(gy_called_from_loader(base + 0x2000));
		cr_assert_not(gy_called_from_loader(base - 1));
		cr_assert_not(gy_called_from_loader(base + ((uintptr_t)16 << 20)));
		cr_assert_not(gy_called_from_loader((uintptr_t)&look_around));
		cr_assert_not(gy_called_from_loader(0));
	}
}
