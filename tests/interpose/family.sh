#!/bin/sh
# The malloc family and C++'s operators against their standards, in the four forms in which a
# program meets the library.
. "$GYRE_SRC/tests/lib.sh"
. "$GYRE_SRC/tests/interpose/forms.inc"

run_forms interpose/family
run_forms interpose/operators
run_forms interpose/replaced
