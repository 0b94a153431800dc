/* runner.c - runs the tests of one program, each in a forked child, and prints TAP lines.
 *
 * Stands in for Criterion where that cannot run: see criterion/criterion.h beside it. The program
 * has one thread when it forks, so a child may start as many as it likes. A time limit is the
 * child's own alarm. Options of Criterion on the command line are accepted and ignored.
 */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LITE_FAILED = 101, LITE_SKIPPED = 102, LITE_SECONDS = 240, SKIP_REASON_BYTES = 256 };

extern struct lite_test *__start_lite_tests[], *__stop_lite_tests[];
extern struct lite_suite *__start_lite_suites[] __attribute__((weak));
extern struct lite_suite *__stop_lite_suites[] __attribute__((weak));

static bool test_failed;
static char *skip_reason; /* shared with the children */

void lite_fail(const char *file, int line, bool fatal, const char *what, const char *format, ...)
{
	va_list arguments;

	printf("# %s:%d: does not hold: %s:", file, line, what);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
	test_failed = true;
	if (fatal)
		_exit(LITE_FAILED);
}

void lite_skip(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(skip_reason, SKIP_REASON_BYTES, format, arguments);
	va_end(arguments);
	fflush(stdout);
	_exit(LITE_SKIPPED);
}

static const struct lite_options *suite_options(const char *name)
{
	static const struct lite_options none;

	for (struct lite_suite **suite = __start_lite_suites; suite != __stop_lite_suites; suite++)
		if (!strcmp((*suite)->name, name))
			return &(*suite)->options;
	return &none;
}

static void test_run(const struct lite_test *test, void *parameter)
{
	const struct lite_options *suite = suite_options(test->suite);
	void (*init)(void) = test->options.init ? test->options.init : suite->init;
	void (*fini)(void) = test->options.fini ? test->options.fini : suite->fini;
	double limit = test->options.timeout > 0 ? test->options.timeout : LITE_SECONDS;

	/* a sanitizer slows a test down by an order of magnitude */
	alarm((unsigned int)(limit * 10 < LITE_SECONDS ? limit * 10 + 1 : LITE_SECONDS));
	if (init)
		init();
	if (test->parameters)
		test->parameterised(parameter);
	else
		test->function();
	if (fini)
		fini();
	exit(test_failed ? LITE_FAILED : 0);
}

static bool test_judge(const struct lite_test *test, int status)
{
	const struct lite_options *suite = suite_options(test->suite);
	int signal = test->options.signal ? test->options.signal : suite->signal;
	int code = test->options.exit_code ? test->options.exit_code : suite->exit_code;

	if (WIFSIGNALED(status)) {
		if (WTERMSIG(status) != signal)
			printf("# ended by signal %d\n", WTERMSIG(status));
		return WTERMSIG(status) == signal;
	}
	if (WEXITSTATUS(status) != code)
		printf("# exit status %d\n", WEXITSTATUS(status));
	return WEXITSTATUS(status) == code && !signal;
}

static bool test_fork(const struct lite_test *test, void *parameter)
{
	int status = 0;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0)
		test_run(test, parameter);
	if (child < 0 || waitpid(child, &status, 0) != child) {
		printf("not ok - %s::%s\n", test->suite, test->name);
		return false;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == LITE_SKIPPED) {
		printf("ok - %s::%s  # SKIP%s\n", test->suite, test->name, skip_reason);
		return true;
	}
	if (!test_judge(test, status)) {
		printf("not ok - %s::%s\n", test->suite, test->name);
		return false;
	}
	printf("ok - %s::%s\n", test->suite, test->name);
	return true;
}

int main(void)
{
	bool all = true;

	skip_reason = mmap(NULL, SKIP_REASON_BYTES, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (skip_reason == MAP_FAILED)
		return 1;
	for (struct lite_test **at = __start_lite_tests; at != __stop_lite_tests; at++) {
		const struct lite_test *test = *at;
		struct criterion_test_params set = {.length = 1};

		if (test->options.disabled)
			continue;
		if (test->parameters)
			set = test->parameters();
		for (size_t i = 0; i < set.length; i++)
			if (!test_fork(test, (char *)set.params + i * set.size))
				all = false;
		if (set.cleanup)
			set.cleanup(&set);
	}
	return all ? 0 : 1;
}
