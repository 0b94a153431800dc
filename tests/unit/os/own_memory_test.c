/* own_memory_test.c - which ranges are noted as the library's own. */
#include "os/own_memory.h"

#include "os/vm.h"

#include "unit/unit.h"

static struct gy_own_range ranges[4096];

/* Is every byte of [start, end) noted, or (false) none? */
static bool is_noted(uintptr_t start, uintptr_t end, bool noted)
{
	size_t count = gy_own_memory_copy(ranges, ARRAY_SIZE(ranges));
	uintptr_t covered = 0;

	for (size_t i = 0; i < count; i++) {
		uintptr_t low = MAX(start, ranges[i].start), high = MIN(end, ranges[i].end);

		covered += low < high ? high - low : 0;
	}
	return covered == (noted ? end - start : 0);
}

Test(own_memory, OWN_1_neighbours_are_joined_and_holes_cut)
{
	const uintptr_t base = 0x100000000000u;
	size_t count = gy_own_memory_copy(ranges, ARRAY_SIZE(ranges));

	gy_own_memory_add((void *)base, 4096);
	gy_own_memory_add((void *)(base + 8192), 4096);
	cr_assert_eq(gy_own_memory_copy(ranges, ARRAY_SIZE(ranges)), count + 2);
	gy_own_memory_add((void *)(base + 4096), 4096);
	cr_assert_eq(gy_own_memory_copy(ranges, ARRAY_SIZE(ranges)), count + 1);
	cr_assert(is_noted(base, base + 12288, true));
	gy_own_memory_remove((void *)(base + 4096), 4096);
	cr_assert(is_noted(base, base + 4096, true));
	cr_assert(is_noted(base + 4096, base + 8192, false));
	cr_assert(is_noted(base + 8192, base + 12288, true));
	gy_own_memory_remove((void *)base, 4096);
	gy_own_memory_remove((void *)(base + 8192), 4096);
	cr_assert_eq(gy_own_memory_copy(ranges, ARRAY_SIZE(ranges)), count);
}

Test(own_memory, many_ranges)
{
	const uintptr_t base = 0x200000000000u;
	const unsigned most = 2000;

	for (unsigned i = 0; i < most; i++)
		gy_own_memory_add((void *)(base + i * 8192ul), 4096);
	for (unsigned i = 0; i < most; i += 97) {
		cr_assert(is_noted(base + i * 8192ul, base + i * 8192ul + 4096, true));
		cr_assert(is_noted(base + i * 8192ul + 4096, base + (i + 1) * 8192ul, false));
	}
	for (unsigned i = 0; i < most; i++)
		gy_own_memory_remove((void *)(base + i * 8192ul), 4096);
	cr_assert(is_noted(base, base + most * 8192ul, false));
}

Test(own_memory, what_vm_maps_is_noted_until_it_is_unmapped)
{
	void *mapped;
	uintptr_t start;

	cr_assert_eq(gy_vm_map(&mapped, 65536), 0);
	start = (uintptr_t)mapped;
	cr_assert(is_noted(start, start + 65536, true));
	cr_assert_eq(gy_vm_unmap(mapped, 65536), 0);
	cr_assert(is_noted(start, start + 65536, false));
}
