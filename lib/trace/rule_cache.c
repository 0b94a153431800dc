/* rule_cache.c - see rule_cache.h. */
#include "trace/rule_cache.h"

#include "trace/stack_memo.h"

#include "trace/cfi.h"
#include "trace/unwind.h"

struct gy_rule_path gy_rule_paths[1u << GY_RULE_PATH_BITS][GY_RULE_PATH_FRAMES] GY_ALIGNED(64);
struct gy_rule_entry gy_rule_cache[1u << GY_RULE_CACHE_BITS] GY_ALIGNED(64);

uint64_t gy_rule_witness_sum(const struct gy_loaded_object *object, uint64_t witness)
{
	const uintptr_t bytes = object->end - object->start;
	uint64_t word[GY_RULE_WITNESS_BYTES / 8];

	if (bytes < GY_RULE_WITNESS_BYTES ||
	    witness - object->start > bytes - GY_RULE_WITNESS_BYTES)
		return 0;
	memcpy(word, (const void *)(uintptr_t)witness, sizeof(word));
	return (word[0] ^ word[1] * 0x9e3779b97f4a7c15u ^ word[2] * 0xff51afd7ed558ccdu) | 1;
}

static void keep(const struct gy_loaded_object *object, uintptr_t lookup, struct gy_rule rule,
		 const uint8_t *witness)
{
	struct gy_rule_entry *entry = &gy_rule_cache[gy_rule_mix(lookup, GY_RULE_CACHE_BITS)];
	uint64_t place = 0, sum = 0;

	if (!object->permanent) {
		place = (uintptr_t)witness;
		sum = gy_rule_witness_sum(object, place);
		if (!sum)
			return;
	}
	gy_rule_path_put(&entry->path, lookup ^ place ^ sum, rule);
	WRITE_RELAXED(entry->witness, place);
	WRITE_RELAXED(entry->sum, sum);
}

/* The caller's rbp as a rule can say it; false if it cannot. */
static bool compact_rbp(const struct gy_cfi_entry *entry, const struct gy_cfi_row *row,
			struct gy_rule *rule)
{
	const struct gy_cfi_rule *rbp = &row->rules[GY_CFI_RBP];
	int32_t offset = 0;

	if (rule->kind == GY_RULE_AT_RBP) {
		if (rbp->how != GY_CFI_AT_EXPR ||
		    !gy_cfi_expression_is(entry, rbp->value, GY_CFI_RBP, false, &offset))
			return false;
	} else if (rbp->how == GY_CFI_AT) {
		offset = rbp->value;
		if (!offset)
			return false;
	} else if (rbp->how != GY_CFI_SAME) {
		return false;
	}
	if (offset % 8 || offset / 8 != (int16_t)(offset / 8))
		return false;
	rule->rbp_words = (int16_t)(offset / 8);
	return true;
}

static struct gy_rule compact(const struct gy_cfi_entry *entry, const struct gy_cfi_row *row)
{
	const struct gy_rule slow = {.kind = GY_RULE_SLOW};
	struct gy_rule rule = {.cfa_offset = row->cfa_value};

	if (row->rules[GY_CFI_RIP].how == GY_CFI_UNDEFINED)
		return (struct gy_rule){.kind = GY_RULE_END};
	if (entry->signal_frame || row->rules[GY_CFI_RIP].how != GY_CFI_AT ||
	    row->rules[GY_CFI_RIP].value != -8 || row->rules[GY_CFI_RSP].how != GY_CFI_SAME)
		return slow;
	if (row->cfa_is_expression) {
		if (!gy_cfi_expression_is(entry, row->cfa_value, GY_CFI_RBP, true,
					  &rule.cfa_offset))
			return slow;
		rule.kind = GY_RULE_AT_RBP;
	} else if (row->cfa_register == GY_CFI_RSP) {
		rule.kind = GY_RULE_RSP;
	} else if (row->cfa_register == GY_CFI_RBP) {
		rule.kind = GY_RULE_RBP;
	} else {
		return slow;
	}
	return compact_rbp(entry, row, &rule) ? rule : slow;
}

GY_NOINLINE struct gy_rule gy_rule_make(const struct gy_loaded_object *object, uintptr_t lookup)
{
	struct gy_rule rule = {.kind = GY_RULE_NO_TABLE};
	const uint8_t *witness = object->eh_frame_hdr;
	struct gy_cfi_entry entry;
	struct gy_cfi_row row;

	if (!witness)
		return rule;
	if (!gy_cfi_find(object, lookup, &entry) && !gy_cfi_row(&entry, lookup, &row)) {
		rule = compact(&entry, &row);
		witness = entry.fde;
	}
	keep(object, lookup, rule, witness);
	return rule;
}

void gy_unwind_cache_clear(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(gy_rule_cache); i++)
		WRITE_RELAXED(gy_rule_cache[i].path.check, 0);
	for (size_t i = 0; i < ARRAY_SIZE(gy_rule_paths); i++)
		for (size_t j = 0; j < GY_RULE_PATH_FRAMES; j++)
			WRITE_RELAXED(gy_rule_paths[i][j].check, 0);
	gy_stack_memo_clear();
}
