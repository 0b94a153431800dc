/* metadata.c - see metadata.h; kernel-notes/reservation.md. */
#include "heap/metadata.h"

#include "base/bits.h"
#include "base/config.h"
#include "heap/span.h"
#include "os/lock.h"
#include "os/sys.h"

#include <errno.h>

#define CHUNK_BYTES ((size_t)256 << 10)
#define SIDE_STEP 64 /* huge pages that side arrays are made usable for at a time */
/* META-5: set aside for records of each huge page, 136 spans' worth */
#define SPARE_PER ((size_t)32 << 10)
#define RESERVE_LEAST ((size_t)16 << 20)
#define BLOCK_LOG2_MIN 4
#define BLOCK_LOG2_MAX 20

struct free_block {
	struct free_block *next;
};

struct gy_address_map gy_map GY_ALIGNED(64) = {
	.gate = {.small_end = GY_GATE_SMALL_END, .class_end = GY_GATE_CLASS_END},
};

static struct {
	struct gy_lock lock;
	char *next, *end;        /* [lock] the chunk that gy_metadata_take cuts from */
	char *spare, *spare_end; /* [lock] META-5 */
	struct free_block *blocks[BLOCK_LOG2_MAX + 1];
	uint64_t bytes; /* [atomic: relaxed] */
} own = {.lock = GY_LOCK_INIT(GY_RANK_metadata)};

static size_t side_bytes(size_t hugepages, size_t per_hugepage)
{
	return gy_round_up(hugepages * per_hugepage, GY_KERNEL_PAGE_BYTES);
}

#define PAGE_INFO_PER (GY_HUGEPAGE_PAGES * sizeof(struct gy_page_info))
#define SPAN_OF_PER (GY_HUGEPAGE_PAGES * sizeof(struct gy_span *))
#define HUGEPAGE_PER sizeof(struct gy_hugepage)

/* One reservation: the heap's range first, the side arrays behind it. */
static int reserve(size_t heap_bytes)
{
	size_t hugepages = heap_bytes / GY_HUGEPAGE_BYTES;
	size_t info = side_bytes(hugepages, PAGE_INFO_PER),
	       spans = side_bytes(hugepages, SPAN_OF_PER);
	size_t records = side_bytes(hugepages, HUGEPAGE_PER);
	void *start;
	char *side;
	int error = gy_vm_reserve(&start, heap_bytes + info + spans + records, GY_HUGEPAGE_BYTES);

	if (error)
		return error;
	side = (char *)start + heap_bytes;
	gy_map.base = (uintptr_t)start;
	gy_map.page_info = (void *)side;
	gy_map.span_of = (void *)(side + info);
	gy_map.hugepages = (void *)(side + info + spans);
	gy_map.hugepage_reserved = hugepages;
	return 0;
}

int gy_metadata_init(void)
{
	size_t bytes = gy_option(GY_OPT_reserve);
	struct rlimit limit;

	/* RLIMIT_AS counts reservations: leave a quarter of what is allowed to everybody else. */
	if (!gy_sys_getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY)
		bytes = MIN(bytes, (size_t)limit.rlim_cur / 4 * 3);
	for (; bytes >= RESERVE_LEAST; bytes = bytes / 8 * 7) {
		bytes &= ~(GY_HUGEPAGE_BYTES - 1);
		if (!reserve(bytes))
			return 0;
	}
	return -ENOMEM;
}

/* META-5; best effort. What an older spare has left over is lost: address space, not memory. */
static void spare_set_aside(size_t bytes)
{
	void *spare;

	gy_lock_acquire(&own.lock);
	if ((size_t)(own.spare_end - own.spare) < bytes && !gy_vm_map(&spare, bytes)) {
		own.spare = spare;
		own.spare_end = own.spare + bytes;
		ADD_RELAXED(own.bytes, bytes);
	}
	gy_lock_release(&own.lock);
}

int gy_metadata_cover(size_t hugepages)
{
	size_t from = gy_map.hugepage_sides, to;
	int error;

	if (hugepages <= from)
		return 0;
	to = MIN(gy_round_up(hugepages, SIDE_STEP), gy_map.hugepage_reserved);
	struct {
		char *start;
		size_t per_hugepage;
	} sides[] = {{(char *)gy_map.page_info, PAGE_INFO_PER},
		     {(char *)gy_map.span_of, SPAN_OF_PER},
		     {(char *)gy_map.hugepages, HUGEPAGE_PER}};

	for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
		/* A part made usable already stays so when a later one fails: harmless. */
		size_t begin = side_bytes(from, sides[i].per_hugepage);
		size_t end = side_bytes(to, sides[i].per_hugepage);

		error = gy_vm_commit(sides[i].start + begin, end - begin);
		if (error)
			return error;
	}
	gy_map.hugepage_sides = to;
	spare_set_aside((to - from) * SPARE_PER);
	return 0;
}

/* [lock: own] */
static void *take_locked(size_t bytes)
{
	void *taken;

	bytes = gy_round_up(bytes, 64);
	if ((size_t)(own.end - own.next) < bytes) {
		size_t chunk = MAX(CHUNK_BYTES, gy_round_up(bytes, GY_KERNEL_PAGE_BYTES));

		if (gy_vm_map(&taken, chunk)) {
			if ((size_t)(own.spare_end - own.spare) < bytes)
				return NULL;
			taken = own.spare;
			own.spare += bytes;
			return taken;
		}
		ADD_RELAXED(own.bytes, chunk);
		if (chunk - bytes <= (size_t)(own.end - own.next))
			return taken; /* the old chunk has more left */
		own.next = taken;
		own.end = own.next + chunk;
	}
	taken = own.next;
	own.next += bytes;
	return taken;
}

void *gy_metadata_take(size_t bytes)
{
	void *taken;

	gy_lock_acquire(&own.lock);
	taken = take_locked(bytes);
	gy_lock_release(&own.lock);
	return taken;
}

void *gy_metadata_block_take(unsigned log2_bytes)
{
	struct free_block *block;

	CHECK(log2_bytes >= BLOCK_LOG2_MIN && log2_bytes <= BLOCK_LOG2_MAX);
	gy_lock_acquire(&own.lock);
	block = own.blocks[log2_bytes];
	if (block)
		own.blocks[log2_bytes] = block->next;
	else
		block = take_locked((size_t)1 << log2_bytes);
	gy_lock_release(&own.lock);
	return block;
}

void gy_metadata_block_give(void *address, unsigned log2_bytes)
{
	struct free_block *block = address;

	gy_lock_acquire(&own.lock);
	block->next = own.blocks[log2_bytes];
	own.blocks[log2_bytes] = block;
	gy_lock_release(&own.lock);
}

uint64_t gy_metadata_bytes(void)
{
	return READ_RELAXED(own.bytes) +
	       gy_map.hugepage_sides * (PAGE_INFO_PER + SPAN_OF_PER + HUGEPAGE_PER);
}

void gy_metadata_lock(void)
{
	gy_lock_acquire(&own.lock);
}

void gy_metadata_unlock(void)
{
	gy_lock_release(&own.lock);
}

void gy_metadata_fork_child(void)
{
	gy_lock_init(&own.lock, GY_RANK_metadata);
}
