/* leak_findings.c - see leak_findings.h. */
#include "leak_findings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

#define NAMES_BYTES 4096

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

uint64_t gy_leak_stack_new(const struct gy_leak_stack *stack)
{
	return minus(stack->group->lost_samples, stack->known_samples);
}

static int stack_order(const void *a, const void *b)
{
	const struct gy_leak_stack *x = a, *y = b;
	uint64_t left = minus(x->group->weight_bytes, x->known_bytes);
	uint64_t right = minus(y->group->weight_bytes, y->known_bytes);

	if (!x->suppressed != !y->suppressed)
		return x->suppressed ? 1 : -1;
	if (left != right)
		return left < right ? 1 : -1;
	return x->group->hash < y->group->hash ? -1 : x->group->hash > y->group->hash;
}

static void stack_make(struct gy_leak_findings *findings, struct gy_leak_stack *stack,
		       const struct gyre_leak_group *group, bool run)
{
	char names[NAMES_BYTES];

	stack->group = group;
	stack->suppressed = gy_suppressions_find(findings->suppressions, findings->symbols,
						 group->frames, group->depth);
	if (stack->suppressed) {
		findings->suppressed_count++;
		findings->suppressed_bytes += group->weight_bytes;
	}
	if (!findings->base)
		return;
	gy_symbols_line(findings->symbols, group->frames, group->depth, names, sizeof(names));
	stack->known_samples = gy_leak_base_stack(findings->base, run, group->hash, names,
						  &stack->known_bytes);
}

int gy_leak_findings_make(struct gy_leak_findings *findings)
{
	const struct gy_leak_result *result = &findings->result;
	bool run = findings->base && gy_leak_base_is_run(findings->base, findings->target->pid,
							 findings->start_ns);

	findings->stacks = calloc(result->group_count + 1, sizeof(*findings->stacks));
	if (!findings->stacks)
		return gy_out_error("no memory for the stacks");
	for (size_t i = 0; i < result->group_count; i++)
		stack_make(findings, &findings->stacks[i], &result->groups[i], run);
	qsort(findings->stacks, result->group_count, sizeof(*findings->stacks), stack_order);
	if (findings->base)
		findings->known_blocks =
			gy_leak_base_lost(findings->base, &findings->known_bytes);
	return 0;
}

void gy_leak_findings_fini(struct gy_leak_findings *findings)
{
	free(findings->stacks);
	gy_leak_result_free(&findings->result);
	gy_suppressions_free(findings->suppressions);
	gy_leak_base_free(findings->base);
	gy_symbols_close(findings->symbols);
	findings->stacks = NULL;
	findings->suppressions = NULL;
	findings->base = NULL;
	findings->symbols = NULL;
}

bool gy_leak_found(const struct gy_leak_findings *findings)
{
	const struct gyre_leak_header *header = &findings->result.header;
	double variance = 0;

	if (header->lost_blocks <= findings->known_blocks)
		return false;
	if (!findings->suppressed_count)
		return true;
	for (size_t i = 0; i < findings->result.group_count; i++) {
		const struct gy_leak_stack *stack = &findings->stacks[i];

		if (!stack->suppressed && gy_leak_stack_new(stack))
			return true;
		variance += (double)stack->group->error_bytes * (double)stack->group->error_bytes;
	}
	return (double)minus(header->lost_bytes, findings->known_bytes) >
	       (double)findings->suppressed_bytes + 3 * sqrt(variance); /* FIND-1 */
}

struct gy_profile *gy_leak_profile(const struct gy_leak_findings *findings)
{
	static const struct gy_profile_type types[] = {{"lost_objects", "count"},
						       {"lost_space", "bytes"},
						       {"direct_objects", "count"},
						       {"direct_space", "bytes"}};
	const struct gyre_leak_header *header = &findings->result.header;
	struct gy_profile *profile = gy_profile_new(types, 4);
	int error = profile ? 0 : -1;

	for (size_t i = 0; i < findings->result.group_count && !error; i++) {
		const struct gyre_leak_group *group = findings->stacks[i].group;
		uint64_t values[4] = {group->weight_sixteenths / 16, group->weight_bytes,
				      group->direct_weight_sixteenths / 16,
				      group->direct_weight_bytes};
		uint64_t samples[4] = {group->lost_samples, group->lost_samples,
				       group->direct_samples, group->direct_samples};

		if (!findings->stacks[i].suppressed)
			error = gy_profile_add(profile, group->frames, group->depth,
					       group->depth == GYRE_LEAK_FRAMES, values, samples);
	}
	if (!error && !header->lost_samples && header->lost_blocks) {
		uint64_t values[4] = {header->lost_blocks, header->lost_bytes,
				      header->direct_blocks, header->direct_bytes};

		error = gy_profile_add(profile, NULL, 0, false, values, NULL);
	}
	if (error) {
		gy_profile_free(profile);
		return NULL;
	}
	profile->default_type = LEAK_LOST_SPACE;
	profile->time_ns = (int64_t)header->began_real_ns;
	profile->duration_ns = (int64_t)minus(header->ended_ns, header->began_ns);
	profile->pid = findings->target->pid;
	memcpy(profile->comm, findings->target->comm, sizeof(profile->comm));
	gy_profile_mappings_read(profile, findings->target->pid);
	return profile;
}
