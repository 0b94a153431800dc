/* vm.h - address space: reserve, make usable, advise, move.
 *
 * Thin on purpose: policy (what, when, how much) is the page heap's and the scavenger's. Each
 * function returns 0 or -errno and says what the memory reads as afterwards.
 */
#ifndef GY_OS_VM_H
#define GY_OS_VM_H

#include "base/compiler.h"

#define GY_HUGEPAGE_BYTES ((size_t)2 << 20)
#define GY_KERNEL_PAGE_BYTES ((size_t)4096)

/* Reserves `bytes` of PROT_NONE address space aligned to `alignment` (a power of 2). */
int gy_vm_reserve(void **start, size_t bytes, size_t alignment);
/* Makes part of a reservation readable and writable; reads as zero until written. */
int gy_vm_commit(void *start, size_t bytes);
/* Maps fresh zeroed memory anywhere, counted at once. */
int gy_vm_map(void **start, size_t bytes);
int gy_vm_unmap(void *start, size_t bytes);
int gy_vm_want_hugepages(void *start, size_t bytes);
int gy_vm_no_hugepages(void *start, size_t bytes);
int gy_vm_collapse(void *start, size_t bytes);
/* Moves the pages of [from, from + bytes) to `to`, whose old pages are dropped; `from` stays
 * mapped and reads as zero. Both must be usable memory of ours. */
int gy_vm_move(void *from, size_t bytes, void *to);
/* Leaves a reservation out of core dumps. */
void gy_vm_exclude_from_dump(void *start, size_t bytes);

#endif
