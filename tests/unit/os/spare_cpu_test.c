/* spare_cpu_test.c - idle time, lists of processors and quotas out of texts and trees made by hand,
 * and a reading of this machine. */
#include "os/spare_cpu.h"

#include "unit/unit.h"

#include <sys/stat.h>

static char root[] = P_tmpdir "/gyre-spare-XXXXXX";

static void put(const char *folder, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s%s", root, folder);
	mkdir(path, 0700);
	strcat(path, "/cpu.max");
	file = text ? fopen(path, "w") : NULL;
	if (text) {
		cr_assert_not_null(file);
		fputs(text, file);
		fclose(file);
	}
}

Test(spare_cpu, idle_time_is_the_second_number)
{
	cr_assert_eq(gy_spare_cpu_idle_ns("49723.63 22987.33\n"), 22987330000000ull);
	cr_assert_eq(gy_spare_cpu_idle_ns("1.00 0.07\n"), 70000000u);
	cr_assert_eq(gy_spare_cpu_idle_ns("49723.63\n"), 0);
	cr_assert_eq(gy_spare_cpu_idle_ns("49723.63 22987\n"), 0);
	cr_assert_eq(gy_spare_cpu_idle_ns("49723.63 .33\n"), 0);
	cr_assert_eq(gy_spare_cpu_idle_ns(""), 0);
}

Test(spare_cpu, processors_are_counted_in_ranges)
{
	cr_assert_eq(gy_spare_cpu_count("0\n"), 1);
	cr_assert_eq(gy_spare_cpu_count("0-1\n"), 2);
	cr_assert_eq(gy_spare_cpu_count("0-3,8,10-15\n"), 11);
	cr_assert_eq(gy_spare_cpu_count("5-3,1\n"), 1);
	cr_assert_eq(gy_spare_cpu_count("\n"), 0);
}

Test(spare_cpu, the_tightest_quota_of_all_levels_counts)
{
	char command[80];

	cr_assert_not_null(mkdtemp(root));
	put("/sys", NULL);
	put("/sys/fs", NULL);
	put("/sys/fs/cgroup", NULL);
	put("/sys/fs/cgroup/a", "150000 100000\n");
	put("/sys/fs/cgroup/a/b", "max 100000\n");
	put("/sys/fs/cgroup/a/b/c", "20000 10000\n");
	put("/sys/fs/cgroup/d", "scribble\n");
	cr_assert_eq(gy_spare_cpu_quota(root, "0::/a/b/c\n"), 1500);
	cr_assert_eq(gy_spare_cpu_quota(root, "1:cpu:/x\n0::/a/b\n"), 1500);
	cr_assert_eq(gy_spare_cpu_quota(root, "0::/d\n"), UINT32_MAX);
	cr_assert_eq(gy_spare_cpu_quota(root, "0::/\n"), UINT32_MAX);
	cr_assert_eq(gy_spare_cpu_quota(root, "1:cpu:/x\n"), UINT32_MAX);
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	cr_assert_eq(system(command), 0);
}

Test(spare_cpu, a_reading_takes_its_time_and_stays_within_the_machine)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct gy_spare_cpu spare;

	gy_spare_cpu_begin(&spare);
	cr_assert_eq(gy_spare_cpu_read(&spare), 0); /* SPARE-2 */
	unit_sleep_ms(250);
	/* Idle time comes in hundredths: of 250 ms, 4 % may be too much on each. */
	cr_assert_leq(gy_spare_cpu_read(&spare), (uint32_t)processors * 1100);
}
