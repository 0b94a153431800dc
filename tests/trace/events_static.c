/* events_static.c - the same program with the library in it: probes are found in the program itself. */
#include "events_linked.c"
