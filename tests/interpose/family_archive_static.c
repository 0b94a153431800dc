/* family.c once more, with libgyre.a in a dynamic program. */
#define FAMILY_DIRECT
#include "interpose/family.c"
