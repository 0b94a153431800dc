/* metadata.h - the library's own memory: the address map, its side arrays, and small records.
 *
 *   heap range    | huge page 0 | huge page 1 | ...            reserved once, PROT_NONE at first
 *   page_info[p]  | 8 bytes a page: what free needs to know
 *   span_of[p]    | 8 bytes a page: the page's span
 *   hugepages[h]  | 128 bytes a huge page: which pages are used, which the kernel has back
 *
 * Range and side arrays are one reservation, the arrays behind the range, each indexed by page (or
 * huge-page) number relative to the base, so nothing of ours lies between the user's bytes. Arrays
 * and heap become usable together, in steps, at the upper end.
 *
 * META-1  base, and the arrays' addresses, never change after the heap's start.
 * META-2  page_count grows only, and only after the arrays behind it are usable: whoever sees
 *         page < page_count may read every array at that page. Written under the page heap's lock.
 * META-3  page_info[p].bin is 0 unless p belongs to a small span whose blocks thread caches may
 *         hold and whose block that starts there is no sample; 0 sends free to its slow path.
 * META-6  page_info[p].sampled is other than 0 iff every block that starts in p is a sample or free
 *         (sampled.h): then it is the class, with GY_PAGE_SAMPLED, and bias is right although bin
 *         is 0.
 * META-4  Memory from gy_metadata_take is zeroed and is never given back to the kernel.
 * META-5  With the side arrays, memory for the records of their pages is set aside, untouched:
 *         where a limit has made the kernel refuse everything (RLIMIT_DATA, strict overcommit),
 *         free pages of the heap can still be used for other sizes than before.
 */
#ifndef GY_HEAP_METADATA_H
#define GY_HEAP_METADATA_H

#include "base/compiler.h"
#include "heap/size_class.h"
#include "os/vm.h"

#include <stdbool.h>

#define GY_HUGEPAGE_PAGES ((unsigned)(GY_HUGEPAGE_BYTES / GY_PAGE_BYTES)) /* 256 */

struct gy_span;
struct gy_hugepage;

/* What free's fast path reads of a page. With magic = ceil(2^32 / block bytes), a pointer p into
 * the page is a block's start iff (u32)((u32)p * magic + bias) < magic (size_class.h, CLASS-4):
 * bias is (u32)(-(u32)span_start * magic). */
struct gy_page_info {
	uint32_t bias;
	uint16_t bin;     /* byte offset of the class's bin in a thread cache; META-3 */
	uint16_t sampled; /* META-6 */
};

#define GY_PAGE_SAMPLED 0x8000u

struct gy_address_map {
	uintptr_t base; /* META-1 */
	struct gy_page_info *page_info;
	struct gy_gate { /* what the fast paths compare with: gate.h; [atomic: relaxed] */
		size_t page_count, small_end, class_end;
	} gate;
	size_t page_count; /* META-2; [atomic: relaxed] */
	struct gy_span **span_of;
	struct gy_hugepage *hugepages;
	size_t hugepage_count;    /* made usable; [lock: page_heap] */
	size_t hugepage_reserved; /* [const] */
	/* of these, at the upper end, not the heap's; [lock: page_heap] */
	size_t hugepage_carved;
	size_t hugepage_sides;    /* covered by usable side arrays; [lock: page_heap] */
};

#define GY_GATE_SMALL_END ((size_t)GY_SMALL_MAX_BYTES + 1)
#define GY_GATE_CLASS_END ((size_t)GY_CLASS_MAX_BYTES + 1)

extern struct gy_address_map gy_map GY_ALIGNED(64) GY_HIDDEN;

/* Reserves range and arrays. 0 or -ENOMEM. Once. */
int gy_metadata_init(void);
/* Makes side arrays usable for the first `hugepages` huge pages. [lock: page_heap] */
int gy_metadata_cover(size_t hugepages);

/* Zeroed memory for our own records; NULL where memory lacks. Any thread. */
void *gy_metadata_take(size_t bytes);
/* Memory of 2^log2 bytes (4 <= log2 <= 20), which gy_metadata_block_give takes back. Not zeroed. */
void *gy_metadata_block_take(unsigned log2_bytes);
void gy_metadata_block_give(void *block, unsigned log2_bytes);
uint64_t gy_metadata_bytes(void);
void gy_metadata_lock(void);
void gy_metadata_unlock(void);
void gy_metadata_fork_child(void);

GY_INLINE size_t gy_page_of(const void *address)
{
	return ((uintptr_t)address - gy_map.base) >> GY_PAGE_SHIFT;
}

GY_INLINE bool gy_is_ours(const void *address)
{
	return gy_page_of(address) < READ_RELAXED(gy_map.page_count);
}

GY_INLINE char *gy_page_start(size_t page)
{
	return (char *)(gy_map.base + (page << GY_PAGE_SHIFT));
}

#endif
