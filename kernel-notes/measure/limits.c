/* limits.c - the memory limits that bind a process here, and what it costs to ask.
 *
 * Reads its cgroups (v2: memory.max of every level; v1: memory.limit_in_bytes), then, where it may
 * make one, puts a child into a v1 or v2 group of 64 MB and shows how the kernel answers too much.
 */
#include "measure.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int write_text(const char *directory, const char *file, const char *text)
{
	char path[512];
	int fd, result;

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	result = write(fd, text, strlen(text)) < 0 ? -1 : 0;
	close(fd);
	return result;
}

static void show_groups(void)
{
	char line[512];
	FILE *file = fopen("/proc/self/cgroup", "r");

	while (file && fgets(line, sizeof(line), file)) {
		char *group = strchr(line, ':');

		line[strcspn(line, "\n")] = 0;
		if (group && (strstr(group, ":memory:") || !strncmp(group, "::", 2)))
			report_text("group", line);
	}
	if (file)
		fclose(file);
}

/* A child of `directory` limited to 64 MB: what happens to a process that writes to 128. */
static void show_excess(const char *parent, const char *limit_file)
{
	char directory[512], number[32];
	int status = 0;
	pid_t child;

	snprintf(directory, sizeof(directory), "%s/gyre-measure-%d", parent, (int)getpid());
	if (mkdir(directory, 0755)) {
		report_result("making a group under it", -1);
		return;
	}
	if (write_text(directory, limit_file, "67108864")) {
		report_result("setting its limit", -1);
		rmdir(directory);
		return;
	}
	child = fork();
	if (child == 0) {
		char *start;

		snprintf(number, sizeof(number), "%d", (int)getpid());
		if (write_text(directory, "cgroup.procs", number))
			_exit(3);
		start = mmap(NULL, 128 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (start == MAP_FAILED)
			_exit(1);
		touch(start, 128 * MIB);
		_exit(2);
	}
	waitpid(child, &status, 0);
	report_text("128 MB touched under a limit of 64 MB",
		    WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? "SIGKILL, no error before it"
		    : WIFEXITED(status) && WEXITSTATUS(status) == 1    ? "mmap fails"
		    : WIFEXITED(status) && WEXITSTATUS(status) == 3    ? "the group cannot be joined"
								       : "nothing");
	for (int i = 0; i < 50 && rmdir(directory); i++)
		usleep(20000);
}

int main(void)
{
	const char *v1 = "/sys/fs/cgroup/memory", *v2 = "/sys/fs/cgroup";
	struct samples samples = {0};
	bool is_v1 = access("/sys/fs/cgroup/memory/memory.limit_in_bytes", R_OK) == 0;
	const char *limit = is_v1 ? "/sys/fs/cgroup/memory/memory.limit_in_bytes"
				  : "/sys/fs/cgroup/memory.max";

	report_machine();
	show_groups();
	report_text("memory controller", is_v1 ? "v1" : "v2, or none");
	for (int i = 0; i < REPEATS; i++) {
		double begin = now_us();

		read_number(limit, NULL);
		sample_add(&samples, now_us() - begin);
	}
	report("reading one limit file", sample_median(&samples), "us");
	if (is_v1)
		show_excess(v1, "memory.limit_in_bytes");
	else
		show_excess(v2, "memory.max");
	return 0;
}
