#!/bin/sh
# run-leak.sh - make bench-leak: what scanning a redis-server for leaks, again and again, costs it.
#
#	QUICK=1 tests/bench/run-leak.sh    a minute, rough; nothing is written
set -eu
exec python3 "$(cd "$(dirname "$0")" && pwd)/run_leak.py" "$@"
