// operators.cc once more, linked with libgyre.so.
#include "interpose/operators.cc"
