/* background_test.c - the one background thread: when it starts, what it does, who answers whom. */
#include "control/background.h"

#include "base/config.h"
#include "control/page.h"
#include "heap/page_heap.h"
#include "mutator/idle.h"
#include "os/sys.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

#include <dirent.h>
#include <gyre/gyre.h>
#include <pthread.h>
#include <sys/auxv.h>

#define MB ((size_t)1 << 20)

static void prepare(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_sample] = 0;
}

TestSuite(background, .init = prepare);

/* Threads named "gyre" in this process; *tid gets the last one's. */
static unsigned count_threads(pid_t *tid)
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned count = 0;

	while ((entry = readdir(folder))) {
		char path[300], name[32];

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		if (gy_sys_read_file(path, name, sizeof(name)) > 0 && !strcmp(name, "gyre\n")) {
			*tid = atoi(entry->d_name);
			count++;
		}
	}
	closedir(folder);
	return count;
}

static unsigned wait_for_threads(unsigned wanted, pid_t *tid)
{
	unsigned count = 0;

	for (unsigned i = 0; i < 500 && (count = count_threads(tid)) != wanted; i++)
		unit_sleep_ms(10);
	return count;
}

static void *grow_heap(size_t bytes)
{
	void *block = gy_heap_alloc(bytes, (uintptr_t)&grow_heap);

	cr_assert_not_null(block);
	memset(block, 1, bytes);
	for (unsigned i = 0; i < 2000; i++) /* and some slow paths */
		unit_free(unit_malloc(1 + i * 15));
	return block;
}

Test(background, a_small_heap_has_none)
{
	pid_t tid;

	grow_heap(100000);
	unit_sleep_ms(50);
	cr_assert_eq(count_threads(&tid), 0u);
}

Test(background, starts_when_the_heap_passes_its_size)
{
	pid_t tid = 0;

	grow_heap(20 * MB);
	cr_assert_eq(wait_for_threads(1, &tid), 1u);
	cr_assert_neq(tid, getpid());
}

Test(background, off_means_off)
{
	pid_t tid;

	gy_option_values[GY_OPT_background] = 0;
	grow_heap(40 * MB);
	unit_sleep_ms(100);
	cr_assert_eq(count_threads(&tid), 0u);
	cr_assert(gy_control_exists(), "the page is there nonetheless");
}

/* BG-1, with many threads that come by at once. */
static void *passes_by(void *argument)
{
	for (unsigned i = 0; i < 300; i++)
		gy_background_slow_path((uintptr_t)&passes_by);
	return argument;
}

Test(background, BG_1_at_most_one)
{
	pthread_t threads[8];
	pid_t tid;

	gy_option_values[GY_OPT_background] = 0;
	grow_heap(20 * MB);
	gy_option_values[GY_OPT_background] = 1;
	for (unsigned i = 0; i < 8; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, passes_by, NULL), 0);
	for (unsigned i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(wait_for_threads(1, &tid), 1u);
	unit_sleep_ms(50);
	cr_assert_eq(count_threads(&tid), 1u);
}

Test(background, BG_2_not_from_inside_the_loader)
{
	uintptr_t in_loader = getauxval(AT_BASE) + 0x2000;
	pid_t tid;

	gy_option_values[GY_OPT_background] = 0;
	grow_heap(20 * MB);
	gy_option_values[GY_OPT_background] = 1;
	for (unsigned i = 0; i < 300; i++)
		gy_background_slow_path(in_loader);
	unit_sleep_ms(50);
	cr_assert_eq(count_threads(&tid), 0u);
	gy_background_slow_path((uintptr_t)&passes_by);
	cr_assert_eq(wait_for_threads(1, &tid), 1u);
}

Test(background, BG_4_a_start_that_fails_is_tried_again_after_a_second)
{
	uint64_t begin;
	pid_t tid;

	gy_option_values[GY_OPT_background] = 0;
	grow_heap(20 * MB);
	gy_option_values[GY_OPT_background] = 1;
	gy_option_values[GY_OPT_fault_call] = GY_SYS_thread_create;
	gy_option_values[GY_OPT_fault_count] = 1;
	begin = unit_now_ms();
	for (unsigned i = 0; i < 50; i++)
		gy_background_slow_path((uintptr_t)&passes_by);
	if (unit_now_ms() - begin < 900)
		cr_assert_eq(count_threads(&tid), 0u);
	while (!count_threads(&tid) && unit_now_ms() - begin < 10000) {
		gy_background_slow_path((uintptr_t)&passes_by);
		unit_sleep_ms(50);
	}
	cr_assert_eq(wait_for_threads(1, &tid), 1u);
	cr_assert_geq(unit_now_ms() - begin, 950u);
}

/* BG-3: it has no cache, so it allocated nothing. */
Test(background, BG_3_it_does_not_allocate_from_the_heap_it_serves)
{
	struct gyre_stats before, after;
	pid_t tid;

	grow_heap(20 * MB);
	cr_assert_eq(wait_for_threads(1, &tid), 1u);
	gyre_stats_read(&before, sizeof(before));
	unit_sleep_ms(400);
	gyre_stats_read(&after, sizeof(after));
	cr_assert_eq(after.threads, 1u);
	cr_assert_eq(after.mallocs, before.mallocs);
}

/* ---- its work ---- */
static struct gyre_stats stats(void)
{
	struct gyre_stats now;

	cr_assert_eq(gyre_stats_read(&now, sizeof(now)), 0);
	return now;
}

static size_t heap_resident(void)
{
	return unit_resident((void *)gy_map.base, gy_map.page_count * GY_PAGE_BYTES);
}

Test(background, gives_idle_memory_back_by_itself)
{
	void *block;

	gy_option_values[GY_OPT_release_delay] = 200;
	block = grow_heap(60 * MB);
	gy_heap_free(block, 0);
	/* Counted when the kernel has answered. */
	for (unsigned i = 0;
	     i < 200 && (heap_resident() > 10 * MB || stats().released_total < 55 * MB); i++)
		unit_sleep_ms(50);
	cr_assert_leq(heap_resident(), 10 * MB);
	cr_assert_geq(stats().heap_released, 55 * MB);
	cr_assert_geq(stats().released_total, 55 * MB);
}

Test(background, keeps_memory_where_release_is_off)
{
	void *block;

	gy_option_values[GY_OPT_release_delay] = 100;
	gy_option_values[GY_OPT_release] = 0;
	block = grow_heap(30 * MB);
	gy_heap_free(block, 0);
	unit_sleep_ms(700);
	cr_assert_eq(stats().released_total, 0u);
	/* live: switched on, it works */
	cr_assert_eq(gyre_option_set("release", 1), 0);
	for (unsigned i = 0; i < 200 && !stats().released_total; i++)
		unit_sleep_ms(50);
	cr_assert_gt(stats().released_total, 0u);
}

static uint32_t let_go; /* [atomic] a futex */

static void *sleeps_with_a_cache(void *argument)
{
	static __thread void *blocks[500];

	for (unsigned i = 0; i < 500; i++)
		blocks[i] = unit_malloc(1000);
	for (unsigned i = 0; i < 500; i++)
		unit_free(blocks[i]);
	while (!__atomic_load_n(&let_go, __ATOMIC_ACQUIRE))
		gy_sys_futex_wait(&let_go, 0, NULL, false);
	for (unsigned i = 0; i < 500; i++)
		unit_free(unit_malloc(1000));
	return argument;
}

Test(background, takes_idle_caches_back)
{
	pthread_t threads[4];

	gy_option_values[GY_OPT_cache_idle] = 100;
	grow_heap(20 * MB);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, sleeps_with_a_cache, NULL), 0);
	for (unsigned i = 0; i < 200 && stats().caches_taken < 4; i++)
		unit_sleep_ms(50);
	cr_assert_geq(stats().caches_taken, 4u);
	__atomic_store_n(&let_go, 1, __ATOMIC_RELEASE);
	gy_sys_futex_wake(&let_go, 4, false);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	gy_heap_check();
}

/* ---- answers ---- */
GY_RACY_READER static uint64_t published_runs(const struct gyre_control *page)
{
	return page->totals.background_runs;
}

static uint64_t ask(uint32_t *request, const uint32_t *answered)
{
	uint64_t begin = gy_now_ns();
	uint32_t wanted = __atomic_add_fetch(request, 1, __ATOMIC_RELEASE);

	gy_sys_futex_wake(request, 1, true);
	while (__atomic_load_n(answered, __ATOMIC_ACQUIRE) != wanted &&
	       gy_now_ns() - begin < 5000000000)
		unit_sleep_ms(1);
	cr_assert_eq(__atomic_load_n(answered, __ATOMIC_ACQUIRE), wanted);
	return gy_now_ns() - begin;
}

Test(background, answers_requests_at_once_though_it_sleeps_long)
{
	uint64_t best = UINT64_MAX;
	struct gyre_control *page;
	pid_t tid;

	grow_heap(20 * MB);
	cr_assert_eq(wait_for_threads(1, &tid), 1u);
	for (unsigned i = 0; i < 100 && !gy_control_request_word(); i++)
		unit_sleep_ms(10);
	page = container_of(gy_control_request_word(), struct gyre_control, request);
	unit_sleep_ms(300); /* until its naps are long */
	for (unsigned i = 0; i < 20; i++)
		best = MIN(best, ask(&page->request, &page->answered));
	cr_assert_leq(best, 100000000u, "%llu ns", (unsigned long long)best);
	cr_assert_eq(READ_RELAXED(page->background_tid), (uint32_t)tid);
	cr_assert_gt(published_runs(page), 0u);
}

/* BG-5: a thread that setuid does not reach must not go on with the old rights. */
static void changes_its_group(void *argument)
{
	uint64_t begin = unit_now_ms();
	pid_t first = 0, second = 0;

	(void)argument;
	grow_heap(20 * MB);
	child_check(wait_for_threads(1, &first) == 1);
	child_check(setegid(65534) == 0);
	for (; unit_now_ms() - begin < 15000 && (second == first || !second); unit_sleep_ms(20)) {
		second = 0;
		count_threads(&second);
		gy_background_slow_path((uintptr_t)&passes_by); /* so that another is started */
	}
	child_check(second && second != first);
	child_check(count_threads(&second) == 1);
	gy_heap_check();
}

Test(background, BG_5_ends_when_the_process_changes_its_rights)
{
	struct unit_child child;

	if (geteuid() != 0)
		cr_skip("it takes root to change the group");
	if (GY_TSAN || GY_ASAN)
		cr_skip("a sanitizer build's thread is one of the C library's, which setegid "
			"reaches");
	child = unit_child_run(changes_its_group, NULL);
	unit_assert_exit(child, 0);
}

/* ---- fork ---- */
static void child_with_its_own(void *argument)
{
	size_t inherited = heap_resident();
	pid_t tid = 0;
	void *block;

	(void)argument;
	child_check(count_threads(&tid) == 0); /* FORK-2 */
	block = gy_heap_alloc(30 * MB, (uintptr_t)&passes_by);
	child_check(block);
	memset(block, 1, 30 * MB);
	child_check(wait_for_threads(1, &tid) == 1);
	gy_option_values[GY_OPT_release_delay] = 100;
	gy_heap_free(block, 0);
	for (unsigned i = 0; i < 200 && heap_resident() > inherited + 5 * MB; i++)
		unit_sleep_ms(50);
	child_check(heap_resident() <= inherited + 5 * MB);
	gy_heap_check();
}

Test(background, FORK_2_a_forked_child_starts_its_own)
{
	struct unit_child child;
	pid_t tid;

	if (GY_TSAN)
		cr_skip("ThreadSanitizer follows no threads of a forked child");
	grow_heap(20 * MB);
	cr_assert_eq(wait_for_threads(1, &tid), 1u);
	child = unit_child_run(child_with_its_own, NULL);
	unit_assert_exit(child, 0);
	cr_assert_eq(count_threads(&tid), 1u);
}

static void forks_on(void *argument)
{
	for (unsigned i = 0; i < 100; i++)
		gy_heap_free(gy_heap_alloc(50000 + i * 1000, (uintptr_t)&passes_by), 0);
	gy_heap_check();
	(void)argument;
}

Test(background, fork_while_it_works)
{
	gy_option_values[GY_OPT_release_delay] = 0;
	gy_option_values[GY_OPT_cache_idle] = 10;
	for (unsigned n = 0; n < 20; n++) {
		struct unit_child child;
		void *block = gy_heap_alloc(20 * MB, (uintptr_t)&passes_by);

		memset(block, 1, 20 * MB);
		gy_heap_free(block, 0);
		child = unit_child_run(forks_on, NULL);
		unit_assert_exit(child, 0);
	}
	gy_heap_check();
}
