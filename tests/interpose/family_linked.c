/* family.c once more, linked with libgyre.so. */
#define FAMILY_DIRECT
#include "interpose/family.c"
