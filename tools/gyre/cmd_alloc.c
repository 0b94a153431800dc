/* cmd_alloc.c - `gyre alloc`: the allocations of a running process, live.
 *
 *      trace ... sampled   one in so many bytes, with its stack    alloc_sampled.c
 *      trace ... every     each one                                alloc_every.c
 *      hist                counted in the kernel, as bars          alloc_hist.c
 *      top                 the sites that allocate most            site_top.c
 *
 * Here are the words of `trace`, and which of them go with which kind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc_trace.h"
#include "events.h"
#include "output.h"
#include "site_top.h"
#include "words.h"

/* Words that only one of the two kinds has, as met on the line. */
struct given {
	const char *sampled, *every;
	bool stack, is_sampled;
};

static int parse_kind(struct gy_alloc_trace *trace, int *argc, char ***argv)
{
	const char *word = *argc > 1 ? (*argv)[1] : "";

	if (gy_word_is(word, "all"))
		trace->allocs = trace->frees = true;
	else if (gy_word_is(word, "alloc"))
		trace->allocs = true, trace->frees = false;
	else if (gy_word_is(word, "free"))
		trace->allocs = false, trace->frees = true;
	else
		return gy_out_error("'kind' needs 'alloc', 'free' or 'all' behind it");
	*argc -= 2;
	*argv += 2;
	return 0;
}

static int parse_stack(struct gy_alloc_trace *trace, int *argc, char ***argv)
{
	const char *word = *argc > 1 ? (*argv)[1] : "";

	if (gy_word_is(word, "depth")) { /* "stack depth N" */
		--*argc;
		++*argv;
		return gy_words_u64(argc, argv, false, 1, GYRE_EVENT_FRAMES, &trace->depth);
	}
	if (gy_word_is(word, "line"))
		trace->stack = GY_STACK_LINE;
	else if (gy_word_is(word, "full"))
		trace->stack = GY_STACK_FULL;
	else if (gy_word_is(word, "none"))
		trace->stack = GY_STACK_NONE;
	else
		return gy_out_error("'stack' needs 'line', 'full', 'none' or 'depth N' behind it");
	*argc -= 2;
	*argv += 2;
	return 0;
}

static int parse_clock(struct gy_alloc_trace *trace, int *argc, char ***argv)
{
	const char *text = *argc > 1 ? (*argv)[1] : "";

	if (!gy_word_is(text, "each") && !gy_word_is(text, "shared"))
		return gy_out_error("'clock' needs 'each' or 'shared' behind it");
	trace->clock = gy_word_is(text, "each") ? GY_CLOCK_EACH : GY_CLOCK_SHARED;
	*argc -= 2;
	*argv += 2;
	return 0;
}

static int parse_word(struct gy_alloc_trace *trace, struct given *given, int *argc, char ***argv)
{
	const char *word = **argv;
	int taken = gy_event_words_take(&trace->every, EVENT_WORD_DURATION | EVENT_WORD_COUNT, argc,
					argv);

	if (taken)
		return taken < 0 ? -1 : 0;
	if (gy_word_is(word, "stack")) {
		given->stack = true;
		return parse_stack(trace, argc, argv);
	}
	if (gy_word_is(word, "min-bytes") || gy_word_is(word, "kind")) {
		given->sampled = word;
		return gy_word_is(word, "kind") ? parse_kind(trace, argc, argv)
						: gy_words_u64(argc, argv, true, 0, UINT64_MAX,
							       &trace->min_bytes);
	}
	if (gy_word_is(word, "every") || gy_word_is(word, "sampled") || gy_word_is(word, "sum")) {
		trace->is_every |= gy_word_is(word, "every");
		given->is_sampled |= gy_word_is(word, "sampled");
		if (!gy_word_is(word, "every") && !gy_word_is(word, "sampled")) {
			trace->sum = true;
			given->every = word;
		}
		--*argc;
		++*argv;
		return 0;
	}
	if (gy_word_is(word, "clock")) {
		given->every = word;
		return parse_clock(trace, argc, argv);
	}
	taken = gy_event_words_take(&trace->every,
				    EVENT_WORD_FILTER | EVENT_WORD_OPERATION | EVENT_WORD_RING,
				    argc, argv);
	if (taken)
		given->every = word;
	return taken < 0   ? -1
	       : taken > 0 ? 0
			   : gy_out_error("expected 'every', 'duration', 'count', 'stack', "
					  "'min-bytes', 'kind', 'size', 'class', 'thread', "
					  "'operation', 'sum', 'clock' or 'ring', got: '%s'?",
					  word);
}

static int parse_words(struct gy_alloc_trace *trace, int argc, char **argv)
{
	struct given given = {0};
	int error = 0;

	while (argc && !error)
		error = parse_word(trace, &given, &argc, &argv);
	if (error)
		return error;
	if (trace->is_every && given.is_sampled)
		return gy_out_error("'every' and 'sampled' exclude each other");
	if (trace->is_every && given.sampled)
		return gy_out_error("'%s' goes with 'sampled', not with 'every'", given.sampled);
	if (!trace->is_every && given.every)
		return gy_out_error("'%s' goes with 'every'", given.every);
	/* Stacks cost the process something where every event has one. */
	if (trace->is_every && !given.stack)
		trace->stack = GY_STACK_NONE;
	return 0;
}

static int cmd_trace(int argc, char **argv)
{
	struct gy_alloc_trace trace = {
		.stack = GY_STACK_LINE,
		.depth = GYRE_EVENT_FRAMES,
		.allocs = true,
		.frees = true,
	};
	struct gy_target target;
	int error;

	gy_event_words_begin(&trace.every);
	if (gy_target_arguments(&argc, &argv, &target, TARGET_GYRE))
		return -1;
	error = parse_words(&trace, argc, argv);
	if (!error)
		error = trace.is_every ? gy_alloc_every(&target, &trace)
				       : gy_alloc_sampled(&target, &trace);
	gy_target_close(&target);
	return error;
}

static int cmd_top(int argc, char **argv)
{
	return gy_site_top(argc, argv, 1u << GYRE_RECORD_MALLOC | 1u << GYRE_RECORD_NEW, true);
}

static int cmd_alloc_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr,
		"Usage: gyre alloc trace PROC [sampled | every] [duration TIME] [count N] \\\n"
		"                            [stack { line | full | none | depth N }] \\\n"
		"                            [kind { all | alloc | free }] [min-bytes BYTES] \\\n"
		"                            [operation { malloc | free | new | barrier }] \\\n"
		"                            [size RANGE] [class BYTES] [thread TID] \\\n"
		"                            [clock { each | shared }] [sum] [ring BYTES]\n"
		"       gyre alloc hist PROC [by { size | class | site | lifetime }] \\\n"
		"                            [operation { malloc | free | new | barrier }] \\\n"
		"                            [size RANGE] [class BYTES] [thread TID] \\\n"
		"                            [interval TIME] [duration TIME] [count N] [rows N]\n"
		"       gyre alloc top PROC [by { bytes | count }] \\\n"
		"                           [operation { malloc | free | new | barrier }] \\\n"
		"                           [size RANGE] [class BYTES] [thread TID] \\\n"
		"                           [interval TIME] [duration TIME] [count N] [rows N]\n"
		"       gyre alloc help\n"
		"\n"
		"       " GY_HELP_PROC "\n"
		"       TIME := seconds, or 250ms, 10s, 5m, 1h\n"
		"       BYTES := number, or 64K, 1M, 2G\n"
		"       " GY_EVENT_HELP_RANGE "\n"
		"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static const struct gy_command commands[] = {
	{"trace", cmd_trace},
	{"hist", gy_alloc_hist},
	{"top", cmd_top},
	{"help", cmd_alloc_help},
	{NULL, NULL},
};

int gy_cmd_alloc(int argc, char **argv)
{
	return gy_words_run(commands, "alloc", argc, argv, cmd_alloc_help);
}
