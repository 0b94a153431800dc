/* words.h - the grammar of the command line: words that may be abbreviated, values behind keywords.
 *
 * As in bpftool and iproute2, an object, a command or a keyword may be shortened to any prefix;
 * where several words fit, the first of the table wins, so tables are ordered by how often a word
 * is used.
 */
#ifndef GYRE_TOOLS_WORDS_H
#define GYRE_TOOLS_WORDS_H

#include <stdbool.h>
#include <stdint.h>

struct gy_command {
	const char *name;
	int (*run)(int argc, char **argv);
};

/* A command's result besides 0 and -1: it did what it was to do, and found what nobody wishes to
 * find. The exit status is 1. */
#define GY_RESULT_FOUND 1000

/* gy_word_is - is `word` `full` or a prefix of it? The empty word is nothing. */
bool gy_word_is(const char *word, const char *full);
/* gy_words_run - run the command that argv[0] names; the table's first where nothing is named.
 * The table ends with a NULL name. @help is run for "help" and after an unknown word. */
int gy_words_run(const struct gy_command *table, const char *object, int argc, char **argv,
		 int (*help)(int argc, char **argv));
/* gy_words_u64 - the number behind a keyword, K M G T allowed where `size`. 0, or -1 with error
 * told. Advances past both words. */
int gy_words_u64(int *argc, char ***argv, bool size, uint64_t minimum, uint64_t maximum,
		 uint64_t *value);
/* gy_words_seconds - as above, for a duration: "10", "0.5", "250ms", "2m", "1h". */
int gy_words_seconds(int *argc, char ***argv, uint64_t *duration_ns);
int gy_words_end(int argc, char **argv);

#define GY_HELP_OPTIONS                                                                            \
	"OPTIONS := { {-j|--json} [{-p|--pretty}] | {-d|--debug} | {-V|--version} | {-h|--help} }"
#define GY_HELP_PROC "PROC := { pid PID | name COMM }"

/* The objects; each cmd_OBJECT.c holds one. */
int gy_cmd_process(int argc, char **argv);
int gy_cmd_heap(int argc, char **argv);
int gy_cmd_alloc(int argc, char **argv);
int gy_cmd_barrier(int argc, char **argv);
int gy_cmd_gc(int argc, char **argv);
int gy_cmd_probe(int argc, char **argv);
int gy_cmd_feature(int argc, char **argv);
int gy_cmd_option(int argc, char **argv);
int gy_cmd_trace(int argc, char **argv);
int gy_cmd_top(int argc, char **argv);
int gy_cmd_leak(int argc, char **argv);

#endif
