#!/bin/sh
# run-alloc.sh - make bench-alloc: time and peak memory against glibc, jemalloc, tcmalloc and mimalloc.
#
#	QUICK=1 tests/bench/run-alloc.sh           under a minute, rough; nothing is written
#	tests/bench/run-alloc.sh --only batch100   some workloads; `runner.py list` names them
#	tests/bench/run-alloc.sh --rounds 15       more rounds against a noisy machine
#
# How the comparison is made is told at the top of runner.py. A full run takes about a quarter of an
# hour, then run-idle.sh, run-sampler.sh and run-redis.sh follow, unless words were given; each
# writes its section of RESULTS.md.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python3 "$here/runner.py" alloc "$@"
[ $# -eq 0 ] || exit 0
for part in idle sampler redis; do
	printf '\n== %s\n' "$part"
	sh "$here/run-$part.sh"
done
