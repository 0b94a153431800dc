/* mark.c - from grey to black: blocks at a time, and never waiting for one line of memory.
 *
 * A graph that was not laid out in the order in which it is walked costs a cache miss for each
 * pointer, and marking is nothing but such misses. Three things help, and add up:
 *
 * Order. The queue holds blocks, first in first out. A block is queued when an object of it turns
 * grey and it was not queued already; by the time it is taken many of its objects are grey, and
 * they are scanned together in the order of their addresses, on lines that come in once. (So does
 * Go since 1.26: "Green Tea"; there per 8 KiB span as well.)
 *
 * Nearness. What an object leads to in its own block is marked and scanned in the same pass,
 * without an atomic operation for each and without the queue (scan_plain): a list, or a tree that
 * was laid out in order, costs a few instructions a pointer.
 *
 * Distance. Whatever will be touched is asked for some steps ahead (Cher, Hosking, Vitek: "Software
 * prefetching for mark-sweep garbage collection", 2004):
 *
 *	pointer found -> ring of GY_MARK_TARGETS -> test and mark -> queue -> scan
 *	         prefetch: record and bits            3 blocks ahead: bits; 1 ahead: first greys;
 *	                                              within the block: objects some greys ahead
 *
 * Marking an object, by anyone:
 *	1. marks |= bit, sequentially consistent; who finds it set already is done
 *	2. queued is 1: done; else queued = 1 by exchange; who changed it queues the block
 * Taking a block:
 *	1. grey = marks & ~scanned; scanned |= grey; scan these
 *	2. queued = 0 by exchange, then look at marks & ~scanned again; if there is some: 2. above
 * REC-3: either the marker of an object sees queued = 0 in its step 2, or the taker's second look,
 * which stands behind its exchange, sees the mark: all four operations are sequentially consistent.
 *
 * SCAN-1  A word in a typed field is believed to be a pointer if it lies in a block; a word of a
 *         stack, or of a conservative object, only if it lies in an allocated object. So the free
 *         slots of a block are not brought to life by chance.
 * SCAN-2  Fields are read once, relaxed: what a store puts there meanwhile is shaded by it, or new.
 * SCAN-3  An object of a LARGE block is cut into pieces of GY_MARK_PIECE_BYTES: before a piece is
 *         scanned the next one is given away, so another marker may take that. Pieces go before
 *         blocks with few greys (mark_queue.h). Words are divided among pieces without regard to
 *         array elements.
 *
 * Not here: queues and pool (mark_queue.c); barrier buffers (barrier.c); who calls (cycle.c).
 */
#include "gc/bin.h"
#include "gc/layout.h"
#include "gc/mark_queue.h"

#include <string.h>

#define FROM_ROOT (1ull << 63) /* of a target: a word that may be anything; SCAN-1 */
#define BITS_AHEAD 3u	       /* blocks */
#define GREYS_AHEAD 4u	       /* objects of the next block */
#define OBJECTS_AHEAD 6u       /* within a block */
#define PIECE_WORDS (GY_MARK_PIECE_BYTES / 8)

#define RAW_READER __attribute__((no_sanitize("address", "thread")))

/* ------------------------------------------------------------------ marking */

static GY_NOINLINE void overflow(struct gy_gc_page *record)
{
	__atomic_store_n(&record->queued, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&gy_mark_overflowed, 1, __ATOMIC_SEQ_CST);
}

static void queue_block(struct gy_marker *marker, size_t block)
{
	struct gy_gc_page *record = &gy_gc_pages[block];

	if (__atomic_load_n(&record->queued, __ATOMIC_SEQ_CST) ||
	    __atomic_exchange_n(&record->queued, 1, __ATOMIC_SEQ_CST))
		return;
	if (unlikely(!gy_mark_push(marker, block)))
		overflow(record);
}

/* The object has just been marked. */
GY_INLINE void turned_grey(struct gy_marker *marker, size_t block)
{
	struct gy_gc_page *record = &gy_gc_pages[block];
	size_t bytes = record->object_bytes;

	if (unlikely(!bytes))
		bytes = (size_t)record->pages << GY_PAGE_SHIFT;
	marker->stats.marked_objects++;
	marker->stats.marked_bytes += bytes;
	if (__atomic_load_n(&gy_layouts[record->layout], __ATOMIC_ACQUIRE)->kind == GY_LAYOUT_LEAF)
		return; /* REC-4 */
	queue_block(marker, block);
}

/* target: an address below gy_gc_covered, and FROM_ROOT or not. */
GY_INLINE void mark_target(struct gy_marker *marker, uintptr_t target)
{
	uintptr_t address = target & ~FROM_ROOT;
	const struct gy_gc_page *record = &gy_gc_pages[(address - gy_map.base) >> GY_PAGE_SHIFT];
	size_t block;
	unsigned index;
	uint64_t *word, bit;

	if (__atomic_load_n(&record->kind, __ATOMIC_ACQUIRE) == GY_BLOCK_NONE)
		return;
	block = record->first_page;
	index = (unsigned)((address - (uintptr_t)gy_page_start(block)) * (uint64_t)record->magic >>
			   32);
	if (unlikely(index >= record->objects))
		return;
	word = gy_marks_word(block, index / 64);
	bit = 1ull << index % 64;
	if (READ_RELAXED(*word) & bit)
		return;
	if (target & FROM_ROOT &&
	    !(__atomic_load_n(&gy_gc_bits[block].allocated[index / 64], __ATOMIC_ACQUIRE) & bit))
		return;
	if (!(__atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST) & bit))
		turned_grey(marker, block);
}

/* A word was found: into the ring, and the oldest out of it. */
GY_INLINE void found(struct gy_marker *marker, uintptr_t word, uintptr_t from)
{
	size_t page = (word - gy_map.base) >> GY_PAGE_SHIFT;
	uintptr_t oldest;

	if (page >= READ_RELAXED(gy_gc_covered))
		return;
	__builtin_prefetch(&gy_gc_pages[page]);
	oldest = marker->targets[marker->target_at];
	marker->targets[marker->target_at] = word | from;
	marker->target_at = (marker->target_at + 1) % GY_MARK_TARGETS;
	if (oldest)
		mark_target(marker, oldest);
}

static void flush_targets(struct gy_marker *marker)
{
	for (unsigned i = 0; i < GY_MARK_TARGETS; i++) {
		uintptr_t target = marker->targets[i];

		marker->targets[i] = 0;
		if (target)
			mark_target(marker, target);
	}
}

/* ------------------------------------------------------------------ scanning */

RAW_READER static void scan_words(struct gy_marker *marker, const uintptr_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		found(marker, READ_RELAXED(words[i]), FROM_ROOT);
}

/* The pointers of one element (its map has `map_words` bits) among words [from, to) of it. */
static void scan_element(struct gy_marker *marker, const uintptr_t *words, const uint64_t *map,
			 size_t from, size_t to)
{
	for (size_t w = from / 64; w * 64 < to; w++) {
		uint64_t bits = map[w];

		if (w == from / 64)
			bits &= ~0ull << from % 64;
		if (to - w * 64 < 64)
			bits &= (1ull << (to - w * 64)) - 1;
		for (; bits; bits &= bits - 1)
			found(marker,
			      READ_RELAXED(words[w * 64 + (unsigned)__builtin_ctzll(bits)]), 0);
	}
}

/* An array of pointers and nothing else. */
static void scan_pointers(struct gy_marker *marker, const uintptr_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		found(marker, READ_RELAXED(words[i]), 0);
}

/* Elements of `size` words each from `words` on: those parts that lie in [from, to). */
static void scan_elements(struct gy_marker *marker, const uintptr_t *words, const uint64_t *map,
			  size_t size, size_t from, size_t to)
{
	if (size == 1 && map[0]) {
		scan_pointers(marker, words + from, to - from);
		return;
	}
	for (size_t at = from / size * size; at < to; at += size)
		scan_element(marker, words + at, map, MAX(from, at) - at, MIN(to - at, size));
}

/* Words [from, to) of an object of `words` words, by its layout. */
static void scan_part(struct gy_marker *marker, const uintptr_t *object,
		      const struct gy_layout *layout, size_t words, size_t from, size_t to)
{
	size_t head = layout->head_words;

	switch ((enum gy_layout_kind)layout->kind) {
	case GY_LAYOUT_LEAF:
		break;
	case GY_LAYOUT_CONSERVATIVE:
		scan_words(marker, object + from, to - from);
		break;
	case GY_LAYOUT_ARRAY:
		/* What is left at the end is no element. */
		to = head ? MIN(to, words / head * head) : 0;
		if (from < to)
			scan_elements(marker, object, layout->map, head, from, to);
		break;
	case GY_LAYOUT_TYPED:
		if (from < head)
			scan_element(marker, object, layout->map, from, MIN(to, head));
		if (!layout->tail_words || !layout->tail_map || to <= head)
			break;
		to = MIN(to - head, (words - head) / layout->tail_words * layout->tail_words);
		from = MAX(from, head) - head;
		if (from < to)
			scan_elements(marker, object + head, &layout->tail_map, layout->tail_words,
				      from, to);
		break;
	}
}

/* SCAN-3. Without room for the object's other pieces all is scanned here. */
static void scan_large(struct gy_marker *marker, size_t block, size_t piece)
{
	const struct gy_gc_page *record = &gy_gc_pages[block];
	const struct gy_layout *layout = gy_layouts[record->layout];
	size_t words = ((size_t)record->pages << GY_PAGE_SHIFT) / 8;
	size_t pieces = gy_div_round_up(words, PIECE_WORDS), end = piece + 1;
	size_t from = piece * PIECE_WORDS, to;

	if (end < pieces && !gy_mark_piece_give(block | (uint64_t)end << 32) &&
	    !gy_mark_push(marker, block | (uint64_t)end << 32))
		end = pieces;
	to = MIN(end * PIECE_WORDS, words);
	scan_part(marker, (const uintptr_t *)(void *)gy_page_start(block), layout, words, from, to);
	marker->stats.scanned_objects += !piece;
	marker->stats.scanned_bytes += (to - from) * 8;
}

/* A block as its marker found it. */
struct grey_block {
	size_t block;
	unsigned count, words;
	uint64_t marks[GY_BIT_WORDS_MAX], grey[GY_BIT_WORDS_MAX]; /* grey: of these */
	uint16_t greys[64 * GY_BIT_WORDS_MAX + 1]; /* indices; room for all objects and one */
};

static void list_greys(struct grey_block *found_block, size_t block)
{
	unsigned count = 0;

	found_block->block = block;
	found_block->words = gy_gc_pages[block].bit_words;
	for (unsigned w = 0; w < found_block->words; w++) {
		uint64_t marks = __atomic_load_n(gy_marks_word(block, w), __ATOMIC_ACQUIRE);
		uint64_t grey = marks & ~READ_RELAXED(*gy_scanned_word(block, w));

		found_block->marks[w] = marks;
		found_block->grey[w] = grey;
		for (; grey; grey &= grey - 1)
			found_block->greys[count++] =
				(uint16_t)(w * 64 + (unsigned)__builtin_ctzll(grey));
	}
	found_block->count = count;
}

/* Nobody else takes them, as long as the block is this marker's (REC-3). */
static void take_greys(const struct grey_block *from)
{
	for (unsigned w = 0; w < from->words; w++)
		if (from->grey[w])
			__atomic_fetch_or(gy_scanned_word(from->block, w), from->grey[w],
					  __ATOMIC_RELAXED);
}

static bool has_greys(size_t block)
{
	unsigned words = gy_gc_pages[block].bit_words;
	uint64_t grey = 0;

	for (unsigned w = 0; w < words; w++)
		grey |= __atomic_load_n(gy_marks_word(block, w), __ATOMIC_SEQ_CST) &
			~READ_RELAXED(*gy_scanned_word(block, w));
	return grey != 0;
}

/* ---- white objects as bytes, 0 or 1: to clear one waits for no other */

#define ALL_BYTES 0x0101010101010101ull

static void word_to_bytes(uint64_t word, uint8_t *bytes)
{
	for (unsigned i = 0; i < 8; i++, word >>= 8) {
		uint64_t eight = (word & 0xff) * ALL_BYTES & 0x8040201008040201ull;

		eight = (eight + 0x7f * ALL_BYTES) >> 7 & ALL_BYTES;
		memcpy(bytes + i * 8, &eight, 8);
	}
}

static uint64_t bytes_to_word(const uint8_t *bytes)
{
	uint64_t word = 0, eight;

	for (unsigned i = 0; i < 8; i++) {
		memcpy(&eight, bytes + i * 8, 8);
		word |= (eight * 0x0102040810204080ull >> 56) << i * 8;
	}
	return word;
}

/* What was grey, and what has been seen since it was listed, is black; what others have marked
 * meanwhile stays as it is. */
static void publish(struct gy_marker *marker, const struct grey_block *from, const uint8_t *white)
{
	size_t block = from->block;
	unsigned turned = 0;

	for (unsigned w = 0; w < from->words; w++) {
		uint64_t mine = ~bytes_to_word(white + w * 64) & ~from->marks[w];

		if (mine)
			turned += gy_bits_in(
				mine & ~__atomic_fetch_or(gy_marks_word(block, w), mine,
							  __ATOMIC_SEQ_CST));
		if (mine | from->grey[w])
			__atomic_fetch_or(gy_scanned_word(block, w), mine | from->grey[w],
					  __ATOMIC_RELAXED);
	}
	marker->stats.marked_objects += turned;
	marker->stats.marked_bytes += turned * (size_t)gy_gc_pages[block].object_bytes;
}

/* Objects with one short map. What they lead to in their own block is marked and scanned in one,
 * without the way through ring and queue: a list or a tree that was laid out in order takes few
 * passes. How many in the end. */
static unsigned scan_plain(struct gy_marker *marker, struct grey_block *from, uint64_t map)
{
	const struct gy_gc_page *record = &gy_gc_pages[from->block];
	const char *start = gy_page_start(from->block);
	size_t bytes = record->object_bytes;
	uintptr_t limit = (uintptr_t)record->objects * bytes;
	uint64_t magic = record->magic;
	const uint16_t *at = from->greys;
	uint16_t *end = from->greys + from->count;
	uint8_t white[64 * GY_BIT_WORDS_MAX];

	for (unsigned w = 0; w < from->words; w++)
		word_to_bytes(~from->marks[w], white + w * 64);
	for (; at < end; at++) {
		const uintptr_t *object = (const uintptr_t *)(const void *)(start + *at * bytes);

		if (at + OBJECTS_AHEAD < end)
			__builtin_prefetch(start + at[OBJECTS_AHEAD] * bytes);
		for (uint64_t left = map; left; left &= left - 1) {
			uintptr_t word = READ_RELAXED(object[(unsigned)__builtin_ctzll(left)]);
			uintptr_t offset = word - (uintptr_t)start;
			uint64_t index;

			if (offset >= limit) {
				found(marker, word, 0);
				continue;
			}
			index = offset * magic >> 32;
			*end = (uint16_t)index; /* kept if white: no branch to guess */
			end += white[index];
			white[index] = 0;
		}
	}
	publish(marker, from, white);
	return (unsigned)(end - from->greys);
}

static void scan_greys(struct gy_marker *marker, struct grey_block *from)
{
	const struct gy_gc_page *record = &gy_gc_pages[from->block];
	const struct gy_layout *layout = gy_layouts[record->layout];
	const char *start = gy_page_start(from->block);
	size_t bytes = record->object_bytes;
	unsigned count = from->count;

	if (layout->kind == GY_LAYOUT_TYPED && layout->map_is_short && !layout->tail_map) {
		count = scan_plain(marker, from, layout->map[0]);
	} else {
		take_greys(from);
		for (unsigned i = 0; i < count; i++) {
			const char *at = start + from->greys[i] * bytes;

			if (i + OBJECTS_AHEAD < count)
				__builtin_prefetch(start + from->greys[i + OBJECTS_AHEAD] * bytes);
			scan_part(marker, (const uintptr_t *)(const void *)at, layout, bytes / 8,
				  0, bytes / 8);
		}
	}
	marker->stats.scanned_objects += count;
	marker->stats.scanned_bytes += count * bytes;
}

static void scan_block(struct gy_marker *marker, uint64_t entry)
{
	size_t block = (uint32_t)entry;
	struct gy_gc_page *record = &gy_gc_pages[block];
	struct grey_block greys;

	if (entry >> 32) {
		scan_large(marker, block, entry >> 32);
		return;
	}
	list_greys(&greys, block);
	if (record->kind == GY_BLOCK_LARGE && greys.count) {
		take_greys(&greys);
		scan_large(marker, block, 0);
	} else if (greys.count) {
		scan_greys(marker, &greys);
	}
	__atomic_exchange_n(&record->queued, 0, __ATOMIC_SEQ_CST);
	if (has_greys(block))
		queue_block(marker, block);
}

/* ------------------------------------------------------------------ distance */

static void prefetch_greys(size_t block)
{
	const char *start = gy_page_start(block);
	size_t bytes = gy_gc_pages[block].object_bytes;
	unsigned asked = 0, words = gy_gc_pages[block].bit_words;

	for (unsigned w = 0; w < words && asked < GREYS_AHEAD; w++) {
		uint64_t grey = READ_RELAXED(*gy_marks_word(block, w)) &
				~READ_RELAXED(*gy_scanned_word(block, w));

		for (; grey && asked < GREYS_AHEAD; grey &= grey - 1, asked++) {
			unsigned index = w * 64 + (unsigned)__builtin_ctzll(grey);

			__builtin_prefetch(start + index * bytes);
		}
	}
}

/* What stands behind the entry that is scanned now. */
static void look_ahead(struct gy_marker *marker)
{
	const struct gy_mark_chunk *out = marker->queue.out;

	if (out->first + BITS_AHEAD - 1 < out->end) {
		size_t block = (uint32_t)out->entries[out->first + BITS_AHEAD - 1];

		__builtin_prefetch(&gy_gc_pages[block]);
		__builtin_prefetch(&gy_gc_bits[block]);
	}
	if (out->first < out->end)
		prefetch_greys((uint32_t)out->entries[out->first]);
}

/* ------------------------------------------------------------------ draining */

/* QUEUE-2: the queues are empty. */
static GY_COLD void find_greys(struct gy_marker *marker)
{
	size_t covered = __atomic_load_n(&gy_gc_covered, __ATOMIC_ACQUIRE);

	gy_mark_become_busy(marker);
	if (!__atomic_exchange_n(&gy_mark_overflowed, 0, __ATOMIC_SEQ_CST))
		return;
	for (size_t page = 0; page < covered; page++) {
		const struct gy_gc_page *record = &gy_gc_pages[page];

		if (__atomic_load_n(&record->kind, __ATOMIC_ACQUIRE) == GY_BLOCK_NONE ||
		    record->first_page != page ||
		    gy_layouts[record->layout]->kind == GY_LAYOUT_LEAF)
			continue;
		if (has_greys(page))
			queue_block(marker, page);
	}
}

/* Is half of what the block at the queue's head holds grey? To wait would not make it much more: an
 * array whose elements lie in its order leads to few blocks a piece, and fills them. */
static GY_NOINLINE bool head_is_dense(const struct gy_marker *marker)
{
	const struct gy_mark_chunk *chunk = marker->queue.out;
	unsigned greys = 0, words;
	size_t block;

	if (chunk->first == chunk->end)
		chunk = marker->queue.in;
	if (chunk->first == chunk->end)
		return false;
	block = (uint32_t)chunk->entries[chunk->first];
	words = gy_gc_pages[block].bit_words;
	for (unsigned w = 0; w < words; w++)
		greys += gy_bits_in(READ_RELAXED(*gy_marks_word(block, w)) &
				    ~READ_RELAXED(*gy_scanned_word(block, w)));
	return greys * 2 >= gy_gc_pages[block].objects;
}

static bool step(struct gy_marker *marker)
{
	uint64_t entry;

	if (unlikely(gy_mark_has_pieces()) && !head_is_dense(marker) &&
	    gy_mark_piece_take(marker, &entry)) {
		scan_large(marker, (uint32_t)entry, entry >> 32);
		return true;
	}
	if (gy_mark_pop(marker, &entry)) {
		look_ahead(marker);
		scan_block(marker, entry);
		return true;
	}
	flush_targets(marker);
	if (gy_mark_has_own(marker)) /* found just now */
		return true;
	if (unlikely(READ_RELAXED(gy_mark_overflowed))) {
		find_greys(marker);
		return true;
	}
	return false;
}

size_t gy_mark_drain(struct gy_marker *marker, size_t budget)
{
	uint64_t before = marker->stats.scanned_bytes;

	while (marker->stats.scanned_bytes - before < budget) {
		if (!step(marker)) {
			gy_mark_become_idle(marker);
			break;
		}
		if (unlikely(gy_mark_should_share()))
			gy_mark_share(marker);
	}
	flush_targets(marker);
	return marker->stats.scanned_bytes - before;
}

/* ------------------------------------------------------------------ what others bring */

void gy_mark_word(struct gy_marker *marker, uintptr_t word)
{
	if ((word - gy_map.base) >> GY_PAGE_SHIFT < READ_RELAXED(gy_gc_covered))
		mark_target(marker, word | FROM_ROOT);
}

RAW_READER void gy_mark_words(struct gy_marker *marker, const void *start, const void *end)
{
	uintptr_t from = ((uintptr_t)start + 7) & ~(uintptr_t)7;
	uintptr_t to = (uintptr_t)end & ~(uintptr_t)7;

	if (from < to)
		scan_words(marker, (const uintptr_t *)from, (to - from) / 8);
}

void gy_mark_flush(struct gy_marker *marker)
{
	flush_targets(marker);
}

void gy_mark_range(struct gy_marker *marker, const void *start, const void *end)
{
	gy_mark_words(marker, start, end);
	flush_targets(marker);
}

void gy_mark_buffer(struct gy_marker *marker, void *const *pointers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		found(marker, (uintptr_t)READ_RELAXED(pointers[i]), FROM_ROOT);
	flush_targets(marker);
}

void gy_mark_fields(struct gy_marker *marker, void *object)
{
	struct gy_object found_object;
	const struct gy_gc_page *record;
	size_t words;

	if (!gy_object_find((uintptr_t)object, &found_object))
		return;
	record = &gy_gc_pages[found_object.block];
	words = (record->object_bytes ? record->object_bytes
				      : (size_t)record->pages << GY_PAGE_SHIFT) / 8;
	scan_part(marker, (const uintptr_t *)(void *)gy_object_start(found_object),
		  gy_layouts[record->layout], words, 0, words);
	flush_targets(marker);
}
