// plugin_own_lib.cc - the same plugin with a C++ library of its own inside (-static-libstdc++:
// build.mk).
#include "interpose/plugin_lib.cc"
