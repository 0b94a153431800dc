/* rule_cache.h - how to leave the frame of a pc, in one word, found again quickly.
 *
 * Making a rule from the unwind tables takes half a microsecond (cfi.h). It depends on the pc
 * alone, so it is kept, in two places:
 *
 *	paths   64 rows of 32 entries; the row is chosen by malloc's caller and the stack pointer,
 *	        the entry by the frame's number. A walk that went the same way before reads one
 *	        row from left to right: four frames in a cache line.
 *	cache   2,048 entries, chosen by the pc; what the row lacks is found here and copied there.
 *
 *	        check = lookup ^ rule ^ witness ^ sum
 *	        rule      how to leave the frame (struct gy_rule)
 *	        witness   where its FDE stands              both 0, and not looked at, for an object
 *	        sum       of the FDE's first 24 bytes       that stays loaded (OBJECT-3)
 *
 * In a busy program a walk costs the cache lines that it misses, more than instructions; hence the
 * rows, and no witness where none is needed.
 *
 * RULE-1  Entries are written and read without a lock. A torn one (two writers at once) fails its
 *         check and is a miss; nothing else can happen to it.
 * RULE-2  Paths hold rules of permanent objects only, so that a hit needs no look at the object.
 * RULE-3  A rule from an object that may be unloaded is used only if its witness is there still,
 *         with the same bytes (UNWIND-4).
 */
#ifndef GY_TRACE_RULE_CACHE_H
#define GY_TRACE_RULE_CACHE_H

#include "trace/loaded_object.h"

#include <string.h>

#define GY_RULE_CACHE_BITS 11u
#define GY_RULE_PATH_BITS 6u
#define GY_RULE_PATH_FRAMES 32u
#define GY_RULE_WITNESS_BYTES 24u

enum gy_rule_kind {
	GY_RULE_NONE,
	GY_RULE_RSP,      /* CFA = rsp + cfa_offset */
	GY_RULE_RBP,      /* CFA = rbp + cfa_offset */
	GY_RULE_AT_RBP,   /* CFA = *(rbp + cfa_offset); the caller's rbp at rbp + 8 * rbp_words */
	GY_RULE_END,      /* outermost frame */
	GY_RULE_SLOW,     /* interpret */
	GY_RULE_NO_TABLE, /* no FDE covers the pc */
};

struct gy_rule {
	int32_t cfa_offset;
	int16_t rbp_words; /* saved at CFA + 8 * rbp_words; 0: rbp is the caller's */
	uint8_t kind;      /* enum gy_rule_kind */
	uint8_t pad;
};
_Static_assert(sizeof(struct gy_rule) == sizeof(uint64_t), "a rule is one word of an entry");

struct gy_rule_path {
	uint64_t check, rule; /* [atomic: relaxed, each] RULE-1 */
};

struct gy_rule_entry {
	struct gy_rule_path path;
	uint64_t witness, sum; /* [atomic: relaxed, each] */
};

extern struct gy_rule_path gy_rule_paths[1u << GY_RULE_PATH_BITS][GY_RULE_PATH_FRAMES];
extern struct gy_rule_entry gy_rule_cache[1u << GY_RULE_CACHE_BITS];

/* The rule for `lookup`, which `object` holds, made from its tables and kept. */
struct gy_rule gy_rule_make(const struct gy_loaded_object *object, uintptr_t lookup);
/* Of an FDE's bytes; 0 if they do not lie in the object. */
uint64_t gy_rule_witness_sum(const struct gy_loaded_object *object, uint64_t witness);

GY_INLINE uint64_t gy_rule_mix(uint64_t value, unsigned bits)
{
	return value * 0x9e3779b97f4a7c15u >> (64 - bits);
}

GY_INLINE struct gy_rule_path *gy_rule_path(uintptr_t caller_pc, uintptr_t sp)
{
	return gy_rule_paths[gy_rule_mix(caller_pc ^ sp << 20, GY_RULE_PATH_BITS)];
}

GY_INLINE bool gy_rule_path_find(const struct gy_rule_path *entry, uintptr_t lookup,
				 struct gy_rule *rule)
{
	uint64_t word = READ_RELAXED(entry->rule);

	memcpy(rule, &word, sizeof(word));
	return (READ_RELAXED(entry->check) ^ word) == lookup;
}

GY_INLINE void gy_rule_path_put(struct gy_rule_path *entry, uintptr_t lookup, struct gy_rule rule)
{
	uint64_t word;

	memcpy(&word, &rule, sizeof(word));
	WRITE_RELAXED(entry->check, lookup ^ word);
	WRITE_RELAXED(entry->rule, word);
}

GY_INLINE bool gy_rule_find(const struct gy_loaded_object *object, uintptr_t lookup,
			    struct gy_rule *rule)
{
	const struct gy_rule_entry *entry = &gy_rule_cache[gy_rule_mix(lookup, GY_RULE_CACHE_BITS)];
	uint64_t mask = 0;

	if (unlikely(!object->permanent)) {
		uint64_t witness = READ_RELAXED(entry->witness), sum = READ_RELAXED(entry->sum);

		if (!sum || gy_rule_witness_sum(object, witness) != sum)
			return false; /* RULE-3 */
		mask = witness ^ sum;
	}
	return gy_rule_path_find(&entry->path, lookup ^ mask, rule);
}

#endif
