/* memfd.c - the control page's ground: a sealed memfd, opened by others through /proc/PID/fd.
 *
 * Checks that the seals hold, that an opener sees what the owner writes, that the link says its
 * name, and what it all costs.
 */
#include "measure.h"

#include <fcntl.h>
#include <sys/wait.h>

int main(void)
{
	enum { PAGE_BYTES = 1 << 20 };
	struct samples create = {0}, look = {0};
	char path[64], link[128] = "";
	volatile char *ours, *theirs;
	int fd = -1, other, high, seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	ssize_t length;

	report_machine();
	for (int i = 0; i < REPEATS; i++) {
		double begin = now_us();

		if (fd >= 0)
			close(fd);
		fd = memfd_create("gyre-measure", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (fd < 0 || ftruncate(fd, PAGE_BYTES)) {
			report_result("memfd_create", -1);
			return 0;
		}
		if (fcntl(fd, F_ADD_SEALS, seals))
			report_result("F_ADD_SEALS", -1);
		sample_add(&create, now_us() - begin);
	}
	report("create, size and seal", sample_median(&create), "us");
	report_result("make it longer after the seal", ftruncate(fd, 2 * PAGE_BYTES));
	report_result("make it shorter after the seal", ftruncate(fd, PAGE_BYTES / 2));
	report_result("add a seal after F_SEAL_SEAL", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));

	high = fcntl(fd, F_DUPFD_CLOEXEC, 700);
	report_result("move it to a descriptor from 700 up", high);
	ours = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (int i = 0; i < REPEATS; i++) {
		double begin = now_us();

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), high < 0 ? fd : high);
		other = open(path, O_RDONLY | O_CLOEXEC);
		theirs = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, other, 0);
		sample_add(&look, now_us() - begin);
		ours[i] = (char)(i + 1);
		if (other < 0 || theirs == MAP_FAILED || theirs[i] != i + 1) {
			report_text("an opener sees what the owner writes", "NO");
			return 1;
		}
		munmap((void *)(uintptr_t)theirs, PAGE_BYTES);
		close(other);
	}
	report_text("an opener sees what the owner writes", "works");
	report("open through /proc/PID/fd and map", sample_median(&look), "us");
	length = readlink(path, link, sizeof(link) - 1);
	report_text("what the link in /proc/PID/fd says", length > 0 ? link : strerror(errno));

	if (fork() == 0) {
		/* someone else, who may not ptrace us */
		if (setgid(65534) || setuid(65534))
			_exit(2);
		_exit(open(path, O_RDONLY) < 0 && errno == EACCES ? 0 : 1);
	}
	{
		int status = 0;

		wait(&status);
		report_text("another user's open of it",
			    WEXITSTATUS(status) == 0   ? "Permission denied, as it should be"
			    : WEXITSTATUS(status) == 2 ? "not tried: needs root to change user"
						       : "IS ALLOWED");
	}
	return 0;
}
