/* family.c once more, with libgyre.a in a wholly static program. */
#define FAMILY_DIRECT
#include "interpose/family.c"
