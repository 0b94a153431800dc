/* limits_test.c - memory limits out of file trees made by hand: v2, v1, nested, with page cache. */
#include "os/limits.h"

#include "base/config.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <sys/resource.h>
#include <sys/stat.h>

static char root[] = P_tmpdir "/gyre-limits-XXXXXX";

static void make_root(void)
{
	cr_assert_not_null(mkdtemp(root));
}

static void remove_root(void)
{
	char command[80];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	cr_assert_eq(system(command), 0);
}

TestSuite(limits, .init = make_root, .fini = remove_root);

/* Writes a file below the root, making its folders. */
static void put(const char *path, const char *content)
{
	char whole[512];
	FILE *file;

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(whole, 0700);
		*slash = '/';
	}
	file = fopen(whole, "w");
	cr_assert_not_null(file, "%s", whole);
	fputs(content, file);
	fclose(file);
}

static void put_v2(const char *group, const char *max, const char *current, const char *stat)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group);
	put(path, max);
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.current", group);
	put(path, current);
	if (stat) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.stat", group);
		put(path, stat);
	}
}

static void put_v1(const char *group, const char *max, const char *usage, const char *stat)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/fs/cgroup/memory%s/memory.limit_in_bytes", group);
	put(path, max);
	snprintf(path, sizeof(path), "/sys/fs/cgroup/memory%s/memory.usage_in_bytes", group);
	put(path, usage);
	if (stat) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/memory%s/memory.stat", group);
		put(path, stat);
	}
}

#define expect_memory(self, limit_, usage_)                                                        \
	do {                                                                                       \
		struct gy_cgroup_memory found = {1, 1};                                            \
                                                                                                   \
		gy_cgroup_read(root, self, &found);                                                \
		cr_assert_eq(found.limit, (uint64_t)(limit_), "limit %llu",                        \
			     (unsigned long long)found.limit);                                     \
		cr_assert_eq(found.usage, (uint64_t)(usage_), "usage %llu",                        \
			     (unsigned long long)found.usage);                                     \
	} while (0)

Test(limits, v2_limit_and_use)
{
	put_v2("/app", "1000000\n", "400000\n", NULL);
	expect_memory("0::/app\n", 1000000, 400000);
	expect_memory("0::/app", 1000000, 400000);
}

Test(limits, v2_page_cache_is_taken_off)
{
	put_v2("/app", "1000000\n", "900000\n",
	       "anon 123\nfile 700000\ninactive_file 500000\nactive_file 100000\nfile_dirty 5\n");
	expect_memory("0::/app\n", 1000000, 300000);
	/* numbers that do not fit together must not wrap */
	put_v2("/app", "1000000\n", "1000\n", "inactive_file 500000\n");
	expect_memory("0::/app\n", 1000000, 0);
}

Test(limits, v2_the_tightest_level_counts)
{
	put_v2("/a", "5000000\n", "4900000\n", NULL);
	put_v2("/a/b", "max\n", "100\n", NULL);
	put_v2("/a/b/c", "2000000\n", "300000\n", NULL);
	expect_memory("0::/a/b/c\n", 5000000, 4900000); /* 100,000 left there, 1,700,000 here */
	put_v2("/a", "5000000\n", "1000000\n", NULL);
	expect_memory("0::/a/b/c\n", 2000000, 300000);
	/* a level over its limit has no room at all */
	put_v2("/a", "5000000\n", "6000000\n", NULL);
	expect_memory("0::/a/b/c\n", 5000000, 6000000);
}

Test(limits, v2_no_limit_anywhere)
{
	put_v2("/a", "max\n", "100\n", NULL);
	expect_memory("0::/a\n", 0, 0);
	expect_memory("0::/nonesuch/at/all\n", 0, 0);
	expect_memory("0::/\n", 0, 0);
	expect_memory("", 0, 0);
}

Test(limits, v1_limit_use_and_cache)
{
	put_v1("/x/y", "3000000\n", "2500000\n",
	       "cache 9\ntotal_inactive_file 400000\ntotal_active_file 600000\n");
	put_v1("/x", "9223372036854771712\n", "2500000\n", NULL);
	expect_memory("9:cpu:/z\n4:memory:/x/y\n0::/\n", 3000000, 1500000);
	expect_memory("4:hugetlb,memory:/x/y\n", 3000000, 1500000);
}

Test(limits, v1_nested)
{
	put_v1("/x", "1000000\n", "990000\n", NULL);
	put_v1("/x/y", "800000\n", "100000\n", NULL);
	expect_memory("4:memory:/x/y\n", 1000000, 990000);
	put_v1("/x", "1000000\n", "100000\n", NULL);
	expect_memory("4:memory:/x/y\n", 800000, 100000);
}

Test(limits, v1_memory_beside_an_empty_v2)
{
	put_v1("/x", "777777\n", "1\n", NULL);
	expect_memory("8:pids:/p\n4:memory:/x\n1:cpu:/\n0::/\n", 777777, 1);
	expect_memory("0::/\n4:memory:/x\n", 777777, 1);
}

Test(limits, strange_texts_do_no_harm)
{
	char deep[1200] = "0::", long_name[700];
	struct gy_cgroup_memory memory;

	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	for (unsigned i = 0; i < 200; i++)
		strcat(deep, "/d");
	expect_memory(deep, 0, 0);
	snprintf(deep, sizeof(deep), "0::/%s", long_name);
	expect_memory(deep, 0, 0);
	expect_memory(":::::\n\n\n:\n0:\n0::", 0, 0);
	expect_memory("memory\n4:memory\n4:memory:", 0, 0);
	put_v2("/bad", "12cats\n", "dogs\n", "inactive_file\ninactive_file x\n");
	gy_cgroup_read(root, "0::/bad\n", &memory);
	cr_assert_eq(memory.limit, 12u);
	cr_assert_eq(memory.usage, 0u);
	put_v2("/empty", "", "", "");
	expect_memory("0::/empty\n", 0, 0);
}

/* ---- the question that the heap asks ---- */
Test(limits, a_fixed_limit_is_kept_to_the_byte)
{
	uint64_t limit = 0;

	gy_option_values[GY_OPT_memory_limit] = 100 << 20;
	cr_assert(gy_limit_memory(10 << 20, 10 << 20, 90 << 20, &limit));
	cr_assert_eq(limit, 100u << 20);
	cr_assert_not(gy_limit_memory((10 << 20) + 1, 0, 90 << 20, &limit));
	cr_assert_not(gy_limit_memory(1, 1, 100 << 20, &limit));
	gy_option_values[GY_OPT_memory_limit] = 1; /* none, whatever the cgroup says */
	cr_assert(gy_limit_memory((uint64_t)1 << 50, 0, (uint64_t)1 << 50, &limit));
	cr_assert_eq(limit, 0u);
}

Test(limits, without_files_there_is_no_limit)
{
	uint64_t limit = 5;

	gy_option_values[GY_OPT_fault_call] = GY_SYS_open;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	cr_assert(gy_limit_memory((uint64_t)1 << 50, 0, 0, &limit));
	cr_assert_eq(limit, 0u);
}

/* As the kernel's own heuristic, on a machine that uses it. */
Test(limits, one_request_beyond_the_machine_is_refused)
{
	char text[64];

	cr_assert(gy_limit_single_request((uint64_t)1 << 30));
	cr_assert_gt(gy_sys_read_file("/proc/sys/vm/overcommit_memory", text, sizeof(text)), 0);
	cr_assert_eq(gy_limit_single_request((uint64_t)1 << 60), text[0] != '0');
	gy_option_values[GY_OPT_fault_call] = GY_SYS_open; /* nothing known, nothing refused */
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	cr_assert(gy_limit_single_request((uint64_t)1 << 60));
}

static void within_address_space(void *argument)
{
	const uint64_t mb = 1 << 20;
	struct rlimit limit;
	char buffer[128];
	uint64_t mapped;

	(void)argument;
	child_check(gy_limit_address_space((uint64_t)1 << 50, 0, 0)); /* none set */
	gy_sys_read_file("/proc/self/statm", buffer, sizeof(buffer));
	mapped = strtoull(buffer, NULL, 10) * 4096;
	limit.rlim_cur = limit.rlim_max = mapped + 100 * mb;
	child_check(setrlimit(RLIMIT_AS, &limit) == 0);
	child_check(gy_limit_address_space(90 * mb, 0, 0));
	child_check(!gy_limit_address_space(110 * mb, 0, 0));
	/* a reservation that is not in use does not count */
	child_check(mmap(NULL, 80 * mb, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			 0) != MAP_FAILED);
	child_check(!gy_limit_address_space(90 * mb, 0, 0));
	child_check(gy_limit_address_space(90 * mb, 80 * mb, 0));
	child_check(!gy_limit_address_space(90 * mb, 80 * mb, 40 * mb));
	child_check(gy_limit_address_space(50 * mb, 80 * mb, 40 * mb));
}

Test(limits, address_space_counts_as_if_the_heap_grew_by_mmap)
{
	struct unit_child child;

	if (GY_ASAN || GY_TSAN)
		cr_skip("the sanitizer's shadow fills any address space");
	child = unit_child_run(within_address_space, NULL);
	unit_assert_exit(child, 0);
}
