/* leak_report.c - what a scan found, as text for people and as JSON (which `save` writes, too). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "leak_findings.h"
#include "output.h"

#define NAMES_BYTES 4096
#define WHERE_SHOWN 200

static const char *const ages[GYRE_LEAK_AGES] = {"under 1 s",  "under 10 s", "under 1 min",
						 "under 10 min", "under 1 h", "under 1 day",
						 "under 1 week", "older"};

static const struct {
	uint32_t bit;
	const char *word, *why;
} doubts[] = {
	{GYRE_LEAK_UNCERTAIN_TIME, "time", "the time was over before the last round"},
	{GYRE_LEAK_UNCERTAIN_REGISTERS, "registers",
	 "there were threads whose registers nobody saw: what only a register holds looks lost"},
	{GYRE_LEAK_UNCERTAIN_UNSETTLED, "unsettled",
	 "the last round still found some that are held: more rounds may, too"},
	{GYRE_LEAK_UNCERTAIN_CACHES, "caches",
	 "a thread's cache of free blocks could not be read at rest"},
	{GYRE_LEAK_UNCERTAIN_ROOTS, "roots", "some of the process's memory could not be read"},
};
#define DOUBTS (sizeof(doubts) / sizeof(doubts[0]))

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* ---------------------------------------------------------------- text: how sure, and of what */

static void head_text(const struct gy_leak_findings *findings)
{
	const struct gyre_leak_header *header = &findings->result.header;
	char lost[GY_OUT_TEXT], blocks[GY_OUT_TEXT], live[GY_OUT_TEXT], all[GY_OUT_TEXT];

	gy_out_bytes(lost, header->lost_bytes);
	gy_out_count(blocks, header->lost_blocks);
	gy_out_bytes(live, header->live_bytes);
	gy_out_count(all, header->live_blocks);
	if (!header->lost_blocks) {
		gy_out_line("%s (pid %d): nothing is lost, of %s blocks, %s",
			    findings->target->comm, findings->target->pid, all, live);
		return;
	}
	gy_out_line("%s (pid %d): %s block%s lost, %s, of %s blocks, %s",
		    findings->target->comm, findings->target->pid, blocks,
		    header->lost_blocks == 1 ? "" : "s", lost, all, live);
	gy_out_bytes(lost, header->direct_bytes);
	gy_out_count(blocks, header->direct_blocks);
	gy_out_bytes(live, minus(header->lost_bytes, header->direct_bytes));
	gy_out_count(all, minus(header->lost_blocks, header->direct_blocks));
	gy_out_line("%s directly, %s; %s held by these only, %s", blocks, lost, all, live);
	if (!findings->base)
		return;
	gy_out_count(blocks, minus(header->lost_blocks, findings->known_blocks));
	gy_out_bytes(lost, minus(header->lost_bytes, findings->known_bytes));
	gy_out_line("%s of them, %s, are new since the scan that was saved", blocks, lost);
}

static void sure_text(const struct gy_leak_findings *findings)
{
	const struct gyre_leak_header *header = &findings->result.header;
	char took[GY_OUT_TEXT], cpu[GY_OUT_TEXT], memory[GY_OUT_TEXT], stopped[GY_OUT_TEXT];

	gy_out_ns(took, minus(header->ended_ns, header->began_ns));
	gy_out_ns(cpu, header->cpu_ns);
	gy_out_bytes(memory, header->memory_most_bytes);
	if (header->flags & GYRE_LEAK_STOP)
		gy_out_line("Proven in stopped rounds, the longest stop %s; %s, %s of a processor, "
			    "%s of memory",
			    gy_out_ns(stopped, header->stopped_ns), took, cpu, memory);
	else if (!header->lost_blocks)
		gy_out_line("All of them were reached within %u round%s, nothing was stopped; %s, "
			    "%s of a processor, %s of memory",
			    header->rounds_done, header->rounds_done == 1 ? "" : "s", took, cpu,
			    memory);
	else
		gy_out_line("Unreached in each of %u rounds, nothing was stopped; %s, %s of a "
			    "processor, %s of memory",
			    header->rounds_done, took, cpu, memory);
	for (size_t i = 0; i < DOUBTS; i++)
		if (header->uncertain & doubts[i].bit)
			gy_out_line("Less sure: %s", doubts[i].why);
	if (findings->result.registers_lack)
		gy_out_line("Registers of sleeping threads were not brought: %s",
			    findings->result.registers_lack);
	if (header->ignored_blocks)
		gy_out_line("%" PRIu64 " blocks the program has told to ignore",
			    header->ignored_blocks);
}

static const struct gy_out_column round_columns[] = {
	{"candidates", "CANDIDATES", OUT_COUNT}, {"taken_off", "TAKEN OFF", OUT_COUNT},
	{"duration_ns", "TOOK", OUT_NS},         {"root_bytes", "ROOTS", OUT_BYTES},
	{"heap_bytes", "HEAP", OUT_BYTES},       {"threads", "THREADS", OUT_COUNT},
	{"registers", "REGISTERS", OUT_COUNT},
};

static void rounds_text(const struct gyre_leak_header *header)
{
	gy_out_list("rounds", "Rounds", round_columns,
		    sizeof(round_columns) / sizeof(round_columns[0]));
	for (uint32_t i = 0; i < header->rounds_done; i++) {
		const struct gyre_leak_round *round = &header->rounds[i];

		gy_out_row();
		gy_out_u64("candidates", NULL, OUT_COUNT, round->candidates);
		gy_out_u64("taken_off", NULL, OUT_COUNT, round->taken_off);
		gy_out_u64("duration_ns", NULL, OUT_NS, minus(round->ended_ns, round->began_ns));
		gy_out_u64("root_bytes", NULL, OUT_BYTES, round->root_bytes);
		gy_out_u64("heap_bytes", NULL, OUT_BYTES, round->heap_bytes);
		gy_out_u64("threads", NULL, OUT_COUNT, round->threads);
		gy_out_u64("registers", NULL, OUT_COUNT, round->registers);
	}
	gy_out_list_end();
}

/* ---------------------------------------------------------------- text: classes, ages, stacks */

static const struct gy_out_column class_columns[] = {
	{"object_bytes", "SIZE", OUT_BYTES},        {"lost_blocks", "LOST", OUT_COUNT},
	{"lost_bytes", "BYTES", OUT_BYTES},         {"direct_blocks", "DIRECT", OUT_COUNT},
	{"direct_bytes", "DIRECT BYTES", OUT_BYTES}, {"live_blocks", "OF LIVE", OUT_COUNT},
};

static void classes_text(const struct gy_leak_result *result)
{
	gy_out_list("classes", "By size", class_columns,
		    sizeof(class_columns) / sizeof(class_columns[0]));
	for (size_t i = 0; i < result->class_count; i++) {
		const struct gyre_leak_class *class = &result->classes[i];

		if (!class->lost_blocks)
			continue;
		gy_out_row();
		if (class->object_bytes)
			gy_out_u64("object_bytes", NULL, OUT_BYTES, class->object_bytes);
		else
			gy_out_text("object_bytes", NULL, "large");
		gy_out_u64("lost_blocks", NULL, OUT_COUNT, class->lost_blocks);
		gy_out_u64("lost_bytes", NULL, OUT_BYTES, class->lost_bytes);
		gy_out_u64("direct_blocks", NULL, OUT_COUNT, class->direct_blocks);
		gy_out_u64("direct_bytes", NULL, OUT_BYTES, class->direct_bytes);
		gy_out_u64("live_blocks", NULL, OUT_COUNT, class->live_blocks);
	}
	gy_out_list_end();
}

static const struct gy_out_column age_columns[] = {
	{"age", "AGE", OUT_TEXT},
	{"lost_samples", "SAMPLES", OUT_COUNT},
	{"estimated_bytes", "BYTES (ESTIMATED)", OUT_BYTES},
	{"estimated_blocks", "BLOCKS", OUT_COUNT},
};

static void ages_text(const struct gyre_leak_header *header)
{
	gy_out_list("ages", "By age, from the samples among them", age_columns, 4);
	for (int i = 0; i < GYRE_LEAK_AGES; i++) {
		const struct gyre_leak_age *age = &header->ages[i];

		if (!age->sampled)
			continue;
		gy_out_row();
		gy_out_text("age", NULL, ages[i]);
		gy_out_u64("lost_samples", NULL, OUT_COUNT, age->sampled);
		gy_out_u64("estimated_bytes", NULL, OUT_BYTES, age->weight_bytes);
		gy_out_u64("estimated_blocks", NULL, OUT_COUNT, age->weight_sixteenths / 16);
	}
	gy_out_list_end();
}

static const struct gy_out_column stack_columns[] = {
	{"estimated_bytes", "BYTES", OUT_BYTES},   {"error_bytes", "+-", OUT_BYTES},
	{"estimated_blocks", "BLOCKS", OUT_COUNT}, {"lost_samples", "SAMPLES", OUT_COUNT},
	{"direct", "DIRECT", OUT_PERCENT},         {"oldest_ns", "OLDEST", OUT_NS},
	{"where", "ALLOCATED IN <- CALLED BY", OUT_TEXT},
};

static void where_out(const struct gy_leak_findings *findings, const char *key,
		      const uint64_t *frames, uint32_t depth)
{
	char names[NAMES_BYTES];
	size_t length, cut;

	gy_symbols_line(findings->symbols, frames, depth, names, sizeof(names) - 4);
	length = strlen(names);
	cut = gy_out_cut(names, length, WHERE_SHOWN);
	if (cut < length)
		strcpy(names + cut, "...");
	gy_out_text(key, NULL, depth ? names : "(not known)");
}

static void stacks_text(const struct gy_leak_findings *findings)
{
	uint64_t shown = 0, more = 0;

	gy_out_list("stacks", "By stack, estimated from samples", stack_columns,
		    sizeof(stack_columns) / sizeof(stack_columns[0]));
	for (size_t i = 0; i < findings->result.group_count; i++) {
		const struct gy_leak_stack *stack = &findings->stacks[i];
		const struct gyre_leak_group *group = stack->group;

		if (stack->suppressed || (findings->base && !gy_leak_stack_new(stack)))
			continue;
		if (shown == findings->top) {
			more++;
			continue;
		}
		shown++;
		gy_out_row();
		gy_out_u64("estimated_bytes", NULL, OUT_BYTES,
			   minus(group->weight_bytes, stack->known_bytes));
		gy_out_u64("error_bytes", NULL, OUT_BYTES, group->error_bytes);
		gy_out_u64("estimated_blocks", NULL, OUT_COUNT, group->weight_sixteenths / 16);
		gy_out_u64("lost_samples", NULL, OUT_COUNT,
			   findings->base ? gy_leak_stack_new(stack) : group->lost_samples);
		gy_out_percent("direct", NULL, (double)group->direct_weight_bytes,
			       (double)group->weight_bytes);
		gy_out_u64("oldest_ns", NULL, OUT_NS, group->oldest_ns);
		where_out(findings, "where", group->frames, group->depth);
	}
	gy_out_list_end();
	if (more)
		gy_out_line("%" PRIu64 " more; 'top N' shows the first N", more);
	if (findings->suppressed_count)
		gy_out_line("%zu stack%s suppressed", findings->suppressed_count,
			    findings->suppressed_count == 1 ? "" : "s");
}

static const struct gy_out_column block_columns[] = {
	{"address", "ADDRESS", OUT_ADDRESS},    {"bytes", "BYTES", OUT_BYTES},
	{"held_blocks", "WITH IT", OUT_COUNT},  {"held_bytes", "BYTES IN ALL", OUT_BYTES},
	{"age", "AGE", OUT_TEXT},               {"where", "ALLOCATED IN <- CALLED BY", OUT_TEXT},
};

static bool block_hidden(const struct gy_leak_findings *findings,
			 const struct gyre_leak_block *block)
{
	if (findings->base && gy_leak_base_block(findings->base, block->address))
		return true;
	if (!block->group)
		return false;
	for (size_t i = 0; i < findings->result.group_count; i++)
		if (findings->stacks[i].group == &findings->result.groups[block->group - 1])
			return findings->stacks[i].suppressed;
	return false;
}

static void block_text(const struct gy_leak_findings *findings,
		       const struct gyre_leak_block *block)
{
	const struct gyre_leak_group *group =
		block->group ? &findings->result.groups[block->group - 1] : NULL;
	char age[GY_OUT_TEXT];

	gy_out_row();
	gy_out_u64("address", NULL, OUT_ADDRESS, block->address);
	gy_out_u64("bytes", NULL, OUT_BYTES, block->bytes);
	gy_out_u64("held_blocks", NULL, OUT_COUNT, minus(block->held_blocks, 1));
	gy_out_u64("held_bytes", NULL, OUT_BYTES, block->held_bytes);
	gy_out_text("age", NULL,
		    block->flags & GYRE_LEAK_BLOCK_SAMPLED ? gy_out_ns(age, block->age_ns) : "-");
	if (group)
		where_out(findings, "where", group->frames, group->depth);
	else
		gy_out_text("where", NULL, "(no sample)");
}

/* Direct ones come first, the most held first. A few of them will do, and of those that hold no
 * other and are no sample, one can only be told from the next by its address: three. */
static void blocks_text(const struct gy_leak_findings *findings)
{
	uint64_t shown = 0, alike = 0;

	gy_out_list("blocks", "Lost blocks that held most", block_columns,
		    sizeof(block_columns) / sizeof(block_columns[0]));
	for (size_t i = 0; i < findings->result.block_count && shown * 4 < findings->top; i++) {
		const struct gyre_leak_block *block = &findings->result.blocks[i];

		if (!(block->flags & GYRE_LEAK_BLOCK_DIRECT))
			break;
		if (block_hidden(findings, block))
			continue;
		if (block->held_blocks <= 1 && !block->group && ++alike > 3)
			continue;
		block_text(findings, block);
		shown++;
	}
	gy_out_list_end();
}

void gy_leak_text(const struct gy_leak_findings *findings)
{
	const struct gyre_leak_header *header = &findings->result.header;

	gy_out_begin(NULL, NULL);
	head_text(findings);
	sure_text(findings);
	if (header->lost_samples)
		stacks_text(findings);
	else if (header->lost_blocks)
		gy_out_line("\nNone of them is a sample, so where they were allocated is not "
			    "known; 'gyre leak watch' tells what grows");
	if (header->lost_blocks) {
		classes_text(&findings->result);
		if (header->lost_samples)
			ages_text(header);
		blocks_text(findings);
	}
	rounds_text(header);
	gy_out_end();
}

/* ---------------------------------------------------------------- JSON */

static void put(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, gy_out_json_u64(value));
}

static json_t *rounds_json(const struct gyre_leak_header *header)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < header->rounds_done; i++) {
		const struct gyre_leak_round *round = &header->rounds[i];
		json_t *object = json_object();

		put(object, "candidates", round->candidates);
		put(object, "taken_off", round->taken_off);
		put(object, "duration_ns", minus(round->ended_ns, round->began_ns));
		put(object, "root_bytes", round->root_bytes);
		put(object, "heap_bytes", round->heap_bytes);
		put(object, "threads", round->threads);
		put(object, "registers", round->registers);
		put(object, "stacks", round->stacks);
		json_object_set_new(object, "late", json_boolean(round->late));
		json_array_append_new(list, object);
	}
	return list;
}

static json_t *classes_json(const struct gy_leak_result *result)
{
	json_t *list = json_array();

	for (size_t i = 0; i < result->class_count; i++) {
		const struct gyre_leak_class *class = &result->classes[i];
		json_t *object;

		if (!class->lost_blocks)
			continue;
		object = json_object();
		json_object_set_new(object, "object_bytes",
				    class->object_bytes ? gy_out_json_u64(class->object_bytes)
							: json_null());
		put(object, "lost_blocks", class->lost_blocks);
		put(object, "lost_bytes", class->lost_bytes);
		put(object, "direct_blocks", class->direct_blocks);
		put(object, "direct_bytes", class->direct_bytes);
		put(object, "live_blocks", class->live_blocks);
		put(object, "live_bytes", class->live_bytes);
		json_array_append_new(list, object);
	}
	return list;
}

static json_t *ages_json(const struct gyre_leak_header *header)
{
	json_t *list = json_array();

	for (int i = 0; i < GYRE_LEAK_AGES; i++) {
		json_t *object = json_object();

		json_object_set_new(object, "age", json_string(ages[i]));
		put(object, "lost_samples", header->ages[i].sampled);
		put(object, "estimated_bytes", header->ages[i].weight_bytes);
		put(object, "estimated_blocks", header->ages[i].weight_sixteenths / 16);
		json_array_append_new(list, object);
	}
	return list;
}

static json_t *stack_json(const struct gy_leak_findings *findings,
			  const struct gy_leak_stack *stack)
{
	const struct gyre_leak_group *group = stack->group;
	json_t *object = json_object(), *frames = json_array();
	char names[NAMES_BYTES], hash[32];

	snprintf(hash, sizeof(hash), "%016" PRIx64, group->hash);
	gy_symbols_line(findings->symbols, group->frames, group->depth, names, sizeof(names));
	json_object_set_new(object, "hash", json_string(hash));
	put(object, "estimated_bytes", group->weight_bytes);
	put(object, "error_bytes", group->error_bytes);
	put(object, "estimated_blocks", group->weight_sixteenths / 16);
	put(object, "lost_samples", group->lost_samples);
	put(object, "lost_sampled_bytes", group->lost_sampled_bytes);
	put(object, "direct_samples", group->direct_samples);
	put(object, "direct_estimated_bytes", group->direct_weight_bytes);
	put(object, "youngest_ns", group->youngest_ns);
	put(object, "oldest_ns", group->oldest_ns);
	json_object_set_new(object, "example", gy_out_json_address(group->example));
	if (findings->base)
		put(object, "new_samples", gy_leak_stack_new(stack));
	json_object_set_new(object, "suppressed_by",
			    stack->suppressed
				    ? gy_out_json_text(gy_suppression_text(findings->suppressions,
									   stack->suppressed))
				    : json_null());
	json_object_set_new(object, "names", gy_out_json_text(names));
	for (uint32_t i = 0; i < group->depth && group->frames[i]; i++)
		json_array_append_new(frames, gy_symbols_json(gy_symbols_find(findings->symbols,
									      group->frames[i])));
	json_object_set_new(object, "stack", frames);
	return object;
}

static json_t *block_json(const struct gy_leak_findings *findings,
			  const struct gyre_leak_block *block)
{
	json_t *object = json_object();
	char hash[32];

	json_object_set_new(object, "address", gy_out_json_address(block->address));
	put(object, "bytes", block->bytes);
	json_object_set_new(object, "direct", json_boolean(block->flags & GYRE_LEAK_BLOCK_DIRECT));
	json_object_set_new(object, "head", gy_out_json_address(block->head));
	put(object, "held_blocks", block->held_blocks);
	put(object, "held_bytes", block->held_bytes);
	json_object_set_new(object, "age_ns",
			    block->flags & GYRE_LEAK_BLOCK_SAMPLED ? gy_out_json_u64(block->age_ns)
								   : json_null());
	if (block->group)
		snprintf(hash, sizeof(hash), "%016" PRIx64,
			 findings->result.groups[block->group - 1].hash);
	json_object_set_new(object, "stack_hash", block->group ? json_string(hash) : json_null());
	if (findings->base)
		json_object_set_new(object, "new",
				    json_boolean(!gy_leak_base_block(findings->base,
								     block->address)));
	return object;
}

static void head_json(json_t *object, const struct gy_leak_findings *findings)
{
	const struct gyre_leak_header *header = &findings->result.header;
	json_t *list = json_array();

	json_object_set_new(object, "pid", json_integer(findings->target->pid));
	json_object_set_new(object, "comm", gy_out_json_text(findings->target->comm));
	put(object, "start_ns", findings->start_ns);
	put(object, "time_ns", header->began_real_ns);
	put(object, "duration_ns", minus(header->ended_ns, header->began_ns));
	put(object, "cpu_ns", header->cpu_ns);
	put(object, "memory_bytes", header->memory_most_bytes);
	json_object_set_new(object, "proof",
			    json_string(header->flags & GYRE_LEAK_STOP ? "stop" : "rounds"));
	put(object, "stopped_ns", header->stopped_ns);
	json_object_set_new(object, "certain", json_boolean(!header->uncertain));
	for (size_t i = 0; i < DOUBTS; i++)
		if (header->uncertain & doubts[i].bit)
			json_array_append_new(list, json_string(doubts[i].word));
	json_object_set_new(object, "uncertain", list);
	json_object_set_new(object, "registers_lack",
			    findings->result.registers_lack
				    ? json_string(findings->result.registers_lack)
				    : json_null());
	json_object_set_new(object, "found", json_boolean(gy_leak_found(findings)));
	put(object, "live_blocks", header->live_blocks);
	put(object, "live_bytes", header->live_bytes);
	put(object, "lost_blocks", header->lost_blocks);
	put(object, "lost_bytes", header->lost_bytes);
	put(object, "direct_blocks", header->direct_blocks);
	put(object, "direct_bytes", header->direct_bytes);
	put(object, "indirect_blocks", minus(header->lost_blocks, header->direct_blocks));
	put(object, "indirect_bytes", minus(header->lost_bytes, header->direct_bytes));
	put(object, "ignored_blocks", header->ignored_blocks);
	put(object, "lost_samples", header->lost_samples);
	put(object, "unreadable_bytes", header->unreadable_bytes);
	if (findings->base) {
		put(object, "new_blocks", minus(header->lost_blocks, findings->known_blocks));
		put(object, "new_bytes", minus(header->lost_bytes, findings->known_bytes));
		json_object_set_new(object, "since_time_ns",
				    json_integer(gy_leak_base_time_ns(findings->base)));
	}
	put(object, "suppressed_stacks", findings->suppressed_count);
}

json_t *gy_leak_json(const struct gy_leak_findings *findings, size_t top)
{
	const struct gy_leak_result *result = &findings->result;
	json_t *object = json_object(), *stacks = json_array(), *blocks = json_array();
	size_t shown = 0;

	head_json(object, findings);
	json_object_set_new(object, "rounds", rounds_json(&result->header));
	json_object_set_new(object, "classes", classes_json(result));
	json_object_set_new(object, "ages", ages_json(&result->header));
	for (size_t i = 0; i < result->group_count && i < top; i++)
		json_array_append_new(stacks, stack_json(findings, &findings->stacks[i]));
	json_object_set_new(object, "stacks", stacks);
	for (size_t i = 0; i < result->block_count && shown < top; i++, shown++)
		json_array_append_new(blocks, block_json(findings, &result->blocks[i]));
	json_object_set_new(object, "blocks", blocks);
	return object;
}
