/* gc_stress_linked.c with plain stores: gyre_gc_verify must find lost objects. */
#define GYRE_TEST_NO_BARRIER
#include "gc_stress_linked.c"
