/* place.h - how a place of a probe passes its arguments: from a note's words to what the eBPF
 * programs read (struct gyre_place).
 *
 *      8@$5         the constant 5
 *      8@%rdi       the register
 *      8@-16(%rbp)  memory, so far from what the register holds
 *
 * Of all that a SystemTap note may say, these three kinds of 64-bit integers are what compilers
 * make of Gyre's own probes (probes.def); mostly `8@(%rdi) 8@8(%rdi) ...`, an array.
 */
#ifndef GYRE_TOOLS_PLACE_H
#define GYRE_TOOLS_PLACE_H

#include "events.h"

/* gy_place_parse - 0, or -ENOTSUP: some argument is passed in a way that we do not know.
 * @place  its cookie is left 0 */
int gy_place_parse(const char *text, struct gyre_place *place);

#endif
