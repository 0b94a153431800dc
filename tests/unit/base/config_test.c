/* config_test.c - options: every one parsed, every kind of mistake told, and set-uid programs. */
#include "base/config.h"

#include "unit/unit.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void reset(void)
{
	for (unsigned i = 0; i < GY_OPT_COUNT; i++)
		gy_option_values[i] = gy_option_table[i].initial;
}

TestSuite(config, .init = reset);

struct parsed {
	const char *text;
	unsigned errors;
};

static void parse(void *argument)
{
	struct parsed *parsed = argument;

	parsed->errors = gy_config_parse(parsed->text);
	_exit((int)parsed->errors);
}

/* What parsing `text` says on stderr; the options of this process are left alone. */
static struct unit_child said(const char *text)
{
	struct parsed parsed = {text, 0};

	return unit_child_run(parse, &parsed);
}

static size_t lines(const char *text)
{
	size_t count = 0;

	for (; *text; text++)
		count += *text == '\n';
	return count;
}

Test(config, the_table_is_sound)
{
	for (unsigned i = 0; i < GY_OPT_COUNT; i++) {
		const struct gy_option_info *info = &gy_option_table[i];

		cr_assert(info->name && info->name[0] && info->text && info->text[0]);
		cr_assert_leq(info->minimum, info->initial, "%s", info->name);
		cr_assert_leq(info->initial, info->maximum, "%s", info->name);
		cr_assert_eq(gy_config_find(info->name), (int)i);
		cr_assert_lt(strlen(info->name), (size_t)32,
			     "the control page holds 31 characters");
		cr_assert_eq(info->words != NULL, info->kind == GY_OPTION_ENUM);
		if (info->words) {
			unsigned words = 1;

			for (const char *c = info->words; *c; c++)
				words += *c == '|';
			cr_assert_eq(info->maximum, words - 1u, "%s", info->name);
		}
	}
	cr_assert_eq(gy_config_find("nonesuch"), -ENOENT);
	cr_assert_eq(gy_config_find(""), -ENOENT);
	cr_assert_eq(gy_config_find("sampl"), -ENOENT);
}

/* Every option, at its least and its greatest value, written as gy_config_print writes it. */
Test(config, every_option_is_parsed_and_printed_back)
{
	for (unsigned i = 0; i < GY_OPT_COUNT; i++) {
		const struct gy_option_info *info = &gy_option_table[i];
		const uint64_t values[] = {info->minimum, info->maximum, info->initial};

		for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
			char written[64], item[128];
			struct gy_text text = GY_TEXT(written);

			written[0] = '\0';
			gy_option_values[i] = values[v];
			gy_config_print((enum gy_option_id)i, &text);
			snprintf(item, sizeof(item), "%s=%s", info->name, written);
			gy_option_values[i] = ~values[v];
			cr_assert_eq(gy_config_parse(item), 0u, "%s", item);
			cr_assert_eq(gy_option((enum gy_option_id)i), values[v], "%s", item);
		}
	}
}

Test(config, several_options_in_one_text)
{
	cr_assert_eq(
		gy_config_parse("sample=1M,background=off,,release_backend=madvise,cache_idle=20,"),
		0u);
	cr_assert_eq(gy_option(GY_OPT_sample), 1u << 20);
	cr_assert_eq(gy_option(GY_OPT_background), 0u);
	cr_assert_eq(gy_option(GY_OPT_release_backend), 3u);
	cr_assert_eq(gy_option(GY_OPT_cache_idle), 20u);
	cr_assert_eq(gy_config_parse(""), 0u);
	cr_assert_eq(gy_config_parse(",,,"), 0u);
}

Test(config, units_of_sizes)
{
	static const struct {
		const char *text;
		uint64_t value;
	} cases[] = {
		{"sample=0", 0},        {"sample=17", 17},         {"sample=3K", 3 << 10},
		{"sample=3k", 3 << 10}, {"sample=3KB", 3 << 10},   {"sample=3KiB", 3 << 10},
		{"sample=5M", 5 << 20}, {"sample=2G", 2ull << 30}, {"sample=1T", 1ull << 40},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		cr_assert_eq(gy_config_parse(cases[i].text), 0u, "%s", cases[i].text);
		cr_assert_eq(gy_option(GY_OPT_sample), cases[i].value, "%s", cases[i].text);
	}
}

Test(config, words_of_booleans)
{
	static const char *const words[] = {"on", "true", "yes", "1", "off", "false", "no", "0"};

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		char item[32];

		snprintf(item, sizeof(item), "release=%s", words[i]);
		gy_option_values[GY_OPT_release] = i >= 4;
		cr_assert_eq(gy_config_parse(item), 0u, "%s", item);
		cr_assert_eq(gy_option(GY_OPT_release), (uint64_t)(i < 4), "%s", item);
	}
}

Test(config, CONFIG_3_a_mistake_is_one_line_and_the_default_stands)
{
	static const struct {
		const char *text, *problem;
	} cases[] = {
		{"nonesuch=1", "no such option: 'nonesuch=1'"},
		{"nonesuch", "no such option"},
		{"=5", "no such option"},
		{"sample", "value missing: 'sample'"},
		{"sample=", "value not understood"},
		{"sample=x", "value not understood"},
		{"sample=-1", "value not understood"},
		{"sample=1.5M", "value not understood"},
		{"sample=1MM", "value not understood"},
		{"sample=1Q", "value not understood"},
		{"sample= 1", "value not understood"},
		{"sample=2T", "value out of range"},
		{"sample=99999999999999999999", "value out of range"},
		{"sample=99999999999999T", "value out of range"},
		{"cache_idle=5", "value out of range"},
		{"cache_idle=5K", "value not understood"},
		{"release=maybe", "value not understood"},
		{"release=2", "value not understood"},
		{"release_backend=", "value not understood"},
		{"release_backend=mad", "value not understood"},
		{"release_backend=auto|madvise", "value not understood"},
		{"SAMPLE=1", "no such option"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct unit_child child = said(cases[i].text);

		unit_assert_exit(child, 1);
		cr_assert_not_null(strstr(child.text, cases[i].problem), "'%s' said: %s",
				   cases[i].text, child.text);
		cr_assert_eq(lines(child.text), (size_t)1, "%s", child.text);
		gy_config_parse(cases[i].text);
	}
	for (unsigned i = 0; i < GY_OPT_COUNT; i++)
		cr_assert_eq(gy_option_values[i], gy_option_table[i].initial);
}

Test(config, a_mistake_does_not_keep_the_rest_from_being_read)
{
	struct unit_child child = said("a=1,sample=7,b,release=perhaps,cache_idle=33");

	unit_assert_exit(child, 3);
	cr_assert_eq(lines(child.text), (size_t)3);
	cr_assert_eq(gy_config_parse("a=1,sample=7,b,release=perhaps,cache_idle=33"), 3u);
	cr_assert_eq(gy_option(GY_OPT_sample), 7u);
	cr_assert_eq(gy_option(GY_OPT_cache_idle), 33u);
	cr_assert_eq(gy_option(GY_OPT_release), 1u);
}

Test(config, a_very_long_mistake_is_cut)
{
	static char text[4096];
	struct unit_child child;

	memset(text, 'y', sizeof(text) - 1);
	child = said(text);
	unit_assert_exit(child, 1);
	cr_assert_lt(child.length, (size_t)300);
	cr_assert_eq(lines(child.text), (size_t)1);
}

Test(config, set_checks_bounds_and_what_may_change)
{
	cr_assert_eq(gy_config_set(GY_OPT_cache_idle, 50), 0);
	cr_assert_eq(gy_option(GY_OPT_cache_idle), 50u);
	cr_assert_eq(gy_config_set(GY_OPT_cache_idle, 9), -ERANGE);
	cr_assert_eq(gy_config_set(GY_OPT_cache_idle, UINT64_MAX), -ERANGE);
	cr_assert_eq(gy_option(GY_OPT_cache_idle), 50u);
	for (unsigned i = 0; i < GY_OPT_COUNT; i++)
		cr_assert_eq(gy_config_set((enum gy_option_id)i, gy_option_table[i].initial),
			     gy_option_table[i].live ? 0 : -EPERM, "%s", gy_option_table[i].name);
}

static void reads_environment(void *argument)
{
	(void)argument;
	setenv("GYRE_OPTIONS", "sample=12345", 1);
	gy_config_init();
	_exit(gy_option(GY_OPT_sample) == 12345 ? 7 : 8);
}

Test(config, init_reads_the_environment)
{
	struct unit_child child = unit_child_run(reads_environment, NULL);

	unit_assert_exit(child, 7);
}

/* The child is this program, made set-uid and run by somebody else: main() is then Criterion's or
 * the stand-in's, so a constructor answers before it. */
__attribute__((constructor)) static void answer_and_leave(void)
{
	if (!getenv("CONFIG_TEST_ANSWER"))
		return;
	gy_config_init();
	_exit(gy_option(GY_OPT_sample) == 12345 ? 7 : 8);
}

static int run_as_nobody(const char *program)
{
	char *const arguments[] = {(char *)(uintptr_t)program, NULL};
	char *const environment[] = {(char *)(uintptr_t) "GYRE_OPTIONS=sample=12345",
				     (char *)(uintptr_t) "CONFIG_TEST_ANSWER=1", NULL};
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgid(65534) || setuid(65534))
			_exit(99);
		execve(program, arguments, environment);
		_exit(98);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

Test(config, CONFIG_2_a_set_uid_program_ignores_the_variable)
{
	char folder[] = P_tmpdir "/gyre-config-XXXXXX", path[64], command[300], self[200];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int plain, privileged;

	if (geteuid() != 0)
		cr_skip("needs root to make a set-uid file");
	if (GY_ASAN || GY_TSAN)
		cr_skip("a sanitizer's runtime does not start in a set-uid program");
	cr_assert_gt(length, 0);
	self[length] = '\0';
	cr_assert_not_null(mkdtemp(folder));
	chmod(folder, 0755);
	snprintf(path, sizeof(path), "%s/program", folder);
	snprintf(command, sizeof(command), "cp '%s' '%s'", self, path);
	cr_assert_eq(system(command), 0);
	chmod(path, 0755);
	plain = run_as_nobody(path);
	chmod(path, 04755);
	privileged = run_as_nobody(path);
	unlink(path);
	rmdir(folder);
	cr_assert_eq(plain, 7, "%d", plain);
	cr_assert_eq(privileged, 8, "%d", privileged);
}
