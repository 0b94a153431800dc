/* site_top.h - the hottest sites of a process, again at each interval: `gyre alloc top`, `gyre
 * barrier top`. */
#ifndef GYRE_TOOLS_SITE_TOP_H
#define GYRE_TOOLS_SITE_TOP_H

#include <stdbool.h>
#include <stdint.h>

/* gy_site_top - reads PROC and the rest of the words, and runs to the end. 0, or -1 with the error
 * told.
 * @operations  bits, as a filter's: what is looked at where the words do not say
 * @choose      whether the words may say */
int gy_site_top(int argc, char **argv, uint32_t operations, bool choose);

#endif
