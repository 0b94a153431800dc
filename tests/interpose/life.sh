#!/bin/sh
# malloc before main, after main, in destructors of every kind, in plugins.
. "$GYRE_SRC/tests/lib.sh"
. "$GYRE_SRC/tests/interpose/forms.inc"

run_forms interpose/life
run_forms interpose/thread_local
run_forms interpose/plugin_host "$programs/interpose/plugin_lib" "$programs/interpose/plugin_own_lib"
run_program 'a plugin with its own C++ library' env LD_PRELOAD="$GYRE_PRELOAD" "$programs/interpose/plugin_host" \
	"$programs/interpose/plugin_own_lib"
