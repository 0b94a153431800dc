/* leak_suppress_test.c - LeakSanitizer's patterns: what fits, what does not, which files are
 * refused. */
#include <criterion/criterion.h>

#include <sys/mman.h>
#include <unistd.h>

#include "../../../tools/gyre/leak_suppress.c"

#include "last_error.h"

const struct gy_symbol *gy_symbols_find(struct gy_symbols *symbols, uint64_t return_address)
{
	static char make_table[] = "make_table", table_c[] = "src/table.c";
	static char serve[] = "serve(int)", linkage[] = "_Z5servei";
	static const struct gy_symbol known[] = {
		{.module = "libone.so.2",
		 .level_count = 1,
		 .levels = {{.function = make_table, .file = table_c}}},
		{.module = "service",
		 .level_count = 1,
		 .levels = {{.function = serve, .linkage = linkage}}},
	};

	(void)symbols;
	return &known[return_address - 1];
}

void gy_symbol_text(const struct gy_symbol *symbol, size_t level, char *text, size_t bytes)
{
	snprintf(text, bytes, "%s", symbol->levels[level].function);
}

Test(leak_suppress, patterns)
{
	static const struct {
		const char *pattern, *text;
		bool fits;
	} cases[] = {
		{"table", "make_table_now", true}, {"^table", "make_table", false},
		{"^make", "make_table", true},     {"table$", "make_table", true},
		{"make$", "make_table", false},    {"^make_table$", "make_table", true},
		{"m*b*e", "make_table", true},     {"^m*x$", "make_table", false},
		{"*", "anything", true},	   {"^lib*.so$", "libone.so", true},
		{"^lib*.so$", "libone.so.2", false}, {"a*b*c", "aXbXbXc", true},
		{"", "x", false},		   {"x", "", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_assert_eq(gy_suppression_fits(cases[i].pattern, cases[i].text), cases[i].fits,
			     "%s in %s", cases[i].pattern, cases[i].text);
}

/* A file of this text, read. */
static struct gy_suppressions *read_text(const char *text)
{
	int file = memfd_create("suppressions", MFD_CLOEXEC);
	struct gy_suppressions *suppressions;
	char path[64];

	cr_assert(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	suppressions = gy_suppressions_read(path);
	close(file);
	return suppressions;
}

Test(leak_suppress, files)
{
	uint64_t one = 1, both[] = {1, 2};
	struct gy_suppressions *suppressions =
		read_text("# a comment\n\n  leak:nothing  \r\nleak:_Z5serve\nleak:^src/table.c$\n");

	cr_assert(suppressions);
	cr_assert_eq(gy_suppressions_find(suppressions, NULL, &one, 1), 3);
	cr_assert_eq(gy_suppressions_find(suppressions, NULL, both, 2), 2);
	cr_assert_str_eq(gy_suppression_text(suppressions, 2), "_Z5serve");
	cr_assert_eq(gy_suppressions_find(NULL, NULL, &one, 1), 0);
	gy_suppressions_free(suppressions);
	suppressions = read_text("leak:libone\n");
	cr_assert_eq(gy_suppressions_find(suppressions, NULL, both, 2), 1);
	gy_suppressions_free(suppressions);
}

Test(leak_suppress, what_is_no_pattern_is_refused)
{
	cr_assert_null(read_text("leak:x\nrace:y\n"));
	cr_assert(strstr(last_error, "line 2"));
	cr_assert_null(read_text("leak:\n"));
	cr_assert_null(gy_suppressions_read("/nowhere/at/all"));
	cr_assert(strstr(last_error, "cannot open"));
}
