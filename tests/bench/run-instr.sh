#!/bin/sh
# run-instr.sh - make bench-instr: instructions of a malloc/free pair, counted by callgrind.
#
# Beside the peers stands gyre-no-probes: the same sources built with PROBES=0 in a folder of its own, so that
# the two columns show what an idle probe costs. QUICK=1 counts two loops and builds nothing.
# That the pair takes at most 50, and the probes at most 2, is asserted by instr.test.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=${GYRE_SRC:-$(cd "$here/../.." && pwd)}
build=${GYRE_BUILD:-$source/build}
if [ -e "$build/libgyre.so" ] && [ -z "${QUICK:-}" ] && [ $# -eq 0 ]; then
	plain=$(mktemp -d)
	trap 'rm -rf "$plain"' EXIT
	make --no-print-directory -C "$source" O="$plain" PROBES=0 lib >"$plain/log" 2>&1 || {
		tail -n 20 "$plain/log" >&2
		exit 1
	}
	python3 "$here/runner.py" instr --library "gyre-no-probes=$plain/libgyre.so"
else
	python3 "$here/runner.py" instr "$@"
fi
