/* gc_window_linked.c with a store that is not one step: gyre_gc_verify must find lost objects. */
#define GYRE_TEST_PLAIN_WINDOW
#include "gc_window_linked.c"
