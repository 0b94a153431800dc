/* life.c once more, linked with libgyre.so. */
#include "interpose/life.c"
