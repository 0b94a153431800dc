/* setting_test.c - options changed while the process runs: by the control page, and by call. */
#include "control/setting.h"

#include "control/page.h"
#include "gc/pacer.h"
#include "heap/heap.h"

#include "unit/unit.h"

#include <errno.h>
#include <gyre/gyre.h>
#include <string.h>

static void quiet(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
}

TestSuite(setting, .init = quiet);

static int ask(struct gyre_control_setting *setting, const char *name, const char *value)
{
	setting->seq |= 1;
	memset(setting->name, 'x', sizeof(setting->name));
	memset(setting->value, 'x', sizeof(setting->value));
	memcpy(setting->name, name, strnlen(name, sizeof(setting->name) - 1) + 1);
	memcpy(setting->value, value, strnlen(value, sizeof(setting->value) - 1) + 1);
	setting->seq++;
	setting->result = 12345;
	gy_setting_take(setting);
	cr_assert_eq(setting->done, setting->seq, "%s=%s", name, value); /* SET-2 */
	return setting->result;
}

/* SET-1: what GYRE_OPTIONS would take, and for such as may change. */
Test(setting, SET_1_takes_what_the_environment_could_say)
{
	struct gyre_control_setting setting = {.seq = 6, .done = 6};
	char long_text[64];

	cr_assert_eq(ask(&setting, "release_delay", "250"), 0);
	cr_assert_eq(gy_option(GY_OPT_release_delay), 250u);
	cr_assert_eq(ask(&setting, "release_rate", "2M"), 0);
	cr_assert_eq(gy_option(GY_OPT_release_rate), 2u << 20);
	cr_assert_eq(ask(&setting, "release", "off"), 0);
	cr_assert_eq(gy_option(GY_OPT_release), 0u);
	cr_assert_eq(ask(&setting, "on_misuse", "continue"), 0);
	cr_assert_eq(gy_option(GY_OPT_on_misuse), 1u);

	cr_assert_eq(ask(&setting, "nothing", "1"), -ENOENT);
	cr_assert_eq(ask(&setting, "", ""), -ENOENT);
	cr_assert_eq(ask(&setting, "releas", "1"), -ENOENT);
	cr_assert_eq(ask(&setting, "reserve", "1G"), -EPERM);
	cr_assert_eq(ask(&setting, "release", "perhaps"), -EINVAL);
	cr_assert_eq(ask(&setting, "release_delay", ""), -EINVAL);
	cr_assert_eq(ask(&setting, "release_delay", "1 "), -EINVAL);
	cr_assert_eq(ask(&setting, "release_delay", "3600001"), -ERANGE);
	cr_assert_eq(ask(&setting, "release_delay", "99999999999999999999"), -ERANGE);
	cr_assert_eq(ask(&setting, "release_rate", "1"), -ERANGE);
	cr_assert_eq(gy_option(GY_OPT_release_delay), 250u);
	cr_assert_eq(gy_option(GY_OPT_release_rate), 2u << 20);
	memset(long_text, '1', sizeof(long_text)); /* the fields full, without an end */
	cr_assert_neq(ask(&setting, long_text, long_text), 0);
	memset(setting.name, 'r', sizeof(setting.name));
	memset(setting.value, '1', sizeof(setting.value));
	setting.seq += 2;
	gy_setting_take(&setting);
	cr_assert_eq(setting.result, -ENOENT);
}

Test(setting, SET_2_once_and_only_when_complete)
{
	struct gyre_control_setting setting = {.seq = 0};

	cr_assert_eq(ask(&setting, "cache_idle", "77"), 0);
	gy_config_set(GY_OPT_cache_idle, 88);
	for (int i = 0; i < 3; i++)
		gy_setting_take(&setting);
	cr_assert_eq(gy_option(GY_OPT_cache_idle), 88u);
	setting.seq++; /* being written */
	gy_setting_take(&setting);
	cr_assert_eq(setting.done, setting.seq - 1);
	cr_assert_eq(gy_option(GY_OPT_cache_idle), 88u);
	setting.seq++;
	gy_setting_take(&setting);
	cr_assert_eq(gy_option(GY_OPT_cache_idle), 77u);
}

/* What the collector's pacer took over at its start follows. */
Test(setting, the_pacer_is_told)
{
	struct gyre_control_setting setting = {.seq = 0};
	struct gy_pace pace;

	cr_assert_eq(ask(&setting, "gc_percent", "300"), 0); /* before its start */
	gy_pacer_init();
	gy_pacer_read(&pace);
	cr_assert_eq(pace.percent, 300);
	cr_assert_eq(ask(&setting, "gc_percent", "50"), 0);
	gy_pacer_read(&pace);
	cr_assert_eq(pace.percent, 50);
	cr_assert_eq(ask(&setting, "gc_percent", "0"), 0);
	gy_pacer_read(&pace);
	cr_assert_lt(pace.percent, 0);
	cr_assert_eq(ask(&setting, "gc_percent", "100"), 0);
	cr_assert_eq(ask(&setting, "gc_minimum", "123M"), 0);
	gy_pacer_read(&pace);
	cr_assert_eq(pace.goal_bytes, 123u << 20);
	cr_assert_eq(ask(&setting, "gc_memory_limit", "64M"), 0);
	gy_pacer_read(&pace);
	cr_assert_eq(pace.limit_bytes, 64u << 20);
	cr_assert_leq(pace.goal_bytes, 64u << 20);
	cr_assert_eq(ask(&setting, "gc_memory_limit", "1"), 0);
	gy_pacer_read(&pace);
	cr_assert_eq(pace.limit_bytes, 0u);
	cr_assert_eq(gyre_option_set("gc_percent", 200), 0); /* the same by call */
	gy_pacer_read(&pace);
	cr_assert_eq(pace.percent, 200);
}
