#!/bin/sh
# run-trace.sh - make bench-trace: what tracing costs the traced, nobody attached to every event with
# its stack, and today's ways beside it; on a mixed workload and on redis.
#
# QUICK=1 for a short run; --only mixed|redis; --rounds N; --no-report. How it is measured is told at the
# top of run_trace.py. It attaches to processes: as root.
set -eu
exec python3 "$(dirname "$0")/run_trace.py" "$@"
