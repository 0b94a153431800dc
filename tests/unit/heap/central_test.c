/* central_test.c - the central lists: every block in exactly one place, whatever comes and goes. */
#include "heap/central.h"

#include "base/config.h"
#include "heap/heap.h"
#include "os/release.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <pthread.h>

static void started(void)
{
	cr_assert(gy_heap_start());
}

TestSuite(central, .init = started);

/* Some of every kind: tiny, odd, straddling pages, one or two to a kernel page, with a long
 * tail. */
static const size_t sizes[] = {8,    16,   24,   48,   64,   112,  1088,  1280,
			       3072, 4096, 4608, 5632, 8192, 9216, 13312, 32768};

static unsigned class_with(size_t bytes)
{
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++)
		if (gy_size_classes[c].bytes >= bytes)
			return c;
	return 0;
}

static struct gy_central *central_of(size_t bytes)
{
	return &gy_centrals[0][class_with(bytes)];
}

static uint64_t used_pages(void)
{
	struct gy_page_heap_stats stats;

	gy_page_heap_read_stats(&stats);
	return stats.used_pages;
}

#define HELD_MAX 4096
static void *held[HELD_MAX];
static unsigned held_count;

static void take(struct gy_central *central, unsigned count)
{
	enum gy_oom_reason reason = GY_OOM_NONE;
	void *blocks[512];
	size_t bytes = gy_size_classes[gy_central_class(central)].bytes;

	count = MIN(count, HELD_MAX - held_count);
	cr_assert_eq(gy_central_take(central, blocks, count, &reason), count);
	for (unsigned i = 0; i < count; i++) {
		struct gy_span *span = gy_span_of_page(gy_page_of(blocks[i]));
		size_t offset = (size_t)((char *)blocks[i] - gy_span_start(span));

		cr_assert_eq(span->class_index, gy_central_class(central));
		cr_assert_eq(span->sampled, gy_central_is_sampled(central));
		cr_assert(offset % bytes == 0 && offset / bytes < span->objects);
		/* A block that is handed out twice carries its number already (CENTRAL-1). */
		memset(blocks[i], 0, bytes);
		held[held_count] = blocks[i];
		*(uint32_t *)blocks[i] = held_count++;
	}
	for (unsigned i = 0; i < held_count; i++)
		if (*(uint32_t *)held[i] != i)
			cr_assert_fail("%p was handed out twice", held[i]);
}

static void give(struct gy_central *central, unsigned count, bool quiet, uint64_t *rng)
{
	void *blocks[512];

	count = MIN(count, held_count);
	for (unsigned i = 0; i < count; i++) {
		unsigned at = (unsigned)(unit_random(rng) % held_count);

		blocks[i] = held[at];
		held[at] = held[--held_count];
		if (at < held_count)
			*(uint32_t *)held[at] = at;
	}
	gy_central_give(central, blocks, count, quiet);
}

static void give_all(struct gy_central *central)
{
	uint64_t rng = 1;

	while (held_count)
		give(central, 512, false, &rng);
	gy_central_drain(central, 0);
}

Test(central, CENTRAL_1_against_a_model)
{
	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct gy_central *central = central_of(sizes[s]);
		uint64_t rng = s + 1, before = used_pages();

		for (unsigned n = 0; n < (UNIT_SLOW ? 60u : 400u); n++) {
			unsigned count = 1 + (unsigned)(unit_random(&rng) % 64);

			if (unit_random(&rng) % 100 < (n / 50 % 2 ? 35 : 65))
				take(central, count);
			else
				give(central, count, unit_random(&rng) % 4 == 0, &rng);
			if (unit_random(&rng) % 16 == 0)
				gy_central_drain(central, 0);
			gy_central_check();
			cr_assert_eq(central->taken - central->given, held_count); /* CENTRAL-5 */
		}
		give_all(central);
		gy_central_check();
		cr_assert_eq(central->spans, 0u);
		cr_assert_eq(central->span_free, 0u);
		cr_assert_eq(used_pages(), before, "%zu bytes", sizes[s]);
	}
	gy_page_heap_check();
}

Test(central, popping_from_the_top_walks_upwards)
{
	enum gy_oom_reason reason = GY_OOM_NONE;
	void *blocks[40];

	cr_assert_eq(gy_central_take(central_of(64), blocks, 40, &reason), 40u);
	for (unsigned i = 1; i < 40; i++)
		cr_assert_gt(blocks[i - 1], blocks[i]);
	gy_central_give(central_of(64), blocks, 40, false);
}

Test(central, the_transfer_array_hands_on_what_it_was_given)
{
	struct gy_central *central = central_of(64);
	enum gy_oom_reason reason = GY_OOM_NONE;
	void *blocks[64], *again[64];

	take(central, 200); /* demand: some stay out */
	cr_assert_eq(gy_central_take(central, blocks, 64, &reason), 64u);
	gy_central_give(central, blocks, 64, false);
	cr_assert_eq(central->slot_count, 64u);
	cr_assert_eq(gy_central_take(central, again, 64, &reason), 64u);
	cr_assert_eq(central->slot_count, 0u);
	cr_assert_arr_eq(blocks, again, sizeof(blocks));
	/* quietly: past the array */
	gy_central_give(central, blocks, 64, true);
	cr_assert_eq(central->slot_count, 0u);
	gy_central_check();
}

Test(central, the_transfer_array_is_bounded_and_drained_by_age)
{
	gy_heap_tick = 100; /* 0 would be "of any age" */
	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct gy_central *central = central_of(sizes[s]);
		uint64_t rng = s;

		for (unsigned n = 0; n < 5; n++)
			take(central, 512);
		for (unsigned n = 0; n < 10; n++) {
			give(central, 100, false, &rng);
			cr_assert_leq(central->slot_count * sizes[s],
				      MAX((size_t)1 << 20, 16 * sizes[s]));
		}
		/* moved at this tick: not older than it */
		cr_assert_gt(central->slot_count, 0u);
		cr_assert_eq(gy_central_drain(central, 100), 0u);
		cr_assert_gt(central->slot_count, 0u);
		cr_assert_gt(gy_central_drain(central, 101), 0u);
		cr_assert_eq(central->slot_count, 0u);
		cr_assert_null(central->slots);
		give_all(central);
		cr_assert_eq(central->spans, 0u);
	}
	gy_central_check();
}

/* What waits for takers pins its spans: it goes home when there are hardly any takers left. */
Test(central, the_transfer_array_does_not_outlive_the_demand)
{
	struct gy_central *central = central_of(64);
	uint64_t rng = 1;

	take(central, 500);
	while (held_count > 1)
		give(central, 1, false, &rng);
	cr_assert_leq(central->slot_count, 1u);
	cr_assert_eq(central->spans, 1u);
	gy_central_check();
}

Test(central, one_block_is_given_once)
{
	for (unsigned sampled = 0; sampled < 2; sampled++) {
		struct gy_central *central = &gy_centrals[sampled][class_with(128)];
		enum gy_oom_reason reason = GY_OOM_NONE;
		void *blocks[2];

		cr_assert_eq(gy_central_take(central, blocks, 2, &reason), 2u);
		cr_assert_not(gy_central_holds(central, blocks[0]));
		cr_assert(gy_central_give_one(central, blocks[0]));
		cr_assert(gy_central_holds(central, blocks[0]));
		cr_assert_not(gy_central_give_one(central, blocks[0]));
		cr_assert_not(gy_central_holds(central, blocks[1]));
		cr_assert(gy_central_give_one(central, blocks[1]));
		cr_assert(gy_central_holds(central, blocks[1]));
		gy_central_check();
	}
}

Test(central, holds_looks_into_the_transfer_array)
{
	struct gy_central *central = central_of(64);
	enum gy_oom_reason reason = GY_OOM_NONE;
	void *blocks[20];

	take(central, 100); /* so that the array is of use */
	cr_assert_eq(gy_central_take(central, blocks, 20, &reason), 20u);
	gy_central_give(central, blocks, 19, false);
	cr_assert_eq(central->slot_count, 19u);
	for (unsigned i = 0; i < 19; i++)
		cr_assert(gy_central_holds(central, blocks[i]));
	cr_assert_not(gy_central_holds(central, blocks[19]));
}

/* Blocks given while another of their span stays out, so that the span stays. */
static void gives_twice(void *argument)
{
	struct gy_central *central = central_of(64);
	enum gy_oom_reason reason = GY_OOM_NONE;
	void *blocks[4], *twice[2];

	cr_assert_eq(gy_central_take(central, blocks, 4, &reason), 4u);
	twice[0] = twice[1] = blocks[1];
	gy_option_values[GY_OPT_on_misuse] = *(const int *)argument > 1;
	gy_central_give(central, twice, 2, *(const int *)argument & 1);
	gy_central_drain(central, 0);
	gy_central_check();
	child_check(central->taken - central->given == 3 || !(*(const int *)argument & 1));
}

Test(central, a_block_given_twice_is_a_double_free)
{
	for (int how = 0; how < 4; how++) {
		struct unit_child child = unit_child_run(gives_twice, &how);

		if (how < 2)
			unit_assert_abort(child, "double free of 0x");
		else
			unit_assert_exit(child, 0);
		cr_assert_not_null(strstr(child.text, "(a block of 64 bytes)"), "%s", child.text);
	}
}

/* Freed twice, and the span gone, or another class's, in between: told, not crashed on. */
static void gives_to_a_span_that_is_gone(void *argument)
{
	struct gy_central *central = central_of(1024), *other = central_of(512);
	enum gy_oom_reason reason = GY_OOM_NONE;
	void *block, *others[64];

	cr_assert_eq(gy_central_take(central, &block, 1, &reason), 1u);
	gy_central_give(central, &block, 1, true);
	if (argument)
		cr_assert_gt(gy_central_take(other, others, 64, &reason), 0u);
	gy_central_give(central, &block, 1, true);
}

Test(central, a_block_given_after_its_span_went_is_a_double_free)
{
	int other = 1;
	struct unit_child child = unit_child_run(gives_to_a_span_that_is_gone, NULL);

	unit_assert_abort(child, "double free of 0x");
	child = unit_child_run(gives_to_a_span_that_is_gone, &other);
	unit_assert_abort(child, "double free of 0x");
}

/* ---- for the scavenger ---- */

/* All blocks of some spans; then all but every n-th are given back into their spans. */
static void thin_out(struct gy_central *central, unsigned count, unsigned keep_every)
{
	void *blocks[1];
	unsigned kept = 0;

	take(central, count);
	for (unsigned i = 0; i < held_count; i++) {
		if (i % keep_every == 0) {
			held[kept] = held[i];
			*(uint32_t *)held[kept] = kept;
			kept++;
			continue;
		}
		blocks[0] = held[i];
		gy_central_give(central, blocks, 1, true);
	}
	held_count = kept;
	gy_central_check();
}

static unsigned refs_of(const struct gy_central *central, struct gy_span_ref *refs, unsigned most)
{
	unsigned count = 0;

	for (size_t h = 0; h < gy_page_heap_hugepage_count(); h++) {
		struct gy_span_ref here[256];
		unsigned found = gy_page_heap_spans_in(h, here);

		for (unsigned i = 0; i < found && count < most; i++)
			if (here[i].class_index == gy_central_class(central) &&
			    here[i].sampled == gy_central_is_sampled(central))
				refs[count++] = here[i];
	}
	return count;
}

static bool overlaps(const struct gy_span_ref *ref, uint32_t pages, const void *block, size_t bytes)
{
	uintptr_t start = (uintptr_t)gy_page_start(ref->first_page), at = (uintptr_t)block;

	for (unsigned u = 0; u < 32; u++)
		if (pages >> u & 1 && at < start + (u + 1) * 4096 && at + bytes > start + u * 4096)
			return true;
	return false;
}

Test(central, CENTRAL_1_what_is_borrowed_is_handed_out_to_nobody)
{
	static struct gy_span_ref refs[512];
	static uint32_t pages[512];

	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct gy_central *central = central_of(sizes[s]);
		size_t bytes = gy_size_classes[gy_central_class(central)].bytes;
		unsigned count, found = 0;
		uint64_t free_before;

		thin_out(central, 500, bytes < 4096 ? 4096 / (unsigned)bytes * 3 : 3);
		free_before = central->span_free;
		count = refs_of(central, refs, ARRAY_SIZE(refs));
		cr_assert_gt(count, 0u);
		for (unsigned i = 0; i < count; i++) {
			uint32_t dry = gy_central_borrow(&refs[i], 0, true);

			cr_assert_eq(central->span_free + central->borrowed, free_before);
			pages[i] = gy_central_borrow(&refs[i], 0, false);
			cr_assert_eq(pages[i], dry);
			cr_assert_eq(refs[i].span->borrowed != 0, pages[i] != 0); /* CENTRAL-6 */
			found += pages[i] != 0;
			/* under no live block */
			for (unsigned b = 0; b < held_count; b++)
				cr_assert_not(overlaps(&refs[i], pages[i], held[b], bytes));
			if (pages[i])
				cr_assert_eq(gy_central_borrow(&refs[i], 0, false), 0u,
					     "lent twice");
		}
		cr_assert_gt(found, 0u, "%zu bytes", sizes[s]);
		gy_central_check();
		for (unsigned n = 0; n < 4; n++) { /* what can be had does not overlap either */
			unsigned from = held_count;

			take(central, 200);
			for (unsigned i = 0; i < count; i++)
				for (unsigned b = from; b < held_count; b++)
					cr_assert_not(overlaps(&refs[i], pages[i], held[b], bytes));
		}
		for (unsigned i = 0; i < count; i++)
			if (pages[i])
				gy_central_return(&refs[i], pages[i], i % 2);
		cr_assert_eq(central->borrowed, 0u);
		gy_central_check();
		give_all(central);
		cr_assert_eq(central->spans, 0u);
		cr_assert_eq(central->gone_bytes, 0u);
	}
}

Test(central, CENTRAL_4_pages_that_went_come_back_when_a_block_is_taken)
{
	static struct gy_span_ref refs[512];

	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct gy_central *central = central_of(sizes[s]);
		uint64_t gone = 0;
		unsigned count;

		thin_out(central, 300, 100);
		for (unsigned b = 0; b < held_count; b++)
			memset((char *)held[b] + 4, 0x66,
			       gy_size_classes[gy_central_class(central)].bytes - 4);
		count = refs_of(central, refs, ARRAY_SIZE(refs));
		for (unsigned i = 0; i < count; i++) {
			uint32_t pages = gy_central_borrow(&refs[i], 0, false);

			for (uint32_t rest = pages; rest; rest &= rest - 1)
				cr_assert_eq(madvise(gy_page_start(refs[i].first_page) +
							     (size_t)__builtin_ctz(rest) * 4096,
						     4096, MADV_DONTNEED),
					     0);
			if (pages)
				gy_central_return(&refs[i], pages, true);
			gone += (uint64_t)__builtin_popcount(pages) * 4096;
		}
		cr_assert_gt(gone, 0u);
		cr_assert_leq(central->gone_bytes, gone);
		cr_assert(gone == central->gone_bytes || central->spans < count);
		gy_central_check();
		/* live blocks kept their bytes */
		for (unsigned b = 0; b < held_count; b++)
			for (size_t at = 4; at < gy_size_classes[gy_central_class(central)].bytes;
			     at++)
				if (((char *)held[b])[at] != 0x66)
					cr_assert_fail("%zu bytes: byte %zu is lost", sizes[s], at);
		/* asked again, there is nothing more to lend */
		count = refs_of(central, refs, ARRAY_SIZE(refs));
		for (unsigned i = 0; i < count; i++)
			cr_assert_eq(gy_central_borrow(&refs[i], 0, true), 0u);
		while (central->span_free && held_count < HELD_MAX - 512)
			take(central, (unsigned)MIN(central->span_free, 512));
		if (!central->span_free)
			cr_assert_leq(central->gone_bytes,
				      central->spans * 8192); /* tails alone may stay away */
		give_all(central);
		cr_assert_eq(central->gone_bytes, 0u);
	}
}

/* A wholly free kernel page behind the last block must not be lent alone: nothing would hold the
 * span. */
Test(central, CENTRAL_6_the_tail_alone_is_not_lent)
{
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		struct gy_central *central = &gy_centrals[0][c];
		const struct gy_size_class *size = &gy_size_classes[c];
		enum gy_oom_reason reason = GY_OOM_NONE;
		struct gy_span_ref refs[4];
		void *blocks[GY_SPAN_OBJECTS_MAX];
		unsigned count = size->objects;

		/* every block of one span but none free */
		cr_assert_eq(gy_central_take(central, blocks, count, &reason), count);
		cr_assert_eq(central->spans, 1u);
		cr_assert_eq(refs_of(central, refs, 4), 1u);
		cr_assert_eq(gy_central_borrow(&refs[0], 0, true), 0u, "class %u", c);
		cr_assert_eq(gy_central_borrow(&refs[0], 0, false), 0u, "class %u", c);
		gy_central_give(central, blocks, count, true);
		cr_assert_eq(central->spans, 0u);
	}
}

Test(central, borrowing_what_changed_meanwhile_yields_nothing)
{
	struct gy_central *central = central_of(1024);
	struct gy_span_ref refs[8], wrong;

	thin_out(central, 60, 50);
	cr_assert_gt(refs_of(central, refs, 8), 0u);
	/* younger than asked for */
	cr_assert_eq(gy_central_borrow(&refs[0], gy_heap_tick | 1, true) != 0,
		     (gy_heap_tick | 1) > gy_heap_tick);
	gy_heap_tick = 100;
	give_all(central);
	thin_out(central, 60, 50);
	cr_assert_gt(refs_of(central, refs, 8), 0u);
	cr_assert_eq(gy_central_borrow(&refs[0], 100, true), 0u);
	cr_assert_eq(gy_central_borrow(&refs[0], 99, true), 0u);
	cr_assert_neq(gy_central_borrow(&refs[0], 101, true), 0u);
	/* another span's record by now */
	wrong = refs[0];
	wrong.first_page++;
	cr_assert_eq(gy_central_borrow(&wrong, 0, true), 0u);
	wrong = refs[0];
	wrong.class_index++;
	cr_assert_eq(gy_central_borrow(&wrong, 0, true), 0u);
	wrong = refs[0];
	wrong.sampled = 1;
	cr_assert_eq(gy_central_borrow(&wrong, 0, true), 0u);
	give_all(central);
	cr_assert_eq(gy_central_borrow(&refs[0], 0, true), 0u);
	take(central_of(512), 100);
	cr_assert_eq(gy_central_borrow(&refs[0], 0, true), 0u);
}

/* Every block comes home while its span is lent: the span goes when the loan ends. */
Test(central, a_span_that_empties_while_lent_goes_when_it_is_returned)
{
	struct gy_central *central = central_of(1024);
	struct gy_span_ref refs[8];
	uint64_t before = used_pages();
	uint32_t pages;

	thin_out(central, 4, 4);
	cr_assert_eq(refs_of(central, refs, 8), 1u);
	pages = gy_central_borrow(&refs[0], 0, false);
	cr_assert_neq(pages, 0u);
	give_all(central);
	cr_assert_eq(central->spans, 1u);
	gy_central_return(&refs[0], pages, true);
	cr_assert_eq(central->spans, 0u);
	cr_assert_eq(central->gone_bytes, 0u);
	cr_assert_eq(used_pages(), before);
	gy_central_check();
}

Test(central, without_memory_it_gives_what_it_has)
{
	struct gy_central *central = central_of(4096);
	enum gy_oom_reason reason = GY_OOM_NONE;
	static void *blocks[HELD_MAX];
	unsigned got;

	cr_assert_eq(gy_central_take(central, blocks, 1, &reason), 1u);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mprotect;
	gy_option_values[GY_OPT_fault_count] = UINT64_MAX;
	got = gy_central_take(central, blocks + 1, HELD_MAX - 1, &reason);
	cr_assert_lt(got, HELD_MAX - 1u);
	cr_assert_eq(reason, GY_OOM_REFUSED);
	for (unsigned i = 0; i <= got; i++)
		*(uint64_t *)blocks[i] = i;
	for (unsigned i = 0; i <= got; i++)
		cr_assert_eq(*(uint64_t *)blocks[i], i);
	gy_central_check();
	gy_central_give(central, blocks, got + 1, true);
	cr_assert_eq(central->spans, 0u);
}

/* ---- threads: batches of everybody, with a lender in between ---- */
static uint32_t stop;  /* [atomic] */
static uint64_t loans; /* [atomic] */

static void *lender(void *argument)
{
	static struct gy_span_ref refs[256];

	while (!READ_RELAXED(stop)) {
		for (size_t h = 0; h < gy_page_heap_hugepage_count(); h++) {
			unsigned count = gy_page_heap_spans_in(h, refs);

			for (unsigned i = 0; i < count; i++) {
				uint32_t pages = gy_central_borrow(&refs[i], 0, false);

				if (!pages)
					continue;
				/* what a live block has there would be lost */
				for (uint32_t rest = pages; rest; rest &= rest - 1)
					madvise(gy_page_start(refs[i].first_page) +
							(size_t)__builtin_ctz(rest) * 4096,
						4096, MADV_DONTNEED);
				gy_central_return(&refs[i], pages, true);
				ADD_RELAXED(loans, 1u);
			}
		}
	}
	return argument;
}

static void *trader(void *argument)
{
	uint64_t rng = (uintptr_t)argument;
	enum gy_oom_reason reason = GY_OOM_NONE;
	void *mine[600];
	unsigned count = 0;
	uint64_t give_up_ms = unit_now_ms() + 20000;

	/* until the lender had its chances, too: the machine may be busy */
	for (unsigned n = 0; n < (UNIT_SLOW ? 600u : 4000u) ||
			     (READ_RELAXED(loans) < 10 && unit_now_ms() < give_up_ms);
	     n++) {
		struct gy_central *central = central_of(1024);
		unsigned batch = 1 + (unsigned)(unit_random(&rng) % 32);

		if (count + batch <= ARRAY_SIZE(mine) && unit_random(&rng) % 2) {
			if (gy_central_take(central, mine + count, batch, &reason) != batch)
				return argument;
			for (unsigned i = 0; i < batch; i++)
				for (unsigned w = 0; w < 128; w += 16)
					((uintptr_t *)mine[count + i])[w] =
						(uintptr_t)argument + count + i;
			count += batch;
		} else if (batch <= count) {
			count -= batch;
			for (unsigned i = 0; i < batch; i++)
				for (unsigned w = 0; w < 128; w += 16)
					if (((uintptr_t *)mine[count + i])[w] !=
					    (uintptr_t)argument + count + i)
						return argument;
			gy_central_give(central, mine + count, batch, unit_random(&rng) % 2);
		}
	}
	gy_central_give(central_of(1024), mine, count, false);
	return NULL;
}

Test(central, threads_trade_batches_while_pages_are_lent)
{
	pthread_t threads[3], lending;

	cr_assert_eq(pthread_create(&lending, NULL, lender, NULL), 0);
	for (uintptr_t i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, trader, (void *)((i + 1) << 20)), 0);
	for (unsigned i = 0; i < 3; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	WRITE_RELAXED(stop, 1u);
	pthread_join(lending, NULL);
	cr_assert_gt(loans, 0u);
	gy_central_drain(central_of(1024), 0);
	gy_central_check();
	gy_page_heap_check();
	cr_assert_eq(central_of(1024)->spans, 0u);
	cr_assert_eq(central_of(1024)->taken, central_of(1024)->given);
}
