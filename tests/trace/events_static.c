/* events_static.c - the same with the library in it: its probes are the program's own. */
#include "events_linked.c"
