/* stack_memo.c - see stack_memo.h. */
#include "trace/stack_memo.h"

#include "heap/metadata.h"

#define FEW_LOG2 7u
#define MANY_LOG2 12u
#define WORDS (GY_STACK_MEMO_FRAMES + GY_STACK_MEMO_ANCHORS)

/* What readers compare is loaded with acquire and stored with release, as in profile.c: a reader
 * that sees a word of a later change sees that change's odd version too. */
struct row {
	uint32_t version;         /* odd: being written; 0: never was. MEMO-2 */
	uint16_t depth, capacity; /* depth 0: nothing is kept */
	uintptr_t sp, caller_pc;
	uint64_t note;
	uint32_t count; /* of words: the return addresses first, then the anchors */
	uint32_t pad;
	struct {
		uintptr_t offset; /* above sp */
		uintptr_t value;
	} words[WORDS];
} GY_ALIGNED(64);

static struct row few[1u << FEW_LOG2];
static struct row *many_rows; /* [atomic: release; set once] */

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define STORE(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)

bool gy_stack_memo_many(void)
{
	struct row *rows, *none = NULL;

	if (LOAD(many_rows))
		return true;
	rows = gy_metadata_take(sizeof(*rows) << MANY_LOG2);
	if (rows)
		__atomic_compare_exchange_n(&many_rows, &none, rows, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED);
	return rows != NULL;
}

/* NULL: there is none. */
GY_INLINE struct row *row_at(bool many, uint32_t index)
{
	struct row *rows = many ? LOAD(many_rows) : few;

	return rows ? &rows[index & ((many ? 1u << MANY_LOG2 : 1u << FEW_LOG2) - 1)] : NULL;
}

GY_INLINE struct row *row_of(uintptr_t sp, uintptr_t caller_pc, struct gy_stack_seen *seen)
{
	uint64_t mixed = (sp ^ caller_pc << 20) * 0x9e3779b97f4a7c15u;

	seen->row = (uint32_t)(mixed >> (64 - MANY_LOG2));
	return row_at(seen->many, seen->row);
}

/* false: somebody writes it now. */
static bool row_begin(struct row *row)
{
	uint32_t version = READ_RELAXED(row->version);

	return !(version & 1) &&
	       __atomic_compare_exchange_n(&row->version, &version, version + 1, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void row_end(struct row *row)
{
	STORE(row->version, row->version + 1 ? row->version + 1 : 2);
}

/* MEMO-1: do all of the row's words lie on the stack still, as they were? Aligned they are, as sp
 * is the same. The row may change meanwhile. */
GY_INLINE bool words_hold(const struct row *row, uintptr_t sp, uintptr_t high)
{
	const uintptr_t room = high - sp - sizeof(uint64_t);
	uint32_t count = LOAD(row->count);

	if (unlikely(count > WORDS))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		uintptr_t offset = LOAD(row->words[i].offset);

		if (offset > room || gy_stack_word(sp + offset) != LOAD(row->words[i].value))
			return false;
	}
	return true;
}

unsigned gy_stack_memo_find(uintptr_t sp, uintptr_t caller_pc, struct gy_stack_range range,
			    unsigned capacity, struct gy_stack_seen *seen)
{
	const struct row *row = row_of(sp, caller_pc, seen);
	uint32_t version;
	unsigned depth;
	uint64_t note;

	if (unlikely(!row))
		return 0;
	version = LOAD(row->version);
	if (sp < range.low || sp >= range.high || (version & 1) || LOAD(row->sp) != sp ||
	    LOAD(row->caller_pc) != caller_pc || LOAD(row->capacity) != capacity)
		return 0;
	depth = LOAD(row->depth);
	note = LOAD(row->note);
	if (!depth || !words_hold(row, sp, range.high) || READ_RELAXED(row->version) != version)
		return 0;
	seen->note = note;
	seen->version = version;
	return depth;
}

bool gy_stack_memo_frames(const struct gy_stack_seen *seen, uintptr_t *frames, unsigned depth)
{
	const struct row *row = row_at(seen->many, seen->row);

	for (unsigned i = 0; i < depth; i++)
		frames[i] = LOAD(row->words[i].value);
	return READ_RELAXED(row->version) == seen->version;
}

/* Adds a word to the row; false if it does not lie on the stack. */
static bool row_add(struct row *row, uintptr_t slot, uintptr_t sp, uintptr_t high)
{
	uint32_t at = row->count;

	if (slot < sp || slot >= high || (slot & 7))
		return false;
	STORE(row->words[at].offset, slot - sp);
	STORE(row->words[at].value, gy_stack_word(slot));
	STORE(row->count, at + 1);
	return true;
}

static bool row_fill(struct row *row, const struct gy_stack_trail *trail, const uintptr_t *frames,
		     unsigned depth, uintptr_t sp, uintptr_t high)
{
	STORE(row->count, 0);
	for (unsigned i = 0; i < depth; i++)
		if (!row_add(row, trail->slots[i], sp, high) || row->words[i].value != frames[i])
			return false;
	/* What lies below sp is of the walk's own frames, which are always the same. */
	for (unsigned i = 0; i < trail->anchor_count; i++)
		if (trail->anchors[i] >= sp && !row_add(row, trail->anchors[i], sp, high))
			return false;
	return true;
}

void gy_stack_memo_put(uintptr_t sp, uintptr_t caller_pc, struct gy_stack_range range,
		       const struct gy_stack_trail *trail, const uintptr_t *frames, unsigned depth,
		       unsigned capacity, struct gy_stack_seen *seen)
{
	struct row *row = row_of(sp, caller_pc, seen);

	if (!row || !trail->kept || sp < range.low || sp >= range.high ||
	    depth > GY_STACK_MEMO_FRAMES || !row_begin(row))
		return;
	STORE(row->sp, sp);
	STORE(row->caller_pc, caller_pc);
	STORE(row->capacity, (uint16_t)capacity);
	STORE(row->note, 0); /* MEMO-4 */
	STORE(row->depth,
	      row_fill(row, trail, frames, depth, sp, range.high) ? (uint16_t)depth : 0);
	row_end(row);
	seen->version = READ_RELAXED(row->version);
}

void gy_stack_memo_note(const struct gy_stack_seen *seen, uint64_t note)
{
	struct row *row = row_at(seen->many, seen->row);
	uint32_t version = seen->version;

	if (!row || !version ||
	    !__atomic_compare_exchange_n(&row->version, &version, version + 1, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	STORE(row->note, note);
	row_end(row);
}

static void clear_rows(struct row *rows, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (!row_begin(&rows[i]))
			continue; /* of somebody who is at it now */
		STORE(rows[i].depth, 0);
		row_end(&rows[i]);
	}
}

void gy_stack_memo_clear(void)
{
	clear_rows(few, 1u << FEW_LOG2);
	if (LOAD(many_rows))
		clear_rows(LOAD(many_rows), 1u << MANY_LOG2);
}
