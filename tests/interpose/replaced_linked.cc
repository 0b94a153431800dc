// replaced.cc once more, linked with libgyre.so.
#include "interpose/replaced.cc"
