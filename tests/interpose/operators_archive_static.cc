// operators.cc once more, with libgyre.a in a dynamic program.
#include "interpose/operators.cc"
