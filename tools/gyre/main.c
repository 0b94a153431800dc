/* main.c - gyre: watch the memory of a process that runs on Gyre.
 *
 *      gyre [OPTIONS] OBJECT { COMMAND | help }
 *
 * The grammar is bpftool's: singular nouns, verbs, keyword-value arguments, any word shortened to
 * any prefix (words.h), -j and -p for JSON, help everywhere, exit status 0 or 255 (or 1, where a
 * command found what it looked for and nobody wishes to find: `leak scan`). This file holds
 * the table of objects, the options, `version`, `help` and `batch`; each other object is a
 * cmd_OBJECT.c that adds one line to `objects`.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gyre/gyre.h>

#include "control/control_page.h"
#include "output.h"
#include "words.h"

#define BATCH_WORDS 64
#define BATCH_LINE 65536

static int cmd_batch(int argc, char **argv);
static int cmd_version(int argc, char **argv);
static int cmd_help(int argc, char **argv);

/* By frequency of use: `gyre h` is heap, `gyre p` is process. */
static const struct gy_command objects[] = {
	{"heap", gy_cmd_heap},   {"alloc", gy_cmd_alloc},
	{"gc", gy_cmd_gc},       {"process", gy_cmd_process},
	{"probe", gy_cmd_probe}, {"feature", gy_cmd_feature},
	{"barrier", gy_cmd_barrier}, {"option", gy_cmd_option},   {"top", gy_cmd_top},
	{"trace", gy_cmd_trace},
	{"leak", gy_cmd_leak},
	{"batch", cmd_batch},    {"version", cmd_version},
	{"help", cmd_help},      {NULL, NULL},
};

static int cmd_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0; /* the document is null */
	fprintf(stderr, "Usage: gyre [OPTIONS] OBJECT { COMMAND | help }\n"
			"       gyre batch file FILE\n"
			"       gyre version\n"
			"\n"
			"       OBJECT := { heap | alloc | gc | process | probe | feature "
			"| barrier | option | top | trace | leak }\n"
			"       " GY_HELP_PROC "\n"
			"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static int cmd_version(int argc, char **argv)
{
	char libbpf[32];

	if (gy_words_end(argc, argv))
		return -1;
	snprintf(libbpf, sizeof(libbpf), "%u.%u", libbpf_major_version(), libbpf_minor_version());
	if (gy_out_is_json()) {
		json_t *features = json_object();

		gy_out_text("version", NULL, GYRE_VERSION);
		gy_out_text("libbpf_version", NULL, libbpf);
		gy_out_u64("control_page_abi", NULL, OUT_COUNT, GYRE_CONTROL_ABI);
		json_object_set_new(features, "skeletons", json_true());
		json_object_set_new(features, "symbols", json_true());
		json_object_set_new(features, "demangle", json_true());
		gy_out_json("features", features);
		return 0;
	}
	gy_out_line("gyre v" GYRE_VERSION);
	gy_out_line("using libbpf v%s, control page ABI %u", libbpf, GYRE_CONTROL_ABI);
	gy_out_line("features: skeletons, symbols, demangle");
	return 0;
}

static int object_run(int argc, char **argv)
{
	for (const struct gy_command *object = objects; object->name; object++)
		if (gy_word_is(argv[0], object->name))
			return object->run(argc - 1, argv + 1);
	if (!gy_out_is_json())
		cmd_help(0, NULL);
	return gy_out_error("unknown object '%s'", argv[0]);
}

/* ---------------------------------------------------------------- batch */

/* Cut a line into words; "..." keeps blanks. Returns their number, -1 where there are too many. */
static int line_words(char *line, char **words)
{
	int count = 0;

	for (;;) {
		line += strspn(line, " \t\r\n");
		if (!*line || *line == '#')
			return count;
		if (count == BATCH_WORDS)
			return -1;
		if (*line == '"') {
			words[count++] = ++line;
			line += strcspn(line, "\"");
		} else {
			words[count++] = line;
			line += strcspn(line, " \t\r\n");
		}
		if (*line)
			*line++ = 0;
	}
}

/* A line and, behind a closing backslash, the next. Returns false at the end. */
static bool batch_line(FILE *file, char *line)
{
	size_t used = 0;

	line[0] = 0;
	while (used + 2 < BATCH_LINE && fgets(line + used, (int)(BATCH_LINE - used), file)) {
		used += strlen(line + used);
		if (used < 2 || line[used - 1] != '\n' || line[used - 2] != '\\')
			return true;
		used -= 2;
		line[used] = 0;
	}
	return used;
}

static int batch_run(FILE *file)
{
	static char line[BATCH_LINE];
	char *words[BATCH_WORDS];
	int commands = 0, error = 0;
	bool found = false;

	gy_out_batch_begin();
	while (!error && batch_line(file, line)) {
		int count = line_words(line, words);

		if (!count)
			continue;
		if (count < 0)
			error = gy_out_error("a batch line has more than %d words", BATCH_WORDS);
		else if (gy_word_is(words[0], "batch"))
			error = gy_out_error("a batch cannot call a batch");
		else
			error = object_run(count, words);
		found |= error == GY_RESULT_FOUND;
		error = error == GY_RESULT_FOUND ? 0 : error;
		gy_out_batch_command(count < 0 ? 0 : count, words);
		commands += !error;
	}
	if (!error)
		gy_out_info("processed %d commands", commands);
	return !error && found ? GY_RESULT_FOUND : error;
}

static int cmd_batch(int argc, char **argv)
{
	FILE *file;
	int error;

	if (!argc || gy_word_is(argv[0], "help")) {
		if (!gy_out_is_json())
			fprintf(stderr,
				"Usage: gyre batch file FILE\n\n"
				"       FILE := path, or - for standard input; one command a "
				"line, # comments,\n"
				"       \\ at the end continues; stops at the first error\n");
		return argc ? 0 : gy_out_error("'batch' needs 'file FILE'");
	}
	if (!gy_word_is(argv[0], "file"))
		return gy_out_error("expected 'file', got: '%s'?", argv[0]);
	if (argc < 2)
		return gy_out_error("'file' needs a path behind it");
	if (gy_words_end(argc - 2, argv + 2))
		return -1;
	file = strcmp(argv[1], "-") ? fopen(argv[1], "re") : stdin;
	if (!file)
		return gy_out_error("cannot open '%s': %s", argv[1], strerror(errno));
	error = batch_run(file);
	if (file != stdin)
		fclose(file);
	return error;
}

/* ---------------------------------------------------------------- options */

__attribute__((format(printf, 2, 0))) static int libbpf_print(enum libbpf_print_level level,
							      const char *format, va_list arguments)
{
	(void)level;
	/* Without -d our own one line tells what libbpf would say in twenty. */
	return gy_out_is_debug() ? vfprintf(stderr, format, arguments) : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},  {"pretty", no_argument, NULL, 'p'},
		{"debug", no_argument, NULL, 'd'}, {"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},  {NULL, 0, NULL, 0},
	};
	bool json = false, pretty = false, debug = false, version = false, help = false;
	int option, result, bad = 0;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "+jpdVh", options, NULL)) != -1) {
		json |= option == 'j' || option == 'p';
		pretty |= option == 'p';
		debug |= option == 'd';
		version |= option == 'V';
		help |= option == 'h';
		if (option == '?') /* a long one leaves 0 */
			bad = optopt ? optopt : 1;
	}
	gy_out_init(json, pretty, debug);
	/* A reader that closes the pipe ends us by an error of write: probes get detached. */
	signal(SIGPIPE, SIG_IGN);
	/* Debug information is never fetched over the network: an answer must not wait for one. */
	unsetenv("DEBUGINFOD_URLS");
	libbpf_set_print(libbpf_print);
	if (bad) {
		if (!json)
			cmd_help(0, NULL);
		result = bad > 1 ? gy_out_error("unknown option '-%c'", bad)
				 : gy_out_error("unknown option '%s'", argv[optind - 1]);
	} else if (version) {
		result = cmd_version(0, argv);
	} else if (help || optind == argc) {
		result = cmd_help(0, argv);
	} else {
		result = object_run(argc - optind, argv + optind);
	}
	option = gy_out_finish();
	if (option && option != -EPIPE) {
		fprintf(stderr, "Error: cannot write: %s\n", strerror(-option));
		result = -1;
	}
	return result == GY_RESULT_FOUND ? 1 : result ? 255 : 0;
}
