/* seal.h - how a copy of a lock is known, and what is said of misuse.
 *
 * Each small struct of gyre/sync.h has one 64-bit word: its state in the lower half, where a futex
 * could be, and in the upper half the lower half of its own address, plus 1: its seal. All changes
 * compare or add to the whole word, so the seal costs nothing: a copy's does not fit its address,
 * and its first change fails and comes to a slow half, which looks.
 *
 *	63             32 31              0
 *	| address + 1    | state           |
 *
 * SEAL-1  A word whose upper half is 0 has not been used: the first to use it puts its seal there,
 *         by compare-and-swap, and takes the lower half as it is.
 * SEAL-2  An upper half that is neither 0 nor the seal is a copy's, or another thing's: misuse. (A
 *         copy at a distance of a multiple of 4 GiB is not known.)
 */
#ifndef GY_SYNC_SEAL_H
#define GY_SYNC_SEAL_H

#include "base/compiler.h"

#include <gyre/sync.h>

/* One line on stderr, then abort. `what`: as gyre/sync.h has it under Misuse. */
__attribute__((noreturn)) GY_COLD void gy_sync_misuse(const char *what, const void *at);

/* Is the word at its own place? Then its seal is what its upper half is. */
GY_INLINE bool gy_seal_fits(uint64_t word, const void *at)
{
	return (word ^ gyre_seal_(at)) >> 32 == 0;
}

/* SEAL-1, SEAL-2. The word, sealed; or the end. */
GY_INLINE uint64_t gy_seal_word(uint64_t *word, const void *at, const char *copied)
{
	uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

	while (unlikely(!gy_seal_fits(old, at))) {
		if (old >> 32)
			gy_sync_misuse(copied, at);
		if (__atomic_compare_exchange_n(word, &old, old | gyre_seal_(at), false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return old | gyre_seal_(at);
	}
	return old;
}

#endif
