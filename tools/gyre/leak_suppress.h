/* leak_suppress.h - leaks that are known and not to be told again: LeakSanitizer's files.
 *
 *      # a comment
 *      leak:make_table          any frame's function, source file or module holds this
 *      leak:^lib*.so$           * any characters, ^ the beginning, $ the end
 */
#ifndef GYRE_TOOLS_LEAK_SUPPRESS_H
#define GYRE_TOOLS_LEAK_SUPPRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "symbols.h"

struct gy_suppressions;

/* gy_suppressions_read - NULL with the error told. */
struct gy_suppressions *gy_suppressions_read(const char *path);
void gy_suppressions_free(struct gy_suppressions *suppressions);
/* gy_suppressions_find - the number of the first pattern that fits a stack, from 1; 0: none. NULL
 * has none. */
size_t gy_suppressions_find(struct gy_suppressions *suppressions, struct gy_symbols *symbols,
			    const uint64_t *frames, uint32_t depth);
/* gy_suppression_text - of a number that was found. */
const char *gy_suppression_text(const struct gy_suppressions *suppressions, size_t number);
/* gy_suppression_fits - does a pattern fit a text? */
bool gy_suppression_fits(const char *pattern, const char *text);

#endif
