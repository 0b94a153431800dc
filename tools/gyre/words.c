/* words.c - see words.h. */
#include "words.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

bool gy_word_is(const char *word, const char *full)
{
	return *word && !strncmp(word, full, strlen(word));
}

int gy_words_run(const struct gy_command *table, const char *object, int argc, char **argv,
		 int (*help)(int argc, char **argv))
{
	if (!argc)
		return table[0].run(0, argv);
	for (const struct gy_command *command = table; command->name; command++)
		if (gy_word_is(argv[0], command->name))
			return command->run(argc - 1, argv + 1);
	if (gy_word_is(argv[0], "help"))
		return help(argc - 1, argv + 1);
	if (!gy_out_is_json())
		help(0, argv);
	return gy_out_error("unknown command '%s' of object '%s'", argv[0], object);
}

static int value_missing(const char *keyword)
{
	return gy_out_error("'%s' needs a value behind it", keyword);
}

/* The multiplier of a size suffix ("K", "KiB", "kb", "M" ...), or 0 where it is none. */
static uint64_t size_suffix(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *letter;

	if (!*suffix || !strcmp(suffix, "B"))
		return 1;
	letter = strchr(letters, *suffix & ~0x20);
	if (!letter || !*letter)
		return 0;
	if (suffix[1] && strcmp(suffix + 1, "iB") && strcmp(suffix + 1, "B") &&
	    strcmp(suffix + 1, "b"))
		return 0;
	return 1ull << (10 * (letter - letters + 1));
}

int gy_words_u64(int *argc, char ***argv, bool size, uint64_t minimum, uint64_t maximum,
		 uint64_t *value)
{
	const char *keyword = (*argv)[0], *text;
	uint64_t number, unit = 1;
	char *end;

	if (*argc < 2)
		return value_missing(keyword);
	text = (*argv)[1];
	errno = 0;
	number = strtoull(text, &end, 10);
	if (end == text || *text == '-' || *text == '+' || errno)
		return gy_out_error("'%s' is no number for '%s'", text, keyword);
	if (*end)
		unit = size ? size_suffix(end) : 0;
	if (!unit)
		return gy_out_error("'%s' is no number for '%s'", text, keyword);
	if (number > UINT64_MAX / unit || number * unit < minimum || number * unit > maximum)
		return gy_out_error("'%s %s' is out of bounds: %" PRIu64 " to %" PRIu64, keyword,
				    text, minimum, maximum);
	*value = number * unit;
	*argc -= 2;
	*argv += 2;
	return 0;
}

int gy_words_seconds(int *argc, char ***argv, uint64_t *duration_ns)
{
	static const struct {
		const char *name;
		double seconds;
	} units[] = {{"", 1},     {"s", 1},    {"ms", 1e-3}, {"m", 60},
		     {"min", 60}, {"h", 3600}, {"d", 86400}};
	const char *keyword = (*argv)[0], *text;
	double seconds;
	char *end;

	if (*argc < 2)
		return value_missing(keyword);
	text = (*argv)[1];
	seconds = strtod(text, &end);
	if (end == text || *text < '.' || *text > '9')
		return gy_out_error("'%s' is no duration for '%s'", text, keyword);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		double total = seconds * units[i].seconds;

		if (strcmp(end, units[i].name))
			continue;
		if (!isfinite(total) || total < 1e-3 || total > 1e9)
			return gy_out_error("'%s %s' is out of bounds: 1ms to 10 000 days", keyword,
					    text);
		*duration_ns = (uint64_t)(total * 1e9);
		*argc -= 2;
		*argv += 2;
		return 0;
	}
	return gy_out_error("'%s' is no duration for '%s'", text, keyword);
}

int gy_words_end(int argc, char **argv)
{
	return argc ? gy_out_error("what is '%s'?", argv[0]) : 0;
}
