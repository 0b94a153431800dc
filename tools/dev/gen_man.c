/* gen_man.c - fills the tables of a manual page from the tables of the source.
 *
 * gen_man TEMPLATE >PAGE
 *
 * A line of the template that is one of these words becomes a list made of the current source:
 *
 *   @OPTIONS@       lib/base/options.def     every option of GYRE_OPTIONS
 *   @PROBES@        lib/base/probes.def      every USDT probe, by group
 *   @SYSTEM_CALLS@  lib/os/sys_calls.def     the numbers that fault injection takes
 *   @VERSION@       anywhere in a line       the version of gyre.h
 *
 * So a manual page cannot name an option that is not there, or miss one that is. The build runs it
 * for lib/man/(name).in; nothing that it writes is committed.
 */
#include <gyre/gyre.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 4096 };

/* A size as options are written: 4M, 512K, 1T. */
static void print_size(unsigned long long bytes)
{
	static const char suffix[] = {'\0', 'K', 'M', 'G', 'T', 'P'};
	size_t step = 0;

	while (bytes && bytes % 1024 == 0 && step + 1 < sizeof(suffix)) {
		bytes /= 1024;
		step++;
	}
	printf("%llu", bytes);
	if (suffix[step])
		putchar(suffix[step]);
}

/* The word of an enumeration "a|b|c" that stands for `index`. */
static void print_word(const char *words, unsigned long long index)
{
	while (index-- && strchr(words, '|'))
		words = strchr(words, '|') + 1;
	printf("%.*s", (int)strcspn(words, "|"), words);
}

static void print_value(const char *kind, const char *words, unsigned long long value)
{
	if (words)
		print_word(words, value);
	else if (!strcmp(kind, "BOOL"))
		fputs(value ? "on" : "off", stdout);
	else if (!strcmp(kind, "SIZE"))
		print_size(value);
	else
		printf("%llu", value);
}

static void print_option(const char *name, const char *kind, const char *words,
			 unsigned long long value, unsigned long long minimum,
			 unsigned long long maximum, const char *changes, const char *text)
{
	printf(".TP\n.BR %s =", name);
	if (words)
		printf("\\fI%s\\fR\n", words);
	else if (!strcmp(kind, "BOOL"))
		printf("\\fIon|off\\fR\n");
	else
		printf("\\fI%s\\fR\n", strcmp(kind, "SIZE") ? "number" : "bytes");
	printf("%c%s.\n", text[0] >= 'a' && text[0] <= 'z' ? text[0] - 'a' + 'A' : text[0],
	       text + 1);
	printf("Default \\fB");
	print_value(kind, words, value);
	printf("\\fR");
	if (!words && strcmp(kind, "BOOL")) {
		printf(", from ");
		print_value(kind, NULL, minimum);
		printf(" to ");
		print_value(kind, NULL, maximum);
	}
	printf("; %s.\n",
	       strcmp(changes, "LIVE") ? "read at start" : "may change while the process runs");
}

static void print_options(void)
{
/* The kind is an identifier, or ENUM(words): the second yields the words of the enumeration. */
#define WORDS_BOOL NULL
#define WORDS_SIZE NULL
#define WORDS_UINT NULL
#define WORDS_ENUM(words) OPTION_WORDS_##words
#define OPTION(name, kind, initial, minimum, maximum, changes, text)                               \
	print_option(#name, #kind, WORDS_##kind, initial, minimum, maximum, #changes, text);
#include "base/options.def"
#undef OPTION
}

static void print_probe(const char *group, const char *name, const char *arguments,
			const char *meaning)
{
	static char last_group[32];

	if (strcmp(group, last_group)) {
		printf(".SS Group %s\n", group);
		snprintf(last_group, sizeof(last_group), "%s", group);
	}
	printf(".TP\n.B gyre:%s\n%c%s.\n.br\n", name,
	       meaning[0] >= 'a' && meaning[0] <= 'z' ? meaning[0] - 'a' + 'A' : meaning[0],
	       meaning + 1);
	for (int index = 0; *arguments; index++) {
		size_t length = strcspn(arguments, ",");

		printf("%sarg%d\\ \\fI%.*s\\fR", index ? ", " : "", index, (int)length, arguments);
		arguments += length;
		arguments += strspn(arguments, ", ");
	}
	putchar('\n');
}

static void print_probes(void)
{
#define PROBE(group, name, count, arguments, meaning)                                              \
	print_probe(#group, #name, arguments, meaning);
#include "base/probes.def"
#undef PROBE
}

/* A list, not a table: a table's text blocks may not cross a page. */
static void print_system_calls(void)
{
#define SYS_CALL(number, name, error, text)                                                        \
	printf(".TP\n%d\\ \\ \\fB%s\\fR, fails with %s\n%s.\n", number, #name, #error, text);
#include "os/sys_calls.def"
#undef SYS_CALL
}

static void print_line(const char *line)
{
	const char *mark = strstr(line, "@VERSION@");

	if (mark)
		printf("%.*s%s%s", (int)(mark - line), line, GYRE_VERSION, mark + 9);
	else
		fputs(line, stdout);
}

int main(int argc, char **argv)
{
	char line[LINE_BYTES];
	FILE *template;

	if (argc != 2) {
		fprintf(stderr, "usage: gen_man TEMPLATE\n");
		return 2;
	}
	template = fopen(argv[1], "r");
	if (!template) {
		perror(argv[1]);
		return 1;
	}
	while (fgets(line, sizeof(line), template)) {
		if (!strcmp(line, "@OPTIONS@\n"))
			print_options();
		else if (!strcmp(line, "@PROBES@\n"))
			print_probes();
		else if (!strcmp(line, "@SYSTEM_CALLS@\n"))
			print_system_calls();
		else
			print_line(line);
	}
	fclose(template);
	return fflush(stdout) ? 1 : 0;
}
