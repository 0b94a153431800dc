/* profile_test.c - the profile model and the forms that it is written in, on profiles made by hand. */
#include <criterion/criterion.h>

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "../../../tools/gyre/format.c"
#include "../../../tools/gyre/flame.c"
#include "../../../tools/gyre/flame_script.c"
#include "../../../tools/gyre/folded.c"
#define hash_text pprof_hash_text
#include "../../../tools/gyre/pprof.c"
#include "../../../tools/gyre/profile_functions.c"
#include "../../../tools/gyre/profile_model.c"

/* ---------------------------------------------------------------- what the sources want of others */

const struct gy_symbol *gy_symbols_find(struct gy_symbols *symbols, uint64_t return_address)
{
	(void)symbols;
	(void)return_address;
	return NULL;
}

void gy_symbol_text(const struct gy_symbol *symbol, size_t level, char *text, size_t bytes)
{
	snprintf(text, bytes, "%s", symbol->levels[level].function);
}

int gy_maps_each(int pid, int (*visit)(const struct gy_mapping *mapping, void *context),
		 void *context)
{
	(void)pid;
	(void)visit;
	(void)context;
	return 0;
}

int gy_mapping_open_path(int pid, const struct gy_mapping *mapping, char path[PATH_MAX])
{
	(void)pid;
	(void)mapping;
	(void)path;
	return -1;
}

size_t gy_out_cut(const char *text, size_t length, size_t columns)
{
	(void)text;
	return !columns || length <= columns ? length : columns - 3;
}

/* ---------------------------------------------------------------- profiles by hand */

static const struct gy_profile_type types[2] = {{"inuse_objects", "count"},
						{"inuse_space", "bytes"}};

/* 1 main, 2 serve, 3 leaf with an inlined function in it, 4 other; 9 is nowhere */
static struct gy_symbol symbols[5];

static const struct gy_symbol *find(void *context, uint64_t address)
{
	static char names[][16] = {"", "main", "serve", "leaf", "a;<b>&\"c"};
	static char inlined[] = "inlined", file[] = "/src/x.c", linkage[] = "_Z4leafv";

	(void)context;
	if (address / 16 < 1 || address / 16 > 4)
		return NULL;
	symbols[address / 16] = (struct gy_symbol){
		.address = address,
		.module = "program",
		.level_count = 1,
		.levels = {{.function = names[address / 16], .file = file, .line = 10}}};
	if (address / 16 == 3) {
		struct gy_symbol *leaf = &symbols[3];

		leaf->level_count = 2;
		leaf->levels[1] = leaf->levels[0];
		leaf->levels[1].linkage = linkage;
		leaf->levels[0] = (struct gy_symbol_level){
			.function = inlined, .file = file, .line = 20, .inlined = true};
	}
	return &symbols[address / 16];
}

static void add(struct gy_profile *profile, uint64_t bytes, size_t depth, ...)
{
	uint64_t frames[16], values[2] = {1, bytes}, samples[2] = {1, 1};
	va_list arguments;

	va_start(arguments, depth);
	for (size_t i = 0; i < depth; i++)
		frames[i] = va_arg(arguments, unsigned int) * 16u;
	va_end(arguments);
	cr_assert_eq(gy_profile_add(profile, frames, depth, false, values, samples), 0);
}

static struct gy_profile *by_hand(void)
{
	struct gy_profile *profile = gy_profile_new(types, 2);

	cr_assert(profile);
	add(profile, 100, 3, 3u, 2u, 1u);
	add(profile, 200, 3, 3u, 2u, 1u);
	add(profile, 50, 2, 4u, 1u);
	add(profile, 7, 3, 2u, 2u, 1u); /* recursion */
	add(profile, 3, 0);
	cr_assert_eq(gy_profile_mapping_add(profile, 0, 0x30, 0, "/lib/first", ""), 0);
	cr_assert_eq(gy_profile_mapping_add(profile, 0x30, 0x100, 0x1000, "/bin/program", "ab12"),
		     0);
	gy_profile_program_first(profile, "/bin/program");
	gy_profile_resolve(profile, find, NULL);
	return profile;
}

Test(profile, equal_stacks_add_up)
{
	struct gy_profile *profile = by_hand();

	cr_assert_eq(profile->stack_count, 4);
	cr_assert_eq(profile->stacks[0].values[1], 300);
	cr_assert_eq(profile->stacks[0].values[0], 2);
	cr_assert_eq(profile->stacks[0].samples[0], 2);
	cr_assert_eq(profile->location_count, 5); /* 1 2 3 4, and 0 */
	cr_assert_eq(gy_profile_total(profile, 1), 360);
	gy_profile_free(profile);
}

Test(profile, PM_2_sums_stop_at_the_end)
{
	struct gy_profile *profile = gy_profile_new(types, 2);

	add(profile, UINT64_MAX, 1, 1u);
	add(profile, UINT64_MAX, 1, 1u);
	add(profile, 5, 1, 2u);
	cr_assert_eq(profile->stacks[0].values[1], INT64_MAX);
	cr_assert_eq(gy_profile_total(profile, 1), INT64_MAX);
	gy_profile_free(profile);
}

Test(profile, cut_stacks_are_others)
{
	struct gy_profile *profile = gy_profile_new(types, 2);
	uint64_t frame = 16, values[2] = {1, 1};

	gy_profile_add(profile, &frame, 1, false, values, NULL);
	gy_profile_add(profile, &frame, 1, true, values, NULL);
	cr_assert_eq(profile->stack_count, 2);
	gy_profile_free(profile);
}

Test(profile, many_stacks_are_found_again)
{
	struct gy_profile *profile = gy_profile_new(types, 2);
	uint64_t frames[3], values[2] = {1, 10};

	for (uint64_t round = 0; round < 2; round++)
		for (uint64_t i = 0; i < 50000; i++) {
			frames[0] = 0x1000 + i;
			frames[1] = 0x90000 + i / 7;
			frames[2] = 0x1;
			cr_assert_eq(gy_profile_add(profile, frames, 3, false, values, NULL), 0);
		}
	cr_assert_eq(profile->stack_count, 50000);
	for (size_t i = 0; i < profile->stack_count; i++)
		cr_assert_eq(profile->stacks[i].values[1], 20);
	gy_profile_free(profile);
}

Test(profile, functions_flat_and_cum)
{
	struct gy_profile *profile = by_hand();
	struct gy_profile_functions *functions = gy_profile_functions_make(profile, 1);
	static const struct {
		const char *name;
		uint64_t flat, cum;
	} wanted[] = {{"inlined", 300, 300}, {"a;<b>&\"c", 50, 50}, {"serve", 7, 307},
		      {"[no stack]", 3, 3},  {"main", 0, 357},	   {"leaf", 0, 300}};

	cr_assert(functions);
	cr_assert_eq(functions->total, 360);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		const struct gy_profile_function *function = &functions->list[functions->rank[i]];

		cr_assert_str_eq(function->name, wanted[i].name);
		cr_assert_eq(function->flat, wanted[i].flat);
		cr_assert_eq(function->cum, wanted[i].cum);
	}
	gy_profile_functions_free(functions);
	gy_profile_free(profile);
}

/* Blocks of 2^20 bytes, one in 2^20 sampled: p = 1 - 1/e, so a sample stands for 2^20 / p bytes. */
Test(profile, errors_are_those_of_poisson_sampling)
{
	struct gy_profile *profile = gy_profile_new(types, 2);
	const double p = 1 - exp(-1), weight = 0x1p20 / p;
	uint64_t frame = 16, values[2] = {158, (uint64_t)(100 * weight)}, samples[2] = {100, 100};
	double variance;

	profile->period = 1 << 20;
	gy_profile_add(profile, &frame, 1, false, values, samples);
	variance = gy_profile_variance(profile, &profile->stacks[0], 1);
	cr_assert_float_eq(variance, (1 - p) * 100 * weight * weight, variance * 1e-6);
	profile->period = 0; /* every event: exact */
	cr_assert_eq(gy_profile_variance(profile, &profile->stacks[0], 1), 0);
	gy_profile_free(profile);
}

Test(profile, folded)
{
	struct gy_profile *profile = by_hand();
	char *text = gy_folded_make(profile, 1);

	cr_assert_str_eq(text, "[no stack] 3\n"
			       "main;a:<b>&\"c 50\n"
			       "main;serve;leaf;inlined 300\n"
			       "main;serve;serve 7\n");
	free(text);
	gy_profile_free(profile);
}

Test(profile, FLAME_2_the_same_bytes)
{
	char *text[2];

	for (int i = 0; i < 2; i++) {
		struct gy_profile *profile = by_hand();
		struct gy_profile_functions *functions = gy_profile_functions_make(profile, 1);

		text[i] = gy_flame_make(profile, functions, 1, "a <title>");
		gy_profile_functions_free(functions);
		gy_profile_free(profile);
	}
	cr_assert_str_eq(text[0], text[1]);
	cr_assert(strstr(text[0], "a &lt;title&gt;"));
	cr_assert(strstr(text[0], "<title>a;&lt;b&gt;&amp;&quot;c&#10;(program, x.c:10)"));
	/* main: 357 of 360, behind [no stack]'s 3 */
	cr_assert(strstr(text[0], "data-s=\"3\" data-v=\"357\" data-d=\"0\"><title>main&#10;"));
	free(text[0]);
	free(text[1]);
}

/* ---------------------------------------------------------------- pprof */

static Gyre__Pprof__Profile *unpacked(const uint8_t *bytes, size_t length)
{
	static uint8_t raw[1 << 16];
	z_stream stream = {.next_in = (Bytef *)(uintptr_t)bytes,
			   .avail_in = (uInt)length,
			   .next_out = raw,
			   .avail_out = sizeof(raw)};

	cr_assert_eq(inflateInit2(&stream, 15 + 16), Z_OK);
	cr_assert_eq(inflate(&stream, Z_FINISH), Z_STREAM_END);
	length = stream.total_out;
	inflateEnd(&stream);
	return gyre__pprof__profile__unpack(NULL, length, raw);
}

Test(profile, pprof_says_the_same)
{
	struct gy_profile *profile = by_hand();
	Gyre__Pprof__Profile *read;
	uint8_t *bytes;
	size_t length;

	profile->period = 4096;
	cr_assert_eq(gy_pprof_make(profile, &bytes, &length), 0);
	read = unpacked(bytes, length);
	cr_assert(read);
	cr_assert_str_eq(read->string_table[0], "");
	cr_assert_str_eq(read->string_table[read->sample_type[1]->type], "inuse_space");
	cr_assert_str_eq(read->string_table[read->period_type->type], "space");
	cr_assert_eq(read->period, 4096);
	cr_assert_eq(read->n_sample, 4);
	cr_assert_eq(read->sample[0]->value[1], 300);
	cr_assert_eq(read->sample[0]->n_location_id, 3);
	/* PPROF-2 */
	cr_assert_str_eq(read->string_table[read->mapping[0]->filename], "/bin/program");
	cr_assert_str_eq(read->string_table[read->mapping[0]->build_id], "ab12");
	cr_assert(read->mapping[0]->has_functions && !read->mapping[0]->has_inline_frames);
	cr_assert(read->mapping[1]->has_inline_frames); /* the call at 0x2f */
	gyre__pprof__profile__free_unpacked(read, NULL);
	free(bytes);
	gy_profile_free(profile);
}

Test(profile, PPROF_1_addresses_lie_in_the_call)
{
	struct gy_profile *profile = by_hand();
	const Gyre__Pprof__Location *leaf;
	Gyre__Pprof__Profile *read;
	uint8_t *bytes;
	size_t length;

	cr_assert_eq(gy_pprof_make(profile, &bytes, &length), 0);
	read = unpacked(bytes, length);
	leaf = read->location[read->sample[0]->location_id[0] - 1];
	cr_assert_eq(leaf->id, read->sample[0]->location_id[0]);
	cr_assert_eq(leaf->address, 3 * 16 - 1);
	cr_assert_eq(leaf->mapping_id, 2); /* 0x2f lies in /lib/first */
	cr_assert_eq(leaf->n_line, 2);
	cr_assert_str_eq(
		read->string_table[read->function[leaf->line[0]->function_id - 1]->name],
		"inlined");
	cr_assert_str_eq(
		read->string_table[read->function[leaf->line[1]->function_id - 1]->system_name],
		"_Z4leafv");
	cr_assert_eq(leaf->line[0]->line, 20);
	/* functions are each once */
	cr_assert_eq(read->n_function, 6);
	gyre__pprof__profile__free_unpacked(read, NULL);
	free(bytes);
	gy_profile_free(profile);
}

Test(profile, an_empty_profile_has_every_form)
{
	struct gy_profile *profile = gy_profile_new(types, 2);
	struct gy_profile_functions *functions = gy_profile_functions_make(profile, 1);
	uint8_t *bytes;
	size_t length;
	char *text;

	text = gy_flame_make(profile, functions, 1, "empty");
	cr_assert(strstr(text, "Nothing was sampled."));
	free(text);
	text = gy_folded_make(profile, 1);
	cr_assert_str_eq(text, "");
	free(text);
	cr_assert_eq(gy_pprof_make(profile, &bytes, &length), 0);
	free(bytes);
	gy_profile_functions_free(functions);
	gy_profile_free(profile);
}
