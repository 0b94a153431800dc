/* cmd_trace.c - `gyre trace`: recordings of every event, made, read, and turned into other forms.
 *
 *      record    trace_record.c      report    trace_report.c
 *      export    trace_export.c (pprof, folded, json, csv), trace_chrome.c
 *
 * The file is record_file.h's; reading it is recording.h's.
 */
#include <stdio.h>

#include "output.h"
#include "trace.h"
#include "words.h"

static int cmd_trace_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr,
		"Usage: gyre trace record PROC output FILE [duration TIME] [stacks] [size BYTES] "
		"\\\n"
		"                         [writer { auto | uring | pwrite }]\n"
		"       gyre trace report FILE [by { class | site | thread | time }] [count N]\n"
		"       gyre trace export FILE format { chrome | pprof | folded | json | csv } \\\n"
		"                         output FILE\n"
		"       gyre trace help\n"
		"\n"
		"       " GY_HELP_PROC "\n"
		"       TIME := seconds, or 250ms, 10s, 5m, 1h\n"
		"       BYTES := number, with K, M, G or T behind it\n"
		"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static const struct gy_command commands[] = {
	{"report", gy_trace_report},
	{"record", gy_trace_record},
	{"export", gy_trace_export},
	{"help", cmd_trace_help},
	{NULL, NULL},
};

int gy_cmd_trace(int argc, char **argv)
{
	if (!argc)
		return cmd_trace_help(argc, argv);
	return gy_words_run(commands, "trace", argc, argv, cmd_trace_help);
}
