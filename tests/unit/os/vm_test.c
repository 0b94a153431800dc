/* vm_test.c - address space: reserve, commit, move; what memory reads as afterwards. */
#include "os/vm.h"

#include "base/config.h"
#include "os/sys.h"

#include "unit/unit.h"

#define MB ((size_t)1 << 20)

Test(vm, reserved_is_aligned_counted_by_nobody_and_not_accessible)
{
	for (size_t alignment = 4096; alignment <= 64 * MB; alignment *= 4) {
		void *start = NULL;

		cr_assert_eq(gy_vm_reserve(&start, 32 * MB, alignment), 0);
		cr_assert_eq((uintptr_t)start % alignment, 0u);
		cr_assert_not(gy_sys_readable(start));
		cr_assert_not(gy_sys_readable((char *)start + 32 * MB - 8));
		cr_assert_eq(gy_vm_commit((char *)start + MB, MB), 0);
		cr_assert_eq(unit_resident(start, 32 * MB), 0u);
		cr_assert_not(gy_sys_readable(start));
		cr_assert(gy_sys_readable((char *)start + MB));
		cr_assert_eq(gy_vm_unmap(start, 32 * MB), 0);
	}
}

Test(vm, what_is_cut_off_for_alignment_is_given_back)
{
	void *first = NULL, *second = NULL;
	char buffer[128];
	long before, after;

	cr_assert_eq(gy_vm_reserve(&first, MB, 4096), 0);
	gy_sys_read_file("/proc/self/statm", buffer, sizeof(buffer));
	before = strtol(buffer, NULL, 10);
	cr_assert_eq(gy_vm_reserve(&second, 16 * MB, 64 * MB), 0);
	gy_sys_read_file("/proc/self/statm", buffer, sizeof(buffer));
	after = strtol(buffer, NULL, 10);
	cr_assert_leq(after - before, (long)(17 * MB / 4096));
	gy_vm_unmap(first, MB);
	gy_vm_unmap(second, 16 * MB);
}

Test(vm, committed_memory_reads_as_zero_and_can_be_written)
{
	void *start = NULL;

	cr_assert_eq(gy_vm_reserve(&start, 8 * MB, 2 * MB), 0);
	cr_assert_eq(gy_vm_commit(start, 8 * MB), 0);
	for (size_t i = 0; i < 8 * MB; i += 4096) {
		cr_assert_eq(((char *)start)[i], 0);
		((char *)start)[i] = 1;
	}
	cr_assert_eq(unit_resident(start, 8 * MB), 8 * MB);
	/* making usable what is usable already changes nothing */
	cr_assert_eq(gy_vm_commit(start, 8 * MB), 0);
	for (size_t i = 0; i < 8 * MB; i += 4096)
		cr_assert_eq(((char *)start)[i], 1);
}

Test(vm, fresh_mapping_is_zero)
{
	void *start = NULL;

	cr_assert_eq(gy_vm_map(&start, MB), 0);
	for (size_t i = 0; i < MB; i++)
		cr_assert_eq(((char *)start)[i], 0);
	cr_assert_eq(gy_vm_unmap(start, MB), 0);
}

Test(vm, pages_are_moved_and_leave_zeros)
{
	char *start = NULL;
	size_t resident;

	cr_assert_eq(gy_vm_reserve((void **)&start, 16 * MB, 2 * MB), 0);
	cr_assert_eq(gy_vm_commit(start, 16 * MB), 0);
	for (size_t i = 0; i < 4 * MB; i++)
		start[i] = (char)(i / 4096 + 1);
	memset(start + 8 * MB, 0x55, 4 * MB); /* dropped by the move */
	resident = unit_resident(start, 16 * MB);
	cr_assert_eq(gy_vm_move(start, 4 * MB, start + 8 * MB), 0);
	for (size_t i = 0; i < 4 * MB; i++)
		cr_assert_eq(start[8 * MB + i], (char)(i / 4096 + 1), "byte %zu", i);
	cr_assert_eq(unit_resident(start, 4 * MB), 0u);
	cr_assert_eq(unit_resident(start, 16 * MB), resident - 4 * MB);
	for (size_t i = 0; i < 4 * MB; i += 512)
		cr_assert_eq(start[i], 0);
	start[0] = 1; /* still usable */
}

Test(vm, advice_about_huge_pages_is_accepted_or_named)
{
	char *start = NULL;
	int error;

	cr_assert_eq(gy_vm_reserve((void **)&start, 8 * MB, 2 * MB), 0);
	cr_assert_eq(gy_vm_commit(start, 8 * MB), 0);
	error = gy_vm_want_hugepages(start, 4 * MB);
	cr_assert(error == 0 || error == -EINVAL, "%d", error);
	error = gy_vm_no_hugepages(start + 4 * MB, 2 * MB);
	cr_assert(error == 0 || error == -EINVAL, "%d", error);
	memset(start, 1, 2 * MB);
	error = gy_vm_collapse(start, 2 * MB);
	cr_assert(error == 0 || error == -EINVAL || error == -ENOMEM || error == -EAGAIN ||
			  error == -EBUSY,
		  "%d", error);
	for (size_t i = 0; i < 2 * MB; i++)
		cr_assert_eq(start[i], 1);
	gy_vm_exclude_from_dump(start, 8 * MB);
}

Test(vm, refusals_come_back_as_errors)
{
	void *start = NULL, *before;

	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mmap;
	cr_assert_eq(gy_vm_reserve(&start, MB, 4096), -ENOMEM);
	cr_assert_eq(gy_vm_map(&start, MB), -ENOMEM);
	gy_option_values[GY_OPT_fault_call] = 0;
	cr_assert_eq(gy_vm_reserve(&start, 4 * MB, 2 * MB), 0);
	before = start;
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mprotect;
	cr_assert_eq(gy_vm_commit(start, MB), -ENOMEM);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mremap;
	cr_assert_eq(gy_vm_move(start, MB, (char *)start + 2 * MB), -ENOMEM);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_munmap; /* a failed trim is no failure */
	cr_assert_eq(gy_vm_reserve(&start, 4 * MB, 2 * MB), 0);
	cr_assert_neq(start, before);
}
