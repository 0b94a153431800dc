#!/bin/sh
# run.sh - make bench-gc: the collector against bdwgc, Go and malloc/free.
#
#	QUICK=1 tests/bench/gc/run.sh              two minutes, rough; nothing is written
#	tests/bench/gc/run.sh --only cache,short   some workloads; `compare.py --list` names them
#	tests/bench/gc/run.sh --systems gyre,go    some systems
#	tests/bench/gc/pauses.sh                   the collector's pauses over many cycles and runs
#
# How the comparison is made is told at the top of compare.py. A full run takes about twenty minutes
# and writes its section of ../RESULTS.md.
set -eu
exec python3 "$(cd "$(dirname "$0")" && pwd)/compare.py" "$@"
