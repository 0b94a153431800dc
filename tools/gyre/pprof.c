/* pprof.c - see pprof.h.
 *
 *      Sample ── location ids, the leaf first ── Location ── Lines ── Function
 *                                                    └────── Mapping
 *
 * One Location is one address; functions that the compiler inlined there are several Lines of it,
 * the innermost first. Ids are index + 1: 0 means none.
 *
 * PPROF-1  Location.address lies in the call instruction (return address - 1): disassemblers and
 *          line tables then mean the call, not what follows it.
 * PPROF-2  The program's own mapping is the first (gy_profile_program_first): pprof takes the first
 *          for the program.
 * PPROF-3  The bytes depend on the profile alone: gzip's time and file name are left out.
 *
 * Messages are built in one arena, freed at once; names go through a table of strings and one of
 * functions, both open addressing.
 *
 * Source: github.com/google/pprof, proto/profile.proto (the comments there define each field).
 */
#include "pprof.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "profile.pb-c.h"

#define TABLE_START 1024u /* a power of 2 */
#define NAME_BYTES 4096

struct table {
	uint32_t *slots; /* index + 1 */
	size_t size;
};

struct maker {
	const struct gy_profile *profile;
	Gyre__Pprof__Profile out;
	char **strings;
	size_t string_count, string_capacity;
	struct table string_table;
	Gyre__Pprof__Function *functions;
	size_t function_count, function_capacity;
	struct table function_table;
	void **owned; /* the arena */
	size_t owned_count, owned_capacity;
	bool failed;
};

/* ---------------------------------------------------------------- memory */

static void *grown(struct maker *maker, void *array, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? *capacity * 2 : 256;
	void *larger = reallocarray(array, wanted, size);

	if (!larger) {
		maker->failed = true;
		return array;
	}
	*capacity = wanted;
	return larger;
}

/* Zeroed memory that lives as long as the maker; NULL only with `failed` set. */
static void *take(struct maker *maker, size_t count, size_t size)
{
	void *memory;

	if (maker->owned_count == maker->owned_capacity)
		maker->owned = grown(maker, maker->owned, &maker->owned_capacity,
				     sizeof(*maker->owned));
	if (maker->failed)
		return NULL;
	memory = calloc(count ? count : 1, size);
	if (!memory)
		maker->failed = true;
	else
		maker->owned[maker->owned_count++] = memory;
	return memory;
}

/* `count` messages, each set up, as the array of pointers that protobuf-c wants; NULL: `failed`. */
static void *messages(struct maker *maker, size_t count, const ProtobufCMessageDescriptor *type)
{
	char *array = take(maker, count, type->sizeof_message);
	void **pointers = take(maker, count, sizeof(*pointers));

	if (maker->failed)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		pointers[i] = array + i * type->sizeof_message;
		protobuf_c_message_init(type, pointers[i]);
	}
	return pointers;
}

/* ---------------------------------------------------------------- strings and functions */

static uint64_t hash_text(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	while (*text)
		hash = (hash ^ (unsigned char)*text++) * 0x100000001b3ull;
	return hash ^ hash >> 32;
}

static bool table_grow(struct maker *maker, struct table *table)
{
	free(table->slots);
	table->size = table->size ? table->size * 2 : TABLE_START;
	table->slots = calloc(table->size, sizeof(*table->slots));
	if (!table->slots)
		maker->failed = true;
	return !maker->failed;
}

static size_t string_slot(const struct maker *maker, const char *text)
{
	size_t slot = hash_text(text) & (maker->string_table.size - 1);

	while (maker->string_table.slots[slot] &&
	       strcmp(maker->strings[maker->string_table.slots[slot] - 1], text))
		slot = (slot + 1) & (maker->string_table.size - 1);
	return slot;
}

/* The index of a string in string_table. */
static int64_t string_of(struct maker *maker, const char *text)
{
	size_t slot;

	text = text ? text : "";
	if (maker->string_count * 2 >= maker->string_table.size) {
		if (!table_grow(maker, &maker->string_table))
			return 0;
		for (size_t i = 0; i < maker->string_count; i++)
			maker->string_table.slots[string_slot(maker, maker->strings[i])] =
				(uint32_t)i + 1;
	}
	slot = string_slot(maker, text);
	if (!maker->string_table.slots[slot]) {
		char *copy = take(maker, strlen(text) + 1, 1);

		if (copy && maker->string_count == maker->string_capacity)
			maker->strings = grown(maker, maker->strings, &maker->string_capacity,
					       sizeof(*maker->strings));
		if (maker->failed)
			return 0;
		strcpy(copy, text);
		maker->strings[maker->string_count++] = copy;
		maker->string_table.slots[slot] = (uint32_t)maker->string_count;
	}
	return maker->string_table.slots[slot] - 1;
}

static bool function_same(const Gyre__Pprof__Function *a, const Gyre__Pprof__Function *b)
{
	return a->name == b->name && a->system_name == b->system_name &&
	       a->filename == b->filename && a->start_line == b->start_line;
}

static size_t function_slot(const struct maker *maker, const Gyre__Pprof__Function *function)
{
	uint64_t hash = (uint64_t)function->name * 0x9e3779b97f4a7c15ull +
			(uint64_t)function->filename * 0xc2b2ae3d27d4eb4full;
	size_t slot = (hash ^ hash >> 31) & (maker->function_table.size - 1);

	while (maker->function_table.slots[slot] &&
	       !function_same(&maker->functions[maker->function_table.slots[slot] - 1], function))
		slot = (slot + 1) & (maker->function_table.size - 1);
	return slot;
}

static uint64_t function_of(struct maker *maker, const Gyre__Pprof__Function *function)
{
	size_t slot;

	if (maker->function_count * 2 >= maker->function_table.size) {
		if (!table_grow(maker, &maker->function_table))
			return 0;
		for (size_t i = 0; i < maker->function_count; i++)
			maker->function_table.slots[function_slot(maker, &maker->functions[i])] =
				(uint32_t)i + 1;
	}
	slot = function_slot(maker, function);
	if (!maker->function_table.slots[slot]) {
		if (maker->function_count == maker->function_capacity)
			maker->functions = grown(maker, maker->functions, &maker->function_capacity,
						 sizeof(*maker->functions));
		if (maker->failed)
			return 0;
		maker->functions[maker->function_count] = *function;
		maker->functions[maker->function_count].id = maker->function_count + 1;
		maker->function_table.slots[slot] = (uint32_t)++maker->function_count;
	}
	return maker->function_table.slots[slot];
}

/* ---------------------------------------------------------------- the parts of a profile */

static void make_types(struct maker *maker)
{
	const struct gy_profile *profile = maker->profile;
	Gyre__Pprof__Profile *out = &maker->out;
	Gyre__Pprof__ValueType **types = messages(maker, profile->type_count + 1,
						  &gyre__pprof__value_type__descriptor);
	size_t count = profile->type_count;

	if (!types)
		return;
	for (size_t i = 0; i < count; i++) {
		types[i]->type = string_of(maker, profile->types[i].type);
		types[i]->unit = string_of(maker, profile->types[i].unit);
	}
	out->sample_type = types;
	out->n_sample_type = count;
	out->default_sample_type = string_of(maker, profile->types[profile->default_type].type);
	if (!profile->period)
		return;
	types[count]->type = string_of(maker, "space");
	types[count]->unit = string_of(maker, "bytes");
	out->period_type = types[count];
	out->period = (int64_t)profile->period;
}

/* What was resolved in a mapping: if nothing, pprof may try with what it has. */
static void mapping_flags(const struct maker *maker, size_t index, Gyre__Pprof__Mapping *mapping)
{
	for (size_t i = 0; i < maker->profile->location_count; i++) {
		const struct gy_profile_location *location = &maker->profile->locations[i];
		const struct gy_symbol *symbol = location->symbol;

		if (location->mapping != index + 1 || !symbol)
			continue;
		for (size_t level = 0; level < symbol->level_count; level++) {
			mapping->has_functions |= symbol->levels[level].function != NULL;
			mapping->has_filenames |= symbol->levels[level].file != NULL;
			mapping->has_line_numbers |= symbol->levels[level].line > 0;
			mapping->has_inline_frames |= symbol->levels[level].inlined;
		}
	}
}

static void make_mappings(struct maker *maker)
{
	const struct gy_profile *profile = maker->profile;
	Gyre__Pprof__Mapping **mappings =
		messages(maker, profile->mapping_count, &gyre__pprof__mapping__descriptor);

	for (size_t i = 0; mappings && i < profile->mapping_count; i++) {
		const struct gy_profile_mapping *from = &profile->mappings[i];

		mappings[i]->id = i + 1;
		mappings[i]->memory_start = from->start;
		mappings[i]->memory_limit = from->limit;
		mappings[i]->file_offset = from->offset;
		mappings[i]->filename = string_of(maker, from->path);
		mappings[i]->build_id = string_of(maker, from->build_id);
		mapping_flags(maker, i, mappings[i]);
	}
	maker->out.mapping = mappings;
	maker->out.n_mapping = mappings ? profile->mapping_count : 0;
}

static void make_line(struct maker *maker, const struct gy_profile_location *location, size_t level,
		      Gyre__Pprof__Line *line)
{
	const struct gy_symbol *symbol = location->symbol;
	const struct gy_symbol_level *from = symbol ? &symbol->levels[level] : NULL;
	struct gy_profile_frame frame = {location, level};
	Gyre__Pprof__Function function = GYRE__PPROF__FUNCTION__INIT;
	char name[NAME_BYTES];

	gy_profile_frame_name(&frame, name, sizeof(name));
	function.name = string_of(maker, name);
	function.system_name = from && from->linkage ? string_of(maker, from->linkage)
						     : function.name;
	function.filename = from && from->file ? string_of(maker, from->file) : 0;
	function.start_line = from ? from->start_line : 0;
	line->function_id = function_of(maker, &function);
	line->line = from && from->file ? from->line : 0;
}

/* An address of a known file without a name is left to pprof; one that is nowhere, or in code made
 * at run time, gets the name that says so. */
static size_t line_count(const struct gy_profile_location *location)
{
	const struct gy_symbol *symbol = location->symbol;

	if (!symbol)
		return location->address ? 0 : 1;
	if (symbol->level_count > 1 || symbol->levels[0].function)
		return symbol->level_count;
	return location->mapping ? 0 : 1;
}

static void make_location(struct maker *maker, const struct gy_profile_location *from,
			  Gyre__Pprof__Location *location)
{
	size_t count = line_count(from);

	location->mapping_id = from->mapping;
	location->address = from->address ? from->address - 1 : 0; /* PPROF-1 */
	location->line = messages(maker, count, &gyre__pprof__line__descriptor);
	if (!location->line)
		return;
	for (size_t level = 0; level < count; level++)
		make_line(maker, from, level, location->line[level]);
	location->n_line = count;
}

static void make_locations(struct maker *maker)
{
	const struct gy_profile *profile = maker->profile;
	Gyre__Pprof__Location **locations =
		messages(maker, profile->location_count, &gyre__pprof__location__descriptor);

	for (size_t i = 0; locations && i < profile->location_count && !maker->failed; i++) {
		locations[i]->id = i + 1;
		make_location(maker, &profile->locations[i], locations[i]);
	}
	maker->out.location = locations;
	maker->out.n_location = locations ? profile->location_count : 0;
}

static void make_functions(struct maker *maker)
{
	maker->out.function = take(maker, maker->function_count, sizeof(void *));
	if (maker->failed)
		return;
	for (size_t i = 0; i < maker->function_count; i++)
		maker->out.function[i] = &maker->functions[i];
	maker->out.n_function = maker->function_count;
}

static void make_samples(struct maker *maker)
{
	const struct gy_profile *profile = maker->profile;
	Gyre__Pprof__Sample **samples =
		messages(maker, profile->stack_count, &gyre__pprof__sample__descriptor);
	uint64_t *ids = take(maker, profile->frame_count, sizeof(*ids));
	int64_t *values = take(maker, profile->stack_count * profile->type_count, sizeof(*values));

	if (maker->failed)
		return;
	for (size_t i = 0; i < profile->frame_count; i++)
		ids[i] = (uint64_t)profile->frames[i] + 1;
	for (size_t i = 0; i < profile->stack_count; i++) {
		const struct gy_profile_stack *stack = &profile->stacks[i];

		samples[i]->location_id = &ids[stack->first];
		samples[i]->n_location_id = stack->depth;
		samples[i]->value = &values[i * profile->type_count];
		samples[i]->n_value = profile->type_count;
		for (size_t type = 0; type < profile->type_count; type++)
			samples[i]->value[type] = (int64_t)stack->values[type]; /* PM-2 */
	}
	maker->out.sample = samples;
	maker->out.n_sample = profile->stack_count;
}

static void make_comments(struct maker *maker)
{
	char text[GY_COMM_BYTES + 64];

	maker->out.comment = take(maker, 1, sizeof(*maker->out.comment));
	if (maker->failed)
		return;
	snprintf(text, sizeof(text), "gyre: %s (pid %d)", maker->profile->comm,
		 maker->profile->pid);
	maker->out.comment[0] = string_of(maker, text);
	maker->out.n_comment = 1;
}

/* ---------------------------------------------------------------- the file */

static int compressed(const uint8_t *packed, size_t packed_length, uint8_t **bytes, size_t *length)
{
	z_stream stream = {0};
	size_t room;
	int result;

	/* 15 bits of window, 16 more: with gzip's header and trailer. PPROF-3: its time is 0. */
	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	room = deflateBound(&stream, packed_length) + 32;
	*bytes = malloc(room);
	if (!*bytes || packed_length > UINT32_MAX || room > UINT32_MAX) {
		deflateEnd(&stream);
		free(*bytes);
		return *bytes ? -EFBIG : -ENOMEM;
	}
	stream.next_in = (z_const Bytef *)(uintptr_t)packed;
	stream.avail_in = (uInt)packed_length;
	stream.next_out = *bytes;
	stream.avail_out = (uInt)room;
	result = deflate(&stream, Z_FINISH);
	*length = stream.total_out;
	deflateEnd(&stream);
	if (result == Z_STREAM_END)
		return 0;
	free(*bytes);
	return -EIO;
}

static void maker_free(struct maker *maker)
{
	for (size_t i = 0; i < maker->owned_count; i++)
		free(maker->owned[i]);
	free(maker->owned);
	free(maker->strings);
	free(maker->functions);
	free(maker->string_table.slots);
	free(maker->function_table.slots);
}

int gy_pprof_make(const struct gy_profile *profile, uint8_t **bytes, size_t *length)
{
	struct maker maker = {.profile = profile, .out = GYRE__PPROF__PROFILE__INIT};
	uint8_t *packed = NULL;
	size_t packed_length;
	int error = -ENOMEM;

	string_of(&maker, "");
	make_types(&maker);
	make_mappings(&maker);
	make_locations(&maker);
	make_functions(&maker);
	make_samples(&maker);
	make_comments(&maker);
	maker.out.time_nanos = profile->time_ns;
	maker.out.duration_nanos = profile->duration_ns;
	maker.out.string_table = maker.strings;
	maker.out.n_string_table = maker.string_count;
	if (!maker.failed) {
		packed_length = gyre__pprof__profile__get_packed_size(&maker.out);
		packed = malloc(packed_length);
		if (packed) {
			gyre__pprof__profile__pack(&maker.out, packed);
			error = compressed(packed, packed_length, bytes, length);
		}
	}
	free(packed);
	maker_free(&maker);
	return error;
}
