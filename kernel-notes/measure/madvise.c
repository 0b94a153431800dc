/* madvise.c - what it costs to have pages, small and huge, and to give them back.
 *
 * Answers for the page heap: is a huge page cheaper to fault in than its 512 small ones; what does
 * DONTNEED cost on each; what does giving back a part of a huge page do; what does COLD change about
 * that; can COLLAPSE make small pages huge again.
 */
#include "measure.h"

#define HUGE_COUNT 64ul

static double time_touch(char *start, size_t bytes, int advice)
{
	double begin;

	madvise(start, bytes, MADV_DONTNEED);
	madvise(start, bytes, advice);
	begin = now_us();
	touch(start, bytes);
	return now_us() - begin;
}

static double time_advice(char *start, size_t bytes, int advice)
{
	double begin = now_us();

	if (madvise(start, bytes, advice))
		return -1;
	return now_us() - begin;
}

static double huge_kb(const char *start)
{
	/* AnonHugePages of the mapping that begins at `start` */
	char line[512], want[32];
	bool inside = false;
	long long total = 0;
	FILE *file = fopen("/proc/self/smaps", "r");

	snprintf(want, sizeof(want), "%lx-", (unsigned long)start);
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, want, strlen(want)))
			inside = true;
		else if (inside && !strncmp(line, "AnonHugePages:", 14)) {
			total = strtoll(line + 14, NULL, 10);
			break;
		}
	}
	if (file)
		fclose(file);
	return (double)total;
}

static void measure_faults(char *start, size_t bytes)
{
	struct samples small = {0}, huge = {0}, drop_small = {0}, drop_huge = {0};

	for (int i = 0; i < REPEATS; i++) {
		sample_add(&small, time_touch(start, bytes, MADV_NOHUGEPAGE) / HUGE_COUNT);
		sample_add(&drop_small, time_advice(start, bytes, MADV_DONTNEED) / HUGE_COUNT);
		sample_add(&huge, time_touch(start, bytes, MADV_HUGEPAGE) / HUGE_COUNT);
		if (!i)
			report("huge pages that MADV_HUGEPAGE gave, of 64", huge_kb(start) / 2048, "");
		sample_add(&drop_huge, time_advice(start, bytes, MADV_DONTNEED) / HUGE_COUNT);
	}
	report("first touch of 2 MiB as 512 small pages", sample_median(&small), "us");
	report("first touch of 2 MiB as one huge page", sample_median(&huge), "us");
	report("DONTNEED of 2 MiB in small pages", sample_median(&drop_small), "us");
	report("DONTNEED of 2 MiB in one huge page", sample_median(&drop_huge), "us");
}

static double cgroup_mb(void)
{
	char folder[512], path[600];
	const char *usage;

	if (!own_cgroup(folder, sizeof(folder), &usage))
		return -1;
	snprintf(path, sizeof(path), "%s/%s", folder, usage);
	return (double)read_number(path, NULL) / (double)MIB;
}

static void measure_partial(char *start, size_t bytes, bool cold)
{
	struct samples advise_cold = {0}, drop = {0};
	double before, charged;
	char text[96];

	time_touch(start, bytes, MADV_HUGEPAGE);
	before = resident_mb();
	charged = cgroup_mb();
	for (size_t at = 0; at < bytes; at += HUGE_BYTES) {
		if (cold)
			sample_add(&advise_cold,
				   time_advice(start + at + MIB, MIB, MADV_COLD));
		sample_add(&drop, time_advice(start + at + MIB, MIB, MADV_DONTNEED));
	}
	if (cold)
		report("MADV_COLD of half a huge page (it is split)", sample_median(&advise_cold), "us");
	report(cold ? "DONTNEED of half a huge page after COLD" : "DONTNEED of half a huge page",
	       sample_median(&drop), "us");
	snprintf(text, sizeof(text), "  RSS given back by half of 64 huge pages%s", cold ? ", COLD first" : "");
	report(text, before - resident_mb(), "MiB");
	snprintf(text, sizeof(text), "  cgroup charge given back%s (group's total; other users add noise)",
		 cold ? ", COLD first" : "");
	if (charged > 0)
		report(text, charged - cgroup_mb(), "MiB");
	madvise(start, bytes, MADV_DONTNEED);
}

static void measure_collapse(char *start, size_t bytes)
{
	struct samples all = {0};

	time_touch(start, bytes, MADV_NOHUGEPAGE);
	madvise(start, bytes, MADV_HUGEPAGE);
	for (size_t at = 0; at < bytes; at += HUGE_BYTES) {
		double took = time_advice(start + at, HUGE_BYTES, MADV_COLLAPSE);

		if (took < 0) {
			report_text("MADV_COLLAPSE", strerror(errno));
			return;
		}
		sample_add(&all, took);
	}
	report("COLLAPSE of 512 small pages into a huge one", sample_median(&all), "us");
	report("  huge pages after it, of 64", huge_kb(start) / 2048, "");
}

int main(void)
{
	size_t bytes = HUGE_COUNT * HUGE_BYTES;
	/* a guard at each end keeps this mapping one line of smaps */
	char *around = map_aligned(bytes + 2 * HUGE_BYTES, HUGE_BYTES, PROT_NONE);
	char *start = around + HUGE_BYTES;

	report_machine();
	mprotect(start, bytes, PROT_READ | PROT_WRITE);
	touch(start, bytes);
	measure_faults(start, bytes);
	measure_partial(start, bytes, false);
	measure_partial(start, bytes, true);
	measure_collapse(start, bytes);
	return 0;
}
