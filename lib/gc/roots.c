/* roots.c - see roots.h: the pieces, the ranges that a program adds, and the scan.
 *
 *	freeze	  stopper alone: ask root_threads.c and root_objects.c for stretches of memory; cut
 *		  them into pieces of PIECE_BYTES (ROOT-3)
 *	scan	  everybody: take the next piece; stacks: look for signal frames (ROOT-6); mark
 *
 * Finding costs the stopper some microseconds a thread and a tenth of one a library; reading is
 * what takes long, and is shared.
 *
 * The memory for all this is ours from mmap, grows where it must, in the pause too, and is kept.
 */
#include "gc/roots.h"

#include "gc/root_find.h"
#include "os/sys.h"
#include "os/vm.h"

#include <errno.h>
#include <string.h>

#define PIECE_BYTES ((size_t)64 << 10)
#define PIECES_FIRST ((size_t)1024)
#define RANGES_FIRST ((size_t)256)
#define STACKS_FIRST ((size_t)256)
#define PIECES_AHEAD 3u
#define THREADS_AHEAD 3u
#define AHEAD_BYTES ((uintptr_t)2048)
#define LINE_BYTES ((uintptr_t)64)
#define SETTLE_NAP_NS 20000
#define SETTLE_NAPS 1000u

struct piece {
	uintptr_t start, end;
	uint32_t kind;  /* enum gy_root_kind */
	uint32_t stack; /* GY_ROOT_STACK */
};

struct range {
	uintptr_t start, end;
};

static struct {
	struct gy_lock lock;  /* ranges */
	struct range *ranges; /* by address, apart from each other */
	size_t range_count, range_capacity;
	struct piece *pieces; /* [stopper] */
	size_t piece_count, piece_capacity;
	struct gy_root_stack *stacks;
	size_t stack_count, stack_capacity;
	struct gy_maps maps;
	bool maps_read;
	bool failed; /* memory lacked in this freeze */
	struct gy_root_stats found;
	size_t next GY_ALIGNED(64); /* [atomic] the piece to be taken next */
} roots = {.lock = GY_LOCK_INIT(GY_RANK_roots)};

/* An array of twice the capacity, or of `first`; false: memory lacks. */
static bool grow(void *array, size_t *capacity, size_t first, size_t element_bytes)
{
	size_t larger = *capacity ? *capacity * 2 : first;
	void *memory, **at = array;

	if (gy_vm_map(&memory, larger * element_bytes))
		return false;
	if (*capacity) {
		memcpy(memory, *at, *capacity * element_bytes);
		gy_vm_unmap(*at, *capacity * element_bytes);
	}
	*at = memory;
	*capacity = larger;
	return true;
}

/* ---- ranges ---- */

/* Index of the first range that ends behind `address`. */
static size_t range_at(uintptr_t address)
{
	size_t low = 0, high = roots.range_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (roots.ranges[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int add_locked(uintptr_t start, uintptr_t end)
{
	size_t at = range_at(start);

	if (at < roots.range_count && roots.ranges[at].start < end)
		return -EINVAL;
	if (roots.range_count == roots.range_capacity &&
	    !grow(&roots.ranges, &roots.range_capacity, RANGES_FIRST, sizeof(*roots.ranges)))
		return -ENOMEM;
	memmove(roots.ranges + at + 1, roots.ranges + at,
		(roots.range_count - at) * sizeof(*roots.ranges));
	roots.ranges[at] = (struct range){start, end};
	roots.range_count++;
	return 0;
}

int gy_root_range_add(void *start, size_t bytes)
{
	uintptr_t from = (uintptr_t)start;
	int error;

	if (!from || from % sizeof(uintptr_t) || bytes < sizeof(uintptr_t) || from + bytes < from)
		return -EINVAL;
	gy_lock_acquire(&roots.lock);
	error = add_locked(from, from + bytes);
	gy_lock_release(&roots.lock);
	return error;
}

int gy_root_range_remove(void *start)
{
	uintptr_t from = (uintptr_t)start;
	int error = -EINVAL;
	size_t at;

	gy_lock_acquire(&roots.lock);
	at = range_at(from);
	if (at < roots.range_count && roots.ranges[at].start == from) {
		roots.range_count--;
		memmove(roots.ranges + at, roots.ranges + at + 1,
			(roots.range_count - at) * sizeof(*roots.ranges));
		error = 0;
	}
	gy_lock_release(&roots.lock);
	return error;
}

/* ---- pieces ---- */

void gy_root_add(uintptr_t start, uintptr_t end, enum gy_root_kind kind, uint32_t stack)
{
	const uintptr_t word = sizeof(uintptr_t);

	start = (start + word - 1) & ~(word - 1);
	end &= ~(word - 1);
	if (kind == GY_ROOT_STACK)
		roots.found.stack_bytes += start < end ? end - start : 0;
	else
		roots.found.root_bytes += start < end ? end - start : 0;
	while (start < end) {
		uintptr_t stop = MIN(end, (start + PIECE_BYTES) & ~(PIECE_BYTES - 1));

		if (roots.piece_count == roots.piece_capacity &&
		    !grow(&roots.pieces, &roots.piece_capacity, PIECES_FIRST,
			  sizeof(*roots.pieces))) {
			roots.failed = true;
			return;
		}
		roots.pieces[roots.piece_count++] = (struct piece){start, stop, kind, stack};
		start = stop;
	}
}

struct gy_root_stack *gy_root_stack_new(uint32_t *number)
{
	if (roots.stack_count == roots.stack_capacity &&
	    !grow(&roots.stacks, &roots.stack_capacity, STACKS_FIRST, sizeof(*roots.stacks))) {
		roots.failed = true;
		return NULL;
	}
	*number = (uint32_t)roots.stack_count;
	roots.stacks[roots.stack_count] = (struct gy_root_stack){.count = 0};
	return &roots.stacks[roots.stack_count++];
}

const struct gy_maps *gy_root_maps(void)
{
	if (!roots.maps_read && !gy_maps_read(&roots.maps))
		roots.maps_read = true;
	return roots.maps_read ? &roots.maps : NULL;
}

/* ---- the pause ---- */

int gy_roots_init(void)
{
	gy_root_threads_init();
	gy_root_objects_init();
	return 0;
}

/* A program that loads libraries all day is caught in the middle of it more often than not, unless
 * the pause begins between two. */
int gy_roots_prepare(void)
{
	struct timespec nap = {0, SETTLE_NAP_NS};
	uint32_t nobody = 0;

	for (unsigned i = 0; i < SETTLE_NAPS && !gy_root_objects_settled(); i++)
		gy_sys_futex_wait(&nobody, 0, &nap, false);
	return 0;
}

static void find_own(uintptr_t own_sp)
{
	struct gy_stopped_thread own = {
		.tid = gy_sys_gettid(), .sp = own_sp, .mutator = gy_mutator_self};

	__asm__ volatile("movq %%fs:0, %0" : "=r"(own.fs_base));
	gy_root_thread_find(&own);
}

bool gy_roots_freeze(uintptr_t own_sp)
{
	roots.piece_count = roots.stack_count = 0;
	roots.maps_read = roots.failed = false;
	roots.found = (struct gy_root_stats){0};
	__atomic_store_n(&roots.next, 0, __ATOMIC_RELAXED);
	if (!gy_root_objects_find())
		return false;
	gy_lock_acquire(&roots.lock);
	for (size_t i = 0; i < roots.range_count; i++)
		gy_root_add(roots.ranges[i].start, roots.ranges[i].end, GY_ROOT_DATA, 0);
	gy_lock_release(&roots.lock);
	for (unsigned i = 0, count = gy_world_count(); i < count; i++) {
		if (i + 2 * THREADS_AHEAD < count)
			__builtin_prefetch(gy_world_thread(i + 2 * THREADS_AHEAD));
		if (i + THREADS_AHEAD < count)
			gy_root_thread_ahead(gy_world_thread(i + THREADS_AHEAD));
		gy_root_thread_find(gy_world_thread(i));
	}
	if (own_sp)
		find_own(own_sp);
	return !roots.failed;
}

/* Calls visit for what of the piece can be read. */
static void visit_piece(const struct piece *piece,
			void (*visit)(const void *start, const void *end, void *argument),
			void *argument)
{
	uintptr_t start = piece->start, end;

	if (piece->kind != GY_ROOT_CHECKED) {
		visit((const void *)start, (const void *)piece->end, argument);
		return;
	}
	for (; start < piece->end; start = end) {
		end = MIN(piece->end, (start | (GY_KERNEL_PAGE_BYTES - 1)) + 1);
		if (gy_page_is_readable(start))
			visit((const void *)start, (const void *)end, argument);
	}
}

static void mark_words(const void *start, const void *end, void *marker)
{
	gy_mark_words(marker, start, end);
}

/* A stack's piece is short, and of another's memory than the one before: nothing but this would
 * bring it in ahead. */
static void look_ahead(size_t at)
{
	const struct piece *piece = &roots.pieces[at];

	if (at < roots.piece_count && piece->kind != GY_ROOT_CHECKED)
		for (uintptr_t line = piece->start;
		     line < MIN(piece->end, piece->start + AHEAD_BYTES); line += LINE_BYTES)
			__builtin_prefetch((const void *)line);
}

size_t gy_roots_scan(struct gy_marker *marker)
{
	size_t bytes = 0, at;

	while ((at = __atomic_fetch_add(&roots.next, 1, __ATOMIC_RELAXED)) < roots.piece_count) {
		const struct piece *piece = &roots.pieces[at];

		look_ahead(at + PIECES_AHEAD);
		if (piece->kind == GY_ROOT_STACK)
			gy_root_fix_frames(piece->start, piece->end, &roots.stacks[piece->stack]);
		visit_piece(piece, mark_words, marker);
		bytes += piece->end - piece->start;
	}
	gy_mark_flush(marker);
	return bytes;
}

void gy_roots_each(void (*visit)(const void *start, const void *end, void *argument),
		   void *argument)
{
	for (size_t i = 0; i < roots.piece_count; i++)
		visit_piece(&roots.pieces[i], visit, argument);
}

void gy_roots_read_stats(struct gy_root_stats *stats)
{
	stats->stack_bytes = READ_RELAXED(roots.found.stack_bytes);
	stats->root_bytes = READ_RELAXED(roots.found.root_bytes);
}

/* ---- fork ---- */

void gy_roots_fork_prepare(void)
{
	gy_lock_acquire(&roots.lock);
}

void gy_roots_fork_parent(void)
{
	gy_lock_release(&roots.lock);
}

void gy_roots_fork_child(void)
{
	gy_lock_init(&roots.lock, GY_RANK_roots);
}
