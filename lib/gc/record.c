/* record.c - the side arrays of record.h: reserved once, made usable as the heap grows.
 *
 *	gy_gc_bits		128 bytes a page   | usable ...... | reserved, PROT_NONE        |
 *	gy_gc_pages		 64 bytes a page   | usable | reserved                          |
 *	gy_gc_marks_more	 32 bytes a page   | usable | reserved                          |
 *
 * Room for all pages that the heap has reserved, 224 bytes each, a 36th of the range. It is
 * carved out of the range's own unused end with the collector's first use: so a program that only
 * mallocs has none of it, and an RLIMIT_AS that leaves no address space, perhaps set after the
 * heap's start, does not matter. Where the heap has grown up to its end, as much is reserved as can
 * be had; pages behind it hold no objects (gy_records_cover says false).
 *
 * A step is 256 MiB of heap: 2 MiB of records, 4 MiB of bits. From the second step on huge pages
 * are asked for: marking tests bits at random, and a step that is in use is in use all over. Not so
 * for the third array, which few programs need.
 *
 * RECORD-1  What lies below gy_gc_covered is readable in both arrays, before the number is written.
 */
#include "gc/record.h"

#include "base/bits.h"
#include "base/config.h"
#include "os/lock.h"
#include "os/vm.h"

#include <errno.h>

#define BITS_PER sizeof(struct gy_gc_bits)
#define PAGE_PER sizeof(struct gy_gc_page)
#define MORE_PER sizeof(struct gy_gc_marks)
#define STEP_PAGES (GY_HUGEPAGE_BYTES / PAGE_PER) /* whole huge pages of both */

struct gy_gc_page *gy_gc_pages;
struct gy_gc_bits *gy_gc_bits;
struct gy_gc_marks *gy_gc_marks_more;
size_t gy_gc_covered;

static struct {
	struct gy_lock lock;
	size_t reserved_pages; /* [lock] that the arrays have room for */
} records = {.lock = GY_LOCK_INIT(GY_RANK_pool)};

/* [lock: records] */
static int reserve(size_t pages)
{
	size_t bits = gy_round_up(pages * BITS_PER, GY_HUGEPAGE_BYTES);
	size_t records_bytes = gy_round_up(pages * PAGE_PER, GY_HUGEPAGE_BYTES);
	size_t bytes = bits + records_bytes + gy_round_up(pages * MORE_PER, GY_KERNEL_PAGE_BYTES);
	void *start = gy_page_heap_carve(bytes);
	int error = start ? 0 : gy_vm_reserve(&start, bytes, GY_HUGEPAGE_BYTES);

	if (error)
		return error;
	gy_gc_bits = start;
	gy_gc_pages = (void *)((char *)start + bits);
	gy_gc_marks_more = (void *)((char *)start + bits + records_bytes);
	records.reserved_pages = pages;
	return 0;
}

int gy_records_init(void)
{
	size_t pages = gy_map.hugepage_reserved * GY_HUGEPAGE_PAGES;
	int error = 0;

	gy_lock_acquire(&records.lock);
	while (!records.reserved_pages) {
		error = reserve(pages);
		if (!error || pages <= STEP_PAGES)
			break;
		pages = pages / 8 * 7;
	}
	gy_lock_release(&records.lock);
	return error;
}

/* [lock: records] */
static bool cover_locked(size_t page_count)
{
	size_t from = gy_gc_covered, to = gy_round_up(page_count, STEP_PAGES);
	char *bits, *pages, *more;

	if (page_count <= from)
		return true;
	if (page_count > records.reserved_pages)
		return false;
	to = MIN(to, records.reserved_pages);
	bits = (char *)&gy_gc_bits[from];
	pages = (char *)&gy_gc_pages[from];
	more = (char *)&gy_gc_marks_more[from];
	if (gy_vm_commit(bits, gy_round_up((to - from) * BITS_PER, GY_KERNEL_PAGE_BYTES)) ||
	    gy_vm_commit(pages, gy_round_up((to - from) * PAGE_PER, GY_KERNEL_PAGE_BYTES)) ||
	    gy_vm_commit(more, gy_round_up((to - from) * MORE_PER, GY_KERNEL_PAGE_BYTES)))
		return false;
	if (from && (to - from) % STEP_PAGES == 0 && gy_option(GY_OPT_hugepage)) { /* hints */
		gy_vm_want_hugepages(bits, (to - from) * BITS_PER);
		gy_vm_want_hugepages(pages, (to - from) * PAGE_PER);
	}
	__atomic_store_n(&gy_gc_covered, to, __ATOMIC_RELEASE); /* RECORD-1 */
	return true;
}

bool gy_records_cover(size_t page_count)
{
	bool covered;

	if (likely(page_count <= __atomic_load_n(&gy_gc_covered, __ATOMIC_ACQUIRE)))
		return true;
	gy_lock_acquire(&records.lock);
	covered = cover_locked(page_count);
	gy_lock_release(&records.lock);
	return covered;
}

uint64_t gy_records_bytes(void)
{
	return READ_RELAXED(gy_gc_covered) * (BITS_PER + PAGE_PER + MORE_PER);
}

void gy_records_fork_child(void)
{
	gy_lock_init(&records.lock, GY_RANK_pool);
}
