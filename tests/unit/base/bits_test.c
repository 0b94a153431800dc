/* bits_test.c - bitmap arithmetic against loops that look at one bit at a time. */
#include "base/bits.h"

#include "unit/unit.h"

#define WORDS 5u
#define BITS (WORDS * 64)

static bool naive_get(const uint64_t *map, unsigned bit)
{
	return (map[bit / 64] & (uint64_t)1 << (bit % 64)) != 0;
}

static void fill(uint64_t *map, uint64_t *rng, unsigned kind)
{
	for (unsigned w = 0; w < WORDS; w++) {
		map[w] = unit_random(rng);
		if (kind == 1)
			map[w] &= unit_random(rng) & unit_random(rng) & unit_random(rng);
		if (kind == 2)
			map[w] |= unit_random(rng) | unit_random(rng) | unit_random(rng);
		if (kind == 3)
			map[w] = unit_random(rng) % 2 ? ~(uint64_t)0 : 0;
	}
}

Test(bits, power_of_2_and_rounding)
{
	cr_assert_not(gy_is_power_of_2(0));
	for (unsigned i = 0; i < 64; i++) {
		uint64_t x = (uint64_t)1 << i;

		cr_assert(gy_is_power_of_2(x));
		cr_assert_eq(gy_log2(x), i);
		cr_assert_eq(gy_log2(x | (x - 1)), i);
		if (i > 1)
			cr_assert_not(gy_is_power_of_2(x | 1));
	}
	for (uint64_t x = 0; x < 300; x++) {
		for (uint64_t y = 1; y <= 64; y *= 2) {
			uint64_t up = gy_round_up(x, y);

			cr_assert(up >= x && up - x < y && up % y == 0);
		}
		for (uint64_t y = 1; y < 20; y++)
			cr_assert_eq(gy_div_round_up(x, y), x / y + (x % y != 0));
	}
}

Test(bits, set_clear_get)
{
	uint64_t map[WORDS] = {0}, rng = 1;
	bool model[BITS] = {false};

	for (unsigned n = 0; n < 20000; n++) {
		unsigned bit = (unsigned)(unit_random(&rng) % BITS);

		model[bit] = unit_random(&rng) % 2;
		if (model[bit])
			gy_bit_set(map, bit);
		else
			gy_bit_clear(map, bit);
		bit = (unsigned)(unit_random(&rng) % BITS);
		cr_assert_eq(gy_bit_get(map, bit), model[bit]);
	}
}

Test(bits, range_operations_against_single_bits)
{
	uint64_t rng = 2;

	for (unsigned n = 0; n < 20000; n++) {
		uint64_t map[WORDS], copy[WORDS];
		unsigned first = (unsigned)(unit_random(&rng) % BITS), set = 0;
		unsigned count = (unsigned)(unit_random(&rng) % (BITS - first + 1));

		fill(map, &rng, n % 4);
		for (unsigned i = first; i < first + count; i++)
			set += naive_get(map, i);
		cr_assert_eq(gy_range_count(map, first, count), set);
		cr_assert_eq(gy_range_all(map, first, count), set == count);
		cr_assert_eq(gy_range_none(map, first, count), set == 0);
		memcpy(copy, map, sizeof(map));
		gy_range_set(copy, first, count);
		for (unsigned i = 0; i < BITS; i++)
			cr_assert_eq(naive_get(copy, i),
				     (i >= first && i < first + count) || naive_get(map, i));
		memcpy(copy, map, sizeof(map));
		gy_range_clear(copy, first, count);
		for (unsigned i = 0; i < BITS; i++)
			cr_assert_eq(naive_get(copy, i),
				     !(i >= first && i < first + count) && naive_get(map, i));
	}
}

Test(bits, range_mask_edges)
{
	cr_assert_eq(gy_range_mask(0, 0, 64), ~(uint64_t)0);
	cr_assert_eq(gy_range_mask(0, 0, 0), 0u);
	cr_assert_eq(gy_range_mask(0, 63, 1), (uint64_t)1 << 63);
	cr_assert_eq(gy_range_mask(0, 64, 10), 0u);
	cr_assert_eq(gy_range_mask(1, 60, 8), 15u);
	cr_assert_eq(gy_range_mask(0, 60, 8), (uint64_t)15 << 60);
	cr_assert_eq(gy_range_mask(1, 0, 192), ~(uint64_t)0);
}

Test(bits, next_bit_against_a_walk)
{
	uint64_t rng = 3;

	for (unsigned n = 0; n < 20000; n++) {
		uint64_t map[WORDS];
		unsigned bits = 1 + (unsigned)(unit_random(&rng) % BITS);
		unsigned from = (unsigned)(unit_random(&rng) % (bits + 2)), expected = from;
		bool value = unit_random(&rng) % 2;

		fill(map, &rng, n % 4);
		while (expected < bits && naive_get(map, expected) != value)
			expected++;
		cr_assert_eq(gy_bit_next(map, bits, from, value), from < bits ? expected : bits);
	}
}
