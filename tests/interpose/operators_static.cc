// operators.cc once more, with libgyre.a in a wholly static program.
#include "interpose/operators.cc"
