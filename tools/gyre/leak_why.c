/* leak_why.c - `gyre leak why`: who holds this block?
 *
 *      global    table+0x10 (kv)
 *      block     0x7f2e40000040 of 128 bytes, 24 into it     allocated in grow <- insert <- main
 *      block     ...
 *      target    0x7f2e40001000 of 48 bytes                  allocated in ...
 *
 * The process looks backwards from the block, in the same memory as a scan does, until it meets a
 * root (lib/leak/path.c); names are found here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "leak.h"
#include "leak_client.h"
#include "leak_places.h"
#include "output.h"
#include "words.h"

#define NAMES_BYTES 2048
#define REGISTERS 16

struct why {
	struct gy_target target;
	struct gyre_control_leak asked;
	struct gy_leak_result result;
	struct gy_symbols *symbols;
};

static const char *const kinds[] = {
	[GYRE_LEAK_STEP_NONE] = "nothing",   [GYRE_LEAK_STEP_GLOBAL] = "global",
	[GYRE_LEAK_STEP_STACK] = "stack",    [GYRE_LEAK_STEP_REGISTER] = "register",
	[GYRE_LEAK_STEP_MAPPING] = "mapping", [GYRE_LEAK_STEP_OBJECT] = "object",
	[GYRE_LEAK_STEP_EPOLL] = "epoll",    [GYRE_LEAK_STEP_TIMER] = "timer",
	[GYRE_LEAK_STEP_IGNORED] = "ignored", [GYRE_LEAK_STEP_BLOCK] = "block",
	[GYRE_LEAK_STEP_GAP] = "gap",        [GYRE_LEAK_STEP_TARGET] = "target",
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* As bpf/task_registers.bpf.c has them. */
static const char *const registers[REGISTERS] = {
#if defined(__x86_64__)
	"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rip",
	"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
#else
	"x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26",
	"x27", "x28", "x29", "x30", "x0",  "x1",  "x2",  "x3",
#endif
};

static const char *kind_name(const struct gyre_leak_step *step)
{
	return step->kind < KINDS ? kinds[step->kind] : "other";
}

/* ---------------------------------------------------------------- where a root is */

static void place_text(const struct gy_place *place, char *text, size_t bytes)
{
	if (place->symbol[0])
		snprintf(text, bytes, "%s+0x%" PRIx64 " (%s)", place->symbol, place->offset,
			 place->module);
	else if (place->module[0])
		snprintf(text, bytes, "%s+0x%" PRIx64, place->module, place->offset);
	else
		text[0] = 0;
}

static void thread_name(const struct why *why, uint32_t tid, char *text, size_t bytes)
{
	char path[96], name[GY_COMM_BYTES] = "";
	FILE *file;

	/* Its own number; in another pid namespace that is no name here. */
	snprintf(path, sizeof(path), "/proc/%d/task/%u/comm", why->target.pid, tid);
	file = fopen(path, "re");
	if (file && fgets(name, sizeof(name), file))
		name[strcspn(name, "\n")] = 0;
	if (file)
		fclose(file);
	gy_out_clean(name);
	snprintf(text, bytes, "thread %u%s%s%s", tid, name[0] ? " (" : "", name,
		 name[0] ? ")" : "");
}

static void step_text(const struct why *why, const struct gyre_leak_step *step, char *text,
		      size_t bytes)
{
	char where[512] = "", thread[GY_COMM_BYTES + 32] = "", frame[256];
	struct gy_place place;

	if (step->tid)
		thread_name(why, step->tid, thread, sizeof(thread));
	switch (step->kind) {
	case GYRE_LEAK_STEP_GLOBAL:
	case GYRE_LEAK_STEP_MAPPING:
		place = gy_place_of_data(why->target.pid, step->address);
		place_text(&place, where, sizeof(where));
		snprintf(text, bytes, "%s%sat 0x%" PRIx64, where, where[0] ? " " : "",
			 step->address);
		if (!where[0])
			snprintf(text, bytes, "at 0x%" PRIx64 ", 0x%" PRIx64
				 " into a mapping of %" PRIu64 " bytes",
				 step->address, step->address - step->block, step->bytes);
		break;
	case GYRE_LEAK_STEP_STACK:
		if (gy_place_of_stack(why->target.pid, why->symbols, step->address, frame,
				      sizeof(frame)))
			snprintf(where, sizeof(where), ", in %s", frame);
		snprintf(text, bytes, "%s%s at 0x%" PRIx64, thread, where, step->address);
		break;
	case GYRE_LEAK_STEP_REGISTER:
		snprintf(text, bytes, "%s of %s",
			 step->offset < REGISTERS ? registers[step->offset] : "a register", thread);
		break;
	case GYRE_LEAK_STEP_EPOLL:
		snprintf(text, bytes, "data of descriptor %" PRIu64, step->offset);
		break;
	case GYRE_LEAK_STEP_GAP:
		snprintf(text, bytes, "%" PRIu64 " more blocks", step->offset);
		break;
	case GYRE_LEAK_STEP_BLOCK:
		snprintf(text, bytes, "0x%" PRIx64 " of %" PRIu64 " bytes, %" PRIu64 " into it",
			 step->block, step->bytes, step->offset);
		break;
	case GYRE_LEAK_STEP_TARGET:
		snprintf(text, bytes, "0x%" PRIx64 " of %" PRIu64 " bytes", step->block,
			 step->bytes);
		break;
	default:
		snprintf(text, bytes, "at 0x%" PRIx64, step->address);
		break;
	}
}

static const struct gyre_leak_group *group_of(const struct why *why, uint32_t number)
{
	return number ? &why->result.groups[number - 1] : NULL;
}

/* ---------------------------------------------------------------- output */

static void why_text(const struct why *why)
{
	const struct gyre_leak_header *header = &why->result.header;
	const struct gyre_leak_group *group = group_of(why, header->why_group);
	char names[NAMES_BYTES], text[1024];

	gy_out_begin(NULL, NULL);
	gy_out_line("0x%" PRIx64 " is in the block 0x%" PRIx64 " of %" PRIu64 " bytes of %s (%d)",
		    header->address, header->why_block, header->why_bytes, why->target.comm,
		    why->target.pid);
	if (group) {
		gy_symbols_line(why->symbols, group->frames, group->depth, names, sizeof(names));
		gy_out_line("allocated in %s", names);
	}
	if (!header->why_found)
		gy_out_line("Nothing holds it: it is lost.");
	for (size_t i = 0; i < why->result.step_count; i++) {
		const struct gyre_leak_step *step = &why->result.steps[i];

		step_text(why, step, text, sizeof(text));
		group = group_of(why, step->group);
		names[0] = 0;
		if (group && step->kind != GYRE_LEAK_STEP_TARGET)
			gy_symbols_line(why->symbols, group->frames, group->depth, names,
					sizeof(names));
		gy_out_line("  %-9s %s%s%s%s", kind_name(step), text,
			    names[0] ? "   allocated in " : "", names,
			    step->value || step->kind == GYRE_LEAK_STEP_TARGET ||
					    step->kind == GYRE_LEAK_STEP_GAP
				    ? ""
				    : "   (gone by now)");
	}
	if (why->result.registers_lack)
		gy_out_line("Registers of sleeping threads were not brought: %s",
			    why->result.registers_lack);
	gy_out_end();
}

static json_t *frames_json(const struct why *why, const struct gyre_leak_group *group)
{
	json_t *frames = group ? json_array() : json_null();

	for (uint32_t i = 0; group && i < group->depth && group->frames[i]; i++)
		json_array_append_new(frames, gy_symbols_json(gy_symbols_find(why->symbols,
									      group->frames[i])));
	return frames;
}

static json_t *step_json(const struct why *why, const struct gyre_leak_step *step)
{
	json_t *object = json_object();
	char text[1024];

	step_text(why, step, text, sizeof(text));
	json_object_set_new(object, "kind", json_string(kind_name(step)));
	json_object_set_new(object, "where", gy_out_json_text(text));
	json_object_set_new(object, "tid", step->tid ? json_integer(step->tid) : json_null());
	json_object_set_new(object, "address", gy_out_json_address(step->address));
	json_object_set_new(object, "value", gy_out_json_address(step->value));
	json_object_set_new(object, "offset", gy_out_json_u64(step->offset));
	json_object_set_new(object, "block", gy_out_json_address(step->block));
	json_object_set_new(object, "bytes", gy_out_json_u64(step->bytes));
	if (step->kind == GYRE_LEAK_STEP_GLOBAL || step->kind == GYRE_LEAK_STEP_MAPPING) {
		struct gy_place place = gy_place_of_data(why->target.pid, step->address);

		json_object_set_new(object, "symbol",
				    place.symbol[0] ? gy_out_json_text(place.symbol)
						    : json_null());
		json_object_set_new(object, "symbol_offset", gy_out_json_u64(place.offset));
		json_object_set_new(object, "module",
				    place.module[0] ? gy_out_json_text(place.module)
						    : json_null());
	}
	json_object_set_new(object, "stack", frames_json(why, group_of(why, step->group)));
	return object;
}

static void why_json(const struct why *why)
{
	const struct gyre_leak_header *header = &why->result.header;
	json_t *steps = json_array();

	gy_out_begin(NULL, NULL);
	gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)why->target.pid);
	gy_out_u64("address", NULL, OUT_ADDRESS, header->address);
	gy_out_u64("block", NULL, OUT_ADDRESS, header->why_block);
	gy_out_u64("bytes", NULL, OUT_BYTES, header->why_bytes);
	gy_out_bool("held", NULL, header->why_found);
	gy_out_u64("length", NULL, OUT_COUNT, header->why_length);
	gy_out_json("stack", frames_json(why, group_of(why, header->why_group)));
	for (size_t i = 0; i < why->result.step_count; i++)
		json_array_append_new(steps, step_json(why, &why->result.steps[i]));
	gy_out_json("steps", steps);
	gy_out_end();
}

/* ---------------------------------------------------------------- the command */

static int words_read(struct why *why, int argc, char **argv)
{
	char *end = NULL;
	int error = 0;

	if (argc)
		why->asked.address = strtoull(argv[0], &end, 0);
	if (!end || end == argv[0] || *end || argv[0][0] == '-')
		return gy_out_error("expected an address such as 0x7f0012345678%s%s",
				    argc ? ", got: " : "", argc ? argv[0] : "");
	argc--;
	argv++;
	while (argc && !error)
		error = gy_leak_asked_word(&why->asked, &argc, &argv);
	return error;
}

int gy_leak_why(int argc, char **argv)
{
	struct why *why = calloc(1, sizeof(*why));
	int error;

	if (!why)
		return gy_out_error("no memory");
	why->asked.operation = GYRE_LEAK_WHY;
	error = gy_target_arguments(&argc, &argv, &why->target, TARGET_CONTROL);
	if (!error) {
		error = words_read(why, argc, argv);
		why->symbols = error ? NULL : gy_symbols_open(why->target.pid);
		if (!error && !why->symbols)
			error = gy_out_error("no memory for symbols");
		if (!error)
			error = gy_leak_scan_run(&why->target, &why->asked, &why->result);
		if (!error && gy_out_is_json())
			why_json(why);
		else if (!error)
			why_text(why);
		gy_leak_result_free(&why->result);
		gy_symbols_close(why->symbols);
		gy_target_close(&why->target);
	}
	free(why);
	return error;
}
