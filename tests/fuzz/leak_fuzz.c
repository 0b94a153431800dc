/* leak_fuzz.c - the result of a scan for lost blocks, as the command copies and shows it. */
#include "../../tools/gyre/leak_findings.h"

#include "fuzz.h"

#include <unistd.h>

static int file = -1;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	file = fuzz_file(GYRE_LEAK_NAME);
	return 0;
}

static void links_look(const struct gy_leak_result *result)
{
	for (size_t i = 0; i < result->group_count; i++)
		fuzz_must(result->groups[i].depth <= GYRE_LEAK_FRAMES);
	for (size_t i = 0; i < result->block_count; i++)
		fuzz_must(result->blocks[i].group <= result->group_count);
	for (size_t i = 0; i < result->step_count; i++)
		fuzz_must(result->steps[i].group <= result->group_count);
	fuzz_must(result->header.rounds_done <= GYRE_LEAK_ROUNDS);
	fuzz_must(result->header.why_group <= result->group_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct gy_target target = {.pid_fd = -1};
	struct gy_leak_findings findings = {.target = &target, .top = 20};
	static struct gy_symbols *symbols;
	static unsigned runs;

	if (runs++ % 1024 == 0) { /* it keeps what it has looked up */
		gy_symbols_close(symbols);
		symbols = gy_symbols_open(getpid());
	}
	fuzz_must(!ftruncate(file, 0) && !ftruncate(file, (off_t)length) &&
		  pwrite(file, bytes, length, 0) == (ssize_t)length);
	if (gy_leak_result_read(file, length, 1, &findings.result))
		return 0;
	links_look(&findings.result);
	if (findings.result.group_count > 16) /* the same sixteen times over */
		findings.result.group_count = 16;
	for (size_t i = 0; i < findings.result.block_count; i++)
		if (findings.result.blocks[i].group > findings.result.group_count)
			findings.result.blocks[i].group = 0;
	findings.symbols = symbols;
	if (!gy_leak_findings_make(&findings)) {
		json_decref(gy_leak_json(&findings, 20));
		gy_leak_found(&findings);
	}
	findings.symbols = NULL;
	gy_leak_findings_fini(&findings);
	return 0;
}
