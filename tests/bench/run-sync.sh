#!/bin/sh
# run-sync.sh - make bench-sync: channels, mutexes and pools against Go, pthread and malloc/free.
#
#	QUICK=1 tests/bench/run-sync.sh    half a minute, rough; nothing is written
set -eu
exec python3 "$(cd "$(dirname "$0")" && pwd)/sync/run_sync.py" "$@"
