/* idle_test.c - whose cache is taken: of threads asleep outside of the heap, and of no others.
 *
 * The background thread is off; the tests call the taker themselves, with a clock of their own.
 * Each thread has a cache worth taking, and after it is let go it allocates and frees with what it
 * finds.
 */
#include "mutator/idle.h"

#include "base/config.h"
#include "heap/thread_cache.h"
#include "os/sys.h"
#include "os/thread_state.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

#include <alloca.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample] = 0;
}

TestSuite(idle, .init = quiet);

struct sleeper {
	void (*sleep)(struct sleeper *sleeper);
	pthread_t thread;
	int pipe_fd[2];
	uint32_t word;            /* [atomic] a futex */
	uint32_t ready, go, done; /* [atomic] */
	pid_t tid;
	struct gy_tls *tls;
	struct gy_thread_cache *cache; /* what it had before it slept */
	struct gy_thread_cache *after; /* and after it worked again */
	bool broken;
};

/* Blocks of several classes, with their own contents; leaves a cache of some hundred KiB. */
static bool work(unsigned rounds)
{
	enum { COUNT = 400 };
	unsigned char *blocks[COUNT];

	for (unsigned n = 0; n < rounds; n++) {
		for (unsigned i = 0; i < COUNT; i++) {
			blocks[i] = unit_malloc(16 + i * 3);
			memset(blocks[i], (int)(i + n), 16 + i * 3);
		}
		for (unsigned i = 0; i < COUNT; i++) {
			for (unsigned b = 0; b < 16 + i * 3; b++)
				if (blocks[i][b] != (unsigned char)(i + n))
					return false;
			unit_free(blocks[i]);
		}
	}
	return true;
}

static void *sleeper_main(void *argument)
{
	struct sleeper *sleeper = argument;

	sleeper->broken = !work(6);
	sleeper->cache = READ_RELAXED(gy_tls.cache);
	sleeper->tls = &gy_tls;
	sleeper->tid = gy_sys_gettid();
	__atomic_store_n(&sleeper->ready, 1, __ATOMIC_RELEASE);
	sleeper->sleep(sleeper);
	sleeper->broken |= !work(6);
	sleeper->after = READ_RELAXED(gy_tls.cache);
	__atomic_store_n(&sleeper->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* ---- ways to sleep ---- */
static void sleep_in_read(struct sleeper *sleeper)
{
	char byte;

	while (read(sleeper->pipe_fd[0], &byte, 1) < 0 && errno == EINTR)
		;
}

static void sleep_in_poll(struct sleeper *sleeper)
{
	struct pollfd entry = {.fd = sleeper->pipe_fd[0], .events = POLLIN};

	while (poll(&entry, 1, -1) < 0 && errno == EINTR)
		;
}

static void sleep_in_nanosleep(struct sleeper *sleeper)
{
	while (!__atomic_load_n(&sleeper->go, __ATOMIC_ACQUIRE))
		unit_sleep_ms(150);
}

static void sleep_in_futex(struct sleeper *sleeper)
{
	while (!__atomic_load_n(&sleeper->word, __ATOMIC_ACQUIRE))
		gy_sys_futex_wait(&sleeper->word, 0, NULL, false);
}

static void start(struct sleeper *sleeper, void (*how)(struct sleeper *))
{
	memset(sleeper, 0, sizeof(*sleeper));
	sleeper->sleep = how;
	cr_assert_eq(pipe2(sleeper->pipe_fd, O_CLOEXEC), 0);
	cr_assert_eq(pthread_create(&sleeper->thread, NULL, sleeper_main, sleeper), 0);
	while (!__atomic_load_n(&sleeper->ready, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
}

static void wake(struct sleeper *sleeper)
{
	__atomic_store_n(&sleeper->go, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&sleeper->word, 1, __ATOMIC_RELEASE);
	gy_sys_futex_wake(&sleeper->word, 1, false);
	cr_assert_eq(write(sleeper->pipe_fd[1], "x", 1), (ssize_t)1);
}

static void finish(struct sleeper *sleeper)
{
	wake(sleeper);
	pthread_join(sleeper->thread, NULL);
	close(sleeper->pipe_fd[0]);
	close(sleeper->pipe_fd[1]);
	cr_assert_not(sleeper->broken);
	cr_assert_eq(sleeper->after, sleeper->cache, "the thread took its cache up again");
	cr_assert_eq(gy_registry.count, 0u);
	gy_heap_check();
}

static void until_asleep(const struct sleeper *sleeper)
{
	uint64_t sp, begin = unit_now_ms();

	while (!gy_thread_sleeps(sleeper->tid, &sp) && unit_now_ms() - begin < 20000)
		unit_sleep_ms(1);
}

static uint64_t pretended_ns = 1000000000;

/* Looks twice, far apart: the first marks the cache as seen. */
static unsigned take_idle(void)
{
	unsigned taken;
	bool more;

	gy_idle_take(pretended_ns, &more);
	pretended_ns += 3600000000000;
	taken = gy_idle_take(pretended_ns, &more);
	return taken;
}

/* A thread may be seen in the moment before its sleep: asked some times. */
static unsigned take_idle_patiently(void)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < 200 && !(taken = take_idle()); i++)
		unit_sleep_ms(5);
	return taken;
}

/* A look at what only the thread and the taker may change, while neither does. */
GY_RACY_READER static bool looks_empty(const struct gy_thread_cache *cache)
{
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		if (cache->bins[c].top || cache->bins[c].floor || cache->bins[c].limit)
			return false;
	return cache->taken == 1 && cache->capacity_bytes == 0;
}

GY_RACY_READER static bool looks_kept(const struct gy_thread_cache *cache)
{
	return cache->taken == 0 && cache->capacity_bytes != 0;
}

static void is_taken(void (*how)(struct sleeper *))
{
	struct sleeper sleeper;
	uint64_t before = gy_idle_taken();

	start(&sleeper, how);
	until_asleep(&sleeper);
	cr_assert_gt(READ_RELAXED(sleeper.cache->capacity_bytes), 20000u);
	cr_assert_eq(take_idle_patiently(), 1u);
	cr_assert_eq(gy_idle_taken(), before + 1);
	cr_assert_eq(READ_RELAXED(sleeper.tls->cache), GY_NO_CACHE);
	cr_assert(looks_empty(sleeper.cache));
	cr_assert_eq(take_idle(), 0u, "taken once");
	finish(&sleeper);
}

Test(idle, a_thread_asleep_in_read_gives_up_its_cache)
{
	is_taken(sleep_in_read);
}

Test(idle, a_thread_asleep_in_poll_gives_up_its_cache)
{
	is_taken(sleep_in_poll);
}

Test(idle, a_thread_asleep_in_nanosleep_gives_up_its_cache)
{
	is_taken(sleep_in_nanosleep);
}

Test(idle, a_thread_asleep_on_a_futex_gives_up_its_cache)
{
	is_taken(sleep_in_futex);
}

/* IDLE-3: what it allocated stays counted. */
Test(idle, IDLE_3_counters_stay)
{
	struct sleeper sleeper;
	uint64_t before = 0, after = 0, out = 0;

	start(&sleeper, sleep_in_read);
	until_asleep(&sleeper);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		before += gy_cache_mallocs(sleeper.cache, c);
	cr_assert_eq(before, 6u * 400);
	cr_assert_eq(take_idle_patiently(), 1u);
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		after += gy_cache_mallocs(sleeper.cache, c);
		out += gy_centrals[0][c].taken - gy_centrals[0][c].given;
	}
	cr_assert_eq(after, before);
	cr_assert_eq(out, 0u, "every cached block went home");
	finish(&sleeper);
}

/* ---- not taken ---- */
static void is_not_taken(struct sleeper *sleeper, unsigned looks)
{
	uint64_t before = gy_idle_taken();

	for (unsigned i = 0; i < looks; i++) {
		cr_assert_eq(take_idle(), 0u);
		unit_sleep_ms(2);
	}
	cr_assert_eq(gy_idle_taken(), before);
	cr_assert(looks_kept(sleeper->cache));
	cr_assert_eq(READ_RELAXED(sleeper->tls->cache), sleeper->cache, "IDLE-2: put back");
	for (unsigned i = 0; i < GY_SMALL_STEPS; i++)
		cr_assert_eq(READ_RELAXED(sleeper->tls->small_bin[i]),
			     &sleeper->cache->bins[gy_class_of_small[i]], "IDLE-2: put back");
}

static void run_on(struct sleeper *sleeper)
{
	while (!__atomic_load_n(&sleeper->go, __ATOMIC_ACQUIRE))
		;
}

Test(idle, IDLE_2_a_thread_that_runs_keeps_its_cache)
{
	struct sleeper sleeper;

	start(&sleeper, run_on);
	is_not_taken(&sleeper, 50);
	finish(&sleeper);
}

static void sleep_busily(struct sleeper *sleeper)
{
	/* as a slow path that waits for a lock */
	ADD_RELAXED(sleeper->cache->busy, 1u);
	sleep_in_read(sleeper);
	SUB_RELAXED(sleeper->cache->busy, 1u);
}

Test(idle, HEAP_5_a_thread_in_a_slow_path_keeps_its_cache)
{
	struct sleeper sleeper;

	start(&sleeper, sleep_busily);
	until_asleep(&sleeper);
	is_not_taken(&sleeper, 20);
	finish(&sleeper);
}

static GY_NOINLINE void sleep_deep(struct sleeper *sleeper)
{
	volatile char *deep = alloca(2 * GY_STACK_SCAN_MAX);

	deep[0] = 1;
	sleep_in_read(sleeper);
	deep[1] = 1;
}

Test(idle, a_thread_with_a_very_deep_stack_keeps_its_cache)
{
	struct sleeper sleeper;

	start(&sleeper, sleep_deep);
	until_asleep(&sleeper);
	is_not_taken(&sleeper, 10);
	finish(&sleeper);
}

static GY_NOINLINE void sleep_with_an_address(struct sleeper *sleeper)
{
	volatile uintptr_t words[8] = {[3] = (uintptr_t)&unit_fast_alloc + 4};

	sleep_in_read(sleeper);
	sleeper->broken |= words[3] != (uintptr_t)&unit_fast_alloc + 4;
}

Test(idle, an_address_of_malloc_on_the_stack_means_not_now)
{
	struct sleeper sleeper;

	start(&sleeper, sleep_with_an_address);
	until_asleep(&sleeper);
	is_not_taken(&sleeper, 10);
	finish(&sleeper);
}

/* On a stack that is not the thread's own, nothing can be said. */
static ucontext_t coroutine, home;
static struct sleeper *coroutine_sleeper;

static void coroutine_main(void)
{
	sleep_in_read(coroutine_sleeper);
}

static void sleep_in_a_coroutine(struct sleeper *sleeper)
{
	void *stack =
		mmap(NULL, 262144, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	coroutine_sleeper = sleeper;
	getcontext(&coroutine);
	coroutine.uc_stack.ss_sp = stack;
	coroutine.uc_stack.ss_size = 262144;
	coroutine.uc_link = &home;
	makecontext(&coroutine, coroutine_main, 0);
	swapcontext(&home, &coroutine);
	munmap(stack, 262144);
}

Test(idle, a_thread_on_another_stack_keeps_its_cache)
{
	struct sleeper sleeper;

	if (GY_TSAN || GY_ASAN)
		cr_skip("a sanitizer follows no change of stacks");
	start(&sleeper, sleep_in_a_coroutine);
	until_asleep(&sleeper);
	/* the stack may have been mapped just below the thread's: then it is searched, guard page
	 * and all */
	is_not_taken(&sleeper, 10);
	finish(&sleeper);
}

/* ---- FAST-1: a signal handler asleep on top of an interrupted malloc ---- */
static struct sleeper *handled;
static uint32_t in_handler, leave_spin; /* [atomic] */

static void handler(int signal)
{
	(void)signal;
	__atomic_store_n(&in_handler, 1, __ATOMIC_RELEASE);
	sleep_in_read(handled);
}

/* Stands for malloc's fast path between the load of its bin and the store of its top. */
UNIT_FAST static void spin_in_fast_text(void)
{
	while (!__atomic_load_n(&leave_spin, __ATOMIC_RELAXED))
		;
}

static GY_NOINLINE void spin_elsewhere(void)
{
	while (!__atomic_load_n(&leave_spin, __ATOMIC_RELAXED))
		;
}

static void (*spin)(void);

static void spin_and_sleep(struct sleeper *sleeper)
{
	(void)sleeper;
	spin();
}

static void spin_on_an_alternate_stack(struct sleeper *sleeper)
{
	stack_t stack = {.ss_sp = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			 .ss_size = 65536};

	(void)sleeper;
	sigaltstack(&stack, NULL);
	spin();
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
}

static void interrupt(struct sleeper *sleeper, void (*where)(void), void (*how)(struct sleeper *),
		      int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	sigaction(SIGUSR1, &action, NULL);
	spin = where;
	handled = sleeper;
	start(sleeper, how);
	pthread_kill(sleeper->thread, SIGUSR1);
	while (!__atomic_load_n(&in_handler, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	until_asleep(sleeper);
}

static void finish_interrupted(struct sleeper *sleeper)
{
	__atomic_store_n(&leave_spin, 1, __ATOMIC_RELAXED);
	finish(sleeper);
}

Test(idle, FAST_1_a_handler_asleep_on_top_of_malloc_keeps_the_cache)
{
	struct sleeper sleeper;

	if (GY_TSAN)
		cr_skip("ThreadSanitizer holds signals back until the next call of libc");
	interrupt(&sleeper, spin_in_fast_text, spin_and_sleep, 0);
	is_not_taken(&sleeper, 30);
	finish_interrupted(&sleeper);
}

Test(idle, FAST_1_also_on_an_alternate_stack)
{
	struct sleeper sleeper;

	if (GY_TSAN)
		cr_skip("ThreadSanitizer holds signals back until the next call of libc");
	interrupt(&sleeper, spin_in_fast_text, spin_on_an_alternate_stack, SA_ONSTACK);
	is_not_taken(&sleeper, 30);
	finish_interrupted(&sleeper);
}

/* The same with the interrupted function elsewhere: then it is taken, so the tests above show
 * something. */
Test(idle, FAST_1_a_handler_asleep_on_top_of_something_else_does_not)
{
	struct sleeper sleeper;

	if (GY_TSAN)
		cr_skip("ThreadSanitizer holds signals back until the next call of libc");
	interrupt(&sleeper, spin_elsewhere, spin_and_sleep, 0);
	cr_assert_eq(take_idle_patiently(), 1u);
	finish_interrupted(&sleeper);
}

/* ---- when ---- */
Test(idle, only_after_the_option_says_so)
{
	struct sleeper sleeper;
	uint64_t now = 5000000000;
	bool more;

	gy_option_values[GY_OPT_cache_idle] = 1000;
	start(&sleeper, sleep_in_read);
	until_asleep(&sleeper);
	cr_assert_eq(gy_idle_take(now, &more), 0u);
	cr_assert(more);
	for (uint64_t ms = 100; ms < 1000; ms += 100) {
		cr_assert_eq(gy_idle_take(now + ms * 1000000, &more), 0u);
		cr_assert(more, "somebody waits for the next look");
	}
	cr_assert_eq(gy_idle_take(now + 1000000000, &more), 1u);
	cr_assert_eq(gy_idle_take(now + 2000000000, &more), 0u);
	cr_assert_not(more);
	finish(&sleeper);
}

static void wake_and_sleep_again(struct sleeper *sleeper)
{
	sleep_in_read(sleeper);
	unit_free(unit_malloc(64));
	__atomic_store_n(&sleeper->ready, 2, __ATOMIC_RELEASE);
	sleep_in_futex(sleeper);
}

Test(idle, use_in_between_starts_the_time_anew)
{
	struct sleeper sleeper;
	uint64_t now = 5000000000;
	bool more;

	start(&sleeper, wake_and_sleep_again);
	until_asleep(&sleeper);
	gy_idle_take(now, &more);
	cr_assert_eq(write(sleeper.pipe_fd[1], "x", 1), (ssize_t)1);
	while (__atomic_load_n(&sleeper.ready, __ATOMIC_ACQUIRE) != 2)
		unit_sleep_ms(1);
	until_asleep(&sleeper);
	/* A malloc and a free leave top as it was: the countdown tells. */
	cr_assert_eq(gy_idle_take(now + 1500000000, &more), 0u);
	cr_assert(more);
	finish(&sleeper);
}

/* ---- without what it needs ---- */
Test(idle, without_membarrier_or_proc_everybody_keeps_everything)
{
	static const enum gy_sys_call calls[] = {GY_SYS_membarrier, GY_SYS_open, GY_SYS_read,
						 GY_SYS_process_vm_readv};
	struct sleeper sleeper;

	start(&sleeper, sleep_in_read);
	until_asleep(&sleeper);
	gy_option_values[GY_OPT_membarrier] = 0;
	is_not_taken(&sleeper, 3);
	gy_option_values[GY_OPT_membarrier] = 1;
	for (unsigned i = 1; i < ARRAY_SIZE(calls); i++) {
		gy_option_values[GY_OPT_fault_call] = (uint64_t)calls[i];
		gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
		is_not_taken(&sleeper, 3);
	}
	gy_option_values[GY_OPT_fault_call] = 0;
	cr_assert_eq(take_idle_patiently(), 1u);
	finish(&sleeper);
}

Test(idle, a_membarrier_that_fails_is_no_proof)
{
	struct sleeper sleeper;

	start(&sleeper, sleep_in_read);
	until_asleep(&sleeper);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_membarrier;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	is_not_taken(&sleeper, 5);
	finish(&sleeper);
}

/* A cache worth little is not worth the trouble. */
static void *small_sleeper(void *argument)
{
	struct sleeper *sleeper = argument;

	unit_free(unit_malloc(16));
	sleeper->cache = READ_RELAXED(gy_tls.cache);
	sleeper->tls = &gy_tls;
	sleeper->tid = gy_sys_gettid();
	__atomic_store_n(&sleeper->ready, 1, __ATOMIC_RELEASE);
	sleep_in_read(sleeper);
	return NULL;
}

Test(idle, small_caches_are_left_alone)
{
	struct sleeper sleeper = {.ready = 0};

	cr_assert_eq(pipe2(sleeper.pipe_fd, O_CLOEXEC), 0);
	cr_assert_eq(pthread_create(&sleeper.thread, NULL, small_sleeper, &sleeper), 0);
	while (!__atomic_load_n(&sleeper.ready, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	until_asleep(&sleeper);
	is_not_taken(&sleeper, 3);
	wake(&sleeper);
	pthread_join(sleeper.thread, NULL);
}

/* While more than half of what all may hold is taken, a twentieth of a second is enough. */
Test(idle, sooner_where_room_is_scarce)
{
	struct sleeper sleeper;
	uint64_t now = 5000000000, rest;
	bool more;

	gy_option_values[GY_OPT_cache_idle] = 1000;
	start(&sleeper, sleep_in_read);
	until_asleep(&sleeper);
	cr_assert_not(gy_cache_room_is_scarce());
	cr_assert_eq(gy_idle_take(now, &more), 0u);
	cr_assert_eq(gy_idle_take(now + 900000000, &more), 0u);
	rest = gy_cache_room() / 2 + 1;
	cr_assert(gy_cache_room_take(rest));
	cr_assert(gy_cache_room_is_scarce());
	cr_assert_eq(gy_idle_take(now + 49000000, &more), 0u);
	cr_assert(more);
	for (unsigned i = 1; i < 500 && !looks_empty(sleeper.cache); i++) {
		gy_idle_take(now + i * 50000000, &more);
		unit_sleep_ms(1);
	}
	cr_assert(looks_empty(sleeper.cache));
	gy_cache_room_give(rest);
	finish(&sleeper);
}

/* Many at once, in one look. */
Test(idle, many_threads_asleep_are_all_taken)
{
	enum { COUNT = 100 };
	static struct sleeper sleepers[COUNT];

	gy_option_values[GY_OPT_thread_caches] = 1ull << 30; /* each has all that it wants */
	for (unsigned i = 0; i < COUNT; i++)
		start(&sleepers[i], sleep_in_read);
	for (unsigned i = 0; i < COUNT; i++)
		until_asleep(&sleepers[i]);
	for (unsigned i = 0; i < 100 && gy_idle_taken() < COUNT; i++)
		take_idle();
	cr_assert_eq(gy_idle_taken(), (uint64_t)COUNT);
	cr_assert_eq(gy_registry.capacity_bytes, 0u);
	for (unsigned i = 0; i < COUNT; i++) {
		wake(&sleepers[i]);
		pthread_join(sleepers[i].thread, NULL);
		cr_assert_not(sleepers[i].broken);
	}
	gy_heap_check();
}

/* ---- in a forked child, which inherits the registration of membarrier ---- */
static void take_in_child(void *argument)
{
	struct sleeper sleeper;

	(void)argument;
	start(&sleeper, sleep_in_read);
	until_asleep(&sleeper);
	child_check(take_idle_patiently() == 1);
	wake(&sleeper);
	pthread_join(sleeper.thread, NULL);
	child_check(!sleeper.broken);
	gy_heap_check();
}

Test(idle, works_in_a_forked_child)
{
	struct sleeper sleeper;
	struct unit_child child;

	if (GY_TSAN)
		cr_skip("ThreadSanitizer follows no threads of a forked child");
	start(&sleeper, sleep_in_read);
	until_asleep(&sleeper);
	cr_assert_eq(take_idle_patiently(), 1u);
	child = unit_child_run(take_in_child, NULL);
	unit_assert_exit(child, 0);
	finish(&sleeper);
}
