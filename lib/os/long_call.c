/* long_call.c - see long_call.h. */
#include "os/long_call.h"

#include "os/clock.h"
#include "os/lock.h"
#include "os/native_thread.h"
#include "os/sys.h"

static struct {
	uint32_t running; /* [atomic] futex: works under way */
	uint32_t barred;  /* [atomic] futex: none may begin */
} long_call GY_ALIGNED(64);

static bool may_wait(void)
{
	return !READ_RELAXED(gy_hold.depth) || gy_native_thread_is(gy_sys_gettid());
}

void gy_long_begin(void)
{
	for (;;) {
		__atomic_fetch_add(&long_call.running, 1, __ATOMIC_SEQ_CST); /* LONG-1 */
		if (likely(!__atomic_load_n(&long_call.barred, __ATOMIC_SEQ_CST)) || !may_wait())
			return;
		gy_long_end();
		gy_sys_futex_wait(&long_call.barred, 1, NULL, false);
	}
}

void gy_long_end(void)
{
	if (!__atomic_sub_fetch(&long_call.running, 1, __ATOMIC_SEQ_CST) &&
	    __atomic_load_n(&long_call.barred, __ATOMIC_SEQ_CST))
		gy_sys_futex_wake(&long_call.running, 1, false);
}

void gy_long_bar(uint64_t patience_ns)
{
	uint64_t now_ns = gy_now_ns(), end_ns = now_ns + patience_ns;
	uint32_t running;

	__atomic_store_n(&long_call.barred, 1, __ATOMIC_SEQ_CST); /* LONG-1 */
	while ((running = __atomic_load_n(&long_call.running, __ATOMIC_SEQ_CST)) &&
	       now_ns < end_ns) {
		struct timespec left = {0, (long)(end_ns - now_ns)};

		gy_sys_futex_wait(&long_call.running, running, &left, false);
		now_ns = gy_now_ns();
	}
}

void gy_long_unbar(void)
{
	__atomic_store_n(&long_call.barred, 0, __ATOMIC_SEQ_CST);
	gy_sys_futex_wake(&long_call.barred, INT32_MAX, false);
}

void gy_long_fork_child(void)
{
	long_call.running = long_call.barred = 0;
}
