/* panic_test.c - the last words: one line, the right name, and the three strengths of assertion. */
#include "base/panic.h"

#include "unit/unit.h"

static void panics(void *argument)
{
	gy_panic(argument);
}

Test(panic, says_one_line_and_aborts)
{
	struct unit_child child = unit_child_run(panics, (void *)(uintptr_t) "the sky fell");
	char *newline = strchr(child.text, '\n');
	int pid = 0;

	unit_assert_abort(child, ": the sky fell\n");
	cr_assert_eq(strncmp(child.text, "gyre: ", 6), 0);
	cr_assert_eq(sscanf(child.text, "gyre: %d", &pid), 1);
	cr_assert_gt(pid, 1);
	cr_assert_not_null(strstr(child.text, program_invocation_short_name));
	cr_assert(newline && newline[1] == '\0', "more than a line: %s", child.text);
}

static void panics_at_length(void *argument)
{
	char words[2000];

	(void)argument;
	memset(words, 'w', sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';
	gy_panic(words);
}

Test(panic, a_long_message_is_cut_and_still_a_line)
{
	struct unit_child child = unit_child_run(panics_at_length, NULL);

	unit_assert_abort(child, "wwwwwwww");
	cr_assert_eq(child.text[child.length - 1], '\n');
	cr_assert_lt(child.length, (size_t)600);
}

static void fails(void *argument)
{
	switch (*(const int *)argument) {
	case 0:
		CHECK(1 + 1 == 3);
		break;
	case 1:
		ASSERT(1 + 1 == 4);
		break;
	default:
		INVARIANT(TEST_7, 1 + 1 == 5);
		break;
	}
}

Test(panic, check_is_always_on_and_names_its_place)
{
	int kind = 0;
	struct unit_child child = unit_child_run(fails, &kind);

	unit_assert_abort(child, "panic_test.c:");
	cr_assert_not_null(strstr(child.text, "1 + 1 == 3"));
}

Test(panic, assert_and_invariant_only_in_full_checks)
{
	for (int kind = 1; kind < 3; kind++) {
		struct unit_child child = unit_child_run(fails, &kind);

		if (!GYRE_CHECK_FULL) {
			unit_assert_exit(child, 0);
			cr_assert_eq(child.length, (size_t)0);
			continue;
		}
		unit_assert_abort(child, kind == 1 ? "1 + 1 == 4" : "TEST_7: 1 + 1 == 5");
	}
}

static int evaluated;

static bool count_evaluation(void)
{
	evaluated++;
	return true;
}

Test(panic, the_off_forms_compile_the_condition_and_do_not_run_it)
{
	ASSERT(count_evaluation());
	INVARIANT(TEST_8, count_evaluation());
	cr_assert_eq(evaluated, GYRE_CHECK_FULL ? 2 : 0);
	CHECK(count_evaluation());
	cr_assert_eq(evaluated, GYRE_CHECK_FULL ? 3 : 1);
}

static void writes(void *argument)
{
	char buffer[64];
	struct gy_text text = GY_TEXT(buffer);

	(void)argument;
	errno = 4242;
	gy_message_begin(&text);
	gy_message_write(&text);
	child_check(errno == 4242);
	close(STDERR_FILENO);
	gy_message_write(&text); /* nowhere to write to: not a reason to loop or to fail */
	_exit(errno == 4242 ? 0 : 1);
}

Test(panic, writing_keeps_errno_and_survives_a_closed_stderr)
{
	struct unit_child child = unit_child_run(writes, NULL);

	unit_assert_exit(child, 0);
	cr_assert_not_null(strstr(child.text, "gyre: "));
}
