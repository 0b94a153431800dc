/* life.c once more, with libgyre.a in a wholly static program. */
#define LIFE_STATIC
#include "interpose/life.c"
