#!/bin/sh
# run-kv.sh - make bench-kv: tests/examples/kv beside redis-server under redis-benchmark.
#
#	QUICK=1 tests/bench/run-kv.sh    half a minute, rough; nothing is written
set -eu
exec python3 "$(cd "$(dirname "$0")" && pwd)/run_kv.py" "$@"
