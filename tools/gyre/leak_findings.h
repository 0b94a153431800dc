/* leak_findings.h - what a scan found, less what is suppressed and what was known before.
 *
 *      result     of the scan (leak_client.h): exact, by reachability
 *      stacks     groups of its samples: estimates; suppressed ones are set apart
 *      since      an earlier scan, saved (save FILE): of the same process run block for block, as
 *                 lost blocks stay lost; of another run, stack for stack by names
 *
 * FIND-1  Suppressions know stacks, and only samples have stacks. Blocks of suppressed stacks are
 *         still in the exact sums; but where all lost samples are suppressed, and the sum is not
 *         above what these stand for by more than three standard deviations, nothing is counted
 *         as found.
 */
#ifndef GYRE_TOOLS_LEAK_FINDINGS_H
#define GYRE_TOOLS_LEAK_FINDINGS_H

#include <jansson.h>

#include "leak_client.h"
#include "leak_suppress.h"
#include "profile_model.h"
#include "symbols.h"

struct gy_leak_base; /* leak_base.c: what `since` names */

struct gy_leak_stack {
	const struct gyre_leak_group *group;
	size_t suppressed; /* number of the pattern; 0: not */
	uint64_t known_samples, known_bytes; /* of the base */
};

struct gy_leak_findings {
	struct gy_target *target;
	struct gy_symbols *symbols;
	struct gy_leak_result result;
	uint64_t start_ns; /* of the process */
	struct gy_suppressions *suppressions;
	struct gy_leak_base *base; /* NULL: none */
	struct gy_leak_stack *stacks; /* as many as groups, the most bytes first */
	size_t suppressed_count;
	uint64_t suppressed_bytes;
	uint64_t known_blocks, known_bytes; /* of the base: lost already then */
	uint64_t top; /* rows of stacks and blocks */
};

/* gy_leak_findings_make - from target, result, symbols, suppressions and base. 0 or -1, told. */
int gy_leak_findings_make(struct gy_leak_findings *findings);
void gy_leak_findings_fini(struct gy_leak_findings *findings);
/* gy_leak_found - is anything lost that is neither known nor suppressed? */
bool gy_leak_found(const struct gy_leak_findings *findings);
/* gy_leak_stack_new - samples of it that the base does not know. */
uint64_t gy_leak_stack_new(const struct gy_leak_stack *stack);

/* leak_report.c: text, and the JSON that `save` writes. */
void gy_leak_text(const struct gy_leak_findings *findings);
json_t *gy_leak_json(const struct gy_leak_findings *findings, size_t top);
/* gy_leak_profile - the stacks as a profile; NULL where memory lacks. */
struct gy_profile *gy_leak_profile(const struct gy_leak_findings *findings);
enum { LEAK_LOST_OBJECTS, LEAK_LOST_SPACE, LEAK_DIRECT_OBJECTS, LEAK_DIRECT_SPACE };

/* leak_base.c. gy_leak_base_read - a file that `save` wrote; NULL with the error told. */
struct gy_leak_base *gy_leak_base_read(const char *path);
void gy_leak_base_free(struct gy_leak_base *base);
/* gy_leak_base_is_run - is it of this very run of the process? */
bool gy_leak_base_is_run(const struct gy_leak_base *base, int pid, uint64_t start_ns);
uint64_t gy_leak_base_lost(const struct gy_leak_base *base, uint64_t *bytes);
/* gy_leak_base_stack - the samples and estimated bytes of a stack there, by hash (the same run) or
 * by the names of its functions. */
uint64_t gy_leak_base_stack(const struct gy_leak_base *base, bool run, uint64_t hash,
			    const char *names, uint64_t *bytes);
/* gy_leak_base_block - was this block lost there? */
bool gy_leak_base_block(const struct gy_leak_base *base, uint64_t address);
json_int_t gy_leak_base_time_ns(const struct gy_leak_base *base);

#endif
