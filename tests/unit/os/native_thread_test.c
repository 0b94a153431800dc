/* native_thread_test.c - the library's own thread: every signal blocked, detached, named, small. */
#include "os/native_thread.h"

#include "base/config.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <pthread.h>
#include <sys/auxv.h>

static struct {
	sigset_t blocked;
	char name[16];
	size_t stack_bytes;
	int detached;
	pid_t tid;
} seen;
static uint32_t done; /* [atomic: release in look_around, acquire in wait_done] */

static void look_around(void)
{
	pthread_attr_t attributes;
	void *stack;

	pthread_sigmask(SIG_SETMASK, NULL, &seen.blocked);
	pthread_getname_np(pthread_self(), seen.name, sizeof(seen.name));
	pthread_getattr_np(pthread_self(), &attributes);
	pthread_attr_getstack(&attributes, &stack, &seen.stack_bytes);
	pthread_attr_getdetachstate(&attributes, &seen.detached);
	pthread_attr_destroy(&attributes);
	seen.tid = gy_sys_gettid();
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
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
	cr_assert_eq(seen.detached, PTHREAD_CREATE_DETACHED);
	cr_assert_leq(seen.stack_bytes, (size_t)2 << 20);
	cr_assert_neq(seen.tid, getpid());
}

Test(native_thread, a_refusal_is_returned)
{
	gy_option_values[GY_OPT_fault_call] = GY_SYS_thread_create;
	gy_option_values[GY_OPT_fault_count] = 1;
	cr_assert_eq(gy_native_thread_start(look_around), -EAGAIN);
	cr_assert_eq(gy_native_thread_start(look_around), 0);
	wait_done();
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
