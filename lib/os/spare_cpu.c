/* spare_cpu.c - see spare_cpu.h; proc_uptime(5), Documentation/admin-guide/cgroup-v2.rst. */
#include "os/spare_cpu.h"

#include "base/format.h"
#include "os/clock.h"
#include "os/sys.h"

#include <sched.h>
#include <string.h>
#include <time.h>

#define LEVELS 32
#define NO_QUOTA UINT32_MAX

static uint64_t cpu_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* "49723.63 22987.33": since the start, and the sum over processors of their idle time. */
uint64_t gy_spare_cpu_idle_ns(const char *uptime)
{
	const char *at = strchr(uptime, ' '), *dot = at ? strchr(at, '.') : NULL;

	if (!dot || dot == at + 1 || strspn(dot + 1, "0123456789") != 2)
		return 0;
	return gy_text_number(at + 1, 10) * 1000000000u + gy_text_number(dot + 1, 10) * 10000000u;
}

static uint64_t idle_ns(void)
{
	char text[128];
	ssize_t got = gy_sys_read_file("/proc/uptime", text, sizeof(text));

	return got > 0 ? gy_spare_cpu_idle_ns(text) : 0;
}

/* ------------------------------------------------------------------ quota */

/* "max 100000" or "150000 100000": microseconds of every so many. */
static uint32_t quota_of(const char *directory)
{
	char path[512], text[64];
	struct gy_text name = GY_TEXT(path);
	uint64_t quota, period;
	const char *at;

	gy_text_add(&name, directory);
	gy_text_add(&name, "/cpu.max");
	if (gy_sys_read_file(path, text, sizeof(text)) <= 0 || *text < '0' || *text > '9')
		return NO_QUOTA;
	at = strchr(text, ' ');
	quota = gy_text_number(text, 10);
	period = at ? gy_text_number(at + 1, 10) : 0;
	if (!period || quota > UINT32_MAX || quota * 1000 / period >= NO_QUOTA)
		return NO_QUOTA;
	return (uint32_t)(quota * 1000 / period);
}

uint32_t gy_spare_cpu_quota(const char *root, const char *self)
{
	char directory[384], *group;
	struct gy_text text = GY_TEXT(directory);
	const char *line = strstr(self, "0::/");
	uint32_t least = NO_QUOTA;
	size_t mount;

	if (!line)
		return least;
	directory[0] = '\0';
	gy_text_add(&text, root);
	gy_text_add(&text, "/sys/fs/cgroup");
	mount = strlen(directory);
	gy_text_add(&text, line + 3);
	group = directory + mount;
	group[strcspn(group, "\n")] = '\0';
	for (unsigned level = 0; level < LEVELS; level++) {
		char *slash = strrchr(group, '/');
		uint32_t quota = quota_of(directory);

		least = MIN(least, quota);
		if (!slash)
			break;
		*slash = '\0';
	}
	return least;
}

/* ------------------------------------------------------------------ in all */

/* "0-3,8": how many these are. The C library's count of them needs its locale (NATIVE-2). */
uint32_t gy_spare_cpu_count(const char *list)
{
	uint64_t count = 0;

	while (*list >= '0' && *list <= '9') {
		uint64_t first = gy_text_number(list, 10), last = first;

		list += strspn(list, "0123456789");
		if (*list == '-') {
			last = gy_text_number(++list, 10);
			list += strspn(list, "0123456789");
		}
		count += last >= first ? last - first + 1 : 0;
		list += *list == ',';
	}
	return (uint32_t)MIN(count, (uint64_t)UINT32_MAX / 1000);
}

static uint32_t processors_away(void)
{
	char list[1024];
	uint32_t online = 0, allowed;
	cpu_set_t set;

	if (gy_sys_read_file("/sys/devices/system/cpu/online", list, sizeof(list)) > 0)
		online = gy_spare_cpu_count(list);
	if (sched_getaffinity(0, sizeof(set), &set))
		return 0; /* more than 1,024: not told */
	allowed = (uint32_t)CPU_COUNT(&set);
	return online > allowed ? online - allowed : 0;
}

static void note(struct gy_spare_cpu *spare)
{
	spare->wall_ns = gy_now_ns();
	spare->idle_ns = idle_ns();
	spare->process_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
	spare->thread_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
}

void gy_spare_cpu_begin(struct gy_spare_cpu *spare)
{
	char self[1024];

	*spare = (struct gy_spare_cpu){.quota_permille = NO_QUOTA, .away = processors_away()};
	if (gy_sys_read_file("/proc/self/cgroup", self, sizeof(self)) > 0)
		spare->quota_permille = gy_spare_cpu_quota("", self);
	note(spare);
}

/* Thousandths of the time that has passed; of what is not told, or runs backwards, none. */
static uint64_t part(uint64_t now, uint64_t before, uint64_t wall_ns)
{
	return before && now > before ? (now - before) * 1000 / wall_ns : 0;
}

uint32_t gy_spare_cpu_read(struct gy_spare_cpu *spare)
{
	struct gy_spare_cpu before = *spare;
	uint64_t wall_ns = gy_now_ns() - before.wall_ns, own, idle, others;

	if (wall_ns < GY_SPARE_CPU_NS) /* SPARE-2 */
		return spare->permille;
	note(spare);
	wall_ns = MAX(spare->wall_ns - before.wall_ns, 1u);
	own = part(spare->thread_ns, before.thread_ns, wall_ns);
	idle = part(spare->idle_ns, before.idle_ns, wall_ns);
	if (idle) /* SPARE-1 */
		idle += own;
	idle -= MIN(idle, (uint64_t)before.away * 1000);
	if (before.quota_permille != NO_QUOTA) {
		others = part(spare->process_ns, before.process_ns, wall_ns);
		others = before.quota_permille - MIN(others - MIN(others, own),
						     (uint64_t)before.quota_permille);
		idle = MIN(idle, others);
	}
	spare->permille = (uint32_t)MIN(idle, (uint64_t)UINT32_MAX);
	return spare->permille;
}
