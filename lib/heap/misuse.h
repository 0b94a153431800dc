/* misuse.h - what a program did wrong with its heap, told in one line.
 *
 * The check that finds it stands with the data (heap.c, central.c); here is the report, and what
 * follows: abort, or with on_misuse=continue the operation is left undone and counted.
 */
#ifndef GY_HEAP_MISUSE_H
#define GY_HEAP_MISUSE_H

#include "base/compiler.h"

enum gy_misuse_kind {
	GY_MISUSE_DOUBLE_FREE = 1,
	GY_MISUSE_NOT_OURS = 2,
	GY_MISUSE_NOT_A_START = 3,
	GY_MISUSE_WRONG_SIZE = 4,
	GY_MISUSE_WRONG_ALIGNMENT = 5,
};

/* `detail`: bytes claimed (WRONG_SIZE), alignment claimed (WRONG_ALIGNMENT). class_index 0: a large
 * block. `function`: "free", "realloc", ... Returns only with on_misuse=continue. */
GY_COLD void gy_misuse(enum gy_misuse_kind kind, const void *block, unsigned class_index,
		       uint64_t detail, const char *function, uintptr_t caller_pc);
uint64_t gy_misuse_count(void);

#endif
