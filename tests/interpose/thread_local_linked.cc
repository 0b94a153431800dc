// thread_local.cc once more, linked with libgyre.so.
#include "interpose/thread_local.cc"
