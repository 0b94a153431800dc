#!/bin/sh
# Threads by the thousand, and fork while they run.
. "$GYRE_SRC/tests/lib.sh"
. "$GYRE_SRC/tests/interpose/forms.inc"

run_forms interpose/threads
run_forms interpose/fork 200 6
