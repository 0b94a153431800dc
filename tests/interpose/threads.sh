#!/bin/sh
# Threads by the thousand, and fork while they run.
. "$GYRE_SRC/tests/lib.sh"
. "$GYRE_SRC/tests/interpose/forms.inc"

run_forms interpose/threads
run_program 'fork preloaded' env LD_PRELOAD="$GYRE_PRELOAD" "$programs/interpose/fork" 200 6
[ ! -x "$programs/interpose/fork_linked" ] || run_program 'fork linked' "$programs/interpose/fork_linked" 20 3
