/* folded.h - a profile as folded stacks: `main;serve;parse 1234`, one line for each stack. */
#ifndef GYRE_TOOLS_FOLDED_H
#define GYRE_TOOLS_FOLDED_H

#include "profile_model.h"

/* gy_folded_make - sorted lines, frames from the program's start to the leaf; stacks that differ in
 * addresses only are one line. Stacks of value 0 have none. A string to be freed, or NULL. */
char *gy_folded_make(const struct gy_profile *profile, size_t type);

#endif
