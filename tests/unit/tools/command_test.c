/* command_test.c - values as the command prints them, text that must not reach a terminal, and the
 * words of the command line. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../tools/gyre/format.c"
#include "../../../tools/gyre/place.c"
#include "../../../tools/gyre/words.c"
#include "../../../tools/gyre/probes.c"

#include "last_error.h"

bool gy_out_is_json(void)
{
	return true;
}

static void bytes_are(uint64_t bytes, const char *wanted)
{
	char text[GY_OUT_TEXT];

	cr_assert_str_eq(gy_out_bytes(text, bytes), wanted);
}

static void ns_are(uint64_t ns, const char *wanted)
{
	char text[GY_OUT_TEXT];

	cr_assert_str_eq(gy_out_ns(text, ns), wanted);
}

static void count_is(uint64_t count, const char *wanted)
{
	char text[GY_OUT_TEXT];

	cr_assert_str_eq(gy_out_count(text, count), wanted);
}

static void cleaned(const char *dirty, const char *wanted)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", dirty);
	gy_out_clean(text);
	cr_assert_str_eq(text, wanted);
}

Test(format, bytes)
{
	bytes_are(0, "0 B");
	bytes_are(1023, "1023 B");
	bytes_are(1024, "1.0 KiB");
	bytes_are(1536, "1.5 KiB");
	bytes_are(1024 * 1024 - 1, "1.0 MiB"); /* never "1024.0 KiB" */
	bytes_are(1ull << 40, "1.0 TiB");
	bytes_are(UINT64_MAX, "16.0 EiB");
}

Test(format, times)
{
	ns_are(0, "0 ns");
	ns_are(999, "999 ns");
	ns_are(1500, "1.5 us");
	ns_are(999499, "999 us");
	ns_are(999999, "1 ms");
	ns_are(250000000, "250 ms");
	ns_are(1000000000, "1.0 s");
	ns_are(59900000000, "59.9 s");
	ns_are(59999999999, "1m00s");
	ns_are(3599400000000, "59m59s");
	ns_are(3600000000000, "1h00m");
	ns_are(90061000000000, "1d01h");
}

Test(format, counts)
{
	count_is(0, "0");
	count_is(999, "999");
	count_is(1000, "1,000");
	count_is(1234567, "1,234,567");
	count_is(UINT64_MAX, "18,446,744,073,709,551,615");
}

Test(format, clean)
{
	cleaned("plain", "plain");
	cleaned("\x1b[31mred", "?[31mred");
	cleaned("tab\tnew\nline\x7f", "tab?new?line?");
	cleaned("caf\xc3\xa9", "caf\xc3\xa9");
	cleaned("\xc2\x9b"
		"2J",
		"??2J"); /* a C1 control: the same as ESC [ */
	cleaned("\xff\xfe", "??");
	cleaned("\xc0\xaf", "??");           /* overlong */
	cleaned("\xed\xa0\x80", "???");      /* a surrogate */
	cleaned("\xe2\x82", "??");           /* cut off */
	cleaned("\xf4\x90\x80\x80", "????"); /* beyond U+10FFFF */
	cleaned("\xf0\x9f\x8c\x80", "\xf0\x9f\x8c\x80");
}

Test(format, json)
{
	json_t *number = gy_out_json_u64(UINT64_MAX), *text = gy_out_json_text("a\xff");

	cr_assert_eq(json_integer_value(number), INT64_MAX);
	cr_assert_str_eq(json_string_value(text), "a?");
	json_decref(number);
	json_decref(text);
}

Test(words, prefixes)
{
	cr_assert(gy_word_is("heap", "heap"));
	cr_assert(gy_word_is("h", "heap"));
	cr_assert_not(gy_word_is("", "heap"));
	cr_assert_not(gy_word_is("heaps", "heap"));
	cr_assert_not(gy_word_is("x", "heap"));
}

static int number(const char *text, bool size, uint64_t *value)
{
	char keyword[] = "count", copy[64], *words[] = {keyword, copy, NULL}, **argv = words;
	int argc = 2, result;

	snprintf(copy, sizeof(copy), "%s", text);
	result = gy_words_u64(&argc, &argv, size, 1, 1ull << 50, value);
	if (!result)
		cr_assert_eq(argc, 0);
	return result;
}

Test(words, numbers)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {{"1", 1},        {"64K", 65536},       {"64k", 65536},
		    {"1M", 1 << 20}, {"2GiB", 2ull << 30}, {"1TB", 1ull << 40},
		    {"17B", 17}};
	static const char *const bad[] = {"",
					  "x",
					  "-1",
					  "+1",
					  "1.5",
					  "1Q",
					  "1KX",
					  "1Ki",
					  " ",
					  "0",
					  "2000T",
					  "99999999999999999999",
					  "18446744073709551615K"};
	uint64_t value;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		cr_assert_eq(number(good[i].text, true, &value), 0, "%s", good[i].text);
		cr_assert_eq(value, good[i].value, "%s", good[i].text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(number(bad[i], true, &value), -1, "%s", bad[i]);
	cr_assert_eq(number("1K", false, &value), -1);
}

Test(words, durations)
{
	static const struct {
		const char *text;
		uint64_t ns; /* 0: refused */
	} cases[] = {{"1", 1000000000},
		     {"0.5", 500000000},
		     {"250ms", 250000000},
		     {"2m", 120000000000},
		     {"1h", 3600000000000},
		     {"1d", 86400000000000},
		     {".25s", 250000000},
		     {"0", 0},
		     {"-1", 0},
		     {"inf", 0},
		     {"nan", 0},
		     {"1e400", 0},
		     {"1x", 0},
		     {"", 0},
		     {"1 s", 0}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char keyword[] = "duration", copy[64], *words[] = {keyword, copy, NULL},
		     **argv = words;
		uint64_t ns = 0;
		int argc = 2, result;

		snprintf(copy, sizeof(copy), "%s", cases[i].text);
		result = gy_words_seconds(&argc, &argv, &ns);
		cr_assert_eq(result, cases[i].ns ? 0 : -1, "%s", cases[i].text);
		cr_assert_eq(result ? 0 : ns, cases[i].ns, "%s", cases[i].text);
	}
}

Test(probes, arguments_match_their_count)
{
	for (size_t i = 0; i < gy_probe_count; i++) {
		struct gy_probe_argument arguments[12];

		cr_assert_eq(gy_probe_arguments(&gy_probes[i], arguments, 12),
			     gy_probes[i].argument_count, "%s", gy_probes[i].name);
	}
}

Test(probes, found_by_name_and_by_the_only_prefix)
{
	cr_assert_str_eq(gy_probe_find("oom")->name, "oom");
	cr_assert_str_eq(gy_probe_find("heap_g")->name, "heap_grow");
	cr_assert_null(gy_probe_find("heap_"));
	cr_assert_null(gy_probe_find(""));
	cr_assert_null(gy_probe_find("nothing"));
}

/* ---------------------------------------------------------------- places of probes */

static void argument_is(const struct gyre_argument *argument, uint32_t kind, size_t place,
			uint64_t value)
{
	cr_assert_eq(argument->kind, kind);
	cr_assert_eq(argument->place, place);
	cr_assert_eq(argument->value, value);
}

Test(place, an_array_as_optimised_code_passes_it)
{
	struct gyre_place place;

	cr_assert_eq(gy_place_parse("8@(%rdi) 8@8(%rdi) 8@16(%rdi)", &place), 0);
	cr_assert_eq(place.count, 3);
	cr_assert(place.array);
	argument_is(&place.arguments[2], GYRE_ARGUMENT_MEMORY, offsetof(struct pt_regs, rdi), 16);
	cr_assert_eq(gy_place_parse("8@-24(%rbp) 8@-16(%rbp)", &place), 0);
	cr_assert(place.array);
	argument_is(&place.arguments[0], GYRE_ARGUMENT_MEMORY, offsetof(struct pt_regs, rbp),
		    (uint64_t)-24);
}

Test(place, registers_constants_and_memory_mixed)
{
	struct gyre_place place;

	cr_assert_eq(gy_place_parse("8@%rax -8@$-5 8@8(%r12) 8@$0x10 8@%r8", &place), 0);
	cr_assert_eq(place.count, 5);
	cr_assert_not(place.array);
	argument_is(&place.arguments[0], GYRE_ARGUMENT_REGISTER, offsetof(struct pt_regs, rax), 0);
	argument_is(&place.arguments[1], GYRE_ARGUMENT_CONSTANT, 0, (uint64_t)-5);
	argument_is(&place.arguments[2], GYRE_ARGUMENT_MEMORY, offsetof(struct pt_regs, r12), 8);
	argument_is(&place.arguments[3], GYRE_ARGUMENT_CONSTANT, 0, 16);
	argument_is(&place.arguments[4], GYRE_ARGUMENT_REGISTER, offsetof(struct pt_regs, r8), 0);
	cr_assert_eq(gy_place_parse("8@(%rdi) 8@16(%rdi)", &place), 0);
	cr_assert_not(place.array, "a gap");
	cr_assert_eq(gy_place_parse("8@(%rdi) 8@8(%rsi)", &place), 0);
	cr_assert_not(place.array, "two registers");
	cr_assert_eq(gy_place_parse("", &place), 0);
	cr_assert_eq(place.count, 0);
	cr_assert_not(place.array);
}

Test(place, what_is_not_known_is_refused)
{
	static const char *const texts[] = {
		"4@%eax", "8@%xmm0", "8f@%xmm0", "8@%rax,", "8@(%rdi", "8@(%rdi,%rax,8)",
		"8@sym(%rip)", "8@%rax8@%rdi", "8", "@", "-", "8@", "8@$", "8@%", "8@%ra",
		"8@%raxx", "8@(", "8@()",
		"8@$1 8@$1 8@$1 8@$1 8@$1 8@$1 8@$1 8@$1 8@$1 8@$1 8@$1 8@$1 8@$1",
	};
	struct gyre_place place;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		cr_assert_eq(gy_place_parse(texts[i], &place), -ENOTSUP, "%s", texts[i]);
}
