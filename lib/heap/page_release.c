/* page_release.c - the page heap's side of giving memory back, and its own check.
 *
 * The scavenger decides (scavenger.c); here pages are taken in hand and put back, under the lock,
 * so that between the two calls nobody else can have them (SCAV-1): a page in hand is marked used
 * and belongs to no span (PAGE-1).
 */
#include "heap/hugepage.h"

/* Densely used: nearly all of it would be resident anyway. */
#define DENSE_PAGES (GY_HUGEPAGE_PAGES / 16 * 15)

unsigned gy_page_heap_release_begin(size_t index, bool whole_only, struct gy_page_range *ranges)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[index];
	unsigned count = 0, at = 0;

	gy_lock_acquire(&gy_pages.lock);
	if (hugepage->state != GY_HUGEPAGE_FREE &&
	    (hugepage->state != GY_HUGEPAGE_PARTIAL || whole_only))
		goto out;
	while (at < GY_HUGEPAGE_PAGES && count < GY_HUGEPAGE_PAGES / 2) {
		uint64_t busy[4];
		unsigned begin;

		for (unsigned w = 0; w < 4; w++)
			busy[w] = hugepage->used[w] | hugepage->released[w];
		begin = gy_bit_next(busy, GY_HUGEPAGE_PAGES, at, false);
		if (begin == GY_HUGEPAGE_PAGES)
			break;
		at = gy_bit_next(busy, GY_HUGEPAGE_PAGES, begin, true);
		ranges[count].first_page = index * GY_HUGEPAGE_PAGES + begin;
		ranges[count].pages = at - begin;
		ranges[count].part = hugepage->used_count != 0;
		count++;
	}
	for (unsigned i = 0; i < count; i++) {
		gy_hugepage_use(hugepage, (unsigned)(ranges[i].first_page % GY_HUGEPAGE_PAGES),
				ranges[i].pages);
		gy_pages.in_hand_pages += ranges[i].pages;
	}
out:
	gy_lock_release(&gy_pages.lock);
	return count;
}

void gy_page_heap_release_end(const struct gy_page_range *ranges, unsigned count, bool done)
{
	gy_lock_acquire(&gy_pages.lock);
	for (unsigned i = 0; i < count; i++) {
		size_t index = ranges[i].first_page / GY_HUGEPAGE_PAGES;
		struct gy_hugepage *hugepage = &gy_map.hugepages[index];

		gy_hugepage_give(hugepage, (unsigned)(ranges[i].first_page % GY_HUGEPAGE_PAGES),
				 ranges[i].pages, done);
		gy_pages.in_hand_pages -= ranges[i].pages;
		if (done && hugepage->state == GY_HUGEPAGE_PARTIAL && !hugepage->broken) {
			gy_hugepage_unlist(hugepage);
			WRITE_RELAXED(hugepage->broken, 1);
			gy_hugepage_list(hugepage);
		}
	}
	gy_lock_release(&gy_pages.lock);
}

void gy_page_heap_count_release(uint64_t bytes, uint64_t calls)
{
	gy_lock_acquire(&gy_pages.lock);
	gy_pages.stats.released_total_bytes += bytes;
	gy_pages.stats.release_calls += calls;
	gy_lock_release(&gy_pages.lock);
}

void gy_page_heap_mark_broken(size_t page)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[page / GY_HUGEPAGE_PAGES];
	bool advised;

	gy_lock_acquire(&gy_pages.lock);
	advised = hugepage->advised;
	hugepage->advised = 0;
	if (!hugepage->broken && hugepage->state == GY_HUGEPAGE_PARTIAL) {
		gy_hugepage_unlist(hugepage);
		WRITE_RELAXED(hugepage->broken, 1);
		gy_hugepage_list(hugepage);
	}
	gy_lock_release(&gy_pages.lock);
	/* Or khugepaged would make it whole again, given-back parts included. */
	if (advised)
		gy_vm_no_hugepages(gy_page_start(page - page % GY_HUGEPAGE_PAGES),
				   GY_HUGEPAGE_BYTES);
}

bool gy_page_heap_worth_collapse(size_t index)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[index];
	bool worth;

	if (READ_RELAXED(hugepage->used_count) < DENSE_PAGES ||
	    READ_RELAXED(hugepage->collapse_tried))
		return false;
	gy_lock_acquire(&gy_pages.lock);
	worth = gy_map.hugepage_count > GY_FIRST_PLAIN && hugepage->state == GY_HUGEPAGE_PARTIAL &&
		hugepage->used_count >= DENSE_PAGES && !hugepage->advised && !hugepage->broken;
	if (worth)
		WRITE_RELAXED(hugepage->collapse_tried, 1);
	gy_lock_release(&gy_pages.lock);
	return worth;
}

void gy_page_heap_collapsed(size_t index)
{
	struct gy_hugepage *hugepage = &gy_map.hugepages[index];

	gy_lock_acquire(&gy_pages.lock);
	hugepage->advised = 1;
	gy_hugepage_forget_released(hugepage); /* HUGE-4 */
	gy_lock_release(&gy_pages.lock);
}

void gy_page_heap_filled(size_t index, uint64_t cpu_ns)
{
	if (cpu_ns < GY_SLOW_FILL_NS)
		return;
	gy_lock_acquire(&gy_pages.lock);
	if (gy_map.hugepages[index].advised)
		gy_pages.plain_left = GY_PLAIN_AFTER_SLOW;
	gy_lock_release(&gy_pages.lock);
}

size_t gy_page_heap_hugepage_count(void)
{
	return READ_RELAXED(gy_map.page_count) / GY_HUGEPAGE_PAGES;
}

unsigned gy_page_heap_spans_in(size_t index, struct gy_span_ref *refs)
{
	const struct gy_hugepage *hugepage = &gy_map.hugepages[index];
	const struct gy_span *last = NULL;
	unsigned count = 0;

	gy_lock_acquire(&gy_pages.lock);
	if (hugepage->state == GY_HUGEPAGE_PARTIAL) {
		for (unsigned i = 0; i < GY_HUGEPAGE_PAGES; i++) {
			struct gy_span *span = gy_map.span_of[index * GY_HUGEPAGE_PAGES + i];

			if (!span || span == last || READ_RELAXED(span->kind) != GY_SPAN_SMALL)
				continue;
			last = span;
			refs[count++] = (struct gy_span_ref){span, span->first_page,
							     span->class_index, span->sampled};
		}
	}
	gy_lock_release(&gy_pages.lock);
	return count;
}

unsigned gy_page_heap_look(size_t index, struct gy_span_look *looks)
{
	const struct gy_hugepage *hugepage = &gy_map.hugepages[index];
	const size_t first = index * GY_HUGEPAGE_PAGES;
	unsigned count = 0;
	size_t pages = 1;

	gy_lock_acquire(&gy_pages.lock);
	for (size_t i = 0; index < gy_map.hugepage_count && hugepage->used_count &&
			   i < GY_HUGEPAGE_PAGES;
	     i += pages) {
		struct gy_span *span = gy_span_of_page(first + i);

		pages = 1;
		if (!gy_bit_get(hugepage->used, (unsigned)i) || !span ||
		    span->first_page != first + i)
			continue;
		pages = MAX(span->pages, 1u);
		looks[count++] = (struct gy_span_look){
			span, span->first_page,	      span->pages, READ_RELAXED(span->kind),
			span->class_index, READ_RELAXED(span->sampled)};
	}
	gy_lock_release(&gy_pages.lock);
	return count;
}

void gy_page_heap_check(void)
{
	uint64_t used = 0, released = 0;

	gy_lock_acquire(&gy_pages.lock);
	for (size_t i = 0; i < gy_map.hugepage_count; i++) {
		const struct gy_hugepage *hugepage = &gy_map.hugepages[i];
		unsigned set = gy_range_count(hugepage->used, 0, GY_HUGEPAGE_PAGES);
		unsigned gone = gy_range_count(hugepage->released, 0, GY_HUGEPAGE_PAGES);

		CHECK(set == hugepage->used_count); /* HUGE-1 */
		CHECK(gone == hugepage->released_count);
		for (unsigned w = 0; w < 4; w++)
			CHECK(!(hugepage->used[w] & hugepage->released[w]));
		CHECK(gy_hugepage_longest_run(hugepage->used) ==
		      hugepage->longest_free); /* HUGE-2 */
		CHECK(gy_bit_get(gy_pages.free_map, (unsigned)i) ==
		      (hugepage->state == GY_HUGEPAGE_FREE)); /* PAGE-3 */
		used += set;
		released += gone;
	}
	CHECK(used == gy_pages.stats.used_pages);
	CHECK(released == gy_pages.stats.released_pages);
	gy_lock_release(&gy_pages.lock);
}
