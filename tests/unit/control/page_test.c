/* page_test.c - the control page as an observer sees it: through a mapping of its own, trusting
 * nothing. */
#include "control/page.h"

#include "base/config.h"
#include "control/background.h"
#include "control/stats.h"
#include "heap/heap.h"
#include "os/sys.h"
#include "trace/sampler.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

#include <dirent.h>
#include <gyre/gc.h>
#include <gyre/gyre.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	gy_option_values[GY_OPT_sample_stack] = 3;
}

TestSuite(page, .init = quiet);

/* The descriptor of this process's page; -1 where there is none. */
static int find_fd(int *how_many)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	int found = -1;

	*how_many = 0;
	while ((entry = readdir(folder))) {
		char path[300], target[300];
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		length = readlink(path, target, sizeof(target) - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		if (strstr(target, "memfd:" GYRE_CONTROL_NAME)) {
			found = atoi(entry->d_name);
			++*how_many;
		}
	}
	closedir(folder);
	return found;
}

/* An observer's mapping, as the command's. */
static struct gyre_control *observe(void)
{
	struct gyre_control *page;
	struct stat status;
	char path[64];
	int count, fd = find_fd(&count);

	cr_assert_eq(count, 1, "%d control pages", count);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &status), 0);
	page = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(page, MAP_FAILED);
	cr_assert_eq(page->total_bytes, (uint64_t)status.st_size);
	close(fd);
	return page;
}

static const struct gyre_control_class *classes_of(const struct gyre_control *page)
{
	return (const void *)((const char *)page + page->class_offset);
}

Test(page, CTL_1_layout)
{
	struct gyre_control *page;
	uint64_t end;

	gy_control_init();
	cr_assert(gy_control_exists());
	page = observe();
	cr_assert_eq(memcmp(page->magic, GYRE_CONTROL_MAGIC, 8), 0);
	cr_assert_eq(page->abi, GYRE_CONTROL_ABI);
	cr_assert_eq(page->header_bytes, sizeof(struct gyre_control));
	cr_assert_eq(page->pid, (uint32_t)getpid());
	cr_assert_str_eq(page->version, GYRE_VERSION);
	cr_assert_leq(page->start_ns, gy_now_ns());
	cr_assert_eq(page->heap_base, gy_map.base);
	cr_assert_eq(page->heap_reserved_bytes, gy_map.hugepage_reserved * GY_HUGEPAGE_BYTES);
	cr_assert_eq(page->page_bytes, GY_PAGE_BYTES);
	cr_assert_eq(page->sample_bytes, 512u << 10);
	cr_assert_eq(page->sample_bytes_log2, 19u);
	cr_assert_eq(page->class_count, GY_STATS_CLASSES);
	cr_assert_eq(page->class_bytes, sizeof(struct gyre_control_class));
	cr_assert_eq(page->option_count, (uint32_t)GY_OPT_COUNT);
	cr_assert_eq(page->option_bytes, sizeof(struct gyre_control_option));
	cr_assert_eq(page->bucket_count, GYRE_CONTROL_BUCKETS);
	cr_assert_eq(page->bucket_bytes, sizeof(struct gyre_control_bucket));
	/* CTL-5: what an observer checks holds: parts in order, within the file, aligned */
	cr_assert_geq(page->class_offset, page->header_bytes);
	end = page->class_offset + (uint64_t)page->class_count * page->class_bytes;
	cr_assert_geq(page->option_offset, end);
	end = page->option_offset + (uint64_t)page->option_count * page->option_bytes;
	cr_assert_geq(page->bucket_offset, end);
	end = page->bucket_offset + (uint64_t)page->bucket_count * page->bucket_bytes;
	cr_assert_leq(end, page->total_bytes);
	cr_assert_eq((page->class_offset | page->option_offset | page->bucket_offset) % 8, 0u);
}

/* CTL-7: what ABI 1 had stands where it stood. */
Test(page, CTL_7_older_readers_find_their_parts)
{
	cr_assert_eq(offsetof(struct gyre_control, commands), GYRE_CONTROL_HEADER_1);
	cr_assert_eq(offsetof(struct gyre_control, request), 152u);
	cr_assert_eq(offsetof(struct gyre_control, snapshot_ns), 168u);
	cr_assert_eq(offsetof(struct gyre_control, totals), 176u);
	cr_assert_eq(sizeof(struct gyre_control_totals), 288u);
	cr_assert_eq(offsetof(struct gyre_control, gc), 472u);
	cr_assert_eq(sizeof(struct gyre_control_gc), 320u);
	cr_assert_eq(offsetof(struct gyre_control, setting), GYRE_CONTROL_HEADER_2);
	cr_assert_eq(offsetof(struct gyre_control, events), 872u);
	cr_assert_eq(sizeof(struct gyre_control_events), 160u);
	cr_assert_eq(offsetof(struct gyre_control, leak), GYRE_CONTROL_HEADER_3);
	cr_assert_eq(sizeof(struct gyre_control_leak), 104u);
	cr_assert_eq(offsetof(struct gyre_control_option, initial), 2u * GYRE_CONTROL_TEXT);
}

/* CTL-6: a command is taken with the next snapshot, and means nothing where nothing collects. */
Test(page, CTL_6_commands_are_taken_whole)
{
	struct gyre_control *page;

	gy_control_init();
	page = observe();
	__atomic_or_fetch(&page->commands, UINT32_MAX, __ATOMIC_ACQ_REL);
	__atomic_add_fetch(&page->request, 1, __ATOMIC_ACQ_REL);
	gy_control_publish();
	cr_assert_eq(READ_RELAXED(page->commands), 0u);
	cr_assert_eq(page->answered, page->request);
	cr_assert_eq(page->gc.used, 0u);
	cr_assert_eq(page->gc.commanded_cycle, 0u);
}

/* Asks three times; which of the numbers was wrong, or 0. */
static int ask_for_cycles(void)
{
	static const struct gyre_type type = GYRE_TYPE_LEAF(struct gyre_control_option);
	uint64_t end = unit_now_ms() + 20000;
	struct gyre_control *page;

	gy_control_init();
	page = observe();
	if (page->gc.used || !gyre_new(&type))
		return 1;
	gy_control_publish();
	if (!page->gc.used || page->gc.cycles)
		return 2;
	for (uint64_t wanted = 1; wanted <= 3; wanted++) {
		__atomic_or_fetch(&page->commands, GYRE_CONTROL_COLLECT, __ATOMIC_ACQ_REL);
		gy_control_publish();
		while (page->gc.cycles < wanted && unit_now_ms() < end) {
			if (page->gc.commanded_cycle != wanted)
				return 3;
			usleep(1000);
			gy_control_publish();
		}
		if (page->gc.cycles != wanted || page->gc.cycles_forced != wanted)
			return 4;
	}
	return page->gc.failed_stops ? 5 : 0;
}

/* CTL-6: asked for, a cycle begins after the question; the page tells which, and when it is over.
 * In a child: Criterion has a thread that blocks every signal. */
Test(page, CTL_6_a_collection_is_passed_on)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(ask_for_cycles());
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
}

Test(page, CTL_1_constant_part_never_changes)
{
	struct gyre_control before;
	struct gyre_control *page;

	gy_control_init();
	page = observe();
	memcpy(&before, page, sizeof(before));
	for (unsigned i = 0; i < 2000; i++)
		unit_free(unit_malloc(i * 10));
	gy_option_values[GY_OPT_cache_idle] = 1000;
	for (unsigned i = 0; i < 100; i++)
		gy_control_publish();
	cr_assert_eq(memcmp(&before, page, offsetof(struct gyre_control, request)), 0);
}

Test(page, PAGE_1_made_once_whoever_asks)
{
	int count;

	for (unsigned i = 0; i < 10; i++)
		gy_control_init();
	find_fd(&count);
	cr_assert_eq(count, 1);
}

Test(page, PAGE_2_sealed_and_out_of_the_way)
{
	int count, fd;

	gy_control_init();
	fd = find_fd(&count);
	cr_assert_neq(ftruncate(fd, 0), 0);
	cr_assert_neq(ftruncate(fd, 1 << 30), 0);
	cr_assert_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	cr_assert_gt(fd, 100, "descriptor %d is in the way", fd);
}

Test(page, options_are_published_by_name_and_value)
{
	const struct gyre_control_option *options;
	struct gyre_control *page;

	gy_control_init();
	page = observe();
	options = (const void *)((const char *)page + page->option_offset);
	gy_config_set(GY_OPT_release_delay, 777);
	gy_control_publish();
	for (unsigned i = 0; i < GY_OPT_COUNT; i++) {
		char value[GYRE_CONTROL_TEXT] = "";
		struct gy_text text = GY_TEXT(value);

		gy_config_print((enum gy_option_id)i, &text);
		cr_assert_str_eq(options[i].name, gy_option_table[i].name);
		cr_assert_str_eq(options[i].value, value);
	}
	cr_assert_str_eq(options[GY_OPT_release_delay].value, "777");
}

/* ---- CTL-2 ---- */
static uint32_t stop; /* [atomic] */

/* Publishes as fast as it can, over a heap that changes in a way that totals and classes must agree
 * on. */
static void *publisher(void *argument)
{
	while (!READ_RELAXED(stop)) {
		void *blocks[50];

		for (unsigned i = 0; i < 50; i++)
			blocks[i] = unit_malloc(64 + i * 16);
		gy_control_publish();
		for (unsigned i = 0; i < 50; i++)
			unit_free(blocks[i]);
		gy_control_publish();
	}
	return argument;
}

struct snapshot {
	struct gyre_control_totals totals;
	struct gyre_control_class classes[GY_STATS_CLASSES];
};

/* An observer's read of one snapshot, as in tools/gyre/control.c. */
static bool read_snapshot(const struct gyre_control *page, struct snapshot *snapshot)
{
	for (unsigned tries = 0; tries < 100000; tries++) {
		uint32_t seq = __atomic_load_n(&page->snapshot_seq, __ATOMIC_ACQUIRE);

		if (seq & 1) {
			sched_yield();
			continue;
		}
		memcpy(&snapshot->totals, &page->totals, sizeof(snapshot->totals));
		memcpy(snapshot->classes, classes_of(page), sizeof(snapshot->classes));
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		if (__atomic_load_n(&page->snapshot_seq, __ATOMIC_ACQUIRE) == seq)
			return true;
	}
	return false;
}

Test(page, CTL_2_a_snapshot_is_of_one_moment)
{
	static struct snapshot snapshot;
	uint64_t end = unit_now_ms() + 600, last_ns = 0, read = 0;
	uint32_t odd = 0;
	struct gyre_control *page;
	pthread_t thread;

	if (GY_TSAN)
		cr_skip("the reader races by design, as one in another process does");
	gy_option_values[GY_OPT_sample] = 0;
	gy_control_init();
	page = observe();
	cr_assert_eq(pthread_create(&thread, NULL, publisher, NULL), 0);
	while (unit_now_ms() < end) {
		uint64_t alloc = 0, mallocs = 0;

		cr_assert(read_snapshot(page, &snapshot));
		for (unsigned i = 0; i < GY_STATS_CLASSES; i++) {
			alloc += snapshot.classes[i].live * snapshot.classes[i].object_bytes;
			mallocs += snapshot.classes[i].mallocs;
		}
		cr_assert_eq(alloc + snapshot.totals.large_bytes, snapshot.totals.heap_alloc);
		cr_assert_eq(mallocs + snapshot.totals.large_mallocs, snapshot.totals.mallocs);
		cr_assert_geq(READ_RELAXED(page->snapshot_ns), last_ns);
		last_ns = READ_RELAXED(page->snapshot_ns);
		read++;
	}
	/* and its writing is announced: seq is odd now and then */
	for (end = unit_now_ms() + 10000; unit_now_ms() < end && !odd;)
		for (unsigned i = 0; i < 10000; i++)
			odd |= __atomic_load_n(&page->snapshot_seq, __ATOMIC_ACQUIRE) & 1;
	cr_assert(odd);
	WRITE_RELAXED(stop, 1u);
	pthread_join(thread, NULL);
	cr_assert_gt(read, 10u);
}

/* CTL-3: buckets, while samples come and go. */
static void *sampler(void *argument)
{
	while (!READ_RELAXED(stop)) {
		void *blocks[20];

		for (unsigned i = 0; i < 20; i++)
			blocks[i] = gy_heap_alloc(64, 0x1000 + i);
		for (unsigned i = 0; i < 20; i++)
			gy_heap_free(blocks[i], 0);
	}
	return argument;
}

Test(page, CTL_3_a_bucket_is_consistent_under_its_seq)
{
	uint64_t end = unit_now_ms() + 500, read = 0;
	struct gyre_control *page;
	pthread_t thread;

	if (GY_TSAN)
		cr_skip("the reader races by design, as one in another process does");
	gy_option_values[GY_OPT_sample] = 1;
	gy_control_init();
	page = observe();
	cr_assert_eq(pthread_create(&thread, NULL, sampler, NULL), 0);
	while (unit_now_ms() < end) {
		const struct gyre_control_bucket *buckets =
			(const void *)((const char *)page + page->bucket_offset);

		for (unsigned i = 0; i < page->bucket_count; i++) {
			struct gyre_control_bucket copy;
			uint32_t seq = __atomic_load_n(&buckets[i].seq, __ATOMIC_ACQUIRE);

			if (seq & 1 || !READ_RELAXED(buckets[i].depth))
				continue;
			memcpy(&copy, &buckets[i], sizeof(copy));
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
			if (__atomic_load_n(&buckets[i].seq, __ATOMIC_ACQUIRE) != seq)
				continue;
			cr_assert_leq(copy.free_objects, copy.alloc_objects);
			cr_assert_leq(copy.free_bytes, copy.alloc_bytes);
			if (copy.frames[0] >= 0x1000 && copy.frames[0] < 0x1014) {
				cr_assert_eq(copy.alloc_bytes, copy.alloc_objects * 64);
				cr_assert_eq(copy.free_bytes, copy.free_objects * 64);
			}
			read++;
		}
	}
	WRITE_RELAXED(stop, 1u);
	pthread_join(thread, NULL);
	cr_assert_gt(read, 100u);
}

/* ---- asking ---- */
Test(page, a_request_is_answered)
{
	struct gyre_control *page;

	gy_control_init();
	page = observe();
	cr_assert_not(gy_control_is_asked());
	for (uint32_t n = 1; n < 50; n++) {
		uint64_t before = page->snapshot_ns;

		__atomic_add_fetch(&page->request, 1, __ATOMIC_RELEASE);
		cr_assert(gy_control_is_asked());
		cr_assert_eq(READ_RELAXED(*gy_control_request_word()), n);
		gy_control_publish();
		cr_assert_not(gy_control_is_asked());
		cr_assert_eq(__atomic_load_n(&page->answered, __ATOMIC_ACQUIRE), n);
		cr_assert_gt(page->snapshot_ns, before);
	}
}

/* Whoever sleeps on `answered` is woken. */
static void *publishes_later(void *argument)
{
	unit_sleep_ms(100);
	gy_control_publish();
	return argument;
}

Test(page, an_answer_wakes_those_who_wait_for_it)
{
	struct timespec patience = {10, 0};
	struct gyre_control *page;
	uint64_t begin;
	pthread_t thread;

	gy_control_init();
	page = observe();
	__atomic_add_fetch(&page->request, 1, __ATOMIC_RELEASE);
	begin = unit_now_ms();
	cr_assert_eq(pthread_create(&thread, NULL, publishes_later, NULL), 0);
	while (__atomic_load_n(&page->answered, __ATOMIC_ACQUIRE) == 0 &&
	       unit_now_ms() - begin < 9000)
		gy_sys_futex_wait(&page->answered, 0, &patience, true);
	cr_assert_lt(unit_now_ms() - begin, 5000u);
	pthread_join(thread, NULL);
}

/* Without the background thread the next slow path of any thread answers. */
Test(page, slow_paths_answer_where_there_is_no_background_thread)
{
	struct gyre_control *page;

	unit_free(unit_malloc(100));
	for (unsigned i = 0; i < 300; i++)
		gy_background_slow_path((uintptr_t)&quiet);
	page = observe();
	__atomic_add_fetch(&page->request, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 20000 && page->answered != page->request; i++)
		(void)!unit_malloc(1000 + i % 3000);
	cr_assert_eq(page->answered, page->request);
}

/* CTL-4: whatever an observer scribbles, the library goes on. */
Test(page, CTL_4_scribbling_harms_nobody_but_the_observer)
{
	struct gyre_control *page;
	uint64_t rng = 1, end;
	pthread_t thread;

	if (GY_TSAN)
		cr_skip("the writer races by design");
	gy_option_values[GY_OPT_sample] = 1000;
	gy_control_init();
	page = observe();
	cr_assert_eq(pthread_create(&thread, NULL, sampler, NULL), 0);
	for (end = unit_now_ms() + 400; unit_now_ms() < end;) {
		for (unsigned n = 0; n < 1000; n++) {
			uint64_t at = unit_random(&rng) % (page->bucket_offset + 100000);

			((volatile unsigned char *)page)[MIN(at, 500000)] ^=
				(unsigned char)unit_random(&rng);
			/* offsets and totals of our own copy must stay usable for this loop */
			page->bucket_offset = (page->bucket_offset & 0) + 40960;
		}
		gy_control_publish();
		gy_control_is_asked();
	}
	WRITE_RELAXED(stop, 1u);
	pthread_join(thread, NULL);
	gy_heap_check();
}

/* ---- fork ---- */
static void child_makes_its_own(void *argument)
{
	struct gyre_control *parents = argument, *own;
	static unsigned char copy[1 << 16];
	size_t bytes = MIN(sizeof(copy), (size_t)parents->bucket_offset);
	int count;

	memcpy(copy, parents, bytes);
	find_fd(&count);
	child_check(count == 0 && !gy_control_exists()); /* PAGE-3: closed */
	gy_option_values[GY_OPT_sample] = 1;
	for (unsigned i = 0; i < 3000; i++)
		gy_heap_free(gy_heap_alloc(i, 0x77), 0);
	gy_control_publish(); /* nothing to publish to */
	child_check(memcmp(copy, parents, bytes) == 0);
	for (unsigned i = 0; i < 300; i++)
		gy_background_slow_path((uintptr_t)&quiet);
	child_check(gy_control_exists());
	find_fd(&count);
	child_check(count == 1);
	own = observe();
	child_check(own->pid == (uint32_t)getpid());
	child_check(own->pid != parents->pid);
	for (unsigned i = 0; i < 100; i++) {
		gy_heap_free(gy_heap_alloc(i, 0x78), 0);
		gy_control_publish();
	}
	child_check(memcmp(copy, parents, bytes) == 0);
	gy_sampler_check();
}

Test(page, FORK_3_a_child_never_writes_to_its_parents_page)
{
	struct gyre_control *page;
	struct unit_child child;
	unsigned char *buckets;
	uint64_t sum = 0, after = 0;

	gy_option_values[GY_OPT_sample] = 1;
	gy_control_init();
	for (unsigned i = 0; i < 200; i++)
		unit_malloc(i); /* live samples */
	gy_control_publish();
	page = observe();
	buckets = (unsigned char *)page + page->bucket_offset;
	for (uint64_t i = 0; i < page->bucket_count * (uint64_t)page->bucket_bytes; i++)
		sum = sum * 31 + buckets[i];
	child = unit_child_run(child_makes_its_own, page);
	unit_assert_exit(child, 0);
	for (uint64_t i = 0; i < page->bucket_count * (uint64_t)page->bucket_bytes; i++)
		after = after * 31 + buckets[i];
	cr_assert_eq(after, sum, "the child wrote to the parent's profile");
	cr_assert(gy_control_exists());
}

/* PAGE-3: a descriptor that is somebody else's by now is not closed. */
static void reuses_the_number(void *argument)
{
	int count, fd = find_fd(&count), status = 0;
	pid_t pid;

	(void)argument;
	child_check(fd >= 0);
	close(fd);
	child_check(dup2(STDERR_FILENO, fd) == fd);
	pid = fork();
	if (pid == 0)
		_exit(fcntl(fd, F_GETFD) < 0);
	child_check(waitpid(pid, &status, 0) == pid && status == 0);
}

static void with_a_page(void *argument)
{
	gy_control_init(); /* in a child of the test, so that this one is forked with it */
	reuses_the_number(argument);
}

Test(page, PAGE_3_only_our_own_descriptor_is_closed)
{
	struct unit_child child = unit_child_run(with_a_page, NULL);

	unit_assert_exit(child, 0);
}

/* ---- refusals ---- */
Test(page, without_a_memfd_there_is_no_page_and_no_harm)
{
	static const enum gy_sys_call calls[] = {GY_SYS_memfd_create, GY_SYS_ftruncate,
						 GY_SYS_mmap};
	int count;

	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++) {
		gy_option_values[GY_OPT_fault_call] = (uint64_t)calls[i];
		gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
		gy_control_init();
		gy_control_publish();
		cr_assert_not(gy_control_exists());
		cr_assert_not(gy_control_is_asked());
		cr_assert_null(gy_control_request_word());
		cr_assert_eq(gy_control_published_ns(), 0u);
	}
	find_fd(&count);
	cr_assert_leq(count, 1);
}

Test(page, control_off_makes_none)
{
	int count;

	gy_option_values[GY_OPT_control] = 0;
	gy_control_init();
	for (unsigned i = 0; i < 300; i++)
		gy_background_slow_path((uintptr_t)&quiet);
	cr_assert_not(gy_control_exists());
	cr_assert_eq(find_fd(&count), -1);
}
