// replaced.cc once more, with libgyre.a in a wholly static program.
#include "interpose/replaced.cc"
