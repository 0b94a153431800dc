/* cmd_option.c - `gyre option`: the options of a running process, and changing them.
 *
 *      list      from the control page: what each is, what it would be, whether it may change
 *      set       through the control page's mailbox (control_page.h, CTL-8)
 *
 * The process decides: it checks name and value as it checks GYRE_OPTIONS. What a name means and
 * which values it takes is in options.def, which is compiled in here, too; a process whose Gyre has
 * options that this command does not know is listed with its names and values alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "output.h"
#include "rights.h"
#include "snapshot.h"
#include "target.h"
#include "words.h"

#define WAIT_MS 2000

struct known {
	const char *name, *kind, *words;
	uint64_t minimum, maximum;
	const char *text;
};

#define OPTION_KNOWN(...) {__VA_ARGS__},
#define BOOL "bool", NULL
#define SIZE "size", NULL
#define UINT "number", NULL
#define ENUM(words) "word", OPTION_WORDS_##words
#define OPTION_FIELDS(name, kind, words, initial, minimum, maximum, changes, text)                 \
	{name, kind, words, minimum, maximum, text},
#define OPTION_EXPAND(...) OPTION_FIELDS(__VA_ARGS__)
#define OPTION(name, kind, initial, minimum, maximum, changes, text)                               \
	OPTION_EXPAND(#name, kind, initial, minimum, maximum, changes, text)
static const struct known known[] = {
#include "base/options.def"
};
#undef OPTION

static const struct known *known_find(const char *name)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(known[i].name, name))
			return &known[i];
	return NULL;
}

static int snapshot_read(struct gy_target *target, struct gy_snapshot *snapshot)
{
	int error = gy_control_read(target->control, GY_SNAPSHOT_WAIT_MS, snapshot);

	return error ? gy_out_error("process %d (%s): %s", target->pid, target->comm,
				    gy_control_error(error))
		     : 0;
}

/* ---------------------------------------------------------------- list */

/* "0 to 3600000", "1M to 1P", "auto|madvise": what a value may be. */
static void values_text(const struct known *option, char *text, size_t bytes)
{
	static const char units[] = " KMGTP";
	uint64_t ends[2] = {option->minimum, option->maximum};
	char words[2][32];

	if (option->words) {
		snprintf(text, bytes, "%s", option->words);
		return;
	}
	if (!strcmp(option->kind, "bool")) {
		snprintf(text, bytes, "on|off");
		return;
	}
	for (int i = 0; i < 2; i++) {
		size_t unit = 0;

		while (*option->kind == 's' && ends[i] && ends[i] % 1024 == 0 && units[unit + 1]) {
			ends[i] /= 1024;
			unit++;
		}
		snprintf(words[i], sizeof(words[i]), "%" PRIu64 "%.1s", ends[i],
			 unit ? &units[unit] : "");
	}
	snprintf(text, bytes, "%s to %s", words[0], words[1]);
}

static const struct gy_out_column columns[] = {
	{"name", "NAME", OUT_TEXT},       {"value", "VALUE", OUT_TEXT},
	{"default", "DEFAULT", OUT_TEXT}, {"changes", "CHANGES", OUT_TEXT},
	{"meaning", "MEANING", OUT_TEXT},
};

static void row_out(const struct gy_snapshot *snapshot, const struct gyre_control_option *option)
{
	const struct known *what = known_find(option->name);
	bool told = snapshot->header.abi >= 3;
	char values[96];

	gy_out_row();
	gy_out_text("name", NULL, option->name);
	gy_out_text("value", NULL, option->value);
	if (told)
		gy_out_text("default", NULL, option->initial);
	else
		gy_out_null("default", NULL, "?");
	if (told)
		gy_out_text("changes", NULL, option->live ? "live" : "start");
	else
		gy_out_null("changes", NULL, "?");
	if (gy_out_is_json()) {
		if (what)
			values_text(what, values, sizeof(values));
		gy_out_json("live", told ? json_boolean(option->live) : json_null());
		gy_out_json("values", what ? gy_out_json_text(values) : json_null());
		gy_out_json("meaning", what ? gy_out_json_text(what->text) : json_null());
	} else if (what) {
		gy_out_text("meaning", NULL, what->text);
	}
}

static int list(struct gy_target *target, void *context)
{
	struct gy_snapshot snapshot;

	(void)context;
	if (snapshot_read(target, &snapshot))
		return -1;
	gy_out_begin(NULL, NULL);
	if (gy_out_is_json()) {
		gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)target->pid);
		gy_out_text("comm", NULL, target->comm);
		gy_out_text("version", NULL, snapshot.header.version);
		gy_snapshot_age_out(&snapshot, target->control);
	} else if (gy_out_is_many()) {
		gy_out_line("%s (pid %d)", target->comm, target->pid);
	}
	gy_out_list("options", NULL, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < snapshot.option_count; i++)
		row_out(&snapshot, &snapshot.options[i]);
	gy_out_list_end();
	gy_out_end();
	gy_snapshot_free(&snapshot);
	return 0;
}

static int cmd_list(int argc, char **argv)
{
	struct gy_targets targets;
	int error;

	if (gy_targets_arguments(&argc, &argv, &targets, TARGET_CONTROL))
		return -1;
	error = gy_words_end(argc, argv);
	if (!error)
		error = gy_targets_each(&targets, list, NULL);
	gy_targets_close(&targets);
	return error;
}

/* ---------------------------------------------------------------- set */

static const char *value_of(const struct gy_snapshot *snapshot, const char *name)
{
	for (size_t i = 0; i < snapshot->option_count; i++)
		if (!strcmp(snapshot->options[i].name, name))
			return snapshot->options[i].value;
	return NULL;
}

/* Why it was not asked. */
static int unasked(const struct gy_target *target, const char *name, int error)
{
	switch (error) {
	case -EACCES:
		return gy_out_error("process %d (%s) cannot be asked: its control page may only be "
				    "read%s",
				    target->pid, target->comm, gy_rights_ask_lack());
	case -EPROTO:
		return gy_out_error("process %d (%s): its Gyre is too old to change options while "
				    "it runs",
				    target->pid, target->comm);
	case -EBUSY:
		return gy_out_error("process %d (%s): others are changing its options all the time",
				    target->pid, target->comm);
	case -ENAMETOOLONG:
		return gy_out_error("'%s': neither a name nor a value of an option is that long",
				    name);
	default:
		return gy_out_error("process %d (%s) did not answer; nothing was changed",
				    target->pid, target->comm);
	}
}

/* Why the process refused. */
static int refused(const struct gy_target *target, const char *name, const char *value, int error)
{
	const struct known *what = known_find(name);
	char values[96] = "?";

	if (what)
		values_text(what, values, sizeof(values));
	switch (error) {
	case -ENOENT:
		return gy_out_error("process %d (%s) has no option '%s'", target->pid, target->comm,
				    name);
	case -EPERM:
		return gy_out_error("'%s' is read at the start only: set it in GYRE_OPTIONS and "
				    "start the process anew",
				    name);
	case -ERANGE:
		return gy_out_error("'%s' is out of bounds for '%s': %s", value, name, values);
	case -EINVAL:
		return gy_out_error("'%s' is no value for '%s': %s", value, name, values);
	default:
		return gy_out_error("process %d (%s) refused '%s': %s", target->pid, target->comm,
				    name, strerror(-error));
	}
}

/* A name may be shortened, as every word of the command line, if only one option begins so. */
static const char *full_name(const struct gy_snapshot *snapshot, const char *name)
{
	const char *found = NULL;

	for (size_t i = 0; i < snapshot->option_count; i++) {
		if (!strcmp(snapshot->options[i].name, name))
			return snapshot->options[i].name;
		if (*name && !strncmp(snapshot->options[i].name, name, strlen(name)))
			found = found ? "" : snapshot->options[i].name;
	}
	return found && *found ? found : name;
}

/* @context  the words behind the process: name, value */
static int set(struct gy_target *target, void *context)
{
	char **words = context;
	const char *word = words[0], *value = words[1], *name, *was, *is;
	struct gy_snapshot before, after;
	int error, answer;

	if (snapshot_read(target, &before))
		return -1;
	name = full_name(&before, word);
	error = gy_control_set(target->control, name, value, WAIT_MS, &answer);
	if (error)
		error = unasked(target, strlen(value) > strlen(name) ? value : name, error);
	else if (answer)
		error = refused(target, name, value, answer);
	if (!error)
		error = snapshot_read(target, &after);
	if (!error) {
		was = value_of(&before, name);
		is = value_of(&after, name);
		gy_out_begin(NULL, NULL);
		if (gy_out_is_json()) {
			gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)target->pid);
			gy_out_text("comm", NULL, target->comm);
			gy_out_text("name", NULL, name);
			gy_out_text("before", NULL, was ? was : "");
			gy_out_text("value", NULL, is ? is : "");
		} else {
			gy_out_line("%s (pid %d): %s is %s, was %s", target->comm, target->pid,
				    name, is ? is : "?", was ? was : "?");
		}
		gy_out_end();
		gy_snapshot_free(&after);
	}
	gy_snapshot_free(&before);
	return error;
}

static int cmd_set(int argc, char **argv)
{
	struct gy_targets targets;
	int error;

	if (gy_targets_arguments(&argc, &argv, &targets, TARGET_CONTROL))
		return -1;
	if (argc < 2)
		error = gy_out_error("'set' needs a name and a value behind the process");
	else
		error = gy_words_end(argc - 2, argv + 2);
	if (!error)
		error = gy_targets_each(&targets, set, argv);
	gy_targets_close(&targets);
	return error;
}

/* ---------------------------------------------------------------- the object */

static int cmd_option_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr, "Usage: gyre option { list | show } PROC...\n"
			"       gyre option set PROC... NAME VALUE\n"
			"       gyre option help\n"
			"\n"
			"       " GY_HELP_PROC "\n"
			"       NAME, VALUE := as in GYRE_OPTIONS, see gyre(7)\n"
			"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static const struct gy_command commands[] = {
	{"list", cmd_list},        {"show", cmd_list}, {"set", cmd_set},
	{"help", cmd_option_help}, {NULL, NULL},
};

int gy_cmd_option(int argc, char **argv)
{
	return gy_words_run(commands, "option", argc, argv, cmd_option_help);
}
