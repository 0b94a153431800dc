/* format_test.c - text into a fixed buffer: right, cut where it does not fit, always ended. */
#include "base/format.h"

#include "unit/unit.h"

#include <inttypes.h>

Test(format, numbers_as_printf_writes_them)
{
	static const uint64_t edges[] = {0, 1, 9, 10, 15, 16, 99, 100, UINT32_MAX, UINT64_MAX};
	uint64_t rng = 1;

	for (unsigned n = 0; n < 2000; n++) {
		uint64_t value = n < 10 ? edges[n] : unit_random(&rng) >> unit_random(&rng) % 64;
		char buffer[64], expected[64];
		struct gy_text text = GY_TEXT(buffer);

		gy_text_add_u64(&text, value);
		gy_text_add(&text, " ");
		gy_text_add_hex(&text, value);
		snprintf(expected, sizeof(expected), "%" PRIu64 " 0x%" PRIx64, value, value);
		cr_assert_str_eq(buffer, expected);
		cr_assert_eq(text.length, strlen(expected));
	}
}

Test(format, cut_and_ended_at_every_capacity)
{
	const char *whole = "abc12345680xffend";

	for (size_t capacity = 1; capacity < 30; capacity++) {
		char buffer[40];
		struct gy_text text = {buffer, capacity, 0};
		size_t expected = MIN(strlen(whole), capacity - 1);

		memset(buffer, '#', sizeof(buffer));
		buffer[0] = '\0';
		gy_text_add(&text, "abc");
		gy_text_add_u64(&text, 1234568);
		gy_text_add_hex(&text, 255);
		gy_text_add(&text, "end");
		cr_assert_eq(text.length, expected);
		cr_assert(!strncmp(buffer, whole, expected) && buffer[expected] == '\0');
		for (size_t i = capacity; i < sizeof(buffer); i++)
			cr_assert_eq(buffer[i], '#', "byte %zu behind a buffer of %zu", i,
				     capacity);
	}
}
