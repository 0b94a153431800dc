#!/bin/sh
# run-sampler.sh - the cost of the always-on sampler: CPU time with sample=512K and sample=64K over
# sample=0, as ratios of runs that stood side by side. QUICK=1 for a short run.
set -eu
exec python3 "$(dirname "$0")/runner.py" sampler "$@"
