/* scavenger.c - giving idle memory back to the kernel.
 *
 * An idle service should be small without anybody's tuning. Three kinds of idle memory, cheapest to
 * lose first:
 *
 *   1. whole free huge pages, free for release_delay
 *   2. free pages of a huge page that is partly used, once it has lain idle for twice that long
 *      and so much of it is free that breaking it up pays (BREAK_SHARE)
 *   3. under 2's condition also kernel pages inside spans that hold free blocks only: possible
 *      because nothing of ours lies in freed memory (span.h)
 *
 * Before that, what is kept idly comes home: transfer arrays are drained once they lie still, kept
 * large spans once they are old (thread caches are mutator/idle.c's).
 *
 * A huge page's `tick` moves whenever pages or blocks of it come or go, so idleness is read, not
 * guessed; `scanned` says that nothing happened since the last look, so that a quiet heap costs one
 * load per huge page and pass.
 *
 * SCAV-1  Pages and blocks in hand are out of everybody's reach (marked used, or borrowed) while
 *         the kernel drops them; no lock of the heap is held during the system call.
 * SCAV-2  What the kernel refused stays backed and is counted so.
 * SCAV-3  One pass at a time: the trim lock. Nothing is allocated under it, so that an emergency,
 *         which comes from inside an allocation, may wait for it; what a back end must open it
 *         opens before.
 * SCAV-4  The pace is release_rate; gyre_trim and emergencies are not paced.
 */
#include "heap/scavenger.h"

#include "base/config.h"
#include "base/probe.h"
#include "heap/central.h"
#include "heap/large.h"
#include "heap/sampled.h"
#include "os/long_call.h"
#include "os/release.h"
#include "os/sys.h"

#include <sched.h>

#define MS 1000000ull
#define BREAK_SHARE 8 /* an eighth of a huge page must come back for it to be broken up */
#define COLLAPSES 2   /* huge pages made in one step: half a millisecond each */
#define COLLAPSE_SLOW_NS (1 * MS)
#define COLLAPSE_REST_NS (60000 * MS)
#define RANGES_MAX (GY_HUGEPAGE_PAGES / 2)
#define SPANS_MAX GY_HUGEPAGE_PAGES
#define SPAN_RANGES 16  /* separate runs among a span's 32 kernel pages, at most */
#define BROKEN_UNITS 16 /* a broken huge page is worth a visit for this many kernel pages */

static struct gy_lock trim_lock = GY_LOCK_INIT(GY_RANK_trim);

/* All below: [lock: trim] */
static struct {
	struct iovec ranges[GY_RELEASE_BATCH];
	unsigned count;
	struct gy_page_range pages[RANGES_MAX];
	struct gy_span_ref spans[SPANS_MAX];
	uint32_t span_units[SPANS_MAX];
	size_t cursor;    /* the next huge page to look at */
	uint64_t allowed; /* bytes that may be given back now (SCAV-4) */
	uint64_t no_collapse_until_ns;
} work;

/* Drops work.ranges; true if the kernel has them all. */
static bool drop(bool part)
{
	struct gy_release_result result = {0, 0, 0};
	uint64_t begin_ns = gy_now_ns();
	int error;

	gy_long_begin();
	error = gy_release(work.ranges, work.count, part, &result);
	gy_long_end();
	gy_page_heap_count_release(result.bytes, result.calls);
	GY_PROBE4(heap_release, result.bytes, work.count, result.backend, gy_now_ns() - begin_ns);
	work.allowed -= MIN(work.allowed, result.bytes);
	work.count = 0;
	return !error;
}

static void add_range(char *start, size_t bytes)
{
	struct iovec *last = work.count ? &work.ranges[work.count - 1] : NULL;

	if (last && (char *)last->iov_base + last->iov_len == start) {
		last->iov_len += bytes;
		return;
	}
	work.ranges[work.count++] = (struct iovec){start, bytes};
}

/* 1 and 2: free pages of one huge page. Bytes given back. */
static size_t release_pages(size_t index, bool whole_only)
{
	unsigned count = gy_page_heap_release_begin(index, whole_only, work.pages);
	size_t bytes = 0;
	bool done, part = false;

	if (!count)
		return 0;
	for (unsigned i = 0; i < count; i++) {
		size_t piece = (size_t)work.pages[i].pages << GY_PAGE_SHIFT;

		add_range(gy_page_start(work.pages[i].first_page), piece);
		part |= work.pages[i].part;
		bytes += piece;
	}
	done = drop(part);
	gy_page_heap_release_end(work.pages, count, done);
	return done ? bytes : 0;
}

/* 3: kernel pages under free blocks of one huge page's spans. */
static size_t release_blocks(size_t index, uint32_t before)
{
	unsigned count = gy_page_heap_spans_in(index, work.spans), at = 0;
	size_t bytes = 0;

	while (at < count) {
		unsigned first = at;
		bool done;

		for (; at < count && work.count + SPAN_RANGES <= GY_RELEASE_BATCH; at++) {
			const struct gy_span_ref *ref = &work.spans[at];
			uint32_t units = gy_central_borrow(ref, before, false);

			work.span_units[at] = units;
			for (; units; units &= units - 1)
				add_range(gy_page_start(ref->first_page) +
						  (size_t)__builtin_ctz(units) * GY_SPAN_GONE_UNIT,
					  GY_SPAN_GONE_UNIT);
		}
		if (!work.count)
			continue;
		done = drop(true);
		for (; first < at; first++) {
			uint32_t units = work.span_units[first];

			if (!units)
				continue;
			gy_central_return(&work.spans[first], units, done);
			if (done)
				bytes += (size_t)__builtin_popcount(units) * GY_SPAN_GONE_UNIT;
		}
	}
	return bytes;
}

/* Kernel pages that release_blocks would give. */
static size_t blocks_worth(size_t index, uint32_t before)
{
	unsigned count = gy_page_heap_spans_in(index, work.spans);
	size_t units = 0;

	for (unsigned i = 0; i < count; i++)
		units +=
			(size_t)__builtin_popcount(gy_central_borrow(&work.spans[i], before, true));
	return units * GY_SPAN_GONE_UNIT;
}

static bool is_older(uint32_t tick, uint32_t before)
{
	return (int32_t)(tick - before) < 0;
}

enum visit_depth { VISIT_WHOLE, VISIT_PAGES, VISIT_OBJECTS };

/* Looks at one huge page; bytes given back. `before`: idle since before that tick; 0: never mind.
 * */
static size_t visit(size_t index, uint32_t whole_before, uint32_t part_before,
		    enum visit_depth depth)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[index];
	uint32_t tick = READ_RELAXED(hugepage->tick);
	uint8_t state = READ_RELAXED(hugepage->state);
	size_t free_bytes, least, bytes = 0;
	bool objects = depth == VISIT_OBJECTS;

	if (state == GY_HUGEPAGE_FREE) {
		if (READ_RELAXED(hugepage->released_count) == GY_HUGEPAGE_PAGES ||
		    (whole_before && !is_older(tick, whole_before)))
			return 0;
		return release_pages(index, true);
	}
	if (state != GY_HUGEPAGE_PARTIAL || depth == VISIT_WHOLE ||
	    READ_RELAXED(hugepage->scanned) || (part_before && !is_older(tick, part_before)))
		return 0;
	free_bytes = (size_t)(GY_HUGEPAGE_PAGES - READ_RELAXED(hugepage->used_count) -
			      READ_RELAXED(hugepage->released_count))
		     << GY_PAGE_SHIFT;
	least = READ_RELAXED(hugepage->broken) ? BROKEN_UNITS * GY_SPAN_GONE_UNIT
					       : GY_HUGEPAGE_BYTES / BREAK_SHARE;
	if (!part_before)
		least = GY_SPAN_GONE_UNIT;
	if (free_bytes < least && objects)
		free_bytes += blocks_worth(index, part_before);
	if (free_bytes >= least) {
		/* First: khugepaged must not undo what is about to be given back. */
		gy_page_heap_mark_broken(index * GY_HUGEPAGE_PAGES);
		bytes = release_pages(index, false);
		if (objects)
			bytes += release_blocks(index, part_before);
	}
	/* What happened since, the tick tells; a race here costs one more look, or one delay. */
	if (READ_RELAXED(hugepage->tick) == tick || bytes)
		WRITE_RELAXED(hugepage->scanned, 1);
	return bytes;
}

static void drain_kept(uint32_t before)
{
	for (unsigned i = 1; i < GY_CLASS_COUNT; i++) {
		gy_central_drain(&gy_centrals[0][i], before);
		gy_sampled_drain(i, before != 0);
		gy_central_drain(&gy_centrals[1][i], before);
	}
	gy_large_drain(before);
}

static bool has_one_cpu(void)
{
	cpu_set_t set;

	return !sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) == 1;
}

/* In a virtual machine whose host must find the memory first it takes ten milliseconds, and the
 * kernel does not let go of the processor. Whoever has no other stands still as long: then once a
 * minute will do, to see whether it still is so. */
static void collapse(size_t index)
{
	uint64_t begin_ns;

	gy_long_begin();
	begin_ns = gy_now_ns();
	if (!gy_vm_collapse(gy_page_start(index * GY_HUGEPAGE_PAGES), GY_HUGEPAGE_BYTES))
		gy_page_heap_collapsed(index);
	if (gy_now_ns() - begin_ns >= COLLAPSE_SLOW_NS && has_one_cpu())
		work.no_collapse_until_ns = gy_now_ns() + COLLAPSE_REST_NS;
	gy_long_end();
}

/* The opposite: a part of the heap that began on small pages and has filled up. */
static void collapse_some(size_t count)
{
	unsigned done = 0;

	for (size_t index = 0; index < count && done < COLLAPSES; index++) {
		if (work.no_collapse_until_ns && gy_now_ns() < work.no_collapse_until_ns)
			return;
		if (!gy_page_heap_worth_collapse(index))
			continue;
		done++;
		collapse(index);
	}
}

bool gy_scavenger_step(uint64_t elapsed_ns)
{
	uint64_t delay_ticks = MAX(gy_option(GY_OPT_release_delay) / GY_TICK_MS, 1);
	uint32_t now = READ_RELAXED(gy_heap_tick);
	/* Never 0, which would mean "never mind". */
	uint32_t whole_before = (now - (uint32_t)delay_ticks) | 1;
	uint32_t part_before = (now - 2 * (uint32_t)delay_ticks) | 1;
	uint64_t rate = gy_option(GY_OPT_release_rate);
	enum visit_depth depth = gy_option(GY_OPT_release_objects) ? VISIT_OBJECTS : VISIT_PAGES;
	bool more = false;
	size_t count = gy_page_heap_hugepage_count();

	if (!gy_option(GY_OPT_release))
		return false;
	gy_lock_acquire(&trim_lock);
	work.allowed = MIN(MAX(rate, 2 * GY_HUGEPAGE_BYTES),
			   work.allowed + rate / 1000 * (elapsed_ns / MS));
	drain_kept(whole_before);
	for (size_t looked = 0; looked < count; looked++) {
		if (work.allowed < GY_HUGEPAGE_BYTES) {
			more = true;
			break;
		}
		if (work.cursor >= count)
			work.cursor = 0;
		visit(work.cursor++, whole_before, part_before, depth);
	}
	if (gy_option(GY_OPT_collapse) && gy_option(GY_OPT_hugepage))
		collapse_some(count);
	gy_lock_release(&trim_lock);
	return more;
}

static size_t release_everything(size_t keep_bytes)
{
	struct gy_page_heap_stats stats;
	size_t bytes = 0, count = gy_page_heap_hugepage_count();
	/* What is to be kept is kept whole: no huge page that would take it below. */
	size_t spare = keep_bytes ? GY_HUGEPAGE_BYTES : 0;
	uint64_t idle;

	gy_page_heap_read_stats(&stats);
	idle = (stats.hugepages * GY_HUGEPAGE_PAGES - stats.used_pages - stats.released_pages)
	       << GY_PAGE_SHIFT;
	/* Whole ones first: they cost nobody a huge page. */
	for (size_t i = 0; i < count && idle >= keep_bytes + bytes + spare; i++)
		bytes += visit(i, 0, 0, VISIT_WHOLE);
	if (keep_bytes)
		return bytes;
	for (size_t i = 0; i < count; i++) {
		WRITE_RELAXED(gy_map.hugepages[i].scanned, 0);
		bytes += visit(i, 0, 0, VISIT_OBJECTS);
	}
	return bytes;
}

size_t gy_scavenger_trim(size_t keep_bytes)
{
	size_t bytes;

	gy_release_prepare();
	gy_lock_acquire(&trim_lock);
	drain_kept(0);
	bytes = release_everything(keep_bytes);
	gy_lock_release(&trim_lock);
	return bytes;
}

void gy_scavenger_emergency(void)
{
	gy_lock_acquire(&trim_lock);
	drain_kept(0);
	release_everything(0);
	gy_lock_release(&trim_lock);
}

void gy_scavenger_hold(void)
{
	gy_lock_acquire(&trim_lock);
}

void gy_scavenger_let_go(void)
{
	gy_lock_release(&trim_lock);
}

void gy_scavenger_fork_prepare(void)
{
	gy_lock_acquire(&trim_lock);
}

void gy_scavenger_fork_parent(void)
{
	gy_lock_release(&trim_lock);
}

void gy_scavenger_fork_child(void)
{
	gy_lock_init(&trim_lock, GY_RANK_trim);
	gy_release_fork_child();
}
