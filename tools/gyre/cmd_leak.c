/* cmd_leak.c - `gyre leak`: what a running process loses, and what in it grows. */
#include "leak.h"

#include <stdio.h>
#include <string.h>

#include "output.h"
#include "words.h"

bool gy_leak_word(const char *word, const char *full)
{
	return gy_word_is(strncmp(word, "--", 2) ? word : word + 2, full);
}

static int help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr,
		"Usage:%s" GY_LEAK_WATCH_HELP GY_LEAK_WHY_HELP GY_LEAK_GUARD_HELP
		"       gyre leak help\n"
		"\n"
		"       " GY_HELP_PROC "\n"
		"       TIME := seconds, or 250ms, 10s, 5m, 1h\n"
		"       " GY_HELP_OPTIONS "\n",
		&GY_LEAK_SCAN_HELP[6]);
	return 0;
}

int gy_cmd_leak(int argc, char **argv)
{
	static const struct gy_command commands[] = {
		{"scan", gy_leak_scan},
		{"watch", gy_leak_watch},
		{"why", gy_leak_why},
		{"guard", gy_leak_guard},
		{NULL, NULL},
	};

	if (!argc)
		return help(0, argv);
	return gy_words_run(commands, "leak", argc, argv, help);
}
