#!/bin/sh
# run-redis.sh - redis-server on each allocator under redis-benchmark -t set,get -c 50 -d 256.
#
# A fresh server for each run, interleaved; the client runs on glibc. With the gyre command built, a
# column gyre+trace has `gyre alloc trace` attached to the server throughout.
# --modes plain,pipelined,large; --requests 1000000; QUICK=1 for a short run.
set -eu
exec python3 "$(dirname "$0")/runner.py" redis "$@"
