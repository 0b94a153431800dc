/* reservation.c - how much address space can be had, what counts it, and what it costs to use.
 */
#include "measure.h"

#include <sys/resource.h>
#include <sys/wait.h>

static size_t largest(int protection, int flags)
{
	for (size_t bytes = 1ul << 47; bytes >= MIB; bytes /= 2) {
		void *start = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

		if (start != MAP_FAILED) {
			munmap(start, bytes);
			return bytes;
		}
	}
	return 0;
}

static void in_child(void (*run)(void))
{
	fflush(stdout);
	if (fork() == 0) {
		run();
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

static void under_as(void)
{
	struct rlimit limit = {4 * GIB, 4 * GIB};

	setrlimit(RLIMIT_AS, &limit);
	report("largest PROT_NONE mapping under RLIMIT_AS of 4 GiB (power of 2)",
	       (double)largest(PROT_NONE, MAP_NORESERVE) / (double)GIB, "GiB");
}

static void under_data(void)
{
	struct rlimit limit = {4 * GIB, 4 * GIB};
	char *start;

	setrlimit(RLIMIT_DATA, &limit);
	start = mmap(NULL, 64 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	report_result("reserve 64 GiB under RLIMIT_DATA of 4 GiB", start == MAP_FAILED ? -1 : 0);
	if (start == MAP_FAILED)
		return;
	report_result("  make 1 GiB of it writable", mprotect(start, GIB, PROT_READ | PROT_WRITE));
	report_result("  make 8 GiB of it writable", mprotect(start, 8 * GIB, PROT_READ | PROT_WRITE));
}

int main(void)
{
	struct samples grow = {0}, reserve = {0}, spread = {0};
	char *start;

	report_machine();
	report("vm.overcommit_memory", (double)read_number("/proc/sys/vm/overcommit_memory", NULL), "");
	report("largest PROT_NONE mapping (power of 2)",
	       (double)largest(PROT_NONE, MAP_NORESERVE) / (double)(1024 * GIB), "TiB");
	report("largest writable mapping", (double)largest(PROT_READ | PROT_WRITE, 0) / (double)GIB, "GiB");
	report("largest writable mapping with MAP_NORESERVE",
	       (double)largest(PROT_READ | PROT_WRITE, MAP_NORESERVE) / (double)GIB, "GiB");
	for (int i = 0; i < REPEATS; i++) {
		double begin = now_us();

		start = mmap(NULL, 1024 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		sample_add(&reserve, now_us() - begin);
		munmap(start, 1024 * GIB);
	}
	report("reserving 1 TiB", sample_median(&reserve), "us");

	start = map_aligned(16 * GIB, HUGE_BYTES, PROT_NONE);
	for (size_t i = 0; i < 100; i++) {
		double begin = now_us();

		mprotect(start + i * HUGE_BYTES, HUGE_BYTES, PROT_READ | PROT_WRITE);
		sample_add(&grow, now_us() - begin);
	}
	report("making the next 2 MiB usable by mprotect", sample_median(&grow), "us");
	for (size_t i = 0; i < 100; i++) {
		double begin = now_us();

		mprotect(start + 8 * GIB + i * 2 * HUGE_BYTES, HUGE_BYTES, PROT_READ | PROT_WRITE);
		sample_add(&spread, now_us() - begin);
	}
	report("  where its neighbours are not usable (a mapping more each time)", sample_median(&spread), "us");
	report("mappings a process may have (vm.max_map_count)",
	       (double)read_number("/proc/sys/vm/max_map_count", NULL), "");
	munmap(start, 16 * GIB);
	in_child(under_as);
	in_child(under_data);
	return 0;
}
