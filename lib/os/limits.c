/* limits.c - see limits.h; kernel-notes/limits.md. */
#include "os/limits.h"

#include "base/config.h"
#include "base/format.h"
#include "os/clock.h"
#include "os/sys.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNLIMITED_V1 (1ull << 60) /* v1 says "no limit" with a number near 2^63 */
#define LEVELS 32
#define REREAD_NS 1000000000ull
#define NEAR_DIVISOR 8 /* within an eighth of the limit, use is read each time */
/* What is handed out shows in the cgroup's use only when it is touched, a huge page at a time. So
 * this much stays free below the limit: a sixty-fourth, at least MARGIN_LEAST, at most an eighth.
 * */
#define MARGIN_DIVISOR 64
#define MARGIN_LEAST ((uint64_t)4 << 20)

static uint64_t parse_u64(const char *text)
{
	uint64_t value = 0;

	while (*text >= '0' && *text <= '9')
		value = value * 10 + (uint64_t)(*text++ - '0');
	return value;
}

/* The number in a one-line file; `none` where it lacks or says "max". */
static uint64_t read_number(const char *root, const char *directory, const char *file,
			    uint64_t none)
{
	char path[512], buffer[64];
	struct gy_text text = GY_TEXT(path);

	gy_text_add(&text, root);
	gy_text_add(&text, directory);
	gy_text_add(&text, "/");
	gy_text_add(&text, file);
	if (gy_sys_read_file(path, buffer, sizeof(buffer)) <= 0 || buffer[0] < '0' ||
	    buffer[0] > '9')
		return none;
	return parse_u64(buffer);
}

/* Bytes of page cache, which the kernel takes back before it kills. */
static uint64_t read_page_cache(const char *root, const char *directory, const char *const keys[2])
{
	static char buffer[8192]; /* [lock: page_heap] too large for a small thread's stack */
	char path[512];
	struct gy_text text = GY_TEXT(path);
	uint64_t bytes = 0;

	gy_text_add(&text, root);
	gy_text_add(&text, directory);
	gy_text_add(&text, "/memory.stat");
	if (gy_sys_read_file(path, buffer, sizeof(buffer)) <= 0)
		return 0;
	for (const char *line = buffer; line && *line;) {
		for (unsigned i = 0; i < 2; i++) {
			size_t length = strlen(keys[i]);

			if (strncmp(line, keys[i], length) == 0 && line[length] == ' ')
				bytes += parse_u64(line + length + 1);
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return bytes;
}

struct hierarchy {
	const char *mount, *limit, *usage;
	const char *cache[2];
};

static const struct hierarchy v2 = {
	"/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file", "active_file"}};
static const struct hierarchy v1 = {"/sys/fs/cgroup/memory",
				    "memory.limit_in_bytes",
				    "memory.usage_in_bytes",
				    {"total_inactive_file", "total_active_file"}};

/* Walks from our group up to the root; the tightest level (least room) wins. */
static void read_levels(const char *root, const struct hierarchy *kind, const char *group,
			struct gy_cgroup_memory *memory)
{
	char directory[384];
	struct gy_text text = GY_TEXT(directory);
	size_t mount = strlen(kind->mount);
	uint64_t least_room = UINT64_MAX;

	directory[0] = '\0';
	gy_text_add(&text, kind->mount);
	gy_text_add(&text, group);
	for (unsigned level = 0; level < LEVELS; level++) {
		uint64_t limit = read_number(root, directory, kind->limit, UNLIMITED_V1);
		char *slash;

		if (limit < UNLIMITED_V1) {
			uint64_t usage = read_number(root, directory, kind->usage, 0);
			uint64_t cache = read_page_cache(root, directory, kind->cache);

			usage -= MIN(usage, cache);
			if (limit - MIN(limit, usage) < least_room) {
				least_room = limit - MIN(limit, usage);
				memory->limit = limit;
				memory->usage = usage;
			}
		}
		slash = strrchr(directory, '/');
		if (!slash || (size_t)(slash - directory) < mount)
			break;
		*slash = '\0';
	}
}

void gy_cgroup_read(const char *root, const char *self, struct gy_cgroup_memory *memory)
{
	memory->limit = memory->usage = 0;
	for (const char *line = self; line && *line;) {
		const char *end = strchrnul(line, '\n');
		const char *controllers = memchr(line, ':', (size_t)(end - line));
		const char *group =
			controllers ? memchr(controllers + 1, ':', (size_t)(end - controllers - 1))
				    : NULL;

		if (group) {
			char name[320];
			size_t length = MIN((size_t)(end - group - 1), sizeof(name) - 1);
			size_t list = (size_t)(group - controllers - 1);

			memcpy(name, group + 1, length);
			name[length] = '\0';
			if (list == 0)
				read_levels(root, &v2, name, memory);
			else if (memmem(controllers + 1, list, "memory", 6))
				read_levels(root, &v1, name, memory);
			if (memory->limit)
				return;
		}
		line = *end ? end + 1 : NULL;
	}
}

static struct {
	struct gy_cgroup_memory memory; /* [lock: page_heap] */
	uint64_t read_ns;               /* when; 0: never */
	uint64_t granted;               /* bytes allowed since */
} cgroup;

static void cgroup_refresh(uint64_t now_ns)
{
	static char self[4096]; /* [lock: page_heap] */

	cgroup.memory.limit = cgroup.memory.usage = 0;
	if (gy_sys_read_file("/proc/self/cgroup", self, sizeof(self)) > 0)
		gy_cgroup_read("", self, &cgroup.memory);
	cgroup.read_ns = now_ns;
	cgroup.granted = 0;
}

static uint64_t margin_of(uint64_t limit)
{
	return MIN(MAX(limit / MARGIN_DIVISOR, MARGIN_LEAST), limit / NEAR_DIVISOR);
}

bool gy_limit_memory(uint64_t more, uint64_t unasked, uint64_t resident, uint64_t *limit)
{
	uint64_t fixed = gy_option(GY_OPT_memory_limit), now_ns, use;

	*limit = fixed > 1 ? fixed : 0;
	if (fixed == 1)
		return true;
	if (fixed > 1)
		return resident + more <= fixed;
	now_ns = gy_now_ns();
	if (!cgroup.read_ns || now_ns - cgroup.read_ns > REREAD_NS)
		cgroup_refresh(now_ns);
	if (!cgroup.memory.limit)
		return true;
	cgroup.granted += unasked;
	use = cgroup.memory.usage + cgroup.granted + more;
	if (use > cgroup.memory.limit - cgroup.memory.limit / NEAR_DIVISOR && cgroup.granted) {
		cgroup_refresh(now_ns);
		use = cgroup.memory.usage + more;
	}
	*limit = cgroup.memory.limit;
	if (!cgroup.memory.limit)
		return true;
	if (use > cgroup.memory.limit - margin_of(cgroup.memory.limit))
		return false;
	cgroup.granted += more;
	return true;
}

bool gy_limit_address_space(uint64_t more, uint64_t reserved, uint64_t usable)
{
	struct rlimit limit;
	char buffer[128];
	uint64_t mapped;

	if (gy_sys_getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return true;
	if (gy_sys_read_file("/proc/self/statm", buffer, sizeof(buffer)) <= 0)
		return true;
	mapped = parse_u64(buffer) * (uint64_t)sysconf(_SC_PAGESIZE);
	/* What is reserved and not usable does not count: it would not exist with mmap. The side
	 * arrays' unused part is about a five-hundredth of it. */
	mapped -= MIN(mapped, reserved - usable + (reserved - usable) / 512);
	return mapped + more <= limit.rlim_cur;
}

/* Bytes of a line "Name:   123 kB" of /proc/meminfo; 0 where it lacks. */
static uint64_t meminfo_bytes(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	if (!at)
		return 0;
	at += strlen(name);
	while (*at == ' ')
		at++;
	return parse_u64(at) * 1024;
}

/* The reservation is MAP_NORESERVE, so making part of it usable is never refused by the heuristic
 * of vm.overcommit_memory=0 (no single request above all memory and swap). A program that asks for
 * the absurd should hear NULL, as it does with mmap. Mode 1 promises everything, and in mode 2 the
 * kernel counts although it was asked not to. Without /proc, nothing is known and nothing refused.
 */
bool gy_limit_single_request(uint64_t bytes)
{
	static char text[4096]; /* [lock: page_heap] */
	uint64_t memory;

	if (gy_sys_read_file("/proc/sys/vm/overcommit_memory", text, sizeof(text)) <= 0 ||
	    text[0] != '0')
		return true;
	if (gy_sys_read_file("/proc/meminfo", text, sizeof(text)) <= 0)
		return true;
	memory = meminfo_bytes(text, "MemTotal:");
	return !memory || bytes <= memory + meminfo_bytes(text, "SwapTotal:");
}
