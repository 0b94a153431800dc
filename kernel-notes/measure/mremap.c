/* mremap.c - growing a large block: by moving its page tables, or by copying its bytes.
 *
 * Also what MREMAP_DONTUNMAP leaves behind: the old place stays mapped and reads as zero, which is
 * what lets a block leave the heap's one range without tearing a hole into it.
 */
#include "measure.h"

static void fresh(char *start, size_t bytes, int advice)
{
	madvise(start, bytes, MADV_DONTNEED);
	madvise(start, bytes, advice);
	touch(start, bytes);
}

static double time_copy(char *from, size_t bytes, char *to)
{
	double begin = now_us();

	memcpy(to, from, bytes);
	return now_us() - begin;
}

static void measure_size(size_t bytes, int advice, const char *pages)
{
	char *from = map_aligned(4 * bytes + 4 * HUGE_BYTES, HUGE_BYTES, PROT_READ | PROT_WRITE);
	char *to = map_aligned(4 * bytes + 4 * HUGE_BYTES, HUGE_BYTES, PROT_READ | PROT_WRITE);
	struct samples congruent = {0}, crooked = {0}, copy = {0}, copy_fresh = {0};
	char text[96];
	bool zero = true;

	for (int i = 0; i < 9; i++) {
		double begin;

		fresh(from, bytes, advice);
		madvise(to, 2 * bytes, MADV_DONTNEED);
		begin = now_us();
		if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == MAP_FAILED) {
			report_result("MREMAP_DONTUNMAP", -1);
			return;
		}
		sample_add(&congruent, now_us() - begin);
		for (size_t at = 0; at < bytes; at += 64 * KIB)
			zero &= from[at] == 0 && to[at] == 1;

		fresh(from, bytes, advice);
		begin = now_us();
		if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to + 8 * KIB) ==
		    MAP_FAILED)
			return;
		sample_add(&crooked, now_us() - begin);

		fresh(from, bytes, advice);
		madvise(to, 2 * bytes, MADV_DONTNEED);
		madvise(to, 2 * bytes, advice);
		sample_add(&copy_fresh, time_copy(from, bytes, to));
		sample_add(&copy, time_copy(from, bytes, to));
	}
	snprintf(text, sizeof(text), "%lu KiB in %s pages: move, same offset within 2 MiB", bytes / KIB, pages);
	report(text, sample_median(&congruent), "us");
	snprintf(text, sizeof(text), "%lu KiB in %s pages: move, other offset within 2 MiB", bytes / KIB, pages);
	report(text, sample_median(&crooked), "us");
	snprintf(text, sizeof(text), "%lu KiB in %s pages: copy into fresh memory", bytes / KIB, pages);
	report(text, sample_median(&copy_fresh), "us");
	snprintf(text, sizeof(text), "%lu KiB in %s pages: copy into resident memory", bytes / KIB, pages);
	report(text, sample_median(&copy), "us");
	if (!zero)
		report_text("the old side reads as zero, the new side has the bytes", "NO");
	munmap(from, 4 * bytes + 4 * HUGE_BYTES);
	munmap(to, 4 * bytes + 4 * HUGE_BYTES);
}

int main(void)
{
	report_machine();
	measure_size(128 * KIB, MADV_NOHUGEPAGE, "small");
	measure_size(MIB, MADV_NOHUGEPAGE, "small");
	measure_size(16 * MIB, MADV_NOHUGEPAGE, "small");
	measure_size(16 * MIB, MADV_HUGEPAGE, "huge");
	measure_size(64 * MIB, MADV_HUGEPAGE, "huge");
	return 0;
}
