/* layout.c - types become layouts: a table from contents to numbers that only grows.
 *
 * A struct gyre_type is the program's: a constant in some library, perhaps one that is unloaded
 * later, perhaps one of several equal ones that a header has put into several files. A layout is
 * ours. It holds what marking and reports need, in the form in which marking wants it.
 *
 *	a type without pointers			LEAF
 *	one object				TYPED, its map cut behind the last pointer
 *	... with a tail of pointers		TYPED with tail_words and tail_map
 *	an array of them			ARRAY, the head's map again and again
 *	what does not come in whole words	CONSERVATIVE: safe, and no compiler lays out such
 *
 * LAYOUT-1  An entry is complete before it is linked (release), and never changes: lookups take no
 *           lock. Whoever then holds the lock looks again before it adds.
 * LAYOUT-2  At fork the lock may be another thread's; the table is whole at every moment, so the
 *           child sets the lock anew and goes on.
 */
#include "gc/layout.h"

#include "base/bits.h"
#include "base/format.h"
#include "gc/thread.h"
#include "heap/page_heap.h"
#include "os/lock.h"
#include "os/vm.h"

#include <errno.h>
#include <string.h>

#define BUCKETS 512u
#define PLAIN_ALIGNMENT 16u

/* What makes two layouts equal. `words` gives the map, word by word; NULL: none. */
struct shape {
	uint8_t kind;
	uint32_t alignment, head_words, tail_words;
	uint64_t tail_map;
	const uint64_t *map; /* of map_words words; what lies behind is 0 */
	uint32_t map_words;
	const char *name, *field_names;
	uint32_t field_count;
	const uint16_t *field_offsets;
	uint64_t hash;
};

struct entry {
	struct gy_layout layout;
	uint64_t hash;
	struct entry *next; /* [const] in its bucket */
};

struct made_type {
	struct gyre_type type;
	struct made_type *next; /* [const] */
};

struct gy_layout **gy_layouts;

static struct {
	struct gy_lock lock;
	uint32_t count; /* [lock to write; atomic: release, acquire in gy_layout_type_names] */
	struct entry *buckets[BUCKETS];  /* [lock to write; atomic: acquire] */
	struct made_type *made[BUCKETS]; /* the same */
} table = {.lock = GY_LOCK_INIT(GY_RANK_layout)};

/* By type number - 1. Written before the layout is found anywhere; then never again. */
static struct gyre_type_name type_names[GYRE_TYPE_OTHERS - 1];

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 29;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = mix(hash, (unsigned char)*text);
	return mix(hash, 0);
}

/* ------------------------------------------------------------------ what to scan */

/* Word `index` of a type's map; bits at and behind `words` are no words of the object. */
static uint64_t type_map_word(const struct gyre_type *type, size_t index, size_t words)
{
	uint64_t word = type->long_map                ? type->long_map[index]
			: index < GYRE_TYPE_MAP_WORDS ? type->map[index]
						      : 0;
	size_t left = words - index * 64;

	return left < 64 ? word & ((1ull << left) - 1) : word;
}

/* One more than the last word of `words` that is a pointer; 0: none is. */
static size_t pointer_words(const struct gyre_type *type, size_t words)
{
	size_t maps = gy_div_round_up(words, 64);

	if (!type->long_map)
		maps = MIN(maps, GYRE_TYPE_MAP_WORDS);
	for (size_t i = maps; i-- > 0;) {
		uint64_t word = type_map_word(type, i, words);

		if (word)
			return i * 64 + gy_log2(word) + 1;
	}
	return 0;
}

static void shape_of(const struct gyre_type *type, bool array, struct shape *shape)
{
	size_t words = type->bytes / 8, used = pointer_words(type, words);
	size_t tail_words = type->tail_bytes / 8;
	bool tail = !array && tail_words && type->tail_map;

	*shape = (struct shape){.alignment = MAX(type->alignment, 8),
				.name = type->name ? type->name : "",
				.field_names = type->field_names ? type->field_names : "",
				.field_count = MIN(type->field_count, GYRE_TYPE_FIELDS_MAX),
				.field_offsets = type->field_offsets};
	if (!used && !tail) {
		shape->kind = GY_LAYOUT_LEAF;
	} else if (array) {
		shape->kind = type->bytes % 8 ? GY_LAYOUT_CONSERVATIVE : GY_LAYOUT_ARRAY;
		shape->head_words = (uint32_t)words;
	} else if (!tail) {
		shape->kind = GY_LAYOUT_TYPED;
		shape->head_words = (uint32_t)used;
	} else if (type->bytes % 8 || type->tail_bytes % 8 || tail_words > 64) {
		shape->kind = GY_LAYOUT_CONSERVATIVE;
	} else {
		shape->kind = GY_LAYOUT_TYPED;
		shape->head_words = (uint32_t)words;
		shape->tail_words = (uint32_t)tail_words;
		shape->tail_map = tail_words < 64 ? type->tail_map & ((1ull << tail_words) - 1)
						  : type->tail_map;
	}
	if (shape->kind == GY_LAYOUT_LEAF || shape->kind == GY_LAYOUT_CONSERVATIVE)
		shape->head_words = 0;
}

static uint64_t shape_hash(const struct shape *shape, const struct gyre_type *type)
{
	uint64_t hash = mix(shape->kind, shape->alignment);

	hash = mix(mix(hash, shape->head_words), shape->tail_words);
	hash = mix(hash, shape->tail_map);
	for (size_t i = 0; i * 64 < shape->head_words; i++)
		hash = mix(hash, type_map_word(type, i, shape->head_words));
	return mix_text(mix_text(hash, shape->name), shape->field_names);
}

static bool entry_is(const struct entry *entry, const struct shape *shape,
		     const struct gyre_type *type)
{
	const struct gy_layout *layout = &entry->layout;

	if (entry->hash != shape->hash || layout->kind != shape->kind ||
	    layout->alignment != shape->alignment || layout->head_words != shape->head_words ||
	    layout->tail_words != shape->tail_words || layout->tail_map != shape->tail_map ||
	    strcmp(layout->name, shape->name) || strcmp(layout->field_names, shape->field_names))
		return false;
	for (size_t i = 0; i * 64 < shape->head_words; i++)
		if (layout->map[i] != type_map_word(type, i, shape->head_words))
			return false;
	return true;
}

/* ------------------------------------------------------------------ the table */

static struct entry *find(const struct shape *shape, const struct gyre_type *type)
{
	struct entry *entry =
		__atomic_load_n(&table.buckets[shape->hash % BUCKETS], __ATOMIC_ACQUIRE);

	while (entry && !entry_is(entry, shape, type))
		entry = entry->next;
	return entry;
}

static const char *text_copy(char **at, const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = memcpy(*at, text, bytes);

	*at += bytes;
	return copy;
}

/* [lock: layout] */
static void type_name_locked(uint32_t index, const struct shape *shape)
{
	struct gy_text text;

	if (index >= GYRE_TYPE_OTHERS - 1)
		return;
	text = (struct gy_text){.bytes = type_names[index].text,
				.capacity = sizeof(type_names[index].text)};
	gy_text_add(&text, *shape->name ? shape->name : "(no name)");
	if (shape->kind == GY_LAYOUT_ARRAY)
		gy_text_add(&text, "[]");
}

/* One piece of memory: the entry, its map, its offsets, its names. [lock: layout] */
static struct entry *add_locked(const struct shape *shape, const struct gyre_type *type)
{
	size_t map_words = MAX(gy_div_round_up(shape->head_words, 64), 1);
	size_t offsets = shape->field_count * sizeof(uint16_t);
	struct entry *entry, **bucket = &table.buckets[shape->hash % BUCKETS];
	uint64_t *map;
	uint16_t *field_offsets;
	char *text;

	if (table.count == GY_LAYOUTS_MAX)
		return NULL;
	entry = gy_metadata_take(sizeof(*entry) + map_words * sizeof(*map) + offsets +
				 strlen(shape->name) + strlen(shape->field_names) + 2);
	if (!entry)
		return NULL;
	map = (void *)(entry + 1);
	field_offsets = (void *)(map + map_words);
	text = (char *)field_offsets + offsets;
	for (size_t i = 0; i * 64 < shape->head_words; i++)
		map[i] = type_map_word(type, i, shape->head_words);
	if (offsets)
		memcpy(field_offsets, shape->field_offsets, offsets);
	entry->hash = shape->hash;
	entry->next = *bucket;
	entry->layout = (struct gy_layout){.kind = shape->kind,
					   .map_is_short = shape->head_words <= 64,
					   .index = (uint16_t)table.count,
					   .alignment = shape->alignment,
					   .head_words = shape->head_words,
					   .tail_words = shape->tail_words,
					   .tail_map = shape->tail_map,
					   .map = map,
					   .field_count = shape->field_count,
					   .field_offsets = field_offsets};
	entry->layout.name = text_copy(&text, shape->name);
	entry->layout.field_names = text_copy(&text, shape->field_names);
	type_name_locked(table.count, shape);
	/* LAYOUT-1; the number first: whoever finds the entry may use it. */
	__atomic_store_n(&gy_layouts[table.count], &entry->layout, __ATOMIC_RELEASE);
	__atomic_store_n(&table.count, table.count + 1, __ATOMIC_RELEASE);
	__atomic_store_n(bucket, entry, __ATOMIC_RELEASE);
	return entry;
}

static const struct gy_layout *intern(struct shape *shape, const struct gyre_type *type)
{
	struct entry *entry;

	shape->hash = shape_hash(shape, type);
	entry = find(shape, type);
	if (!entry) {
		gy_lock_acquire(&table.lock);
		entry = find(shape, type);
		if (!entry)
			entry = add_locked(shape, type);
		gy_lock_release(&table.lock);
	}
	return entry ? &entry->layout : NULL;
}

const struct gy_layout *gy_layout_of(const struct gyre_type *type, bool array)
{
	struct gy_gc_thread *thread = gy_gc_self;
	const struct gy_layout *layout = thread ? gy_layout_seen(thread, type, array) : NULL;
	struct shape shape;

	if (layout)
		return layout;
	shape_of(type, array, &shape);
	layout = intern(&shape, type);
	if (thread && layout)
		thread->layouts[gy_type_hash(type) % GY_LAYOUT_SLOTS] =
			(struct gy_layout_slot){.type = type,
						.fingerprint = type->fingerprint,
						.layout = layout,
						.array = array};
	return layout;
}

/* [0] and [1]: without a type. */
int gy_layout_init(void)
{
	static const struct gyre_type none = {.bytes = 1, .alignment = PLAIN_ALIGNMENT};
	size_t bytes = (GY_LAYOUTS_MAX + 1) * sizeof(*gy_layouts);

	if (!gy_layouts) {
		void *memory = gy_page_heap_carve(bytes); /* as records are; mostly never touched */
		int error = memory ? gy_vm_commit(memory, bytes) : gy_vm_map(&memory, bytes);

		if (error)
			return error;
		gy_layouts = memory;
	}
	for (unsigned kind = GY_LAYOUT_LEAF; kind <= GY_LAYOUT_CONSERVATIVE; kind++) {
		struct shape shape = {
			.kind = (uint8_t)kind, .alignment = PLAIN_ALIGNMENT, .field_names = ""};

		shape.name = kind == GY_LAYOUT_LEAF ? "(leaf)" : "(conservative)";
		if (!intern(&shape, &none))
			return -ENOMEM;
	}
	return 0;
}

void gy_layout_fork_child(void)
{
	gy_lock_init(&table.lock, GY_RANK_layout); /* LAYOUT-2 */
}

/* ------------------------------------------------------------------ types made at run time */

static bool made_is(const struct gyre_type *type, const char *name, size_t bytes, size_t alignment,
		    const uint64_t *bitmap)
{
	struct gyre_type wanted = {.long_map = bitmap};
	size_t words = bytes / 8;

	if (type->bytes != bytes || type->alignment != alignment || strcmp(type->name, name))
		return false;
	for (size_t i = 0; i * 64 < words; i++)
		if (type_map_word(type, i, words) != type_map_word(&wanted, i, words))
			return false;
	return true;
}

static const struct gyre_type *made_find(uint64_t fingerprint, const char *name, size_t bytes,
					 size_t alignment, const uint64_t *bitmap)
{
	struct made_type *made =
		__atomic_load_n(&table.made[fingerprint % BUCKETS], __ATOMIC_ACQUIRE);

	for (; made; made = made->next)
		if (made->type.fingerprint == fingerprint &&
		    made_is(&made->type, name, bytes, alignment, bitmap))
			return &made->type;
	return NULL;
}

/* [lock: layout] */
static const struct gyre_type *made_add_locked(uint64_t fingerprint, const char *name, size_t bytes,
					       size_t alignment, const uint64_t *bitmap)
{
	struct gyre_type source = {.long_map = bitmap};
	size_t words = bytes / 8, maps = gy_div_round_up(words, 64);
	bool is_long = bitmap && maps > GYRE_TYPE_MAP_WORDS;
	size_t map_bytes = is_long ? maps * sizeof(uint64_t) : 0, name_bytes = strlen(name) + 1;
	struct made_type *made = gy_metadata_take(sizeof(*made) + map_bytes + name_bytes);
	struct made_type **bucket = &table.made[fingerprint % BUCKETS];
	uint64_t *map;

	if (!made)
		return NULL;
	map = is_long ? (void *)(made + 1) : made->type.map;
	for (size_t i = 0; bitmap && i < maps; i++)
		map[i] = type_map_word(&source, i, words);
	made->type.fingerprint = fingerprint;
	made->type.bytes = (uint32_t)bytes;
	made->type.alignment = (uint32_t)alignment;
	made->type.long_map = is_long ? map : NULL;
	made->type.name = memcpy((char *)(made + 1) + map_bytes, name, name_bytes);
	made->type.field_names = "";
	made->next = *bucket;
	__atomic_store_n(bucket, made, __ATOMIC_RELEASE);
	return &made->type;
}

const struct gyre_type *gy_type_make(const char *name, size_t bytes, size_t alignment,
				     const uint64_t *bitmap)
{
	struct gyre_type source = {.long_map = bitmap};
	uint64_t fingerprint = mix_text(mix(bytes, alignment), name);
	const struct gyre_type *type;

	for (size_t i = 0; bitmap && i * 64 < bytes / 8; i++)
		fingerprint = mix(fingerprint, type_map_word(&source, i, bytes / 8));
	type = made_find(fingerprint, name, bytes, alignment, bitmap);
	if (!type) {
		gy_lock_acquire(&table.lock);
		type = made_find(fingerprint, name, bytes, alignment, bitmap);
		if (!type)
			type = made_add_locked(fingerprint, name, bytes, alignment, bitmap);
		gy_lock_release(&table.lock);
	}
	return type;
}

/* ------------------------------------------------------------------ names */

unsigned gy_layout_type_number(uintptr_t address)
{
	struct gy_object object;
	unsigned index;

	if (!gy_object_find(address, &object))
		return GYRE_TYPE_NONE;
	index = READ_RELAXED(gy_gc_pages[object.block].layout);
	return MIN(index + 1, GYRE_TYPE_OTHERS);
}

unsigned gy_layout_type_names(const struct gyre_type_name **names)
{
	*names = type_names;
	return MIN(__atomic_load_n(&table.count, __ATOMIC_ACQUIRE), GYRE_TYPE_OTHERS - 1);
}

/* Item `index` of "left, right". */
static void add_field(struct gy_text *text, const char *names, unsigned index)
{
	char one[64];
	size_t length = 0;

	for (; index; index--) {
		names = strchr(names, ',');
		if (!names)
			return;
		names++;
	}
	while (*names == ' ')
		names++;
	while (names[length] && names[length] != ',' && length + 1 < sizeof(one)) {
		one[length] = names[length];
		length++;
	}
	one[length] = '\0';
	gy_text_add(text, one);
}

/* The field that begins last at or before `offset` of the head; what is behind its start as +n. */
static void add_head(struct gy_text *text, const struct gy_layout *layout, size_t offset)
{
	unsigned best = layout->field_count;

	for (unsigned i = 0; i < layout->field_count; i++)
		if (layout->field_offsets[i] <= offset &&
		    (best == layout->field_count ||
		     layout->field_offsets[i] > layout->field_offsets[best]))
			best = i;
	if (best < layout->field_count) {
		add_field(text, layout->field_names, best);
		offset -= layout->field_offsets[best];
		if (!offset)
			return;
	}
	gy_text_add(text, "+");
	gy_text_add_u64(text, offset);
}

void gy_layout_field_name(const struct gy_layout *layout, size_t offset, char *buffer, size_t bytes)
{
	struct gy_text text = {.bytes = buffer, .capacity = bytes};
	size_t head = (size_t)layout->head_words * 8, tail = (size_t)layout->tail_words * 8;

	buffer[0] = '\0';
	if (layout->kind == GY_LAYOUT_ARRAY) {
		gy_text_add(&text, "[");
		gy_text_add_u64(&text, offset / head);
		gy_text_add(&text, "].");
		add_head(&text, layout, offset % head);
	} else if (layout->kind == GY_LAYOUT_TYPED && tail && offset >= head) {
		gy_text_add(&text, "tail[");
		gy_text_add_u64(&text, (offset - head) / tail);
		gy_text_add(&text, "]");
		if ((offset - head) % tail) {
			gy_text_add(&text, "+");
			gy_text_add_u64(&text, (offset - head) % tail);
		}
	} else {
		add_head(&text, layout, offset);
	}
}
