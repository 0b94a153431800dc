/* fork.c once more, linked with libgyre.so. */
#include "interpose/fork.c"
