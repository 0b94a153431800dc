/* vm.c - see vm.h; kernel-notes/reservation.md, kernel-notes/mremap.md. */
#include "os/vm.h"

#include "base/bits.h"
#include "os/own_memory.h"
#include "os/sys.h"

#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

int gy_vm_reserve(void **start, size_t bytes, size_t alignment)
{
	uintptr_t begin, aligned;
	void *mapped = NULL;
	int error;

	error = gy_sys_mmap(&mapped, bytes + alignment, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (error)
		return error;
	begin = (uintptr_t)mapped;
	aligned = gy_round_up(begin, alignment);
	/* A failed trim leaves address space reserved, nothing worse. */
	if (aligned > begin)
		gy_sys_munmap(mapped, aligned - begin);
	if (begin + alignment > aligned)
		gy_sys_munmap((void *)(aligned + bytes), begin + alignment - aligned);
	*start = (void *)aligned;
	gy_own_memory_add(*start, bytes);
	return 0;
}

int gy_vm_commit(void *start, size_t bytes)
{
	return gy_sys_mprotect(start, bytes, PROT_READ | PROT_WRITE);
}

int gy_vm_map(void **start, size_t bytes)
{
	int error;

	*start = NULL;
	error = gy_sys_mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (!error)
		gy_own_memory_add(*start, bytes);
	return error;
}

int gy_vm_unmap(void *start, size_t bytes)
{
	int error;

	/* First: what the kernel maps there next is another's. */
	gy_own_memory_remove(start, bytes);
	error = gy_sys_munmap(start, bytes);
	if (error)
		gy_own_memory_add(start, bytes);
	return error;
}

int gy_vm_want_hugepages(void *start, size_t bytes)
{
	return gy_sys_madvise(start, bytes, MADV_HUGEPAGE);
}

int gy_vm_no_hugepages(void *start, size_t bytes)
{
	return gy_sys_madvise(start, bytes, MADV_NOHUGEPAGE);
}

int gy_vm_collapse(void *start, size_t bytes)
{
	return gy_sys_madvise(start, bytes, MADV_COLLAPSE);
}

int gy_vm_move(void *from, size_t bytes, void *to)
{
	return gy_sys_mremap(from, bytes, to, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP);
}

void gy_vm_exclude_from_dump(void *start, size_t bytes)
{
	gy_sys_madvise(start, bytes, MADV_DONTDUMP);
}
