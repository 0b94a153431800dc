/* verify.c - a second collector, slow and simple, that checks the first.
 *
 * Right after a cycle the world is stopped, and everything is found again from the roots, one
 * object at a time, with bits of our own: nothing of mark.c or barrier.c takes part. Each object
 * that is reached must be alive by the collector's own books:
 *
 *	block's epoch is gy_gc_epoch	it was swept since the flip, or is new: its allocated bit
 *	block's epoch is older		it is still to be swept: its mark bit (what was allocated
 *					in it since the snapshot was born black)
 *
 * An object that is reached and not alive is lost: it will be, or has been, swept under the
 * program's feet. Some store of a pointer into an object went without gyre_set, or the collector is
 * wrong.
 *
 * Not all that looks like a pointer proves something. A word of a stack may be of long ago: a frame
 * that has not written all of itself shows what an earlier one left there, below the stack pointer
 * when the snapshot was taken. So words of roots (stacks, globals, ranges, arguments) lead on to
 * what is alive, and count for nothing where they point to what is not. Words of objects that are
 * reached and handles count: they were read at the snapshot, or written since with a pointer that
 * somebody held.
 *
 * What has been lost so long ago that its slot is in use again cannot be told from its successor,
 * and pages that went back to the heap are not told from malloc'd ones: therefore the collector
 * calls this before it sweeps.
 *
 * VERIFY-1  While the world is stopped nothing here allocates but by mmap, or prints: what is lost
 *	     is noted, and told afterwards.
 * VERIFY-2  The bitmap has a bit for each object of each block: (first page x 512 + index).
 */
#include "gc/verify.h"

#include "base/panic.h"
#include "gc/cycle.h"
#include "gc/finalise.h"
#include "gc/roots.h"
#include "os/vm.h"

#include <errno.h>
#include <string.h>

#define BITS_PER_PAGE (GY_PAGE_BYTES / 16) /* VERIFY-2 */
#define REPORTS_MAX 20u
#define STACK_BYTES_FIRST ((size_t)1 << 20)
#define TRIES 8

struct lost {
	uintptr_t object, referrer, slot; /* referrer 0: a handle */
	uint16_t object_layout, referrer_layout;
	size_t object_bytes;
};

/* One verification. */
struct verifier {
	uint64_t *seen; /* VERIFY-2 */
	size_t seen_bytes;
	struct gy_object *stack; /* reached, not yet looked into */
	size_t stack_bytes, depth;
	struct gy_object from; /* whose words are being looked at */
	bool definite;	       /* what they say counts */
	bool from_handle;
	bool failed; /* memory lacks */
	uint64_t epoch;
	long lost;
	struct lost reports[REPORTS_MAX];
};

static size_t object_bytes(struct gy_object object)
{
	const struct gy_gc_page *record = &gy_gc_pages[object.block];

	return record->kind == GY_BLOCK_LARGE ? (size_t)record->pages << GY_PAGE_SHIFT
					      : record->object_bytes;
}

static bool is_alive(const struct verifier *verifier, struct gy_object object)
{
	return gy_gc_pages[object.block].epoch == verifier->epoch ? gy_object_is_allocated(object)
								  : gy_object_is_marked(object);
}

static bool see(struct verifier *verifier, struct gy_object object)
{
	size_t bit = object.block * BITS_PER_PAGE + object.index;

	if (verifier->seen[bit / 64] >> bit % 64 & 1)
		return false;
	verifier->seen[bit / 64] |= 1ull << bit % 64;
	return true;
}

static void push(struct verifier *verifier, struct gy_object object)
{
	void *more;

	if ((verifier->depth + 1) * sizeof(object) > verifier->stack_bytes) {
		if (gy_vm_map(&more, verifier->stack_bytes * 2)) {
			verifier->failed = true;
			return;
		}
		memcpy(more, verifier->stack, verifier->stack_bytes);
		gy_vm_unmap(verifier->stack, verifier->stack_bytes);
		verifier->stack = more;
		verifier->stack_bytes *= 2;
	}
	verifier->stack[verifier->depth++] = object;
}

static void note_lost(struct verifier *verifier, struct gy_object object, const uintptr_t *slot)
{
	struct lost *lost;

	if (verifier->lost++ >= (long)REPORTS_MAX)
		return;
	lost = &verifier->reports[verifier->lost - 1];
	lost->object = (uintptr_t)gy_object_start(object);
	lost->object_layout = gy_gc_pages[object.block].layout;
	lost->object_bytes = object_bytes(object);
	lost->slot = (uintptr_t)slot;
	if (verifier->from_handle)
		return;
	lost->referrer = (uintptr_t)gy_object_start(verifier->from);
	lost->referrer_layout = gy_gc_pages[verifier->from.block].layout;
}

static void look(struct verifier *verifier, const uintptr_t *slot, uintptr_t word)
{
	struct gy_object object;

	if (!gy_object_find(word, &object))
		return;
	if (is_alive(verifier, object)) {
		if (see(verifier, object))
			push(verifier, object);
	} else if (verifier->definite && see(verifier, object)) {
		note_lost(verifier, object, slot);
		/* Not yet swept, it is as it was: what it leads to is lost with it. */
		if (gy_gc_pages[object.block].epoch != verifier->epoch &&
		    gy_object_is_allocated(object))
			push(verifier, object);
	}
}

/* Conservative scanning reads what was not made for it. */
#define UNSANITIZED __attribute__((no_sanitize("address", "thread", "undefined")))

UNSANITIZED static void look_range(const void *start, const void *end, void *argument)
{
	uintptr_t from = ((uintptr_t)start + 7) & ~(uintptr_t)7, to = (uintptr_t)end;

	for (; from + sizeof(uintptr_t) <= to; from += sizeof(uintptr_t)) {
		const uintptr_t *slot = (const uintptr_t *)from;

		look(argument, slot, *slot);
	}
}

/* `words` words from `at` on, by a map; those that lie beyond `end` are left out. */
static void look_mapped(struct verifier *verifier, const uintptr_t *at, const uintptr_t *end,
			const uint64_t *map, size_t words)
{
	for (size_t i = 0; i < words && at + i < end; i++)
		if (map[i / 64] >> i % 64 & 1)
			look(verifier, at + i, READ_RELAXED(at[i]));
}

static void look_into(struct verifier *verifier, struct gy_object object)
{
	const struct gy_layout *layout = gy_layouts[gy_gc_pages[object.block].layout];
	const uintptr_t *at = (const uintptr_t *)(const void *)gy_object_start(object);
	const uintptr_t *end = at + object_bytes(object) / sizeof(*at);

	verifier->from = object;
	switch ((enum gy_layout_kind)layout->kind) {
	case GY_LAYOUT_LEAF:
		break;
	case GY_LAYOUT_CONSERVATIVE:
		look_range(at, end, verifier);
		break;
	case GY_LAYOUT_TYPED:
		look_mapped(verifier, at, end, layout->map, layout->head_words);
		if (!layout->tail_words)
			break;
		for (at += layout->head_words; at < end; at += layout->tail_words)
			look_mapped(verifier, at, end, &layout->tail_map, layout->tail_words);
		break;
	case GY_LAYOUT_ARRAY:
		for (; at < end; at += layout->head_words)
			look_mapped(verifier, at, end, layout->map, layout->head_words);
		break;
	}
}

static void visit_word(uintptr_t word, void *verifier)
{
	look(verifier, NULL, word);
}

static void visit_fields(void *address, void *verifier)
{
	struct gy_object object;

	if (gy_object_find((uintptr_t)address, &object))
		look_into(verifier, object);
}

/* The world is stopped. */
static void walk(struct verifier *verifier)
{
	verifier->epoch = READ_RELAXED(gy_gc_epoch);
	gy_roots_each(look_range, verifier);
	gy_finalise_each_root(visit_word, visit_fields, verifier);
	verifier->definite = verifier->from_handle = true;
	gy_handle_each(visit_word, verifier);
	verifier->from_handle = false;
	while (verifier->depth && !verifier->failed)
		look_into(verifier, verifier->stack[--verifier->depth]);
}

static void add_object(struct gy_text *text, uintptr_t address, uint16_t layout)
{
	gy_text_add(text, gy_layouts[layout]->name);
	gy_text_add(text, " at ");
	gy_text_add_hex(text, address);
}

static void report(const struct lost *lost)
{
	char buffer[512], field[128];
	struct gy_text text = GY_TEXT(buffer);

	gy_message_begin(&text);
	gy_text_add(&text, "lost object: ");
	add_object(&text, lost->object, lost->object_layout);
	gy_text_add(&text, " (");
	gy_text_add_u64(&text, lost->object_bytes);
	gy_text_add(&text, " bytes), reached through ");
	if (lost->referrer) {
		gy_layout_field_name(gy_layouts[lost->referrer_layout],
				     lost->slot - lost->referrer, field, sizeof(field));
		gy_text_add(&text, "field ");
		gy_text_add(&text, field);
		gy_text_add(&text, " of ");
		add_object(&text, lost->referrer, lost->referrer_layout);
		gy_text_add(&text, ", slot ");
		gy_text_add_hex(&text, lost->slot);
	} else {
		gy_text_add(&text, "a handle");
	}
	gy_message_write(&text);
}

/* 0, -EAGAIN, or why not. */
static int try_walk(struct verifier *verifier)
{
	struct gy_world_report world;
	int error = gy_roots_prepare();
	void *map;

	if (error)
		return error;
	gy_cycle_hold();
	error = gy_world_stop(&world);
	if (error) {
		gy_cycle_let_go();
		return error;
	}
	verifier->seen_bytes = gy_gc_covered * BITS_PER_PAGE / 8;
	verifier->stack_bytes = STACK_BYTES_FIRST;
	if (!gy_roots_freeze(0)) {
		error = -EAGAIN;
	} else if (verifier->seen_bytes && !(error = gy_vm_map(&map, verifier->seen_bytes))) {
		verifier->seen = map;
		error = gy_vm_map(&map, verifier->stack_bytes);
		if (!error) {
			verifier->stack = map;
			walk(verifier);
			gy_vm_unmap(verifier->stack, verifier->stack_bytes);
		}
		gy_vm_unmap(verifier->seen, verifier->seen_bytes);
	}
	gy_world_start();
	gy_cycle_let_go();
	return error;
}

long gy_verify(void)
{
	static struct verifier verifier; /* [coordinator] too large for its stack */
	int error = -EAGAIN;

	for (unsigned i = 0; i < TRIES && error == -EAGAIN; i++) {
		memset(&verifier, 0, sizeof(verifier));
		error = try_walk(&verifier);
	}
	if (error || verifier.failed)
		return -1;
	for (long i = 0; i < MIN(verifier.lost, (long)REPORTS_MAX); i++)
		report(&verifier.reports[i]);
	return verifier.lost;
}
