/* stacks_fuzz.c - the table of stacks that a process's events name by number. */
#include "../../tools/gyre/stack_table.c"

#include "fuzz.h"

static int file = -1;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	file = fuzz_file(GYRE_STACKS_NAME);
	fuzz_must(!ftruncate(file, 4096) &&
		  mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0) != MAP_FAILED);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	uint64_t frames[GYRE_STACK_FRAMES];
	struct gy_stack_table *table;
	int error;

	/* The first 32 bytes are the header's, what follows are entries. */
	if (length < 32)
		return 0;
	fuzz_must(!ftruncate(file, 0) &&
		  !ftruncate(file, (off_t)(GYRE_STACKS_HEADER + length - 32)));
	fuzz_must(pwrite(file, bytes, 32, 0) == 32);
	fuzz_must(pwrite(file, bytes + 32, length - 32, GYRE_STACKS_HEADER) ==
		  (ssize_t)(length - 32));
	table = gy_stack_table_open(getpid(), &error);
	for (uint32_t i = 0; table && i < 64; i++) {
		uint32_t id = i < 32 ? i : UINT32_MAX >> (i - 32);
		uint32_t depth = gy_stack_table_read(table, id, frames);

		fuzz_must(depth <= GYRE_STACK_FRAMES);
		for (uint32_t j = 0; j < depth; j++)
			if (frames[j] == 0x6675757a) /* look at each */
				abort();
	}
	gy_stack_table_close(table);
	return 0;
}
