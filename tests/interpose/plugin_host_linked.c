/* plugin_host.c once more, linked with libgyre.so. */
#include "interpose/plugin_host.c"
