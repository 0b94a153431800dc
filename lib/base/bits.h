/* bits.h - small arithmetic on words and on bitmaps of words.
 *
 * A bitmap is an array of u64, bit i in word i / 64. Runs are found a word at a time.
 */
#ifndef GY_BASE_BITS_H
#define GY_BASE_BITS_H

#include "base/compiler.h"

#include <stdbool.h>

GY_INLINE bool gy_is_power_of_2(uint64_t x)
{
	return x && !(x & (x - 1));
}

GY_INLINE uint64_t gy_round_up(uint64_t x, uint64_t power_of_2)
{
	return (x + power_of_2 - 1) & ~(power_of_2 - 1);
}

GY_INLINE uint64_t gy_div_round_up(uint64_t x, uint64_t y)
{
	return (x + y - 1) / y;
}

/* floor(log2(x)), x above 0 */
GY_INLINE unsigned gy_log2(uint64_t x)
{
	return 63u - (unsigned)__builtin_clzll(x);
}

GY_INLINE bool gy_bit_get(const uint64_t *map, unsigned bit)
{
	return map[bit / 64] >> (bit % 64) & 1;
}

GY_INLINE void gy_bit_set(uint64_t *map, unsigned bit)
{
	map[bit / 64] |= 1ull << (bit % 64);
}

GY_INLINE void gy_bit_clear(uint64_t *map, unsigned bit)
{
	map[bit / 64] &= ~(1ull << (bit % 64));
}

/* The part of [first, first + count) that lies in word `word`, as a mask. */
GY_INLINE uint64_t gy_range_mask(unsigned word, unsigned first, unsigned count)
{
	unsigned low = word * 64, high = low + 64;
	unsigned begin = MAX(first, low), end = MIN(first + count, high);

	if (begin >= end)
		return 0;
	return (end - begin == 64 ? ~0ull : ((1ull << (end - begin)) - 1)) << (begin - low);
}

GY_INLINE void gy_range_set(uint64_t *map, unsigned first, unsigned count)
{
	for (unsigned w = first / 64; w * 64 < first + count; w++)
		map[w] |= gy_range_mask(w, first, count);
}

GY_INLINE void gy_range_clear(uint64_t *map, unsigned first, unsigned count)
{
	for (unsigned w = first / 64; w * 64 < first + count; w++)
		map[w] &= ~gy_range_mask(w, first, count);
}

/* How many bits of the range are set. */
GY_INLINE unsigned gy_range_count(const uint64_t *map, unsigned first, unsigned count)
{
	unsigned set = 0;

	for (unsigned w = first / 64; w * 64 < first + count; w++)
		set += (unsigned)__builtin_popcountll(map[w] & gy_range_mask(w, first, count));
	return set;
}

/* Are all bits of the range set? None? (A whole-word test: popcount is a call on plain x86-64.) */
GY_INLINE bool gy_range_all(const uint64_t *map, unsigned first, unsigned count)
{
	for (unsigned w = first / 64; w * 64 < first + count; w++)
		if (~map[w] & gy_range_mask(w, first, count))
			return false;
	return true;
}

GY_INLINE bool gy_range_none(const uint64_t *map, unsigned first, unsigned count)
{
	for (unsigned w = first / 64; w * 64 < first + count; w++)
		if (map[w] & gy_range_mask(w, first, count))
			return false;
	return true;
}

/* First bit of value `value` at or after `from`; `bits` where there is none. */
GY_INLINE unsigned gy_bit_next(const uint64_t *map, unsigned bits, unsigned from, bool value)
{
	while (from < bits) {
		uint64_t word = (value ? map[from / 64] : ~map[from / 64]) >> (from % 64);

		if (word) {
			from += (unsigned)__builtin_ctzll(word);
			return from < bits ? from : bits;
		}
		from = (from / 64 + 1) * 64;
	}
	return bits;
}

#endif
