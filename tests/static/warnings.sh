#!/bin/sh
# time-limit: 400
# The library and the command, by gcc and by clang, with warnings as errors; gcc also with the
# expensive checks on, and without probes, so that those configurations stay buildable.
. "$GYRE_SRC/tests/lib.sh"

run() { # NAME VARIABLES...
	name=$1
	shift
	folder=$GYRE_BUILD/check-$1
	shift
	if (cd "$GYRE_SRC" && ${MAKE:-make} --no-print-directory -j2 O="$folder" WERROR=1 SAN= "$@") >"$TMPDIR/log" 2>&1; then
		ok "$name"
	else
		grep -E 'error:|\*\*\*' "$TMPDIR/log" | head -n 10
		not_ok "$name" "$(grep -m 1 -E 'error:|\*\*\*' "$TMPDIR/log")"
	fi
}
run "gcc has nothing to warn about, checks on" gcc CC=gcc CHECK=full lib tools
run "clang has nothing to warn about" clang CC=clang lib tools
run "gcc has nothing to warn about, probes compiled out" noprobes CC=gcc PROBES=0 lib
